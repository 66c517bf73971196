"""Logs that nobody takes: a full pipe, a full disk, a reader that has gone. Requests must not notice."""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from keepserve.telemetry.access import QUEUE_LIMIT
from keepserve.telemetry.lines import MAX_TARGET
from tests.process.running import PATIENCE, ROOT, Running, eventually, server
from tests.support.programs import free_port
from tests.support.serving import clean_environment

APP = "tests.process.test_full_pipe:app"

BOUND = 1.0
"""Seconds a request may take at the most: other programs' on a busy machine. A blocked loop takes longer."""

LONG = "/?" + "x" * MAX_TARGET
"""A target with an access line as long as they get."""

TOO_MANY = QUEUE_LIMIT // MAX_TARGET + 100
"""So many such lines are more than may wait."""


async def app(scope: Any, receive: Any, send: Any) -> None:
    """``/fails``: raise, which the server's log tells with a traceback; anything else is answered."""
    if scope["type"] != "http":
        raise NotImplementedError
    if scope["path"] == "/fails":
        raise ZeroDivisionError
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


class Pipe:
    """A pipe without one byte of room, whose reading end is here."""

    def __init__(self) -> None:
        self.read_end, self.write_end = os.pipe()
        flags = fcntl.fcntl(self.write_end, fcntl.F_GETFL)
        fcntl.fcntl(self.write_end, fcntl.F_SETFL, flags | os.O_NONBLOCK)
        for size in (65536, 4096, 1):
            with contextlib.suppress(BlockingIOError):
                while True:
                    os.write(self.write_end, b"." * size)
        fcntl.fcntl(self.write_end, fcntl.F_SETFL, flags)
        self.got = bytearray()

    def handed_over(self) -> None:
        """The server has it: only the server holds its writing end from now on."""
        os.close(self.write_end)
        self.write_end = -1

    def read(self, size: int = 65536) -> None:
        """Take what is there, up to ``size`` bytes."""
        os.set_blocking(self.read_end, False)
        with contextlib.suppress(BlockingIOError):
            self.got += os.read(self.read_end, size)

    @contextlib.contextmanager
    def taken(self, size: int = 65536, interval: float = 0.01) -> Iterator[None]:
        """Somebody reads, ``size`` bytes each ``interval`` seconds, until the block ends."""
        over = threading.Event()

        def read() -> None:
            while not over.wait(interval):
                self.read(size)

        reader = threading.Thread(target=read)
        reader.start()
        try:
            yield
        finally:
            over.set()
            reader.join()

    def close(self) -> None:
        for end in (self.read_end, self.write_end):
            if end >= 0:
                os.close(end)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    with contextlib.closing(Pipe()) as pipe:
        yield pipe


