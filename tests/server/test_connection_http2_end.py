"""How an HTTP/2 connection ends on a fake socket: draining, idling, ageing, closing, breaking."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest

from keepserve.telemetry.reasons import CloseReason
from tests.http2.frames import PREFACE, Code, Kind, data, get, goaway, post, settings, window_update
from tests.support.applications import Slow
from tests.support.harness import GET, Receive, Scope, Send, Worker, answer, in_loop, turns
from tests.support.http2 import Http2Client, stop

NO_LIMIT = 2**31 - 1


# Clocks, as the wheel turns.


@in_loop
async def test_an_idle_connection_is_told_before_it_is_closed() -> None:
    """K4, K5: at the time that was set, after the first request as well."""
    worker = Worker(keep_alive_timeout=80.0)
    client = Http2Client(worker)
    client.send(get(1))
    await client.turn()
    worker.tick()
    worker.live(79.8)
    await client.turn()
    assert client.goaways == []
    worker.live(0.3)
    await client.turn()
    assert client.goaways == [(NO_LIMIT, Code.NO_ERROR)]
    client.send(get(3))
    await client.turn()
    assert client.whole(3), "it had been sent before the client could know"
    worker.live(2.5)
    await client.turn()
    assert client.goaways[1:] == [(3, Code.NO_ERROR)]
    assert client.transport.events == ["eof", "close"]
    assert worker.closed == {"idle_timeout": 1}


@in_loop
async def test_a_new_connection_that_sends_nothing_is_ended_by_the_idle_clock() -> None:
    """K1: which protocol it would have spoken is not known."""
    worker = Worker(keep_alive_timeout=80.0)
    client = Http2Client(worker, greeted=False)
    worker.live(80.2)
    await client.turn()
    assert client.transport.events == ["close"]
    assert worker.closed == {"idle_timeout": 1}


@in_loop
async def test_a_preface_that_never_ends_is_ended_by_the_clock_of_heads() -> None:
    worker = Worker(request_head_timeout=10.0)
    half, most = Http2Client(worker, greeted=False), Http2Client(worker, greeted=False)
    half.send(PREFACE[:12])
    most.send(PREFACE)
    worker.live(10.2)
    await most.turn()
    assert half.client.statuses == [408]
    assert most.goaways == [(0, Code.SETTINGS_TIMEOUT)]
    await turns()
    worker.live(6.0)
    await turns()
    assert worker.closed == {"head_timeout": 2}


@in_loop
async def test_a_slow_application_is_waited_for() -> None:
    """K7: no clock of reading cuts a client that waits."""
    app = Slow()
    worker = Worker(app)
    client = Http2Client(worker)
    client.send(get(1), post(3, b"/3"), data(3, b"x", end=True))
    await client.turn()
    worker.live(1000.0)
    app.open("/")
    app.open("/3")
    await client.turn()
    assert client.whole(1, 3)
    assert client.goaways == []


@in_loop
async def test_a_connection_that_has_had_its_requests_ends_when_they_are_done() -> None:
    """K8."""
    app = Slow()
    worker = Worker(app, http2_max_connection_requests=2)
    client = Http2Client(worker)
    client.send(*(get(number, b"/%d" % number) for number in (1, 3, 5, 7)))
    await client.turn()
    client.pong()
    for number in (7, 5, 3, 1):
        assert client.transport.events == []
        app.open(f"/{number}")
        await client.turn()
    assert client.whole(1, 3, 5, 7)
    assert client.goaways == [(NO_LIMIT, Code.NO_ERROR), (7, Code.NO_ERROR)]
    assert client.transport.events == ["eof"]
    client.client.eof()
    await client.turn()
    assert worker.closed == {"max_requests": 1}


@in_loop
async def test_a_connections_age_is_counted_from_its_switch_to_http2() -> None:
    worker = Worker(max_connection_age=100.0)
    client = Http2Client(worker)
    client.send(get(1))
    await client.turn()
    for _ in range(2):
        worker.live(49.9)
        assert client.goaways == []
        client.send(get(2 * len(client.peer.streams) + 1))
        await client.turn()
    worker.live(0.5)
    await client.turn()
    assert client.goaways == [(NO_LIMIT, Code.NO_ERROR)]


@in_loop
async def test_a_dead_peer_is_found_by_a_ping() -> None:
    worker = Worker(http2_ping_interval=10.0, http2_ping_timeout=5.0)
    client = Http2Client(worker)
    await client.turn()
    worker.live(10.2)
    await client.turn()
    assert len(client.came(Kind.PING)) == 1
    client.pong()
    worker.live(10.2)
    await client.turn()
    assert len(client.came(Kind.PING)) == 2
    worker.live(5.2)
    await client.turn()
    worker.live(2.0)
    await client.turn()
    assert worker.closed == {"ping_timeout": 1}


@in_loop
async def test_a_client_that_takes_nothing_at_all_is_dropped() -> None:
    """Its windows are open, its socket is full: the clock of the connection, not of a stream."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"x" * 400_000)

    worker = Worker(app, write_timeout=60.0, write_min_rate=0)
    client = Http2Client(worker, own_settings=[(4, 10_000_000)], capacity=1000)
    client.send(window_update(0, 10_000_000), get(1))
    await turns()
    worker.live(59.0)
    assert client.transport.events == ["pause"]
    worker.live(2.0)
    await turns()
    assert client.transport.events == ["pause", "abort"]
    assert worker.closed == {"write_stall": 1}


