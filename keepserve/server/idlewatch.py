"""Who closes idle connections first, we or the balancer; and what its idle timeout really is.

What a balancer is set to nobody tells us, but it shows: `keepserve.telemetry.idle` finds it in the times after
which peers closed. As long as we close first, though, nothing can show. Then a few connections are kept longer than
``keep_alive_timeout``, which is always safe: their peer is to close, and to show what it waits for.

With HTTP/2 closing first is harmless, since GOAWAY says what was served: it is counted, and not complained about.
"""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Callable

from keepserve.config import Settings
from keepserve.config.durations import format_duration
from keepserve.server.wheel import TICK, Wheel
from keepserve.telemetry.counters import LB_IDLE_1, LB_IDLE_2, Counters
from keepserve.telemetry.idle import (
    RESOLUTION,
    SURE,
    Cluster,
    IdleTimes,
    alarming,
    as_late_as,
    options_to_outlast,
    round_timeout,
)
from keepserve.telemetry.reasons import CloseReason
from keepserve.telemetry.scoreboard import SAID_IDLE, SAID_IDLE_TIMEOUT, Seat
from keepserve.wire.engine import NEVER, Engine, Limits

logger = logging.getLogger("keepserve")

LOOK_INTERVAL = 1.0
"""Seconds between two looks at what was recorded, if there is anything new."""

REPEAT_INTERVAL = 3600.0
"""Seconds after which the warning is repeated, by whichever worker has reason to."""

CLAIM_TIME = 0.5
"""Seconds between a worker's claim to a warning and the warning, in which a sibling that has seen the word free at
the same moment overwrites the claim, and so takes it over: of all who claim, the last one speaks."""

PATIENT = 4
"""Connections of a worker that are kept longer at one time, and one in how many that we would close."""

PATIENCE = 4200.0
"""Seconds they are kept: longer than any balancer's default, and than AWS lets one set (4000)."""

ENOUGH_SHOWN = 5
"""Closes of such connections that show a timeout: they are few, and each takes long."""


