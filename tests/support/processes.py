"""What the kernel says of a process, by /proc; skipped where there is none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

PROC = Path("/proc")


def children(pid: int) -> set[int]:
    """Its child processes, those that have ended but not been reaped included."""
    _needed()
    found = set()
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            try:
                # The name in parentheses may contain anything.
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue  # it ended a moment ago
            if int(fields[1]) == pid:
                found.add(int(entry.name))
    return found


def descriptors(pid: int) -> dict[str, int]:
    """How many files it has open, by their kind."""
    _needed()
    kinds: dict[str, int] = {}
    for entry in (PROC / str(pid) / "fd").iterdir():
        try:
            target = os.readlink(entry)
        except OSError:
            continue  # closed a moment ago
        kind = target.partition(":")[0] if not target.startswith("/") else target
        kinds[kind] = kinds.get(kind, 0) + 1
    return kinds


def resident_memory(pid: int) -> int:
    """Bytes of it that are in memory."""
    _needed()
    pages = int((PROC / str(pid) / "statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _needed() -> None:
    if not PROC.is_dir():
        pytest.skip("there is no /proc here")
