"""Connections spread over real workers: one by one, in a burst, after a worker's death, beside one that hangs."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.process.running import PATIENCE, Running, eventually, fake, linux, port_of

APP = "tests.process.apps:app"
WORKERS = 4
CONNECTIONS = 32
REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"

loops = pytest.mark.parametrize("loop", ["uvloop", "asyncio"])


@contextlib.contextmanager
def serving(log: Path, loop: str, **options: Any) -> Iterator[tuple[Running, int]]:
    """Four workers and their port."""
    settings: dict[str, Any] = {"app": APP, "port": 0, "workers": WORKERS, "loop": loop, "keep_alive_timeout": 60.0}
    with fake("served", log, **settings | options) as running:
        running.said(f"All {WORKERS} workers are ready")
        yield running, port_of(running)


class Pool:
    """Kept-alive connections, as a balancer has them, and which worker each is with."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.workers: dict[socket.socket, int] = {}

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        for sock in self.workers:
            sock.close()

    def open_one_by_one(self, count: int) -> None:
        for _ in range(count):
            sock = socket.create_connection(("127.0.0.1", self._port), timeout=PATIENCE)
            self.workers[sock] = 0  # whatever happens, it is closed in the end
            sock.sendall(REQUEST)
            self.workers[sock] = answered_by(sock)

    def open_at_once(self, count: int) -> None:
        sockets = []
        for _ in range(count):
            sock = socket.socket()
            sock.setblocking(False)
            sock.connect_ex(("127.0.0.1", self._port))
            self.workers[sock] = 0
            sockets.append(sock)
        for sock in sockets:
            select.select([], [sock], [], PATIENCE)
            sock.settimeout(PATIENCE)
            sock.sendall(REQUEST)
        for sock in sockets:
            self.workers[sock] = answered_by(sock)

    def drop(self, worker: int) -> int:
        """Forget the connections of a worker that is gone; how many there were."""
        lost = [sock for sock, pid in self.workers.items() if pid == worker]
        for sock in lost:
            del self.workers[sock]
            sock.close()
        return len(lost)

    @property
    def spread(self) -> Counter[int]:
        return Counter(self.workers.values())


def answered_by(sock: socket.socket) -> int:
    """Read one answer of the application: the worker's pid."""
    received = b""
    while not received.partition(b"\r\n\r\n")[2]:
        piece = sock.recv(4096)
        assert piece, "the server has closed the connection"
        received += piece
    return int(received.partition(b"\r\n\r\n")[2])


def apart(spread: Counter[int], workers: int = WORKERS) -> int:
    """How many connections the busiest worker has more than the idlest."""
    counts: Sequence[int] = [*spread.values(), *[0] * (workers - len(spread))]
    return max(counts) - min(counts)


@contextlib.contextmanager
def standing_still(worker: int) -> Iterator[int]:
    """A worker that is stopped, and goes on afterwards."""
    os.kill(worker, signal.SIGSTOP)
    try:
        stat = Path(f"/proc/{worker}/stat")
        eventually(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T", "the worker to stand still")
        yield worker
    finally:
        os.kill(worker, signal.SIGCONT)


# With this a machine that is busy otherwise does not look like a worker that hangs: the rule itself is tested.
PATIENT = {"PATIENCE": 8.0, "PATIENCE_EXACT": 8.0}


@loops
def test_connections_that_come_one_by_one_are_at_most_one_apart(log: Path, loop: str) -> None:
    with serving(log, loop, **PATIENT) as (_, port), Pool(port) as pool:
        for _ in range(CONNECTIONS):
            pool.open_one_by_one(1)
            assert apart(pool.spread) <= 1, pool.spread


@loops
def test_connections_that_come_at_once_are_at_most_two_apart(log: Path, loop: str) -> None:
    with serving(log, loop, **PATIENT) as (_, port), Pool(port) as pool:
        pool.open_at_once(CONNECTIONS)
        assert apart(pool.spread) <= 2, pool.spread


@loops
def test_the_worker_after_one_that_was_killed_gets_what_comes_next(log: Path, loop: str) -> None:
    with serving(log, loop, **PATIENT) as (running, port), Pool(port) as pool:
        pool.open_one_by_one(CONNECTIONS)
        victim = next(iter(pool.spread))
        os.kill(victim, signal.SIGKILL)
        running.said(r"Worker \d+ is ready after")
        lost = pool.drop(victim)
        before = set(pool.spread)
        pool.open_one_by_one(lost)
        (successor,) = set(pool.spread) - before
        assert pool.spread[successor] >= lost - 1
        assert apart(pool.spread) <= 1, pool.spread
        pool.open_at_once(CONNECTIONS)
        assert apart(pool.spread) <= 2, pool.spread


@linux
@loops
def test_a_worker_that_stands_still_delays_nobody_for_long(log: Path, loop: str) -> None:
    with serving(log, loop, worker_timeout=0.0) as (_, port), Pool(port) as pool:
        pool.open_one_by_one(WORKERS)
        with standing_still(next(iter(pool.spread))) as stopped:
            before = pool.spread[stopped]
            began = time.monotonic()
            pool.open_one_by_one(24)
            # Each of the three may wait for 75 ms, once; the rest is what a busy machine may take.
            assert time.monotonic() - began < 2.0
            assert pool.spread[stopped] == before
        # It is itself again, and behind: it gets what comes next.
        eventually(lambda: pool.open_one_by_one(1) or pool.spread[stopped] > before, "a connection for it")


@linux
@loops
def test_without_balance_nobody_waits_for_another(log: Path, loop: str) -> None:
    with serving(log, loop, balance_workers=False, worker_timeout=0.0, **PATIENT) as (_, port), Pool(port) as pool:
        pool.open_one_by_one(1)
        with standing_still(next(iter(pool.spread))):
            began = time.monotonic()
            pool.open_one_by_one(2 * WORKERS)
            assert time.monotonic() - began < PATIENT["PATIENCE"]
