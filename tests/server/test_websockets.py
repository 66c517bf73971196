"""WebSockets and what the server around them does: back-pressure, clocks, limits, the log."""

from __future__ import annotations

import asyncio

import pytest

from keepserve.http2.streams import STREAM_WINDOW
from keepserve.telemetry.reasons import CloseReason
from tests.http2.frames import Kind, get, rst
from tests.http2.frames import window_update as window_update_frame
from tests.support.harness import Receive, Scope, Send, Worker, hello, in_loop, turns
from tests.support.harness import get as get1
from tests.websocket.frames import BINARY, PING, PONG, Frame, close, closing, frame, text
from tests.websocket.sockets import (
    ACCEPTING,
    HTTP1,
    HTTP2,
    WAYS,
    Recorder,
    Socket,
    connected,
    echo,
    ended,
    handshake,
    worker,
)

every_way = pytest.mark.parametrize("way", WAYS)

KIB = 1024


class Gate:
    """An application that accepts, and reads or writes when it is told to."""

    def __init__(self) -> None:
        self.may_read = asyncio.Semaphore(0)
        self.read: list[object] = []
        self.written = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while True:
            await self.may_read.acquire()
            message = await receive()
            if message["type"] == "websocket.disconnect":
                return
            self.read.append(message.get("text") or message.get("bytes"))

    async def let(self, count: int) -> None:
        """Let it read so many messages."""
        for _ in range(count):
            self.may_read.release()
        await turns(count * 2 + 10)


# Back-pressure.


@pytest.mark.parametrize("way", HTTP1)
@in_loop
async def test_a_client_is_not_read_while_32_messages_wait(way: str) -> None:
    app = Gate()
    socket = await connected(way, app)
    for number in range(32):
        assert socket.transport.reading
        socket.send(text(str(number)))
    assert not socket.transport.reading
    await app.let(1)
    assert socket.transport.reading
    socket.send(text("32") + text("33") + text("34"))
    assert not socket.transport.reading
    await app.let(34)
    assert app.read == [str(number) for number in range(35)]
    socket.leave()
    await app.let(1)


@pytest.mark.parametrize("way", HTTP2)
@in_loop
async def test_a_stream_gets_no_more_room_while_32_messages_wait(way: str) -> None:
    app = Gate()
    socket = await connected(way, app)
    http2 = socket.http2
    assert http2 is not None
    for _ in range(32):
        socket.send(text("x"))
    large = frame(BINARY, bytes(16_000))
    for _ in range(STREAM_WINDOW // len(large) - 1):
        socket.send(large)
    await socket.turn()
    assert http2.peer.credit.get(1, 0) == 0, "so much has come, and none of it was taken"
    assert socket.transport.reading, "the other streams go on"
    await app.let(60)
    await socket.turn()
    assert http2.peer.credit[1] >= STREAM_WINDOW // 2
    assert len(app.read) == 32 + STREAM_WINDOW // len(large) - 1
    socket.leave()
    await app.let(1)


@every_way
@in_loop
async def test_send_waits_for_a_client_that_is_slow(way: str) -> None:
    sent = []

    async def flooding(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})
        for number in range(40):
            await send({"type": "websocket.send", "bytes": bytes(10 * KIB)})
            sent.append(number)

    socket = Socket(worker(way, flooding), way, capacity=0 if way in HTTP1 else None)
    await socket.turn()
    waiting = len(sent)
    assert 6 <= waiting <= 14, "about 64 KiB beside what the client takes"
    for _ in range(50):
        socket.read(10 * KIB)
        await socket.turn()
    assert len(sent) == 40
    assert [got.opcode for got in socket.frames[:40]] == [BINARY] * 40
    socket.leave()


@pytest.mark.parametrize("way", HTTP1)
@in_loop
async def test_pings_of_a_client_that_does_not_read_pile_up_nowhere(way: str) -> None:
    async def full(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "bytes": bytes(100 * KIB)})
        while (await receive())["type"] != "websocket.disconnect":
            pass

    tested = worker(way, full)
    socket = await Socket(tested, way, capacity=0).turn()
    before = len(socket.transport.sent)
    for number in range(500):
        socket.send(frame(PING, b"%d" % number))
    await socket.turn()
    assert len(socket.transport.sent) == before
    socket.read(200 * KIB)
    tested.live(1.0)
    assert socket.frames[-1] == Frame(PONG, b"499")
    assert len(socket.frames) == 2
    socket.leave()


@every_way
@in_loop
async def test_a_limit_on_request_bodies_is_none_for_websockets(way: str) -> None:
    socket = await connected(way, echo, limit_request_body=100)
    for _ in range(10):
        socket.send(text("x" * 50))
        await socket.turn()
    assert len(socket.frames) == 10
    socket.leave()


# Clocks.


@every_way
@in_loop
async def test_a_quiet_websocket_outlives_every_clock_of_http(way: str) -> None:
    tested = worker(way, echo, max_connection_age=60.0, body_timeout=5.0)
    socket = await Socket(tested, way).turn()
    tested.live(200.0)
    await socket.turn()
    assert socket.open
    socket.send(text("still here"))
    await socket.turn()
    assert socket.frames == [Frame(1, b"still here")]
    socket.leave()


