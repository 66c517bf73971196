"""WebSockets under load, as a program of its own.

    python -m tests.bench.websocket_load PORT CONNECTIONS SIZE SECONDS

Each connection sends a message, waits for its echo, compares it, and sends the next. It prints the echoes per second,
and how many came in all, those before the clock started included.
"""

from __future__ import annotations

import asyncio
import base64
import os
import socket
import sys
import time

from tests.bench.checks import WrongAnswer
from tests.bench.processes import Unavailable, run_load

DEFLATE = "permessage-deflate; client_max_window_bits"


def handshake(extensions: str = "") -> bytes:
    """Return a request for a WebSocket."""
    offered = f"Sec-WebSocket-Extensions: {extensions}\r\n" if extensions else ""
    key = base64.b64encode(os.urandom(16)).decode()
    return (
        "GET / HTTP/1.1\r\nHost: bench.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"{offered}Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
    ).encode()


def frames(size: int) -> tuple[bytes, bytes]:
    """Return a text message as a client sends it, and its echo."""
    mask, payload = b"\x11\x22\x33\x44", b"x" * size
    if size < 126:
        length, masked = bytes([size]), bytes([size | 0x80])
    else:
        long = size >= 65536
        length = bytes([127 if long else 126]) + size.to_bytes(8 if long else 2, "big")
        masked = bytes([length[0] | 0x80]) + length[1:]
    hidden = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
    return b"\x81" + masked + mask + hidden, b"\x81" + length + payload


class Echoes(asyncio.Protocol):
    """One connection: a message goes out when the one before has come back. ``count`` are those that came back."""

    def __init__(self, frame: bytes, expected: bytes) -> None:
        self.count = 0
        self.wrong = ""
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._open = False
        self._frame = frame
        self._expected = expected
        self._got = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the WebSocket."""
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]  # uvloop's is not registered
        self._transport.write(handshake())

    def connection_lost(self, exc: Exception | None) -> None:
        """Remember that the server ended it."""
        self._fail("the connection ended")

    def data_received(self, data: bytes) -> None:
        """Send the next message when the echo is whole and right."""
        got = self._got = self._got + data
        if not self._open:
            if b"\r\n\r\n" in got:
                if not got.startswith(b"HTTP/1.1 101"):
                    self._fail(f"{got[:40]!r} instead of a WebSocket")
                elif not self.opened.done():
                    self._open, self._got = True, b""
                    self.opened.set_result(None)
        elif len(got) >= len(self._expected):
            if got != self._expected:
                self._fail(f"{got[:60]!r} instead of an echo")
                return
            self._got = b""
            self.count += 1
            self._transport.write(self._frame)

    def begin(self) -> None:
        """Send the first message."""
        self._transport.write(self._frame)

    def end(self) -> None:
        """Leave."""
        self._transport.abort()

    def _fail(self, why: str) -> None:
        self.wrong = self.wrong or why
        if not self.opened.done():
            self.opened.set_result(None)


async def echoed(port: int, connections: int, size: int, seconds: float) -> tuple[float, int]:
    """Return how many messages came back, in a second and in all; raise ``WrongAnswer`` when one did not."""
    loop = asyncio.get_running_loop()
    clients: list[Echoes] = []

    def look() -> None:
        for client in clients:
            if client.wrong:
                raise WrongAnswer(client.wrong)

    for _ in range(connections):
        _, client = await loop.create_connection(lambda: Echoes(*frames(size)), "127.0.0.1", port)
        clients.append(client)
        async with asyncio.timeout(10):
            await client.opened
        look()
    for client in clients:
        client.begin()
    await asyncio.sleep(seconds / 4)
    before, began = sum(client.count for client in clients), time.perf_counter()
    await asyncio.sleep(seconds)
    rate = (sum(client.count for client in clients) - before) / (time.perf_counter() - began)
    look()
    count = sum(client.count for client in clients)
    for client in clients:
        client.end()
    return rate, count


def load(port: int, connections: int, size: int, seconds: float, cpu: str) -> tuple[float, int]:
    """Load a server from a process of its own; messages echoed per second, and in all."""
    command = [sys.executable, "-m", "tests.bench.websocket_load", *map(str, (port, connections, size, seconds))]
    try:
        rate, count = run_load(command, cpu, seconds * 1.25).split()
    except Unavailable as error:
        raise WrongAnswer(str(error)) from error
    if count == "0":
        raise WrongAnswer("no echo at all")
    return float(rate), int(count)


def open_quiet(port: int, extensions: str = "") -> socket.socket:
    """Open a WebSocket, let one message be echoed, and leave it."""
    frame, _ = frames(32)
    sock = socket.create_connection(("127.0.0.1", port), timeout=10)
    sock.sendall(handshake(extensions))
    received = b""
    while b"\r\n\r\n" not in received:
        received += _more(sock)
    if not received.startswith(b"HTTP/1.1 101"):
        raise WrongAnswer(f"{received[:40]!r} instead of a WebSocket")
    received = received.partition(b"\r\n\r\n")[2]
    sock.sendall(frame)
    # The echo may be compressed: that it comes is enough here.
    while len(received) < 2 or len(received) < 2 + (received[1] & 0x7F):
        received += _more(sock)
    return sock


def _more(sock: socket.socket) -> bytes:
    piece = sock.recv(65536)
    if not piece:
        raise WrongAnswer("the connection ended before the echo")
    return piece


def main() -> None:
    """Be the load."""
    import uvloop

    port, connections, size, seconds = sys.argv[1:]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(*runner.run(echoed(int(port), int(connections), int(size), float(seconds))))


if __name__ == "__main__":
    main()
