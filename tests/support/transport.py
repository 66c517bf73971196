"""A transport whose kernel is a number: how many bytes it takes, and what a connection did to it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable
from typing import Any


class FakeTransport(asyncio.Transport):
    """What a connection sees of a socket.

    ``capacity`` is how many bytes the kernel takes before the rest waits here (``None``: any number);
    ``take`` lets the peer make room. ``writes`` holds one entry per call of ``write`` or ``writelines``,
    ``sent`` everything in one piece. Closing calls ``connection_lost`` in a later turn of the loop, as
    real transports do.
    """

    def __init__(
        self,
        capacity: int | None = None,
        *,
        peername: Any = ("192.0.2.1", 40000),
        sockname: Any = ("192.0.2.2", 80),
        sock: socket.socket | None = None,
    ) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.events: list[str] = []
        """Calls other than writes, in order: ``pause``, ``resume``, ``eof``, ``close``, ``abort``."""
        self.lost = False
        self._extra = {"peername": peername, "sockname": sockname, "socket": sock}
        self._room = capacity
        self._waiting = 0
        self._high, self._low = 64 * 1024, 16 * 1024
        self._writing_paused = False
        self._closing = self._eof = False
        self._protocol: Any = None

    # What a test does.

    def attach(self, protocol: asyncio.Protocol) -> None:
        """Accept a connection for this protocol."""
        self._protocol = protocol
        protocol.connection_made(self)

    def deliver(self, data: bytes) -> None:
        """Bytes arrive: whichever protocol has the transport at present gets them."""
        if self._protocol is not None:
            self._protocol.data_received(data)

    def end(self) -> None:
        """A FIN arrives; the transport closes if the protocol says so, as real ones do."""
        if self._protocol is not None and not self._protocol.eof_received():
            self.close()

    def take(self, size: int) -> None:
        """The peer reads ``size`` bytes, and the kernel takes as many more from us."""
        assert self._room is not None
        taken = min(size, self._waiting)
        self._waiting -= taken
        self._room += size - taken
        if self._writing_paused and self._waiting <= self._low:
            self._writing_paused = False
            self._protocol.resume_writing()
        if self._closing and not self._waiting:
            self._lose(None)

    def block(self) -> None:
        """From now on the peer reads nothing."""
        self._room = 0

    def lose(self, exc: Exception | None = None) -> None:
        """The connection breaks, at once."""
        assert not self.lost
        self.lost = self._closing = True
        self._tell(exc)

    @property
    def sent(self) -> bytes:
        """All bytes written."""
        return b"".join(self.writes)

    @property
    def reading(self) -> bool:
        """Whether bytes are being read from the socket."""
        switches = [event for event in self.events if event in ("pause", "resume")]
        return not self._closing and (not switches or switches[-1] == "resume")

    # What a connection does.

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self._eof, "write after write_eof"
        assert type(data) is bytes, f"a {type(data).__name__} was written"
        assert data, "an empty write"
        self.writes.append(data)
        if self._closing:
            return
        if self._room is None:
            return
        direct = 0 if self._waiting else min(self._room, len(data))
        self._room -= direct
        self._waiting += len(data) - direct
        if self._waiting > self._high and not self._writing_paused:
            self._writing_paused = True
            self._protocol.pause_writing()

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        self.write(b"".join(list_of_data))

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        assert not self._eof, "write_eof twice"
        self._eof = True
        self.events.append("eof")

    def pause_reading(self) -> None:
        assert self.reading, "reading was paused already"
        self.events.append("pause")

    def resume_reading(self) -> None:
        assert not self.reading, "reading was not paused"
        self.events.append("resume")

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        if self._closing:
            return
        self._closing = True
        self.events.append("close")
        if not self._waiting:
            self._lose(None)

    def abort(self) -> None:
        self.events.append("abort")
        self._closing = True
        self._lose(None)

    def get_write_buffer_size(self) -> int:
        return self._waiting

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        assert high is not None
        assert low is not None
        self._high, self._low = high, low

    def _lose(self, exc: Exception | None) -> None:
        if not self.lost:
            self.lost = True
            self._waiting = 0
            asyncio.get_running_loop().call_soon(self._tell, exc)

    def _tell(self, exc: Exception | None) -> None:
        protocol, self._protocol = self._protocol, None
        protocol.connection_lost(exc)
