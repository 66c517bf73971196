"""HTTP/2 connections of a server that is stopping: what they are told, what is served, when they end."""

from __future__ import annotations

import asyncio

from tests.http2.frames import PREFACE, Code, data, get, post, settings, window_update
from tests.support.applications import Slow
from tests.support.harness import Receive, Scope, Send, Worker, answer, body, in_loop, start
from tests.support.http2 import Http2Client, stop

NO_LIMIT = 2**31 - 1


@in_loop
async def test_an_idle_connection_is_told_and_closed_without_delay() -> None:
    """D12, D4, D8."""
    worker = Worker()
    client = Http2Client(worker)
    client.send(get(1))
    await client.turn()
    stop(worker)
    await client.turn()
    assert client.goaways == [(NO_LIMIT, Code.NO_ERROR)]
    client.pong()
    await client.turn()
    assert client.goaways[1:] == [(1, Code.NO_ERROR)]
    assert client.transport.events == ["eof"], "the peer closes first, so that nothing it has yet to read is lost"
    client.client.eof()
    await client.turn()
    assert client.transport.events == ["eof", "close"]
    assert worker.closed == {"draining": 1}


@in_loop
async def test_an_idle_connection_whose_peer_is_silent_is_closed_in_time() -> None:
    worker = Worker()
    client = Http2Client(worker)
    await client.turn()
    worker.tick()
    stop(worker)
    await client.turn()
    worker.live(0.9)
    await client.turn()
    assert len(client.goaways) == 1
    worker.live(0.3)
    await client.turn()
    assert len(client.goaways) == 2
    worker.live(0.8)
    await client.turn()
    assert client.transport.events == ["eof"]
    worker.live(0.4)
    await client.turn()
    assert client.transport.events == ["eof", "close"]


@in_loop
async def test_a_busy_connection_finishes_what_it_has_and_what_crosses_the_announcement() -> None:
    """D3, D5, D6, D19."""
    app = Slow()
    worker = Worker(app)
    client = Http2Client(worker)
    client.send(get(1, b"/1"), get(3, b"/3"))
    await client.turn()
    stop(worker)
    await client.turn()
    client.send(get(5, b"/5"), post(7, b"/7"))
    client.pong()
    client.send(get(9, b"/9"), data(7, b"abc", end=True))
    await client.turn()
    assert client.goaways == [(NO_LIMIT, Code.NO_ERROR), (7, Code.NO_ERROR)]
    assert client.reset_code(9) == Code.REFUSED_STREAM
    assert app.started == ["/1", "/3", "/5", "/7"]
    worker.live(15.0)
    for path in list(app.started):
        assert client.transport.events == []
        app.open(path)
        await client.turn()
    assert client.whole(1, 3, 5, 7)
    assert client.transport.events == ["eof"]
    client.client.eof()
    await client.turn()
    assert worker.closed == {"draining": 1}


@in_loop
async def test_a_drain_waits_for_requests_that_wait_for_a_place() -> None:
    app = Slow()
    worker = Worker(app, http2_max_streams=2)
    client = Http2Client(worker)
    client.send(get(1, b"/1"), get(3, b"/3"))
    await client.turn()
    client.send(b"".join(number.to_bytes(4, "big").join((b"\0\0\4\3\0", b"\0\0\0\x08")) for number in (1, 3)))
    client.send(get(5, b"/5"), get(7, b"/7"))
    await client.turn()
    stop(worker)
    client.look()
    client.pong()
    await client.turn()
    assert app.started == ["/1", "/3"]
    for path in ("/1", "/3", "/5", "/7"):
        app.open(path)
    await client.turn()
    assert client.whole(5, 7)
    assert client.goaways[-1] == (7, Code.NO_ERROR)
    assert client.transport.events == ["eof"]


@in_loop
async def test_a_download_that_waits_for_its_client_is_delivered_to_the_last_byte() -> None:
    """D1."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"x" * 400_000)

    worker = Worker(app)
    client = Http2Client(worker)
    client.send(get(1))
    await client.turn()
    stop(worker)
    await client.turn()
    client.pong()
    while not client.whole(1):
        assert client.transport.events == []
        worker.live(1.0)
        client.send(window_update(0, 50_000), window_update(1, 50_000))
        await client.turn()
    assert client.body(1) == b"x" * 400_000
    assert client.transport.events == ["eof"]


@in_loop
async def test_a_connection_accepted_while_draining_is_served_and_told() -> None:
    """D7, D21: it begins as HTTP/1.1, and becomes HTTP/2 with its preface."""
    worker = Worker()
    stop(worker)
    client = Http2Client(worker, greeted=False)
    await client.turn()
    assert client.transport.sent == b""
    client.send(PREFACE, settings(), get(1), settings(ack=True))
    await client.turn()
    assert client.whole(1)
    assert client.goaways == [(NO_LIMIT, Code.NO_ERROR)]
    client.pong()
    await client.turn()
    assert client.goaways[1:] == [(1, Code.NO_ERROR)]
    assert client.transport.events == ["eof"]


@in_loop
async def test_a_connection_that_sends_its_preface_while_draining_is_served_and_told() -> None:
    """It was accepted before."""
    worker = Worker(drain_idle=5.0)
    client = Http2Client(worker, greeted=False)
    client.send(PREFACE[:10])
    await client.turn()
    stop(worker)
    client.send(PREFACE[10:], settings(), settings(ack=True), get(1))
    await client.turn()
    assert client.whole(1)
    assert client.goaways == [(NO_LIMIT, Code.NO_ERROR)]


@in_loop
async def test_a_stop_while_a_burst_is_served_in_slices_loses_nothing() -> None:
    app_saw: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        app_saw.append(scope["path"])
        await answer(send)

    worker = Worker(app, http2_max_streams=1000)
    client = Http2Client(worker)
    await client.turn()
    client.send(*(get(number, b"/%d" % number) for number in range(1, 1001, 2)))
    assert client.client.connection.engine.backlog
    stop(worker)
    await client.turn(30)
    client.pong()
    await client.turn()
    last = client.goaways[-1][0]
    assert last == 999
    assert len(app_saw) == 500
    assert client.whole(*range(1, 1001, 2))


@in_loop
async def test_what_runs_at_the_end_of_the_drain_is_cut_visibly() -> None:
    gate = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/begun":
            await send(start())
            await send(body(b"some", more=True))
        await gate.wait()

    worker = Worker(app, drain_timeout=5.0)
    client = Http2Client(worker)
    client.send(get(1, b"/begun"), get(3, b"/not"))
    await client.turn()
    stop(worker)
    await client.turn()
    client.pong()
    worker.live(5.0)
    assert not client.transport.lost
    worker.live(0.6)
    await client.turn()
    worker.drain.look()
    await client.turn()
    assert client.reset_code(1) == Code.CANCEL
    assert (client.response(3).status, client.whole(3)) == (503, True)
    assert client.goaways == [(NO_LIMIT, Code.NO_ERROR), (3, Code.NO_ERROR)]
    assert client.transport.lost


@in_loop
async def test_a_cut_before_the_client_has_heard_still_names_the_last_stream() -> None:
    """A second signal comes within a second: what lies above may be sent again, and the client must know."""
    app = Slow()
    worker = Worker(app)
    client = Http2Client(worker)
    client.send(get(1, b"/1"))
    await client.turn()
    stop(worker)
    await client.turn()
    for connection in list(worker.state.connections):
        connection.cut()
    await client.turn()
    assert client.goaways == [(NO_LIMIT, Code.NO_ERROR), (1, Code.NO_ERROR)]
    app.open("/1")
    await client.turn()
