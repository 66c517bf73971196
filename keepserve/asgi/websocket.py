"""One WebSocket for the application: ASGI's ``receive`` and ``send``, whichever protocol carries it.

A ``WebSocket`` is an exchange whose request asks for a switch of protocols. Until the application accepts it is an
HTTP exchange, and may end as one (``websocket.close``: 403; ``websocket.http.response``: whatever it likes; an
exception: 500). From then on its bytes go through a ``Session``.

A worker imports this module, and the ``websockets`` package with it, for its first WebSocket: that takes 25 ms
once, and 3 MiB, which a worker without WebSockets has no use for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Protocol

from websockets.exceptions import InvalidHeaderFormat, NegotiationError
from websockets.extensions import Extension
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.headers import build_extension, parse_extension

from keepserve.asgi.exchange import (
    AWAITED,
    DONE,
    STREAMING,
    ClientDisconnected,
    Exchange,
    Wire,
    comes_of_the_disconnect,
)
from keepserve.asgi.types import Message
from keepserve.telemetry.reasons import CloseReason
from keepserve.websocket.handshake import accept_key
from keepserve.websocket.limits import SocketLimits
from keepserve.websocket.session import ABNORMAL, INTERNAL, Session, State
from keepserve.wire.engine import NEVER, Body, ResponseError, WebSocketRequest
from keepserve.wire.fields import CONNECTION_SPECIFIC
from keepserve.wire.response import Field, refuse_bad_fields

NORMAL, SERVICE_RESTART = 1000, 1012

_NOT_THE_APPLICATIONS = CONNECTION_SPECIFIC | {
    b"content-length",
    b"sec-websocket-accept",
    b"sec-websocket-extensions",
}
"""Fields of an acceptance that are the server's to send, or that it must not have."""

_DEFLATE = ServerPerMessageDeflateFactory(
    # Windows of 4 KiB and little state beside: 316 KiB a connection, as zlib has it by default, is for few of them.
    server_max_window_bits=12,
    client_max_window_bits=12,
    compress_settings={"memLevel": 5},
)


class SocketWire(Wire, Protocol):
    """What a WebSocket needs of its connection."""

    def accepted(self, socket: WebSocket) -> None:
        """The application has accepted: from here on the socket has deadlines, and bytes may wait for it."""


