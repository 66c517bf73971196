"""Running clients or stand-ins in a process of their own, and taking their report."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from tests.support.serving import PATIENCE, ROOT, clean_environment


def report_of(module: str, port: int | None = None, **plan: Any) -> dict[str, Any]:
    """Run ``module`` of this package with this plan to its end; the report it prints as JSON."""
    done = subprocess.run(
        _command(module, port, plan),
        cwd=ROOT,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


class Load:
    """A load that goes on until it is asked for its report."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    @property
    def over(self) -> bool:
        """It has ended by itself, which it should not."""
        return self._process.poll() is not None

    def report(self) -> dict[str, Any]:
        """End the load, by the end of its standard input; the report it prints as JSON."""
        told, complaint = self._process.communicate(timeout=PATIENCE)
        assert self._process.returncode == 0, complaint
        report: dict[str, Any] = json.loads(told)
        return report


@contextlib.contextmanager
def going(module: str, port: int | None = None, **plan: Any) -> Iterator[Load]:
    """Run ``module`` of this package with this plan; the block begins when it says that it is ``going``."""
    with conversing(_command(module, port, plan)) as process:
        yield Load(process)


@contextlib.contextmanager
def conversing(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    """A process of this package's, once it has said that it is ``going``; it does not outlive the block."""
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=clean_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line == "going\n", process.communicate(timeout=PATIENCE)
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def _command(module: str, port: int | None, plan: dict[str, Any]) -> list[str]:
    if port is not None:
        plan = {"port": port, **plan}
    return [sys.executable, "-m", f"{__package__}.{module}", json.dumps(plan)]
