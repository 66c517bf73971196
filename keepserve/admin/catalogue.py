"""Every metric there is, by subject: name, sentence, labels, and where the numbers come from.

What has been counted is taken from the total of all workers, those included that are gone, so that it never falls
while the server runs. What is told of single workers has names of its own and a label for the worker's seat: the
seat's next worker begins at 0.
"""

from __future__ import annotations

import math
import platform
from collections.abc import Callable, Iterator, Sequence

from keepserve.admin import figures
from keepserve.admin.families import Buckets, Family, Mean, Series, Value
from keepserve.admin.reading import Reading
from keepserve.process.loops import loop_name
from keepserve.server.phases import Phase
from keepserve.telemetry import counters
from keepserve.telemetry.counters import (
    CONNECTION_REQUESTS_BOUNDS,
    DURATION_BOUNDS,
    IDLE_BOUNDS,
    LAG_BOUNDS,
    METHODS,
    STATUS_CLASSES,
    Tally,
)
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
    STAGE,
    STAGES,
    STOP_BEGAN,
    WorkerView,
)

_HTTP1, _HTTP2 = ("http1",), ("http2",)


def _known(value: float | None) -> float:
    """The value; NaN, which is what Prometheus has for not known, for None."""
    return math.nan if value is None else value


def _total(read: Callable[[Tally], Value]) -> Callable[[Reading], Series]:
    """One number of all that was counted."""
    return lambda reading: [((), read(reading.snapshot.total))]


def _share(read: Callable[[Tally], float | None]) -> Callable[[Reading], Series]:
    """A part of all that was counted, if there is anything."""
    return _total(lambda total: _known(read(total)))


def _word(word: int) -> Callable[[Reading], Series]:
    return lambda reading: [((), max(0, reading.snapshot.total[word]))]


def _setting(read: Callable[[Reading], float | None]) -> Callable[[Reading], Series]:
    return lambda reading: [((), read(reading) or 0)]


def _common(word: int) -> Callable[[Reading], Series]:
    """A time of the row that belongs to all; 0 there is not known."""
    return lambda reading: [((), reading.snapshot.common[word] or math.nan)]


def _protocols(read: Callable[[Reading, int], float], words: tuple[int, int]) -> Callable[[Reading], Series]:
    return lambda reading: [(_HTTP1, read(reading, words[0])), (_HTTP2, read(reading, words[1]))]


def _workers(read: Callable[[Reading, WorkerView], float]) -> Callable[[Reading], Series]:
    """A number of each worker."""
    return lambda reading: [((str(one.number),), read(reading, one)) for one in reading.snapshot.workers]


def _buckets(total: Tally, start: int, bounds: Sequence[float], summed: float) -> Buckets:
    return Buckets(bounds, total.block(start, len(bounds) + 1), summed)


def _requests(reading: Reading) -> Series:
    total = reading.snapshot.total
    for method in METHODS:
        for status in STATUS_CLASSES:
            yield (method, status), sum(total.requests(method, status))


def _rejected(reading: Reading) -> Series:
    for status, count in reading.snapshot.total.rejected().items():
        yield (str(status) if status else "other",), count


def _states(reading: Reading) -> Series:
    total = reading.snapshot.total
    opened, active = total[counters.OPEN_1] + total[counters.OPEN_2], max(0, total[counters.ACTIVE])
    yield ("handshaking",), max(0, total[counters.HANDSHAKING])
    yield ("active",), active
    yield ("idle",), max(0, opened - active)


def _idle(reading: Reading) -> Series:
    total = reading.snapshot.total
    yield (
        ("peer",),
        _buckets(total, counters.IDLE_BY_PEER, IDLE_BOUNDS, total.seconds(counters.IDLE_BY_PEER_SECONDS)),
    )
    yield ("us",), _buckets(total, counters.IDLE_BY_US, IDLE_BOUNDS, total.seconds(counters.IDLE_BY_US_SECONDS))


def _handshakes(reading: Reading) -> Series:
    total = reading.snapshot.total
    resumed = total[counters.RESUMED_TLS]
    yield ("new",), max(0, total[counters.ACCEPTED_TLS] - resumed)
    yield ("resumed",), resumed


def _reloads(reading: Reading) -> Series:
    yield ("done",), reading.snapshot.common[RELOADS]
    yield ("failed",), reading.snapshot.common[RELOADS_FAILED]


def _stages(reading: Reading) -> Series:
    stages = [worker.seat[STAGE] for worker in reading.snapshot.workers]
    for number, stage in STAGES.items():
        yield (stage,), stages.count(number)


