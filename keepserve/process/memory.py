"""What Linux says about memory: of a process, of our control groups, and whom it killed for want of it.

Everything here is a question that may have no answer (another system, no control groups, no permission): then 0,
None or False, never an error. ``root`` is where ``/proc`` and ``/sys`` are looked for; tests point it at a copy.
"""

from __future__ import annotations

import os
from pathlib import Path

from keepserve.config.cgroups import group_directories

_ROOT = Path("/")

WORKER_OOM_BIAS = 100
"""Added to a worker's ``oom_score_adj``: of the two, a worker can be replaced and the supervisor cannot."""


def resident(pid: int, root: Path = _ROOT) -> int:
    """Bytes of resident memory of a process; 0 when it cannot be told."""
    try:
        return int((root / f"proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


def traced(pid: int, root: Path = _ROOT) -> bool:
    """Whether a debugger (gdb, strace, py-spy) holds the process at this moment."""
    return (_entry(root / f"proc/{pid}/status", "TracerPid:") or 0) != 0


def oom_kills(root: Path = _ROOT) -> int:
    """Processes of our control group that the kernel has killed for want of memory, so far; 0 if unknown."""
    for directory, version in group_directories(root, "memory"):
        count = _entry(directory / ("memory.events" if version == 2 else "memory.oom_control"), "oom_kill")
        if count is not None:
            return count
    return 0


def headroom(root: Path = _ROOT) -> int | None:
    """Bytes that can still be used: of the machine, or of the tightest control group above us; None if unknown."""
    found = []
    available = _entry(root / "proc/meminfo", "MemAvailable:")
    if available is not None:
        found.append(available * 1024)
    for directory, version in group_directories(root, "memory"):
        names = ("max", "current") if version == 2 else ("limit_in_bytes", "usage_in_bytes")
        limit, usage = (_number(directory / f"memory.{name}") for name in names)
        if limit is not None and usage is not None:
            # Pages of files count as used, and are given up when they are needed.
            reclaimable = _entry(directory / "memory.stat", "inactive_file") or 0
            found.append(max(0, limit - usage + reclaimable))
    return min(found, default=None)


def prefer_as_victim(root: Path = _ROOT) -> None:
    """Have the kernel kill this process rather than its parent when memory runs out."""
    path = root / "proc/self/oom_score_adj"
    try:
        path.write_text(str(min(1000, int(path.read_text()) + WORKER_OOM_BIAS)))
    except (OSError, ValueError):
        pass


def _entry(path: Path, name: str) -> int | None:
    try:
        for line in path.read_text().splitlines():
            words = line.split()
            if len(words) >= 2 and words[0] == name:
                return int(words[1])
    except (OSError, ValueError):
        pass
    return None


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())  # "max" is no number, and no limit
    except (OSError, ValueError):
        return None
