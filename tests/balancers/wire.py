"""A wire of some length between a balancer and a server: what one sends, the other gets a while later.

That goes for the end of a connection, too: until the server's FIN has arrived, the balancer uses the connection. On
loopback alone that takes some microseconds, which a short test would hardly ever hit.

Runs in a process of its own: ``python -m tests.balancers.wire '{"ports": {"8100": 8000}, "delay": 0.1}'``
listens on the first of each pair, connects to the second one, says ``going``, and ends with its standard input.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import socket
import struct
import sys
from typing import Any

import uvloop

HOST = "127.0.0.1"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """``delay`` is in seconds, each way."""

    ports: dict[str, int]
    delay: float


class End(asyncio.Protocol):
    """One end of the wire: what arrives here leaves at the ``other`` after the delay."""

    def __init__(self, delay: float) -> None:
        self.loop = asyncio.get_running_loop()
        self.delay = delay
        self.other: End | None = None
        self.transport: Any = None
        self._early: list[bytes] = []
        self._heard = self._said = False
        """The end, from this side and to it."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def join(self, other: End) -> None:
        """The wire is complete; what came before that goes on now."""
        self.other, other.other = other, self
        for data in self._early:
            self.data_received(data)

    def data_received(self, data: bytes) -> None:
        if self.other is None:
            self._early.append(data)
        else:
            self.loop.call_later(self.delay, self.other.transport.write, data)

    def eof_received(self) -> bool:
        # The end travels; the other direction stays as it is until its own end comes.
        self._heard = True
        if self.other is not None:
            self.loop.call_later(self.delay, self.other.finish)
        return not self._said

    def finish(self) -> None:
        """The other side has closed."""
        self._said = True
        if self._heard:
            self.transport.close()
        elif not self.transport.is_closing():
            self.transport.write_eof()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.other is not None:
            self.loop.call_later(self.delay, self.other.cut, exc is not None)

    def cut(self, reset: bool) -> None:
        """The other side is gone; a reset travels as one."""
        if self.transport.is_closing():
            return
        if reset:
            sock = self.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()
        else:
            self.transport.close()


class Near(End):
    """The balancer's end: it makes the connection to the server."""

    def __init__(self, delay: float, port: int) -> None:
        super().__init__(delay)
        self._port = port

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._connecting = self.loop.create_task(self._connect())

    async def _connect(self) -> None:
        try:
            _, far = await self.loop.create_connection(lambda: End(self.delay), HOST, self._port)
        except OSError:
            self.transport.abort()
            return
        self.join(far)


async def run(plan: Plan) -> None:
    """Run the plan until standard input ends."""
    loop = asyncio.get_running_loop()
    for near, far in plan.ports.items():
        await loop.create_server(lambda far=far: Near(plan.delay, far), HOST, int(near), backlog=1024)
    print("going", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    print("{}")


def main() -> None:
    """Run the plan given as JSON."""
    uvloop.run(run(Plan(**json.loads(sys.argv[1]))))


if __name__ == "__main__":
    main()
