"""Raw HTTP/2 frames for tests: made, split and named here without a line of keepserve's own.

The oracle must not share the engine's bugs. So the frame layer below is written a second time, field blocks
are plain literals, and what the server sends is decoded by the ``hpack`` library (``tests.http2.client``).
"""

from __future__ import annotations

import enum
import itertools
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass


class Kind(enum.IntEnum):
    """Frame types (RFC 9113 §6)."""

    DATA = 0
    HEADERS = 1
    PRIORITY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PUSH_PROMISE = 5
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9


class Code(enum.IntEnum):
    """Error codes (RFC 9113 §7)."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    SETTINGS_TIMEOUT = 4
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    CONNECT_ERROR = 10
    ENHANCE_YOUR_CALM = 11
    INADEQUATE_SECURITY = 12
    HTTP_1_1_REQUIRED = 13


class Setting(enum.IntEnum):
    """Settings (RFC 9113 §6.5.2, RFC 8441, RFC 9218)."""

    HEADER_TABLE_SIZE = 1
    ENABLE_PUSH = 2
    MAX_CONCURRENT_STREAMS = 3
    INITIAL_WINDOW_SIZE = 4
    MAX_FRAME_SIZE = 5
    MAX_HEADER_LIST_SIZE = 6
    ENABLE_CONNECT_PROTOCOL = 8
    NO_RFC7540_PRIORITIES = 9


ACK = END_STREAM = 0x1
END_HEADERS = 0x4
PADDED = 0x8
PRIORITY_PART = 0x20
"""The PRIORITY flag of HEADERS."""

FLAGS: dict[int, int] = {
    Kind.DATA: PADDED | END_STREAM,
    Kind.HEADERS: PRIORITY_PART | PADDED | END_HEADERS | END_STREAM,
    Kind.PRIORITY: 0,
    Kind.RST_STREAM: 0,
    Kind.SETTINGS: ACK,
    Kind.PUSH_PROMISE: PADDED | END_HEADERS,
    Kind.PING: ACK,
    Kind.GOAWAY: 0,
    Kind.WINDOW_UPDATE: 0,
    Kind.CONTINUATION: END_HEADERS,
}
"""The flags each frame type defines."""

PREFACE = bytes.fromhex("505249202a20485454502f322e300d0a0d0a534d0d0a0d0a")
SERVER_SETTINGS = bytes.fromhex("000018 04 00 00000000 0003 00000064 0004 00040000 0006 00008000 0009 00000001")
"""100 streams, windows of 256 KiB, field lists of 32 KiB, no priorities of RFC 7540."""
SERVER_WINDOW = bytes.fromhex("000004 08 00 00000000 000f0001")
"""A connection window of 1 MiB: 65,535 octets are there from the start."""

GET = bytes.fromhex("82 87 84 41 01 61")
"""``GET https://a/``: three entries of the static table, and an authority that enters the dynamic table."""
POST = bytes.fromhex("83 87 84 41 01 61")


@dataclass(frozen=True)
class Frame:
    """One frame as it stood on the wire; ``reserved`` is the bit before the stream number."""

    kind: int
    flags: int
    stream: int
    payload: bytes
    reserved: bool = False

    def __bytes__(self) -> bytes:
        stream = self.stream | (0x80000000 if self.reserved else 0)
        return (
            struct.pack(">I", len(self.payload))[1:]
            + struct.pack(">BBI", self.kind, self.flags, stream)
            + self.payload
        )

    @property
    def hex(self) -> str:
        """The frame as the tables of cases write it."""
        raw = bytes(self).hex()
        parts = (raw[:6], raw[6:8], raw[8:10], raw[10:18], raw[18:])
        return " ".join(part for part in parts if part)

    @property
    def number(self) -> int:
        """The last four octets as a number: an increment, an error code."""
        return int.from_bytes(self.payload[-4:], "big")

    def has(self, flag: int) -> bool:
        """Tell whether a flag is set."""
        return bool(self.flags & flag)

    def __repr__(self) -> str:
        name = Kind(self.kind).name if self.kind in Kind._value2member_map_ else f"0x{self.kind:02x}"
        told = _DETAILS.get(self.kind, _plain)(self)
        where = f" {self.stream}" if self.stream or self.kind in (Kind.WINDOW_UPDATE, Kind.DATA, Kind.HEADERS) else ""
        return f"<{name}{where}{told}>"


