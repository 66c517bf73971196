"""The status document: what ``/status`` answers, and what the live page and ``keepserve status`` show.

Times are seconds, those called ``now``, ``began`` and ``certificate_expires`` since the epoch; sizes are bytes.
What is not known is None. Counts are of the whole server since it began, workers that are gone included; those of
one of ``workers`` are its own.
"""

from __future__ import annotations

from typing import Any

from keepserve.admin import figures
from keepserve.admin.figures import quantile, ratio
from keepserve.admin.reading import Reading
from keepserve.admin.warnings import warnings
from keepserve.server.phases import Phase
from keepserve.telemetry import counters
from keepserve.telemetry.counters import (
    CONNECTION_REQUESTS_BOUNDS,
    DURATION_BOUNDS,
    IDLE_BOUNDS,
    METHODS,
    STATUS_CLASSES,
    Tally,
)
from keepserve.telemetry.reasons import CloseReason
from keepserve.telemetry.scoreboard import (
    ACCEPTED,
    BEAT,
    BEGAN,
    CERTIFICATE_EXPIRES,
    CONNECTIONS,
    FULL,
    PID,
    RELOADS,
    RELOADS_FAILED,
    RUNNING,
    SERVING,
    STAGE,
    STAGES,
    STOP_BEGAN,
    WorkerView,
)

_PHASES = [phase.name.lower() for phase in Phase]


def status(reading: Reading) -> dict[str, Any]:
    """The status document of a reading: of JSON's types, and nothing else."""
    total, common = reading.snapshot.total, reading.snapshot.common
    workers = [_worker(reading, view) for view in reading.snapshot.workers]
    document: dict[str, Any] = {
        "version": reading.version,
        "now": reading.now,
        "began": common[BEGAN],
        "uptime": max(0.0, reading.now - common[BEGAN]),
        "state": _state(reading),
        "listening": list(reading.listening),
        "pid": reading.pid,
        "settings": _settings(reading),
        "requests": _requests(total, workers),
        "latency": _latency(total),
        "connections": _connections(reading, workers),
        "idle": _idle(reading),
        "tls": _tls(total, common[CERTIFICATE_EXPIRES]),
        "bytes": {"in": total[counters.BYTES_IN], "out": total[counters.BYTES_OUT]},
        "glitches": total[counters.GLITCHES],
        "resets": total[counters.RESETS],
        "websockets_accepted": total[counters.SOCKETS_ACCEPTED],
        "overdue": total[counters.OVERDUE],
        "log_lines_lost": total[counters.LOG_LINES_LOST],
        "restarts": total.restarts(),
        "reloads": common[RELOADS],
        "reloads_failed": common[RELOADS_FAILED],
        "workers": workers,
    }
    document["drain"] = _drain(reading, document)
    document["warnings"] = warnings(reading, document)
    return document


def _state(reading: Reading) -> str:
    if reading.snapshot.common[STOP_BEGAN]:
        return "draining"
    serves = any(view.seat[STAGE] == SERVING for view in reading.snapshot.workers)
    return "serving" if serves else "starting"


def _settings(reading: Reading) -> dict[str, Any]:
    settings = reading.settings
    return {
        "lb": settings.lb,
        "lb_idle_timeout": settings.lb_idle_timeout,
        "keep_alive_timeout": settings.keep_alive_timeout,
        "headers_timeout": settings.headers_timeout,
        "workers": settings.workers,
        "http1": settings.http1,
        "http2": settings.http2,
        "drain_timeout": settings.drain_timeout,
        "limit_concurrency": settings.limit_concurrency or 0,
    }


def _drain(reading: Reading, document: dict[str, Any]) -> dict[str, Any] | None:
    """How far a stop has come; None: the server is not stopping."""
    began = reading.snapshot.common[STOP_BEGAN]
    if not began:
        return None
    return {
        "elapsed": max(0.0, (reading.monotonic_ns - began) / 1e9),
        "limit": reading.settings.stop_budget,
        "workers": len(document["workers"]),
        "connections": document["connections"]["open"],
        "requests": document["requests"]["running"],
    }


def _requests(total: Tally, workers: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "total": sum(total.requests()),
        "by_status": {name: sum(total.requests(status_class=name)) for name in STATUS_CLASSES},
        "by_method": {name: sum(total.requests(method=name)) for name in METHODS},
        "rejected": {str(code) if code else "other": count for code, count in total.rejected().items() if count},
        "left": total[counters.LEFT],
        "limited": total[counters.LIMITED],
        "failed": total[counters.FAILED],
        "health_checks": total[counters.HEALTH_CHECKS],
        "over_http1": total[counters.REQUESTS_1],
        "over_http2": total[counters.REQUESTS_2],
        "running": sum(worker["running"] for worker in workers),
        "waiting": sum(worker["waiting"] for worker in workers),
    }


