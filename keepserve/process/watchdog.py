"""Which worker hangs: its event loop has not turned for ``worker_timeout``.

Workers write down the time whenever their loop turns (`keepserve.telemetry.scoreboard.BEAT`). A thread that
answers for a blocked loop would prove nothing, and a loop kept busy by native code for a few seconds is no reason
to kill: the limit is long.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TypeVar

BEAT_INTERVAL = 1.0
"""Seconds between two beats of a worker, at most."""

KILL_PAUSE = 10.0
"""Seconds between two workers ended for hanging: if all hang, the reason is elsewhere, and killing makes it worse."""

LATE = 2.0
"""Seconds by which we may be late ourselves before nobody else is held to be."""

Named = TypeVar("Named")


def beat_interval(timeout: float) -> float:
    """Seconds between two beats for a ``worker_timeout`` (0: nobody is ended for hanging)."""
    return min(BEAT_INTERVAL, timeout / 4) if timeout else BEAT_INTERVAL


class Watchdog:
    """Finds the worker that hangs. ``timeout`` in seconds, 0 for never; times come in as arguments.

    ``due`` is when to `look` next; in between nobody needs to wake up.
    """

    def __init__(self, timeout: float) -> None:
        self.due = math.inf
        self._timeout = timeout
        self._since = -math.inf
        self._last = -math.inf

    def watch(self, now: float) -> None:
        """Another worker is to be watched from now on."""
        if self._timeout:
            self.due = min(self.due, now + self._timeout)

    def look(self, now: float, beats: Iterable[tuple[Named, float]]) -> Named | None:
        """The worker that is to be ended now, if any: of ``(who, time of its last beat)`` the longest silent.

        If we are late ourselves, we were stopped (SIGSTOP, a frozen container, a machine without a CPU to spare),
        and so were they: everybody's time then begins anew.
        """
        if now < self.due:
            return None
        if now - self.due > LATE:
            self._since = now
        silent = [(max(beat, self._since), who) for who, beat in beats]
        if not silent:
            self.due = math.inf
            return None
        beat, who = min(silent, key=lambda one: one[0])
        if now - beat < self._timeout:
            self.due = beat + self._timeout
            return None
        if now - self._last < KILL_PAUSE:
            self.due = self._last + KILL_PAUSE
            return None
        self._last = now
        self.due = now + min(KILL_PAUSE, self._timeout)
        return who
