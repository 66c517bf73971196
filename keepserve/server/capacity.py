"""How many connections a worker keeps, and how it makes room when they become too many.

Three marks on the way up. Above 94 % of the limit idle connections are closed, those idle for longest first, and
busy ones are told with their response that it is the last; so there is room for whoever comes next. At the limit
accepting stops, and who connects waits in the kernel's queue. At 90 % it goes on.

The kernel may run out of descriptors before: the application has files, too. Then the number of connections there
are becomes the limit, and rises again by and by.
"""

from __future__ import annotations

import heapq
import logging
import resource
from collections.abc import Callable, Collection
from typing import Protocol

from keepserve.server.wheel import Wheel
from keepserve.wire.engine import NEVER

logger = logging.getLogger("keepserve")

OTHER_DESCRIPTORS = 64
"""Open files that are not connections: listeners, logs, pipes, the loop's own, and a few of the application's."""

FEW = 256
"""A limit below this, if it comes from the limit on open files, is mentioned at the start: it was hardly meant."""

_CROWDED, _RELIEVED = 94, 90
"""Per cent of the limit: above the one room is made, at the other accepting goes on."""

FRESH = 1.0
"""Seconds a connection must have been idle to be closed for want of room.

A client that has just connected, or has just got an answer, most likely sends a request at once: it would meet
the close. In a flood of connections this is how long a place is held by one that never says anything.
"""

LOOK_INTERVAL = 0.5
"""Seconds between two looks for connections that may be closed, while room is wanting."""

RECOVERY_INTERVAL = 10.0
"""Seconds without want of descriptors after which the limit rises again, by a twentieth of what it was."""

REPORT_INTERVAL = 10.0
"""Seconds between two lines in the log."""


class Guest(Protocol):
    """What is to be known of a connection."""

    number: int
    """The how manieth of the worker's it is: among those idle for equally long, who came first goes first."""

    @property
    def idle_since(self) -> float:
        """Since when it has been without a request; ``inf``: it has one."""

    @property
    def leaving(self) -> bool:
        """It is about to end."""

    def make_room(self, now: float) -> None:
        """End if idle, else end with the response that is under way if the protocol can say so."""


class Door(Protocol):
    """Where connections come in."""

    def pause(self) -> None:
        """Accept none."""

    def resume(self) -> None:
        """Accept again."""


