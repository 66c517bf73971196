"""What is read from /proc and the control groups; tests give it a copy of both."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from keepserve.process import memory
from tests.process.running import linux

PAGE = os.sysconf("SC_PAGE_SIZE")
MIB = 1024 * 1024


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_where_there_is_nothing_to_read_the_answers_are_empty(tmp_path: Path) -> None:
    assert memory.resident(1, tmp_path) == 0
    assert memory.oom_kills(tmp_path) == 0
    assert memory.headroom(tmp_path) is None
    assert not memory.traced(1, tmp_path)
    memory.prefer_as_victim(tmp_path)
    assert not any(tmp_path.iterdir())


@linux
def test_our_own_size_can_be_told() -> None:
    assert memory.resident(os.getpid()) > 5 * MIB


def test_the_resident_size_is_in_bytes(tmp_path: Path) -> None:
    assert memory.resident(7, write(tmp_path, {"proc/7/statm": "9000 300 20 1 0 8 0\n"})) == 300 * PAGE


@pytest.mark.parametrize(("pid", "traced"), [("0", False), ("4711", True)])
def test_a_debugger_is_seen(tmp_path: Path, pid: str, traced: bool) -> None:
    write(tmp_path, {"proc/7/status": f"Name:\tpython\nTracerPid:\t{pid}\n"})
    assert memory.traced(7, tmp_path) is traced


@pytest.mark.parametrize(
    "files",
    [
        {"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/memory.events": "low 0\noom 5\noom_kill 3\n"},
        {"proc/self/cgroup": "0::/host/x\n", "sys/fs/cgroup/memory.events": "oom_kill 3\n"},
        {
            "proc/self/cgroup": "9:cpu:/x\n4:memory:/x\n",
            "sys/fs/cgroup/memory/x/memory.oom_control": "oom_kill_disable 0\noom_kill 3\n",
        },
    ],
)
def test_oom_kills_of_our_control_group_are_counted(tmp_path: Path, files: dict[str, str]) -> None:
    assert memory.oom_kills(write(tmp_path, files)) == 3


def test_headroom_is_that_of_the_tightest_group_above_us(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "proc/meminfo": f"MemTotal: 9000000 kB\nMemAvailable: {900 * 1024} kB\n",
            "proc/self/cgroup": "0::/a/b\n",
            "sys/fs/cgroup/a/b/memory.max": "max\n",
            "sys/fs/cgroup/a/b/memory.current": str(50 * MIB),
            "sys/fs/cgroup/a/memory.max": str(300 * MIB),
            "sys/fs/cgroup/a/memory.current": str(280 * MIB),
            "sys/fs/cgroup/a/memory.stat": f"anon 1\ninactive_file {30 * MIB}\n",
        },
    )
    assert memory.headroom(tmp_path) == 50 * MIB


def test_without_control_groups_headroom_is_the_machines(tmp_path: Path) -> None:
    assert memory.headroom(write(tmp_path, {"proc/meminfo": "MemAvailable: 1024 kB\n"})) == MIB


@pytest.mark.parametrize(("before", "after"), [("0", "100"), ("-500", "-400"), ("950", "1000")])
def test_a_worker_is_preferred_as_the_kernels_victim(tmp_path: Path, before: str, after: str) -> None:
    memory.prefer_as_victim(write(tmp_path, {"proc/self/oom_score_adj": before + "\n"}))
    assert (tmp_path / "proc/self/oom_score_adj").read_text() == after
