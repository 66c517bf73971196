"""The acceptor on real loops and real sockets; what other workers do is written on the scoreboard by the test."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trustme
import uvloop

from keepserve.config import Settings
from keepserve.server import acceptor as module
from keepserve.server import balance
from keepserve.server.acceptor import BURST, Acceptor
from keepserve.server.state import WorkerState
from keepserve.telemetry.scoreboard import (
    ACCEPTED,
    CONNECTIONS,
    LEAVING,
    LIFE,
    PID,
    SERVING,
    STAGE,
    Scoreboard,
    Seat,
)
from tests.support.harness import GET, hello, turns

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}

Test = Callable[..., Awaitable[None]]


def on_both_loops(test: Test) -> Any:
    """Run a coroutine as a test, on each kind of loop."""

    @pytest.mark.parametrize("loop", LOOPS)
    def run(loop: str) -> None:
        with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
            runner.run(test())

    run.__name__ = test.__name__
    run.__doc__ = test.__doc__
    return run


async def until(condition: Callable[[], object]) -> None:
    """Wait for what the kernel and the loop bring about."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


class Clients:
    """Connections to one address, all closed in the end."""

    def __init__(self, sock: socket.socket) -> None:
        self._address = sock.getsockname()
        self._family = sock.family
        self._stack = contextlib.ExitStack()

    def connect(self, count: int = 1) -> list[socket.socket]:
        """Connect and return at once: the kernel has established them, whether they are accepted or not."""
        sockets = []
        for _ in range(count):
            sock = self._stack.enter_context(socket.socket(self._family))
            sock.connect(self._address)
            sock.setblocking(False)
            sockets.append(sock)
        return sockets

    def close(self) -> None:
        self._stack.close()


class Fixture:
    """An acceptor with seat 0 of a scoreboard, a listening socket and clients for it."""

    def __init__(self, *others: int, context: ssl.SSLContext | None = None, **settings: Any) -> None:
        self.board = Scoreboard(4)
        self.seats = [self._sit(count) for count in (0, *others)]
        self.seat = self.seats[0]
        self.state = WorkerState(Settings(**settings), hello, asyncio.get_running_loop(), seat=self.seat)
        self.sock = socket.create_server(("127.0.0.1", 0))
        self.acceptor = Acceptor(self.state, [self.sock], context, board=self.board, number=0)
        self.clients = Clients(self.sock)
        self.connect = self.clients.connect

    def _sit(self, connections: int) -> Seat:
        number = self.board.take()
        seat = self.board.seat(number)
        seat[PID], seat[STAGE], seat[CONNECTIONS] = 100 + number, SERVING, connections
        return seat

    async def accepted(self, count: int) -> None:
        await until(lambda: len(self.state.connections) == count)

    def still(self) -> bool:
        """Whether there is nobody left, in the making or made."""
        return not self.state.connections and not self.state.pending


@contextlib.asynccontextmanager
async def accepting(*others: int, **options: Any) -> AsyncIterator[Fixture]:
    """An acceptor that listens; in the end, that nothing is left of it."""
    fixture = Fixture(*others, **options)
    fixture.acceptor.listen()
    try:
        yield fixture
    finally:
        fixture.acceptor.close(empty=False)
        fixture.acceptor.abort_pending()
        fixture.clients.close()  # which also ends those who come about only now
        await until(fixture.still)
        await turns()  # the loop closes sockets a turn later
        assert fixture.seat[CONNECTIONS] == 0


@on_both_loops
async def test_a_connection_is_served() -> None:
    async with accepting() as fixture:
        (client,) = fixture.connect()
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(client, GET)
        assert (await loop.sock_recv(client, 4096)).startswith(b"HTTP/1.1 200 ")


@on_both_loops
async def test_the_seat_says_how_many_there_are_and_how_many_came() -> None:
    async with accepting() as fixture:
        one, _, _ = fixture.connect(3)
        await fixture.accepted(3)
        assert (fixture.seat[CONNECTIONS], fixture.seat[ACCEPTED]) == (3, 3)
        one.close()
        await fixture.accepted(2)
        assert (fixture.seat[CONNECTIONS], fixture.seat[ACCEPTED]) == (2, 3)


@on_both_loops
async def test_a_connection_counts_from_the_moment_it_is_accepted() -> None:
    fixture = Fixture()
    fixture.acceptor.listen()
    fixture.connect(3)
    fixture.acceptor.close(empty=True)  # accepts at once, within this turn of the loop
    assert not fixture.state.connections
    assert len(fixture.state.pending) == fixture.seat[CONNECTIONS] == 3
    await fixture.accepted(3)
    assert not fixture.acceptor.pending
    assert fixture.seat[CONNECTIONS] == 3
    fixture.clients.close()
    await until(fixture.still)