class WebSocket(Exchange):
    """The ``receive`` and ``send`` of one WebSocket.

    ``status`` is 101 or 200 once it is accepted, ``sent`` counts the bytes of messages.
    """

    __slots__ = (
        "_connected",
        "_limits",
        "_peer_done",
        "_restart_at",
        "_session",
        "_socket_wire",
        "_unreturned",
        "_waiters",
    )

    request: WebSocketRequest

    def __init__(self, wire: SocketWire, request: WebSocketRequest, limits: SocketLimits, started: float) -> None:
        super().__init__(wire, request, started)
        self._socket_wire = wire
        self._limits = limits
        self._session: Session | None = None
        self._connected = self._peer_done = False
        self._waiters: list[asyncio.Future[None]] = []
        self._unreturned = 0
        """Bytes that were read, and for which the peer has not been given new room."""
        self._restart_at = NEVER

    @property
    def socket_accepted(self) -> bool:  # type: ignore[override]  # constant for all other exchanges
        """The application has accepted it."""
        return self._session is not None

    # From the connection.

    @property
    def overfull(self) -> bool:
        """So much waits for the application that no more should be read."""
        session = self._session
        return session.full if session is not None else super().overfull

    def feed(self, event: Body) -> None:
        """Take bytes from the peer."""
        session = self._session
        if session is None:
            super().feed(event)  # kept, in case the application accepts
            return
        self._peer_done = event.complete
        self._unreturned += len(event.data)
        session.held = self._wire.engine.blocked(self.request.stream)
        session.receive(event.data, self._wire.now())
        self._settle()

    def disconnect(self) -> None:
        """The client is gone: nothing more comes or goes."""
        if self._session is not None:
            self._session.receive_eof()
        super().disconnect()

    def leave_alone(self) -> None:
        """The server can wait no longer."""
        if self._session is None:
            super().leave_alone()
        else:
            self._restart()

    def cut(self) -> None:
        """The server can wait no longer, not even for the closing handshake."""
        session = self._session
        if session is None:
            super().cut()
        elif self.phase != DONE:
            self._restart()
            if session.state != State.CLOSED:
                session.receive_eof()
                session.reason = CloseReason.CUT
                self._settle()

    def part(self, at: float) -> None:
        """The server stops, or this worker is replaced: close with 1012 at this time, if the application has not."""
        self._restart_at = min(self._restart_at, at)

    def next_deadline(self) -> float:
        """When ``expire`` wants to be called, or ``NEVER``."""
        session = self._session
        if session is None:
            return NEVER
        deadline = session.next_deadline()
        return min(deadline, self._restart_at) if session.state == State.OPEN else deadline

    def expire(self, now: float) -> None:
        """Act on deadlines that have passed: pings, their answers, the closing handshake."""
        session = self._session
        if session is None or now < self.next_deadline():
            return
        if now >= self._restart_at:
            self._restart()
        session.held = self._wire.engine.blocked(self.request.stream)
        session.expire(now)
        self._settle()

    def _restart(self) -> None:
        session = self._session
        if session is not None and session.state == State.OPEN:
            session.close(SERVICE_RESTART, "service restart", CloseReason.DRAINING, self._wire.now())
            self._settle()

    def _settle(self) -> None:
        """Something has become of the session: send what it put out, end it, or make room; wake the application."""
        session = self._session
        assert session is not None
        if self._peer_done and not session.full:
            session.receive_eof()
        if self.phase == DONE:
            session.out.clear()
            return
        wire, stream = self._wire, self.request.stream
        if session.out:
            wire.engine.send_body(stream, b"".join(session.out), False)
            session.out.clear()
        if session.state == State.CLOSED:
            assert session.reason is not None
            wire.engine.hang_up(stream, session.reason, session.closed_by_both)
            self._finish()
            return
        if self._unreturned and not session.full:
            amount, self._unreturned = self._unreturned, 0
            wire.body_taken(stream, amount)
        if session.waiting or session.code is not None:
            self._wake()
        wire.flush()

    # ASGI.

    async def receive(self) -> Message:
        """Return ``websocket.connect``, then each message, at last ``websocket.disconnect`` with code and reason."""
        if not self._connected:
            self._connected = True
            return {"type": "websocket.connect"}
        while True:
            session = self._session
            if session is not None:
                if session.waiting:
                    return self._take(session)
                if session.code is not None:
                    return {"type": "websocket.disconnect", "code": session.code, "reason": session.text}
            if self.phase == DONE or (self._left_alone and session is None):
                return {"type": "websocket.disconnect", "code": ABNORMAL, "reason": ""}
            # One for each that waits, mostly one: cancelling one must not cancel the others.
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter in self._waiters:
                    self._waiters.remove(waiter)
                raise

    def _wake(self) -> None:
        waiters = self._waiters
        if waiters:
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)
            waiters.clear()

    def _take(self, session: Session) -> Message:
        was_full = session.full
        message = session.take(self._wire.now() if was_full else 0.0)
        if was_full:
            self._settle()  # it may have read on, and there may be room
        if type(message) is str:
            return {"type": "websocket.receive", "text": message}
        return {"type": "websocket.receive", "bytes": message}

    async def send(self, message: Message) -> None:
        """Take one message of the application's.

        Raises:
            ClientDisconnected: the WebSocket has ended, and not by the application.
            ResponseError: the message cannot be sent as asked.
            RuntimeError: it is out of order or of an unknown type.
        """
        kind = message["type"]
        session = self._session
        if session is None:
            await self._answer(kind, message)
        elif kind == "websocket.send" and session.state == State.OPEN and self.phase != DONE:
            data = _payload(message)
            session.send(data)
            self.sent += len(data)
            wire, stream = self._wire, self.request.stream
            engine = wire.engine
            engine.send_body(stream, session.out.pop() if len(session.out) == 1 else b"".join(session.out), False)
            session.out.clear()
            wire.flush()
            if engine.blocked(stream):
                await wire.drained(stream)
        else:
            self._send_late(kind, message, session)

    def _send_late(self, kind: str, message: Message, session: Session) -> None:
        """A close, or whatever comes when there is nothing more to send."""
        if session.reason is CloseReason.WEBSOCKET_CLOSED and session.closed_by_us:
            expected = "nothing more, since it has closed the WebSocket"
        elif session.state != State.OPEN or self.phase == DONE:
            raise ClientDisconnected(f"The WebSocket has ended (code {session.code or ABNORMAL}).")
        elif kind == "websocket.close":
            code, reason = message.get("code", NORMAL), message.get("reason") or ""
            session.close(NORMAL if code is None else code, reason, CloseReason.WEBSOCKET_CLOSED, self._wire.now())
            self._settle()
            return
        else:
            expected = "'websocket.send' or 'websocket.close'"
        raise RuntimeError(f"The application sent {kind!r}; the server expected {expected}.")

    async def _answer(self, kind: str, message: Message) -> None:
        """Accept or refuse: what may be sent before there is a session."""
        phase = self.phase
        if self.disconnected:
            raise ClientDisconnected("The client has disconnected.")
        if kind == "websocket.accept" and phase == AWAITED:
            self._accept(message)
        elif kind == "websocket.close" and phase == AWAITED:
            self.refuse(403, b"The application has refused the WebSocket.\n")
        elif kind == "websocket.http.response.start" and phase == AWAITED:
            await super().send({**message, "type": "http.response.start"})
        elif kind == "websocket.http.response.body" and AWAITED < phase <= STREAMING:
            await super().send({**message, "type": "http.response.body"})
        else:
            expected = "nothing more, since the WebSocket is refused"
            if phase == AWAITED:
                expected = "'websocket.accept', 'websocket.close' or 'websocket.http.response.start'"
            elif phase <= STREAMING:
                expected = "'websocket.http.response.body'"
            raise RuntimeError(f"The application sent {kind!r}; the server expected {expected}.")

    def _accept(self, message: Message) -> None:
        request, wire = self.request, self._wire
        theirs = list(message.get("headers") or ())
        refuse_bad_fields(theirs)
        fields: list[Field] = []
        upgrade = request.http_version != "2"
        if upgrade:
            fields.append((b"upgrade", b"websocket"))
        if request.key:
            fields.append((b"sec-websocket-accept", accept_key(request.key)))
        subprotocol = message.get("subprotocol")
        if subprotocol is not None:
            if subprotocol not in request.subprotocols:
                offered = ", ".join(request.subprotocols) or "none"
                raise ResponseError(
                    f"The subprotocol must be one the client offers ({offered}), not {subprotocol!r}."
                )
            fields.append((b"sec-websocket-protocol", subprotocol.encode()))
        extensions, agreed = _agree(request.fields) if self._limits.deflate else ([], "")
        if agreed:
            fields.append((b"sec-websocket-extensions", agreed.encode()))
        for name, value in theirs:
            name = name.lower()
            if name == b"sec-websocket-protocol":
                raise ResponseError(
                    "A subprotocol is accepted by 'subprotocol' of 'websocket.accept', not by a field."
                )
            if name not in _NOT_THE_APPLICATIONS:
                fields.append((name, value))
        wire.engine.switch(request.stream, fields)
        self.status = 101 if upgrade else 200
        self.phase = STREAMING
        self.begun_at = now = wire.now()
        self._session = session = Session(self._limits, now, extensions)
        early, self._body = self._body, None
        self._peer_done = request.complete
        self._socket_wire.accepted(self)
        if early:
            data = b"".join(early)
            self._unreturned += len(data)
            session.receive(data, wire.now())
        self._settle()

    # The end.

    def _finish(self) -> None:
        super()._finish()
        self._wake()

    def app_ended(self, error: BaseException | None) -> None:
        """The application returned, or raised ``error``: close with 1000, or 1011."""
        session = self._session
        if session is None:
            if error is None and self.phase == AWAITED:
                error = RuntimeError("The application returned without accepting or refusing the WebSocket.")
            super().app_ended(error)
            return
        if error is not None and (session.state == State.OPEN or not comes_of_the_disconnect(error)):
            self._log(error)
        if session.state == State.OPEN and self.phase != DONE:
            if error is None:
                session.close(NORMAL, "", CloseReason.WEBSOCKET_CLOSED, self._wire.now())
            else:
                session.close(INTERNAL, "", CloseReason.APP_FAILED, self._wire.now())
            self._settle()