def _latency(total: Tally) -> dict[str, Any]:
    counts = total.requests()
    quantiles = {f"p{part}": quantile(DURATION_BOUNDS, counts, part / 100) for part in (50, 90, 99)}
    return {"bounds": list(DURATION_BOUNDS), "counts": counts, "sum": total.seconds(counters.DURATIONS), **quantiles}


def _connections(reading: Reading, workers: list[dict[str, Any]]) -> dict[str, Any]:
    total = reading.snapshot.total

    def of_all(name: str) -> int:
        return sum(worker[name] for worker in workers)

    established = of_all("http1") + of_all("http2")
    return {
        "open": of_all("connections"),
        "http1": of_all("http1"),
        "http2": of_all("http2"),
        "handshaking": total[counters.HANDSHAKING],
        "active": of_all("active"),
        "idle": max(0, established - of_all("active")),
        "streams": of_all("streams"),
        "websockets": of_all("websockets"),
        "accepted": total[counters.ACCEPTED],
        "closed": {reason.value: count for reason, count in total.closed().items()},
        "per_worker_spread": figures.spread(reading.snapshot.workers),
        "reuse": _reuse(total),
    }


def _reuse(total: Tally) -> dict[str, Any]:
    return {
        "requests_per_connection": ratio(figures.requests_taken(total), total[counters.ACCEPTED]),
        "ratio": figures.reuse(total),
        "bounds": list(CONNECTION_REQUESTS_BOUNDS),
        "counts": total.block(counters.CONNECTION_REQUESTS, len(CONNECTION_REQUESTS_BOUNDS) + 1),
        "handshakes_avoided": figures.handshakes_avoided(total),
        "time_saved": figures.time_saved(total),
        "rtt": figures.mean_round_trip(total),
        "tls_handshake": figures.mean_tls_handshake(total),
    }


def _idle(reading: Reading) -> dict[str, Any]:
    total, workers, buckets = reading.snapshot.total, reading.snapshot.workers, len(IDLE_BOUNDS) + 1
    return {
        "bounds": list(IDLE_BOUNDS),
        "by_peer": total.block(counters.IDLE_BY_PEER, buckets),
        "by_us": total.block(counters.IDLE_BY_US, buckets),
        "inferred": {
            "http1": figures.inferred_timeout(workers, counters.LB_IDLE_1),
            "http2": figures.inferred_timeout(workers, counters.LB_IDLE_2),
        },
    }


def _tls(total: Tally, expires: int) -> dict[str, Any]:
    closed = total.closed()
    return {
        "handshakes": total[counters.ACCEPTED_TLS],
        "resumed": total[counters.RESUMED_TLS],
        "resumption": figures.resumption(total),
        "failed": closed[CloseReason.TLS_FAILED] + closed[CloseReason.TLS_TIMEOUT],
        "certificate_expires": expires or None,
    }


def _worker(reading: Reading, view: WorkerView) -> dict[str, Any]:
    seat, counted = view.seat, view.counted
    phase = counted[counters.PHASE]
    return {
        "seat": view.number,
        "pid": seat[PID] if seat[PID] > 0 else None,  # it is being forked
        "stage": STAGES[seat[STAGE]],
        "phase": _PHASES[min(phase, len(_PHASES) - 1)],
        "replaced": bool(counted[counters.LEAVING_NOW]),
        "connections": seat[CONNECTIONS],
        "http1": counted[counters.OPEN_1],
        "http2": counted[counters.OPEN_2],
        "active": counted[counters.ACTIVE],
        "streams": counted[counters.STREAMS],
        "websockets": counted[counters.SOCKETS],
        "running": max(0, seat[RUNNING]),
        "waiting": counted[counters.WAITING],
        "requests": sum(counted.requests()),
        "accepted": seat[ACCEPTED],
        "lag": counted[counters.LAG] / 1e6,
        "lag_max": counted[counters.LAG_MAX] / 1e6,
        "memory": reading.memory.get(seat[PID]),
        "beat_age": max(0.0, (reading.monotonic_ns - seat[BEAT]) / 1e9) if seat[BEAT] else None,
        "full": bool(seat[FULL]),
    }
