"""The limit: a canned answer on a raw event-loop protocol, without reading what was asked."""

from __future__ import annotations

import asyncio
import sys

import uvloop

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 13\r\n\r\nHello, world!"


class Canned(asyncio.Protocol):
    """Answers each read with one response."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to write."""
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Write the answer."""
        self.transport.write(ANSWER)  # type: ignore[attr-defined]  # a transport that writes, here


async def main(port: int) -> None:
    """Listen until ended."""
    server = await asyncio.get_running_loop().create_server(Canned, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
