"""One request and its response: ASGI's ``receive`` and ``send``, written once for every engine.

The exchange sits between the application and an engine. It holds no socket; what it needs of the
connection is the ``Wire`` below. A response's head is held until the first body message, so that
most responses are one write.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterable
from typing import Any, Protocol

from keepserve.asgi.files import read_chunks
from keepserve.asgi.types import Message
from keepserve.telemetry.reasons import CloseReason
from keepserve.telemetry.traces import traces_of
from keepserve.wire.engine import BODY_HIGH_WATER, Body, Engine, Request, ResponseError

logger = logging.getLogger("keepserve")


class ClientDisconnected(OSError):
    """Raised by ``send()`` when the client is gone (ASGI HTTP specification 2.4), so that streaming ends."""


class Wire(Protocol):
    """What an exchange needs of its connection."""

    @property
    def engine(self) -> Engine:
        """The connection's engine."""

    def flush(self) -> None:
        """Send what the engine has put out."""

    def flush_piece(self, size: int) -> None:
        """Send a piece of a body, of ``size`` bytes, that the engine has put out: at the latest when the loop has
        turned, so that many small ones are one write."""

    async def drained(self, stream: int) -> None:
        """Wait while the engine says that this response is blocked."""

    def body_taken(self, stream: int, amount: int) -> None:
        """The application has taken so many bytes of the request body: there is room for more."""

    def head_held(self, exchange: Exchange) -> None:
        """Call ``flush_head`` once the loop has turned: an application that now waits must not keep its head back."""

    def responded(self, exchange: Exchange) -> None:
        """The response is complete."""

    def app_failed(self) -> None:
        """The application has raised, or has not completed its response: count it."""

    def push(self, exchange: Exchange, path: str, fields: Iterable[tuple[bytes, bytes]]) -> None:
        """Begin a response the client has not asked for, if it takes such."""

    def now(self) -> float:
        """Monotonic seconds."""


# How far the response has come. Plain numbers, because each message of each response compares them.
OPENING = -1
"""As ``HEAD_HELD``, but the head also waits for a file to be opened (``http.response.pathsend``)."""
AWAITED = 0
"""The application has not begun it."""
HEAD_HELD = 1
"""``http.response.start`` came; its head waits for the first body message."""
STREAMING = 2
"""The head has been sent."""
TRAILERS = 3
"""The body is complete; ``http.response.trailers`` is due."""
DONE = 4
"""Complete, or nobody is left to send it to."""

_EXPECTED = {
    OPENING: "nothing until the file of 'http.response.pathsend' is open",
    AWAITED: "'http.response.start'",
    HEAD_HELD: "'http.response.body'",
    STREAMING: "'http.response.body'",
    TRAILERS: "'http.response.trailers'",
    DONE: "nothing more, since the response is complete",
}


_PIECE = 4096
"""Pieces of a request body are put together up to so many bytes."""


