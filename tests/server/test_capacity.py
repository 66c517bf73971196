"""Too many connections: who has to go, who is let in, and what is said about it."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from keepserve.server.capacity import Capacity, connection_limit
from keepserve.server.wheel import Wheel
from keepserve.wire.engine import NEVER
from tests.http2.frames import get as get2
from tests.support.applications import Slow
from tests.support.clock import FakeClock
from tests.support.harness import GET, Client, Worker, get, in_loop, turns
from tests.support.http2 import Http2Client, stop


class Door:
    """What the acceptor was told."""

    def __init__(self, capacity: Capacity) -> None:
        self.calls: list[str] = []
        capacity.door = self

    def pause(self) -> None:
        self.calls.append("pause")

    def resume(self) -> None:
        self.calls.append("resume")


def gone(clients: list[Client]) -> list[int]:
    """Which of these were closed."""
    return [number for number, client in enumerate(clients) if client.transport.is_closing()]


@contextmanager
def one_line(caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    """The lines logged in this block; exactly one."""
    caplog.clear()
    lines: list[str] = []
    with caplog.at_level(logging.WARNING, "keepserve"):
        yield lines
    lines += caplog.messages
    assert len(lines) == 1, lines


# The limit.


@pytest.mark.parametrize(
    ("wanted", "files", "limit"),
    [
        (None, 1024, 960),
        (None, 128, 64),
        (None, 64, 1),
        (None, 10, 1),
        (100, 1024, 100),
        (5000, 1024, 960),
        (5000, 0, 5000),
        (None, 0, 2**62),
    ],
)
def test_the_limit_is_what_was_asked_for_but_no_more_than_open_files_leave(
    wanted: int | None, files: int, limit: int
) -> None:
    assert connection_limit(wanted, files) == limit


@pytest.mark.parametrize(
    ("wanted", "files", "said"),
    [
        (None, 128, "At most 128 files may be open, which leaves 64 connections"),
        (2000, 1024, "limit_connections is 2000, but at most 1024 files may be open, which leaves 960"),
        (20, 128, ""),
        (None, 1024, ""),
    ],
)
def test_a_limit_that_was_hardly_meant_is_mentioned(
    wanted: int | None, files: int, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    clock = FakeClock()
    Capacity(set(), Wheel(clock=clock), clock, wanted, files).explain()
    assert [message.startswith(said) for message in caplog.messages] == ([True] if said else [])


# Making room.


@in_loop
async def test_below_94_per_cent_nobody_has_to_go() -> None:
    worker = Worker(limit_connections=100)
    clients = [worker.connect() for _ in range(94)]
    worker.live(5)
    assert gone(clients) == []


@in_loop
async def test_above_it_the_one_idle_for_longest_makes_room() -> None:
    worker = Worker(limit_connections=100)
    clients = [worker.connect() for _ in range(94)]
    worker.live(2)
    clients[0].send(GET)
    await turns()
    worker.live(2)
    clients += [worker.connect()]
    await turns()
    assert gone(clients) == [1], "the first was idle before, but has been used since"
    clients += [worker.connect(), worker.connect()]
    await turns()
    assert gone(clients) == [1, 2, 3]
    assert worker.closed == {"evicted": 3}


@in_loop
async def test_many_go_at_once_so_that_all_are_looked_at_rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0
    look = Capacity._look

    def counted(self: Capacity, now: float) -> None:
        nonlocal looks
        looks += 1
        look(self, now)

    monkeypatch.setattr(Capacity, "_look", counted)
    worker = Worker(limit_connections=1000)
    clients = [worker.connect() for _ in range(940)]
    worker.live(2)
    for _ in range(100):
        clients.append(worker.connect())
        await turns(2)
    assert looks == 10
    assert gone(clients) == list(range(100))
    # Nobody can be closed now: all have just come.
    busy = Worker(limit_connections=1000)
    looks = 0
    for _ in range(1000):
        busy.connect()
    assert looks <= 7


@in_loop
async def test_who_has_just_come_or_just_been_answered_is_spared() -> None:
    worker = Worker(limit_connections=10)
    clients = [worker.connect() for _ in range(9)]
    worker.live(2)
    for client in clients[1:]:
        client.send(GET)
    await turns()
    worker.live(0.5)
    clients += [worker.connect(), worker.connect(), worker.connect()]
    await turns()
    assert gone(clients) == [0]
    worker.live(1.2)
    await turns()
    assert gone(clients) == [0, 1, 2], "a moment later there are others"


@in_loop
async def test_requests_under_way_are_finished_and_their_response_says_that_it_was_the_last() -> None:
    app = Slow()
    worker = Worker(app, limit_connections=10)
    busy = worker.connect()
    busy.send(get(b"/busy"))
    half = worker.connect()
    half.send(b"GET / HTTP/1.1\r\n")
    clients = [worker.connect() for _ in range(7)]
    worker.live(2)
    clients.append(worker.connect())
    app.open("/busy")
    app.open("/")
    half.send(b"Host: x\r\n\r\n")
    await turns()
    assert gone(clients) == [0]
    assert [client.answers()[0].closes for client in (busy, half)] == [True, True]
    assert [client.statuses for client in (busy, half)] == [[200], [200]]
    busy.eof()
    half.eof()
    await turns()
    assert worker.closed == {"evicted": 3}
    worker.live(2)
    assert gone(clients) == [0]


@in_loop
async def test_a_request_that_waits_in_the_socket_is_served_before_the_close() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(GET)
        worker = Worker(limit_connections=10)
        client = worker.connect(sock=ours)
        others = [worker.connect() for _ in range(8)]
        worker.live(2)
        others += [worker.connect()]
        await turns()
        assert client.transport.events == []
        client.send(GET)
        await turns()
        (answer,) = client.answers()
        assert (answer.status, answer.closes) == (200, True)


@in_loop
async def test_a_client_that_is_waited_for_to_close_is_not_waited_for_when_room_is_wanting() -> None:
    worker = Worker(limit_connections=10)
    client = worker.connect()
    client.send(b"nonsense\r\n\r\n")
    assert (client.statuses, client.transport.events) == ([400], ["eof"])
    worker.live(1.5)
    others = [worker.connect() for _ in range(9)]
    await turns()
    assert client.transport.events == ["eof", "close"]
    assert gone(others) == []
    assert worker.closed == {"bad_request": 1}


@in_loop
async def test_http2_is_told_to_go_and_a_busy_connection_of_it_stays() -> None:
    app = Slow()
    worker = Worker(app, limit_connections=10)
    busy, idle = Http2Client(worker), Http2Client(worker)
    busy.send(get2(1, b"/busy"))
    await busy.turn()
    idle.look()
    worker.live(2)
    for _ in range(8):
        worker.connect()
    await turns()
    idle.look()
    busy.look()
    assert (idle.goaways, busy.goaways) == ([(2**31 - 1, 0)], [])
    worker.live(2)  # it has a round trip to send what it had begun
    idle.look()
    assert idle.goaways[-1] == (0, 0)
    worker.live(2)
    await turns()
    assert worker.closed == {"evicted": 1}
    app.open("/busy")
    await busy.turn()
    assert busy.whole(1)


# At the limit.


@in_loop
async def test_at_the_limit_accepting_stops_until_there_is_room() -> None:
    worker = Worker(limit_connections=20)
    door = Door(worker.state.capacity)
    clients = [worker.connect() for _ in range(19)]
    assert door.calls == []
    clients.append(worker.connect())
    assert door.calls == ["pause"]
    worker.live(0.9)
    await turns()
    assert (door.calls, gone(clients)) == (["pause"], [])
    worker.live(0.8)
    await turns()
    assert (door.calls, gone(clients)) == (["pause", "resume"], [0, 1])


@in_loop
async def test_with_nobody_idle_those_who_come_wait_until_somebody_leaves() -> None:
    app = Slow()
    worker = Worker(app, limit_connections=10)
    door = Door(worker.state.capacity)
    clients = [worker.connect() for _ in range(10)]
    for client in clients:
        client.send(get(b"/slow"))
    worker.live(60)
    assert (door.calls, gone(clients)) == (["pause"], [])
    clients[0].transport.lose(ConnectionResetError())
    assert door.calls == ["pause", "resume"]
    app.open("/slow")
    await turns()


@in_loop
async def test_a_stopping_server_leaves_its_connections_to_the_drain() -> None:
    worker = Worker(limit_connections=10, drain_idle=30.0)
    door = Door(worker.state.capacity)
    clients = [worker.connect() for _ in range(10)]
    stop(worker)
    worker.state.capacity.close()
    clients += [worker.connect() for _ in range(10)]
    worker.live(5)
    worker.state.capacity.exhausted()
    assert (door.calls, gone(clients)) == (["pause"], [])


@in_loop
async def test_calm_costs_nothing() -> None:
    """Nothing is left on the wheel when all is said and done."""
    worker = Worker(limit_connections=10)
    clients = [worker.connect() for _ in range(10)]
    worker.live(2)
    for client in clients:
        if not client.transport.is_closing():
            client.transport.lose()
    await turns()
    worker.live(15)
    assert worker.state.wheel._population == len(worker.state.connections) == 0


# Out of descriptors.


@in_loop
async def test_when_descriptors_run_out_earlier_the_limit_follows_and_recovers_slowly() -> None:
    worker = Worker(limit_connections=200)
    capacity = worker.state.capacity
    door = Door(capacity)
    clients = [worker.connect() for _ in range(100)]
    worker.live(2)
    capacity.exhausted()
    await turns()
    assert (capacity.limit, gone(clients)) == (100, list(range(10)))
    assert door.calls == ["pause"], "not at once: it would most likely fail again"
    worker.live(0.6)
    assert door.calls == ["pause", "resume"]
    worker.live(9.6)
    assert capacity.limit == 110
    worker.live(41)
    assert capacity.limit == 150
    capacity.exhausted()
    assert capacity.limit == 90
    worker.live(9)
    assert capacity.limit == 90
    worker.live(200)
    assert capacity.limit == 200


@in_loop
async def test_accepting_goes_on_in_time_also_while_the_limit_recovers() -> None:
    worker = Worker(limit_connections=200)
    capacity = worker.state.capacity
    door = Door(capacity)
    for _ in range(20):
        worker.connect()
    worker.live(2)
    capacity.exhausted()
    await turns()
    worker.live(2)
    assert (door.calls, capacity.limit) == (["pause", "resume"], 20)
    while door.calls[-1] == "resume":
        worker.connect()
    await turns()
    assert (door.calls[2:], capacity.limit) == (["pause", "resume"], 20)


@in_loop
async def test_with_all_descriptors_held_by_the_application_accepting_is_tried_now_and_then() -> None:
    worker = Worker(limit_connections=200)
    capacity = worker.state.capacity
    door = Door(capacity)
    tries = 0

    def try_again() -> None:
        nonlocal tries
        tries += 1
        capacity.exhausted()

    door.resume = try_again  # type: ignore[method-assign]  # the stand-in's, so that each try fails
    worker.state.wheel.add(idle := Idle())
    capacity.exhausted()
    worker.live(10)
    assert 2 <= tries <= 20
    worker.state.wheel.forget(idle)


class Idle:
    """Something to keep the wheel turning."""

    slot = -1

    def settle(self, now: float) -> float:
        return NEVER

    expire = settle


# What is said.


@in_loop
async def test_the_log_has_a_line_at_once_and_then_one_in_ten_seconds_with_the_numbers(
    caplog: pytest.LogCaptureFixture,
) -> None:
    worker = Worker(limit_connections=50)
    Door(worker.state.capacity)
    for _ in range(47):
        worker.connect()
    worker.live(2)
    with one_line(caplog) as lines:
        worker.connect()
        await turns()
    assert lines[0].startswith("48 connections are open, of at most 50: 1 idle ones were closed to make room.")
    assert "ulimit -n, LimitNOFILE=" in lines[0]
    assert "limit_connections (now 50)" in lines[0]
    with one_line(caplog) as lines:
        for _ in range(80):
            worker.live(0.1)
            worker.connect()
            await turns(2)
        worker.live(9.8)
    assert "80 idle ones were closed" in lines[0]


@in_loop
async def test_running_out_of_descriptors_is_said_with_what_to_do(caplog: pytest.LogCaptureFixture) -> None:
    worker = Worker(limit_connections=50)
    for _ in range(20):
        worker.connect()
    with one_line(caplog) as lines:
        for _ in range(5):
            worker.state.capacity.exhausted()
    assert "can be accepted at 20, fewer than the 50" in lines[0]
    assert "LimitNOFILE" in lines[0]
    assert "accepting is paused" in lines[0]
