"""What clients send who break the rules: right conversations with something broken, drawn from a seed."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

from tests.http2.conversations import LONGEST, OPENING, Conversation, Field, raw_frame
from tests.http2.frames import END_HEADERS, END_STREAM, PADDED, PRIORITY_PART, Kind, literal, settings

_STREAMS = [0, 1, 1, 2, 3, 3, 4, 5, 7, 9, 11, 2**31 - 1]
_LENGTHS = [0, 1, 3, 4, 4, 5, 5, 6, 7, 8, 8, 9, 12, 13]


def draw(chance: random.Random) -> bytes:
    """Everything one client sends: a right conversation, or more often one that is broken in one to three places."""
    frames = [*OPENING, *Conversation(chance).talk(chance.randrange(1, 12))]
    if chance.random() < 0.3:
        return b"".join(frames)
    for _ in range(chance.choice([1, 1, 2, 3])):
        first = 0 if chance.random() < 0.05 else len(OPENING)
        at = chance.randrange(first, len(frames)) if len(frames) > first else 0
        if frames:
            frames[at : at + 1] = chance.choice(_BREAKS)(chance, frames[at])
        if len(frames) > at + 1 and chance.random() < 0.1:
            frames[at], frames[at + 1] = frames[at + 1], frames[at]
    octets = b"".join(frames)
    if chance.random() < 0.1:
        octets = octets[: chance.randrange(len(octets) + 1)]
    return octets


def _lost(chance: random.Random, old: bytes) -> list[bytes]:
    return []


def _repeated(chance: random.Random, old: bytes) -> list[bytes]:
    return [old, old]


def _flipped(chance: random.Random, old: bytes) -> list[bytes]:
    octets = bytearray(old)
    if octets:
        octets[chance.randrange(len(octets))] ^= 1 << chance.randrange(8)
    return [bytes(octets)]


def _replaced(chance: random.Random, old: bytes) -> list[bytes]:
    octets = bytearray(old)
    if octets:
        octets[chance.randrange(len(octets))] = chance.choice([0, 1, 0x0A, 0x20, 0x3A, 0x41, 0x7F, 0x80, 0xFF])
    return [bytes(octets)]


def _longer_or_shorter(chance: random.Random, old: bytes) -> list[bytes]:
    """The payload, and its length with it."""
    if len(old) < 9:
        return [old]
    cut = chance.randrange(9, len(old) + 1)
    payload = chance.choice([old[9:cut], old[9:] + b"\0", old[9:] + old[9:], old[9:cut] + b"\0" + old[cut:]])
    return [raw_frame(old[3], old[4], int.from_bytes(old[5:9], "big"), payload[:LONGEST])]


def _with_another_length(chance: random.Random, old: bytes) -> list[bytes]:
    """The length alone, so that what follows is read askew."""
    size = int.from_bytes(old[:3], "big") + chance.choice([-2, -1, 1, 2, 9, 16_384])
    return [max(0, size).to_bytes(3, "big") + old[3:]]


def _with_another_head(chance: random.Random, old: bytes) -> list[bytes]:
    """Another type, other flags, another stream."""
    if len(old) < 9:
        return [old]
    octets = bytearray(old)
    which = chance.randrange(3)
    if which == 0:
        octets[3] = chance.randrange(12)
    elif which == 1:
        octets[4] ^= chance.choice([END_STREAM, END_STREAM, END_HEADERS, PADDED, PRIORITY_PART])
    else:
        octets[5:9] = struct.pack(">I", chance.choice(_STREAMS) | chance.choice([0, 0, 0x80000000]))
    return [bytes(octets)]


def _behind_a_stranger(chance: random.Random, old: bytes) -> list[bytes]:
    """Any frame in front."""
    size = chance.choice(_LENGTHS)
    payload = chance.choice([bytes(size), chance.randbytes(size), bytes(max(0, size - 1)) + b"\1"])
    flags = chance.choice([0, 0, END_STREAM, END_HEADERS, END_STREAM | END_HEADERS, PADDED, chance.randrange(256)])
    return [raw_frame(chance.randrange(12), flags, chance.choice(_STREAMS), payload), old]


def _with_another_field(chance: random.Random, old: bytes) -> list[bytes]:
    """A field more at the end of a block."""
    if len(old) < 9 or old[3] != Kind.HEADERS or old[4] & PADDED:
        return [old]
    field = literal(*chance.choice(_ODD_FIELDS))
    return [raw_frame(old[3], old[4], int.from_bytes(old[5:9], "big"), (old[9:] + field)[:LONGEST])]


def _behind_a_table_size(chance: random.Random, old: bytes) -> list[bytes]:
    """Changes of the table's size in front of a block."""
    if len(old) < 9 or old[3] != Kind.HEADERS or old[4] & (PADDED | PRIORITY_PART):
        return [old]
    sizes = chance.choices([b"\x20", b"\x3f\x45", b"\x3f\xe1\x1f", b"\x3f\xe2\x1f"], k=chance.choice([1, 1, 2, 3]))
    return [raw_frame(old[3], old[4], int.from_bytes(old[5:9], "big"), (b"".join(sizes) + old[9:])[:LONGEST])]


