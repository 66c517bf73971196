"""WebSocket frames by hand: what a client sends, well or badly, and a strict reading of what a server sends."""

from __future__ import annotations

from typing import NamedTuple

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10

MASK = b"\x37\xfa\x21\x3d"


class Frame(NamedTuple):
    """A frame of the server's."""

    opcode: int
    payload: bytes
    fin: bool = True
    rsv: int = 0


def frame(
    opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0, mask: bytes | None = MASK, size: int = 0
) -> bytes:
    """A frame of the client's; ``size`` is a length to claim in place of the true one."""
    length = size or len(payload)
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    masked = 0 if mask is None else 0x80
    if length < 126:
        head += bytes([masked | length])
    elif length < 65536:
        head += bytes([masked | 126]) + length.to_bytes(2, "big")
    else:
        head += bytes([masked | 127]) + length.to_bytes(8, "big")
    if mask is None:
        return head + payload
    repeated = mask * (len(payload) // 4 + 1)
    return head + mask + bytes(a ^ b for a, b in zip(payload, repeated, strict=False))


def text(message: str, **more: bool) -> bytes:
    """A text message in one frame."""
    return frame(TEXT, message.encode(), **more)


def close(code: int | None = 1000, reason: bytes = b"") -> bytes:
    """The client's close frame."""
    return frame(CLOSE, b"" if code is None else code.to_bytes(2, "big") + reason)


def closing(code: int, reason: str = "") -> Frame:
    """The server's close frame."""
    return Frame(CLOSE, code.to_bytes(2, "big") + reason.encode())


def read_frames(raw: bytes) -> list[Frame]:
    """Read what a server sent. ``AssertionError`` for what no server may send (RFC 6455 §5.1, §5.2, §5.5)."""
    frames, at = [], 0
    while at < len(raw):
        first, second = raw[at], raw[at + 1]
        assert not second & 0x80, "a server's frame is masked"
        length, at = second, at + 2
        if length >= 126:
            width = 2 if length == 126 else 8
            length, at = int.from_bytes(raw[at : at + width], "big"), at + width
            assert length > (125 if width == 2 else 65535), "a length takes more bytes than it needs"
        payload, at = raw[at : at + length], at + length
        assert len(payload) == length, "half a frame"
        read = Frame(first & 0x0F, payload, bool(first & 0x80), first >> 4 & 0x07)
        if read.opcode >= CLOSE:
            assert read.fin, "a control frame in fragments"
            assert length <= 125, "a control frame that is too long"
        frames.append(read)
    return frames
