"""More connections than descriptors, under a real supervisor: who is served, who has to go, what it costs."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import os
import re
import resource
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.process.running import PATIENCE, Running, eventually, get, linux, port_of, server

APP = "tests.process.test_descriptors:app"
FILES = 128
ROOM = FILES - 64
"""Connections for which that is enough, by the server's reckoning."""

HELD = 90
_held: list[int] = []
_release: list[asyncio.Event] = []


async def app(scope: Any, receive: Any, send: Any) -> None:
    """``/wait`` waits for ``/release``; ``/hold`` opens files for good. Answers the worker's pid."""
    if scope["type"] != "http":
        raise NotImplementedError
    if not _release:
        _release.append(asyncio.Event())
    if scope["path"] == "/wait":
        await _release[0].wait()
    elif scope["path"] == "/release":
        _release[0].set()
    elif scope["path"] == "/hold":
        _held.extend(os.open(os.devnull, os.O_RDONLY) for _ in range(HELD))
    body = str(os.getpid()).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


def few_files() -> None:
    """In the child, before it becomes the server."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, FILES))


@contextlib.contextmanager
def served(log: Path, *options: str) -> Iterator[tuple[Running, int]]:
    """A server that may open few files, and its port."""
    arguments = (APP, "--port", "0", "--lifespan", "off", *options)
    with server(log, *arguments, preexec_fn=few_files) as running:
        yield running, port_of(running)
        running.send(signal.SIGINT)
        assert running.ended() == 0


@contextlib.contextmanager
def connected(port: int, number: int) -> Iterator[list[socket.socket]]:
    """So many connections, in the order of their connects."""
    with contextlib.ExitStack() as all_of_them:
        yield [all_of_them.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(number)]


class Healthy:
    """A client that goes on with its work meanwhile, on a kept-alive connection unless told that it is the last."""

    def __init__(self, port: int) -> None:
        self.answers = 0
        self.faults: list[BaseException] = []
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._over.wait(0.02):
            try:
                self._connection.request("GET", "/")
                assert self._connection.getresponse().read()
            except (OSError, http.client.HTTPException) as fault:
                self.faults.append(fault)
                return
            self.answers += 1

    def __enter__(self) -> Healthy:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._connection.close()


def closed(clients: list[socket.socket]) -> list[int]:
    """Which of these idle connections the server has closed."""
    found = []
    for number, client in enumerate(clients):
        client.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            assert client.recv(1) == b"", "an idle connection is closed in silence"
            found.append(number)
    return found


def cpu_share(pid: int, seconds: float = 1.0) -> float:
    """Which part of a processor a process uses in the time to come."""

    def used() -> float:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    before, began = used(), time.monotonic()
    time.sleep(seconds)  # it is what happens meanwhile that is measured
    return (used() - before) / (time.monotonic() - began)


def warnings(running: Running) -> list[str]:
    """What the worker has said of its connections since it was started."""
    return re.findall(r"WARNING .*(?:connections are open, of at most|No further connection).*", running.log)


@linux
@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_the_longest_idle_make_room_and_everybody_who_asks_is_answered(log: Path, loop: str) -> None:
    with served(log, "--loop", loop) as (running, port):
        running.said(rf"At most {FILES} files may be open, which leaves {ROOM} connections to this worker")
        worker = int(get(port))
        began = time.monotonic()
        with Healthy(port) as healthy, connected(port, 300) as clients:
            get(port)  # behind all of them
            assert cpu_share(worker) < 0.2
            gone = closed(clients)
            assert gone == list(range(len(gone))), "the longest idle first"
            assert 300 - ROOM <= len(gone) < 300
            before = healthy.answers
            eventually(lambda: healthy.answers > before + 10 or healthy.faults, "more answers")
            assert healthy.faults == []
        said = warnings(running)
        assert 1 <= len(said) <= 1 + (time.monotonic() - began) / 10
        assert "LimitNOFILE=; now 128" in said[0]
        with connected(port, ROOM // 2) as clients:
            asked = time.monotonic()
            assert int(get(port)) == worker
            assert time.monotonic() - asked < 0.5
            assert closed(clients) == []


@linux
def test_with_nobody_idle_accepting_waits_without_costing_anything(log: Path) -> None:
    with served(log) as (running, port):
        worker = int(get(port))
        with connected(port, ROOM - 1) as clients, connected(port, 1) as last, connected(port, 50) as waiting:
            for client in clients:
                client.sendall(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
            for client in waiting:
                client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            running.said("accepting is paused")
            assert cpu_share(worker) < 0.2
            assert len(warnings(running)) == 1
            last[0].sendall(b"GET /release HTTP/1.1\r\nHost: x\r\n\r\n")
            for client in waiting + clients:
                client.settimeout(PATIENCE)
                assert client.recv(100).startswith(b"HTTP/1.1 200")


@linux
@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_when_the_application_holds_the_descriptors_fewer_connections_are_kept(log: Path, loop: str) -> None:
    with served(log, "--loop", loop) as (running, port):
        worker = int(get(port, "/hold"))
        with Healthy(port) as healthy, connected(port, 60) as clients:
            get(port)
            assert cpu_share(worker) < 0.2
            gone = closed(clients)
            assert gone == list(range(len(gone)))
            assert len(gone) > 60 - (FILES - HELD)
            assert healthy.faults == []
            assert healthy.answers > 10
        said = running.said(r"No further connection can be accepted at (\d+), fewer than the 64")
        assert int(said[0]) < FILES - HELD
        assert "Traceback" not in running.log
        assert int(get(port)) == worker
