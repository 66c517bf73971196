"""Signals as bytes on a pipe, so that the supervisor handles them in its loop and nowhere else."""

from __future__ import annotations

import os
import signal
from types import FrameType
from typing import Any

HANDLED = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGTTIN,
    signal.SIGTTOU,
    signal.SIGCHLD,
)
"""Explicit handlers for all of them: as PID 1 a process without a handler does not get the signal at all."""

_NOT_FOR_CHILDREN = tuple(one for one in HANDLED if one not in (signal.SIGTERM, signal.SIGCHLD))
"""What a terminal, or a ``pkill``, sends to the whole group: workers hear of it from the supervisor."""


def no_op(signum: int, frame: FrameType | None) -> None:
    """Handler that does nothing. Unlike SIG_IGN it is not inherited by programs the application starts."""


class SignalInbox:
    """While entered, collects the `HANDLED` signals of this process; main thread only.

    The C-level handler writes each signal's number to a pipe (``signal.set_wakeup_fd``), so waiting for
    ``fileno()`` to become readable misses none. SIGHUP stays ignored if it was (``nohup``).
    """

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        self._before: dict[signal.Signals, Any] = {}
        self._wakeup = -1

    def __enter__(self) -> SignalInbox:
        self._wakeup = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for one in HANDLED:
            if one is not signal.SIGHUP or signal.getsignal(one) is not signal.SIG_IGN:
                # None stands for a handler installed by C code; it cannot be put back from here.
                self._before[one] = signal.signal(one, no_op) or signal.SIG_DFL
        return self

    def __exit__(self, *_: object) -> None:
        for one, handler in self._before.items():
            signal.signal(one, handler)
        signal.set_wakeup_fd(self._wakeup)
        self.close()

    def close(self) -> None:
        """Close the pipe; in a forked child this leaves the parent's alone."""
        os.close(self._read)
        os.close(self._write)

    def fileno(self) -> int:
        """The descriptor that becomes readable."""
        return self._read

    def read(self) -> list[int]:
        """The signals that came since the last call, in order."""
        try:
            return list(os.read(self._read, 4096))
        except BlockingIOError:
            return []


def reset_in_child() -> None:
    """Give a forked child its own dispositions: defaults, and deafness to what is sent to all."""
    signal.set_wakeup_fd(-1)
    for one in HANDLED:
        if one not in _NOT_FOR_CHILDREN:
            signal.signal(one, signal.SIG_DFL)
        elif signal.getsignal(one) is not signal.SIG_IGN:
            signal.signal(one, no_op)
