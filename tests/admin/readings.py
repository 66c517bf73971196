"""Readings of scoreboards that were filled with known numbers."""

from __future__ import annotations

from typing import Any

from keepserve.admin.reading import Reading
from keepserve.config.settings import Settings
from keepserve.telemetry import counters
from keepserve.telemetry.counters import Counters
from keepserve.telemetry.reasons import CloseReason
from keepserve.telemetry.scoreboard import (
    ACCEPTED,
    BEAT,
    BEGAN,
    CONNECTIONS,
    PID,
    RUNNING,
    SERVING,
    STAGE,
    Scoreboard,
    snapshot,
)

NOW_NS = 5_000_000_000
"""The monotonic clock of the readings; workers have beaten a quarter of a second before."""


def board() -> Scoreboard:
    """An empty scoreboard of a server that began at 1000 s."""
    made = Scoreboard(32)
    made.common[BEGAN] = 1000
    return made


def add_worker(board: Scoreboard, pid: int, *, connections: int = 0, stage: int = SERVING) -> tuple[int, Counters]:
    """A worker takes a seat; returns the seat's number and the worker's pen."""
    number = board.take()
    seat = board.seat(number)
    seat[PID], seat[STAGE], seat[CONNECTIONS], seat[BEAT] = pid, stage, connections, NOW_NS - 250_000_000
    seat[ACCEPTED] = connections
    return number, Counters(board.counters(number))


def busy(pen: Counters, share: int = 1) -> None:
    """Let a worker have counted something of everything, ``share`` times as much of what grows."""
    words, seconds = pen.words, pen.seconds
    for status in (101, 200, 302, 404, 500):
        for method in (b"GET", b"POST", b"BREW"):
            for _ in range(share):
                pen.answered(method, status, 0.004)
    pen.write_durations()
    for reason in CloseReason:
        pen.closed(reason)
    for status in (400, 408, 413, 431, 418):
        pen.rejected(status)
    for requests in (0, 1, 7, 40_000):
        pen.carried(requests, 3, 2)
    for idle in (0.5, 60.2, 4000.0):
        pen.idled(idle, by_us=False)
    pen.idled(80.1, by_us=True)
    pen.lagged(0.002, 10.0)
    pen.lagged(0.7, 11.0)
    pen.lagged(0.0, 12.0)
    for word in range(counters.LEFT, counters.RTT_SAMPLES + 1):
        if word not in counters.SECONDS_WORDS:
            words[word] += word % 7 + share
    words[counters.ACCEPTED] = 10 * share
    words[counters.REQUESTS_1], words[counters.REQUESTS_2] = 60 * share, 40 * share
    words[counters.ACCEPTED_TLS], words[counters.RESUMED_TLS] = 10 * share, 4 * share
    words[counters.LOG_LINES_LOST], words[counters.OVERDUE] = 5, 6
    seconds[counters.TLS_SECONDS] = 0.5 * share
    words[counters.RTT_SAMPLES] = 4
    seconds[counters.RTT_SECONDS] = 0.01
    words[counters.OPEN_1], words[counters.OPEN_2], words[counters.HANDSHAKING] = 5, 3, 2
    words[counters.ACTIVE], words[counters.STREAMS], words[counters.SOCKETS], words[counters.WAITING] = 4, 11, 1, 2
    words[counters.LB_IDLE_1] = 60_000 + pen.words[counters.OPEN_1] * share


def read(board: Scoreboard, **changes: Any) -> Reading:
    """Read it, with settings for an ALB unless ``settings`` says otherwise."""
    values: dict[str, Any] = {
        "snapshot": snapshot(board),
        "settings": Settings(workers=4, lb="alb", limit_concurrency=50),
        "now": 2000.0,
        "monotonic_ns": NOW_NS,
        "memory": {101: 40_000_000, 102: 50_000_000},
        "version": "1.2.3",
    }
    return Reading(**{**values, **changes})


def two_workers() -> tuple[Scoreboard, list[int]]:
    """A scoreboard with two workers that have counted, and the numbers of their seats."""
    made, numbers = board(), []
    for pid, share in ((101, 1), (102, 3)):
        number, pen = add_worker(made, pid, connections=10 * share)
        made.seat(number)[RUNNING] = share
        busy(pen, share)
        numbers.append(number)
    return made, numbers
