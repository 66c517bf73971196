"""Servers side by side under one load, in turns: what all benchmarks here share.

The servers run on one core and the load on another, one server under load at a time, A B C A B C …, so that a
machine whose speed drifts is as unfair to one as to the other. Only the ratios mean anything, and they are
printed with their spread.
"""

from __future__ import annotations

import argparse
import contextlib
import platform
import re
import shutil
import socket
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
APP = "tests.bench.hello_app:app"
BODY = b"Hello, world!"
"""What that application answers."""


def arguments(description: str | None) -> argparse.ArgumentParser:
    """The options every benchmark has."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--server-cpu", type=int, default=0)
    parser.add_argument("--load-cpu", type=int, default=1)
    return parser


def need(program: str, package: str) -> None:
    """End the benchmark unless a program is installed."""
    if shutil.which(program) is None:
        raise SystemExit(f"This benchmark needs {program} (Debian: apt-get install {package}).")


def free_port() -> int:
    """Return a port nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def pinned(command: list[str], cpu: int) -> list[str]:
    """Return a command that runs on one CPU, where taskset exists."""
    return ["taskset", "-c", str(cpu), *command] if shutil.which("taskset") else command


@contextlib.contextmanager
def running(commands: dict[str, list[str]], cpu: int, answers: Callable[[str], bool]) -> Iterator[None]:
    """Run all servers; go on when ``answers`` says of each that it does, at most 15 s later."""
    servers: list[subprocess.Popen[bytes]] = []
    try:
        for name, command in commands.items():
            servers.append(subprocess.Popen(pinned(command, cpu), cwd=ROOT))
            deadline = time.monotonic() + 15
            while not answers(name):
                if time.monotonic() > deadline:
                    raise SystemExit(f"{name} did not answer within 15 s.")
                time.sleep(0.1)
        yield
    finally:
        for server in servers:
            server.terminate()
        for server in servers:
            server.wait(timeout=15)


def measure(names: list[str], rounds: int, rate: Callable[[str], float]) -> dict[str, list[float]]:
    """Load the servers in turn; the first round warms up and does not count."""
    rates: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds + 1):
        for name in names:
            found = rate(name)
            if number:
                rates[name].append(found)
    return rates


def report(title: str, rates: dict[str, list[float]]) -> None:
    """Print a table: requests per second, and how the first is to the others, round by round."""
    first = next(iter(rates))
    print(f"CPython {platform.python_version()}, {title}")
    print(f"{'':12}{'median':>10}{'min':>10}{'max':>10}   {first} is, round by round")
    for name, values in rates.items():
        ratios = [ours / theirs for ours, theirs in zip(rates[first], values, strict=True)]
        spread = f"{statistics.median(ratios):.2f} x ({min(ratios):.2f}-{max(ratios):.2f})"
        if name == first:
            spread = ""
        print(f"{name:12}{statistics.median(values):10,.0f}{min(values):10,.0f}{max(values):10,.0f}   {spread}")


def wrk_rate(command: list[str], cpu: int) -> float:
    """Run ``wrk`` on a CPU; its requests a second. Any error or answer other than 2xx ends the benchmark."""
    output = subprocess.run(pinned(command, cpu), check=True, capture_output=True, text=True).stdout
    if "Non-2xx" in output or "Socket errors" in output:
        raise SystemExit(f"Errors under load, so nothing was measured:\n{output}")
    found = re.search(r"Requests/sec:\s+([0-9.]+)", output)
    assert found is not None
    return float(found[1])
