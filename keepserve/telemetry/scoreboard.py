"""Shared memory in which every worker writes down how it is, by plain integer stores.

The supervisor makes a `Scoreboard` before it forks and gives each worker a seat: `SEAT_WORDS` integers of 64
bits that only this worker writes (the supervisor clears them). Everybody may read everything at any time; a
word is always whole, words beside each other may be of different moments. No lock, no system call, no file: a
heartbeat on a disk has killed healthy workers when the disk was slow.

Beside its seat a worker has a row of `keepserve.telemetry.counters`, and a row stands for all that are gone.
"""

from __future__ import annotations

import mmap
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from keepserve.telemetry.counters import RESTARTED, RESTARTS, ROW_WORDS, Tally, retire

SEAT_WORDS = 16
"""Words of a seat: 128 bytes, two cache lines that no other worker writes."""

SEATS = 4095
"""Seats there are: for the workers that serve, their successors, and those that are still leaving."""

PID = 0
"""The worker's process; 0: the seat is free."""
STAGE = 1
"""How far the worker has come: `STARTING`, `SERVING` or `LEAVING`."""
BEAT = 2
"""When the worker's event loop last turned, in nanoseconds of the monotonic clock; 0: not yet."""
CONNECTIONS = 3
"""Connections that are open, those in a TLS handshake included."""
RUNNING = 4
"""Applications that run at present; those that have ended count until the next tick."""
REQUESTS = 5
"""Requests so far, as of the last beat."""
ACCEPTED = 6
"""Connections accepted so far."""
LIFE = 7
"""A number that changes whenever the worker looks at its listening sockets: it is not stuck."""
DEBUGGED = 8
"""1 when somebody may be looking at the worker with a debugger: it is not to be killed for being slow."""
FULL = 9
"""1 while the worker accepts nothing for want of room: nobody is to leave a connection to it."""

# Words of the row that belongs to all.
TAKEN = 0
"""How many seats have ever been taken; the supervisor's."""
SAID_IDLE = 1
"""When a worker last said that we close idle connections first, in nanoseconds of the monotonic clock; 0: never."""
SAID_IDLE_TIMEOUT = 2
"""The same, when it could also say what the balancer's idle timeout is."""
EDITION = 3
"""Odd while the supervisor adds a worker's row to that of those that are gone: who adds up rows has to wait."""
CERTIFICATE_EXPIRES = 4
"""When the certificate that new connections get expires, in seconds since the epoch; 0: there is none. The
supervisor's."""
BEGAN = 5
"""When the server began, in seconds since the epoch; the supervisor's."""
RELOADS = 6
"""Reloads that were carried out,"""
RELOADS_FAILED = 7
"""and those whose new workers failed, so that the old ones went on; the supervisor's."""
STOP_BEGAN = 8
"""When the server was told to stop, in nanoseconds of the monotonic clock; 0: it goes on. The supervisor's."""

STARTING = 0
SERVING = 1
LEAVING = 2
STAGES = {STARTING: "starting", SERVING: "serving", LEAVING: "leaving"}
"""Names of the stages, for people."""


class Seat(Protocol):
    """The words of one worker, by the numbers above."""

    def __getitem__(self, word: int, /) -> int:
        """Read a word."""

    def __setitem__(self, word: int, value: int, /) -> None:
        """Write a word."""


class Scoreboard:
    """All seats. Made before the fork; the same memory in every process after it."""

    def __init__(self, seats: int = SEATS) -> None:
        # The first row belongs to all: so readers know how many seats have ever been taken, and need not look at
        # them all, and workers what a sibling has said already.
        self._words = memoryview(mmap.mmap(-1, (seats + 1) * SEAT_WORDS * 8)).cast("q")
        # Pages that no worker has written to take no memory. The first row is that of the workers that are gone.
        self._counters = memoryview(mmap.mmap(-1, (seats + 1) * ROW_WORDS * 8))
        self._seats = seats
        self._words[BEGAN] = int(time.time())

    def take(self) -> int:
        """Take the lowest free seat and return its number; only the supervisor may. RuntimeError: none is free."""
        for number in range(self._seats):
            seat = self.seat(number)
            if seat[PID] == 0:
                seat[PID] = -1  # somebody's, who is not born yet
                self._words[TAKEN] = max(self._words[TAKEN], number + 1)
                return number
        raise RuntimeError(f"All {self._seats} seats of the scoreboard are taken: too many workers are leaving.")

    def free(self, number: int) -> None:
        """Clear a seat whose worker is gone, and keep what it has counted; only the supervisor may."""
        seat = self.seat(number)
        self._words[EDITION] += 1
        retire(self.gone, self.counters(number))
        for word in range(SEAT_WORDS):
            seat[word] = 0
        self._words[EDITION] += 1

    def seat(self, number: int) -> Seat:
        """The words of one seat."""
        start = (number + 1) * SEAT_WORDS
        return self._words[start : start + SEAT_WORDS]

    def counters(self, number: int) -> memoryview:
        """The row of what the worker on a seat counts, see `keepserve.telemetry.counters`."""
        return self._row(number + 1)

    @property
    def gone(self) -> memoryview:
        """The row of all workers that are gone."""
        return self._row(0)

    def restarted(self, cause: str) -> None:
        """Count a worker that was replaced, for one of `RESTARTS`; only the supervisor may."""
        self.gone.cast("q")[RESTARTED + RESTARTS.index(cause)] += 1

    def _row(self, number: int) -> memoryview:
        return self._counters[number * ROW_WORDS * 8 : (number + 1) * ROW_WORDS * 8]

    @property
    def common(self) -> Seat:
        """The words that belong to all workers, which any of them may write: a time, where being late is no harm."""
        return self._words[:SEAT_WORDS]

    def taken(self) -> Iterator[tuple[int, Seat]]:
        """The seats that somebody has, with their numbers."""
        for number in range(self._words[TAKEN]):
            seat = self.seat(number)
            if seat[PID]:
                yield number, seat


@dataclass(frozen=True, slots=True)
class WorkerView:
    """One worker as it was: its seat's number, the words of the seat, and what it has counted so far."""

    number: int
    seat: tuple[int, ...]
    counted: Tally


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All of a scoreboard at one time: ``workers`` that have a seat, ``total`` of these and of all that are gone,
    and the words of the row that belongs to all. ``total``'s words between `NOW` and `NOW_END` are of all workers."""

    workers: tuple[WorkerView, ...]
    total: Tally
    common: tuple[int, ...]


def snapshot(board: Scoreboard) -> Snapshot:
    """Read everything. Workers may write meanwhile: each word is whole, and nothing that was counted is missed."""
    while True:
        common = _words(board.common)
        copies = [(number, _words(seat), bytes(board.counters(number))) for number, seat in board.taken()]
        gone = bytes(board.gone)
        if not common[EDITION] % 2 and common[EDITION] == board.common[EDITION]:
            break
        time.sleep(0.0002)  # the supervisor is at it; that takes it no longer
    workers = tuple(WorkerView(number, seat, Tally((row,))) for number, seat, row in copies)
    return Snapshot(workers, Tally((gone, *(row for _, _, row in copies))), common)


def _words(seat: Seat) -> tuple[int, ...]:
    return tuple(seat[word] for word in range(SEAT_WORDS))


def private_seat() -> Seat:
    """A seat outside of any scoreboard, for a server without a supervisor."""
    return [0] * SEAT_WORDS