@in_loop
async def test_a_client_that_reads_slowly_is_neither_late_nor_stalled() -> None:
    """Nothing is read from it while its socket is full; its ACK, its body, its window updates wait there."""
    gate = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/upload":
            while (await receive()).get("more_body"):
                pass
            await answer(send, b"got it")
        elif scope["path"] == "/small-window":
            await answer(send, b"y" * 80_000)
        else:
            await answer(send, b"x" * 300_000)

    worker = Worker(app)
    client = Http2Client(worker, greeted=False, capacity=1000)
    client.send(PREFACE, settings((4, 10_000_000)), window_update(0, 10_000_000), get(1, b"/large"))
    client.send(post(3, b"/upload"))
    await turns()
    assert not client.transport.reading
    for _ in range(100):
        client.transport.take(1000)
        await turns()
        worker.live(1.0)
    assert not client.transport.reading
    while client.transport.get_write_buffer_size():
        client.transport.take(50_000)
        await turns()
        worker.tick(0.1)
    client.send(settings(ack=True), data(3, b"abc", end=True))
    client.transport.take(10_000)
    await client.turn()
    assert client.whole(1, 3)
    assert client.goaways == []
    gate.set()


# The peer's end.


@in_loop
async def test_a_client_that_sends_no_more_gets_its_answers() -> None:
    app = Slow()
    worker = Worker(app)
    client = Http2Client(worker)
    client.send(get(1, b"/1"), get(3, b"/3"))
    await client.turn()
    client.client.eof()
    app.open("/1")
    await client.turn()
    assert client.whole(1)
    assert client.transport.events == []
    app.open("/3")
    await client.turn()
    assert client.whole(3)
    assert client.transport.events == ["close"]
    assert worker.closed == {"peer_left": 1}


@in_loop
async def test_an_idle_client_that_sends_no_more_is_let_go() -> None:
    worker = Worker()
    client = Http2Client(worker)
    client.send(get(1))
    await client.turn()
    client.client.eof()
    await client.turn()
    assert client.transport.lost
    assert worker.closed == {"peer_closed": 1}


@in_loop
async def test_a_client_that_says_goaway_gets_its_answers_and_the_close() -> None:
    app = Slow()
    worker = Worker(app)
    client = Http2Client(worker)
    client.send(get(1, b"/1"), goaway(0))
    await client.turn()
    app.open("/1")
    await client.turn()
    assert client.whole(1)
    assert client.goaways == [(1, Code.NO_ERROR)]
    client.client.eof()
    await client.turn()
    assert worker.closed == {"client_asked": 1}


@pytest.mark.parametrize("idle", [True, False])
@in_loop
async def test_a_connection_that_breaks_is_counted_by_what_it_was_doing(idle: bool) -> None:
    app = Slow()
    worker = Worker(app)
    client = Http2Client(worker)
    if not idle:
        client.send(get(1))
    await client.turn()
    client.transport.lose()
    app.open("/")
    await client.turn()
    assert worker.closed == {"peer_closed" if idle else "peer_left": 1}


@in_loop
async def test_over_tls_they_end_in_the_same_way() -> None:

    class Tls:
        def selected_alpn_protocol(self) -> str:
            return "h2"

    worker = Worker()
    client = Http2Client(worker, greeted=False, tls=True)
    client.client.connection.engine = worker.state.new_http2_engine(worker.clock())
    client.send(PREFACE, settings(), settings(ack=True), get(1))
    await client.turn()
    stop(worker)
    await client.turn()
    client.pong()
    await client.turn()
    assert client.goaways[-1] == (1, Code.NO_ERROR)
    assert client.transport.events == ["eof"]


@pytest.mark.parametrize("how", ["idle", "waiting", "uploading", "draining"])
@in_loop
async def test_nothing_is_left_of_a_connection_that_is_gone(how: str) -> None:
    """Not even until the next collection: a worker may have thousands of them a minute."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body"):
            pass
        await answer(send, b"x" * (200_000 if how == "waiting" else 10))

    gc.collect()
    gc.disable()
    try:
        worker = Worker(app)
        client = Http2Client(worker)
        client.send(get(1), post(3), data(3, b"abc", end=how != "uploading"))
        await client.turn()
        worker.tick()
        if how == "draining":
            stop(worker)
            await client.turn()
        client.transport.lose()
        await client.turn()
        left = weakref.ref(client.transport)
        worker.tick(0.1)
        del client
        assert left() is None
    finally:
        gc.enable()


@in_loop
async def test_every_close_has_one_reason() -> None:
    worker = Worker()
    for reason in (CloseReason.PROTOCOL_ERROR, CloseReason.PROTOCOL_ERROR):
        client = Http2Client(worker)
        client.send(settings((2, 7)))
        await client.turn()
        assert client.client.connection.engine.close_reason is reason
        client.client.eof()
        await client.turn()
    old = worker.connect()
    old.send(GET)
    await turns()
    old.eof()
    await turns()
    assert worker.closed == {"protocol_error": 2, "peer_closed": 1}
