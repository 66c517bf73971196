"""The HTTP/1.1 engine: one connection's state, its clocks and its one decision to close.

Rules of the state machine (RFC 9112 §9):

1. A connection has two sides. The *request* side goes IDLE → HEAD → BODY → DONE; the *response*
   side goes NONE → PENDING (a request was handed out) → OPEN (head sent) → DONE.
2. A request is parsed only when the response before it is done. What a client pipelines waits as
   bytes, so that order is kept without a queue of requests and nothing is run twice.
3. When both sides are done the connection is IDLE again, or ends if ``close_reason`` says so.
4. ``close_reason`` is decided at one place, when a response's head is rendered, or by a fault or a
   deadline. From then on no further request is looked at (RFC 9112 §9.6).
5. A connection that ends while its peer may still be sending is not cut: its input is read and
   thrown away, within bounds, until the peer closes (RFC 9112 §9.6, lingering close).

The clocks (``keepserve`` documentation, "The three clocks"): *idle* runs from the moment the last
response was flushed to the first byte of a request, *head* from that byte to the end of the head,
the *envelope* over both.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from keepserve.http1.body import BodyFault
from keepserve.http1.head import (
    Framing,
    HeadFault,
    PartialHead,
    diagnose,
    read_fields,
    read_framing,
    read_head,
    read_target,
)
from keepserve.http1.parsers import HeadParser, HeadRejected
from keepserve.http1.response import DefaultFields, render_interim, render_switch, render_text
from keepserve.http1.upgrade import VERSION_LINES, read_upgrade
from keepserve.http1.upload import Upload
from keepserve.http1.writer import NONE, PENDING, ResponseWriter
from keepserve.telemetry.reasons import CloseReason
from keepserve.websocket.handshake import HandshakeFault
from keepserve.wire.clocks import LingerClock
from keepserve.wire.engine import NEVER, Body, Ending, Event, Limits, Rejected, Request, ResponseError, SpeaksHttp2
from keepserve.wire.single import OneAtATime

STREAM = 1
"""HTTP/1.1 has one exchange at a time."""

HTTP2_LINE = b"PRI * HTTP/2.0"
"""The first line of HTTP/2's preface, made so that it is a faulty request to everybody else."""

# Request side of a connection. OFFERED: as DONE, and WebSocket is asked for; TUNNEL: it is granted.
IDLE, HEAD, BODY, DONE, ENDED, OFFERED, TUNNEL = range(7)

_NOTHING: tuple[Event, ...] = ()
_EMPTY_LINES = re.compile(rb"(?:\r\n)*")


