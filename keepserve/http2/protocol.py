"""The words of HTTP/2: frame types, flags, settings, error codes, how frames are put together (RFC 9113 §4-§7)."""

from __future__ import annotations

import enum
import struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What a client sends first (RFC 9113 §3.4)."""

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
"""Frame types (RFC 9113 §6)."""

END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
WITH_PRIORITY = 0x20

# Settings (RFC 9113 §6.5.2; the last two: RFC 8441 §3, RFC 9218 §2.1).
HEADER_TABLE_SIZE = 0x1
ENABLE_PUSH = 0x2
MAX_CONCURRENT_STREAMS = 0x3
INITIAL_WINDOW_SIZE = 0x4
MAX_FRAME_SIZE = 0x5
MAX_HEADER_LIST_SIZE = 0x6
ENABLE_CONNECT_PROTOCOL = 0x8
ENABLE_CONNECT_PROTOCOL = 0x8
NO_RFC7540_PRIORITIES = 0x9

FRAME_SIZE = 16_384
"""Largest payload we accept, and the largest DATA payload we send: what every peer takes (RFC 9113 §4.2)."""

DEFAULT_WINDOW = 65_535
MAX_WINDOW = 2**31 - 1
MAX_STREAM = 2**31 - 1

FRAME_HEAD = struct.Struct(">LBL")
"""Nine bytes: 24 bits of length and 8 of type in one number, flags, stream (RFC 9113 §4.1)."""

_UINT32 = struct.Struct(">L")
_SETTING = struct.Struct(">HL")


class ErrorCode(enum.IntEnum):
    """Why a stream or a connection ended (RFC 9113 §7)."""

    NO_ERROR = 0x0
    PROTOCOL_ERROR = 0x1
    INTERNAL_ERROR = 0x2
    FLOW_CONTROL_ERROR = 0x3
    SETTINGS_TIMEOUT = 0x4
    STREAM_CLOSED = 0x5
    FRAME_SIZE_ERROR = 0x6
    REFUSED_STREAM = 0x7
    CANCEL = 0x8
    COMPRESSION_ERROR = 0x9
    CONNECT_ERROR = 0xA
    ENHANCE_YOUR_CALM = 0xB
    INADEQUATE_SECURITY = 0xC
    HTTP_1_1_REQUIRED = 0xD


class ConnectionFault(Exception):
    """The peer broke a rule that concerns the whole connection (RFC 9113 §5.4.1): it ends with GOAWAY."""

    def __init__(self, code: ErrorCode, detail: str) -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = detail


class StreamFault(Exception):
    """The peer broke a rule that concerns one stream (RFC 9113 §5.4.2): it ends with RST_STREAM, the rest goes on."""

    def __init__(self, code: ErrorCode, detail: str) -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = detail


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Put a frame together."""
    return FRAME_HEAD.pack(len(payload) << 8 | kind, flags, stream) + payload


def rst_stream(stream: int, code: int) -> bytes:
    """A RST_STREAM frame (RFC 9113 §6.4)."""
    return frame(RST_STREAM, 0, stream, _UINT32.pack(code))


def window_update(stream: int, increment: int) -> bytes:
    """A WINDOW_UPDATE frame (RFC 9113 §6.9)."""
    return frame(WINDOW_UPDATE, 0, stream, _UINT32.pack(increment))


def goaway(last: int, code: int, debug: bytes = b"") -> bytes:
    """A GOAWAY frame (RFC 9113 §6.8)."""
    return frame(GOAWAY, 0, 0, _UINT32.pack(last) + _UINT32.pack(code) + debug)


def settings(*pairs: tuple[int, int]) -> bytes:
    """A SETTINGS frame (RFC 9113 §6.5)."""
    return frame(SETTINGS, 0, 0, b"".join(_SETTING.pack(*pair) for pair in pairs))


def read_settings(payload: bytes) -> list[tuple[int, int]]:
    """The pairs in a SETTINGS frame's payload, whose length is a multiple of six."""
    return list(_SETTING.iter_unpack(payload))


def read_uint31(payload: bytes, start: int = 0) -> int:
    """The 31-bit number at ``start``; the reserved bit is ignored (RFC 9113 §4.1)."""
    return int.from_bytes(payload[start : start + 4], "big") & 0x7FFF_FFFF
