"""The wire: octets, ends and resets arrive, as late as they should."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import time

import pytest

from tests.balancers.wire import HOST, Near

DELAY = 0.03

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def connected() -> tuple[Streams, Streams, list[asyncio.Server]]:
    """Both ends of a connection over the wire, the client's first, and what to close."""
    arrived: asyncio.Queue[Streams] = asyncio.Queue()
    server = await asyncio.start_server(lambda *streams: arrived.put_nowait(streams), HOST, 0)
    far = server.sockets[0].getsockname()[1]
    wire = await asyncio.get_running_loop().create_server(lambda: Near(DELAY, far), HOST, 0)
    near = wire.sockets[0].getsockname()[1]
    client = await asyncio.open_connection(HOST, near)
    return client, await arrived.get(), [server, wire]


async def close(*streams: Streams, servers: list[asyncio.Server]) -> None:
    """Leave nothing open, on the wire neither."""
    for _, writer in streams:
        writer.close()
    for server in servers:
        server.close()
    await asyncio.sleep(4 * DELAY)


def test_octets_take_their_time_each_way() -> None:
    async def run() -> None:
        client, server, servers = await connected()
        began = time.monotonic()
        client[1].write(b"ping")
        assert await server[0].read(10) == b"ping"
        assert time.monotonic() - began >= DELAY
        server[1].write(b"pong")
        assert await client[0].read(10) == b"pong"
        assert time.monotonic() - began >= 2 * DELAY
        await close(client, server, servers=servers)

    asyncio.run(run())


def test_until_the_end_has_arrived_the_other_side_goes_on_and_is_reset() -> None:
    async def run() -> None:
        client, server, servers = await connected()
        # The server closes for good; the client, who cannot know, sends a request.
        server[1].close()
        await server[1].wait_closed()
        began = time.monotonic()
        client[1].write(b"request")
        assert await client[0].read(10) == b""
        assert time.monotonic() - began >= DELAY * 0.9
        await close(client, servers=servers)

    asyncio.run(run())


def test_a_reset_arrives_as_one() -> None:
    async def run() -> None:
        client, server, servers = await connected()
        server[1].get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        server[1].transport.abort()
        with pytest.raises(ConnectionResetError):
            await client[0].read(10)
        await close(client, servers=servers)

    asyncio.run(run())


def test_nobody_behind_the_wire_ends_the_connection() -> None:
    async def run() -> None:
        with socket.socket() as unused:
            unused.bind((HOST, 0))
            wire = await asyncio.get_running_loop().create_server(
                lambda: Near(DELAY, unused.getsockname()[1]), HOST, 0
            )
            client = await asyncio.open_connection(HOST, wire.sockets[0].getsockname()[1])
            with contextlib.suppress(ConnectionResetError):
                assert await client[0].read(10) == b""
            await close(client, servers=[wire])

    asyncio.run(run())