class IdleWatch:
    """Records the ends of idle connections, and warns of an order that loses requests.

    ``counters`` are the worker's, ``common`` is the row in which workers see what a sibling has said. All
    times are seconds of the ``wheel``'s clock.
    """

    def __init__(
        self,
        settings: Settings,
        limits: Limits,
        counters: Counters,
        common: Seat,
        wheel: Wheel,
        clock: Callable[[], float],
    ) -> None:
        self.slot = -1
        self._settings = settings
        self._keep_alive = settings.keep_alive_timeout
        self._patient_limits = dataclasses.replace(
            limits, keep_alive_timeout=PATIENCE, headers_timeout=PATIENCE + settings.request_head_timeout
        )
        self._counters = counters
        self._common = common
        self._wheel = wheel
        self._clock = clock
        self._peers = {"1.1": IdleTimes(), "2": IdleTimes()}
        self._ours = IdleTimes()
        self._unsaid = 0
        """Idle closes of ours that no warning has counted yet."""
        self._patient: set[Engine] = set()
        self._asked = 0
        self._claims: dict[int, int] = {}
        """What we have written into words that belong to all, to speak if it still stands there in a while."""
        self._on_wheel = False
        self._shown: dict[str, tuple[float, bool]] = {}

    # From the connections.

    def closed(self, engine: Engine, reason: CloseReason) -> None:
        """A connection has ended. Its close tells something if it was idle, and had been of use before."""
        if not engine.requests:
            return
        self._patient.discard(engine)
        by_us = reason is CloseReason.IDLE_TIMEOUT
        if not by_us and not _left_idle(engine, reason):
            return
        # The moment of being ready is noticed up to a tick late.
        idle = self._clock() - engine.ready_at + TICK / 2 if engine.ready_at != NEVER else 0.0
        self._counters.idled(idle or (self._keep_alive if by_us else 0.0), by_us)
        if by_us:
            if not engine.multiplexed:
                # One whose next request came as the clock ran out has no time, and counts all the more.
                self._ours.add(idle or self._keep_alive)
                self._unsaid += 1
        else:
            self._peers["2" if engine.multiplexed else "1.1"].add(idle)
        if not self._on_wheel:
            self._on_wheel = True
            self._wheel.add(self)

    def bear_with(self, engine: Engine, now: float) -> None:
        """If an idle connection is about to be closed by us, keep it longer, if its peer's clock is to be learnt."""
        if (
            self._ours.count < PATIENT
            or not self._settings.lb_idle_timeout
            or engine.multiplexed
            or not engine.requests
            or now < engine.idle_since + self._keep_alive
        ):
            return
        self._asked += 1
        if self._asked % PATIENT == 0 and len(self._patient) < PATIENT:
            self._patient.add(engine)
            engine.obey(self._patient_limits)

    # For the wheel.

    def settle(self, now: float) -> float:
        """There is something new: look at it in a while, with what comes until then."""
        return now + LOOK_INTERVAL

    def expire(self, now: float) -> float:
        """Look at what was recorded."""
        for version in self._peers:
            self._note(version)
        earlier = dict(self._claims)
        if self._settings.lb_idle_timeout:
            self._judge(now)
        for word, claim in earlier.items():
            if self._claims.get(word) == claim:  # there is no reason to say it any more
                del self._claims[word]
                if self._common[word] == claim:
                    self._common[word] = 0
        if self._claims:
            return now + CLAIM_TIME
        self._on_wheel = False
        self._wheel.forget(self)
        return NEVER

    # What it means.

    def idle_timeout(self, version: str = "1.1") -> Cluster | None:
        """The idle timeout of the peers that speak this version of HTTP, the longest of several; None: none shows."""
        clusters = self._peers[version].clusters()
        if version == "1.1":
            clusters = self._peers[version].clusters(least=ENOUGH_SHOWN, above=self._edge) + clusters
        return clusters[0] if clusters else None

    @property
    def _edge(self) -> float:
        """From here on a peer's idle timeout may be as long as ours."""
        return self._keep_alive * 0.98 - RESOLUTION

    def _note(self, version: str) -> None:
        found = self.idle_timeout(version)
        if found is None:
            return
        self._counters.words[LB_IDLE_2 if version == "2" else LB_IDLE_1] = round(found.seconds * 1000)
        was, was_sure = self._shown.get(version, (0.0, False))
        sure = found.of >= SURE
        if sure > was_sure or abs(found.seconds - was) > 0.03 * found.seconds + RESOLUTION:
            self._shown[version] = (found.seconds, sure)
            logger.debug(
                "The idle timeout of the peers looks like %.3g s (%d of %d idle closes over HTTP/%s)", *found, version
            )

    def _judge(self, now: float) -> None:
        found = self.idle_timeout()
        if found is not None and as_late_as(found.seconds, self._keep_alive):
            if self._may_say(SAID_IDLE_TIMEOUT, now):
                self._common[SAID_IDLE] = self._common[SAID_IDLE_TIMEOUT]
                self._say_timeout(round_timeout(found.seconds))
        elif self._unsaid and self._alarming and self._may_say(SAID_IDLE, now):
            self._say_unknown()

    @property
    def _alarming(self) -> bool:
        """We close too many idle connections for there to be a balancer that closes them first."""
        ours, theirs = self._ours.count, self._peers["1.1"].above(self._keep_alive / 2)
        return alarming(ours, theirs)

    def _may_say(self, word: int, now: float) -> bool:
        """Claim the warning, or find that an earlier claim of ours has stood: then say it."""
        said = self._common[word]
        claim = self._claims.pop(word, None)
        if claim is not None:
            return said == claim
        if not said or now >= said / 1e9 + REPEAT_INTERVAL:
            # The lowest bits (4 ms) tell who: as many as a process number may have.
            claim = (max(1, round(now * 1e9) >> 22) << 22) | (os.getpid() & 0x3FFFFF)
            self._claims[word] = self._common[word] = claim
        return False

    def _say_timeout(self, seconds: float) -> None:
        s = self._settings
        logger.warning(
            "%s; its idle timeout looks like %s, keep_alive_timeout is %s; set %s. Until then a request that is sent "
            "as we close gets a 502.",
            self._what_we_do(),
            format_duration(seconds),
            format_duration(s.keep_alive_timeout),
            options_to_outlast(seconds, s),
        )

    def _say_unknown(self) -> None:
        s = self._settings
        logger.warning(
            "%s; its idle timeout is not the %s of lb_idle_timeout, but longer than keep_alive_timeout, %s; set "
            "--lb-idle-timeout to what it is. Until then a request that is sent as we close gets a 502. If clients "
            "connect directly, say --lb none.",
            self._what_we_do(),
            format_duration(s.lb_idle_timeout),
            format_duration(s.keep_alive_timeout),
        )

    def _what_we_do(self) -> str:
        unsaid, self._unsaid = self._unsaid, 0
        if not unsaid:
            return "Idle connections are closed by the balancer as late as we would close them"
        return f"Closed {unsaid} idle connection{'' if unsaid == 1 else 's'} before the balancer did"


def _left_idle(engine: Engine, reason: CloseReason) -> bool:
    """Whether the peer has closed the connection while it was idle."""
    if reason is CloseReason.PEER_RESET:
        return engine.idle
    # A client of HTTP/2 says GOAWAY before it closes an idle connection.
    return reason is CloseReason.PEER_CLOSED or (reason is CloseReason.CLIENT_ASKED and engine.multiplexed)
