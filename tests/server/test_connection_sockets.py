"""What only a kernel can show of a connection: real sockets, and a clock of our own."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable

import pytest

from keepserve.server.connection import Connection
from tests.support.applications import Streams
from tests.support.harness import GET, Receive, Scope, Send, Worker, body, in_loop, start, turns

# Half-closed peers.


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    """Two ends of a TCP connection over loopback."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    return ours, theirs


@in_loop
async def test_a_half_closed_peer_that_has_died_is_noticed() -> None:
    ours, theirs = tcp_pair()
    with ours, theirs:
        disconnected = asyncio.Event()

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await receive()
            await receive()
            disconnected.set()

        worker = Worker(app)
        client = worker.connect(sock=ours)
        client.send(GET)
        await turns()
        client.eof()
        worker.live(60.0)
        assert not client.transport.lost
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        theirs.close()  # a reset, as the answer to a keep-alive probe would be
        worker.live(5.2)
        assert client.transport.lost
        await turns()
        assert disconnected.is_set()


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what the kernel brings about and tells nobody else."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.001)


def receive_all(sock: socket.socket) -> bytes:
    """Everything up to the peer's FIN."""
    received = b""
    while piece := sock.recv(1 << 20):
        received += piece
    return received


async def real(worker: Worker, ours: socket.socket) -> Connection:
    """Serve one end of a pair on the running loop."""
    ours.setblocking(False)
    _, protocol = await worker.state.loop.connect_accepted_socket(lambda: Connection(worker.state), ours)
    return protocol


@in_loop
async def test_the_end_of_the_lingering_close_does_not_take_the_answer_from_a_slow_reader() -> None:
    data = b"x" * 40_000

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start(200, (b"connection", b"close")))
        await send(body(data))

    ours, theirs = tcp_pair()
    with theirs:
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        worker = Worker(app)
        connection = await real(worker, ours)
        theirs.send(GET)
        await until(lambda: bool(connection.engine.ending))
        await turns()
        worker.tick()
        worker.tick(5.2)
        await turns()
        assert worker.closed == {"app_asked": 1}
        theirs.settimeout(5.0)
        assert receive_all(theirs).endswith(data)


@in_loop
async def test_a_stalled_reader_is_reset_so_that_a_cut_answer_is_not_taken_for_a_whole_one() -> None:
    worker = Worker(Streams(), write_timeout=60.0)
    ours, theirs = tcp_pair()
    with theirs:
        connection = await real(worker, ours)
        theirs.send(GET)
        await until(lambda: connection.write_paused)
        worker.tick()
        worker.tick(0.1)
        worker.tick(60.2)
        await turns()
        assert worker.closed == {"write_stall": 1}
        theirs.settimeout(5.0)
        with pytest.raises(ConnectionResetError):
            receive_all(theirs)
