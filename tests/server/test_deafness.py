"""Listening sockets that let nobody begin to connect any more, and forget nobody who has."""

from __future__ import annotations

import asyncio
import errno
import select
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from keepserve.config import Settings
from keepserve.server.acceptor import Acceptor
from keepserve.server.deafness import TcpListener, deafen
from keepserve.server.listening import bind_sockets
from keepserve.server.state import WorkerState
from tests.server.test_acceptor import hello, until

linux = pytest.mark.skipif(sys.platform != "linux", reason="SO_ATTACH_FILTER is Linux's")

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    (sock,) = bind_sockets(Settings(port=0), {})
    with sock:
        sock.listen(64)
        sock.settimeout(5)
        yield sock


def _begin(address: object) -> socket.socket:
    client = socket.socket()
    client.setblocking(False)
    assert client.connect_ex(address) == errno.EINPROGRESS  # type: ignore[arg-type]  # an address as getsockname gives it
    return client


@linux
def test_who_begins_to_connect_is_not_answered(listener: socket.socket) -> None:
    assert deafen(listener)
    with _begin(listener.getsockname()) as client:
        assert not select.select([], [client], [], 0.05)[1]
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()


@linux
def test_who_asks_again_after_the_close_is_refused(listener: socket.socket) -> None:
    deafen(listener)
    with _begin(listener.getsockname()) as client:
        listener.close()
        assert select.select([], [client], [], 5)[1]  # its second attempt, a second later
        assert client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNREFUSED


@linux
def test_who_has_connected_is_accepted_and_heard(listener: socket.socket) -> None:
    with socket.create_connection(listener.getsockname(), timeout=5) as client:
        deafen(listener)
        client.sendall(b"before the accept")
        with listener.accept()[0] as accepted:
            assert accepted.recv(64) == b"before the accept"
            client.sendall(b"after it")
            assert accepted.recv(64) == b"after it"
            accepted.sendall(b"an answer")
            assert client.recv(64) == b"an answer"
            accepted.shutdown(socket.SHUT_WR)
            assert client.recv(64) == b""


@linux
def test_every_copy_of_the_socket_is_deaf(listener: socket.socket) -> None:
    with listener.dup() as copy:
        deafen(listener)
        with _begin(copy.getsockname()) as client:
            assert not select.select([], [client], [], 0.05)[1]


def test_a_socket_of_somebody_else_is_left_as_it_is(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as theirs:
        assert not deafen(theirs)
        socket.create_connection(theirs.getsockname(), timeout=5).close()
    (ours,) = bind_sockets(Settings(uds=str(tmp_path / "app.sock")), {})
    with ours:
        assert not deafen(ours)


def test_inherited_sockets_are_somebody_elses() -> None:
    with socket.create_server(("127.0.0.1", 0)) as theirs:
        (taken,) = bind_sockets(Settings(fd=theirs.fileno()), {})
        assert not isinstance(taken, TcpListener)
        taken.detach()


@linux
@pytest.mark.parametrize("round_", range(5))
def test_nobody_who_connects_while_the_listener_closes_is_reset(round_: int) -> None:
    """Clients connect as fast as they can, each with a request; each connect that succeeds is answered."""

    async def run() -> list[str]:
        loop = asyncio.get_running_loop()
        state = WorkerState(Settings(), hello, loop)
        (sock,) = bind_sockets(Settings(port=0), {})
        address = sock.getsockname()
        acceptor = Acceptor(state, [sock])
        acceptor.listen()
        over = threading.Event()
        outcomes: list[str] = []
        clients = [threading.Thread(target=_connect_until_refused, args=(address, outcomes, over)) for _ in range(4)]
        for client in clients:
            client.start()
        await asyncio.sleep(0.02 + 0.007 * round_)
        acceptor.close(empty=True)
        await until(lambda: not acceptor.pending)
        await asyncio.sleep(0.05)
        over.set()
        for client in clients:
            await asyncio.to_thread(client.join)
        return outcomes

    outcomes = asyncio.run(run())
    assert "answered" in outcomes
    assert set(outcomes) <= {"answered", "kept out", "refused"}, sorted(set(outcomes))


def _connect_until_refused(address: tuple[str, int], outcomes: list[str], over: threading.Event) -> None:
    while not over.is_set():
        try:
            client = socket.create_connection(address, timeout=0.3)
        except TimeoutError:
            outcomes.append("kept out")
            continue
        except ConnectionRefusedError:
            outcomes.append("refused")
            return
        with client:
            client.settimeout(5)
            try:
                client.sendall(GET)
                answer = client.recv(4096)
            except OSError as error:
                outcomes.append(repr(error))
                return
            outcomes.append("answered" if answer.startswith(b"HTTP/1.1 200") else repr(answer))
