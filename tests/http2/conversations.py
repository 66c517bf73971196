"""Conversations of HTTP/2 clients, drawn from a seed. ``tests.http2.breaks`` breaks them.

Frames are cheap to make here, since tens of thousands of conversations are drawn: blocks are encoded beforehand,
in scripts of some requests that share a compression context.
"""

from __future__ import annotations

import functools
import random
import struct
from collections.abc import Callable
from dataclasses import dataclass

import hpack

from tests.http2.frames import (
    ACK,
    END_HEADERS,
    END_STREAM,
    PADDED,
    PREFACE,
    PRIORITY_PART,
    Kind,
    block,
    settings,
)

Field = tuple[bytes, bytes]

OPENING = [PREFACE, settings((3, 100), (4, 65_535)), settings(ack=True)]
DONE = b"/done"
"""Requests for what begins so are to be answered when they are whole, others not at all."""
LONGEST = 16_384

_SCRIPTS = 300
_REQUESTS = 5

_TARGETS = [b"/", DONE, DONE + b"/1?a=b", b"/slow", b"/index.html", DONE + b"/%C3%A4"]
_FIELDS: list[Field] = [
    (b"accept", b"*/*"),
    (b"user-agent", b"curl/8.5.0"),
    (b"x-forwarded-for", b"203.0.113.7"),
    (b"x-empty", b""),
    (b"te", b"trailers"),
    (b"cookie", b"a=1"),
    (b"cookie", b"b=2"),
    (b"content-type", b"application/grpc"),
    (b"content-type", b"text/plain; charset=utf-8"),
    (b"priority", b"u=1, i"),
    (b"host", b"a.example:8080"),
    (b"x-8-bit", b"caf\xc3\xa9"),
]
_TRAILERS = [block((b"x-sum", b"1")), block((b"grpc-status", b"0"), (b"x-empty", b"")), b""]


@dataclass(frozen=True)
class Request:
    """A request of a script: its block, and how long its body is to be (0: none; -1: any)."""

    block: bytes
    length: int


@functools.cache
def scripts() -> list[list[Request]]:
    """Scripts of requests, each encoded in its own compression context."""
    chance = random.Random(9113)
    return [_script(chance) for _ in range(_SCRIPTS)]


def _script(chance: random.Random) -> list[Request]:
    encoder = hpack.Encoder()
    literal_only = chance.random() < 0.5  # so that a conversation may lose a block and go on
    requests = []
    for _ in range(_REQUESTS):
        if chance.random() < 0.1:
            encoder.header_table_size = chance.choice([0, 100, 1000, 4096])
        upload = chance.random() < 0.5
        control = [
            (b":method", chance.choice([b"POST", b"PUT"]) if upload else chance.choice([b"GET", b"GET", b"HEAD"])),
            (b":scheme", chance.choice([b"http", b"https"])),
            (b":path", chance.choice(_TARGETS)),
            (b":authority", b"a.example:8080"),
        ]
        if chance.random() < 0.2:
            chance.shuffle(control)
        fields = chance.sample(_FIELDS, k=chance.randrange(5))
        length = 0
        if upload:
            length = chance.choice([-1, -1, 1, 10, 300])
            if length > 0:
                fields.append((b"content-length", b"%d" % length))
        if chance.random() < 0.2:
            fields.append((b"x-request-id", b"%032x" % chance.getrandbits(128)))
        if literal_only:
            requests.append(Request(block(*control, *fields), length))
        else:
            requests.append(Request(encoder.encode([*control, *fields], huffman=chance.random() < 0.7), length))
    return requests