class Http1Engine(OneAtATime):
    """One HTTP/1.1 connection without its socket; the interface is ``keepserve.wire.engine.Engine``.

    Args:
        limits: sizes, counts and timeouts.
        parser: turns heads into fields; may be shared by all connections of a thread.
        defaults: the fields every response carries.
        now: when the connection became ready, in seconds of the clock of all later calls.
        max_requests: after so many requests a response announces the close; 0 for no limit.
        max_age: after so many seconds likewise; 0 for no limit.
    """

    __slots__ = (
        "_announce",
        "_defaults",
        "_drained_at",
        "_eof",
        "_head_started",
        "_held",
        "_idle_grace",
        "_limits",
        "_linger",
        "_max_age_at",
        "_max_requests",
        "_output_held",
        "_parser",
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
        self,
        limits: Limits,
        parser: HeadParser,
        defaults: DefaultFields,
        now: float,
        *,
        max_requests: int = 0,
        max_age: float = 0.0,
    ) -> None:
        self.out: list[bytes] = []
        self.close_reason: CloseReason | None = None
        self.ending = Ending.OPEN
        self.requests = 0
        """Requests whose head was accepted so far."""
        self._limits = limits
        self._parser = parser
        self._defaults = defaults
        self._writer = ResponseWriter(defaults, self.out)
        self._request = IDLE
        self._partial: PartialHead | None = None
        self.backlog = b""
        self._upload: Upload | None = None
        self._linger: LingerClock | None = None
        self._announce: CloseReason | None = None
        self._drained_at = NEVER
        self._eof = False
        self._held = False
        self._output_held = False
        self._ready_at = now
        self._idle_grace = 0.0
        self._head_started = NEVER
        self._max_requests = max_requests or NEVER
        self._max_age_at = now + max_age if max_age > 0 else NEVER

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

    # Bytes in.

    def receive(self, data: bytes, now: float) -> Sequence[Event]:
        """Take bytes from the peer; ``now`` in seconds."""
        request = self._request
        if request == IDLE:
            end = data.find(b"\r\n\r\n")
            if end > 0 and end + 4 == len(data) and data[0] != 0x0D and not self.backlog:
                return self._accept(data, b"", now)  # one request, whole: the usual read
            return self._begin(data, now)
        if request == BODY:
            return self._take_body(data, now)
        if request == DONE:
            self.backlog += data
            return _NOTHING
        if request == HEAD:
            return self._grow(data, now)
        if request == TUNNEL:
            return (Body(STREAM, data, False),)
        if request == OFFERED:
            self.backlog += data
            return _NOTHING
        if self._linger is not None and not self._linger.moved(len(data), now):
            self.ending = Ending.RESET
        return _NOTHING

    def proceed(self, now: float) -> Sequence[Event]:
        """Go on with bytes that waited for a response to end (pipelining)."""
        if self._request != IDLE:
            return self._proceed_in_tunnel() if self._request == TUNNEL else _NOTHING
        if self.backlog:
            data, self.backlog = self.backlog, b""
            events = self._begin(data, now)
            if events:
                return events
        if self._eof and self.ending == Ending.OPEN:
            self._end(CloseReason.PEER_CLOSED if self._request == IDLE else CloseReason.PEER_LEFT, Ending.CLOSE)
        return _NOTHING

    def _proceed_in_tunnel(self) -> Sequence[Event]:
        """Hand out what came before the application had granted the WebSocket."""
        data, self.backlog = self.backlog, b""
        if data:
            return (Body(STREAM, data, False),)
        return self.receive_eof(0.0) if self._eof else _NOTHING

    def receive_eof(self, now: float) -> Sequence[Event]:
        """The peer has sent all it will ever send; a response under way still goes out whole."""
        self._eof = True
        if self._request in (DONE, OFFERED) or (self._request == IDLE and self._waiting):
            return _NOTHING
        if self._request == ENDED:
            if self.ending == Ending.LINGER:
                self.ending = Ending.CLOSE
            return _NOTHING
        reason = CloseReason.PEER_CLOSED if self._request == IDLE else CloseReason.PEER_LEFT
        unfinished = self._request in (BODY, TUNNEL)
        self._end(reason, Ending.CLOSE)
        return (Rejected(STREAM, 0, "The peer left before the end of its request."),) if unfinished else _NOTHING

    def _begin(self, data: bytes, now: float) -> Sequence[Event]:
        """Read the start of a request. Empty lines before it are ignored and are not activity (RFC 9112 §2.2)."""
        if self.backlog:
            data, self.backlog = self.backlog + data, b""
        if data[0] == 0x0D:
            data = data[_EMPTY_LINES.match(data).end() :]  # type: ignore[union-attr]  # matches the empty string
            if data in (b"", b"\r"):
                self.backlog = data
                return _NOTHING
        end = data.find(b"\r\n\r\n")
        if end < 0:
            self._partial = PartialHead(self._limits)
            self._request = HEAD
            self._head_started = now
            return self._grow(data, now)
        if end + 4 == len(data):
            return self._accept(data, b"", now)
        return self._accept(data[: end + 4], data[end + 4 :], now)

    def _grow(self, data: bytes, now: float) -> Sequence[Event]:
        partial = self._partial
        assert partial is not None
        try:
            whole = partial.feed(data)
        except HeadFault as fault:
            if self._speaks_http2(partial.start):
                return (SpeaksHttp2(STREAM, partial.whole),)
            return self._refuse(fault.status, fault.detail, partial.start)
        if whole is None:
            return _NOTHING
        self._partial = None
        return self._accept(*whole, now)

    def _accept(self, head: bytes, rest: bytes, now: float) -> Sequence[Event]:
        """Judge a whole head and hand the request out."""
        limits = self._limits
        lines = head.split(b"\r\n")
        try:
            method, target, http11, plain = read_head(head, lines, limits)
            try:
                self._parser.check(head)
            except HeadRejected:
                raise diagnose(head, method, target, http11) from None
            fields, usual = read_fields(lines)
            framing = None if usual and http11 else read_framing(fields, http11)
            if not plain:
                target = read_target(method, target, fields)
            if framing is not None and 0 < limits.request_body < framing.length:
                raise HeadFault(413, f"The request body is larger than {limits.request_body} bytes.")
        except HeadFault as fault:
            self._parser.reset()
            line = lines[0]
            if self._speaks_http2(line):
                return (SpeaksHttp2(STREAM, head + rest),)
            return self._refuse(fault.status, fault.detail, line)
        self.requests = number = self.requests + 1
        self._ready_at = NEVER
        if number >= self._max_requests:
            self._announce = CloseReason.MAX_REQUESTS
        elif now >= self._max_age_at:
            self._announce = CloseReason.MAX_AGE
        writer = self._writer
        writer.state = PENDING
        writer.head_only = method == b"HEAD"
        writer.http11 = http11
        self._request = DONE
        self.backlog = rest
        request = Request(STREAM, method, target, "1.1" if http11 else "1.0", fields, True)
        if framing is not None:
            return self._frame(request, framing, rest, now)
        return (request,)

    def _speaks_http2(self, line: bytes) -> bool:
        """Whether this is how HTTP/2 with prior knowledge begins (RFC 9113 §3.3, §3.4), on a connection that may."""
        return line == HTTP2_LINE and self.requests == 0 and self._limits.detect_http2

    def _frame(self, request: Request, framing: Framing, rest: bytes, now: float) -> Sequence[Event]:
        """Do what a head asks for that is not the plain case: a body, the close, trailers."""
        request.takes_trailers = framing.trailers
        if framing.close:
            self._announce = CloseReason.CLIENT_ASKED
        has_body = framing.chunked or framing.length > 0
        if has_body or framing.close or framing.upgrade:
            self._parser.reset()
        if not has_body:
            if framing.upgrade and not framing.close and self._limits.websocket:
                return self._upgrade(request)
            return (request,)
        self.backlog = b""
        upload = self._upload = Upload(framing, self._limits, now, self._held)
        self._request = BODY
        request.complete = False
        if rest:
            for event in self._take_body(rest, now):
                if isinstance(event, Rejected):
                    # The body is faulty from the start: answered, and not handed out.
                    event.method, event.target = request.method, request.target
                if not isinstance(event, Body):
                    return (event,)
                request.body, request.complete = event.data, event.complete
        elif framing.expect_continue:
            request.expect_continue = True
            upload.expect(now)
        return (request,)

    def _upgrade(self, request: Request) -> Sequence[Event]:
        """Hand out a request for a WebSocket as such; others with an Upgrade are served as they are."""
        try:
            offered = read_upgrade(request)
        except HandshakeFault as fault:
            line = request.method + b" " + request.target
            return self._refuse(fault.status, fault.detail, line, VERSION_LINES if fault.status == 426 else b"")
        if offered is None:
            return (request,)
        self._request = OFFERED
        return (offered,)

    def _take_body(self, data: bytes, now: float) -> Sequence[Event]:
        upload = self._upload
        assert upload is not None
        try:
            payload, complete, rest = upload.feed(data, now)
        except BodyFault as fault:
            return self._refuse(fault.status, fault.detail, b"")
        if complete:
            self._request = DONE
            self.backlog = rest
            self._upload = None
        if upload.unwanted:
            if complete:
                self._cycle()
                return self.proceed(now)
            if upload.too_long_to_discard:
                self._end(CloseReason.UNREAD_BODY, Ending.LINGER)
            return _NOTHING
        return (Body(STREAM, payload, complete),) if payload or complete else _NOTHING

    def _refuse(self, status: int, detail: str, line: bytes, extra: bytes = b"") -> Sequence[Event]:
        """Answer a faulty request by ourselves, and close: what follows it cannot be trusted."""
        state = self._writer.state
        if self._upload is not None and self._upload.unwanted:
            # Its response has been sent; the fault is in a body nobody wanted.
            self._end(CloseReason.BAD_REQUEST, Ending.LINGER)
            return _NOTHING
        started = state not in (NONE, PENDING)
        method, _, target = line[:256].partition(b" ")
        rejected = Rejected(
            STREAM, 0 if started else status, detail, method or b"-", target.partition(b" ")[0] or b"-"
        )
        reason = CloseReason.BAD_REQUEST
        if started:
            self.abandon(STREAM, reason)
        else:
            body = not (state == PENDING and self._writer.head_only)
            self.out.append(render_text(status, detail, self._defaults, close=True, body=body, extra=extra))
            self._end(reason, Ending.LINGER)
        return (rejected,)

    # Responses out.

    def respond(
        self, stream: int, status: int, fields: Iterable[tuple[bytes, bytes]], body: bytes, complete: bool
    ) -> None:
        """Send a response's head and the first part of its body. Raises ``ResponseError``."""
        reason = self._announce
        if reason is None and self._upload is not None and self._upload.left_unread(complete):
            reason = CloseReason.UNREAD_BODY
        elif reason is None and self._request == OFFERED and self.backlog:
            reason = CloseReason.UNREAD_BODY  # it was meant for a WebSocket, and must not be taken for a request
        self.close_reason = self._writer.start(status, fields, body, complete, reason)
        if complete:
            self._response_done()

    def send_body(self, stream: int, data: bytes, complete: bool) -> None:
        """Send more of a response's body. Raises ``ResponseError``."""
        try:
            self._writer.send(data, complete)
        except ResponseError:
            self._misframed()
            raise
        if complete:
            self._response_done()

    def send_trailers(self, stream: int, fields: Iterable[tuple[bytes, bytes]]) -> None:
        """End a response with trailer fields. Raises ``ResponseError``."""
        try:
            self._writer.trailers(fields)
        except ResponseError:
            self._misframed()
            raise
        self._response_done()

    def _misframed(self) -> None:
        """The application's body is not what its head promised; the head is gone, so only the close can tell."""
        self._end(self.close_reason or CloseReason.APP_FRAMING, Ending.LINGER)

    def inform(self, stream: int, status: int, fields: Iterable[tuple[bytes, bytes]]) -> None:
        """Send an interim response: 100 Continue, 103 Early Hints; HTTP/1.0 knows none (RFC 9110 §15.2)."""
        if self._writer.state == PENDING and self._writer.http11:
            self.out.append(render_interim(status, fields))

    def go_on(self, stream: int, now: float) -> None:
        """The application reads the body; ask for one the client holds back (``Expect: 100-continue``)."""
        upload = self._upload
        if upload is not None:
            upload.wanted = True
            if upload.expecting:
                self.inform(STREAM, 100, ())
                upload.go_on(now)

    def switch(self, stream: int, fields: Iterable[tuple[bytes, bytes]]) -> None:
        """Grant a WebSocket: from here on the connection carries its bytes. Raises ``ResponseError``."""
        self._writer.switch(render_switch(fields, self._defaults))
        self._request = TUNNEL

    def hang_up(self, stream: int, reason: CloseReason, whole: bool) -> None:
        """End the connection with its WebSocket; ``whole``: the peer has said its last word (RFC 6455 §7.1.1)."""
        if self._request == TUNNEL:
            self._end(reason, Ending.CLOSE if whole else Ending.LINGER)

    def blocked(self, stream: int) -> bool:
        """Whether the client has yet to take what was sent."""
        return self._output_held

    def hold_output(self, held: bool) -> None:
        """The client does not (``True``) or does again take what is sent."""
        self._output_held = held

    def abandon(self, stream: int, reason: CloseReason) -> None:
        """The response under way will not be finished; the peer must be able to tell (RFC 9112 §8)."""
        if self._request == ENDED:
            return  # for a reason found before: what is sent already tells
        self._end(reason, Ending.LINGER if self._writer.cut_shows else Ending.RESET)

    def _response_done(self) -> None:
        if self.close_reason is None:
            upload = self._upload
            if upload is None:
                self._cycle()
                return
            if upload.discardable:
                upload.unwanted = True
                return
            self.close_reason = CloseReason.UNREAD_BODY
        # A client that asked for the close and has nothing more to send needs no waiting for.
        plain = self.close_reason is CloseReason.CLIENT_ASKED and self._request == DONE and not self.backlog
        self._end(self.close_reason, Ending.CLOSE if plain else Ending.LINGER)

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
