"""Status documents as the admin listener's, for what cannot be brought about in a test: trouble, and a long life."""

from __future__ import annotations

import copy
from typing import Any

from keepserve.telemetry.counters import (
    CONNECTION_REQUESTS_BOUNDS,
    DURATION_BOUNDS,
    IDLE_BOUNDS,
    METHODS,
    REASONS,
    RESTARTS,
    STATUS_CLASSES,
)

Document = dict[str, Any]

NOW = 1_790_000_000.25


def buckets(bounds: tuple[float, ...], **counts: int) -> list[int]:
    """Counts by bucket; ``_60=3`` is three in the bucket whose upper bound is 60, ``rest`` the last."""
    found = [0] * (len(bounds) + 1)
    for name, count in counts.items():
        place = len(bounds) if name == "rest" else bounds.index(float(name[1:].replace("_", ".")))
        found[place] = count
    return found


def worker(seat: int, **other: Any) -> Document:
    """A worker that has nothing to do."""
    return {
        "seat": seat,
        "pid": 4101 + seat,
        "stage": "serving",
        "phase": "serving",
        "replaced": False,
        "connections": 0,
        "http1": 0,
        "http2": 0,
        "active": 0,
        "streams": 0,
        "websockets": 0,
        "running": 0,
        "waiting": 0,
        "requests": 0,
        "accepted": 0,
        "lag": 0.0,
        "lag_max": 0.0002,
        "memory": 31_000_000 + 130_000 * seat,
        "beat_age": 0.4,
        "full": False,
    } | other


def fresh(workers: int = 2) -> Document:
    """A server that has just begun and that nobody has asked anything."""
    return {
        "version": "0.1.0",
        "now": NOW,
        "began": int(NOW) - 3,
        "uptime": 3.25,
        "state": "serving",
        "listening": ["http://127.0.0.1:8000"],
        "pid": 4100,
        "settings": {
            "lb": None,
            "lb_idle_timeout": 60.0,
            "keep_alive_timeout": 80.0,
            "headers_timeout": 90.0,
            "workers": workers,
            "http1": "httptools",
            "http2": "native",
            "drain_timeout": 30.0,
            "limit_concurrency": 0,
        },
        "requests": {
            "total": 0,
            "by_status": dict.fromkeys(STATUS_CLASSES, 0),
            "by_method": dict.fromkeys(METHODS, 0),
            "rejected": {},
            "left": 0,
            "limited": 0,
            "failed": 0,
            "health_checks": 0,
            "over_http1": 0,
            "over_http2": 0,
            "running": 0,
            "waiting": 0,
        },
        "latency": {
            "bounds": list(DURATION_BOUNDS),
            "counts": [0] * (len(DURATION_BOUNDS) + 1),
            "sum": 0.0,
            "p50": None,
            "p90": None,
            "p99": None,
        },
        "connections": {
            "open": 0,
            "http1": 0,
            "http2": 0,
            "handshaking": 0,
            "active": 0,
            "idle": 0,
            "streams": 0,
            "websockets": 0,
            "accepted": 0,
            "closed": {reason.value: 0 for reason in REASONS},
            "per_worker_spread": 0,
            "reuse": {
                "requests_per_connection": None,
                "ratio": None,
                "bounds": list(CONNECTION_REQUESTS_BOUNDS),
                "counts": [0] * (len(CONNECTION_REQUESTS_BOUNDS) + 1),
                "handshakes_avoided": 0,
                "time_saved": 0.0,
                "rtt": None,
                "tls_handshake": None,
            },
        },
        "idle": {
            "bounds": list(IDLE_BOUNDS),
            "by_peer": [0] * (len(IDLE_BOUNDS) + 1),
            "by_us": [0] * (len(IDLE_BOUNDS) + 1),
            "inferred": {"http1": None, "http2": None},
        },
        "tls": {"handshakes": 0, "resumed": 0, "resumption": None, "failed": 0, "certificate_expires": None},
        "bytes": {"in": 0, "out": 0},
        "glitches": 0,
        "resets": 0,
        "websockets_accepted": 0,
        "overdue": 0,
        "log_lines_lost": 0,
        "restarts": dict.fromkeys(RESTARTS, 0),
        "reloads": 0,
        "reloads_failed": 0,
        "workers": [worker(seat) for seat in range(workers)],
        "drain": None,
        "warnings": [],
    }


