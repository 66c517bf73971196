"""What a worker counts, and where in shared memory: one row of words per worker, written by plain stores.

A row is `ROW_WORDS` words of 64 bits on the `Scoreboard`, which only its worker writes. Most are integers that only
grow; `SECONDS_WORDS` are seconds as floating-point numbers; those of the block `NOW` are not counted but are as they
are at present. What a worker has counted is added up when it is gone, so that nothing of it is lost.

What is counted per request is one word: which one tells the method, the class of the status and the duration at once.
All that can be seen later without loss (bytes, streams, who is idle) is written down when the wheel visits the
connection, at most a tick after it was.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable
from typing import Final

from keepserve.telemetry.reasons import CloseReason

METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "other")
"""Methods that are told apart; all others are one, since a client may write what it likes."""

STATUS_CLASSES: Final = ("1xx", "2xx", "3xx", "4xx", "5xx")
"""By the first digit. 101 is that of a WebSocket over HTTP/1.1, which counts when it ends."""

DURATION_BOUNDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)
"""Upper bounds of the durations of requests, in seconds; the last bucket has the rest."""

CONNECTION_REQUESTS_BOUNDS: Final = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000)
"""Upper bounds of the requests a connection has carried, when it ends."""

IDLE_BOUNDS: Final = (
    1.0, 2.0, 3.0, 4.0, 5.0, 7.5, 10.0, 15.0, 20.0, 30.0, 45.0, 55.0, 61.0, 65.0, 70.0, 76.0, 81.0, 90.0, 120.0,
    180.0, 240.0, 300.0, 351.0, 400.0, 600.0, 620.0, 900.0, 1800.0, 3600.0,
)  # fmt: skip
"""Upper bounds of the seconds a connection was idle before it was closed. The usual timeouts of balancers lie within
a bucket and not on its edge: what closes after 60 s is seen a moment later."""

LAG_BOUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
"""Upper bounds of how late the event loop came to a timer, in seconds."""

REJECTIONS: Final = (400, 403, 404, 405, 408, 411, 413, 414, 417, 421, 426, 431, 500, 501, 503, 505)
"""Statuses with which the server itself answers what never became a request to the application."""

REASONS: Final = tuple(CloseReason)
"""The reasons, in the order of their words."""

RESTARTS: Final = (
    "crashed",
    "killed",
    "out_of_memory",
    "hung",
    "max_requests",
    "max_age",
    "max_memory",
    "left",
    "reload",
)
"""Why a worker was replaced. ``left``: it was told to by a signal of its own, or ended without being asked."""


class _Layout:
    """Hands out words."""

    def __init__(self) -> None:
        self.size = 0
        self.seconds: list[int] = []

    def block(self, size: int) -> int:
        start, self.size = self.size, self.size + size
        return start

    def word(self) -> int:
        return self.block(1)

    def time(self) -> int:
        start = self.block(1)
        self.seconds.append(start)
        return start


_layout = _Layout()

# As they are at present: these are not added up when the worker is gone.
NOW: Final = _layout.block(0)
OPEN_1: Final = _layout.word()
"""Open connections that speak HTTP/1.1, or have not said anything yet,"""
OPEN_2: Final = _layout.word()
"""and HTTP/2."""
HANDSHAKING: Final = _layout.word()
"""Connections in the making: before their PROXY header or in a TLS handshake."""
ACTIVE: Final = _layout.word()
"""Open connections with a request under way."""
STREAMS: Final = _layout.word()
"""Requests under way over HTTP/2."""
SOCKETS: Final = _layout.word()
"""Open WebSockets."""
WAITING: Final = _layout.word()
"""Requests that wait for a place under ``limit_concurrency``."""
PHASE: Final = _layout.word()
"""How far a stop has come, as a number of `keepserve.server.phases.Phase`."""
LEAVING_NOW: Final = _layout.word()
"""1: this worker ends because it is replaced."""
LB_IDLE_1: Final = _layout.word()
"""What the peers' idle timeout over HTTP/1.1 looks like, in milliseconds; 0: nothing shows yet."""
LB_IDLE_2: Final = _layout.word()
"""The same over HTTP/2."""
LAG: Final = _layout.word()
"""How late the loop came to its last beat, in microseconds,"""
LAG_MAX: Final = _layout.word()
"""and the most of the last minute or so."""
NOW_END: Final = _layout.block(0)

