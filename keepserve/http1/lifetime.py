"""How an HTTP/1.1 connection lives and ends: whose turn it is, the clocks, the close (RFC 9112 §9).

The clocks (``keepserve`` documentation, "The three clocks"): *idle* runs from the moment the last
response was flushed to the first byte of a request, *head* from that byte to the end of the head,
the *envelope* over both. A request's body has a clock of its own (``keepserve.http1.upload``).

A connection ends for one ``CloseReason``, by ``_end``. Where the peer may still be sending it is not
cut: its input is read and thrown away, within bounds, until the peer closes (RFC 9112 §9.6,
lingering close).
"""

from __future__ import annotations

from collections.abc import Sequence

from keepserve.http1.head import PartialHead
from keepserve.http1.response import DefaultFields
from keepserve.http1.upload import Upload
from keepserve.http1.writer import NONE, ResponseWriter
from keepserve.telemetry.reasons import CloseReason
from keepserve.wire.clocks import LingerClock
from keepserve.wire.engine import NEVER, Ending, Event, Limits
from keepserve.wire.single import OneAtATime

# Request side of a connection. OFFERED: as DONE, and WebSocket is asked for; TUNNEL: it is granted.
IDLE, HEAD, BODY, DONE, ENDED, OFFERED, TUNNEL = range(7)

_NOTHING: tuple[Event, ...] = ()