def _behind_odd_settings(chance: random.Random, old: bytes) -> list[bytes]:
    """Settings at the limits of what is allowed, and beyond."""
    return [settings(*chance.choices(_ODD_SETTINGS, k=chance.choice([1, 1, 2]))), old]


def _on_itself(chance: random.Random, old: bytes) -> list[bytes]:
    """A stream that depends on itself."""
    if len(old) < 9 or old[3] not in (Kind.HEADERS, Kind.PRIORITY) or old[4] & (PADDED | PRIORITY_PART):
        return [old]
    block = b"" if old[3] == Kind.PRIORITY else old[9:]
    return [
        raw_frame(
            old[3], old[4] | PRIORITY_PART, int.from_bytes(old[5:9], "big"), (old[5:9] + b"\0" + block)[:LONGEST]
        )
    ]


_ODD_SETTINGS = [
    *((1, 0), (1, 2**32 - 1), (2, 1), (2, 2), (3, 0), (4, 0), (4, 2**31 - 1), (4, 2**31), (5, 16_383), (5, 16_384)),
    *(
        (5, 2**24 - 1),
        (5, 2**24),
        (6, 0),
        (6, 2**32 - 1),
        (8, 1),
        (8, 2),
        (9, 0),
        (9, 1),
        (9, 2),
        (0, 1),
        (65_535, 7),
    ),
]

_ODD_FIELDS: list[Field] = [
    (b"x-late", b"1"),
    (b"X-Upper", b"1"),
    (b"x\x00", b"1"),
    (b"", b"1"),
    (b"x:y", b"1"),
    (b"x-control", b"a\x01b"),
    (b"x-nul", b"a\x00b"),
    (b"x-space", b" a"),
    (b"x-tab", b"a\t"),
    (b"connection", b"close"),
    (b"transfer-encoding", b"chunked"),
    (b"te", b"gzip"),
    (b"host", b"other.example"),
    (b"host", b"A.example:8080"),
    (b"content-length", b"10"),
    (b"content-length", b"0"),
    (b"content-length", b"x"),
    (b"content-length", b"1" * 20),
    (b"expect", b"100-continue"),
    (b"expect", b"tea"),
    (b":path", b"/again"),
    (b":status", b"200"),
    (b":status", b"100"),
    (b":protocol", b"websocket"),
    (b":unknown", b"1"),
    (b"authorization", b"Basic eDp5"),
    (b"x-large", b"v" * 3000),
]

_BREAKS: list[Callable[[random.Random, bytes], list[bytes]]] = [
    _lost,
    _repeated,
    _flipped,
    _flipped,
    _replaced,
    _longer_or_shorter,
    _with_another_length,
    _with_another_head,
    _with_another_head,
    _behind_a_stranger,
    _with_another_field,
    _behind_a_table_size,
    _behind_odd_settings,
    _on_itself,
]
