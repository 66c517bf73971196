"""``python -m keepserve`` as a real process: start it, wait until it serves, read what it said, end it by pid."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]

PATIENCE = 20.0
"""Seconds; only a test that fails uses them up."""

_FOREIGN = ("PORT", "WEB_CONCURRENCY", "FORWARDED_ALLOW_IPS")


def clean_environment(**extra: str) -> dict[str, str]:
    """The environment of a child that must not obey settings of its surroundings."""
    own = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("KEEPSERVE_", "PYTEST_")) and name not in _FOREIGN
    }
    return own | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"} | extra


def eventually(condition: Callable[[], Any], what: str, patience: float = PATIENCE) -> Any:
    """Call ``condition`` until its value is true; that value."""
    end = time.monotonic() + patience
    while not (value := condition()):
        assert time.monotonic() < end, f"in vain: {what}"
        time.sleep(0.005)
    return value


class ServerProcess:
    """A supervisor with its workers; standard output and error go to two files below ``directory``."""

    def __init__(self, app: str, *options: str, directory: Path, env: dict[str, str] | None = None) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._out = directory / "stdout"
        self._err = directory / "stderr"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "keepserve", app, *options],
                cwd=ROOT,
                env=clean_environment(**(env or {})),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )
        self.pid = self._process.pid
        self.port = 0

    @property
    def stdout(self) -> str:
        """The access log so far."""
        return self._out.read_text(errors="replace")

    @property
    def stderr(self) -> str:
        """The server's log so far."""
        return self._err.read_text(errors="replace")

    def said(self, pattern: str) -> str:
        """Wait until the log has ``pattern``; its first group, or the whole match."""

        def look() -> re.Match[str] | None:
            # In this order: what a process wrote before it ended must be seen.
            over = self._process.poll() is not None
            match = re.search(pattern, self.stderr)
            assert match or not over, f"it ended with {self._process.returncode}"
            return match

        try:
            match = eventually(look, pattern)
        except AssertionError as error:
            raise AssertionError(f"{error}; the log:\n{self.stderr}") from None
        return str(match.group(match.re.groups and 1))

    def wait_ready(self, workers: int = 1) -> None:
        """Wait until all workers serve."""
        addresses = self.said(r"Ready after .* serves on (.+)")
        if match := re.search(r"https?://\S*:(\d+)", addresses):
            self.port = int(match.group(1))
        if workers > 1:
            self.said(rf"All {workers} workers are ready")

    def send_signal(self, number: signal.Signals) -> None:
        """Signal the supervisor, and only that."""
        self._process.send_signal(number)

    def ended(self, patience: float = PATIENCE) -> int:
        """Wait for the end; the exit code."""
        try:
            return self._process.wait(patience)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {patience:g} s; the log:\n{self.stderr}") from None

    def kill(self) -> None:
        """Leave nothing behind: workers end with their supervisor."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()


@contextlib.contextmanager
def serving(
    app: str, *options: str, directory: Path, workers: int = 1, env: dict[str, str] | None = None
) -> Iterator[ServerProcess]:
    """A server that is ready, on a port the kernel chose unless the options bind something.

    It is interrupted at the end, as by Ctrl-C, which spares idle connections their grace; it has to end with 0.
    """
    bound = any(option in ("--bind", "--uds", "--port", "--fd") for option in options)
    where = () if bound else ("--port", "0")
    server = ServerProcess(app, *where, "--workers", str(workers), *options, directory=directory, env=env)
    try:
        server.wait_ready(workers)
        yield server
        server.send_signal(signal.SIGINT)
        code = server.ended()
        assert code == 0, f"exit code {code}; the log:\n{server.stderr}"
    finally:
        server.kill()
