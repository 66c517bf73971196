"""Requests without a byte of a response when the balancer has lost its patience: counted once, named now and then."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from keepserve.server.overdue import REPORT_INTERVAL
from keepserve.telemetry.counters import OVERDUE
from tests.http2.frames import get as get2
from tests.http2.frames import rst
from tests.support.applications import Slow
from tests.support.harness import GET, Client, Worker, body, get, in_loop, post, start, turns
from tests.support.http2 import Http2Client

PATIENCE = {"lb_idle_timeout": 60.0}


async def asks(worker: Worker, *targets: bytes) -> list[Client]:
    """Requests for these, each on a connection of its own."""
    clients = [worker.connect() for _ in targets]
    for client, target in zip(clients, targets, strict=True):
        client.send(get(target))
    await turns()
    return clients


def overdue(worker: Worker) -> int:
    """How many have been counted."""
    return worker.state.counters.words[OVERDUE]


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was warned of, to the first colon."""
    return [record.getMessage().partition(":")[0] for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_request_is_named_when_the_balancer_has_given_it_up(caplog: pytest.LogCaptureFixture) -> None:
    @in_loop
    async def test() -> None:
        app = Slow()
        worker = Worker(app, **PATIENCE)
        (client,) = await asks(worker, b"/report?secret=1")
        worker.live(59.8)
        assert overdue(worker) == 0
        worker.live(0.4)
        assert overdue(worker) == 1
        worker.live(200)
        assert overdue(worker) == 1
        app.open("/report")
        await turns()
        assert client.statuses == [200]
        (line,) = caplog.messages
        assert line.startswith("GET /report ran for 60")
        assert " without a byte of its response: lb_idle_timeout is 60 s, the balancer has answered 504" in line

    test()


def test_others_in_the_same_minute_are_only_counted(caplog: pytest.LogCaptureFixture) -> None:
    @in_loop
    async def test() -> None:
        app = Slow()
        worker = Worker(app, **PATIENCE)
        await asks(worker, b"/first")
        worker.live(10)
        await asks(worker, b"/second")
        worker.live(5)
        await asks(worker, b"/third")
        worker.live(46)
        (line,) = lines(caplog)
        assert line.startswith("GET /first ran for 60")
        assert line.endswith(" s without a byte of its response")
        worker.live(15)
        assert overdue(worker) == 3
        assert len(lines(caplog)) == 1
        worker.live(REPORT_INTERVAL - 14)
        assert len(lines(caplog)) == 2
        assert "GET /second ran for 60" in lines(caplog)[1]
        assert lines(caplog)[1].endswith("and 1 more like it")
        for path in app.gates:
            app.open(path)
        await turns()

    test()


@in_loop
async def test_answered_in_time_is_not_overdue() -> None:
    app = Slow()
    worker = Worker(app, **PATIENCE)
    await asks(worker, b"/a")
    worker.live(59)
    app.open("/a")
    await turns()
    worker.live(100)
    assert overdue(worker) == 0


@in_loop
async def test_who_begins_long_after_a_look_is_seen_in_time() -> None:
    app = Slow()
    worker = Worker(app, **PATIENCE)
    await asks(worker, b"/quick")
    app.open("/quick")
    for number in range(4):
        worker.live(13.7)
        await asks(worker, b"/%d" % number)
        worker.live(60.2)
        assert overdue(worker) == number + 1
    for path in list(app.gates):
        app.open(path)
    await turns()


@in_loop
async def test_a_response_that_has_begun_may_take_as_long_as_it_likes() -> None:
    async def streams(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        await send(body(b"x", more=True))
        while (await receive())["type"] != "http.disconnect":
            pass

    worker = Worker(streams, **PATIENCE)
    (client,) = await asks(worker, b"/events")
    worker.live(200)
    client.eof()
    client.transport.lose()
    await turns()
    assert overdue(worker) == 0


@in_loop
async def test_the_upload_of_a_request_does_not_count() -> None:
    app = Slow()
    worker = Worker(app, **PATIENCE, body_min_rate=0)
    client = worker.connect()
    client.send(post(b"x", length=13))
    for _ in range(12):
        worker.live(20)
        client.send(b"x")
        await turns()
    assert overdue(worker) == 0
    worker.live(59.5)
    assert overdue(worker) == 0
    worker.live(61)
    assert overdue(worker) == 1
    app.open("/")
    await turns()


def test_a_balancer_that_hangs_up_shows_it_too(caplog: pytest.LogCaptureFixture) -> None:
    """Its clock began before ours."""

    @in_loop
    async def test() -> None:
        app = Slow()
        worker = Worker(app, **PATIENCE)
        first, second = await asks(worker, b"/first", b"/second")
        worker.live(30)
        first.transport.lose()  # this client has lost interest itself
        worker.live(29.8)
        second.transport.lose()
        await turns()
        assert overdue(worker) == 1
        assert lines(caplog) == ["GET /second ran for 59.8 s without a byte of its response"]
        app.open("/first")
        app.open("/second")
        await turns()
        worker.live(1)
        assert worker.state.wheel._population == 0

    test()


@in_loop
async def test_a_client_that_leaves_within_its_upload_does_not_count() -> None:
    app = Slow()
    worker = Worker(app, **PATIENCE, body_min_rate=0, body_timeout=100)
    client = worker.connect()
    client.send(post(b"x", length=13))
    await turns()
    worker.live(70)
    client.transport.lose()
    app.open("/")
    await turns()
    assert overdue(worker) == 0


@in_loop
async def test_who_was_counted_and_then_leaves_is_not_counted_again() -> None:
    app = Slow()
    worker = Worker(app, **PATIENCE)
    (client,) = await asks(worker, b"/a")
    worker.live(61)
    client.transport.lose()
    app.open("/a")
    await turns()
    assert overdue(worker) == 1


@in_loop
async def test_streams_of_http2_count_each() -> None:
    app = Slow()
    worker = Worker(app, http2="native", **PATIENCE)
    client = Http2Client(worker)
    client.send(get2(1, b"/a"), get2(3, b"/b"), get2(5, b"/c"))
    await client.turn()
    worker.live(30)
    app.open("/b")
    await client.turn()
    worker.live(29.9)
    client.send(rst(5))
    await client.turn()
    worker.live(1)
    assert overdue(worker) == 2
    app.open("/a")
    app.open("/c")
    await client.turn()


def test_what_is_left_to_say_does_not_wait_for_the_next_look(caplog: pytest.LogCaptureFixture) -> None:
    @in_loop
    async def test() -> None:
        app = Slow()
        worker = Worker(app, lb_idle_timeout=300)
        stays, first, second = await asks(worker, b"/stays", b"/first", b"/second")
        app.open("/stays")
        await turns()
        worker.live(299.5)
        first.transport.lose()
        second.transport.lose()
        app.open("/first")
        app.open("/second")
        await turns()
        worker.live(REPORT_INTERVAL + 0.2)
        assert len(lines(caplog)) == 2
        stays.eof()
        await turns()

    test()


def test_what_is_left_to_say_is_said_after_the_last_connection(caplog: pytest.LogCaptureFixture) -> None:
    @in_loop
    async def test() -> None:
        app = Slow()
        worker = Worker(app, **PATIENCE)
        clients = await asks(worker, b"/first", b"/second", b"/third")
        worker.live(59.9)
        for client in clients:
            client.transport.lose()
        app.open("/first")
        app.open("/second")
        app.open("/third")
        await turns()
        assert len(lines(caplog)) == 1
        assert not worker.state.connections
        worker.live(REPORT_INTERVAL + 0.2)
        assert len(lines(caplog)) == 2
        assert lines(caplog)[1].endswith("and 1 more like it")
        assert worker.state.wheel._population == 0
        # And whoever comes then is watched like the first.
        await asks(worker, b"/fourth")
        worker.live(60.2)
        assert overdue(worker) == 4
        app.open("/fourth")
        await turns()

    test()


@in_loop
async def test_without_a_balancer_nobody_is_overdue() -> None:
    app = Slow()
    worker = Worker(app, lb_idle_timeout=0)
    first, second = await asks(worker, b"/a", b"/b")
    worker.live(1000)
    second.transport.lose()
    app.open("/a")
    app.open("/b")
    await turns()
    first.eof()
    await turns()
    worker.live(1.5)
    assert overdue(worker) == 0
    assert worker.state.wheel._population == 0


@in_loop
async def test_an_idle_worker_is_not_looked_at() -> None:
    worker = Worker(**PATIENCE)
    client = worker.connect()
    client.send(GET)
    await turns()
    client.eof()
    await turns()
    worker.live(1.5)
    assert worker.state.wheel._population == 0
    assert not worker.state.wheel._slots
