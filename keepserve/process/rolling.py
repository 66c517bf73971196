"""Replacing workers without a gap: the successors first, then those they replace, one at a time.

A `Roll` is pure bookkeeping; times come in as arguments, and what is to be done is what its methods return.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

from keepserve.process.context import Launch
from keepserve.process.table import Slot, Worker


class Roll:
    """One replacement: of all workers (a reload), or of one (recycling).

    The first successor has to become ready before the others are started, so that an application that cannot start
    costs one attempt. Only when all are ready the old workers are told to leave. Each has ``stagger`` seconds before
    the next one is told, unless it is gone sooner: the balancer's connections move over bit by bit. ``patience`` is
    how long (seconds, 0: for ever) the successors may take.
    """

    def __init__(
        self, launch: Launch, slots: Sequence[Slot], cause: str, now: float, *, patience: float, stagger: float
    ) -> None:
        self.launch = launch
        self.cause = cause
        self.began = now
        self.failed = False
        self._slots = list(slots)
        self._waiting = deque(slots)
        self._successors: dict[Slot, Worker] = {}
        self._leaving: deque[Worker] = deque()
        self._last: Worker | None = None
        self._next_leave = math.inf
        self._patience_ends = now + patience if patience else math.inf
        self._stagger = stagger
        self.committed = False

    @property
    def due(self) -> float:
        """When something is to be done though nothing happens: patience is over, or the next one leaves."""
        return self._next_leave if self.committed else self._patience_ends

    @property
    def successors(self) -> list[Worker]:
        """The new workers there are so far."""
        return list(self._successors.values())

    def slots_to_start(self) -> list[Slot]:
        """The slots whose successors are to be started now; each is named once."""
        if self.committed or self.failed or not self._waiting:
            return []
        if not self._successors:
            return [self._waiting.popleft()]
        if not all(worker.ready for worker in self._successors.values()):
            return []
        slots = list(self._waiting)
        self._waiting.clear()
        return slots

    def started(self, slot: Slot, successor: Worker) -> None:
        """A successor has been started."""
        self._successors[slot] = successor

    def concerns(self, worker: Worker) -> bool:
        """Whether a worker is one of the successors."""
        return self._successors.get(worker.slot) is worker

    @property
    def complete(self) -> bool:
        """All successors are ready."""
        return not self.failed and not self._waiting and all(worker.ready for worker in self._successors.values())

    def commit(self, surplus: Sequence[Worker], now: float) -> None:
        """The successors take over; those before them, and the ``surplus``, are to leave."""
        self.committed = True
        for slot in self._slots:
            if slot.worker is not None:
                self._leaving.append(slot.worker)
            slot.worker, slot.successor = self._successors[slot], None
        self._leaving.extend(surplus)
        self._next_leave = now

    def to_leave(self, now: float) -> Worker | None:
        """The old worker that is to be told to leave now, if any."""
        if not self.committed or not self._leaving:
            return None
        if now < self._next_leave:
            return None
        self._last = self._leaving.popleft()
        self._next_leave = now + self._stagger if self._leaving else math.inf
        return self._last

    def gone(self, worker: Worker, now: float) -> None:
        """A worker has ended, for whatever reason."""
        if self.concerns(worker):
            del self._successors[worker.slot]
        if worker in self._leaving:
            self._leaving.remove(worker)
        if worker is self._last and self._leaving:
            self._next_leave = now

    @property
    def over(self) -> bool:
        """Nothing is left to be done: the last of the old has been told, or the roll has failed."""
        return self.failed or (self.committed and not self._leaving)

    def fail(self) -> list[Worker]:
        """Give up; returns the successors there are, which are to end. The old workers go on."""
        self.failed = True
        for slot in self._slots:
            slot.successor = None
        return self.successors

    def late(self, now: float) -> bool:
        """The successors have had all the time there is."""
        return not self.committed and now >= self._patience_ends