def open_files_limit() -> int:
    """How many files this process may have open; 0: any number."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return 0 if soft == resource.RLIM_INFINITY else soft


def connection_limit(wanted: int | None, files: int) -> int:
    """Return how many connections a worker keeps: ``wanted``, at most what ``files`` (0: any number) leaves."""
    possible = max(1, files - OTHER_DESCRIPTORS) if files else 2**62
    return min(wanted, possible) if wanted is not None else possible


class Capacity:
    """Makes room among ``connections`` and closes the ``door`` when there is none.

    ``count`` gives the number of connections, those included that are not in ``connections`` yet because their
    TLS handshake goes on; without it those count that are. All times are seconds of the ``wheel``'s clock.
    """

    def __init__(
        self,
        connections: Collection[Guest],
        wheel: Wheel,
        clock: Callable[[], float],
        wanted: int | None,
        files: int,
        *,
        count: Callable[[], int] | None = None,
    ) -> None:
        self.slot = -1
        self.door: Door | None = None
        self.paused = False
        """The door is, by our will."""
        self.closed = False
        """The server is stopping, and ends its connections by itself."""
        self._connections = connections
        self._count = count if count is not None else lambda: len(connections)
        self._wheel = wheel
        self._clock = clock
        self._wanted = wanted
        self._files = files
        self._configured = connection_limit(wanted, files)
        self._on_wheel = False
        self._next_look = NEVER
        self._not_before = -NEVER
        """Out of descriptors: a second try before this time would most likely fail like the first."""
        self._recovers_at = NEVER
        self._next_report = -NEVER
        self._asked_to_leave = 0
        self._shortages = 0
        self._pauses = 0
        self._set_limit(self._configured)

    def _set_limit(self, limit: int) -> None:
        self.limit = limit
        """Connections the worker keeps at present."""
        self.crowded = self.watch = limit * _CROWDED // 100
        """Above ``crowded`` room is made. ``enter`` wants to be called for a connection above ``watch``."""
        self.relieved = limit * _RELIEVED // 100
        self.batch = max(1, limit // 100)
        """Connections closed at once at least, so that many accepts share one look at all connections."""

    def explain(self) -> None:
        """Say so at the start when the limit is a strange one."""
        possible = connection_limit(None, self._files)
        if self._wanted is not None and self._wanted > possible:
            logger.warning(
                "limit_connections is %d, but at most %d files may be open, which leaves %d connections to this "
                "worker. Raise the limit on open files (ulimit -n, LimitNOFILE=) to %d or more.",
                self._wanted,
                self._files,
                possible,
                self._wanted + OTHER_DESCRIPTORS,
            )
        elif self._wanted is None and possible < FEW:
            logger.warning(
                "At most %d files may be open, which leaves %d connections to this worker. Raise the limit on "
                "open files (ulimit -n, LimitNOFILE=), or set limit_connections if it is meant to be that low.",
                self._files,
                possible,
            )

    # What happens.

    def enter(self) -> None:
        """There is one connection more: above ``watch``, see that there is room for others."""
        count = self._count()
        if self.closed or count <= self.watch:
            return
        now = self._clock()
        if count >= self.limit:
            self._pause()
        self._look(now)
        self._attend(now)

    def left(self) -> None:
        """There is one connection less. To be called while ``paused``."""
        if self._clock() >= self._not_before:
            self._resume_if_relieved()

    def exhausted(self) -> None:
        """The kernel has no descriptor left for another connection (EMFILE, ENFILE). The door is paused."""
        now = self._clock()
        self._set_limit(max(1, min(self.limit, self._count())))
        self._shortages += 1
        self._recovers_at = now + RECOVERY_INTERVAL
        if self.closed:
            return
        self._pause()
        self._look(now)
        self._not_before = now + LOOK_INTERVAL
        self._attend(now)

    def close(self) -> None:
        """The server is stopping: leave connections and the door alone."""
        self.closed = True
        self.paused = False

    # For the wheel.

    def settle(self, now: float) -> float:
        """Return when to look again."""
        return self._deadline()

    def expire(self, now: float) -> float:
        """Look again if it is time: whether there is room now, what can be closed, what is to be said."""
        if now >= self._recovers_at and not self.closed:
            self._recover(now)
        if now >= self._next_look:
            self._next_look = NEVER
            self._resume_if_relieved()
            if not self.closed and (self.paused or self._count() > self.crowded):
                self.watch = self.crowded
                self._look(now)
        self._report(now)
        return self._deadline()

    def _deadline(self) -> float:
        deadline = min(self._next_look, self._recovers_at) if not self.closed else NEVER
        if self._news:
            deadline = min(deadline, self._next_report)
        if deadline == NEVER:
            self._on_wheel = False
            self._wheel.forget(self)
        return deadline

    def _attend(self, now: float) -> None:
        self._report(now)
        if self._on_wheel:
            self._wheel.touched.append(self)  # the next look may be sooner than what it was told
        else:
            self._on_wheel = True
            self._wheel.add(self)

    # Making room.

    def _look(self, now: float) -> None:
        """Close the connections that have been idle for longest, as many as are too many; one look at all."""
        count = self._count()
        target = self.relieved if self.paused else self.crowded + 1 - self.batch
        surplus = count - max(0, target)
        idle: list[tuple[float, int, Guest]] = []
        busy: list[Guest] = []
        for connection in self._connections:
            if connection.leaving:
                surplus -= 1
            elif (since := connection.idle_since) == NEVER:
                busy.append(connection)
            elif now - since >= FRESH:
                idle.append((since, connection.number, connection))
        chosen = heapq.nsmallest(surplus, idle) if surplus > 0 else []
        for _, _, connection in chosen:
            connection.make_room(now)
        for connection in busy:
            connection.make_room(now)
        self._asked_to_leave += len(chosen)
        # If there was nothing to close, look again only when there are more, or in a moment.
        self.watch = max(self.crowded, count - len(chosen) + self.batch - 1)
        self._next_look = now + LOOK_INTERVAL

    def _pause(self) -> None:
        if not self.paused:
            self.paused = True
            self._pauses += 1
            if self.door is not None:
                self.door.pause()

    def _resume_if_relieved(self) -> None:
        if self.paused and self._count() <= self.relieved:
            self.paused = False
            self.watch = self.crowded
            if self.door is not None:
                self.door.resume()

    def _recover(self, now: float) -> None:
        self._set_limit(min(self._configured, self.limit + max(1, self._configured // 20)))
        self._recovers_at = now + RECOVERY_INTERVAL if self.limit < self._configured else NEVER
        self._resume_if_relieved()

    # The log.

    @property
    def _news(self) -> int:
        return self._asked_to_leave + self._pauses + self._shortages

    def _report(self, now: float) -> None:
        if not self._news or now < self._next_report:
            return
        self._next_report = now + REPORT_INTERVAL
        done = f"{self._asked_to_leave} idle ones were closed to make room"
        if self._pauses:
            done += "; accepting is paused" if self.paused else "; accepting was paused for a while"
        files = self._files or "unlimited"
        if self._shortages:
            logger.warning(
                "No further connection can be accepted at %d, fewer than the %d there should be room for: the "
                "application, or the rest of the system, holds the descriptors. %s. Raise the limit on open files "
                "(ulimit -n, LimitNOFILE=; now %s), or set limit_connections to less than %d.",
                self._count(),
                self._configured,
                done,
                files,
                self.limit,
            )
        else:
            logger.warning(
                "%d connections are open, of at most %d: %s. To allow more, raise the limit on open files "
                "(ulimit -n, LimitNOFILE=; now %s)%s.",
                self._count(),
                self.limit,
                done,
                files,
                f" and limit_connections (now {self._wanted})" if self._wanted is not None else "",
            )
        self._asked_to_leave = self._pauses = self._shortages = 0