class Exchange:
    """The ``receive`` and ``send`` of one request.

    ``status`` and ``sent`` (body bytes) are for the access log; ``started`` is when the request was
    handed over, ``begun_at`` when the response began if it was sent in pieces, both in monotonic
    seconds; ``phase`` is how far the response has come; ``client`` and ``scheme`` are what a trusted
    proxy says of the client; ``task`` runs the application.
    """

    __slots__ = (
        "_body",
        "_body_size",
        "_failure",
        "_fields",
        "_given",
        "_left_alone",
        "_trailers",
        "_uploaded",
        "_waiter",
        "_wire",
        "begun_at",
        "client",
        "disconnected",
        "phase",
        "request",
        "scheme",
        "sent",
        "started",
        "status",
        "task",
    )

    socket_accepted = False
    """It has become a WebSocket."""

    def __init__(self, wire: Wire, request: Request, started: float) -> None:
        self._wire = wire
        self.request = request
        self.started = started
        self.status = 0
        self.sent = 0
        self.client: str | None = None
        self.scheme: str | None = None
        self.begun_at: float | None = None
        self.task: asyncio.Task[None] | None = None
        self.disconnected = False
        self._given = self._left_alone = False
        self.phase = AWAITED
        self._trailers: list[tuple[bytes, bytes]] | None = None
        self._waiter: asyncio.Future[None] | None = None
        if request.body:
            self._body: list[bytes] | None = [request.body]
            self._body_size = len(request.body)
        else:
            self._body = None

    # From the connection.

    @property
    def overfull(self) -> bool:
        """More of the request body is buffered than should be."""
        return self._body is not None and self._body_size > BODY_HIGH_WATER

    @property
    def whole_since(self) -> float:
        """When the last of the request came; it may still be coming if not ``request.complete``."""
        # Most requests come whole: for them nothing is set.
        return getattr(self, "_uploaded", self.started)

    def feed(self, event: Body) -> None:
        """Take more of the request body."""
        if event.data and self.phase != DONE:
            if self._body is None:
                self._body = []
                self._body_size = 0
            body = self._body
            if body and len(body[-1]) + len(event.data) <= _PIECE:
                body[-1] += event.data  # many small pieces would weigh more than what is in them
            else:
                body.append(event.data)
            self._body_size += len(event.data)
        if event.complete:
            self.request.complete = True
            self._uploaded = self._wire.now()
        self._wake()

    def disconnect(self) -> None:
        """The client is gone, or was answered by the engine: nothing more comes or goes."""
        self.disconnected = True
        self.phase = DONE
        self._body = None
        self._wake()

    def leave_alone(self) -> None:
        """The server can wait no longer, which the application learns as ``http.disconnect``.

        Its client is still there: what the application sends yet is sent.
        """
        self._left_alone = True
        self._wake()

    def flush_head(self) -> None:
        """Send a held head now: the application has paused between the head and the body."""
        if self.phase != HEAD_HELD:
            return
        self.phase = STREAMING
        try:
            self._wire.engine.respond(self.request.stream, self.status, self._fields, b"", False)
            self.begun_at = self._wire.now()
        except Exception as error:
            self.phase = AWAITED  # nothing of it was sent
            self._failure = error
            self._fail(error)
        self._wire.flush()

    def refuse(self, status: int, text: bytes, fields: Iterable[tuple[bytes, bytes]] = ()) -> None:
        """Answer in the application's place."""
        self.status = status
        self.sent = len(text)
        fields = [(b"content-type", b"text/plain; charset=utf-8"), *fields]
        self._wire.engine.respond(self.request.stream, status, fields, text, True)
        self._finish()

    # ASGI.

    async def receive(self) -> Message:
        """Return the next ``http.request`` message, or ``http.disconnect`` when there is nobody left to answer."""
        request = self.request
        if not request.complete and self.phase != DONE:
            self._wire.engine.go_on(request.stream, self._wire.now())
            self._wire.flush()
        while True:
            if self.phase == DONE:
                return {"type": "http.disconnect"}
            if self._body is not None:
                body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
                self._body = None
                self._given = request.complete
                self._wire.body_taken(request.stream, self._body_size)
                return {"type": "http.request", "body": body, "more_body": not request.complete}
            if request.complete and not self._given:
                self._given = True
                return {"type": "http.request", "body": b"", "more_body": False}
            if self._left_alone:
                return {"type": "http.disconnect"}
            self._waiter = waiter = self._waiter or asyncio.get_running_loop().create_future()
            # Shielded by hand: several tasks may wait here, and cancelling one must not cancel the others.
            await asyncio.shield(waiter)

    async def send(self, message: Message) -> None:
        """Take one message of the response.

        Raises:
            ClientDisconnected: the client is gone.
            ResponseError: the response cannot be sent as asked.
            RuntimeError: the message is out of order or of an unknown type.
        """
        kind = message["type"]
        phase = self.phase
        if phase == AWAITED and kind == "http.response.start":
            fields = message.get("headers", ())
            self._fields = fields if type(fields) is list else list(fields)
            self.status = message["status"]
            self.phase = HEAD_HELD
            if message.get("trailers", False):
                self._trailers = []
            self._wire.head_held(self)
        elif AWAITED < phase < TRAILERS and kind == "http.response.body":
            body = message.get("body", b"")
            if type(body) is not bytes:
                body = _as_bytes(body)
            complete = not message.get("more_body", False)
            ending = complete and self._trailers is None
            engine = self._wire.engine
            if phase == HEAD_HELD:
                engine.respond(self.request.stream, self.status, self._fields, body, ending)
            else:
                engine.send_body(self.request.stream, body, ending)
            self.sent += len(body)
            if ending:
                self._finish()
                return
            if phase == HEAD_HELD:
                self.begun_at = self._wire.now()
            self.phase = TRAILERS if complete else STREAMING
            self._wire.flush_piece(len(body))
            if engine.blocked(self.request.stream):
                await self._wire.drained(self.request.stream)
            if self.disconnected:
                raise ClientDisconnected("The client has disconnected.")
        else:
            await self._send_rarely(kind, message)

    async def _send_rarely(self, kind: str, message: Message) -> None:
        if self.disconnected:
            raise ClientDisconnected("The client has disconnected.")
        phase = self.phase
        if phase == DONE and (failure := getattr(self, "_failure", None)) is not None:
            raise failure  # which this application would have met in its send(), had it not paused before
        engine, stream = self._wire.engine, self.request.stream
        if kind == "http.response.pathsend" and phase in (HEAD_HELD, STREAMING):
            await self._send_file(message["path"])
        elif kind == "http.response.early_hint" and phase == AWAITED:
            engine.inform(stream, 103, [(b"link", link) for link in message.get("links", ())])
            self._wire.flush()
        elif kind == "http.response.push" and phase != TRAILERS:
            self._wire.push(self, message["path"], message.get("headers", ()))
        elif kind == "http.response.trailers" and phase == TRAILERS:
            self._trailers = trailers = [*(self._trailers or ()), *message.get("headers", ())]
            if not message.get("more_trailers", False):
                engine.send_trailers(stream, trailers if self.request.takes_trailers else ())
                self._finish()
        else:
            raise RuntimeError(f"The application sent {kind!r}; the server expected {_EXPECTED[phase]}.")

    async def _send_file(self, path: str) -> None:
        """Send a file as the body (``http.response.pathsend``), in chunks that wait for the client."""
        if self.phase == HEAD_HELD:
            self.phase = OPENING  # without the file, the head has promised too much
        try:
            async with contextlib.aclosing(read_chunks(path)) as chunks:
                async for chunk, complete in chunks:
                    if self.phase == OPENING:
                        self.phase = HEAD_HELD
                    await self.send({"type": "http.response.body", "body": chunk, "more_body": not complete})
        finally:
            if self.phase == OPENING:
                self.phase = HEAD_HELD

    # The end.

    def _finish(self) -> None:
        self.phase = DONE
        self._body = None
        if self._waiter is not None:
            self._wake()
        self._wire.responded(self)

    def app_ended(self, error: BaseException | None) -> None:
        """The application returned, or raised ``error``: see that the client learns of an unfinished response."""
        if self.phase == DONE:
            if error is None or (self.disconnected and comes_of_the_disconnect(error)):
                return
            if not _comes_of(error, getattr(self, "_failure", None)):  # else it was logged as it happened
                self._log(error)
            return
        if error is None:
            error = RuntimeError(
                "The application returned without starting a response."
                if self.phase == AWAITED
                else "The application returned without completing its response."
            )
        self._fail(error)

    def cut(self) -> None:
        """The server cannot wait any longer for this response: say so, if there is still a way to."""
        if self.phase < STREAMING:
            self.refuse(503, b"The server is stopping.\n")
        elif self.phase != DONE:
            self._abandon(CloseReason.CUT)

    def _fail(self, error: BaseException) -> None:
        self._log(error)
        if self.phase < STREAMING:
            self.refuse(500, b"Internal Server Error\n")
        else:
            self._abandon(CloseReason.APP_FAILED)

    def _abandon(self, reason: CloseReason) -> None:
        self._wire.engine.abandon(self.request.stream, reason)
        self._finish()

    def _log(self, error: BaseException) -> None:
        self._wire.app_failed()
        request = self.request
        traces = traces_of(request.fields)
        logger.error(
            "The application failed on %s %s%s",
            request.method.decode("latin-1"),
            request.target.decode("latin-1"),
            "".join(f" {name}={value}" for name, value in traces.items()),
            exc_info=error,
            extra={"traces": traces},
        )

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)


def comes_of_the_disconnect(error: BaseException | None) -> bool:
    """Whether an error is our ``ClientDisconnected``, or what a framework made of it."""
    while error is not None and not isinstance(error, ClientDisconnected):
        if isinstance(error, BaseExceptionGroup):
            return all(map(comes_of_the_disconnect, error.exceptions))
        error = error.__cause__ or error.__context__
    return error is not None


def _comes_of(error: BaseException | None, failure: BaseException | None) -> bool:
    """Whether an error is this failure, or what a framework made of it."""
    while error is not None and error is not failure:
        error = error.__cause__ or error.__context__
    return error is not None


def _as_bytes(body: Any) -> bytes:
    if isinstance(body, bytes | bytearray | memoryview):
        return bytes(body)
    raise ResponseError(f"The body of 'http.response.body' must be bytes, not {type(body).__name__}.")
