"""What every HTTP engine looks like from the connection's side: events, limits and one interface.

An engine is a pure state machine. Bytes and the present time go in, events and bytes come out; it
knows no socket, no event loop and no clock. Time is seconds on any monotonic clock, the same one
for all calls of a connection. Each event and each response call carries a stream number, so that
one exchange (``keepserve.asgi.exchange``) serves HTTP/1.1, where it is always 1, and HTTP/2.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from keepserve.telemetry.reasons import CloseReason

NEVER = math.inf
"""The deadline of an engine that waits for nothing."""

Fields = list[tuple[bytes, bytes]]
"""Header fields in wire order: lower-case names, values without surrounding white space."""

BODY_HIGH_WATER = 64 * 1024
"""Bytes of a request body held for the application before the socket is read no further."""


class Ending(enum.IntEnum):
    """How a connection is to end once what is in ``out`` has been handed to the kernel."""

    OPEN = 0
    """Not at all: it stays."""
    CLOSE = 1
    """Flush, then close: the peer expects it, or has closed already."""
    LINGER = 2
    """Flush, half-close, then read and drop what still comes until the peer closes (RFC 9112 §9.6)."""
    RESET = 3
    """Drop everything now, with a TCP reset, so that a cut response cannot be taken for a whole one."""


class Request:
    """A request whose head is whole and has passed every check.

    ``target`` is the path and query as sent, with scheme and authority of an absolute-form target
    removed (RFC 9112 §3.2.2); ``body`` is what came in the same read; ``complete`` tells that the
    body ends there (the exchange sets it when that comes later); ``takes_trailers`` that the client
    said ``TE: trailers``, or that its protocol takes them anyway. ``content_length`` (-1: not told) and
    ``converses`` (a body that may pause at will: gRPC) are set for HTTP/2 requests with a body.
    """

    __slots__ = (
        "body",
        "complete",
        "content_length",
        "converses",
        "expect_continue",
        "fields",
        "http_version",
        "method",
        "stream",
        "takes_trailers",
        "target",
    )

    content_length: int
    converses: bool

    def __init__(
        self, stream: int, method: bytes, target: bytes, http_version: str, fields: Fields, complete: bool
    ) -> None:
        self.stream = stream
        self.method = method
        self.target = target
        self.http_version = http_version
        self.fields = fields
        self.body = b""
        self.complete = complete
        self.expect_continue = False
        self.takes_trailers = False

    def __repr__(self) -> str:
        line = b"%b %b" % (self.method, self.target)
        return f"<Request {self.stream} {line.decode('latin-1')!r} {self.fields!r} {self.body!r} {self.complete}>"


class WebSocketRequest(Request):
    """A request for a WebSocket whose handshake has passed every check (RFC 6455 §4.2, RFC 8441 §5).

    ``key`` is what the answer is made of (HTTP/2 may be without), ``subprotocols`` are those offered. It is answered
    by ``switch``, from where on what comes is ``Body``, or like any other request by ``respond``.
    """

    __slots__ = ("key", "subprotocols")

    key: bytes
    subprotocols: tuple[str, ...]


class Body:
    """More of a request's body. ``complete`` tells that nothing follows; ``data`` may then be empty."""

    __slots__ = ("complete", "data", "stream")

    def __init__(self, stream: int, data: bytes, complete: bool) -> None:
        self.stream = stream
        self.data = data
        self.complete = complete

    def __repr__(self) -> str:
        return f"<Body {self.stream} {self.data!r} {self.complete}>"


class Rejected:
    """The engine answered by itself (``status``) or gave the stream up; its exchange, if any, is over.

    ``detail`` is the sentence the client was told. ``method`` and ``target`` are what could be read
    of the request line, for the access log.
    """

    __slots__ = ("detail", "method", "status", "stream", "target")

    def __init__(self, stream: int, status: int, detail: str, method: bytes = b"-", target: bytes = b"-") -> None:
        self.stream = stream
        self.status = status
        self.detail = detail
        self.method = method
        self.target = target

    def __repr__(self) -> str:
        return f"<Rejected {self.stream} {self.status} {self.detail!r}>"


