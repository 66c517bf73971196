"""The phases of a stop as arithmetic: time and facts go in, the present phase and the next look come out.

No clock, no event loop and no socket is known here; ``keepserve.server.drain`` does what the phases ask for.

A *stop* ends the server: LAME_DUCK (``drain_delay``), CLOSING (``drain_timeout``), LIMIT and CANCEL (together
``drain_cancel``), then what is left is cut. A *leave* ends one worker whose siblings go on serving: there is no
lame duck, and CLOSING lasts until the connections it leaves open have had ``roll_idle`` and the last request on
them ``drain_timeout``; requests that ran when it began have ``drain_timeout`` from then, as in a stop.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass

from keepserve.config import Settings
from keepserve.wire.engine import NEVER

HURRY_TIMEOUT = 1.0
"""Seconds that cancelled requests get after a second signal, and no more than ``drain_cancel``."""

TELLING = 0.5
"""Most seconds between telling applications that nobody listens (``http.disconnect``) and cancelling them."""

PARTING = 0.2
"""Seconds for connections that were cut to send what is still to be said, and again for those that were dropped."""

FRESH_GRACE = 1.0
"""Seconds a connection has for its first byte, at the least, if it came about when idle ones have had their grace.

Its client could not speak before, for instance because of its TLS handshake; its request is on its way.
"""


class Phase(enum.IntEnum):
    """What a worker is doing; it only ever goes up."""

    SERVING = 0
    LAME_DUCK = 1
    """Accepting and serving as ever; health says 503, HTTP/1.1 responses carry ``Connection: close``."""
    CLOSING = 2
    """Nothing new is accepted; every connection is told, and used for as long as its peer may rely on it."""
    LIMIT = 3
    """Time is over: applications are told that nobody listens."""
    CANCEL = 4
    """Applications are cancelled, and clean up."""
    CUT = 5
    """Nothing more is waited for: what is under way is broken off, visibly for the peer."""
    DROP = 6
    """Connections that could not even be closed are dropped."""
    OVER = 7
    """Nothing is left."""


@dataclass(frozen=True, slots=True)
class Times:
    """The settings a stop obeys, in seconds."""

    delay: float
    idle: float
    timeout: float
    cancel: float
    roll_idle: float

    @classmethod
    def of(cls, settings: Settings) -> Times:
        """Those of these settings."""
        return cls(
            delay=settings.drain_delay,
            idle=settings.drain_idle,
            timeout=settings.drain_timeout,
            cancel=settings.drain_cancel,
            roll_idle=settings.roll_idle,
        )

    @property
    def telling(self) -> float:
        """The part of ``cancel`` in which applications are told but not yet cancelled."""
        return min(TELLING, self.cancel / 2)


@dataclass(frozen=True, slots=True)
class Left:
    """What there still is: ``connections``, those in the making included, and ``requests`` with an application."""

    connections: int
    requests: int

    @property
    def nothing(self) -> bool:
        """Nobody has to be waited for."""
        return not (self.connections or self.requests)


class Course:
    """One worker's way from SERVING to OVER. All times are seconds of one monotonic clock.

    Begun by ``stop`` or ``leave``; ``hurry`` and a ``stop`` after a ``leave`` shorten it, nothing prolongs it.
    """

    def __init__(self, times: Times) -> None:
        self.phase = Phase.SERVING
        self.leaving = False
        """The worker goes, but the server does not."""
        self.began = NEVER
        self._times = times
        self._idle_grace = times.idle
        self._hurried = False
        self._ends: dict[Phase, float] = {}
        self._early: list[tuple[float, Phase]] = []

    @property
    def idle_grace(self) -> float:
        """Seconds for which idle connections are to stay usable from the moment they are told."""
        return self._idle_grace

    def stop(self, now: float, *, interactive: bool = False) -> None:
        """The server is to stop; ``interactive`` without a lame duck and without a grace for idle connections."""
        times = self._times
        delay = 0.0 if interactive else times.delay
        if self.phase == Phase.SERVING:
            self._begin(now, Phase.LAME_DUCK, now + delay)
        elif self.leaving:
            # Our siblings are in their lame duck now, and our connections are as good as theirs for so long.
            self._idle_grace = delay + times.idle
            self._shorten(Phase.CLOSING, now + delay + times.timeout)
        elif interactive:
            self._shorten(Phase.LAME_DUCK, now)
        if interactive:
            self._idle_grace = 0.0
        self.leaving = False

    def leave(self, now: float, *, interactive: bool = False) -> None:
        """This worker is to go, while others serve on; without effect once it goes already.

        ``interactive``: without a grace for idle connections.
        """
        if self.phase != Phase.SERVING:
            return
        times = self._times
        self.leaving = True
        self._idle_grace = 0.0 if interactive else times.roll_idle
        self._begin(now, Phase.CLOSING, now + self._idle_grace + times.timeout)
        limit = now + times.timeout
        self._early = [
            (limit, Phase.LIMIT),
            (limit + times.telling, Phase.CANCEL),
            (limit + times.cancel, Phase.CUT),
        ]

    def hurry(self, now: float) -> None:
        """Nobody wants to wait: cancel now, and end within a second."""
        self.stop(now, interactive=True)
        self._hurried = True
        for phase in (Phase.LAME_DUCK, Phase.CLOSING, Phase.LIMIT):
            self._shorten(phase, now)
        self._shorten(Phase.CANCEL, now + min(HURRY_TIMEOUT, self._times.cancel))

    def advance(self, now: float, left: Left) -> bool:
        """Go on by one phase if its time has come. To be called, and its phase acted on, until it returns False."""
        phase = self.phase
        if phase in (Phase.SERVING, Phase.OVER):
            return False
        if (phase >= Phase.CLOSING and left.nothing) or (phase >= Phase.CUT and not left.connections):
            self._enter(Phase.OVER, now)
        elif phase in (Phase.LIMIT, Phase.CANCEL) and not left.requests:
            self._enter(Phase.CUT, now)
        elif now >= self._ends[phase]:
            self._enter(Phase(phase + 1), now)
        else:
            return False
        return True

    def ends_at(self, phase: Phase) -> float:
        """When a phase ends at the latest; ``NEVER`` if that is not known yet."""
        return self._ends.get(phase, NEVER)

    def early(self, now: float) -> Iterator[Phase]:
        """In a leave: what has come for the requests that ran when it began, LIMIT, CANCEL and CUT, each once."""
        while self._early and now >= self._early[0][0]:
            yield self._early.pop(0)[1]

    @property
    def next_look(self) -> float:
        """When to call ``advance`` and ``early`` again, if nothing happens before."""
        end = self._ends.get(self.phase, NEVER)
        return min(end, self._early[0][0]) if self._early else end

    def _begin(self, now: float, phase: Phase, until: float) -> None:
        self.began = now
        self.phase = phase
        self._ends[phase] = until

    def _shorten(self, phase: Phase, until: float) -> None:
        if phase in self._ends:
            self._ends[phase] = min(self._ends[phase], until)

    def _enter(self, phase: Phase, now: float) -> None:
        """Begin a phase: its time runs from now on, also when the loop was late to look."""
        times = self._times
        self.phase = phase
        if phase == Phase.CLOSING:
            self._ends[phase] = now if self._hurried else now + times.timeout
        elif phase == Phase.LIMIT:
            cancel = min(HURRY_TIMEOUT, times.cancel) if self._hurried else times.cancel
            self._ends[phase] = now if self._hurried else now + times.telling
            self._ends[Phase.CANCEL] = now + cancel
        elif phase in (Phase.CUT, Phase.DROP):
            self._ends[phase] = now + PARTING
        if phase >= Phase.LIMIT:
            self._early = []  # they are among all others now