def _payload(message: Message) -> str | bytes:
    """Return what a ``websocket.send`` carries. Raises ``ResponseError`` unless it is one text or one bytes."""
    text, data = message.get("text"), message.get("bytes")
    if data is None and isinstance(text, str):
        return text
    if text is None and isinstance(data, bytes | bytearray | memoryview):
        return bytes(data)
    raise ResponseError("A 'websocket.send' needs either 'text', a str, or 'bytes', and the other left out or None.")


def _agree(fields: Iterable[Field]) -> tuple[list[Extension], str]:
    """Agree to the first offer of permessage-deflate that can be met (RFC 7692 §5); return what to answer."""
    for name, value in fields:
        if name != b"sec-websocket-extensions":
            continue
        try:
            offers = parse_extension(value.decode("latin-1"))
        except InvalidHeaderFormat:
            continue  # an offer that cannot be read is one that is not taken
        for extension, parameters in offers:
            if extension != _DEFLATE.name:
                continue
            try:
                answer, deflate = _DEFLATE.process_request_params(parameters, [])
            except NegotiationError:
                continue
            return [deflate], build_extension([(extension, answer)])
    return [], ""


def websocket_scope(scope: dict[str, Any], request: WebSocketRequest) -> dict[str, Any]:
    """Make the scope of a WebSocket of a request's (ASGI WebSocket specification, "Websocket Connection Scope")."""
    del scope["method"]
    scope["type"] = "websocket"
    scope["scheme"] = "wss" if scope["scheme"] in ("https", "wss") else "ws"
    scope["subprotocols"] = list(request.subprotocols)
    scope["extensions"] = {
        "websocket.http.response": {},
        **{name: facts for name, facts in scope["extensions"].items() if not name.startswith("http.")},
    }
    return scope