class SpeaksHttp2:
    """The client has begun with HTTP/2's preface: another engine is to read ``data``, and all that comes."""

    __slots__ = ("data", "stream")

    def __init__(self, stream: int, data: bytes) -> None:
        self.stream = stream
        self.data = data


Event = Request | Body | Rejected | SpeaksHttp2


class ResponseError(RuntimeError):
    """The application asked for a response that cannot be sent: bad status, bad field, wrong length.

    Raised out of the application's ``send()``; nothing of the offending message has gone out.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The numbers an engine obeys: bytes, counts and seconds. The defaults are those of ``Settings``."""

    request_line: int = 8 * 1024
    request_head: int = 32 * 1024
    request_fields: int = 100
    request_body: int = 0
    """Longest request body in bytes; 0 means no limit."""
    keep_alive_timeout: float = 80.0
    request_head_timeout: float = 10.0
    headers_timeout: float = 90.0
    body_timeout: float = 30.0
    body_min_rate: float = 500.0
    body_rate_grace: float = 20.0
    linger_timeout: float = 30.0
    linger_idle_timeout: float = 5.0
    linger_bytes: int = 8 * 1024 * 1024
    discard_bytes: int = 64 * 1024
    """An unread request body up to this long is read and dropped so that the connection can be reused."""
    write_timeout: float = 60.0
    write_min_rate: float = 500.0
    write_rate_grace: float = 30.0
    websocket: bool = False
    """Whether WebSockets are served; otherwise an Upgrade to them is ignored, as any other is."""
    detect_http2: bool = False
    """Whether a connection may begin with HTTP/2's preface."""
    streams: int = 100
    """HTTP/2: streams a client may have open at once."""
    ping_interval: float = 0.0
    """HTTP/2: seconds of silence after which a PING asks whether the peer is alive; 0 never asks."""
    ping_timeout: float = 20.0