@on_both_loops
async def test_small_packets_are_sent_at_once() -> None:
    async with accepting() as fixture:
        fixture.connect()
        await fixture.accepted(1)
        (connection,) = fixture.state.connections
        sock = connection._transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.parametrize("loop", LOOPS)
def test_unix_sockets_are_served(loop: str, tmp_path: Path) -> None:
    async def run() -> None:
        state = WorkerState(Settings(), hello, asyncio.get_running_loop())
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(str(tmp_path / "socket"))
        acceptor = Acceptor(state, [sock])
        acceptor.listen()
        clients = Clients(sock)
        (client,) = clients.connect()
        await asyncio.get_running_loop().sock_sendall(client, GET)
        assert (await asyncio.get_running_loop().sock_recv(client, 4096)).startswith(b"HTTP/1.1 200 ")
        acceptor.close(empty=True)
        clients.close()
        await until(lambda: not state.connections)

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(run())


@on_both_loops
async def test_more_than_a_burst_come_at_once_and_all_are_accepted() -> None:
    async with accepting() as fixture:
        fixture.connect(2 * BURST + 3)
        await fixture.accepted(2 * BURST + 3)


@on_both_loops
async def test_other_work_has_its_turn_after_a_burst() -> None:
    async with accepting() as fixture:
        fixture.connect(3 * BURST)
        before = 0
        while fixture.seat[ACCEPTED] < 3 * BURST:
            await asyncio.sleep(0)
            assert fixture.seat[ACCEPTED] - before <= BURST
            before = fixture.seat[ACCEPTED]
        await fixture.accepted(3 * BURST)


@on_both_loops
async def test_a_connection_another_worker_took_first_is_no_error() -> None:
    async with accepting() as fixture:
        fixture.connect()
        taken = fixture.sock.accept()[0]  # before the loop has turned
        fixture.acceptor._ready(fixture.acceptor._listeners[0])
        assert fixture.seat[ACCEPTED] == 0
        taken.close()


@on_both_loops
async def test_a_client_that_resets_at_once_leaves_no_trace() -> None:
    async with accepting() as fixture:
        for client in fixture.connect(5):
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
        await until(lambda: fixture.seat[ACCEPTED] == 5 and fixture.still())
        assert fixture.seat[CONNECTIONS] == 0


