"""What the metrics say beside what is counted, as numbers: NaN is what Prometheus has for not known."""

from __future__ import annotations

import importlib.util
import math

from keepserve.admin.figures import handshakes_avoided, ratio, requests_taken
from keepserve.config.settings import Settings
from keepserve.telemetry import counters
from keepserve.telemetry.counters import Tally
from keepserve.telemetry.scoreboard import CONNECTIONS, LEAVING, SERVING, STAGE, STARTING, WorkerView

STAGES = {STARTING: "starting", SERVING: "serving", LEAVING: "leaving"}
"""Names of the stages of a worker."""


def known(value: float | None) -> float:
    """The value; NaN for None."""
    return math.nan if value is None else value


def reuse(total: Tally) -> float:
    """The share of the requests that needed no new connection, 0 to 1; NaN before the first request."""
    return known(ratio(handshakes_avoided(total), requests_taken(total)))


def resumption(total: Tally) -> float:
    """The share of the TLS handshakes that resumed a session, 0 to 1; NaN if there was none."""
    return known(ratio(total[counters.RESUMED_TLS], total[counters.ACCEPTED_TLS]))


def inferred_timeout(workers: tuple[WorkerView, ...], word: int) -> float:
    """The idle timeout that shows in when peers closed, in seconds; NaN while none does.

    ``word`` is `LB_IDLE_1` or `LB_IDLE_2`. Each worker sees its own connections only; of what they see the longest
    counts, since that is what we have to outlast.
    """
    return max((worker.counted[word] for worker in workers), default=0) / 1000 or math.nan


def spread(workers: tuple[WorkerView, ...]) -> int:
    """By how many connections the fullest worker has more than the emptiest, of those that serve."""
    held = [worker.seat[CONNECTIONS] for worker in workers if worker.seat[STAGE] == SERVING]
    return max(held) - min(held) if held else 0


def loop_name(settings: Settings) -> str:
    """The event loop the workers have: ``uvloop`` or ``asyncio``."""
    if settings.loop == "auto":
        return "uvloop" if importlib.util.find_spec("uvloop") else "asyncio"
    return settings.loop