class Engine(Protocol):
    """One connection's protocol state: what ``keepserve.server.connection`` drives.

    After any call, ``out`` holds bytes for the peer (the caller sends and clears it) and
    ``close_reason`` tells whether the connection is to end.
    """

    multiplexed: bool
    """Several exchanges run at once, each with a flow control of its own (HTTP/2)."""
    out: list[bytes]
    close_reason: CloseReason | None
    requests: int
    """Requests whose head was accepted so far."""
    backlog: bytes
    """Bytes that came and wait: for the present response to be done (HTTP/1.1), or for the next turn (HTTP/2)."""
    push_allowed: bool
    """The peer takes responses it has not asked for."""
    relieved: list[int]
    """Streams that are not ``blocked`` any more; the caller wakes who waits, and clears it."""

    @property
    def glitches(self) -> int:
        """Frames so far that carry nothing; HTTP/1.1 has none."""

    @property
    def peer_resets(self) -> int:
        """Streams so far that were reset because of the peer."""

    @property
    def pending(self) -> Mapping[int, object]:
        """Streams with something to send that ``pump`` may send now; always empty in HTTP/1.1."""

    @property
    def idle(self) -> bool:
        """No request is under way and not one byte of the next has come."""

    @property
    def idle_since(self) -> float:
        """Since when the connection could be closed without breaking off anything, or ``NEVER``: it could not.

        That is when it became idle, or when the peer that is to close after our last word was last heard.
        """

    @property
    def ready_at(self) -> float:
        """When the last response was flushed, also when the connection has ended since; ``NEVER``: not yet."""

    @property
    def ending(self) -> Ending:
        """How the connection is to end, if it is."""

    def receive(self, data: bytes, now: float) -> Sequence[Event]:
        """Take bytes from the peer."""

    def proceed(self, now: float) -> Sequence[Event]:
        """Go on with the backlog."""

    def receive_eof(self, now: float) -> Sequence[Event]:
        """The peer has sent all it will ever send."""

    def respond(
        self, stream: int, status: int, fields: Iterable[tuple[bytes, bytes]], body: bytes, complete: bool
    ) -> None:
        """Send a response's head and the first part of its body. Raises ``ResponseError``."""

    def send_body(self, stream: int, data: bytes, complete: bool) -> None:
        """Send more of a response's body. Raises ``ResponseError``."""

    def send_trailers(self, stream: int, fields: Iterable[tuple[bytes, bytes]]) -> None:
        """End a response with trailer fields. Raises ``ResponseError``."""

    def inform(self, stream: int, status: int, fields: Iterable[tuple[bytes, bytes]]) -> None:
        """Send an interim response: 100 Continue, 103 Early Hints. Raises ``ResponseError``."""

    def go_on(self, stream: int, now: float) -> None:
        """The application reads the body: send 100 Continue if the client waits for it."""

    def switch(self, stream: int, fields: Iterable[tuple[bytes, bytes]]) -> None:
        """Grant a ``WebSocketRequest``: 101, or 200 in HTTP/2. Raises ``ResponseError``.

        From here on ``send_body`` sends bytes as they are, and bytes of the peer's come as ``Body``.
        """

    def hang_up(self, stream: int, reason: CloseReason, whole: bool) -> None:
        """End a granted WebSocket; ``whole``: the peer has said its last word, and nothing more comes."""

    def taken(self, stream: int, amount: int, now: float) -> None:
        """The application has taken so many bytes of a request's body: there is room for more."""

    def abandon(self, stream: int, reason: CloseReason) -> None:
        """The response under way will not be finished; the peer must be able to tell."""

    def push(
        self, request: Request, scheme: bytes, target: bytes, fields: list[tuple[bytes, bytes]]
    ) -> Request | None:
        """Promise a response to a GET that ``request`` leads to; ``None``: not on this connection."""

    def blocked(self, stream: int) -> bool:
        """So much of this response waits for the peer that no more should be produced."""

    def pump(self, now: float) -> None:
        """Put out what the peer has made room for, in turns and only so much at a time."""

    def hold(self, held: bool, now: float) -> None:
        """We stop (``True``) or go on reading: a peer that may not send is not slow."""

    def hold_output(self, held: bool) -> None:
        """The peer does not (``True``) or does again take what is sent: keep what can wait."""

    def flushed(self, now: float) -> None:
        """Everything handed out has left this process."""

    def obey(self, limits: Limits) -> None:
        """From now on these are the limits."""

    def announce(self, reason: CloseReason) -> None:
        """Announce on the next response that the connection closes with it, and leave it alone until then.

        For HTTP/1.1, where a response can say so (RFC 9112 §9.6). HTTP/2 says it by GOAWAY, which sends clients
        away at once: that is ``drain``, and here nothing happens. The first reason counts.
        """

    def drain(self, now: float, idle_grace: float) -> None:
        """The server is stopping: announce it, and keep HTTP/1.1 peers for ``idle_grace`` seconds of idleness.

        These run from ``now`` or, for a connection that is busy, from when it becomes idle: its peer, whose
        response had begun, has not been told. May be called again; what ends sooner counts.
        """

    def evict(self, now: float, unread: bool) -> None:
        """The worker has too many connections: end the connection now if it has an ``idle_since``.

        A busy one ends with its present response, if the protocol can say so. ``unread`` as for ``expire``.
        """

    def conclude(self) -> None:
        """The connection is about to be closed, whatever is under way: say what is still to be said."""

    def calm(self, detail: str, now: float) -> Sequence[Event]:
        """The peer has too much under way to be served: end the connection and say so."""

    def next_deadline(self) -> float:
        """When ``expire`` wants to be called, or ``NEVER``."""

    def expire(self, now: float, unread: bool) -> Sequence[Event]:
        """Act on deadlines that have passed, never early.

        ``unread`` tells that the socket holds bytes nobody has read yet: an idle connection with
        such is not closed, since a request has arrived.
        """
