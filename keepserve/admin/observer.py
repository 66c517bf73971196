"""Taking readings of a scoreboard, and remembering what had been counted a few minutes ago."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from keepserve._version import __version__
from keepserve.admin.reading import Reading
from keepserve.config.settings import Settings
from keepserve.telemetry.counters import Tally
from keepserve.telemetry.scoreboard import PID, Scoreboard, snapshot

MEMORY = 300.0
"""Seconds back to what is remembered: for so long what has happened is worth a warning."""

SAMPLE_INTERVAL = 15.0
"""Seconds between two things to remember."""


class Observer:
    """Looks at ``board``. ``settings`` are those the workers have at present; they may be replaced.

    ``listening`` is where the server serves, ``pid`` the supervisor. Clocks: seconds since the epoch, and
    nanoseconds of the monotonic one. ``memory_of`` tells the resident bytes of a process, 0 if it cannot.
    """

    def __init__(
        self,
        board: Scoreboard,
        settings: Settings,
        *,
        listening: tuple[str, ...] = (),
        pid: int = 0,
        wall: Callable[[], float] = time.time,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
        memory_of: Callable[[int], int] = lambda pid: 0,
    ) -> None:
        self.settings = settings
        self._board = board
        self._listening = listening
        self._pid = pid
        self._wall = wall
        self._monotonic_ns = monotonic_ns
        self._memory_of = memory_of
        self._past: deque[tuple[float, Tally]] = deque()

    def remember(self) -> None:
        """Remember what has been counted so far; to be called every `SAMPLE_INTERVAL`."""
        now = self._monotonic_ns() / 1e9
        self._past.append((now, snapshot(self._board).total))
        # One that is old enough is kept, the younger ones are for later.
        while len(self._past) > 1 and self._past[1][0] <= now - MEMORY:
            self._past.popleft()

    def read(self) -> Reading:
        """All that is to be known now."""
        seen = snapshot(self._board)
        monotonic_ns = self._monotonic_ns()
        old = self._past and self._past[0][0] <= monotonic_ns / 1e9 - MEMORY
        pids = [worker.seat[PID] for worker in seen.workers if worker.seat[PID] > 0]
        return Reading(
            snapshot=seen,
            settings=self.settings,
            now=self._wall(),
            monotonic_ns=monotonic_ns,
            memory={pid: size for pid in pids if (size := self._memory_of(pid))},
            version=__version__,
            pid=self._pid,
            listening=self._listening,
            earlier=self._past[0][1] if old else None,
        )
