"""Requests that one turn of the loop has brought: all of them are read, then one application after the other begins.

Reading and running in turns keeps code in the processor's caches: an application that began as soon as its request
was read cost a framework a quarter. But a task of the next turn for each of them cost a tiny application 7 % with 64
connections, and 30 % with 1,000, whose first request has left the caches when the last is read (a framework: 10 %).
So batches are bounded, and applications begin where they are started. (CPython 3.13.5, one core, wrk. Before Python
3.12 no task can begin at once, and there are no batches.)
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from keepserve.asgi.exchange import Exchange
from keepserve.server.queueing import OnEnd
from keepserve.server.running import run_application_now
from keepserve.telemetry.scoreboard import RUNNING

if TYPE_CHECKING:
    from keepserve.server.state import WorkerState

MOST = 64
"""Requests in a batch. 16 and 32 measured the same within the noise."""


class Batch:
    """The requests that wait for the others of their turn; one for all connections of a worker.

    They count as running (``len``): who reads what this worker is at, or gives its places away, need not know that
    an application has not begun yet.
    """

    __slots__ = ("_beginning", "_due", "_state", "_waiting")

    def __init__(self, state: WorkerState) -> None:
        self._state = state
        self._beginning = self._due = False
        self._waiting: deque[tuple[Exchange, dict[str, Any], OnEnd]] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, exchange: Exchange, scope: dict[str, Any], on_end: OnEnd) -> None:
        """Have an application begin when the loop has turned, or before, if so many more have come.

        Never in here: its connection is still reading, and an application that ends may make way for the next.
        """
        if len(self._waiting) >= MOST:
            self.begin()
        if not self._due:
            self._begin_later()
        self._waiting.append((exchange, scope, on_end))

    def _begin_later(self) -> None:
        self._due = True
        self._state.loop.call_soon(self._begin_in_turn)

    def _begin_in_turn(self) -> None:
        self._due = False
        self.begin()

    def begin(self) -> None:
        """Have the applications of all that wait begin, in the order in which their requests came.

        Called by one of these applications it does nothing: the others are about to begin anyway.
        """
        if self._beginning:
            return
        state, waiting = self._state, self._waiting
        self._beginning = True
        try:
            for _ in range(len(waiting)):  # what comes meanwhile has a turn of its own
                state.seat[RUNNING] = len(state.tasks) + len(waiting)  # should the process end in here
                run_application_now(state, *waiting.popleft())
        finally:
            self._beginning = False
            state.seat[RUNNING] = len(state.tasks) + len(waiting)
            if waiting and not self._due:
                self._begin_later()  # one could not even begin, which concerns no other