class Lifetime(OneAtATime):
    """What a connection is apart from its requests and responses; the arguments are ``Http1Engine``'s."""

    __slots__ = (
        "_announce",
        "_drained_at",
        "_eof",
        "_head_started",
        "_held",
        "_idle_grace",
        "_limits",
        "_linger",
        "_max_age_at",
        "_max_requests",
        "_partial",
        "_ready_at",
        "_request",
        "_upload",
        "_writer",
        "backlog",
        "close_reason",
        "ending",
        "out",
        "requests",
    )

    def __init__(
        self, limits: Limits, defaults: DefaultFields, now: float, *, max_requests: int = 0, max_age: float = 0.0
    ) -> None:
        self.out: list[bytes] = []
        self.close_reason: CloseReason | None = None
        self.ending = Ending.OPEN
        self.requests = 0
        """Requests whose head was accepted so far."""
        self._limits = limits
        self._writer = ResponseWriter(defaults, self.out)
        self._request = IDLE
        self._partial: PartialHead | None = None
        self.backlog = b""
        self._upload: Upload | None = None
        self._linger: LingerClock | None = None
        self._announce: CloseReason | None = None
        """Why the next response closes the connection, if it does."""
        self._drained_at = NEVER
        self._eof = False
        self._held = False
        self._ready_at = now
        self._idle_grace = 0.0
        self._head_started = NEVER
        self._max_requests = max_requests or NEVER
        self._max_age_at = now + max_age if max_age > 0 else NEVER

    # The answering part.

    def _refuse(self, status: int, detail: str, line: bytes, extra: bytes = b"") -> Sequence[Event]:
        """Answer a faulty request by ourselves, and close."""
        raise NotImplementedError

    # Whose turn it is.

    @property
    def idle(self) -> bool:
        """No request is under way and not one byte of the next has come."""
        return self._request == IDLE and self._writer.state == NONE and not self._waiting

    @property
    def idle_since(self) -> float:
        """When the last response was flushed, or the peer that is to close was last heard; ``NEVER``: it is busy."""
        if self._request == IDLE and not self._waiting:
            return self._ready_at
        return self._linger.quiet_since if self._linger is not None else NEVER

    @property
    def ready_at(self) -> float:
        """When the last response was flushed, also when the connection has ended since; ``NEVER``: not yet."""
        return self._ready_at

    @property
    def _waiting(self) -> bool:
        """Pipelined bytes wait though their turn has come: the client is to read its answers first.

        One byte is less than that: half of an empty line.
        """
        return len(self.backlog) > 1

    def _cycle(self) -> None:
        """Both sides are done: ready for the next request. The idle clock waits for ``flushed``."""
        self._request = IDLE

    def _end(self, reason: CloseReason, ending: Ending) -> None:
        self.close_reason = reason
        self.ending = Ending.CLOSE if self._eof and ending == Ending.LINGER else ending
        self._request = ENDED
        self._writer.state = NONE
        self.backlog = b""
        self._partial = self._upload = None

    # Time.

    def hold(self, held: bool, now: float) -> None:
        """We stop (``True``) or go on reading: a peer that may not send is not slow."""
        self._held = held
        if self._upload is not None:
            self._upload.hold(held, now)

    def flushed(self, now: float) -> None:
        """Everything handed out has left this process: the idle clock or the lingering close begins."""
        if self._request == IDLE:
            if self._ready_at == NEVER:
                self._ready_at = now
        elif self.ending == Ending.LINGER and self._linger is None:
            limits = self._limits
            self._linger = LingerClock(limits.linger_timeout, limits.linger_idle_timeout, limits.linger_bytes, now)

    def obey(self, limits: Limits) -> None:
        """From now on these are the limits."""
        self._limits = limits

    def announce(self, reason: CloseReason) -> None:
        """Announce on the next response that the connection closes with it; one that is idle stays until then."""
        if self._announce is None:
            self._announce = reason

    def drain(self, now: float, idle_grace: float) -> None:
        """The server is stopping: announce it on what is answered, close what is idle for ``idle_grace`` seconds."""
        self.announce(CloseReason.DRAINING)
        if self._drained_at == NEVER or now + idle_grace < self._drained_at + self._idle_grace:
            self._drained_at, self._idle_grace = now, idle_grace

    @property
    def _idle_limit(self) -> float:
        """When an idle connection has had the grace of a drain; a response that had begun by then did not tell."""
        return max(self._ready_at, self._drained_at) + self._idle_grace

    def evict(self, now: float, unread: bool) -> None:
        """End an idle connection or a lingering close; a busy one, or one with ``unread`` bytes, is served once."""
        if self._request == ENDED:
            if self._linger is not None:
                self.ending = Ending.CLOSE
        elif self.idle_since == NEVER or unread:
            self.announce(CloseReason.EVICTED)
        else:
            self._end(CloseReason.EVICTED, Ending.CLOSE)

    def next_deadline(self) -> float:
        """When ``expire`` wants to be called, or ``NEVER``."""
        request = self._request
        if request == IDLE:
            if self._waiting:
                return NEVER
            return min(self._ready_at + self._limits.keep_alive_timeout, self._idle_limit)
        if request == HEAD:
            limits = self._limits
            return min(self._head_started + limits.request_head_timeout, self._ready_at + limits.headers_timeout)
        if self._upload is not None:
            return self._upload.deadline
        if request == ENDED and self._linger is not None:
            return self._linger.deadline
        return NEVER

    def expire(self, now: float, unread: bool) -> Sequence[Event]:
        """Act on deadlines that have passed, never early; ``unread`` bytes in the socket save an idle connection."""
        if now < self.next_deadline():
            return _NOTHING
        if self._request == IDLE:
            reason = CloseReason.DRAINING if now >= self._idle_limit else CloseReason.IDLE_TIMEOUT
            if unread:
                # A request is on its way from the socket to us: serve it, and say that it was the last.
                self._announce = self._announce or reason
                self._ready_at = NEVER
            else:
                self._end(reason, Ending.CLOSE)
            return _NOTHING
        if self._request == ENDED:
            # A close, not a reset: the kernel may still be delivering our answer to a slow reader.
            self.ending = Ending.CLOSE
            return _NOTHING
        in_head = self._request == HEAD
        seconds = self._limits.request_head_timeout if in_head else self._limits.body_timeout
        line = self._partial.start if self._partial is not None else b""
        events = self._refuse(
            408,
            f"The request {'head' if in_head else 'body'} did not arrive in time ({seconds:g} s, or too slowly).",
            line,
        )
        self.close_reason = CloseReason.HEAD_TIMEOUT if in_head else CloseReason.BODY_TIMEOUT
        return events
