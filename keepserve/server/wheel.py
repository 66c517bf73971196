"""One clock for all connections of a worker: no timer object per connection, none per request.

A connection that had any traffic is put on a list, once; the next tick visits those on the list,
asks each for its deadline and files it under the tick at which that deadline has surely passed.
Deadlines that move later cost nothing: the connection is found at its old place, asked again and
filed anew. So a request costs one flag test, and ten thousand idle connections cost nothing until
their time has come.

A tick also is the moment at which "everything was flushed" is noticed, which is what starts an idle
clock: late by a tick at the most, never early.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable
from typing import Protocol

logger = logging.getLogger("keepserve")

TICK = 0.1
"""Seconds between two looks at the clock: how late a deadline may be noticed."""


class Timed(Protocol):
    """What the wheel knows of a connection."""

    slot: int
    """The tick it is filed under, or -1; the wheel's own."""

    def settle(self, now: float) -> float:
        """Look at what became of recent traffic and return the next deadline (``inf``: none)."""

    def expire(self, now: float) -> float:
        """Act on a deadline that may have passed and return the next one."""


class Wheel:
    """Deadlines in seconds of one monotonic clock, filed by ticks of ``tick`` seconds.

    ``on_tick`` is called with the time at each tick, before anything else. The wheel turns only
    while there is something on it.
    """

    def __init__(
        self,
        *,
        tick: float = TICK,
        clock: Callable[[], float] = time.monotonic,
        on_tick: Callable[[], None] | None = None,
    ) -> None:
        self.touched: list[Timed] = []
        self._tick = tick
        self._clock = clock
        self._on_tick = on_tick
        self._slots: dict[int, set[Timed]] = {}
        self._done = math.floor(clock() / tick)
        self._handle: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._population = 0

    def turn(self, loop: asyncio.AbstractEventLoop) -> None:
        """Turn on this loop from now on, whenever there is something to time."""
        self._loop = loop
        self._ensure()

    def stop(self) -> None:
        """Turn no more."""
        self._loop = None
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def add(self, timed: Timed) -> None:
        """Take a new connection in; it is asked for its deadline at the next tick."""
        self._population += 1
        self.touched.append(timed)
        self._ensure()

    def forget(self, timed: Timed) -> None:
        """Let a connection go, with everything that was filed for it."""
        self._population -= 1
        if timed.slot >= 0:
            self._unfile(timed)

    def sweep(self, now: float) -> None:
        """Visit what had traffic, then act on every deadline that has passed at ``now``."""
        touched, self.touched = self.touched, []
        for timed in touched:
            try:
                self._file(timed, timed.settle(now))
            except Exception:
                logger.exception("A connection failed while its clocks were set; the others go on")
        current = math.floor(now / self._tick)
        if current - self._done > len(self._slots):
            due = sorted(slot for slot in self._slots if slot <= current)
        else:
            due = [slot for slot in range(self._done + 1, current + 1) if slot in self._slots]
        self._done = current
        for slot in due:
            for timed in self._slots.pop(slot):
                timed.slot = -1
                try:
                    self._file(timed, timed.expire(now))
                except Exception:
                    logger.exception("A connection failed when its time had come; the others go on")

    def _file(self, timed: Timed, deadline: float) -> None:
        if deadline == math.inf:
            # It stays where it is filed, if it is: it will be asked again then, which costs less than moving it.
            return
        # The first tick at or after the deadline; never one that has been dealt with already.
        slot = max(math.ceil(deadline / self._tick), self._done + 1)
        if timed.slot < 0:
            pass
        elif slot >= timed.slot:
            return
        else:
            self._unfile(timed)
        timed.slot = slot
        self._slots.setdefault(slot, set()).add(timed)

    def _unfile(self, timed: Timed) -> None:
        members = self._slots.get(timed.slot)
        if members is not None:
            members.discard(timed)
            if not members:
                del self._slots[timed.slot]
        timed.slot = -1

    def _ensure(self) -> None:
        if self._handle is None and self._loop is not None and self._population > 0:
            if self._on_tick is not None:
                self._on_tick()
            self._handle = self._loop.call_later(self._tick, self._turn_once)

    def _turn_once(self) -> None:
        self._handle = None
        if self._on_tick is not None:
            self._on_tick()
        try:
            self.sweep(self._clock())
        finally:
            self._ensure()
