"""Sockets that a service manager binds and passes on (socket activation, sd_listen_fds(3))."""

from __future__ import annotations

import logging
import os
from collections.abc import MutableMapping
from dataclasses import dataclass

logger = logging.getLogger("keepserve")

FIRST_FD = 3
"""Number of the first descriptor passed (``SD_LISTEN_FDS_START``)."""


@dataclass(frozen=True, slots=True)
class Passed:
    """One descriptor that was passed, and the name that ``FileDescriptorName=`` gave it."""

    fd: int
    name: str


def take_passed(environ: MutableMapping[str, str]) -> list[Passed]:
    """The descriptors that ``LISTEN_FDS`` announces to this process; empty when there are none.

    ``LISTEN_PID``, ``LISTEN_FDS`` and ``LISTEN_FDNAMES`` are taken out of ``environ``: they are not meant for
    our children, who would otherwise take whatever has these numbers. Those meant for another process
    (``LISTEN_PID``) are taken out as well, and left unused.
    """
    pid = environ.pop("LISTEN_PID", "")
    count = environ.pop("LISTEN_FDS", "")
    names = environ.pop("LISTEN_FDNAMES", "")
    if not count or count == "0":
        return []
    if pid != str(os.getpid()):
        logger.debug("Sockets passed to process %s are not used: this is process %d", pid or "(none)", os.getpid())
        return []
    if not (count.isascii() and count.isdigit() and len(count) < 6):
        logger.warning("LISTEN_FDS=%s is not used: expected the number of sockets that are passed", count)
        return []
    given = names.split(":") if names else []
    unnamed = ["unknown"] * (int(count) - len(given))  # what sd_listen_fds_with_names(3) calls them
    return [Passed(FIRST_FD + index, name) for index, name in enumerate([*given, *unnamed][: int(count)])]