class Conversation:
    """One client: what it has sent (``frames``), and which of its streams are still open for more."""

    def __init__(self, chance: random.Random) -> None:
        self.frames: list[bytes] = []
        self._chance = chance
        self._script = iter(chance.choice(scripts()))
        self._next = 1
        self._uploads: dict[int, int] = {}
        """What is left to send, by stream; -1 for any amount."""

    def talk(self, turns: int) -> list[bytes]:
        """Send so many things more or less, and most of what has been begun to its end."""
        chance = self._chance
        for _ in range(turns):
            kind = chance.random()
            if kind < 0.4 or not self.frames:
                self._open()
            elif kind < 0.7:
                if self._uploads:
                    self._upload(chance.choice([*self._uploads]))
                else:
                    self._open()
            else:
                chance.choice(_ASIDES)(self)
        for stream in [*self._uploads]:
            if chance.random() < 0.7:
                self._end(stream)
        return self.frames

    def _open(self) -> None:
        request = next(self._script, None)
        if request is None:
            return
        chance = self._chance
        stream = self._next
        self._next += 2 if chance.random() < 0.9 else 4
        if request.length:
            self._uploads[stream] = request.length
        self._head(stream, request.block, END_STREAM if not request.length else 0)

    def _head(self, stream: int, fields: bytes, flags: int) -> None:
        chance = self._chance
        cut = len(fields)
        kind = chance.random()
        if kind < 0.15:
            cut = chance.randrange(len(fields) + 1)
        first, rest = fields[:cut], fields[cut:]
        whole = kind >= 0.15
        if 0.1 < kind < 0.25:
            flags, first = flags | PRIORITY_PART, struct.pack(">IB", chance.choice([0, 0x80000000]), 15) + first
        if 0.2 < kind < 0.3:
            padding = chance.choice([0, 1, 30])
            flags, first = flags | PADDED, bytes([padding]) + first + bytes(padding)
        self._send(Kind.HEADERS, flags | (END_HEADERS if whole else 0), stream, first)
        while not whole:
            cut = chance.randrange(len(rest) + 1)
            whole = chance.random() < 0.6 or not rest
            first, rest = (rest, b"") if whole else (rest[:cut], rest[cut:])
            self._send(Kind.CONTINUATION, END_HEADERS if whole else 0, stream, first)

    def _upload(self, stream: int) -> None:
        chance = self._chance
        left = self._uploads[stream]
        size = chance.choice([0, 1, 5, 100])
        if chance.random() < 0.4:
            self._end(stream)
        elif left == -1:
            self._data(stream, size, 0)
        else:
            size = min(size, left)
            self._uploads[stream] -= size
            self._data(stream, size, 0)

    def _end(self, stream: int) -> None:
        left = self._uploads.pop(stream)
        size = left if left >= 0 else self._chance.choice([0, 3])
        if self._chance.random() < 0.8:
            self._data(stream, size, END_STREAM)
            return
        if size:
            self._data(stream, size, 0)
        self._head(stream, self._chance.choice(_TRAILERS), END_STREAM)

    def _data(self, stream: int, size: int, flags: int) -> None:
        payload = b"0123456789" * (size // 10) + b"x" * (size % 10)
        if self._chance.random() < 0.15:
            padding = self._chance.choice([0, 1, 200])
            flags, payload = flags | PADDED, bytes([padding]) + payload + bytes(padding)
        self._send(Kind.DATA, flags, stream, payload)

    def _send(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        self.frames.append(raw_frame(kind, flags, stream, payload))

    def _settings(self) -> None:
        chance = self._chance
        names = chance.choices([1, 2, 3, 4, 4, 5, 6, 0x99], k=chance.randrange(4))
        values = {1: [0, 100, 4096, 2**32 - 1], 2: [0, 1], 4: [0, 1000, 65_535, 2**31 - 1], 5: [16_384, 2**24 - 1]}
        pairs = [(name, chance.choice(values.get(name, [0, 1, 2**32 - 1]))) for name in names]
        self.frames.append(settings(*pairs))

    def _ping(self) -> None:
        self._send(Kind.PING, self._chance.choice([0, 0, ACK]), 0, self._chance.randbytes(8))

    def _window(self) -> None:
        chance = self._chance
        stream = chance.randrange(0, self._next, 2) + 1 if chance.random() < 0.7 else 0
        if stream < self._next:
            increment = chance.choice([1, 1000, 65_536, 2**31 - 1 - 65_535])
            self._send(Kind.WINDOW_UPDATE, 0, stream, struct.pack(">I", increment))

    def _priority(self) -> None:
        stream = self._chance.choice([1, 3, 5, 7, 9])
        self._send(Kind.PRIORITY, 0, stream, struct.pack(">IB", 0, 100))

    def _reset(self) -> None:
        chance = self._chance
        stream = chance.randrange(0, self._next, 2) + 1
        if stream < self._next:
            self._uploads.pop(stream, None)
            self._send(Kind.RST_STREAM, 0, stream, struct.pack(">I", chance.choice([0, 5, 8, 0xDEADBEEF])))

    def _unknown(self) -> None:
        chance = self._chance
        self._send(0x42, chance.randrange(256), chance.choice([0, 1, 3]), chance.randbytes(chance.randrange(9)))

    def _goaway(self) -> None:
        self._send(Kind.GOAWAY, 0, 0, struct.pack(">II", 0, self._chance.choice([0, 2])) + b"bye")

    def _flood(self) -> None:
        """DATA up to the end of a window, and mostly beyond."""
        if self._uploads and self._chance.random() < 0.1:
            stream = self._chance.choice([*self._uploads])
            if self._uploads[stream] == -1:
                for _ in range(self._chance.choice([15, 16, 17])):
                    self._data(stream, LONGEST - 256, 0)


_ASIDES: list[Callable[[Conversation], None]] = [
    Conversation._settings,
    Conversation._settings,
    Conversation._ping,
    Conversation._window,
    Conversation._window,
    Conversation._priority,
    Conversation._reset,
    Conversation._unknown,
    Conversation._goaway,
    Conversation._flood,
]


def raw_frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """A frame, in less time than ``tests.http2.frames`` takes."""
    size = len(payload)
    return struct.pack(">HBBBI", size >> 8, size & 0xFF, kind, flags, stream) + payload