def _plain(frame: Frame) -> str:
    return f" {len(frame.payload)} octets"


def _flagged(frame: Frame) -> str:
    names = {END_STREAM: "END_STREAM", END_HEADERS: "END_HEADERS", PADDED: "PADDED", PRIORITY_PART: "PRIORITY"}
    known = FLAGS[frame.kind]
    told = [name for flag, name in names.items() if frame.flags & known & flag]
    return "".join(f" {name}" for name in told) + _plain(frame)


def _code(number: int) -> str:
    return Code(number).name if number in Code._value2member_map_ else f"code 0x{number:x}"


def _settings(frame: Frame) -> str:
    if frame.has(ACK):
        return " ACK"
    return "".join(f" {name}={value}" for name, value in read_settings(frame.payload))


_DETAILS: dict[int, Callable[[Frame], str]] = {
    Kind.DATA: _flagged,
    Kind.HEADERS: _flagged,
    Kind.CONTINUATION: lambda frame: (" END_HEADERS" if frame.has(END_HEADERS) else "") + _plain(frame),
    Kind.RST_STREAM: lambda frame: f" {_code(frame.number)}",
    Kind.SETTINGS: _settings,
    Kind.PUSH_PROMISE: lambda frame: f" promises {int.from_bytes(frame.payload[:4], 'big')}",
    Kind.PING: lambda frame: (" ACK " if frame.has(ACK) else " ") + frame.payload.hex(),
    Kind.GOAWAY: lambda frame: (
        f" last={int.from_bytes(frame.payload[:4], 'big')} {_code(int.from_bytes(frame.payload[4:8], 'big'))}"
    ),
    Kind.WINDOW_UPDATE: lambda frame: f" +{frame.number}",
}


def read_settings(payload: bytes) -> list[tuple[int, int]]:
    """The settings of a SETTINGS frame, in their order; what is left over at the end is not read."""
    return [struct.unpack_from(">HI", payload, at) for at in range(0, len(payload) - len(payload) % 6, 6)]


def split_frames(raw: bytes) -> tuple[list[Frame], bytes]:
    """Cut octets into frames; the second value is the start of a frame that is not whole yet."""
    frames = []
    while len(raw) >= 9:
        size = int.from_bytes(raw[:3], "big")
        if len(raw) < 9 + size:
            break
        kind, flags, stream = struct.unpack_from(">BBI", raw, 3)
        frames.append(Frame(kind, flags, stream & 0x7FFFFFFF, raw[9 : 9 + size], stream >= 0x80000000))
        raw = raw[9 + size :]
    return frames, raw


