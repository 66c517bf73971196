"""What the frames say that concern a connection as a whole, and the windows of uploads (RFC 9113 §5.2, §6.3-§6.9)."""

from __future__ import annotations

from collections.abc import Sequence

from keepserve.http2.guard import Guard
from keepserve.http2.incoming import Incoming
from keepserve.http2.protocol import (
    ENABLE_PUSH,
    HEADER_TABLE_SIZE,
    INITIAL_WINDOW_SIZE,
    MAX_CONCURRENT_STREAMS,
    MAX_FRAME_SIZE,
    MAX_WINDOW,
    NO_RFC7540_PRIORITIES,
    ConnectionFault,
    ErrorCode,
)
from keepserve.http2.streams import CONNECTION_WINDOW, STREAM_WINDOW, Stream, Upload
from keepserve.wire.engine import NEVER, Limits
from keepserve.wire.response import Field

ACK_TIMEOUT = 10.0
"""Seconds a peer has to acknowledge our SETTINGS (RFC 9113 §6.5.3)."""

FAREWELL_PING = b"farewell"
"""What the PING between the two GOAWAYs carries."""

_PROTOCOL_ERROR = ErrorCode.PROTOCOL_ERROR


class Control(Incoming):
    """Settings, pings, resets, priorities, and what clients may send."""

    __slots__ = (
        "_ack_by",
        "_asked_at",
        "_greeting_by",
        "_guard",
        "_last",
        "_owed",
        "_parting",
        "_peer_left",
        "_receive_window",
        "_reset_lately",
        "_uploads",
    )

    def __init__(self, limits: Limits, now: float) -> None:
        super().__init__(limits, now)
        self._reset_reader()
        self._guard = Guard(now)
        self._last = 0
        """The highest stream the client has opened."""
        self._reset_lately: dict[int, None] = {}
        """Streams we reset, for which frames may still be on their way; no more than can be open at once."""
        self._receive_window = CONNECTION_WINDOW
        self._owed = 0
        """Bytes the connection's window is to be widened by, once it is worth a frame."""
        self._uploads: dict[int, Stream] = {}
        """Streams whose request body is on its way."""
        self._parting = 0
        """0: not; 1: announced, new streams are still served; 2: the last stream is named."""
        self._peer_left = False
        """The peer has sent GOAWAY."""
        self._greeting_by = now + limits.request_head_timeout
        self._ack_by = NEVER
        self._asked_at = NEVER
        """When we asked whether the peer is alive, if it has not answered."""

    # The engine's part.

    def _write_greeting(self, pairs: Sequence[tuple[int, int]], increment: int) -> None:
        """Put out SETTINGS, and the WINDOW_UPDATE that widens the connection's window."""
        raise NotImplementedError

    def _write_settings_ack(self, table_size: int | None) -> None:
        """Acknowledge SETTINGS; ``table_size`` is SETTINGS_HEADER_TABLE_SIZE, if it was among them."""
        raise NotImplementedError

    def _write_ping(self, data: bytes, ack: bool) -> None:
        """Put out PING."""
        raise NotImplementedError

    def _write_window_update(self, number: int, increment: int) -> None:
        """Put out WINDOW_UPDATE."""
        raise NotImplementedError

    def _write_goaway(self, last: int, code: ErrorCode, debug: bytes = b"") -> None:
        """Put out GOAWAY."""
        raise NotImplementedError

    def _write_interim(self, number: int, status: int, fields: list[Field]) -> None:
        """Put out HEADERS for an interim response."""
        raise NotImplementedError

    # The session's part.

    def _drop(self, stream: Stream, detail: str) -> None:
        """A stream is over before its end; its exchange, if any, is to be told."""
        raise NotImplementedError

    def _reset(self, number: int, code: ErrorCode, detail: str) -> None:
        """End a stream for a fault of the peer's, and count it."""
        raise NotImplementedError

    @property
    def glitches(self) -> int:
        """Frames so far that carry nothing."""
        return self._guard.glitch_count

    @property
    def peer_resets(self) -> int:
        """Streams so far that were reset because of the peer."""
        return self._guard.reset_count

    def _count_reset(self) -> None:
        raise NotImplementedError

    # The lifetime's part.

    def _name_last(self) -> None:
        """The peer has heard that the connection ends: streams above the last one served are refused from here on."""
        raise NotImplementedError

    # What frames mean for the connection.

    def _on_settings(self, pairs: Sequence[tuple[int, int]]) -> None:
        table_size = None
        for name, value in pairs:
            if name == INITIAL_WINDOW_SIZE:
                if value > MAX_WINDOW:
                    raise ConnectionFault(
                        ErrorCode.FLOW_CONTROL_ERROR,
                        "SETTINGS_INITIAL_WINDOW_SIZE is above 2^31-1 (RFC 9113 §6.5.2).",
                    )
                self._rebase_windows(value)
            elif name == MAX_FRAME_SIZE:
                if not 16_384 <= value <= 16_777_215:
                    raise ConnectionFault(
                        _PROTOCOL_ERROR, "SETTINGS_MAX_FRAME_SIZE is not between 2^14 and 2^24-1 (RFC 9113 §6.5.2)."
                    )
                self._peer_frame_size = value
            elif name == HEADER_TABLE_SIZE:
                table_size = value if table_size is None else min(table_size, value)
            elif name in (ENABLE_PUSH, NO_RFC7540_PRIORITIES) and value > 1:
                raise ConnectionFault(_PROTOCOL_ERROR, f"The setting 0x{name:x} is {value}; it must be 0 or 1.")
            elif name == ENABLE_PUSH:
                self.push_allowed = value == 1
            elif name == MAX_CONCURRENT_STREAMS:
                self._push_max = value
        if self._greeting_by != NEVER:
            self._greeting_by = NEVER  # the first one is no glitch
            self._ack_by = self._now + ACK_TIMEOUT
        else:
            self._glitch(1 + len(pairs) / 8)
        self._write_settings_ack(table_size)

    def _on_settings_ack(self) -> None:
        if self._ack_by == NEVER:
            raise ConnectionFault(_PROTOCOL_ERROR, "A SETTINGS acknowledgement for settings that were not sent.")
        self._ack_by = NEVER

    def _on_ping(self, data: bytes, ack: bool) -> None:
        if not ack:
            self._write_ping(data, True)
        elif data == FAREWELL_PING and self._parting == 1:
            self._name_last()
            return
        elif self._asked_at != NEVER:
            self._asked_at = NEVER
            return
        self._glitch()

    def _on_goaway(self, last: int, code: int) -> None:
        """The peer opens no more streams; those that are open go on (§6.8)."""
        self._glitch()
        self._peer_left = True
        self._check_last()

    def _on_window_update(self, number: int, increment: int) -> None:
        if self._guard.excess_window_updates(self.requests, self._data_frames):
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "Too many WINDOW_UPDATE for so little data.")
        if not number:
            self._widen_connection(increment)
            return
        stream = self._streams.get(number)
        if stream is None:
            self._check_not_idle(number, "WINDOW_UPDATE")
        elif not self._widen_stream(stream, increment):
            self._reset(number, ErrorCode.FLOW_CONTROL_ERROR, "WINDOW_UPDATE takes the window beyond 2^31-1.")

    def _on_priority(self, number: int, depends_on: int) -> None:
        """Priorities are not heeded, as our settings say (RFC 9218 §2.1)."""
        if depends_on == number:
            raise ConnectionFault(_PROTOCOL_ERROR, "A stream depends on itself.")
        if self._guard.excess_priorities(self.requests):
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "Too many PRIORITY frames.")
        self._glitch()

    def _on_reset(self, number: int, code: int) -> None:
        stream = self._streams.get(number)
        if stream is None:
            self._check_not_idle(number, "RST_STREAM")
            self._glitch()
            return
        self._drop(stream, f"The client has reset the stream ({_code_name(code)}).")
        self._count_reset()

    # Streams that are not open.

    def _check_not_idle(self, number: int, what: str) -> None:
        """Raise ``ConnectionFault`` for a stream that was never opened."""
        if number > (self._last if number & 1 else self._last_pushed):
            raise ConnectionFault(_PROTOCOL_ERROR, f"{what} for a stream that was never opened (RFC 9113 §5.1).")

    def _remember_reset(self, number: int) -> None:
        lately = self._reset_lately
        lately[number] = None
        if len(lately) > self._limits.streams:
            # A client that has opened so many since then has seen the reset: what it sent before has come.
            del lately[next(iter(lately))]

    # Windows for responses (RFC 9113 §6.9).

    def _widen_connection(self, increment: int) -> None:
        self._send_window += increment
        if self._send_window > MAX_WINDOW:
            raise ConnectionFault(
                ErrorCode.FLOW_CONTROL_ERROR, "WINDOW_UPDATE takes the connection's window beyond 2^31-1."
            )
        if self._starved and self._send_window > 0:
            self.pending.update(self._starved)
            self._starved.clear()

    def _widen_stream(self, stream: Stream, increment: int) -> bool:
        """Widen one stream's window; tell whether it is still a legal one."""
        stream.delta += increment
        if self._base_window + stream.delta > MAX_WINDOW:
            return False
        self._highest_delta = max(self._highest_delta, stream.delta)
        if stream.queued:
            self.pending[stream.number] = stream
        return True

    def _rebase_windows(self, base: int) -> None:
        """The peer's SETTINGS_INITIAL_WINDOW_SIZE changed: so do all windows, which may become negative (§6.9.2)."""
        if base + self._highest_delta > MAX_WINDOW:
            # The bound is kept cheaply and may be too high; streams come and go.
            self._highest_delta = max((stream.delta for stream in self._streams.values()), default=0)
            if base + self._highest_delta > MAX_WINDOW:
                raise ConnectionFault(
                    ErrorCode.FLOW_CONTROL_ERROR,
                    "SETTINGS_INITIAL_WINDOW_SIZE takes a stream's window beyond 2^31-1.",
                )
        if base > self._base_window:
            self.pending.update(self._stalled)
        self._base_window = base

    # Windows for uploads: they are refilled only as applications read.

    def taken(self, stream: int, amount: int, now: float) -> None:
        """The application has taken so many bytes of a request's body: there is room for more."""
        state = self._streams.get(stream)
        if state is not None and state.upload is not None:
            self._now = now
            self._taken(state, state.upload, amount, amount)

    def _taken(self, stream: Stream, upload: Upload, amount: int, held: int) -> None:
        upload.held -= held
        self._return_credit(amount)
        if stream.receiving:
            upload.owed += amount
            if upload.owed >= STREAM_WINDOW // 2:
                self._write_window_update(stream.number, upload.owed)
                upload.widen(upload.owed, self._now)
                upload.owed = 0

    def _return_credit(self, amount: int) -> None:
        """Widen the connection's window by what is held no more."""
        self._owed = owed = self._owed + amount
        # At the latest when as much is owed as is left: others may hold the rest for long (bodies nobody reads).
        if owed >= CONNECTION_WINDOW // 2 or 0 < owed >= self._receive_window:
            self._write_window_update(0, owed)
            self._receive_window += owed
            self._owed = 0
            if self._receive_window == owed:
                self._pace_uploads()

    def _pace_uploads(self) -> None:
        """Whether clients may send has changed: who may not is not slow."""
        paused = self._held_at != NEVER or self._receive_window <= 0
        for stream in self._uploads.values():
            assert stream.upload is not None
            stream.upload.pause(paused, self._now)

    def _settle_account(self, stream: Stream) -> None:
        """A stream is over: what it held of the connection's window is free again."""
        upload = stream.upload
        if upload is not None:
            self._uploads.pop(stream.number, None)
            self._return_credit(upload.held)
            upload.held = 0


def _code_name(code: int) -> str:
    return ErrorCode(code).name if code in ErrorCode.__members__.values() else f"0x{code:x}"