@every_way
@in_loop
async def test_pings_come_from_the_wheel_and_their_answers_keep_a_websocket(way: str) -> None:
    tested = worker(way, Recorder(ACCEPTING), ws_ping_interval=24.0)
    socket = await Socket(tested, way).turn()
    for count in (1, 2, 3):
        tested.live(24.2)
        await socket.turn()
        assert socket.frames == [Frame(PING, b"alive?")] * count
        socket.send(frame(PONG, b"alive?"))
    assert socket.open
    socket.leave()


@every_way
@in_loop
async def test_a_client_that_does_not_answer_pings_is_given_up(way: str) -> None:
    app = Recorder(ACCEPTING)
    tested = worker(way, app, ws_ping_interval=24.0, ws_ping_timeout=20.0)
    socket = await Socket(tested, way).turn()
    tested.live(43.9)
    assert socket.open
    tested.live(0.5)
    await socket.turn()
    assert app.end == ended(1011, "no answer to a ping within 20 s")
    assert socket.over
    if way in HTTP1:
        assert socket.connection.engine.close_reason is CloseReason.PING_TIMEOUT
    socket.leave()


@every_way
@in_loop
async def test_a_client_that_does_not_answer_a_close_has_five_seconds(way: str) -> None:
    tested = worker(way, Recorder(ACCEPTING, {"type": "websocket.close"}))
    socket = await Socket(tested, way).turn()
    tested.live(4.9)
    assert not socket.over
    tested.live(0.4)
    await socket.turn()
    assert socket.over
    socket.leave()


@pytest.mark.parametrize("way", HTTP1)
@in_loop
async def test_a_connection_ends_with_its_websocket(way: str) -> None:
    tested = worker(way, echo)
    socket = await Socket(tested, way).turn()
    socket.send(close(1000))
    await socket.turn()
    assert socket.frames == [closing(1000)]
    assert socket.transport.lost
    assert tested.closed == {"websocket_closed": 1}


@pytest.mark.parametrize("way", HTTP2)
@in_loop
async def test_a_connection_outlives_its_websocket(way: str) -> None:
    async def both(scope: Scope, receive: Receive, send: Send) -> None:
        await (echo if scope["type"] == "websocket" else hello)(scope, receive, send)

    socket = await connected(way, both)
    http2 = socket.http2
    assert http2 is not None
    socket.send(close(1000), end=True)
    await socket.turn()
    assert http2.whole(1)
    assert not http2.came(Kind.RST_STREAM)
    http2.send(get(3, b"/x"))
    await socket.turn()
    assert http2.body(3) == b"/x"
    socket.leave()


@pytest.mark.parametrize("way", HTTP2)
@in_loop
async def test_a_reset_of_the_stream_is_a_client_that_vanishes(way: str) -> None:
    app = Recorder(ACCEPTING)
    socket = await connected(way, app)
    assert socket.http2 is not None
    socket.http2.send(rst(1), window_update_frame(0, 1))
    await socket.turn()
    assert app.end == ended(1006)
    socket.leave()


# Load.


@every_way
@in_loop
async def test_an_open_websocket_holds_no_place_of_limit_concurrency(way: str) -> None:
    tested = worker(way, echo, limit_concurrency=2, limit_concurrency_wait=0.0)
    sockets = [await Socket(tested, way).turn() for _ in range(5)]
    assert all(socket.open for socket in sockets)
    for socket in sockets:
        socket.leave()
    await turns()
    assert not tested.state.sockets
    assert not tested.state.tasks


@every_way
@in_loop
async def test_a_websocket_that_is_not_accepted_yet_holds_a_place(way: str) -> None:
    app = Recorder()
    tested = worker(way, app, limit_concurrency=1, limit_concurrency_wait=0.0)
    first = await Socket(tested, way).turn()
    second = await Socket(tested, way).turn()
    assert second.status == 503
    first.leave()
    second.leave()


@in_loop
async def test_an_acceptance_gives_its_place_to_who_waits() -> None:
    go = asyncio.Event()

    async def thinking(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await hello(scope, receive, send)
            return
        await receive()
        await go.wait()
        await send({"type": "websocket.accept"})
        await receive()

    tested = worker("httptools", thinking, limit_concurrency=1, limit_concurrency_wait=5.0)
    socket = await Socket(tested, "httptools").turn()
    client = tested.connect()
    client.send(get1(b"/waiting"))
    await turns()
    assert client.transport.sent == b""
    go.set()
    await turns()
    assert client.statuses == [200]
    client.transport.lose()
    socket.leave()


@in_loop
async def test_a_health_check_is_answered_also_when_it_asks_for_a_websocket() -> None:
    client = Worker(echo, health_path="/health").connect()
    client.send(handshake(b"/health"))
    await turns()
    assert client.statuses == [200]
    client.transport.lose()
