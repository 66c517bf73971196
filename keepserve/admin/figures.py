"""Figures that are computed from what was counted; None is what is not known."""

from __future__ import annotations

from collections.abc import Sequence

from keepserve.telemetry import counters
from keepserve.telemetry.counters import Tally
from keepserve.telemetry.scoreboard import CONNECTIONS, SERVING, STAGE, WorkerView


def quantile(bounds: Sequence[float], counts: Sequence[int], part: float) -> float | None:
    """The value below which ``part`` (0 to 1) of all lie, by the buckets they were counted in; None: there are none.

    ``counts`` has one bucket more than there are upper ``bounds``. Within a bucket values are taken to be spread
    evenly; of the last one only its lower bound is known.
    """
    rank = part * sum(counts)
    if not rank:
        return None
    below = 0.0
    for upper, count in zip(bounds, counts, strict=False):
        if count and rank <= count:
            return below + (upper - below) * rank / count
        rank -= count
        below = upper
    return below


def ratio(part: float, whole: float) -> float | None:
    """``part / whole``; None: there is no whole."""
    return part / whole if whole else None


def requests_taken(total: Tally) -> int:
    """Requests that were taken in, whatever became of them; of open connections as of the last tick."""
    return total[counters.REQUESTS_1] + total[counters.REQUESTS_2]


def handshakes_avoided(total: Tally) -> int:
    """Requests that needed no new connection: all but the first of each connection.

    Connections known to have carried none are not held against the others. One that is open and has had no request
    yet counts as if it had had one, so this may fall a little before it rises on.
    """
    used = total[counters.ACCEPTED] - total[counters.CONNECTION_REQUESTS]
    return max(0, requests_taken(total) - used)


def reuse(total: Tally) -> float | None:
    """The share of the requests that needed no new connection, 0 to 1; None before the first request."""
    return ratio(handshakes_avoided(total), requests_taken(total))


def resumption(total: Tally) -> float | None:
    """The share of the TLS handshakes that resumed a session, 0 to 1; None if there was none."""
    return ratio(total[counters.RESUMED_TLS], total[counters.ACCEPTED_TLS])


def inferred_timeout(workers: Sequence[WorkerView], word: int) -> float | None:
    """The idle timeout that shows in when peers closed, in seconds; None while none does.

    ``word`` is `LB_IDLE_1` or `LB_IDLE_2`. Each worker sees its own connections only; of what they see the longest
    counts, since that is what we have to outlast.
    """
    return max((worker.counted[word] for worker in workers), default=0) / 1000 or None


def spread(workers: Sequence[WorkerView]) -> int:
    """By how many connections the fullest worker has more than the emptiest, of those that serve."""
    held = [worker.seat[CONNECTIONS] for worker in workers if worker.seat[STAGE] == SERVING]
    return max(held) - min(held) if held else 0


def mean_round_trip(total: Tally) -> float | None:
    """Seconds that a TCP handshake takes; None: it was never measured (Unix sockets, systems other than Linux)."""
    return ratio(total.seconds(counters.RTT_SECONDS), total[counters.RTT_SAMPLES])


def mean_tls_handshake(total: Tally) -> float | None:
    """Seconds that a TLS handshake has taken; None: there was none."""
    return ratio(total.seconds(counters.TLS_SECONDS), total[counters.ACCEPTED_TLS])


def connection_cost(total: Tally) -> float:
    """About how many seconds a new connection takes: its TLS handshake, or one round trip; 0: never measured.

    The TLS handshake is measured from accepting on, without the round trip before it: this is rather too little.
    """
    handshake = mean_tls_handshake(total)
    return (mean_round_trip(total) or 0.0) if handshake is None else handshake


def time_saved(total: Tally) -> float:
    """About how many seconds clients did not have to wait for new connections."""
    return handshakes_avoided(total) * connection_cost(total)