def busy() -> Document:
    """Five hours behind a balancer that keeps idle connections for 60 s, and all is well."""
    document = fresh(4)
    settings, requests, connections = document["settings"], document["requests"], document["connections"]
    document |= {"began": int(NOW) - 18_432, "uptime": 18_432.25, "listening": ["https://0.0.0.0:8443"]}
    settings |= {"lb": "aws-alb"}
    requests |= {
        "total": 1_204_318,
        "by_status": {"1xx": 0, "2xx": 1_196_403, "3xx": 6_011, "4xx": 1_877, "5xx": 27},
        "rejected": {"400": 12, "408": 3, "431": 1},
        "left": 41,
        "failed": 2,
        "health_checks": 7_380,
        "over_http1": 1_204_375,
        "running": 7,
    }
    requests["by_method"] |= {"GET": 1_020_411, "POST": 171_200, "PUT": 12_700, "other": 7}
    document["latency"] |= {
        "counts": [1_900, 30_400, 402_300, 480_100, 201_000, 66_018, 15_300, 5_200, 1_700, 280, 90, 25, 4, 1, 0, 0],
        "sum": 9_871.5,
        "p50": 0.0038,
        "p90": 0.0187,
        "p99": 0.0731,
    }
    connections |= {"open": 186, "http1": 186, "active": 7, "idle": 179, "accepted": 9_644, "per_worker_spread": 3}
    connections["closed"] |= {
        "peer_closed": 9_201,
        "client_asked": 102,
        "max_requests": 88,
        "peer_left": 41,
        "peer_reset": 19,
        "bad_request": 4,
        "head_timeout": 3,
    }
    connections["reuse"] |= {
        "requests_per_connection": 124.88,
        "ratio": 0.99199,
        "counts": [12, 96, 141, 402, 777, 1_203, 2_100, 2_204, 1_405, 702, 288, 40, 0, 88, 0],
        "handshakes_avoided": 1_194_731,
        "time_saved": 2_747.9,
        "rtt": 0.0004,
        "tls_handshake": 0.0023,
    }
    document["idle"] |= {
        "by_peer": buckets(IDLE_BOUNDS, _5=31, _10=44, _20=60, _45=25, _55=18, _61=8_870, _65=153),
        "inferred": {"http1": 60.07, "http2": None},
    }
    document["tls"] |= {
        "handshakes": 9_644,
        "resumed": 8_951,
        "resumption": 0.92814,
        "failed": 6,
        "certificate_expires": int(NOW) + 61 * 86_400,
    }
    document["bytes"] |= {"in": 812_004_113, "out": 9_441_208_730}
    document["restarts"] |= {"max_requests": 2, "reload": 4}
    document["reloads"] = 1
    shares = ((47, 2, 301_100), (45, 1, 300_804), (48, 3, 301_611), (46, 1, 300_803))
    document["workers"] = [
        worker(
            seat,
            connections=number,
            http1=number,
            active=active,
            running=active,
            requests=share,
            accepted=2_411,
            lag=0.0003,
            lag_max=0.0041,
            memory=58_200_000 + seat * 911_000,
        )
        for seat, (number, active, share) in enumerate(shares)
    ]
    return document


def early() -> Document:
    """We close before the balancer does, and more is wrong besides."""
    document = busy()
    document["settings"] |= {"lb": None}
    document["idle"] = document["idle"] | {
        "by_peer": buckets(IDLE_BOUNDS, _5=31, _10=44, _20=60),
        "by_us": buckets(IDLE_BOUNDS, _81=6_204, _90=310),
        "inferred": {"http1": 348.4, "http2": None},
    }
    document["connections"]["closed"] |= {"peer_closed": 140, "idle_timeout": 6_514, "app_failed": 2}
    document["warnings"] = [
        "We closed 6514 idle connections before the balancer did: its idle timeout looks like 350 s, and "
        "keep_alive_timeout is 80 s. A request that is sent as we close gets a 502. Set --lb-idle-timeout 350.",
        "Worker 4103's event loop has not turned for 14.2 s: something in the application blocks it.",
        "3 requests had no byte of a response after lb_idle_timeout (60 s): the balancer has answered 504 in our "
        "place.",
    ]
    document["overdue"] = 3
    document["workers"][2] |= {"beat_age": 14.2, "lag_max": 3.4, "full": True, "waiting": 4}
    return document


def draining() -> Document:
    """A stop on its way: one worker is done, one is ahead."""
    document = busy()
    document["state"] = "draining"
    document["drain"] = {"elapsed": 12.4, "limit": 45.0, "workers": 4, "connections": 21, "requests": 4}
    document["warnings"] = [
        "The server is stopping: after 12.4 s of at most 45 s, 4 requests still run and 21 connections are open."
    ]
    document["connections"] |= {"open": 21, "http1": 21, "active": 4, "idle": 17, "per_worker_spread": 12}
    document["connections"]["closed"]["draining"] = 165
    document["requests"] |= {"running": 4}
    for one, (phase, left) in zip(
        document["workers"], (("closing", 12), ("closing", 6), ("cancel", 3), ("over", 0)), strict=True
    ):
        one |= {"stage": "leaving", "phase": phase, "connections": left, "http1": left, "active": min(left, 2)}
    return document


def crowded(workers: int = 32) -> Document:
    """Many workers, much of everything, both protocols with timeouts of their own."""
    document = busy()
    document["settings"] |= {"workers": workers, "lb_idle_timeout": 3_600.0, "keep_alive_timeout": 3_620.0}
    document["requests"] |= {"total": 48_204_318_777, "waiting": 12}
    document["connections"] |= {"open": 61_440, "http1": 40_000, "http2": 21_440, "active": 20_480, "idle": 40_960}
    document["connections"]["closed"] = {
        reason.value: (number * 7_919) % 104_729 for number, reason in enumerate(REASONS)
    }
    document["idle"] |= {
        "by_peer": [(number * 7_919) % 104_729 for number in range(len(IDLE_BOUNDS) + 1)],
        "by_us": [0] * len(IDLE_BOUNDS) + [3],
        "inferred": {"http1": 350.0, "http2": 3_600.0},
    }
    document["workers"] = [
        worker(
            seat,
            connections=1_920 + seat * 7,
            active=640 + seat,
            http1=1_250,
            http2=670 + seat * 7,
            requests=1_506_384_961,
            accepted=300_000,
            memory=412_000_000,
        )
        for seat in range(workers)
    ]
    return document


def later(document: Document, seconds: float, requests: int) -> Document:
    """The same server ``seconds`` later, when its first worker has answered so many more requests."""
    after = copy.deepcopy(document)
    after["now"] += seconds
    after["uptime"] += seconds
    after["requests"]["total"] += requests
    after["latency"]["counts"][3] += requests
    after["workers"][0]["requests"] += requests
    return after
