"""The graceful end of a worker: what each phase of `keepserve.server.phases` means for connections and requests.

The phases themselves are arithmetic on a clock; here they are followed: listeners close, connections are told,
applications are told and then cancelled, and one line in the log says what became of all of them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol, cast

from keepserve.asgi.exchange import DONE, Exchange
from keepserve.config.durations import format_duration
from keepserve.server.phases import Course, Left, Phase, Times
from keepserve.server.state import Forerunner, WorkerState
from keepserve.telemetry.reasons import CloseReason

logger = logging.getLogger("keepserve")

_BY_PEER = (CloseReason.PEER_CLOSED, CloseReason.PEER_LEFT, CloseReason.PEER_RESET)


class Listeners(Protocol):
    """What a drain needs of the listening sockets."""

    @property
    def pending(self) -> object:
        """True while accepted connections are still being made, in a TLS handshake for instance."""

    def close(self, *, empty: bool) -> None:
        """Stop accepting; ``empty``: first take everybody who waits in the kernel's queue."""


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass


class Drain:
    """Ends a worker: begun by ``stop`` or ``leave``, followed to its end by ``run``.

    ``wait`` sleeps until an event is set, or so many seconds; the clock is the worker's. A test may do without
    ``run``: it moves the clock and calls ``look``. All methods belong to the loop's thread.
    """

    def __init__(
        self,
        state: WorkerState,
        listeners: Listeners,
        *,
        wait: Callable[[asyncio.Event, float], Awaitable[None]] = _wait,
    ) -> None:
        self._state = state
        self._listeners = listeners
        self._wait = wait
        self._times = Times.of(state.settings)
        self._course = Course(self._times)
        self._wake = asyncio.Event()
        self._closed_before: dict[CloseReason, int] = {}
        self._early: list[Exchange] = []
        """In a leave: the requests that ran when it began."""
        self._early_tasks: set[asyncio.Task[None]] = set()
        self._lost: set[asyncio.Task[None]] = set()
        """Applications that were given up: they do not end, and nobody waits for them."""
        self._cut = 0

    @property
    def phase(self) -> Phase:
        """How far it has come."""
        return self._course.phase

    def stop(self, *, interactive: bool = False) -> None:
        """The server stops; ``interactive``: somebody sits at the terminal and waits."""
        now = self._state.clock()
        self._course.stop(now, interactive=interactive)
        self._begun(now)

    def leave(self, *, interactive: bool = False) -> None:
        """This worker goes, its siblings serve on: its connections stay usable until their peers let go of them.

        ``interactive``: those that are idle are closed at once.
        """
        now = self._state.clock()
        self._course.leave(now, interactive=interactive)
        self._begun(now)

    def hurry(self) -> None:
        """Cancel what still runs and end within a second."""
        now = self._state.clock()
        self._course.hurry(now)
        self._begun(now)

    async def run(self) -> None:
        """Follow the course to its end."""
        while self._course.phase != Phase.OVER:
            self._wake.clear()
            await self._wait(self._wake, max(0.0, self._course.next_look - self._state.clock()))
            self.look()

    def look(self) -> None:
        """Do what the time, and what is left, ask for."""
        self._state.batch.begin()  # what has been read is not left out of what is counted and cancelled
        course, now = self._course, self._state.clock()
        for phase in course.early(now):
            self._end_early(phase)
        while course.advance(now, self._left):
            self._enter(course.phase, now)

    @property
    def _left(self) -> Left:
        state = self._state
        requests = len(state.tasks - self._lost) if self._lost else len(state.tasks)
        return Left(len(state.connections) + bool(self._listeners.pending), requests)

    def _begun(self, now: float) -> None:
        """Somebody wants an end, for the first time or sooner than before."""
        self._state.batch.begin()
        state, course = self._state, self._course
        state.leaving = course.leaving
        state.idle_grace = course.idle_grace
        if state.phase == Phase.SERVING:
            state.on_quiet = self._quieter
            self._closed_before = state.closed
            self._enter(course.phase, now)
        elif state.phase >= Phase.CLOSING:
            self._tell_connections(now)
        self.look()
        self._wake.set()

    @property
    def _word(self) -> str:
        return "Leaving" if self._course.leaving else "Stopping"

    def _quieter(self) -> None:
        state = self._state
        if not state.tasks or not state.connections:
            self._wake.set()

    # The phases.

    def _enter(self, phase: Phase, now: float) -> None:
        state = self._state
        state.phase = phase
        if phase == Phase.LAME_DUCK:
            self._lame_duck(now)
        elif phase == Phase.CLOSING:
            self._close(now)
        elif phase == Phase.LIMIT:
            self._limit(now)
        elif phase == Phase.CANCEL:
            self._cancel(state.tasks)
        elif phase == Phase.CUT:
            self._cancel(state.tasks)  # those that began since
            for connection in list(state.connections):
                connection.cut()
        elif phase == Phase.DROP:
            for connection in list(state.connections):
                connection.abort()
        elif phase == Phase.OVER:
            state.on_quiet = None
            logger.info("%s", self._summary(now))

    def _lame_duck(self, now: float) -> None:
        seconds = self._course.ends_at(Phase.LAME_DUCK) - now
        if seconds <= 0:
            return
        logger.info(
            "Stopping: lame duck for %s; requests are accepted and served, and told to go elsewhere from now on",
            format_duration(seconds),
        )
        self._tell_connections(now)

    def _close(self, now: float) -> None:
        state, leaving = self._state, self._course.leaving
        if leaving:
            self._early = [one for connection in state.connections for one in connection.exchanges]
            self._early_tasks = set(state.tasks)
        state.idle_until = now + state.idle_grace
        state.capacity.close()  # nobody comes any more, and who is here has a grace
        self._listeners.close(empty=not leaving)
        self._tell_connections(now)
        state.farewell.give()
        if state.connections or state.pending or state.tasks:
            logger.info(
                "%s: %d connections, %d running requests; closing, %s at most",
                self._word,
                len(state.connections),
                len(state.tasks),
                format_duration(max(0.0, self._course.ends_at(Phase.CLOSING) - now)),
            )

    def _tell_connections(self, now: float) -> None:
        state = self._state
        state.idle_until = min(state.idle_until, now + state.idle_grace)
        for connection in list(state.connections):
            connection.drain(now)
        if state.phase >= Phase.CLOSING:
            for making in list(state.pending.values()):
                if not isinstance(making, asyncio.Future):
                    cast(Forerunner, making).drain(now)

    def _limit(self, now: float) -> None:
        state = self._state
        running = len(state.tasks)
        if state.waiting is not None:
            self._cut += len(state.waiting)
            state.waiting.close()
        self._tell(one for connection in list(state.connections) for one in list(connection.exchanges))
        if running:
            logger.warning(
                "%s: limit; %d requests still run, and have %s to clean up",
                self._word,
                running,
                format_duration(self._course.ends_at(Phase.CANCEL) - now),
            )

    def _end_early(self, phase: Phase) -> None:
        """In a leave: the requests that ran when it began have had their time, the connections have not."""
        if phase == Phase.LIMIT:
            self._early_tasks &= self._state.tasks
            if self._early_tasks:
                logger.warning(
                    "%s: limit; %d requests still run, and have %s to clean up",
                    self._word,
                    len(self._early_tasks),
                    format_duration(self._times.cancel),
                )
            self._tell(self._early)
        elif phase == Phase.CANCEL:
            self._early_tasks &= self._state.tasks
            self._cancel(self._early_tasks)
        else:
            for exchange in self._early:
                if exchange.phase != DONE:
                    exchange.cut()
            self._lost = self._early_tasks & self._state.tasks
            self._early = []
            self._early_tasks = set()

    def _tell(self, exchanges: Iterable[Exchange]) -> None:
        """Tell applications that nobody listens any longer; requests that still wait for theirs never begin."""
        for exchange in exchanges:
            if exchange.task is not None:
                exchange.leave_alone()
            elif exchange.phase != DONE:
                self._cut += 1
                exchange.cut()

    def _cancel(self, tasks: Iterable[asyncio.Task[None]]) -> None:
        for task in list(tasks):
            if task not in self._state.cut:
                self._cut += 1
                self._state.cut_off(task)

    def _summary(self, now: float) -> str:
        """One line: how long it took, and what became of requests and connections."""
        state = self._state
        closed = {reason: count - self._closed_before[reason] for reason, count in state.closed.items()}
        by_peer = sum(closed.pop(reason) for reason in _BY_PEER)
        by_us = sum(closed.values())
        reasons = ", ".join(f"{count} {reason.value}" for reason, count in closed.items() if count)
        return (
            f"{'Left' if self._course.leaving else 'Stopped'} in {now - self._course.began:.1f} s: "
            f"{state.finished} requests finished, {self._cut} cut; "
            f"{by_peer} connections closed by the peer, {by_us} by us" + (f" ({reasons})" if reasons else "")
        )
