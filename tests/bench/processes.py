"""Programs under measurement: started on cores of their own, looked at by /proc, ended by their process group."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HOST = "127.0.0.1"
_STOP = 10.0
"""Seconds a program has to end by itself."""
PATIENCE = 60.0
"""Seconds a load generator may take longer than it was told to."""


class Unavailable(Exception):
    """Something cannot be measured here; the message is the reason."""


def need(program: str, package: str) -> str:
    """Return where a program is; raise ``Unavailable``, naming its Debian package, when it is not installed."""
    found = shutil.which(program)
    if found is None:
        raise Unavailable(f"{program} is not installed (Debian: apt-get install {package})")
    return found


def pinned(command: list[str], cpus: str) -> list[str]:
    """Return a command that runs on these CPUs (``0`` or ``0,2-3``), where taskset exists."""
    return ["taskset", "-c", cpus, *command] if cpus and shutil.which("taskset") else command


def start(
    command: list[str], cpus: str, output: Path, env: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start a program in a session of its own, from the root of the tree; what it says goes to ``output``."""
    with output.open("ab") as file:
        return subprocess.Popen(
            pinned(command, cpus),
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )


def signal_all(program: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Send a signal to a program and what it started, as far as they still run."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(program.pid, number)


def stop(programs: Iterable[subprocess.Popen[bytes]]) -> None:
    """Ask all of them to end, wait, and kill what is left of each one's session."""
    programs = list(programs)
    for program in programs:
        program.terminate()
        signal_all(program, signal.SIGCONT)
    deadline = time.monotonic() + _STOP
    for program in programs:
        with contextlib.suppress(subprocess.TimeoutExpired):
            program.wait(max(0.1, deadline - time.monotonic()))
        signal_all(program, signal.SIGKILL)
        program.wait(_STOP)


@contextlib.contextmanager
def running(command: list[str], cpus: str, output: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program for a while."""
    program = start(command, cpus, output)
    try:
        yield program
    finally:
        stop([program])


def run_load(command: list[str], cpu: str, seconds: float) -> str:
    """Run a load generator to its end and return what it printed; raise ``Unavailable`` when it fails or hangs."""
    try:
        done = subprocess.run(
            pinned(command, cpu), cwd=ROOT, capture_output=True, text=True, timeout=seconds + PATIENCE, check=False
        )
    except subprocess.TimeoutExpired:
        name = Path(command[0]).name
        raise Unavailable(f"{name} did not end {PATIENCE:.0f} s after it should have") from None
    if done.returncode:
        told = (done.stderr or done.stdout).strip().splitlines()
        raise Unavailable(f"{Path(command[0]).name} failed: {told[-1] if told else f'exit code {done.returncode}'}")
    return done.stdout


def family(pid: int) -> list[int]:
    """A process and its descendants."""
    found, unseen = [], [pid]
    while unseen:
        one = unseen.pop()
        found.append(one)
        for children in Path(f"/proc/{one}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                unseen += map(int, children.read_text().split())
    return found


def cpu_seconds(pid: int) -> float:
    """CPU time a process and its descendants have used, to the nanosecond."""
    total = 0.0
    for one in family(pid):
        with contextlib.suppress(OSError):
            # Linux's clock of another process: its number, inverted, and 2 for "as scheduled".
            total += time.clock_gettime((~one << 3) | 2)
    return total


def resident(pid: int) -> int:
    """Resident memory of a process and its descendants, in bytes."""
    total = 0
    for one in family(pid):
        with contextlib.suppress(OSError):
            total += int(Path(f"/proc/{one}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return total


def last_words(output: Path) -> str:
    """The last line with something in it that a program has said, cut to what a table can hold."""
    lines = [line.strip() for line in output.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1][:160] if lines else "it said nothing"
