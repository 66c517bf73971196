"""Everything the admin listener shows, read at one moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from keepserve.config.settings import Settings
from keepserve.telemetry.counters import Tally
from keepserve.telemetry.scoreboard import Snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What the workers have written down at one moment, and what it is to be compared with.

    ``now`` is seconds since the epoch, ``monotonic_ns`` the same moment in nanoseconds of the monotonic clock,
    in which workers write down their beats. ``memory`` is resident bytes by pid of each worker, without those
    whose process is gone. ``version`` is keepserve's. ``pid`` is the supervisor's, ``listening`` where it serves.
    ``earlier`` is what had been counted a few minutes ago, so that one can tell what is happening from what once
    happened; None: the server is younger than that.
    """

    snapshot: Snapshot
    settings: Settings
    now: float
    monotonic_ns: int
    memory: Mapping[int, int]
    version: str
    pid: int = 0
    listening: tuple[str, ...] = ()
    earlier: Tally | None = None
