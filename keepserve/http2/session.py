"""A connection's streams: how they open, what they carry, how they end (RFC 9113 §5, §8).

A stream's fate is decided in one of four places: ``_on_head`` opens it, ``_stream_over`` ends it well,
``_reset`` ends it because of the peer, ``_give_up`` because of us. Whoever opened a stream is told what became
of it: by an answer, by RST_STREAM, or by a GOAWAY whose last stream is below it. REFUSED_STREAM and that GOAWAY
are sent only for what no application has seen (§8.7).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from keepserve.http2.guard import LATE_WEIGHT
from keepserve.http2.hpack import Decoded
from keepserve.http2.lifetime import Lifetime
from keepserve.http2.protocol import ConnectionFault, ErrorCode, StreamFault
from keepserve.http2.request import Unserved, check_trailers, crumbs_in, read_request, start_of
from keepserve.http2.streams import AWAITED, OVER, STREAM_WINDOW, Stream, Upload
from keepserve.telemetry.reasons import CloseReason
from keepserve.wire.engine import NEVER, Body, Ending, Event, Rejected, Request, ResponseError
from keepserve.wire.fields import CONNECTION_SPECIFIC, FIELD_VALUE_FAULT, FORBIDDEN_TRAILERS
from keepserve.wire.response import Field, refuse_bad_fields

FIELDS_AND_CRUMBS = 256
"""Most fields of a request, cookie crumbs included. Browsers keep 180 cookies for a site, and each is a crumb."""

_NOTHING: tuple[Event, ...] = ()
_PROTOCOL_ERROR = ErrorCode.PROTOCOL_ERROR


class Session(Lifetime):
    """One HTTP/2 connection without its socket; the interface is ``keepserve.wire.engine.Engine``.

    Args:
        limits: sizes, counts and timeouts.
        now: when the connection became ready, in seconds of the clock of all later calls.
        max_requests: after so many requests the connection is ended gracefully; 0 for no limit.
        max_age: after so many seconds likewise; 0 for no limit.
    """

    __slots__ = ()

    # Bytes in.

    @property
    def idle(self) -> bool:
        """No stream is open."""
        return not self._streams

    @property
    def idle_since(self) -> float:
        """When the last stream was done and flushed; ``NEVER``: one is open, or the connection is ending."""
        return self._ready_at if not self._streams and not self._parting and not self.ending else NEVER

    def receive(self, data: bytes, now: float) -> Sequence[Event]:
        """Take bytes from the peer; ``now`` in seconds."""
        self._now = self._heard_at = now
        if self.ending:
            if self._linger is not None and not self._linger.moved(len(data), now):
                self.ending = Ending.RESET
            return _NOTHING
        if self.backlog:
            self.backlog += data
            return _NOTHING
        return self._read(self._partial + data if self._partial else data)

    def proceed(self, now: float) -> Sequence[Event]:
        """Go on with what a slice of work has left over."""
        self._now = now
        data, self.backlog = self.backlog, b""
        if data and not self.ending:
            return self._read(data)
        return _NOTHING

    def receive_eof(self, now: float) -> Sequence[Event]:
        """The peer has sent all it will ever send; responses under way still go out whole."""
        self._now = now
        self._eof = True
        if self.ending:
            if self.ending == Ending.LINGER:
                self.ending = Ending.CLOSE
            return _NOTHING
        events = self._events = []
        for stream in [stream for stream in self._streams.values() if stream.receiving]:
            self._drop(stream, "The peer left before the end of its request.")
        if self.close_reason is None:
            self.close_reason = CloseReason.PEER_LEFT if self._streams else CloseReason.PEER_CLOSED
        if not self._streams:
            self.ending = Ending.CLOSE
        return events

    # Streams (RFC 9113 §5.1, §8.1).

    def _check_head(self, number: int) -> None:
        """Judge a HEADERS frame that opens no new stream of the client's, before its block is decoded."""
        stream = self._streams.get(number)
        if stream is not None:
            self._check_promised(stream, "HEADERS")
        elif number > (self._last if number & 1 else self._last_pushed):
            raise ConnectionFault(_PROTOCOL_ERROR, "A client's streams have odd numbers (RFC 9113 §5.1.1).")
        elif number not in self._reset_lately:
            raise ConnectionFault(ErrorCode.STREAM_CLOSED, "HEADERS for a stream that is over (RFC 9113 §5.1).")

    def _on_head(self, number: int, decoded: Decoded, end: bool) -> None:
        if number <= self._last or not number & 1:
            self._on_trailers(number, decoded, end)
            return
        self._last = number
        limits = self._limits
        if len(self._streams) - self._pushed >= limits.streams or self._parting == 2:
            self._refuse(number)
            return
        self._last_served = number
        stream = self._streams[number] = Stream(number, not end, False)
        self._ready_at = NEVER
        try:
            if decoded.size > limits.request_head or len(decoded.fields) > limits.request_fields:
                self._check_size(decoded)
            request = read_request(number, decoded, end, extended_connect=limits.websocket)
        except StreamFault as fault:
            self._reset(number, fault.code, fault.detail)
            return
        except Unserved as fault:
            self._answer(stream, fault.status, fault.detail, *start_of(decoded), fields=fault.fields)
            return
        if request.method == b"HEAD":
            stream.head_only = True
        if not end and not self._await_body(stream, request):
            return
        self.requests += 1
        if self.requests >= self._max_requests and not self._parting:
            self._farewell(CloseReason.MAX_REQUESTS)
        self._events.append(request)

    def _check_size(self, decoded: Decoded) -> None:
        """431 for too much of a head (RFC 6585 §5). Cookie crumbs have a bound of their own, and become one field."""
        limits = self._limits
        if decoded.size > limits.request_head:
            raise Unserved(431, f"The request's fields take more than {limits.request_head} bytes.")
        if len(decoded.fields) - crumbs_in(decoded) > limits.request_fields:
            raise Unserved(431, f"The request has more than {limits.request_fields} header fields.")
        if len(decoded.fields) > max(limits.request_fields, FIELDS_AND_CRUMBS):
            raise Unserved(431, f"The request has more than {FIELDS_AND_CRUMBS} header fields and cookie crumbs.")

    def _await_body(self, stream: Stream, request: Request) -> bool:
        limits = self._limits
        if 0 < limits.request_body < request.content_length:
            detail = f"The request body is larger than {limits.request_body} bytes."
            self._answer(stream, 413, detail, request.method, request.target)
            return False
        # A gRPC call is a conversation: its client may say nothing for minutes.
        paced = not request.converses
        stream.upload = Upload(limits, request.content_length, request.expect_continue, paced, self._now)
        self._uploads[stream.number] = stream
        stream.upload.limited = type(request) is Request  # a WebSocket has no end, and limits of its own
        if self._held_at != NEVER or self._receive_window <= 0:
            stream.upload.pause(True, self._now)
        return True

    def _on_trailers(self, number: int, decoded: Decoded, end: bool) -> None:
        """A second HEADERS on a stream: the end of the request's body (§8.1)."""
        stream = self._streams.get(number)
        if stream is None:
            self._glitch()  # we reset it, and this was on its way
            return
        if not stream.receiving:
            self._reset(number, ErrorCode.STREAM_CLOSED, "HEADERS after END_STREAM (RFC 9113 §5.1).")
            return
        if stream.response == OVER:
            self._after_answer(stream, end)
            return
        try:
            if not end:
                raise StreamFault(_PROTOCOL_ERROR, "A second HEADERS in the middle of a body (RFC 9113 §8.1).")
            if decoded.size > self._limits.request_head:
                raise StreamFault(_PROTOCOL_ERROR, "The trailers are larger than a head may be.")
            check_trailers(decoded, FORBIDDEN_TRAILERS)
        except StreamFault as fault:
            self._reset(number, fault.code, fault.detail)
            return
        self._body_came(stream, b"", 0, True)

    def _on_data(self, number: int, data: bytes, size: int, end: bool, raw: Callable[[], bytes]) -> None:
        """``size`` is what the frame takes of the windows: its payload, padding included (§6.9.1)."""
        self._receive_window -= size
        if self._receive_window <= 0:
            if self._receive_window < 0:
                raise ConnectionFault(
                    ErrorCode.FLOW_CONTROL_ERROR, "DATA beyond the connection's window (RFC 9113 §6.9)."
                )
            self._pace_uploads()
        if not data and not end and self._guard.excess_empty_frames():
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "Too many DATA frames without a byte.")
        stream = self._streams.get(number)
        if stream is None:
            if number not in self._reset_lately:
                self._check_not_idle(number, "DATA")
                raise ConnectionFault(ErrorCode.STREAM_CLOSED, "DATA for a stream that is over (RFC 9113 §5.1).")
            self._return_credit(size)
            self._glitch(LATE_WEIGHT)
            return
        if not stream.receiving:
            self._check_promised(stream, "DATA")
            self._return_credit(size)
            self._reset(number, ErrorCode.STREAM_CLOSED, "DATA after END_STREAM (RFC 9113 §5.1).")
            return
        upload = stream.upload
        if upload is not None:  # else the head was answered, and nobody waits for the body
            upload.window -= size
            if upload.window < 0:
                self._return_credit(size)
                self._reset(number, ErrorCode.FLOW_CONTROL_ERROR, "DATA beyond the stream's window (RFC 9113 §6.9).")
                return
        if stream.response == OVER:
            self._return_credit(size)
            self._after_answer(stream, end)
            return
        if self._observes:
            self._observe(raw())
        self._body_came(stream, data, size, end)

    def _body_came(self, stream: Stream, data: bytes, size: int, end: bool) -> None:
        upload = stream.upload
        assert upload is not None
        number, amount = stream.number, len(data)
        upload.arrived(amount, self._now)
        if size > amount:
            self._taken(stream, upload, size - amount, 0)  # padding is never held
        if upload.remaining >= 0:
            upload.remaining -= amount
            if upload.remaining < 0 or (end and upload.remaining):
                self._reset(number, _PROTOCOL_ERROR, "The body's length is not its content-length (RFC 9113 §8.1.1).")
                return
        elif 0 < self._limits.request_body < upload.received and upload.limited:
            detail = f"The request body is larger than {self._limits.request_body} bytes."
            self._answer_or_reset(stream, 413, detail)
            return
        if end:
            stream.receiving = False
            self._uploads.pop(number, None)
        events = self._events
        last = events[-1] if events else None
        if type(last) is Request and last.stream == number:
            # It came in the same read as its head: one event for both.
            last.body += data
            last.complete = end
        elif type(last) is Body and last.stream == number and amount + len(last.data) <= 2 * STREAM_WINDOW:
            last.data += data
            last.complete = end
        elif data or end:
            events.append(Body(number, data, end))

    def _after_answer(self, stream: Stream, end: bool) -> None:
        """More of a request that has been answered: it is dropped, and at its end the stream is over."""
        if end:
            stream.receiving = False
            self._forget(stream)
            self._check_last()

    def _check_promised(self, stream: Stream, what: str) -> None:
        """Raise ``ConnectionFault`` for a stream that we have only promised so far."""
        if not stream.number & 1 and stream.response == AWAITED:
            raise ConnectionFault(_PROTOCOL_ERROR, f"{what} for a promised stream (RFC 9113 §5.1).")

    # Pushed responses (§8.4).

    def push(self, request: Request, scheme: bytes, target: bytes, fields: list[Field]) -> Request | None:
        """Promise a response to a GET that ``request`` leads to; ``None``: not on this connection, or not now.

        Raises:
            ResponseError: ``target`` is no path, or a field cannot be sent.
        """
        if target[:1] != b"/" or FIELD_VALUE_FAULT.search(target) is not None:
            raise ResponseError(f"The path of a pushed response must begin with '/', not {target[:40]!r}.")
        refuse_bad_fields(fields)
        most = min(self._push_max, self._limits.streams)
        parent = request.stream
        if not self.push_allowed or self._parting or self._peer_left or self._pushed >= most or not parent & 1:
            return None
        stream = self._streams.get(parent)
        if self.ending or stream is None or stream.response == OVER:
            return None
        self._last_pushed = number = self._last_pushed + 2
        host = next(value for name, value in request.fields if name == b"host")
        plain = [(name.lower(), value) for name, value in fields if name.lower() not in CONNECTION_SPECIFIC]
        self._write_promise(
            parent,
            number,
            [(b":method", b"GET"), (b":scheme", scheme), (b":authority", host), (b":path", target), *plain],
        )
        self._streams[number] = Stream(number, False, False)
        self._pushed += 1
        pushed = Request(number, b"GET", target, "2", [(b"host", host), *plain], True)
        pushed.takes_trailers = True
        return pushed

    def _write_promise(self, number: int, promised: int, fields: list[Field]) -> None:
        """Put out PUSH_PROMISE: the engine's part."""
        raise NotImplementedError

    # What the server says by itself.

    def _refuse(self, number: int) -> None:
        """No application has seen it, so the client may safely send it again (§8.7)."""
        self._write_reset(number, ErrorCode.REFUSED_STREAM)
        self._remember_reset(number)
        self._glitch(LATE_WEIGHT if self._parting == 2 else 1.0)

    def _answer(
        self,
        stream: Stream,
        status: int,
        detail: str,
        method: bytes = b"-",
        target: bytes = b"-",
        fields: Iterable[Field] = (),
    ) -> None:
        """Answer a stream in the application's place, and tell its exchange, if it has one."""
        number = stream.number
        text = detail.encode() + b"\n"
        if method == b"HEAD":
            stream.head_only = True
        self.respond(number, status, [(b"content-type", b"text/plain; charset=utf-8"), *fields], text, True)
        self._events.append(Rejected(number, status, detail, method, target))

    def _answer_or_reset(self, stream: Stream, status: int, detail: str) -> None:
        """Answer a request that was handed out, if its response has not begun; otherwise the reset must tell."""
        if stream.response == AWAITED:
            self._answer(stream, status, detail)
        else:
            self._give_up(stream, ErrorCode.CANCEL)
            self._events.append(Rejected(stream.number, 0, detail))

    def _reset(self, number: int, code: ErrorCode, detail: str) -> None:
        """End a stream for a fault of the peer's, and count it."""
        self._write_reset(number, code)
        self._remember_reset(number)
        stream = self._streams.get(number)
        if stream is not None:
            self._drop(stream, detail)
        self._count_reset()

    def _drop(self, stream: Stream, detail: str) -> None:
        """A stream is over before its end; its exchange, if any, is to be told."""
        self._settle_account(stream)
        self._forget(stream)
        self._events.append(Rejected(stream.number, 0, detail))
        self._check_last()

    def _end_stream_for(self, number: int, fault: StreamFault) -> None:
        if number in self._streams:
            self._reset(number, fault.code, fault.detail)
        elif number in self._reset_lately:
            self._glitch()  # it has been told
        else:
            raise ConnectionFault(fault.code, fault.detail)  # a stream that is not open cannot be reset (§6.4)

    def _stream_over(self, stream: Stream) -> None:
        """A response is complete, or given up."""
        self._settle_account(stream)
        if stream.receiving and stream.response == OVER:
            self._early[stream.number] = NEVER
            return
        if stream.response != OVER:
            self._remember_reset(stream.number)
        self._forget(stream)
        if not self._streams:
            self._check_last()
