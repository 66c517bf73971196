"""Where the control groups of this process are, ours first, then those above it.

A limit can sit on any of them. Kernel documentation: admin-guide/cgroup-v2, and admin-guide/cgroup-v1.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath


def group_directories(root: Path, controller: str) -> Iterator[tuple[Path, int]]:
    """Directories to look for a ``controller``'s files in, each with the version (1 or 2) of its hierarchy.

    ``root`` is where ``/proc`` and ``/sys`` are looked for. They need not exist. Nothing where there are no
    control groups.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    hierarchies = root / "sys/fs/cgroup"
    mounts: tuple[Path, ...]
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if controllers == "":
            mounts, version = (hierarchies,), 2
        elif controller in controllers.split(","):
            mounts, version = tuple(hierarchies / name for name in dict.fromkeys((controller, controllers))), 1
        else:
            continue
        # In a container the path is often the host's and missing here; our own group is then the mount itself.
        path = PurePosixPath(group.lstrip("/"))
        for mount in mounts:
            for step in (path, *path.parents):
                if ".." not in step.parts:
                    yield mount / step, version