# Making frames.


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Any frame, right or wrong."""
    return bytes(Frame(kind, flags, stream, payload))


def data(stream: int, payload: bytes = b"", *, end: bool = False, padding: int | None = None) -> bytes:
    """DATA; ``padding`` octets of zeros and the octet that counts them, if not ``None``."""
    flags = END_STREAM if end else 0
    if padding is not None:
        flags, payload = flags | PADDED, bytes([padding]) + payload + bytes(padding)
    return frame(Kind.DATA, flags, stream, payload)


def headers(
    stream: int,
    block: bytes,
    *,
    end: bool = False,
    whole: bool = True,
    padding: int | None = None,
    priority: bytes = b"",
) -> bytes:
    """HEADERS; ``end`` sets END_STREAM, ``whole`` END_HEADERS, ``priority`` are the five octets of that part."""
    flags = (END_STREAM if end else 0) | (END_HEADERS if whole else 0)
    if priority:
        flags, block = flags | PRIORITY_PART, priority + block
    if padding is not None:
        flags, block = flags | PADDED, bytes([padding]) + block + bytes(padding)
    return frame(Kind.HEADERS, flags, stream, block)


def continuation(stream: int, block: bytes, *, whole: bool = True) -> bytes:
    """CONTINUATION."""
    return frame(Kind.CONTINUATION, END_HEADERS if whole else 0, stream, block)


def priority(stream: int, parent: int = 0, weight: int = 15) -> bytes:
    """PRIORITY."""
    return frame(Kind.PRIORITY, 0, stream, struct.pack(">IB", parent, weight))


def rst(stream: int, code: int = Code.CANCEL) -> bytes:
    """RST_STREAM."""
    return frame(Kind.RST_STREAM, 0, stream, struct.pack(">I", code))


def settings(*values: tuple[int, int], ack: bool = False) -> bytes:
    """SETTINGS."""
    return frame(Kind.SETTINGS, ACK if ack else 0, 0, b"".join(struct.pack(">HI", *value) for value in values))


def push_promise(stream: int, promised: int, block: bytes = GET, *, whole: bool = True) -> bytes:
    """PUSH_PROMISE."""
    return frame(Kind.PUSH_PROMISE, END_HEADERS if whole else 0, stream, struct.pack(">I", promised) + block)


def ping(payload: bytes = b"\x01\x02\x03\x04\x05\x06\x07\x08", *, ack: bool = False) -> bytes:
    """PING."""
    return frame(Kind.PING, ACK if ack else 0, 0, payload)


def goaway(last: int, code: int = Code.NO_ERROR, debug: bytes = b"") -> bytes:
    """GOAWAY."""
    return frame(Kind.GOAWAY, 0, 0, struct.pack(">II", last, code) + debug)


def window_update(stream: int, increment: int) -> bytes:
    """WINDOW_UPDATE."""
    return frame(Kind.WINDOW_UPDATE, 0, stream, struct.pack(">I", increment))


def unknown(kind: int = 0x42, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    """A frame of a type nobody has defined."""
    return frame(kind, flags, stream, payload)


# Making field blocks: indexes of the static table and literals that touch no table (RFC 7541 §6.2.2).


def _prefixed(number: int, bits: int, first: int = 0) -> bytes:
    """An integer behind the high bits ``first`` (RFC 7541 §5.1)."""
    limit = (1 << bits) - 1
    if number < limit:
        return bytes([first | number])
    number -= limit
    out = [first | limit]
    while number >= 128:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def _string(text: bytes) -> bytes:
    return _prefixed(len(text), 7) + text


def literal(name: bytes, value: bytes) -> bytes:
    """A field without indexing, its name spelled out."""
    return b"\x00" + _string(name) + _string(value)


def stored(name: bytes, value: bytes) -> bytes:
    """A field that enters the dynamic table as its first entry, which is index 62 until the next."""
    return b"\x40" + _string(name) + _string(value)


FIRST_STORED = b"\xbe"
"""Index 62: the field that entered the dynamic table last."""


def block(*fields: tuple[bytes, bytes]) -> bytes:
    """A field block of literals and nothing else."""
    return b"".join(literal(name, value) for name, value in fields)


def request_block(
    method: bytes = b"GET", path: bytes = b"/", *fields: tuple[bytes, bytes], authority: bytes = b"a"
) -> bytes:
    """The block of an ordinary https request; it touches no dynamic table."""
    control = [(b":method", method), (b":scheme", b"https"), (b":path", path), (b":authority", authority)]
    return block(*control, *fields)


def get(stream: int, path: bytes = b"/", *fields: tuple[bytes, bytes]) -> bytes:
    """A whole GET in one frame; the plainest one is ``GET``."""
    return headers(stream, request_block(b"GET", path, *fields) if path != b"/" or fields else GET, end=True)


def post(stream: int, path: bytes = b"/", *fields: tuple[bytes, bytes]) -> bytes:
    """The head of a POST, whose body is to follow."""
    return headers(stream, request_block(b"POST", path, *fields) if path != b"/" or fields else POST)


def wire(*parts: bytes | str) -> bytes:
    """Join octets and hex (white space is free) to what goes over the wire."""
    return b"".join(bytes.fromhex(part) if isinstance(part, str) else part for part in parts)


def describe(raw: bytes) -> str:
    """The frames in ``raw``, in words and in hex, one a line: what a failing case shows."""
    lines: list[str] = []
    if raw.startswith(PREFACE):
        lines, raw = ["(preface)"], raw[len(PREFACE) :]
    frames, rest = split_frames(raw)
    for item, times in ((item, len(list(same))) for item, same in itertools.groupby(frames)):
        lines.append(f"{item!r:60} {_shortened(item.hex)}" + (f" ({times} times)" if times > 1 else ""))
    if rest:
        lines.append(f"(not whole) {_shortened(rest.hex())}")
    return "\n".join(lines)


def _shortened(text: str) -> str:
    return text if len(text) <= 120 else f"{text[:110]}... ({len(text) // 2} octets)"


def without(frames: Iterable[Frame], *kinds: int) -> list[Frame]:
    """The frames that are of none of these kinds."""
    return [item for item in frames if item.kind not in kinds]
