"""Who closes idle connections first: what a worker records of it, what it says, and when it keeps quiet."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from typing import Any

import pytest

from keepserve.server.idlewatch import CLAIM_TIME, ENOUGH_SHOWN, PATIENCE, PATIENT, REPEAT_INTERVAL
from keepserve.telemetry.counters import IDLE_BOUNDS, IDLE_BY_PEER, IDLE_BY_US, Tally
from keepserve.telemetry.idle import ALARMING
from keepserve.telemetry.scoreboard import SAID_IDLE, Scoreboard
from tests.http2.frames import get as get2
from tests.http2.frames import goaway
from tests.support.harness import GET, Client, Worker, in_loop, turns
from tests.support.http2 import Http2Client

LAW = {"lb_idle_timeout": 60.0}
BELOW = {"lb_idle_timeout": 60.0, "keep_alive_timeout": 75.0}


async def used(worker: Worker, count: int = 1) -> list[Client]:
    """So many connections that have each carried a request, and are idle from now on."""
    clients = [worker.connect() for _ in range(count)]
    for client in clients:
        client.send(GET)
    await turns()
    worker.tick()
    return clients


async def closed_by_peer_after(worker: Worker, seconds: float, count: int) -> None:
    """Connections that a peer closes after so many seconds of idleness."""
    clients = await used(worker, count)
    worker.live(seconds)
    for client in clients:
        client.eof()
    await turns()
    worker.live(2)


async def idle_out(worker: Worker, count: int) -> list[Client]:
    """Connections that nobody closes before we do; those that are kept longer."""
    clients = await used(worker, count)
    worker.live(worker.state.settings.keep_alive_timeout + 0.2)
    await turns()
    return [client for client in clients if not client.transport.lost]


def counts(worker: Worker) -> tuple[int, int]:
    """Idle connections closed by the peer, and by us."""
    counted = Tally((worker.state.counters.words,))
    by_peer, by_us = (sum(counted.block(start, len(IDLE_BOUNDS) + 1)) for start in (IDLE_BY_PEER, IDLE_BY_US))
    return by_peer, by_us


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was warned of."""
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def found(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was found out."""
    return [message for message in caplog.messages if message.startswith("The idle timeout of the peers")]


@pytest.fixture(autouse=True)
def _everything_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "keepserve")


# What is recorded.


@in_loop
async def test_idle_closes_are_counted_by_who_closed() -> None:
    worker = Worker(**LAW)
    first, second, third = await used(worker, 3)
    first.eof()
    second.transport.lose(ConnectionResetError())
    await turns()
    assert counts(worker) == (2, 0)
    worker.live(81)
    await turns()
    assert third.transport.lost
    assert counts(worker) == (2, 1)


@in_loop
async def test_connections_that_were_of_no_use_count_for_nothing() -> None:
    worker = Worker(**LAW)
    worker.connect().eof()
    worker.connect()
    worker.live(81)
    await turns()
    assert not worker.state.connections
    assert counts(worker) == (0, 0)


@in_loop
async def test_connections_that_were_not_idle_count_for_nothing() -> None:
    async def waits(scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    worker = Worker(waits, **LAW)
    client = worker.connect()
    client.send(GET)
    await turns()
    client.transport.lose(ConnectionResetError())
    await turns()
    broken = worker.connect()
    broken.send(b"GET / HTTP/1.1\r\nHost")
    broken.eof()
    await turns()
    assert counts(worker) == (0, 0)


@in_loop
async def test_at_the_end_of_the_worker_nothing_is_learnt() -> None:
    worker = Worker(**LAW)
    clients = await used(worker, 30)
    worker.drain.stop()
    worker.live(1)
    for client in clients:
        if not client.transport.is_closing():
            client.eof()
    await turns()
    worker.live(10)
    await turns()
    assert not worker.state.connections
    assert counts(worker) == (0, 0)


@in_loop
async def test_nothing_is_left_on_the_wheel() -> None:
    worker = Worker(**LAW)
    await closed_by_peer_after(worker, 5, 30)
    assert worker.state.wheel._population == len(worker.state.connections) == 0


# What is found out.


def test_the_idle_timeout_of_the_peers_is_found_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    @in_loop
    async def test() -> None:
        worker = Worker(**LAW)
        await closed_by_peer_after(worker, 60, 19)
        assert not found(caplog)
        assert worker.state.idle_watch.idle_timeout() is None
        await closed_by_peer_after(worker, 60, 1)
        (line,) = found(caplog)
        assert line.endswith("s (20 of 20 idle closes over HTTP/1.1)")
        assert float(line.split(" looks like ")[1].split(" s ")[0]) == pytest.approx(60, rel=0.02)
        await closed_by_peer_after(worker, 60, 150)
        assert len(found(caplog)) == 1
        # With 200 it is sure.
        await closed_by_peer_after(worker, 60, 100)
        assert len(found(caplog)) == 2
        await closed_by_peer_after(worker, 60, 300)
        assert len(found(caplog)) == 2
        # It is below our own: that is how it should be.
        assert not warnings(caplog)

    test()


@pytest.mark.parametrize("timeout", [0.7, 1.0, 2.0, 10.0])
def test_the_inferred_timeout_is_within_a_tenth(timeout: float) -> None:
    @in_loop
    async def test() -> None:
        worker = Worker(**LAW)
        for number in range(200):
            # They become idle at any time between two ticks, and are seen to be at the next.
            worker.clock.advance(0.1 * (number % 7) / 7)
            client = worker.connect()
            client.send(GET)
            await turns(3)
            end = worker.clock.now + timeout
            while worker.clock.now + 0.1 <= end:
                worker.tick(0.1)
            worker.clock.now = end
            client.eof()
            await turns(3)
        cluster = worker.state.idle_watch.idle_timeout()
        assert cluster is not None
        assert cluster.of == 200
        assert cluster.seconds == pytest.approx(timeout, rel=0.1)

    test()


def test_http2_is_recorded_apart(caplog: pytest.LogCaptureFixture) -> None:
    @in_loop
    async def test() -> None:
        worker = Worker(http2="native", **LAW)
        clients = [Http2Client(worker) for _ in range(20)]
        for client in clients:
            client.send(get2(1))
            await client.turn()
        worker.live(30)
        for number, client in enumerate(clients):
            if number % 2:
                client.send(goaway(0))
            if not client.transport.is_closing():
                client.client.eof()
        await turns()
        worker.live(2)
        assert counts(worker) == (20, 0)
        (line,) = found(caplog)
        assert line.endswith("(20 of 20 idle closes over HTTP/2)")
        assert worker.state.idle_watch.idle_timeout("1.1") is None

    test()


# What is said.


def test_closing_before_the_balancer_is_said_at_once_and_then_once_an_hour(caplog: pytest.LogCaptureFixture) -> None:
    @in_loop
    async def test() -> None:
        worker = Worker(**BELOW)
        await idle_out(worker, ALARMING - 1)
        worker.live(2)
        assert not warnings(caplog)
        await idle_out(worker, 1)
        worker.live(2)
        assert len(warnings(caplog)) == 1
        assert f"Closed {ALARMING} idle connections before the balancer did" in warnings(caplog)[0]
        assert "longer than keep_alive_timeout, 75 s" in warnings(caplog)[0]
        assert "--lb none" in warnings(caplog)[0]
        worker.clock.advance(REPEAT_INTERVAL)
        await closed_by_peer_after(worker, 1, 1)
        assert len(warnings(caplog)) == 1, "nothing new of ours, nothing said"
        await idle_out(worker, 2)  # one of which may be kept
        worker.live(2)
        assert len(warnings(caplog)) == 2
        for _ in range(3):
            await idle_out(worker, 2)
        worker.live(2)
        assert len(warnings(caplog)) == 2

    test()


def test_connections_kept_longer_show_what_the_balancer_is_set_to(caplog: pytest.LogCaptureFixture) -> None:
    @in_loop
    async def test() -> None:
        worker = Worker(**BELOW)
        shown = 0
        kept: list[tuple[Client, float]] = []
        # The balancer closes after 350 s, which only those see that we keep so long.
        for _ in range(40):
            start = worker.clock.now
            kept += [(client, start + 350) for client in await idle_out(worker, 3)]
            assert len(kept) <= PATIENT
            for client, due in list(kept):
                if worker.clock.now >= due - 50:
                    worker.live(due - worker.clock.now)
                    kept.remove((client, due))
                    assert not client.transport.is_closing()
                    client.eof()
                    shown += 1
            await turns()
            worker.live(2)
            if shown >= ENOUGH_SHOWN:
                break
        assert shown == ENOUGH_SHOWN
        unknown, known = warnings(caplog)
        assert "longer than keep_alive_timeout, 75 s" in unknown
        assert "idle connections before the balancer did; its idle timeout looks like 350 s" in known
        assert "keep_alive_timeout is 75 s; set --lb-idle-timeout 350 and --keep-alive-timeout 370." in known

    test()


def test_a_balancer_that_closes_when_we_do_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    @in_loop
    async def test() -> None:
        worker = Worker(**LAW)
        await closed_by_peer_after(worker, 79.6, 30)
        (line,) = warnings(caplog)
        assert "Idle connections are closed by the balancer as late as we would close them" in line
        # The keep-alive time follows from the balancer's, so only that is to be set.
        assert "looks like 80 s, keep_alive_timeout is 80 s; set --lb-idle-timeout 80. Until" in line

    test()


@pytest.mark.parametrize("timeout", [60.0, 75.0, 180.0, 350.0, 600.0, 900.0, 1800.0, 3600.0, 4000.0])
@pytest.mark.parametrize("late", [0.0, 0.3])
def test_a_balancer_in_order_is_not_warned_of_however_long_it_waits(
    timeout: float, late: float, caplog: pytest.LogCaptureFixture
) -> None:
    @in_loop
    async def test() -> None:
        worker = Worker(lb_idle_timeout=timeout)
        clients = await used(worker, 30)
        worker.tick(timeout + late)
        for client in clients:
            client.eof()
        await turns()
        worker.live(3)
        assert counts(worker) == (30, 0)
        assert found(caplog)
        assert not warnings(caplog)

    test()


def test_a_balancer_that_closes_first_is_not_blamed_for_a_few_others(caplog: pytest.LogCaptureFixture) -> None:
    @in_loop
    async def test() -> None:
        worker = Worker(**LAW)
        for _ in range(10):
            await closed_by_peer_after(worker, 60, 20)
            await idle_out(worker, 2)
        worker.live(2)
        assert counts(worker)[1] >= ALARMING
        assert not warnings(caplog)

    test()


def test_a_pool_that_drops_its_surplus_at_once_does_not_hide_that_we_close_first(
    caplog: pytest.LogCaptureFixture,
) -> None:
    @in_loop
    async def test() -> None:
        worker = Worker(**BELOW)
        await closed_by_peer_after(worker, 0, 500)
        await closed_by_peer_after(worker, 5, 100)
        await idle_out(worker, ALARMING)
        worker.live(2)
        assert len(warnings(caplog)) == 1

    test()


def test_without_a_balancer_nothing_is_said_and_nobody_kept(caplog: pytest.LogCaptureFixture) -> None:
    @in_loop
    async def test() -> None:
        worker = Worker(lb_idle_timeout=0, keep_alive_timeout=10.0)
        assert not await idle_out(worker, 10)
        assert not await idle_out(worker, 30)
        assert counts(worker) == (0, 40)
        worker.live(2)
        assert not warnings(caplog)

    test()


def test_with_http2_closing_first_loses_nothing_and_is_not_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    @in_loop
    async def test() -> None:
        worker = Worker(http2="native", **BELOW)
        clients = [Http2Client(worker) for _ in range(10)]
        for client in clients:
            client.send(get2(1))
            await client.turn()
        worker.live(80)
        for client in clients:
            client.client.eof()
        await turns()
        worker.live(2)
        assert counts(worker) == (0, 10)
        assert not warnings(caplog)

    test()


def test_a_request_that_came_as_our_clock_ran_out_counts_as_a_close_of_ours(
    caplog: pytest.LogCaptureFixture,
) -> None:
    @in_loop
    async def test() -> None:
        worker = Worker(**BELOW)
        with contextlib.ExitStack() as stack:
            for _ in range(ALARMING):
                ours, theirs = socket.socketpair()
                stack.enter_context(ours)
                stack.enter_context(theirs)
                client = worker.connect(sock=ours)
                client.send(GET)
                await turns()
                worker.tick()
                theirs.send(GET)  # the loop has not read it yet
                worker.live(75.2)
                client.send(GET)
                await turns()
                assert b"connection: close" in client.transport.sent.lower()
                client.eof()
                await turns()
        worker.live(2)
        assert counts(worker) == (0, ALARMING)
        assert len(warnings(caplog)) == 1

    test()


# Those that are kept longer.


@in_loop
async def test_those_that_are_not_to_be_closed_yet_are_not_asked() -> None:
    worker = Worker(**BELOW)
    assert not await idle_out(worker, PATIENT)
    clients = await used(worker, 2 * PATIENT)
    worker.live(40)
    for client in clients:
        client.send(GET)
    await turns()
    # The wheel finds them at their old place, and again at the new one.
    worker.live(80)
    await turns()
    assert sum(not client.transport.lost for client in clients) == 2


@in_loop
async def test_http2_connections_are_not_kept_longer() -> None:
    worker = Worker(http2="native", **BELOW)
    assert not await idle_out(worker, PATIENT)
    clients = [Http2Client(worker) for _ in range(2 * PATIENT)]
    for client in clients:
        client.send(get2(1))
        await client.turn()
    worker.live(80)
    for client in clients:
        assert client.client.connection.leaving
        client.client.eof()
    await turns()


@in_loop
async def test_only_some_are_kept_longer_and_they_serve_as_any_other() -> None:
    worker = Worker(**BELOW)
    assert not await idle_out(worker, PATIENT)
    kept = await idle_out(worker, 100)
    assert len(kept) == PATIENT
    assert not await idle_out(worker, 20), "there are enough"
    client = kept[0]
    worker.live(200)
    client.send(GET[:10])
    worker.live(5)
    client.send(GET[10:])
    await turns()
    assert client.statuses == [200, 200]
    assert b"close" not in client.transport.sent
    # When one has gone, another is kept.
    client.eof()
    await turns()
    assert len(await idle_out(worker, 20)) == 1


@in_loop
async def test_they_are_not_kept_for_ever() -> None:
    worker = Worker(**BELOW)
    await idle_out(worker, PATIENT)
    kept = await idle_out(worker, 100)
    worker.clock.advance(PATIENCE - 200)
    worker.tick()
    await turns()
    assert not any(client.transport.lost for client in kept)
    worker.live(200)
    await turns()
    assert all(client.transport.lost for client in kept)


@in_loop
async def test_the_end_of_the_worker_does_not_wait_for_them() -> None:
    worker = Worker(**BELOW)
    await idle_out(worker, PATIENT)
    kept = await idle_out(worker, 100)
    worker.drain.stop()
    worker.live(worker.state.settings.drain_idle + 0.5)
    await turns()
    assert all(client.transport.lost for client in kept)


# Several workers.


def test_what_one_worker_has_said_the_others_need_not(caplog: pytest.LogCaptureFixture) -> None:
    @in_loop
    async def test() -> None:
        board = Scoreboard(2)
        workers = [Worker(common=board.common, **BELOW) for _ in range(2)]
        for worker in workers:
            await idle_out(worker, ALARMING)
            worker.live(2)
        assert len(warnings(caplog)) == 1
        workers[1].clock.advance(REPEAT_INTERVAL)
        await idle_out(workers[1], 1)
        workers[1].live(2)
        assert len(warnings(caplog)) == 2
        assert f"Closed {ALARMING + 1} idle" in warnings(caplog)[1]

    test()


def test_of_workers_that_have_reason_at_the_same_moment_one_speaks(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    @in_loop
    async def test() -> None:
        board = Scoreboard(2)
        workers = [Worker(common=board.common, **BELOW) for _ in range(2)]
        for worker in workers:
            await idle_out(worker, ALARMING)
        unspoken = board.common[SAID_IDLE]
        # Both look before either has written: each finds the word free.
        for pid, worker in enumerate(workers, 4711):
            monkeypatch.setattr(os, "getpid", lambda pid=pid: pid)
            board.common[SAID_IDLE] = unspoken
            worker.live(1.1)
        assert not warnings(caplog)
        for worker in workers:
            worker.live(CLAIM_TIME + 0.2)
        assert len(warnings(caplog)) == 1

    test()


def test_what_one_worker_has_said_with_a_number_others_do_not_say_without(caplog: pytest.LogCaptureFixture) -> None:
    @in_loop
    async def test() -> None:
        board = Scoreboard(2)
        first, second = Worker(common=board.common, **BELOW), Worker(common=board.common, **BELOW)
        await closed_by_peer_after(first, 74.6, 30)
        assert len(warnings(caplog)) == 1
        await idle_out(second, ALARMING)
        second.live(2)
        assert len(warnings(caplog)) == 1

    test()
