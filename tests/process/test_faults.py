"""Faults from outside, injected into a whole server: a stopped worker, a full disk, a clock that jumps.

Those of crashing, hanging and starting are beside the parts they concern, in ``test_supervised_server.py``,
``test_upkeep.py`` and ``test_reloading.py``; a lack of descriptors and output that blocks have files of their own.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import signal
import socket
import time
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest

from tests.process.running import PATIENCE, ROOT, alive, eventually, get, linux, port_of, server

APP = "tests.process.apps:app"


class Kept:
    """A kept-alive connection to one worker."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        self.pid = self.ask()

    def ask(self) -> str:
        self._connection.request("GET", "/")
        return self._connection.getresponse().read().decode()

    def close(self) -> None:
        self._connection.close()


@linux
def test_a_stopped_worker_is_replaced_and_its_siblings_do_not_notice(log: Path, pool: ThreadPoolExecutor) -> None:
    options = ("--port", "0", "--workers", "3", "--worker-timeout", "1")
    with server(log, APP, *options) as running, contextlib.ExitStack() as stack:
        running.said("All 3 workers are ready")
        port = port_of(running)
        kept: dict[str, Kept] = {}
        while len(kept) < 3:
            one = Kept(port)
            stack.callback(one.close)
            kept.setdefault(one.pid, one)
        stopped, *others = kept
        os.kill(int(stopped), signal.SIGSTOP)
        slowest = 0.0
        while f"Worker {stopped} was ended" not in running.log:
            for pid in others:
                began = time.monotonic()
                assert kept[pid].ask() == pid
                slowest = max(slowest, time.monotonic() - began)
        running.said(rf"Worker {stopped} hangs")
        running.said(rf"Worker {stopped} was ended by our SIG(ABRT|KILL) for hanging")
        running.said("is ready after", 1)
        assert slowest < 2.0
        assert len({get(port) for _ in range(20)} | set(others)) >= 2
        assert all(alive(int(pid)) for pid in others)


@linux
def test_no_temporary_directory_is_needed(log: Path, tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.mkdir(mode=0o500)
    environment = {"TMPDIR": "/dev/full", "TEMP": str(full), "TMP": str(full)}
    with server(log, APP, "--port", "0", "--workers", "2", env=environment) as running:
        running.said("All 2 workers are ready")
        port = port_of(running)
        first = get(port)
        os.kill(int(first), signal.SIGKILL)
        assert get(port) != first
        running.said(r"Worker \d+ is ready")
        assert list(full.iterdir()) == []
        running.send(signal.SIGTERM)
        assert running.ended() == 0


def _library() -> str:
    """Where libfaketime is; empty if it is not installed."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1")) if shutil.which("faketime") else []
    return str(found[0]) if found else ""


@pytest.mark.skipif(not _library(), reason="libfaketime is not installed (Debian: faketime)")
@pytest.mark.parametrize("jump", ["+1d", "-1d"])
def test_a_jump_of_the_wall_clock_ends_no_connection_early_or_late(
    log: Path, tmp_path: Path, jump: str, pool: ThreadPoolExecutor
) -> None:
    """The idle clock, the drain and the watchdog go by the monotonic clock; only the Date field follows the jump."""
    offset = tmp_path / "offset"
    offset.write_text("+0")
    environment = {
        "LD_PRELOAD": _library(),
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
        "PYTHONPATH": str(ROOT),
    }
    clocks = ("--lb-idle-timeout", "0.5", "--keep-alive-timeout", "1.2", "--worker-timeout", "1")
    with server(log, APP, "--port", "0", *clocks, env=environment) as running:
        port = port_of(running)
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as idle:
            before = _ask(idle)
            ready = time.monotonic()
            offset.write_text(jump)
            lasted: Future[float] = pool.submit(_until_closed, idle)
            after = eventually(lambda: _dated(port, before), "a Date after the jump")
            assert abs((after - before).total_seconds()) > 80_000
            assert lasted.result() - ready >= 1.2
            assert lasted.result() - ready < 2.5
        assert "hangs" not in running.log
        began = time.monotonic()
        running.send(signal.SIGTERM)
        assert running.ended() == 0
        assert time.monotonic() - began < 5


def _ask(connection: socket.socket) -> datetime:
    connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += connection.recv(4096)
    (line,) = [line for line in answer.split(b"\r\n") if line.lower().startswith(b"date:")]
    return parsedate_to_datetime(line.partition(b":")[2].strip().decode())


def _dated(port: int, before: datetime) -> datetime | None:
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
        after = _ask(connection)
    return after if abs((after - before).total_seconds()) > 3600 else None


def _until_closed(connection: socket.socket) -> float:
    while connection.recv(4096):
        pass
    return time.monotonic()
