"""An attacker's end of a real connection: it sends what its recipe says, and notes what it gets for it."""

from __future__ import annotations

import select
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.http2.frames import PREFACE, Code, Frame, Kind, settings

PATIENCE = 2.0
"""Seconds that the server has to say what it thinks of an attack; none of the rows allows it more."""
BLOCKED = 0.1
"""Seconds without room to send, after which an attacker that reads nothing takes it that the server reads nothing."""


@dataclass(frozen=True)
class Attack:
    """A row of the table, or a variant of it.

    ``recipe`` yields what to send, for one connection; what it yields in time is all that it sends. ``ends`` is
    the code of the GOAWAY that the server must end the connection with; ``None``: it must not end it. ``bound``
    is by how many KiB the memory of the worker may grow, ``greeting`` what the client's SETTINGS hold.
    """

    row: int
    name: str
    recipe: Callable[[Wire], Iterator[bytes]]
    ends: Code | None = Code.ENHANCE_YOUR_CALM
    bound: int = 256
    greeting: tuple[tuple[int, int], ...] = ()
    reads: bool = True
    again: bool = True
    """Connect again when the server has ended the connection."""
    judge: Callable[[Wire], None] | None = None
    """Looks at what a connection got, beside how it ended."""

    def __str__(self) -> str:
        return f"row {self.row:02}: {self.name}"


class Wire:
    """A connection of the attacker's, and what came through it."""

    def __init__(self, port: int, attack: Attack) -> None:
        self._reads = attack.reads
        self._pending = bytearray()
        self.began = time.monotonic()
        self.goaways: list[int] = []
        """Codes."""
        self.resets: Counter[int] = Counter()
        """How often each stream was reset."""
        self.reset_codes: set[int] = set()
        self.kinds: Counter[tuple[int, int]] = Counter()
        """Frames by type and flags."""
        self.ended = 0
        """Responses that are complete."""
        self.heads: set[bytes] = set()
        """First octets of responses' heads, which are their status."""
        self.closed = self.blocked = self.cut = False
        """The server has closed; it has stopped reading; time was up before the recipe was."""
        self.took = 0.0
        """Seconds until the last GOAWAY."""
        self._sock = socket.socket()
        if not attack.reads:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._sock.connect(("127.0.0.1", port))
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock.setblocking(False)
        self._send(PREFACE + settings(*attack.greeting) + settings(ack=True), self.began + PATIENCE)

    @property
    def over(self) -> bool:
        """The server has said its last word."""
        return self.closed or any(self.goaways)

    def run(self, attack: Attack, until: float) -> None:
        """Send everything, and wait for the outcome; a connection that is to stay is held until time is up."""
        for octets in attack.recipe(self):
            if self.over or self.blocked:
                break
            if time.monotonic() >= until:
                self.cut = True
                break
            self._send(octets, until)
        if attack.ends is not None and not self.cut:
            until = max(until, time.monotonic() + PATIENCE)
            self._reads = True
        while not self.over and time.monotonic() < until:
            self.look(0.005)

    def close(self) -> None:
        """Leave, by a reset: whoever sends no more might still read."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._sock.close()

    def _send(self, octets: bytes, until: float) -> None:
        rest = memoryview(octets)
        while rest and not self.over:
            reading = [self._sock] if self._reads else []
            readable, writable, _ = select.select(reading, [self._sock], [], BLOCKED)
            if readable:
                self.look()
            if writable:
                try:
                    rest = rest[self._sock.send(rest) :]
                except OSError:
                    self.closed = True
            elif not readable:
                self.blocked = not self._reads
            if self.blocked or (rest and time.monotonic() >= until):
                self.cut = not self.blocked
                return
        if self._reads:
            self.look()

    def look(self, patience: float = 0.0) -> None:
        """Read what has come, or comes in time."""
        if not self._reads:
            time.sleep(patience)
            return
        if select.select([self._sock], [], [], patience)[0]:
            try:
                received = self._sock.recv(262_144)
            except OSError:
                received = b""
            self.closed = not received
            self._pending += received
            self._note()

    def _note(self) -> None:
        pending, at = self._pending, 0
        while len(pending) - at >= 9:
            size = int.from_bytes(pending[at : at + 3], "big")
            if len(pending) - at < 9 + size:
                break
            stream = int.from_bytes(pending[at + 5 : at + 9], "big")
            self._frame(Frame(pending[at + 3], pending[at + 4], stream, bytes(pending[at + 9 : at + 9 + size])))
            at += 9 + size
        del pending[:at]

    def _frame(self, frame: Frame) -> None:
        self.kinds[frame.kind, frame.flags] += 1
        if frame.kind in (Kind.DATA, Kind.HEADERS) and frame.has(1):
            self.ended += 1
        if frame.kind == Kind.HEADERS:
            self.heads.add(frame.payload[:5])
        elif frame.kind == Kind.GOAWAY:
            self.goaways.append(int.from_bytes(frame.payload[4:8], "big"))
            self.took = time.monotonic() - self.began
        elif frame.kind == Kind.RST_STREAM:
            self.resets[frame.stream] += 1
            self.reset_codes.add(frame.number)
