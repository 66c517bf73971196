"""What is read of processes and sockets, and what becomes of programs that fail."""

from __future__ import annotations

import mmap
import os
import socket
import sys
import time
from pathlib import Path

import pytest

from tests.bench import processes
from tests.bench.idle import _has_ended
from tests.bench.processes import Unavailable, cpu_seconds, family, need, pinned, resident, run_load

needs_proc = pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="there is no /proc here")


@needs_proc
def test_cpu_time_is_that_of_the_process() -> None:
    before, began = cpu_seconds(os.getpid()), time.process_time()
    while time.process_time() < began + 0.02:
        pass
    assert 0.02 <= cpu_seconds(os.getpid()) - before < 5


@needs_proc
def test_memory_that_is_used_is_resident() -> None:
    before = resident(os.getpid())
    with mmap.mmap(-1, 8 << 20) as used:  # of the kernel, and not what something else has just given back
        for _ in range(8):
            used.write(b"x" * (1 << 20))
        assert resident(os.getpid()) - before > len(used) // 2


@needs_proc
def test_a_process_is_of_its_own_family_and_one_that_is_gone_costs_nothing() -> None:
    assert os.getpid() in family(os.getpid())
    gone = 2**22 + 1  # above the kernel's largest
    assert (cpu_seconds(gone), resident(gone)) == (0.0, 0)


def test_a_program_that_is_missing_is_named_with_its_package() -> None:
    with pytest.raises(Unavailable, match=r"no-such-wrk is not installed \(Debian: apt-get install wrk\)"):
        need("no-such-wrk", "wrk")


def test_programs_are_pinned_only_when_a_cpu_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: f"/bin/{name}")
    assert pinned(["wrk"], "0,2") == ["taskset", "-c", "0,2", "wrk"]
    assert pinned(["wrk"], "") == ["wrk"]


def test_a_load_generator_that_fails_says_why() -> None:
    with pytest.raises(Unavailable, match="failed: no route to host"):
        run_load([sys.executable, "-Sc", "raise SystemExit('no route to host')"], "", 1)


def test_a_load_generator_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "PATIENCE", 0.05)
    with pytest.raises(Unavailable, match="did not end"):
        run_load([sys.executable, "-Sc", "import time; time.sleep(60)"], "", 0)


def test_a_connection_that_pings_lives_and_one_that_says_goodbye_has_ended() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"a ping")
        assert not _has_ended(ours)
        theirs.sendall(b"another")
        theirs.shutdown(socket.SHUT_WR)
        assert _has_ended(ours)
