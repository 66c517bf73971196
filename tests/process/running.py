"""Starting servers as real processes, and waiting for what they say."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support import serving
from tests.support.serving import ROOT

PATIENCE = 10.0
"""Seconds; only ever used up by a test that fails."""

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


eventually = partial(serving.eventually, patience=PATIENCE)
"""Call a condition until it is true; its value."""


class Running:
    """A server process whose standard output and error go to one file."""

    def __init__(self, command: Sequence[str], log: Path, **popen: Any) -> None:
        self._log = log
        environment = {name: value for name, value in os.environ.items() if not name.startswith("KEEPSERVE_")}
        environment |= {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"} | popen.pop("env", {})
        with log.open("wb") as output:
            how: dict[str, Any] = {"cwd": ROOT, "stdin": subprocess.DEVNULL, "stdout": output, "stderr": output}
            command = [sys.executable, "-W", "error", *command]
            self.process: subprocess.Popen[bytes] = subprocess.Popen(command, **how | popen, env=environment)
        self.pid = self.process.pid

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def said(self, pattern: str, times: int = 1, *, by_orphans: bool = False) -> list[str]:
        """Wait until the log has ``pattern`` that often; its matches (group 1, or the whole match)."""
        expression = re.compile(pattern)

        def matches() -> list[str]:
            over = (
                not by_orphans and self.process.poll() is not None
            )  # asked first: what it said last must not be missed
            found: list[str] = expression.findall(self.log)
            assert len(found) >= times or not over, f"it ended without: {pattern}"
            return found if len(found) >= times else []

        try:
            found: list[str] = eventually(matches, pattern)
        except AssertionError as error:
            raise AssertionError(f"{error}; the log:\n{self.log}") from None
        return found

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def ended(self, patience: float = PATIENCE) -> int:
        """Wait for the end; the exit code."""
        try:
            return self.process.wait(patience)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running; the log:\n{self.log}") from None

    def closing(self) -> contextlib.closing[Running]:
        """For use in a with statement."""
        return contextlib.closing(self)

    def close(self) -> None:
        """Leave nothing behind: the supervisor is killed and its workers follow."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


@contextlib.contextmanager
def fake(entry: str, log: Path, *, popen: dict[str, Any] | None = None, **options: Any) -> Iterator[Running]:
    """A supervisor whose workers run ``entry`` of `tests.process.fakes`; options are those of its main."""
    command = ["-m", "tests.process.fakes", entry, json.dumps(options)]
    with Running(command, log, **(popen or {})).closing() as running:
        yield running


@contextlib.contextmanager
def server(log: Path, *arguments: str, **popen: Any) -> Iterator[Running]:
    """``python -m keepserve`` with these arguments."""
    with Running(["-m", "keepserve", *arguments], log, **popen).closing() as running:
        yield running


def port_of(running: Running) -> int:
    """The port a server that listens on port 0 was given, once it serves."""
    return int(running.said(r"[Ww]orker \d+ serves on https?://[^ ]*:(\d+)")[0])


def get(port: int, path: str = "/", timeout: float = PATIENCE) -> str:
    """The body of one GET on a connection of its own; raises OSError when nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        try:
            return connection.getresponse().read().decode()
        except http.client.HTTPException as error:
            raise OSError(repr(error)) from error
    finally:
        connection.close()


def alive(pid: int) -> bool:
    """Whether a process exists (and is no zombie, where that can be told)."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return not Path("/proc/self/stat").exists()


def can_bind(port: int) -> bool:
    """Whether a server could be started on this port."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", port))
            sock.listen()
        except OSError:
            return False
        return True


def can_unshare() -> str:
    """Why this machine cannot run a process as PID 1; empty if it can."""
    if shutil.which("unshare") is None:
        return "there is no unshare(1)"
    tried = subprocess.run(["unshare", "--pid", "--fork", "--mount-proc", "true"], capture_output=True, check=False)
    return "" if tried.returncode == 0 else "unshare is not permitted here"
