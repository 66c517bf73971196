"""What comes in: frames, in the order in which their faults are looked for (RFC 9113 §3.4, §4, §6).

The rules here stand in front of both engines, so that what a peer may do does not depend on the engine. An
engine adds how header blocks are decoded (``_decode``), and is told of each frame that passed (``_observe``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from keepserve.http2.hpack import CompressionFault, Decoded, ListTooLarge
from keepserve.http2.outgoing import Outgoing
from keepserve.http2.protocol import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    FRAME_HEAD,
    FRAME_SIZE,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    WITH_PRIORITY,
    ConnectionFault,
    ErrorCode,
    StreamFault,
    read_settings,
    read_uint31,
)
from keepserve.telemetry.reasons import CloseReason
from keepserve.wire.engine import NEVER, Event

SLICE = 256
"""Units of work done before others have their turn: about 2 ms. A frame is one unit, a request's head two, and
one more for each ``BLOCK_UNIT`` bytes of it."""
BLOCK_UNIT = 64

CONTINUATION_MAX = 8
"""CONTINUATION frames to a header block (CVE-2024-27316 and its kin); nghttp2 allows as many."""

SETTINGS_ENTRIES_MAX = 32
"""Entries in one SETTINGS frame, as in nghttp2."""

_PROTOCOL_ERROR = ErrorCode.PROTOCOL_ERROR
_CALM = ErrorCode.ENHANCE_YOUR_CALM


class Incoming(Outgoing):
    """The receiving half of a connection: bytes to frames, frames to what they mean for streams and windows."""

    __slots__ = (
        "_block",
        "_block_by",
        "_block_ends",
        "_block_frames",
        "_block_raw",
        "_block_stream",
        "_budget",
        "_greeted",
        "_partial",
        "_settled",
        "backlog",
    )

    _observes: ClassVar[bool] = False
    """The engine wants to see every frame that has passed the checks."""

    def _reset_reader(self) -> None:
        self.backlog = b""
        self._partial = b""
        self._greeted = False
        """The preface has come."""
        self._settled = False
        """The first frame, which must be SETTINGS, has come."""
        self._block: list[bytes] | None = None
        self._block_raw: list[bytes] = []
        self._block_stream = 0
        self._block_ends = False
        self._block_frames = 0
        self._block_by = NEVER
        self._budget = 0

    # The engine's part.

    def _decode(self, number: int, block: bytes, raw: bytes, end: bool) -> Decoded:
        """Decode a header block; ``raw`` are its frames as they came."""
        raise NotImplementedError

    def _observe(self, raw: bytes) -> None:
        """Take note of a frame that has passed the checks."""

    # The session's part: what frames mean.

    def _on_head(self, number: int, decoded: Decoded, end: bool) -> None:
        raise NotImplementedError

    _last: int
    """The highest stream the client has opened."""

    def _check_head(self, number: int) -> None:
        raise NotImplementedError

    def _on_data(self, number: int, data: bytes, size: int, end: bool, raw: Callable[[], bytes]) -> None:
        raise NotImplementedError

    def _on_reset(self, number: int, code: int) -> None:
        raise NotImplementedError

    def _on_settings(self, pairs: Sequence[tuple[int, int]]) -> None:
        raise NotImplementedError

    def _on_settings_ack(self) -> None:
        raise NotImplementedError

    def _on_ping(self, data: bytes, ack: bool) -> None:
        raise NotImplementedError

    def _on_goaway(self, last: int, code: int) -> None:
        raise NotImplementedError

    def _on_window_update(self, number: int, increment: int) -> None:
        raise NotImplementedError

    def _on_priority(self, number: int, depends_on: int) -> None:
        raise NotImplementedError

    def _end_stream_for(self, number: int, fault: StreamFault) -> None:
        raise NotImplementedError

    def _glitch(self, weight: float = 1.0) -> None:
        raise NotImplementedError

    def _fail(self, code: ErrorCode, detail: str, reason: CloseReason) -> None:
        raise NotImplementedError

    # Bytes to frames.

    def _read(self, data: bytes) -> Sequence[Event]:
        """Look at every whole frame in ``data``, until a slice of work is done; keep the rest."""
        events = self._events = []
        position, end = 0, len(data)
        self._partial = b""
        try:
            if not self._greeted:
                position = self._greet(data)
            self._budget = SLICE
            unpack = FRAME_HEAD.unpack_from
            while end - position >= 9:
                size, flags, number = unpack(data, position)
                kind = size & 0xFF
                size >>= 8
                if size > FRAME_SIZE:
                    raise ConnectionFault(
                        ErrorCode.FRAME_SIZE_ERROR, f"A frame has {size} bytes; the most is {FRAME_SIZE}."
                    )
                stop = position + 9 + size
                if stop > end:
                    break
                if self._budget <= 0:
                    self.backlog = data[position:]
                    return events
                self._budget -= 1
                number &= 0x7FFF_FFFF  # the reserved bit is ignored (§4.1)
                if kind == HEADERS and self._settled and self._block is None:
                    self._take_headers(flags, number, data, position, stop)
                elif kind == DATA and self._settled and self._block is None:
                    self._take_data(flags, number, data, position, stop)
                else:
                    self._take_other(kind, flags, number, data, position, stop)
                position = stop
            if position < end:
                self._partial = data[position:] if position else data
        except ConnectionFault as fault:
            reason = CloseReason.FLOOD if fault.code == _CALM else CloseReason.PROTOCOL_ERROR
            self._fail(fault.code, fault.detail, reason)
        return events

    def _greet(self, data: bytes) -> int:
        """Compare the preface as it comes; return where the frames begin (RFC 9113 §3.4)."""
        size = len(PREFACE)
        if not PREFACE.startswith(data[:size]):
            raise ConnectionFault(_PROTOCOL_ERROR, "The connection does not begin with the HTTP/2 preface.")
        if len(data) < size:
            self._partial = data
            return len(data)
        self._greeted = True
        return size

    def _take_other(self, kind: int, flags: int, number: int, data: bytes, position: int, stop: int) -> None:
        """Everything but HEADERS and DATA in their usual place."""
        if not self._settled:
            if kind != SETTINGS or flags & ACK:
                raise ConnectionFault(_PROTOCOL_ERROR, "The first frame is not SETTINGS (RFC 9113 §3.4).")
            self._settled = True
        elif self._block is not None:
            if kind != CONTINUATION or number != self._block_stream:
                raise ConnectionFault(
                    _PROTOCOL_ERROR, "Another frame stands between HEADERS and its CONTINUATION (RFC 9113 §6.10)."
                )
            self._continue_block(flags, data[position + 9 : stop], data[position:stop] if self._observes else b"")
            return
        handler = _HANDLERS.get(kind)
        if handler is None:
            self._glitch()  # an unknown type is ignored (§5.5)
            return
        try:
            handler(self, flags, number, data[position + 9 : stop])
        except StreamFault as fault:
            self._end_stream_for(number, fault)
            return
        if self._observes:
            self._observe(data[position:stop])

    # Header blocks (§6.2, §6.10).

    def _take_headers(self, flags: int, number: int, data: bytes, position: int, stop: int) -> None:
        if not number:
            raise ConnectionFault(_PROTOCOL_ERROR, "HEADERS for stream 0.")
        start, end = position + 9, stop
        if flags & (PADDED | WITH_PRIORITY):
            start, end = self._strip(flags, number, data, start, stop)
        if not flags & END_HEADERS:
            self._block = [data[start:end]]
            self._block_raw = [data[position:stop]] if self._observes else []
            self._block_stream = number
            self._block_ends = flags & END_STREAM != 0
            self._block_frames = 0
            self._block_by = self._now + self._limits.request_head_timeout
            return
        self._end_block(
            number, data[start:end], data[position:stop] if self._observes else b"", flags & END_STREAM != 0
        )

    def _strip(self, flags: int, number: int, data: bytes, start: int, end: int) -> tuple[int, int]:
        """Take padding and priority off a HEADERS payload; return where the block begins and ends."""
        padding = 0
        if flags & PADDED:
            if start == end:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "HEADERS is too short for its pad length.")
            padding = data[start]
            start += 1
        if flags & WITH_PRIORITY:
            if end - start < 5:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "HEADERS is too short for its priority.")
            if read_uint31(data, start) == number:
                raise ConnectionFault(_PROTOCOL_ERROR, "A stream depends on itself.")
            start += 5
        if padding > end - start:
            raise ConnectionFault(_PROTOCOL_ERROR, "HEADERS has more padding than payload (RFC 9113 §6.2).")
        return start, end - padding

    def _continue_block(self, flags: int, payload: bytes, raw: bytes) -> None:
        block = self._block
        assert block is not None
        self._block_frames += 1
        block.append(payload)
        if self._observes:
            self._block_raw.append(raw)
        if self._block_frames > CONTINUATION_MAX or sum(map(len, block)) > 2 * self._limits.request_head:
            raise ConnectionFault(
                _CALM,
                f"A header block has more than {CONTINUATION_MAX} CONTINUATION frames, "
                f"or more than {2 * self._limits.request_head} bytes.",
            )
        if flags & END_HEADERS:
            raw = b"".join(self._block_raw)
            self._block, self._block_raw, self._block_by = None, [], NEVER
            self._end_block(self._block_stream, b"".join(block), raw, self._block_ends)

    def _end_block(self, number: int, block: bytes, raw: bytes, end: bool) -> None:
        self._budget -= 1 + len(block) // BLOCK_UNIT
        if number <= self._last or not number & 1:
            self._check_head(number)
        try:
            decoded = self._decode(number, block, raw, end)
        except CompressionFault as fault:
            raise ConnectionFault(ErrorCode.COMPRESSION_ERROR, str(fault)) from None
        except ListTooLarge as fault:
            raise ConnectionFault(_CALM, str(fault)) from None
        self._on_head(number, decoded, end)

    # The other frames, each with its own length and place.

    def _take_data(self, flags: int, number: int, data: bytes, position: int, stop: int) -> None:
        if not number:
            raise ConnectionFault(_PROTOCOL_ERROR, "DATA for stream 0.")
        start, end = position + 9, stop
        if flags & PADDED:
            padding = data[start] + 1 if start < end else 1
            if padding > end - start:
                # An empty payload has no room for the pad length (§6.1); either way the frame is not what it says.
                raise ConnectionFault(_PROTOCOL_ERROR, "DATA has more padding than payload (RFC 9113 §6.1).")
            start, end = start + 1, end - padding + 1
        self._on_data(
            number, data[start:end], stop - position - 9, flags & END_STREAM != 0, lambda: data[position:stop]
        )

    def _take_priority(self, flags: int, number: int, payload: bytes) -> None:
        if not number:
            raise ConnectionFault(_PROTOCOL_ERROR, "PRIORITY for stream 0.")
        if len(payload) != 5:
            raise StreamFault(
                ErrorCode.FRAME_SIZE_ERROR, f"PRIORITY has {len(payload)} bytes instead of 5 (RFC 9113 §6.3)."
            )
        self._on_priority(number, read_uint31(payload))

    def _take_reset(self, flags: int, number: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ConnectionFault(
                ErrorCode.FRAME_SIZE_ERROR, f"RST_STREAM has {len(payload)} bytes instead of 4 (RFC 9113 §6.4)."
            )
        if not number:
            raise ConnectionFault(_PROTOCOL_ERROR, "RST_STREAM for stream 0.")
        self._on_reset(number, int.from_bytes(payload, "big"))

    def _take_settings(self, flags: int, number: int, payload: bytes) -> None:
        if number:
            raise ConnectionFault(_PROTOCOL_ERROR, "SETTINGS for a stream; it is for the connection (RFC 9113 §6.5).")
        if flags & ACK:
            if payload:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "A SETTINGS acknowledgement with a payload.")
            self._on_settings_ack()
            return
        if len(payload) % 6:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "SETTINGS whose length is no multiple of 6.")
        if len(payload) > 6 * SETTINGS_ENTRIES_MAX:
            raise ConnectionFault(_CALM, f"SETTINGS with more than {SETTINGS_ENTRIES_MAX} entries.")
        self._on_settings(read_settings(payload))

    def _take_push_promise(self, flags: int, number: int, payload: bytes) -> None:
        raise ConnectionFault(_PROTOCOL_ERROR, "PUSH_PROMISE from a client (RFC 9113 §8.4).")

    def _take_ping(self, flags: int, number: int, payload: bytes) -> None:
        if number:
            raise ConnectionFault(_PROTOCOL_ERROR, "PING for a stream; it is for the connection (RFC 9113 §6.7).")
        if len(payload) != 8:
            raise ConnectionFault(
                ErrorCode.FRAME_SIZE_ERROR, f"PING has {len(payload)} bytes instead of 8 (RFC 9113 §6.7)."
            )
        self._on_ping(payload, flags & ACK != 0)

    def _take_goaway(self, flags: int, number: int, payload: bytes) -> None:
        if number:
            raise ConnectionFault(_PROTOCOL_ERROR, "GOAWAY for a stream; it is for the connection (RFC 9113 §6.8).")
        if len(payload) < 8:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "GOAWAY is shorter than 8 bytes (RFC 9113 §6.8).")
        self._on_goaway(read_uint31(payload), int.from_bytes(payload[4:8], "big"))

    def _take_window_update(self, flags: int, number: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ConnectionFault(
                ErrorCode.FRAME_SIZE_ERROR, f"WINDOW_UPDATE has {len(payload)} bytes instead of 4 (RFC 9113 §6.9)."
            )
        increment = read_uint31(payload)
        if not increment:
            # For a stream a stream error would do; who sends this is after our state, so the safer choice.
            raise ConnectionFault(_PROTOCOL_ERROR, "WINDOW_UPDATE with an increment of 0 (RFC 9113 §6.9).")
        self._on_window_update(number, increment)

    def _take_continuation(self, flags: int, number: int, payload: bytes) -> None:
        raise ConnectionFault(_PROTOCOL_ERROR, "CONTINUATION without HEADERS before it (RFC 9113 §6.10).")


_HANDLERS: dict[int, Callable[[Incoming, int, int, bytes], None]] = {
    PRIORITY: Incoming._take_priority,
    RST_STREAM: Incoming._take_reset,
    SETTINGS: Incoming._take_settings,
    PUSH_PROMISE: Incoming._take_push_promise,
    PING: Incoming._take_ping,
    GOAWAY: Incoming._take_goaway,
    WINDOW_UPDATE: Incoming._take_window_update,
    CONTINUATION: Incoming._take_continuation,
}
