"""keepserve beside itself: several of its servers at once, for benchmarks that compare no others."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

from tests.bench.checks import Ask, check, wait_until_right
from tests.bench.processes import start, stop
from tests.bench.setups import Setup, Target
from tests.support.programs import free_port

_STARTUP = 15.0
"""Seconds each has to answer for the first time."""


@contextlib.contextmanager
def serving_all(
    commands: Mapping[str, Callable[[int], list[str]]], ask: Ask, cpus: str, output: Path
) -> Iterator[dict[str, Target]]:
    """Run a server for each of the commands, which are given its port; all of them have answered ``ask``."""
    targets: dict[str, Target] = {}
    programs: list[subprocess.Popen[bytes]] = []
    try:
        for name, command in commands.items():
            port = free_port()
            programs.append(start(command(port), cpus, output))
            target = targets[name] = Target(name, Setup(), port, programs[-1].pid)
            wait_until_right(partial(check, target, ask), lambda: True, _STARTUP)
        yield targets
    finally:
        stop(programs)