@pytest.fixture
def endless_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that is ahead waits for ever, however slow this machine is."""
    monkeypatch.setattr(balance, "PATIENCE", 3600.0)
    monkeypatch.setattr(balance, "PATIENCE_EXACT", 3600.0)


@pytest.mark.usefixtures("endless_patience")
@on_both_loops
async def test_who_is_ahead_leaves_a_connection_to_the_other_and_looks_on() -> None:
    async with accepting(1) as fixture:
        fixture.connect(3)
        await until(lambda: fixture.seat[LIFE] > 5)  # it looks again and again
        assert fixture.seat[ACCEPTED] == 2
        assert not asyncio.get_running_loop().remove_reader(fixture.sock)  # which would report it all the time
        fixture.seats[1][CONNECTIONS] = 2
        await fixture.accepted(3)


@pytest.mark.usefixtures("endless_patience")
@on_both_loops
async def test_when_the_other_has_taken_it_the_loop_watches_the_socket_again() -> None:
    async with accepting(1) as fixture:
        fixture.connect(3)
        await until(lambda: fixture.seat[LIFE] > 5)
        with fixture.sock.accept()[0]:
            await until(lambda: fixture.acceptor._again is None)
            life = fixture.seat[LIFE]
            fixture.connect()
            await until(lambda: fixture.seat[LIFE] > life)
            fixture.seats[1][CONNECTIONS] = 2
            await fixture.accepted(3)


@pytest.mark.usefixtures("endless_patience")
@on_both_loops
async def test_when_one_of_its_own_ends_it_looks_at_once() -> None:
    async with accepting(1) as fixture:
        one, _, _ = fixture.connect(3)
        await until(lambda: fixture.seat[ACCEPTED] == 2 and fixture.acceptor._again)
        assert fixture.acceptor._again is not None
        fixture.acceptor._again.cancel()  # now nothing but the end can wake it
        one.close()
        await until(lambda: fixture.seat[ACCEPTED] == 3)


@on_both_loops
async def test_a_worker_that_hangs_does_not_keep_a_connection_waiting() -> None:
    async with accepting(0) as fixture:
        fixture.connect(3)  # the other takes none of them, and does not look
        await fixture.accepted(3)


@on_both_loops
async def test_a_pause_leaves_connections_in_the_queue_and_the_end_of_it_takes_them() -> None:
    async with accepting() as fixture:
        fixture.acceptor.pause()
        fixture.connect(3)
        for _ in range(20):
            await asyncio.sleep(0)
        assert fixture.seat[ACCEPTED] == 0
        fixture.acceptor.resume()
        await fixture.accepted(3)


@on_both_loops
async def test_at_the_limit_of_connections_a_burst_is_broken_off() -> None:
    async with accepting(limit_connections=5) as fixture:
        clients = fixture.connect(9)
        await fixture.accepted(5)
        for _ in range(20):
            await asyncio.sleep(0)
        assert fixture.seat[ACCEPTED] == 5
        for client in clients[:3]:
            client.close()
        await until(lambda: fixture.seat[ACCEPTED] >= 7)


class Exhausted(socket.socket):
    """A listening socket whose next accept fails for want of descriptors."""

    errno = 0

    def accept(self) -> Any:
        if self.errno:
            number, self.errno = self.errno, 0
            raise OSError(number, "it was taken")
        return super().accept()


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
@pytest.mark.parametrize("loop", LOOPS)
def test_want_of_descriptors_pauses_accepting(loop: str, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EXHAUSTED_PAUSE", 0.02)

    async def run() -> None:
        state = WorkerState(Settings(), hello, asyncio.get_running_loop())
        state.capacity.close()  # nobody else will pause and go on for us
        sock = Exhausted(socket.AF_INET)
        sock.bind(("127.0.0.1", 0))
        sock.errno = number
        acceptor = Acceptor(state, [sock])
        acceptor.listen()
        clients = Clients(sock)
        clients.connect()
        await until(lambda: sock.errno == 0)
        assert acceptor._again is not None
        life = state.seat[LIFE]
        await until(lambda: state.connections)
        assert state.seat[LIFE] <= life + 2
        acceptor.close(empty=True)
        clients.close()
        await until(lambda: not state.connections)

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(run())


@on_both_loops
async def test_the_end_of_the_server_takes_everybody_who_waits_and_then_refuses() -> None:
    async with accepting(0) as fixture:  # ahead of the other or not
        fixture.connect(5)
        fixture.acceptor.close(empty=True)
        await fixture.accepted(5)
        assert fixture.seat[STAGE] == LEAVING
        with pytest.raises(ConnectionRefusedError):
            fixture.connect()


@on_both_loops
async def test_a_worker_that_is_replaced_leaves_the_queue_to_its_siblings() -> None:
    async with accepting() as fixture:
        with fixture.sock.dup() as siblings:
            fixture.connect(2)
            fixture.acceptor.close(empty=False)
            assert fixture.seat[ACCEPTED] == 0
            for _ in range(2):
                siblings.accept()[0].close()


# -- TLS


@pytest.fixture(scope="module")
def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Of a server, and of a client that trusts it."""
    authority = trustme.CA()
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.issue_cert("localhost").configure_cert(server)
    authority.configure_trust(client)
    return server, client


@pytest.mark.parametrize("loop", LOOPS)
def test_a_connection_in_its_handshake_is_pending_and_then_is_served(
    loop: str, contexts: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    async def run() -> None:
        server, client = contexts
        async with accepting(context=server) as fixture:
            (sock,) = fixture.connect()
            await until(lambda: fixture.acceptor.pending)
            assert (fixture.seat[CONNECTIONS], len(fixture.state.connections)) == (1, 0)
            reader, writer = await asyncio.open_connection(sock=sock, ssl=client, server_hostname="localhost")
            await fixture.accepted(1)
            assert not fixture.acceptor.pending
            writer.write(GET)
            assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
            writer.close()
            with contextlib.suppress(OSError):
                await asyncio.wait_for(writer.wait_closed(), 20)
            await until(fixture.still)

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(run())


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("how", ["nonsense", "leaves", "aborted"])
def test_a_handshake_that_fails_leaves_no_trace_and_is_told_of(
    loop: str, how: str, contexts: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    async def run() -> None:
        async with accepting(context=contexts[0]) as fixture:
            quiet = asyncio.Event()
            (sock,) = fixture.connect()
            await until(lambda: fixture.acceptor.pending)
            fixture.state.on_quiet = quiet.set
            if how == "nonsense":
                sock.send(b"GET / HTTP/1.1\r\n\r\n")
                answer = b""
                while data := await asyncio.get_running_loop().sock_recv(sock, 4096):
                    answer += data
                assert answer.startswith(b"HTTP/1.1 400 ")
                assert fixture.seat[CONNECTIONS] == 1  # it lingers: we might have more to say
                sock.close()
            elif how == "leaves":
                sock.close()
            else:
                fixture.acceptor.abort_pending()
            await asyncio.wait_for(quiet.wait(), 20)
            assert fixture.still()
            assert fixture.seat[CONNECTIONS] == 0
            if how == "aborted":
                with contextlib.suppress(ConnectionResetError):
                    while await asyncio.get_running_loop().sock_recv(sock, 4096):
                        pass

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(run())
