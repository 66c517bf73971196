"""Whether the terminal we were started from is still there: what a SIGHUP means depends on it."""

from __future__ import annotations

import errno
import os


class Terminal:
    """The controlling terminal at the time of creation, if there was one."""

    def __init__(self) -> None:
        self._present = _has_terminal()

    def hung_up(self) -> bool:
        """True when there was a terminal and it is gone (its window was closed, its connection was lost)."""
        return self._present and not _has_terminal()

    def in_background(self) -> bool:
        """True when there is a terminal and another job has it: it may then send SIGTTIN and SIGTTOU itself."""
        if not self._present:
            return False
        try:
            terminal = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
        except OSError:
            return False
        try:
            return os.tcgetpgrp(terminal) != os.getpgrp()
        except OSError:
            return False
        finally:
            os.close(terminal)


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError as error:
        # Not ENXIO or EIO: there may be one that we are not allowed to open, which is as good as present.
        return error.errno not in (errno.ENXIO, errno.EIO, errno.ENOENT)
    return True
