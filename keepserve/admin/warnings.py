"""What a person should look at, as sentences: what was seen, what it means, what to do.

What happens now and what has happened in the last minutes (`Reading.earlier`); what is longer ago is in the figures
and no reason to be alarmed any more.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import Any

from keepserve.admin.reading import Reading
from keepserve.config.durations import format_duration
from keepserve.server.tls import EXPIRES_SOON
from keepserve.telemetry import counters
from keepserve.telemetry.counters import IDLE_BOUNDS, RESTARTS
from keepserve.telemetry.idle import alarming, as_late_as, options_to_outlast, round_timeout
from keepserve.telemetry.reasons import CloseReason

ALARMING_LAG = 0.25
"""Seconds. A loop that comes so late has been blocked by the application."""

STOPPED_LOOP = 5.0
"""Seconds without a beat after which a loop is said to stand still; beats come once a second."""

SPREAD_FACTOR, SPREAD_LEAST = 1.5, 20
"""A worker has too many connections with so many times the mean, and so many more than another."""

_DAY = 86400.0
_FAILURES = ("crashed", "killed", "out_of_memory", "hung")


def warnings(reading: Reading, document: dict[str, Any]) -> list[str]:
    """The sentences on a reading and the other parts of its status document; the most urgent first."""
    return [*_of_the_server(document), *_of_idle_connections(reading, document), *_of_events(reading, document)]


def _of_the_server(document: dict[str, Any]) -> Iterator[str]:
    drain, workers = document["drain"], document["workers"]
    if drain is not None:
        yield (
            f"The server is stopping: after {_seconds(drain['elapsed'])} of at most {_seconds(drain['limit'])}, "
            f"{_count(drain['requests'], 'request')} and {_count(drain['connections'], 'connection')} are left."
        )
    elif document["state"] == "starting" and document["requests"]["total"]:
        yield "No worker serves at present; connections wait until one does. The log says why the last one ended."
    for worker in workers:
        beat, who = worker["beat_age"], f"Worker {worker['pid']}"
        if beat is not None and beat > STOPPED_LOOP and worker["stage"] == "serving":
            yield f"{who}'s event loop has not turned for {_seconds(beat)}: something in the application blocks it."
        elif worker["lag_max"] >= ALARMING_LAG:
            yield (
                f"{who}'s event loop came up to {_seconds(worker['lag_max'])} late in the last minute: something in "
                "the application blocks it, and every request waits. Move it to a thread (asyncio.to_thread)."
            )
        if worker["full"]:
            yield (
                f"{who} accepts nothing for want of room: raise the limit on open files (ulimit -n, LimitNOFILE=) or "
                "limit_connections, or start more workers."
            )
    yield from _of_the_certificate(document)
    yield from _of_balance(document)


def _of_the_certificate(document: dict[str, Any]) -> Iterator[str]:
    expires = document["tls"]["certificate_expires"]
    if expires is None:
        return
    left = expires - document["now"]
    when = datetime.datetime.fromtimestamp(expires, datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    if left <= 0:
        yield f"The certificate has expired ({when}): put a new one in its place and send SIGHUP."
    elif left <= EXPIRES_SOON * _DAY:
        days = _count(int(left / _DAY), "day")
        yield f"The certificate expires in {days} ({when}): put a new one in its place and send SIGHUP."


def _of_balance(document: dict[str, Any]) -> Iterator[str]:
    loads = [worker["connections"] for worker in document["workers"] if worker["stage"] == "serving"]
    if len(loads) < 2:
        return
    most, least = max(loads), min(loads)
    if most - least >= SPREAD_LEAST and most >= SPREAD_FACTOR * sum(loads) / len(loads):
        yield (
            f"Connections are spread unevenly: one worker has {most}, another {least}. They stay with their worker, "
            "so this evens out as they are replaced (--max-connection-age)."
        )


def _of_idle_connections(reading: Reading, document: dict[str, Any]) -> Iterator[str]:
    """The balancer should close first; here is how one sees that it does not."""
    settings = reading.settings
    if not settings.lb_idle_timeout:
        return  # nobody to outlast
    ours = f"keep_alive_timeout is {_seconds(settings.keep_alive_timeout)}"
    harm = "A request that is sent as we close gets a 502."
    inferred = document["idle"]["inferred"]["http1"]
    seen = round_timeout(inferred) if inferred else 0.0
    buckets = len(IDLE_BOUNDS) + 1
    by_us = sum(_recent_block(reading, counters.IDLE_BY_US, buckets))
    late = [bound > settings.keep_alive_timeout / 2 for bound in (*IDLE_BOUNDS, float("inf"))]
    by_peer = sum(
        count for count, is_late in zip(_recent_block(reading, counters.IDLE_BY_PEER, buckets), late, strict=True)
        if is_late
    )  # fmt: skip
    closes = f"We closed {_count(by_us, 'idle connection')} before the balancer did"
    if seen and as_late_as(seen, settings.keep_alive_timeout):
        begin = closes if by_us else "The balancer closes idle connections as late as we do"
        yield (
            f"{begin}: its idle timeout looks like {_seconds(seen)}, and {ours}. {harm} "
            f"Set {options_to_outlast(seen, settings)}."
        )
    elif alarming(by_us, by_peer):
        yield (
            f"{closes}: lb_idle_timeout is {_seconds(settings.lb_idle_timeout)}, and {ours}. {harm} "
            "Set --lb-idle-timeout to what the balancer really has; if clients connect directly, say --lb none."
        )
    elif seen > settings.lb_idle_timeout * 1.03:
        yield (
            f"The balancer's idle timeout looks like {_seconds(seen)}, lb_idle_timeout is "
            f"{_seconds(settings.lb_idle_timeout)}: that leaves {_seconds(settings.keep_alive_timeout - seen)} until "
            f"we close ({ours}). Set {options_to_outlast(seen, settings)}."
        )


def _of_events(reading: Reading, document: dict[str, Any]) -> Iterator[str]:
    ended = {
        cause: count
        for cause, count in zip(RESTARTS, _recent_block(reading, counters.RESTARTED, len(RESTARTS)), strict=True)
        if count and cause in _FAILURES
    }
    if ended:
        causes = ", ".join(f"{cause.replace('_', ' ')} {count}" for cause, count in ended.items())
        yield f"{_count(sum(ended.values()), 'worker')} had to be replaced ({causes}): the log says which, and why."
    if overdue := _recent(reading, counters.OVERDUE):
        yield (
            f"{_count(overdue, 'request')} had no byte of a response after lb_idle_timeout "
            f"({_seconds(reading.settings.lb_idle_timeout)}): the balancer has answered 504 in our place."
        )
    if limited := _recent(reading, counters.LIMITED):
        yield (
            f"{_count(limited, 'request')} got 503, since more than limit_concurrency "
            f"({document['settings']['limit_concurrency']}) ran in a worker."
        )
    evicted = counters.CLOSED + counters.REASONS.index(CloseReason.EVICTED)
    if closed := _recent(reading, evicted):
        yield (
            f"{_count(closed, 'connection')} had to be closed because there were nearly too many: raise the limit on "
            "open files (ulimit -n, LimitNOFILE=) or limit_connections, or start more workers."
        )
    if lost := _recent(reading, counters.LOG_LINES_LOST):
        yield (
            f"{_count(lost, 'line')} of the access log could not be written in time, and were dropped: whatever "
            "reads it is too slow, or its disk is."
        )


def _recent(reading: Reading, word: int) -> int:
    """How much a word has grown in the last minutes."""
    return reading.snapshot.total[word] - (reading.earlier[word] if reading.earlier is not None else 0)


def _recent_block(reading: Reading, start: int, size: int) -> list[int]:
    return [_recent(reading, word) for word in range(start, start + size)]


def _seconds(seconds: float) -> str:
    return format_duration(round(seconds, 3 if seconds < 1 else 1))


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
