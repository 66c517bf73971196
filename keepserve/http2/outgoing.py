"""What goes out: heads, bodies in turns, both levels of flow control (RFC 9113 §5.2, §6.9, §8.1).

Most responses are complete at once, fit every window, and go out as two frames without being queued. What
does not fit waits in its stream and goes out by ``pump``: a frame for each stream in turn, and never more
than ``PUMP_BYTES`` before others have had a look in, so that a large download holds up nobody.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from keepserve.http2.protocol import DEFAULT_WINDOW, FRAME_SIZE, MAX_WINDOW, ErrorCode
from keepserve.http2.streams import OVER, SEND_HIGH_WATER, SEND_LOW_WATER, STARTED, Stream
from keepserve.telemetry.reasons import CloseReason
from keepserve.wire.clocks import ProgressClock
from keepserve.wire.engine import NEVER, Event, Limits
from keepserve.wire.fields import CONNECTION_SPECIFIC
from keepserve.wire.response import (
    CLOSE,
    Field,
    check_promise,
    collect_fields,
    final_status,
    plain_status,
    refuse_bad_fields,
    too_long,
    too_short,
)

PUMP_BYTES = 64 * 1024
"""Most bytes of bodies in one write."""

SMALLEST_DATA = 1024
"""A window smaller than this is not used for a body that has more: a frame costs more than it (CVE-2019-9511)."""
DRIBBLE_AFTER = 0.2
"""Seconds after which it is used all the same, since the peer may have no larger one."""


class Outgoing:
    """The sending half of a connection. ``_write_*`` are the engine's: they render frames into ``out``."""

    multiplexed = True

    __slots__ = (
        "_base_window",
        "_data_frames",
        "_dribble_at",
        "_dribbling",
        "_early",
        "_events",
        "_fresh",
        "_good_streams",
        "_held_at",
        "_highest_delta",
        "_last_pushed",
        "_limits",
        "_now",
        "_output_held",
        "_peer_frame_size",
        "_push_max",
        "_pushed",
        "_send_window",
        "_stalled",
        "_starved",
        "_streams",
        "close_reason",
        "out",
        "pending",
        "push_allowed",
        "relieved",
        "requests",
    )

    def __init__(self, limits: Limits, now: float) -> None:
        self.out: list[bytes] = []
        self.close_reason: CloseReason | None = None
        self.requests = 0
        self.pending: dict[int, Stream] = {}
        """Streams with something to send and, as far as is known, a window for it; in turn."""
        self.relieved: list[int] = []
        self._limits = limits
        self._now = now
        """The time of the last input. What an application sends is later: clocks that begin with it have to wait for
        ``pump`` or ``flushed`` to tell the time, or they would end too early."""
        self._events: list[Event] = []
        self._streams: dict[int, Stream] = {}
        self._good_streams = 0
        self._send_window = DEFAULT_WINDOW
        self._base_window = DEFAULT_WINDOW
        self._highest_delta = 0
        self._peer_frame_size = FRAME_SIZE
        self._starved: dict[int, Stream] = {}
        """Streams that wait for the connection's window."""
        self._stalled: dict[int, Stream] = {}
        """Streams whose client has not made room for what is queued; each has a clock."""
        self._early: dict[int, float] = {}
        """Streams answered in full whose client still sends its request, and when that is enough."""
        self._dribble_at = NEVER
        self._dribbling = False
        self._data_frames = 0
        self._fresh = 0
        self._output_held = False
        self._held_at = NEVER
        """Since when nothing is read from the client, if that is so."""
        self.push_allowed = True
        """The peer takes pushed responses (SETTINGS_ENABLE_PUSH, whose default is 1), ``_push_max`` at once."""
        self._push_max = MAX_WINDOW
        self._pushed = 0
        self._last_pushed = 0

    # The engine's part.

    _known: dict[Field, Any]
    """Response fields rendered before."""

    def _render_field(self, name: bytes, value: bytes) -> Any:
        """Check and render a response field, and remember it: what goes out, its meaning, its number."""
        raise NotImplementedError

    def _write_head(self, number: int, status: int, special: int, parts: list[Any], end: bool) -> None:
        """Put out HEADERS for a response: the status, the common fields, then the rendered ``parts``."""
        raise NotImplementedError

    def _write_trailers(self, number: int, fields: list[Field]) -> None:
        """Put out HEADERS with END_STREAM for a trailer section."""
        raise NotImplementedError

    def _write_data(self, number: int, data: bytes, end: bool) -> None:
        """Put out one DATA frame."""
        raise NotImplementedError

    def _write_reset(self, number: int, code: ErrorCode) -> None:
        """Put out RST_STREAM."""
        raise NotImplementedError

    # The session's part.

    def _stream_over(self, stream: Stream) -> None:
        """A response is complete, or given up: the stream may be closed now."""
        raise NotImplementedError

    def _check_last(self) -> None:
        """The last stream is gone: a connection that is to end may end now."""
        raise NotImplementedError

    def _close_asked(self) -> None:
        """The application wants the connection to end (``Connection: close``)."""
        raise NotImplementedError

    # For the exchange.

    def respond(self, stream: int, status: int, fields: Iterable[Field], body: bytes, complete: bool) -> None:
        """Send a response's head and the first part of its body. Raises ``ResponseError``."""
        state = self._streams.get(stream)
        if state is None:
            return  # reset a moment ago, and its exchange is about to be told
        if type(status) is not int:
            status = plain_status(status)  # http.HTTPStatus, mostly
        parts: list[Any] = []
        length, special = collect_fields(fields, status, parts, self._known, self._render_field)
        size = len(body)
        if state.head_only or status in (204, 304):
            if complete and length < 0 and size and status not in (204, 304):
                parts.append(self._render_field(b"content-length", b"%d" % size)[0])
            body, size = b"", 0
            state.head_only = True
        elif length >= 0:
            check_promise(length, size, complete)
            state.left = length - size
        elif complete and size:
            # Not needed to find the end, but whoever relays it, or shows its progress, is glad of it.
            parts.append(self._render_field(b"content-length", b"%d" % size)[0])
        if not 200 <= status <= 999:
            final_status(status)
        if special & CLOSE:
            self._close_asked()
        if complete and (not size or self._fits(state, size)):
            # The usual response: two frames, and it is over.
            self._write_head(stream, status, special, parts, not size)
            if size:
                self._send_window -= size
                self._fresh += size
                self._data_frames += 1
                self._write_data(stream, body, True)
            self._response_over(state)
            return
        state.response = STARTED
        self._write_head(stream, status, special, parts, False)
        if state.upload is not None:
            state.upload.let_be()
        if size:
            self._send(state, body, complete)

    def _fits(self, stream: Stream, size: int) -> bool:
        """Whether so many bytes can go out at once: in one frame, within both windows, without crowding others."""
        return (
            size <= FRAME_SIZE
            and size <= self._send_window
            and size <= self._base_window + stream.delta
            and self._fresh < PUMP_BYTES
            and not self._output_held
        )

    def _write_now(self, stream: Stream, data: bytes, end: bool) -> None:
        size = len(data)
        self._send_window -= size
        stream.delta -= size
        self._fresh += size
        self._data_frames += 1
        self._write_data(stream.number, data, end)

    def send_body(self, stream: int, data: bytes, complete: bool) -> None:
        """Send more of a response's body. Raises ``ResponseError``."""
        state = self._streams.get(stream)
        if state is None:
            return
        if state.head_only:
            data = b""
        elif state.left >= 0:
            self._count_down(state, len(data), complete)
        if data or complete:
            self._send(state, data, complete)

    def send_trailers(self, stream: int, fields: Iterable[Field]) -> None:
        """End a response with trailer fields (RFC 9113 §8.1). Raises ``ResponseError``."""
        state = self._streams.get(stream)
        if state is None:
            return
        fields = list(fields)
        refuse_bad_fields(fields)
        fields = [field for field in fields if field[0].lower() not in CONNECTION_SPECIFIC]
        if state.left > 0:
            self._count_down(state, 0, True)
        if state.queued:
            state.trailers = fields
        else:
            self._finish(state, fields)

    def blocked(self, stream: int) -> bool:
        """So much of this response waits for the client that no more should be produced."""
        state = self._streams.get(stream)
        if state is None or state.queued <= SEND_HIGH_WATER:
            return False
        state.blocked = True
        return True

    def hold_output(self, held: bool) -> None:
        """The client does not (``True``) or does again take what is sent: keep bodies back until it does."""
        self._output_held = held

    def _count_down(self, stream: Stream, size: int, complete: bool) -> None:
        left = stream.left - size
        if left < 0 or (complete and left):
            # The head is gone, and with it the promise: only the reset can tell.
            self._give_up(stream, ErrorCode.INTERNAL_ERROR)
            raise too_long(-left) if left < 0 else too_short(left)
        stream.left = left

    # Bodies.

    def _send(self, stream: Stream, data: bytes, complete: bool) -> None:
        """Send bytes of a body now if they fit everywhere, or in turn."""
        size = len(data)
        if not stream.queued and (not size or self._fits(stream, size)):
            self._write_now(stream, data, complete)
            if complete:
                self._response_over(stream)
            return
        if size:
            stream.enqueue(data)
        if complete:
            stream.trailers = []
        self.pending[stream.number] = stream

    def pump(self, now: float) -> None:
        """Let streams with something to send take turns: a frame each, until enough is put out for one write."""
        self._now = now
        pending = self.pending
        room = PUMP_BYTES
        self._fresh = 0
        while pending and room > 0:
            number = next(iter(pending))
            stream = pending.pop(number)
            window = min(self._send_window, self._base_window + stream.delta)
            if window < SMALLEST_DATA and window < stream.queued and not self._may_dribble(stream, window):
                continue
            if stream.queued:
                data = stream.take(min(window, FRAME_SIZE))
                size = len(data)
                room -= size
                self._send_window -= size
                stream.delta -= size
                self._data_frames += 1
                if stream.stall is not None:
                    self._moved(stream, size)
            else:
                data = b""
            done = stream.trailers is not None and not stream.queued
            if data or not done:
                self._write_data(number, data, done and not stream.trailers)
            if done:
                self._end(stream, ended=bool(data))
            elif stream.queued:
                pending[number] = stream
            if stream.blocked and stream.queued <= SEND_LOW_WATER:
                stream.blocked = False
                self.relieved.append(number)

    def _end(self, stream: Stream, *, ended: bool) -> None:
        """Nothing follows but the end; ``ended`` tells that the last DATA has said so, unless there are trailers."""
        assert stream.trailers is not None
        if stream.trailers or not ended:
            self._finish(stream, stream.trailers)
        else:
            self._response_over(stream)

    def _finish(self, stream: Stream, trailers: list[Field]) -> None:
        if trailers:
            self._write_trailers(stream.number, trailers)
        else:
            self._write_data(stream.number, b"", True)
        self._response_over(stream)

    def _may_dribble(self, stream: Stream, window: int) -> bool:
        """Whether a small window is to be used all the same; if not, the stream waits for a larger one."""
        if window > 0 and self._dribbling:
            return True
        if self._send_window < SMALLEST_DATA:
            self._starved[stream.number] = stream
        if window > 0 and self._dribble_at == NEVER:
            self._dribble_at = self._now + DRIBBLE_AFTER
        if stream.stall is None:
            limits = self._limits
            stream.stall = ProgressClock(
                limits.write_timeout, limits.write_min_rate, limits.write_rate_grace, self._now
            )
            if self._held_at != NEVER:
                stream.stall.hold(self._now)
            self._stalled[stream.number] = stream
        return False

    def _moved(self, stream: Stream, size: int) -> None:
        """Bytes of a stream that had stalled went out."""
        assert stream.stall is not None
        if stream.queued:
            stream.stall.moved(size, self._now)
        else:
            stream.stall = None
            self._stalled.pop(stream.number, None)

    def _dribble(self, now: float) -> None:
        """Small windows have been small for long enough: use them, first those who had the last turn longest ago.

        Only here, at the clock's pace: a client may send WINDOW_UPDATE at any.
        """
        self.pending.update(self._starved)
        self._starved.clear()
        self.pending.update(self._stalled)
        self._dribbling = True
        self.pump(now)
        self._dribbling = False
        self._dribble_at = NEVER

    # The end of a response.

    def _response_over(self, stream: Stream) -> None:
        self._good_streams += 1
        if stream.upload is None and stream.queue is None and not stream.receiving and stream.number & 1:
            del self._streams[stream.number]
            if not self._streams:
                self._check_last()
            return
        stream.response = OVER
        self._stream_over(stream)

    def _give_up(self, stream: Stream, code: ErrorCode) -> None:
        """End a stream in the middle."""
        self._write_reset(stream.number, code)
        stream.receiving = False
        self._stream_over(stream)

    def _forget(self, stream: Stream) -> None:
        """Drop everything that is kept for a stream."""
        number = stream.number
        self._streams.pop(number, None)
        self._early.pop(number, None)
        if not number & 1:
            self._pushed -= 1
        if stream.queue is not None:
            self.pending.pop(number, None)
            self._starved.pop(number, None)
            self._stalled.pop(number, None)
            if stream.blocked:
                stream.blocked = False
                self.relieved.append(number)