REQUESTS: Final = _layout.block(len(METHODS) * len(STATUS_CLASSES) * (len(DURATION_BOUNDS) + 1))
"""Requests that were answered, by method, class of status and duration: see `request_word`."""
DURATIONS: Final = _layout.time()
"""The sum of their durations, as of the last tick."""
REJECTED: Final = _layout.block(len(REJECTIONS) + 1)
"""Answers of the server itself to what was no acceptable request, by `REJECTIONS`; the last: other statuses."""
LEFT: Final = _layout.word()
"""Requests whose client was gone before the response was complete, or that the client gave up (RST_STREAM)."""
LIMITED: Final = _layout.word()
"""Requests answered 503 for ``limit_concurrency``; they are among `REQUESTS`."""
FAILED: Final = _layout.word()
"""Applications that raised, or did not complete their response."""
HEALTH_CHECKS: Final = _layout.word()
"""Answers to health checks, which are not among `REQUESTS`."""

REQUESTS_1: Final = _layout.word()
"""Requests over HTTP/1.1 that were taken in, answered or not, as of the last tick,"""
REQUESTS_2: Final = _layout.word()
"""and over HTTP/2."""
BYTES_IN: Final = _layout.word()
"""Bytes received, as of the last tick: of HTTP, not of TLS."""
BYTES_OUT: Final = _layout.word()
"""Bytes sent, likewise."""
SOCKETS_ACCEPTED: Final = _layout.word()
"""WebSockets that the application accepted."""

ACCEPTED: Final = _layout.word()
"""Connections that came about: accepted, and through the TLS handshake if there is one."""
ACCEPTED_TLS: Final = _layout.word()
"""Those with TLS."""
RESUMED_TLS: Final = _layout.word()
"""Those of them that resumed a session."""
TLS_SECONDS: Final = _layout.time()
"""The sum of the durations of TLS handshakes, from accepting to the last byte."""
RTT_SAMPLES: Final = _layout.word()
"""Connections whose round-trip time the kernel was asked for,"""
RTT_SECONDS: Final = _layout.time()
"""and the sum of what it said."""

CLOSED: Final = _layout.block(len(REASONS))
"""Connections closed, by `REASONS`, those that never came about included."""
CONNECTION_REQUESTS: Final = _layout.block(len(CONNECTION_REQUESTS_BOUNDS) + 1)
"""Connections closed, by the requests they have carried; of `CloseReason.WORKER_DIED` nobody can tell."""
CONNECTION_REQUESTS_SUM: Final = _layout.word()
"""The sum of those."""
IDLE_BY_PEER: Final = _layout.block(len(IDLE_BOUNDS) + 1)
"""Connections the peer closed while idle, after at least one request, by how long they were."""
IDLE_BY_PEER_SECONDS: Final = _layout.time()
"""The sum of that."""
IDLE_BY_US: Final = _layout.block(len(IDLE_BOUNDS) + 1)
"""The same, closed by us for `CloseReason.IDLE_TIMEOUT`."""
IDLE_BY_US_SECONDS: Final = _layout.time()
"""The sum of that."""
GLITCHES: Final = _layout.word()
"""HTTP/2 frames that carry nothing, as of the end of their connection."""
RESETS: Final = _layout.word()
"""HTTP/2 streams that were reset because of the peer, likewise."""

LAGS: Final = _layout.block(len(LAG_BOUNDS) + 1)
"""Beats of the event loop, by how late they came."""
LAG_SECONDS: Final = _layout.time()
"""The sum of that."""
LOG_LINES_LOST: Final = _layout.word()
"""Lines of the access log that could not be written."""
OVERDUE: Final = _layout.word()
"""Requests that had no byte of their response after ``lb_idle_timeout``."""

