"""A WebSocket's client over a fake transport, by every way in: both parsers of HTTP/1.1, both engines of HTTP/2."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from tests.http2.frames import Kind, block, data, headers, request_block, window_update
from tests.support.answers import read_answers
from tests.support.harness import Receive, Scope, Send, Worker, get, turns
from tests.support.http2 import Http2Client
from tests.websocket.frames import Frame, read_frames

Field = tuple[bytes, bytes]

KEY = base64.b64encode(bytes(range(16)))
ACCEPT = base64.b64encode(hashlib.sha1(KEY + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())

HTTP1 = ("httptools", "h11")
HTTP2 = ("native", "h2")
WAYS = (*HTTP1, *HTTP2)


def handshake(path: bytes = b"/", *fields: Field) -> bytes:
    """The request of a client that speaks HTTP/1.1."""
    lines = [b"Connection: keep-alive, Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13"]
    lines += [b"Sec-WebSocket-Key: " + KEY, *(name + b": " + value for name, value in fields)]
    return get(path, *lines)


def connect_block(path: bytes = b"/", *fields: Field) -> bytes:
    """The header block of a client that speaks HTTP/2 (RFC 8441 §5.1)."""
    pseudo = (b":protocol", b"websocket")
    return block(pseudo) + request_block(b"CONNECT", path, (b"sec-websocket-version", b"13"), *fields)


def worker(way: str, app: Any, **settings: Any) -> Worker:
    """A worker that is spoken to this way."""
    settings.setdefault("ws_ping_interval", 0.0)
    if way in HTTP1:
        settings["http1"] = way
    else:
        settings["http2"] = way
    return Worker(app, **settings)


class Socket:
    """One WebSocket. ``fields`` are added to the handshake; ``stream`` is HTTP/2's."""

    def __init__(
        self,
        worker: Worker,
        way: str,
        path: bytes = b"/",
        *fields: Field,
        early: bytes = b"",
        beside: Socket | None = None,
        capacity: int | None = None,
    ) -> None:
        self.way = way
        self.stream = 1 if beside is None else beside.stream + 2
        self.http2: Http2Client | None = None
        if way in HTTP1:
            self.client = worker.connect(capacity)
            self.client.send(handshake(path, *fields) + early)
        else:
            self.http2 = beside.http2 if beside is not None else Http2Client(worker, capacity=capacity)
            assert self.http2 is not None
            self.client = self.http2.client
            opening = headers(self.stream, connect_block(path, *fields))
            self.http2.send(opening, *([data(self.stream, early)] if early else []))
        self.transport = self.client.transport
        self.connection = self.client.connection

    async def turn(self) -> Socket:
        """Let everything that is ready run."""
        await turns()
        if self.http2 is not None:
            self.http2.look()
        return self

    def send(self, *frames: bytes, end: bool = False) -> None:
        """Let frames arrive."""
        raw = b"".join(frames)
        if self.http2 is None:
            self.client.send(raw)
        else:
            self.http2.send(data(self.stream, raw, end=end))

    def end(self) -> None:
        """The client sends no more."""
        if self.http2 is None:
            self.client.eof()
        else:
            self.http2.send(data(self.stream, end=True))

    def leave(self) -> None:
        """The connection breaks, if it is still there."""
        if not self.transport.lost:
            self.transport.lose()

    def read(self, size: int) -> None:
        """The client takes so much more than it was ready to."""
        if self.http2 is None:
            self.transport.take(size)
        else:
            self.http2.send(window_update(0, size), window_update(self.stream, size))

    def _parts(self) -> tuple[int, list[Field], bytes]:
        if self.http2 is not None:
            self.http2.look()
            response = self.http2.response(self.stream)
            return response.status, response.fields, response.body
        sent = self.transport.sent
        if not sent.startswith(b"HTTP/1.1 101"):
            (answer,) = read_answers(sent, [], closed=bool(self.connection.engine.ending))
            return answer.status, [(name, value) for name, value in answer.fields], answer.body
        head, _, rest = sent.partition(b"\r\n\r\n")
        lines = [line.split(b": ", 1) for line in head.split(b"\r\n")[1:]]
        return 101, [(name, value) for name, value in lines], rest

    @property
    def status(self) -> int:
        """The answer to the handshake."""
        return self._parts()[0]

    @property
    def fields(self) -> dict[bytes, bytes]:
        """Its fields."""
        return dict(self._parts()[1])

    @property
    def body(self) -> bytes:
        """What came behind the answer's head."""
        return self._parts()[2]

    @property
    def frames(self) -> list[Frame]:
        """What the server sent on the WebSocket."""
        return read_frames(self.body)

    @property
    def over(self) -> bool:
        """The server has ended the WebSocket, and whatever carries it."""
        if self.http2 is None:
            return bool(self.connection.engine.ending)
        self.http2.look()
        return self.http2.response(self.stream).whole or bool(self.http2.came(Kind.RST_STREAM))

    @property
    def open(self) -> bool:
        """It is accepted, and has not ended."""
        return self.status in (101, 200) and not self.over


def ended(code: int, reason: str = "") -> dict[str, Any]:
    """The last message to the application."""
    return {"type": "websocket.disconnect", "code": code, "reason": reason}


ACCEPTING = {"type": "websocket.accept"}


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Send back what comes."""
    assert (await receive())["type"] == "websocket.connect"
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({**message, "type": "websocket.send"})


class Recorder:
    """An application that says what it is told to, and remembers what it is told."""

    def __init__(self, *answers: dict[str, Any]) -> None:
        self.answers = answers
        self.scope: Scope = {}
        self.got: list[dict[str, Any]] = []
        self.error: BaseException | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self.got.append(dict(await receive()))
        for answer in self.answers:
            try:
                await send(dict(answer))
            except Exception as error:
                self.error = error
                raise
        while self.got[-1]["type"] != "websocket.disconnect":
            self.got.append(dict(await receive()))

    @property
    def end(self) -> dict[str, Any]:
        """The last message."""
        return self.got[-1]


async def connected(way: str, app: Any, *fields: Field, **settings: Any) -> Socket:
    """A WebSocket whose handshake is done."""
    return await Socket(worker(way, app, **settings), way, b"/", *fields).turn()
