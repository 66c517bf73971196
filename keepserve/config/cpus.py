"""How many CPUs this process may really use: what ``--workers auto`` means.

Inside a container ``os.cpu_count()`` counts the host's CPUs. What limits us is the affinity mask
(``cpuset``) and the CFS quota of the control group, and a quota can sit on any ancestor group.
Kernel documentation: admin-guide/cgroup-v2 (``cpu.max``), scheduler/sched-bwc (``cpu.cfs_quota_us``).
"""

from __future__ import annotations

import math
import os
from pathlib import Path

from keepserve.config.cgroups import group_directories


def usable_cpus(root: Path = Path("/")) -> int:
    """CPUs this process may use, at least 1: the smaller of affinity and control-group quota (rounded up).

    ``root`` is where ``/proc`` and ``/sys`` are looked for; tests point it at a copy.
    """
    count = _affinity()
    quota = cgroup_quota(root)
    if quota is not None:
        # Rounded up: with 1.5 CPUs two workers can use all of it, one cannot.
        count = min(count, math.ceil(quota))
    return max(1, count)


def _affinity() -> int:
    # macOS has no affinity masks.
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cgroup_quota(root: Path = Path("/")) -> float | None:
    """The smallest CPU quota (in CPUs, e.g. 1.5) of our control group and its ancestors; None without one."""
    readers = {1: _v1_quota, 2: _v2_quota}
    quotas = (readers[version](directory) for directory, version in group_directories(root, "cpu"))
    return min((quota for quota in quotas if quota), default=None)


def _v2_quota(directory: Path) -> float | None:
    try:
        quota, period = (directory / "cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _v1_quota(directory: Path) -> float | None:
    try:
        quota = int((directory / "cpu.cfs_quota_us").read_text())
        period = int((directory / "cpu.cfs_period_us").read_text())
        return quota / period if quota > 0 else None
    except (OSError, ValueError, ZeroDivisionError):
        return None
