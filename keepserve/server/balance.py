"""Deciding whether this worker may take the next connection, or leaves it to one that has fewer.

All workers listen on the same sockets, and who happens to wake up first would get the connection. A balancer
keeps few connections for a long time, so that this luck would last. Therefore a worker that has more connections
than another waits a moment before it accepts. No I/O and no clock: time is an argument.
"""

from __future__ import annotations

from collections.abc import Iterator

from keepserve.telemetry.scoreboard import ACCEPTED, CONNECTIONS, FULL, LIFE, SERVING, STAGE, Scoreboard, Seat

LOOK = 0.001
"""Seconds between two looks while another worker is to have the connection that waits."""

PATIENCE_EXACT = 0.025
"""Seconds for which a connection is left to the workers that have the fewest."""

PATIENCE = 0.075
"""Seconds after which whoever sees a connection takes it, and after which silence means: does not work.

In between one may be ahead by one more. A machine with more to do than processors lets a healthy worker wait for
tens of milliseconds now and then; a worker that hangs delays a connection by so much, once.
"""

MANY = 128
"""For each so many connections a worker may be ahead by one more."""

BRIEF = 16
"""For each so many of its connections that ended within a second, a worker may be ahead by one more."""

_FRESH = 0.001
"""Seconds for which the list of the others is good."""


class Balance:
    """The rule that keeps workers at most one connection apart.

    A connection may be taken by whoever has no more than each of the others. The others are those who serve, less
    those who proved silent: who had a connection waiting for them for `PATIENCE` without once looking at the
    sockets. They are back when they look. Where there are many connections, or many that come and go, the rule
    is relaxed (`MANY`, `BRIEF`): nobody could see the difference, and waiting costs. A worker writes down each
    connection before it asks for the next, so that the rule holds in a burst as well.
    """

    def __init__(self, board: Scoreboard, number: int) -> None:
        self._board = board
        self._number = number
        self._seat = board.seat(number)
        self._others: list[tuple[int, Seat]] = []
        self._fresh_until = 0.0
        # While a connection waits that is for another worker: since when, when we last asked, and how many
        # connections the others had taken then.
        self._waiting_since: float | None = None
        self._asked_at = 0.0
        self._taken = 0
        # Of those it is for: how often they have looked, and for how long we have waited for them since.
        self._waited: dict[int, tuple[int, float]] = {}
        self._silent: dict[int, int] = {}
        # How many of our connections had ended, when that was, and how many a second ended before.
        self._ended = 0
        self._ended_at = 0.0
        self._ending = 0.0

    def wait(self, now: float) -> float:
        """A connection waits: 0 when this worker may take it, else the seconds after which to ask again."""
        own = self._seat[CONNECTIONS]
        if not own:
            self._waiting_since = None
            return 0.0  # nobody has fewer
        if now >= self._fresh_until:
            self._fresh_until = now + _FRESH
            self._others = list(self._serving_others())
        if not self._others:
            self._waiting_since = None
            return 0.0
        lead = own - min([seat[CONNECTIONS] for _, seat in self._others])
        if lead <= 0 or lead <= self._tolerance(own, now):
            self._waiting_since = None
            return 0.0
        return self._leave(own, lead, now)

    def nobody_waits(self) -> None:
        """Another worker has taken what waited."""
        self._waiting_since = None

    def _serving_others(self) -> Iterator[tuple[int, Seat]]:
        """The others that serve, have room and are not known to be silent."""
        for number, seat in self._board.taken():
            if number == self._number or seat[STAGE] != SERVING or seat[FULL]:
                continue
            if self._silent.get(number) != seat[LIFE]:
                self._silent.pop(number, None)
                yield number, seat

    def _tolerance(self, own: int, now: float) -> int:
        """How far ahead nobody minds."""
        ended = self._seat[ACCEPTED] - own
        passed = now - self._ended_at
        if passed >= 1.0:
            self._ending = (ended - self._ended) / passed
            self._ended, self._ended_at = ended, now
        return own // MANY + int(max(self._ending, ended - self._ended)) // BRIEF

    def _leave(self, own: int, lead: int, now: float) -> float:
        """Leave a connection to those who have fewer, but not for ever."""
        passed = now - self._asked_at if self._waiting_since is not None else 0.0
        self._asked_at = now
        taken = sum([seat[ACCEPTED] for _, seat in self._others])
        if self._waiting_since is None or taken != self._taken:
            self._waiting_since = now  # the first look, or it is another one that waits by now
        self._taken = taken
        for number, seat in self._others:
            if seat[CONNECTIONS] < own and self._is_silent(number, seat[LIFE], passed):
                self._fresh_until = now  # whoever is left is asked about anew
        if now >= self._fresh_until:
            return self.wait(now)
        waited = now - self._waiting_since
        if waited >= PATIENCE or (waited >= PATIENCE_EXACT and lead == 1):
            self._waiting_since = None
            return 0.0
        return LOOK

    def _is_silent(self, number: int, life: int, passed: float) -> bool:
        """Whether a worker does not look although a connection waits for it; counts the time for which it did not."""
        before, waited = self._waited.get(number, (life, 0.0))
        waited = waited + passed if before == life else 0.0
        if waited < PATIENCE:
            self._waited[number] = life, waited
            return False
        self._silent[number] = life
        del self._waited[number]
        return True