class Client:
    """A kept-alive connection; how long its slowest request took, and all that were slow together."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.slowest = self.held_up = 0.0
        self.answers = 0
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)

    def get(self, target: str = "/", times: int = 1, status: int = 200) -> None:
        """Ask so many times; each is answered."""
        for _ in range(times):
            began = time.monotonic()
            self._connection.request("GET", target)
            response = self._connection.getresponse()
            response.read()
            took = time.monotonic() - began
            self.slowest = max(self.slowest, took)
            self.held_up += took if took > 0.04 else 0.0
            assert response.status == status
            self.answers += 1

    def answered(self) -> bool:
        """Ask once; whether somebody answers. How long that takes does not count."""
        try:
            self.get()
        except OSError:
            self._connection.close()
            return False
        self.slowest = self.held_up = 0.0
        return True

    def close(self) -> None:
        self._connection.close()


@contextlib.contextmanager
def served(log: Path, *options: str, **popen: Any) -> Iterator[tuple[Running, Client]]:
    """A server of one worker, and a client that it has answered; it ends in time with 0 when told to."""
    port = free_port()
    with server(log, APP, "--port", str(port), "--lifespan", "off", *options, **popen) as running:
        with contextlib.closing(Client(port)) as client:
            eventually(client.answered, "an answer")
            yield running, client
            assert client.slowest < BOUND
        running.send(signal.SIGTERM)
        assert running.ended() == 0


def test_requests_are_answered_while_nobody_reads_the_access_log_and_lost_lines_are_counted(
    log: Path, pipe: Pipe
) -> None:
    with served(log, stdout=pipe.write_end) as (running, client):
        pipe.handed_over()
        client.get(LONG, times=TOO_MANY)
        running.said(r"access log: \d+ lines? w.* lost .*: it does not take them fast enough. Requests are not")
        with pipe.taken(interval=0.0):
            eventually(lambda: b"GET /? HTTP" in pipe.got or client.get("/?"), "new lines, once somebody reads")
            running.send(signal.SIGTERM)
            assert running.ended() == 0
        pipe.read()
        lost = sum(map(int, running.said(r"access log: (\d+) lines? w")))
        assert lost > 0
        assert pipe.got.count(b'HTTP/1.1" 200') + lost == client.answers


def test_the_server_starts_serves_and_stops_while_nobody_reads_its_log(log: Path, pipe: Pipe) -> None:
    with served(log, "--no-access-log", stderr=pipe.write_end) as (_, client):
        pipe.handed_over()
        client.get("/fails", times=100, status=500)
        client.get(times=100)
        with pipe.taken():
            eventually(
                lambda: b"log message(s) were lost" in pipe.got or client.get("/fails", status=500),
                "the number of lost messages, once somebody reads",
            )


@pytest.mark.parametrize("access_log", [True, False])
def test_logs_in_a_pipe_whose_reader_is_always_late_do_not_hold_up_requests(
    log: Path, pipe: Pipe, access_log: bool
) -> None:
    """Whenever there is a little room, several want it: who does not get it must not wait for the next."""
    option = "--access-log" if access_log else "--no-access-log"
    with served(log, option, stdout=pipe.write_end, stderr=pipe.write_end) as (_, client):
        pipe.handed_over()
        end = time.monotonic() + 2
        with pipe.taken(4096, interval=0.08):
            while time.monotonic() < end:
                client.get(LONG)
                client.get("/fails", status=500)
        # One message may wait now and then for the reader, who comes each 80 ms, but not each that finds no room.
        assert client.held_up < 0.7


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_a_full_disk_is_said_if_it_can_be_and_changes_nothing(log: Path, name: str) -> None:
    with open("/dev/full", "wb") as full, served(log, **{name: full}) as (running, client):
        client.get(times=50)
        client.get("/fails", status=500)
        if name == "stdout":
            running.said(r"access log: \d+ lines? w.* lost .*: it fails with: No space left on device")
        else:
            running.said(r'"GET / HTTP/1\.1" 200', 50)


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_a_reader_that_has_gone_is_said_if_it_can_be_and_changes_nothing(log: Path, pipe: Pipe, name: str) -> None:
    with served(log, **{name: pipe.write_end}) as (running, client):
        pipe.handed_over()
        os.close(pipe.read_end)
        pipe.read_end = -1
        client.get(times=50)
        client.get("/fails", status=500)
        if name == "stdout":
            running.said(r"access log: \d+ lines? w.* lost .*: it fails with: Broken pipe")
        else:
            running.said(r'"GET / HTTP/1\.1" 200', 50)


def test_both_closed_from_the_start_changes_nothing(log: Path) -> None:
    port = free_port()
    command = [sys.executable, "-m", "keepserve", APP, "--port", str(port), "--lifespan", "off"]
    # Closed by a shell: Popen has no word for it.
    process = subprocess.Popen(["sh", "-c", 'exec "$@" >&- 2>&-', "sh", *command], cwd=ROOT, env=clean_environment())
    try:
        with contextlib.closing(Client(port)) as client:
            eventually(client.answered, "an answer")
            client.get(times=50)
            client.get("/fails", times=5, status=500)
            assert client.slowest < BOUND
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()
        process.wait()
