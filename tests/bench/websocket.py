"""Messages echoed per second by keepserve beside uvicorn, with each of its WebSocket implementations.

    python -m tests.bench.websocket [--rounds 5] [--seconds 3] [--connections 64] [--size 32] [--against wsproto]
    python -m tests.bench.websocket --memory 2000 [--deflate]

Needs uvicorn, and the implementation, in the same environment (``pip install uvicorn wsproto``). Each connection
sends a message, waits for its echo, and sends the next. How it is measured: ``tests/bench/interleaved.py``.
With ``--memory``: what a worker grows by for each of so many WebSockets that have echoed once and are quiet.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import subprocess
import sys
import time

from tests.bench.interleaved import ROOT, arguments, free_port, measure, pinned, report, running
from tests.bench.memory import resident, worker_of

APP = "tests.bench.echo_app:app"
IMPLEMENTATIONS = ("websockets", "websockets-sansio", "wsproto")
"""Of uvicorn: its default is the first, where websockets is installed."""


def commands(ports: dict[str, int], deflate: bool = False) -> dict[str, list[str]]:
    """Return how each competitor is started; compression is off everywhere unless asked for, as in keepserve."""
    started = {}
    for name, port in ports.items():
        if name == "keepserve":
            options = ["--no-access-log", "--log-level", "warning", *(["--ws-deflate"] if deflate else [])]
        else:
            options = ["--ws", name, "--no-access-log", "--log-level", "error", "--loop", "uvloop"]
            options += ["--ws-per-message-deflate", str(deflate).lower()]
        server = "keepserve" if name == "keepserve" else "uvicorn"
        started[name] = [sys.executable, "-m", server, APP, "--port", str(port), *options]
    return started


class Echoes(asyncio.Protocol):
    """One connection: a message goes out when the one before has come back. ``count`` are those that came back."""

    def __init__(self, frame: bytes, expected: bytes) -> None:
        self.count = 0
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.open = False
        self._frame = frame
        self._expected = expected
        self._got = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the WebSocket."""
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]  # uvloop's is not registered
        key = base64.b64encode(os.urandom(16)).decode()
        self._transport.write(
            b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + key.encode() + b"\r\n\r\n"
        )

    def data_received(self, data: bytes) -> None:
        """Send the next message when the echo is whole, and end everything if it is wrong."""
        got = self._got = self._got + data
        if not self.open:
            if b"\r\n\r\n" in got:
                self.open, self._got = got.startswith(b"HTTP/1.1 101"), b""
                self.opened.set_result(None)
        elif len(got) >= len(self._expected):
            if got != self._expected:
                raise SystemExit(f"A wrong echo: {got[:60]!r}")
            self._got = b""
            self.count += 1
            self._transport.write(self._frame)

    def begin(self) -> None:
        """Send the first message."""
        self._transport.write(self._frame)

    def end(self) -> None:
        """Leave."""
        self._transport.abort()


class Quiet(Echoes):
    """One connection that sends one message, and takes whatever comes."""

    def data_received(self, data: bytes) -> None:
        """Take note of the handshake alone."""
        if not self.open:
            super().data_received(data)


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


async def load(port: int, connections: int, size: int, seconds: float) -> float:
    """Return how many messages a second came back."""
    loop = asyncio.get_running_loop()
    clients = []
    for _ in range(connections):
        _, client = await loop.create_connection(lambda: Echoes(*frames(size)), "127.0.0.1", port)
        await client.opened
        if not client.open:
            raise SystemExit(f"The server on port {port} did not accept the WebSocket.")
        clients.append(client)
    for client in clients:
        client.begin()
    await asyncio.sleep(seconds / 4)
    before, began = sum(client.count for client in clients), time.perf_counter()
    await asyncio.sleep(seconds)
    rate = (sum(client.count for client in clients) - before) / (time.perf_counter() - began)
    for client in clients:
        client.end()
    return rate


def measured(port: int, options: argparse.Namespace) -> float:
    """Load one server for a while, from a process of its own."""
    numbers = json.dumps([port, options.connections, options.size, options.seconds])
    command = [sys.executable, "-m", "tests.bench.websocket", "--load", numbers]
    output = subprocess.run(pinned(command, options.load_cpu), check=True, capture_output=True, text=True).stdout
    return float(output)


async def hold(port: int, pid: int, count: int) -> float:
    """Return the KiB that each of ``count`` WebSockets costs the process."""
    loop = asyncio.get_running_loop()

    async def opened(number: int) -> list[Quiet]:
        clients = []
        for _ in range(number):
            _, client = await loop.create_connection(lambda: Quiet(*frames(32)), "127.0.0.1", port)
            await client.opened
            client.begin()
            clients.append(client)
        await asyncio.sleep(1)
        return clients

    for client in await opened(100):
        client.end()
    await asyncio.sleep(1)
    before = resident(pid)
    clients = await opened(count)
    grown = resident(pid) - before
    for client in clients:
        client.end()
    return grown / count / 1024


def print_memory(count: int, deflate: bool) -> None:
    """Measure each competitor, one after the other."""
    for name in ("keepserve", *IMPLEMENTATIONS):
        port = free_port()
        server = subprocess.Popen(commands({name: port}, deflate)[name], cwd=ROOT)
        try:
            time.sleep(2)
            pid = worker_of(server.pid) if name == "keepserve" else server.pid
            print(f"{name:20}{asyncio.run(hold(port, pid, count)):7.1f} KiB for each of {count} quiet WebSockets")
        finally:
            server.terminate()
            server.wait(timeout=30)


def answers(port: int) -> bool:
    """Whether the server accepts a WebSocket and echoes."""
    try:
        return asyncio.run(load(port, 1, 32, 0.05)) > 0
    except OSError:
        return False


def main() -> None:
    """Run the rounds and print a table; or be the load."""
    parser = arguments(__doc__)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--size", type=int, default=32, help="bytes of a message")
    parser.add_argument("--against", choices=IMPLEMENTATIONS, action="append", help="default: all of them")
    parser.add_argument("--memory", type=int, default=0)
    parser.add_argument("--deflate", action="store_true", help="with --memory")
    parser.add_argument("--load", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.load:
        import uvloop

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            print(runner.run(load(*json.loads(options.load))))
        return
    if options.memory:
        print_memory(options.memory, options.deflate)
        return
    ports = {name: free_port() for name in ("keepserve", *(options.against or IMPLEMENTATIONS))}
    with running(commands(ports), options.server_cpu, lambda name: answers(ports[name])):
        rates = measure(list(ports), options.rounds, lambda name: measured(ports[name], options))
    report(f"{options.connections} WebSockets, messages of {options.size} bytes, echoed per second", rates)


if __name__ == "__main__":
    main()