def _phases(reading: Reading) -> Iterator[tuple[Sequence[str], float]]:
    for worker in reading.snapshot.workers:
        now = worker.counted[counters.PHASE]
        for phase in Phase:
            yield (str(worker.number), phase.name.lower()), int(phase == now)


def _running(reading: Reading) -> Series:
    yield (), sum(worker.seat[RUNNING] for worker in reading.snapshot.workers)


def _build(reading: Reading) -> Series:
    settings = reading.settings
    yield (
        (),
        {
            "version": reading.version,
            "python": platform.python_version(),
            "http1": settings.http1,
            "http2": settings.http2,
            "loop": loop_name(settings.loop),
        },
    )


def _worker_info(reading: Reading) -> Series:
    # A seat whose worker is not born yet has no process to be told.
    return [
        ((str(one.number),), {"pid": str(one.seat[PID])}) for one in reading.snapshot.workers if one.seat[PID] > 0
    ]


def _beat_age(reading: Reading, worker: WorkerView) -> float:
    beat = worker.seat[BEAT]
    return max(0, reading.monotonic_ns - beat) / 1e9 if beat else math.nan


_BY_PROTOCOL, _BY_WORKER = ("protocol",), ("worker",)

CATALOGUE: dict[str, tuple[Family, ...]] = {
    "Requests": (
        Family("counter", "keepserve_requests_total",
               "Requests that were answered, by method and by the first digit of the status.",
               ("method", "status"), _requests),
        Family("histogram", "keepserve_request_duration_seconds",
               "Time from the head of a request to the last byte of its response.", (),
               _total(lambda total: Buckets(DURATION_BOUNDS, total.requests(), total.seconds(counters.DURATIONS)))),
        Family("counter", "keepserve_requests_received_total",
               "Requests that were taken in, whatever became of them, as of the last tenth of a second.",
               _BY_PROTOCOL, _protocols(lambda reading, word: reading.snapshot.total[word],
                                        (counters.REQUESTS_1, counters.REQUESTS_2))),
        Family("gauge", "keepserve_requests_running", "Applications that run at present.", (), _running),
        Family("gauge", "keepserve_requests_waiting",
               "Requests that wait for a place under limit_concurrency.", (), _word(counters.WAITING)),
        Family("counter", "keepserve_requests_left_total",
               "Requests whose client was gone before the response was complete.", (), _word(counters.LEFT)),
        Family("counter", "keepserve_requests_failed_total",
               "Applications that raised an exception or did not complete their response.",
               (), _word(counters.FAILED)),
        Family("counter", "keepserve_requests_overdue_total",
               "Requests without a byte of their response after lb_idle_timeout: the balancer has given them up.",
               (), _word(counters.OVERDUE)),
        Family("counter", "keepserve_health_checks_total",
               "Health checks that keepserve answered itself; they are not among the requests.",
               (), _word(counters.HEALTH_CHECKS)),
        Family("counter", "keepserve_websockets_accepted_total", "WebSockets that the application accepted.",
               (), _word(counters.SOCKETS_ACCEPTED)),
        Family("counter", "keepserve_received_bytes_total", "Bytes of HTTP that came from clients.",
               (), _word(counters.BYTES_IN)),
        Family("counter", "keepserve_sent_bytes_total", "Bytes of HTTP that went to clients.",
               (), _word(counters.BYTES_OUT)),
    ),
    "Connections and their reuse": (
        Family("gauge", "keepserve_connections",
               "Open connections, by protocol; one that has said nothing yet counts as http1.", _BY_PROTOCOL,
               _protocols(lambda reading, word: max(0, reading.snapshot.total[word]),
                          (counters.OPEN_1, counters.OPEN_2))),
        Family("gauge", "keepserve_connection_states",
               "Connections by state: in the making (PROXY header, TLS handshake), with a request under way, idle.",
               ("state",), _states),
        Family("gauge", "keepserve_streams", "HTTP/2 streams with a request under way.", (), _word(counters.STREAMS)),
        Family("gauge", "keepserve_websockets", "Open WebSockets.", (), _word(counters.SOCKETS)),
        Family("counter", "keepserve_connections_accepted_total",
               "Connections that came about: accepted, and through the TLS handshake if there is one.",
               (), _word(counters.ACCEPTED)),
        Family("counter", "keepserve_connections_closed_total", "Connections that ended, by the reason.", ("reason",),
               lambda reading: [((why.value,), count) for why, count in reading.snapshot.total.closed().items()]),
        Family("histogram", "keepserve_connection_requests", "Requests a connection had carried when it ended.", (),
               _total(lambda total: _buckets(total, counters.CONNECTION_REQUESTS, CONNECTION_REQUESTS_BOUNDS,
                                             total[counters.CONNECTION_REQUESTS_SUM]))),
        Family("gauge", "keepserve_connection_reuse_ratio",
               "Share of all requests so far that needed no new connection.", (), _share(figures.reuse)),
        Family("gauge", "keepserve_handshakes_avoided",
               "Requests so far that needed no new connection; it may fall a little when new ones are opened.",
               (), _total(figures.handshakes_avoided)),
        Family("gauge", "keepserve_connection_setup_seconds",
               "Estimate of what a new connection costs: the mean TLS handshake, or a round trip; 0: never measured.",
               (), _total(figures.connection_cost)),
        Family("gauge", "keepserve_handshakes_avoided_seconds",
               "Estimate of the time saved so far: handshakes avoided times what a new connection costs.",
               (), _total(figures.time_saved)),
        Family("summary", "keepserve_connection_round_trip_seconds",
               "Round-trip times as the kernel measured them; one connection in 16 is asked for its own.",
               (), _total(lambda total: Mean(total[counters.RTT_SAMPLES], total.seconds(counters.RTT_SECONDS)))),
    ),
    "Who closes first": (
        Family("histogram", "keepserve_connection_idle_seconds",
               "How long a connection had been idle, after at least one request, when the peer or we closed it.",
               ("closed_by",), _idle),
        Family("gauge", "keepserve_lb_idle_timeout_inferred_seconds",
               "The balancer's idle timeout as it shows in when idle connections are closed; NaN while none shows.",
               _BY_PROTOCOL,
               _protocols(lambda reading, word: _known(figures.inferred_timeout(reading.snapshot.workers, word)),
                          (counters.LB_IDLE_1, counters.LB_IDLE_2))),
        Family("gauge", "keepserve_lb_idle_timeout_seconds",
               "The setting lb_idle_timeout; 0: there is no balancer to outlast.",
               (), _setting(lambda reading: reading.settings.lb_idle_timeout)),
        Family("gauge", "keepserve_keep_alive_timeout_seconds",
               "The setting keep_alive_timeout: how long we keep an idle connection.",
               (), _setting(lambda reading: reading.settings.keep_alive_timeout)),
        Family("gauge", "keepserve_headers_timeout_seconds", "The setting headers_timeout.",
               (), _setting(lambda reading: reading.settings.headers_timeout)),
    ),
    "TLS": (
        Family("counter", "keepserve_tls_handshakes_total", "TLS handshakes that succeeded, by session.",
               ("session",), _handshakes),
        Family("summary", "keepserve_tls_handshake_seconds", "Time from accepting to the end of the TLS handshake.",
               (), _total(lambda total: Mean(total[counters.ACCEPTED_TLS], total.seconds(counters.TLS_SECONDS)))),
        Family("gauge", "keepserve_tls_resumption_ratio", "Share of TLS handshakes so far that resumed a session.",
               (), _share(figures.resumption)),
        Family("gauge", "keepserve_certificate_expiry_timestamp_seconds",
               "When the certificate that new connections get expires; NaN without TLS.",
               (), _common(CERTIFICATE_EXPIRES)),
    ),
    "Refused and lost": (
        Family("counter", "keepserve_requests_rejected_total",
               "Answers of the server itself to what was no acceptable request, by status.", ("status",), _rejected),
        Family("counter", "keepserve_requests_limited_total",
               "Requests answered 503 for limit_concurrency; they are among keepserve_requests_total.",
               (), _word(counters.LIMITED)),
        Family("counter", "keepserve_http2_glitches_total",
               "HTTP/2 frames that carried nothing, counted when their connection ends.",
               (), _word(counters.GLITCHES)),
        Family("counter", "keepserve_http2_resets_total",
               "HTTP/2 streams that were reset because of the peer, counted when their connection ends.",
               (), _word(counters.RESETS)),
        Family("counter", "keepserve_access_log_lines_lost_total",
               "Lines of the access log that could not be written in time.", (), _word(counters.LOG_LINES_LOST)),
    ),
    "The server and its workers": (
        Family("info", "keepserve_build_info", "What runs: versions, HTTP engines and event loop.", (), _build,
               ("version", "python", "http1", "http2", "loop")),
        Family("gauge", "keepserve_start_timestamp_seconds", "When the server began.", (), _common(BEGAN)),
        Family("gauge", "keepserve_draining", "1 when the server is stopping, else 0.",
               (), lambda reading: [((), int(reading.snapshot.common[STOP_BEGAN] > 0))]),
        Family("gauge", "keepserve_workers", "Workers there are, by how far they have come.", ("stage",), _stages),
        Family("gauge", "keepserve_workers_wanted", "The setting workers.",
               (), _setting(lambda reading: reading.settings.workers)),
        Family("counter", "keepserve_workers_replaced_total", "Workers that were replaced, by cause.", ("cause",),
               lambda reading: [((cause,), count) for cause, count in reading.snapshot.total.restarts().items()]),
        Family("counter", "keepserve_reloads_total",
               "Reloads that were carried out, and those whose new workers failed, so that the old ones went on.",
               ("result",), _reloads),
        Family("histogram", "keepserve_loop_lag_seconds", "How late event loops came to their beats.", (),
               _total(lambda total: _buckets(total, counters.LAGS, LAG_BOUNDS, total.seconds(counters.LAG_SECONDS)))),
        Family("gauge", "keepserve_connections_spread",
               "Connections that the fullest serving worker has more than the emptiest.",
               (), lambda reading: [((), figures.spread(reading.snapshot.workers))]),
        Family("gauge", "keepserve_limit_concurrency",
               "The setting limit_concurrency: requests that may run at once in a worker; 0: no limit.",
               (), _setting(lambda reading: reading.settings.limit_concurrency)),
        Family("gauge", "keepserve_limit_connections",
               "The setting limit_connections, of a worker; 0: what the limit on open files leaves.",
               (), _setting(lambda reading: reading.settings.limit_connections)),
        Family("gauge", "keepserve_drain_delay_seconds", "The setting drain_delay.",
               (), _setting(lambda reading: reading.settings.drain_delay)),
        Family("gauge", "keepserve_drain_timeout_seconds", "The setting drain_timeout.",
               (), _setting(lambda reading: reading.settings.drain_timeout)),
    ),
    "Each worker": (
        Family("info", "keepserve_worker_info", "The worker's process.", _BY_WORKER, _worker_info, ("pid",)),
        Family("gauge", "keepserve_worker_phase", "1 for the phase of a stop the worker is in, 0 for the others.",
               ("worker", "phase"), _phases),
        Family("gauge", "keepserve_worker_connections", "Open connections, those in the making included.",
               _BY_WORKER, _workers(lambda _, one: one.seat[CONNECTIONS])),
        Family("gauge", "keepserve_worker_active_connections", "Connections with a request under way.",
               _BY_WORKER, _workers(lambda _, one: max(0, one.counted[counters.ACTIVE]))),
        Family("gauge", "keepserve_worker_websockets", "Open WebSockets.",
               _BY_WORKER, _workers(lambda _, one: one.counted[counters.SOCKETS])),
        Family("gauge", "keepserve_worker_requests_running", "Applications that run at present.",
               _BY_WORKER, _workers(lambda _, one: one.seat[RUNNING])),
        Family("counter", "keepserve_worker_connections_accepted_total", "Connections the worker has accepted.",
               _BY_WORKER, _workers(lambda _, one: one.seat[ACCEPTED])),
        Family("counter", "keepserve_worker_requests_total", "Requests the worker has answered.",
               _BY_WORKER, _workers(lambda _, one: sum(one.counted.requests()))),
        Family("gauge", "keepserve_worker_loop_lag_seconds", "How late the event loop came to its last beat.",
               _BY_WORKER, _workers(lambda _, one: one.counted[counters.LAG] / 1e6)),
        Family("gauge", "keepserve_worker_loop_lag_max_seconds", "The most of that in the last minute or so.",
               _BY_WORKER, _workers(lambda _, one: one.counted[counters.LAG_MAX] / 1e6)),
        Family("gauge", "keepserve_worker_beat_age_seconds", "Time since the event loop was last seen to turn.",
               _BY_WORKER, _workers(_beat_age)),
        Family("gauge", "keepserve_worker_resident_memory_bytes", "Resident memory.", _BY_WORKER,
               _workers(lambda reading, one: reading.memory.get(one.seat[PID], math.nan))),
        Family("gauge", "keepserve_worker_full", "1 while the worker accepts nothing for want of room.",
               _BY_WORKER, _workers(lambda _, one: one.seat[FULL])),
    ),
}  # fmt: skip
"""Metrics by subject, in the order in which they are exported."""

FAMILIES = tuple(family for families in CATALOGUE.values() for family in families)
"""All of them."""
