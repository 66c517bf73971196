"""The HTTP/1.1 engine: one connection's state, and what comes in.

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

It has three storeys: ``keepserve.http1.lifetime`` (turns, clocks, the end), upon it
``keepserve.http1.outgoing`` (responses), and upon that the requests, which are read here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

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
from keepserve.http1.lifetime import BODY, DONE, ENDED, HEAD, IDLE, OFFERED, TUNNEL
from keepserve.http1.outgoing import STREAM, Outgoing
from keepserve.http1.parsers import HeadParser, HeadRejected
from keepserve.http1.response import DefaultFields
from keepserve.http1.upgrade import VERSION_LINES, read_upgrade
from keepserve.http1.upload import Upload
from keepserve.http1.writer import PENDING
from keepserve.telemetry.reasons import CloseReason
from keepserve.websocket.handshake import HandshakeFault
from keepserve.wire.engine import NEVER, Body, Ending, Event, Limits, Rejected, Request, SpeaksHttp2

HTTP2_LINE = b"PRI * HTTP/2.0"
"""The first line of HTTP/2's preface, made so that it is a faulty request to everybody else."""

_NOTHING: tuple[Event, ...] = ()
_EMPTY_LINES = re.compile(rb"(?:\r\n)*")


class Http1Engine(Outgoing):
    """One HTTP/1.1 connection without its socket; the interface is ``keepserve.wire.engine.Engine``.

    Args:
        limits: sizes, counts and timeouts.
        parser: turns heads into fields; may be shared by all connections of a thread.
        defaults: the fields every response carries.
        now: when the connection became ready, in seconds of the clock of all later calls.
        max_requests: after so many requests a response announces the close; 0 for no limit.
        max_age: after so many seconds likewise; 0 for no limit.
    """

    __slots__ = ("_parser",)

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
        super().__init__(limits, defaults, now, max_requests=max_requests, max_age=max_age)
        self._parser = parser

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