RESTARTED: Final = _layout.block(len(RESTARTS))
"""Workers replaced, by `RESTARTS`; the supervisor's, in the row of those that are gone."""

ROW_WORDS: Final = -(-_layout.size // 8) * 8
"""Words of a row, in whole cache lines."""
SECONDS_WORDS: Final = tuple(_layout.seconds)
"""Words that hold floating-point numbers."""

_BUCKETS: Final = len(DURATION_BOUNDS) + 1
_METHOD_WORDS: Final = {
    name.encode(): REQUESTS + number * len(STATUS_CLASSES) * _BUCKETS for number, name in enumerate(METHODS)
}
_OTHER_METHOD: Final = _METHOD_WORDS.pop(b"other")
_STATUS_WORDS: Final = {status: (status // 100 - 1) * _BUCKETS for status in range(100, 600)}
_NO_STATUS: Final = 4 * _BUCKETS
"""What no status is, is the application's fault."""
_REJECTION_WORDS: Final = {status: REJECTED + number for number, status in enumerate(REJECTIONS)}
_CLOSED_WORDS: Final = {reason: CLOSED + number for number, reason in enumerate(REASONS)}


def request_word(method: str, status_class: str, bucket: int) -> int:
    """The word of one of `METHODS`, one of `STATUS_CLASSES` and a bucket of the durations."""
    methods, classes = METHODS.index(method), STATUS_CLASSES.index(status_class)
    return REQUESTS + (methods * len(STATUS_CLASSES) + classes) * _BUCKETS + bucket


class Counters:
    """A worker's pen: ``words`` is its row, ``seconds`` the same memory as floating-point numbers."""

    __slots__ = ("_lag_since", "durations", "seconds", "words")

    def __init__(self, row: memoryview | None = None) -> None:
        row = memoryview(bytearray(ROW_WORDS * 8)) if row is None else row.cast("B")
        self.words = row.cast("q")
        self.seconds = row.cast("d")
        self.durations = 0.0
        """The sum of the durations, to be written down now and then (`write_durations`)."""
        self._lag_since = 0.0

    def answered(self, method: bytes, status: int, duration: float) -> None:
        """A request was answered, ``duration`` seconds after it came."""
        self.words[
            _METHOD_WORDS.get(method, _OTHER_METHOD)
            + _STATUS_WORDS.get(status, _NO_STATUS)
            + bisect_left(DURATION_BOUNDS, duration)
        ] += 1
        self.durations += duration

    def write_durations(self) -> None:
        """Write down the sum of the durations."""
        self.seconds[DURATIONS] = self.durations

    def rejected(self, status: int) -> None:
        """The server itself has answered what was no acceptable request."""
        self.words[_REJECTION_WORDS.get(status, REJECTED + len(REJECTIONS))] += 1

    def closed(self, reason: CloseReason) -> None:
        """A connection has ended, or has not come about."""
        self.words[_CLOSED_WORDS[reason]] += 1

    def closed_by_reason(self) -> dict[CloseReason, int]:
        """How many connections have, by reason."""
        return dict(zip(REASONS, self.words[CLOSED : CLOSED + len(REASONS)], strict=True))

    def carried(self, requests: int, glitches: int, resets: int) -> None:
        """What a connection that has ended had carried."""
        words = self.words
        words[CONNECTION_REQUESTS + bisect_left(CONNECTION_REQUESTS_BOUNDS, requests)] += 1
        words[CONNECTION_REQUESTS_SUM] += requests
        if glitches:
            words[GLITCHES] += glitches
        if resets:
            words[RESETS] += resets

    def idled(self, seconds: float, by_us: bool) -> None:
        """An idle connection was closed after so long."""
        block, total = (IDLE_BY_US, IDLE_BY_US_SECONDS) if by_us else (IDLE_BY_PEER, IDLE_BY_PEER_SECONDS)
        self.words[block + bisect_left(IDLE_BOUNDS, seconds)] += 1
        self.seconds[total] += seconds

    def lagged(self, seconds: float, now: float) -> None:
        """The loop came to its beat so late; ``now`` is monotonic seconds."""
        seconds = max(0.0, seconds)
        words = self.words
        words[LAGS + bisect_left(LAG_BOUNDS, seconds)] += 1
        self.seconds[LAG_SECONDS] += seconds
        words[LAG] = micros = round(seconds * 1e6)
        if micros >= words[LAG_MAX] or now >= self._lag_since + 60:
            words[LAG_MAX] = micros
            self._lag_since = now


def _micros(seconds: float) -> int:
    """A sum of seconds as whole microseconds, which can be added up in any order without a difference.

    Floating-point numbers cannot: the total of all workers, added up in another order when one is gone, would now and
    then be less by its last digit than it was. For Prometheus a total that falls has begun anew: all of it is new.
    """
    return round(seconds * 1e6)


class Tally:
    """Rows added up, or a copy of one, to be read in peace."""

    __slots__ = ("_micros", "_words")

    def __init__(self, rows: Iterable[memoryview | bytes] = ()) -> None:
        self._words = array("q", bytes(ROW_WORDS * 8))
        self._micros = array("q", bytes(ROW_WORDS * 8))
        for row in rows:
            self.add(row)

    def add(self, row: memoryview | bytes) -> None:
        """Add a row."""
        view = memoryview(row).cast("B")
        self._words = array("q", map(int.__add__, self._words, view.cast("q")))
        seconds = view.cast("d")
        for word in SECONDS_WORDS:
            self._micros[word] += _micros(seconds[word])
            self._words[word] = 0  # its bits mean nothing as an integer

    def __getitem__(self, word: int) -> int:
        """Read a counted word."""
        return self._words[word]

    def seconds(self, word: int) -> float:
        """Read one of `SECONDS_WORDS`."""
        return self._micros[word] / 1e6

    def block(self, start: int, size: int) -> list[int]:
        """Read words that stand beside each other."""
        return self._words[start : start + size].tolist()

    def requests(self, method: str | None = None, status_class: str | None = None) -> list[int]:
        """Answered requests by bucket of duration; of one method and class, or of all."""
        total = [0] * _BUCKETS
        for name in METHODS if method is None else (method,):
            for status in STATUS_CLASSES if status_class is None else (status_class,):
                total = list(map(int.__add__, total, self.block(request_word(name, status, 0), _BUCKETS)))
        return total

    def rejected(self) -> dict[int, int]:
        """Answers of the server's own by status; 0 stands for the statuses without a word of their own."""
        return dict(zip((*REJECTIONS, 0), self.block(REJECTED, len(REJECTIONS) + 1), strict=True))

    def closed(self) -> dict[CloseReason, int]:
        """Closed connections by reason."""
        return dict(zip(REASONS, self.block(CLOSED, len(REASONS)), strict=True))

    def restarts(self) -> dict[str, int]:
        """Replaced workers by cause."""
        return dict(zip(RESTARTS, self.block(RESTARTED, len(RESTARTS)), strict=True))


def retire(gone: memoryview, row: memoryview) -> None:
    """Add a row to that of the workers that are gone, and clear it.

    Connections it has as open are closed, since the process is gone: who is killed cannot count their end.
    """
    total, words = gone.cast("B").cast("q"), row.cast("B").cast("q")
    total_seconds, seconds = gone.cast("B").cast("d"), row.cast("B").cast("d")
    total[_CLOSED_WORDS[CloseReason.WORKER_DIED]] += max(0, words[OPEN_1] + words[OPEN_2])
    for word in range(NOW_END, ROW_WORDS):
        if words[word]:
            if word in SECONDS_WORDS:
                total_seconds[word] = (_micros(total_seconds[word]) + _micros(seconds[word])) / 1e6
            else:
                total[word] += words[word]
    row.cast("B")[:] = bytes(ROW_WORDS * 8)
