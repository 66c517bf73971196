"""The ALB stand-in as a process: start it, order it about, ask it."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from tests.balancers.reports import conversing
from tests.support.programs import free_port
from tests.support.serving import PATIENCE, eventually


class Alb:
    """A running load balancer, and the port of its listener."""

    def __init__(self, port: int, process: subprocess.Popen[str]) -> None:
        self.port = port
        self._process = process

    def register(self, target: int) -> None:
        """Add a target."""
        self._order(f"register {target}")

    def deregister(self, target: int) -> None:
        """Take a target out; its state is draining, then unused."""
        self._order(f"deregister {target}")

    def state(self) -> dict[str, dict[str, Any]]:
        """What it thinks of its targets, by port."""
        return self._order("state")

    def wait_healthy(self) -> None:
        """Wait until all targets have passed."""
        eventually(lambda: all(one["state"] == "healthy" for one in self.state().values()), "the targets are healthy")

    def _order(self, line: str) -> dict[str, dict[str, Any]]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, f"the stand-in ended: {self._process.communicate(timeout=PATIENCE)}"
        state: dict[str, dict[str, Any]] = json.loads(answer)
        return state


@contextlib.contextmanager
def alb(*targets: int, **attributes: Any) -> Iterator[Alb]:
    """A load balancer with these targets and attributes (``alb.Plan``); whatever it complains about is a failure."""
    port = free_port()
    plan = json.dumps({"port": port, "targets": targets, **attributes})
    with conversing([sys.executable, "-m", f"{__package__}.alb", plan]) as process:
        yield Alb(port, process)
        _, complaint = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, complaint
        assert complaint == "", complaint
