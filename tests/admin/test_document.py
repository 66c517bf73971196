"""The status document: every figure stands where it belongs, and says what was counted."""

from __future__ import annotations

import json

import pytest

from keepserve.admin.document import status
from keepserve.admin.figures import quantile
from keepserve.config.settings import Settings
from keepserve.server.phases import Phase
from keepserve.telemetry import counters
from keepserve.telemetry.counters import REASONS, RESTARTS, Counters
from keepserve.telemetry.reasons import CloseReason
from keepserve.telemetry.scoreboard import (
    ACCEPTED,
    BEAT,
    CERTIFICATE_EXPIRES,
    CONNECTIONS,
    FULL,
    LEAVING,
    RELOADS,
    RELOADS_FAILED,
    RUNNING,
    STAGE,
    STARTING,
    STOP_BEGAN,
    Scoreboard,
)
from tests.admin.readings import NOW_NS, add_worker, board, read, two_workers


@pytest.fixture
def one() -> tuple[Scoreboard, Counters]:
    """A server with one worker, pid 101 on seat 0, that has counted nothing."""
    made = board()
    return made, add_worker(made, 101)[1]


def test_it_says_who_it_is_and_since_when(one: tuple[Scoreboard, Counters]) -> None:
    found = status(read(one[0], now=1600.5, pid=100, listening=("http://127.0.0.1:8000",)))
    assert (found["version"], found["pid"], found["listening"]) == ("1.2.3", 100, ["http://127.0.0.1:8000"])
    assert (found["now"], found["began"], found["uptime"]) == (1600.5, 1000, 600.5)


def test_the_settings_that_matter_are_among_it(one: tuple[Scoreboard, Counters]) -> None:
    settings = Settings(workers=3, lb="alb", lb_idle_timeout=55.0, limit_concurrency=7, http1="h11", http2="off")
    assert status(read(one[0], settings=settings))["settings"] == {
        "lb": "alb",
        "lb_idle_timeout": 55.0,
        "keep_alive_timeout": 75.0,
        "headers_timeout": 85.0,
        "workers": 3,
        "http1": "h11",
        "http2": "off",
        "drain_timeout": 20.0,
        "limit_concurrency": 7,
    }
    assert status(read(one[0], settings=Settings()))["settings"]["limit_concurrency"] == 0


def test_everything_is_of_jsons_types_whatever_was_counted() -> None:
    for made in (board(), two_workers()[0]):
        document = status(read(made))
        assert json.loads(json.dumps(document, allow_nan=False)) == document


def test_requests_are_told_by_status_and_method(one: tuple[Scoreboard, Counters]) -> None:
    made, pen = one
    for method, code, times in ((b"GET", 200, 3), (b"GET", 404, 2), (b"POST", 503, 1), (b"BREW", 301, 4)):
        for _ in range(times):
            pen.answered(method, code, 0.01)
    for code in (431, 431, 418):
        pen.rejected(code)
    pen.words[counters.LEFT], pen.words[counters.LIMITED], pen.words[counters.FAILED] = 5, 6, 7
    pen.words[counters.HEALTH_CHECKS], pen.words[counters.WAITING] = 8, 9
    pen.words[counters.REQUESTS_1], pen.words[counters.REQUESTS_2] = 10, 11
    made.seat(0)[RUNNING] = 12
    found = status(read(made))["requests"]
    assert found["total"] == 10
    assert found["by_status"] == {"1xx": 0, "2xx": 3, "3xx": 4, "4xx": 2, "5xx": 1}
    assert {name: count for name, count in found["by_method"].items() if count} == {"GET": 5, "POST": 1, "other": 4}
    assert found["rejected"] == {"431": 2, "other": 1}
    assert (found["left"], found["limited"], found["failed"], found["health_checks"]) == (5, 6, 7, 8)
    assert (found["waiting"], found["over_http1"], found["over_http2"], found["running"]) == (9, 10, 11, 12)


def test_latencies_have_quantiles_within_their_buckets(one: tuple[Scoreboard, Counters]) -> None:
    made, pen = one
    for _ in range(98):
        pen.answered(b"GET", 200, 0.003)
    for _ in range(2):
        pen.answered(b"GET", 200, 0.2)
    pen.write_durations()
    found = status(read(made))["latency"]
    assert sum(found["counts"]) == 100
    assert len(found["counts"]) == len(found["bounds"]) + 1
    assert found["sum"] == pytest.approx(98 * 0.003 + 2 * 0.2)
    assert found["p50"] == pytest.approx(0.0025 + 0.0025 * 50 / 98)
    assert 0.0025 < found["p90"] < 0.005
    assert 0.1 < found["p99"] < 0.25


def test_without_requests_there_are_no_quantiles(one: tuple[Scoreboard, Counters]) -> None:
    found = status(read(one[0]))
    assert [found["latency"][name] for name in ("p50", "p90", "p99")] == [None] * 3
    reuse = found["connections"]["reuse"]
    assert [reuse[name] for name in ("requests_per_connection", "ratio", "rtt", "tls_handshake")] == [None] * 4
    assert (found["tls"]["resumption"], found["tls"]["certificate_expires"]) == (None, None)


@pytest.mark.parametrize(
    ("counts", "part", "value"),
    [
        ([0, 0, 0], 0.5, None),
        ([10, 0, 0], 0.5, 0.5),
        ([10, 0, 0], 1.0, 1.0),
        ([5, 5, 0], 0.5, 1.0),
        ([5, 5, 0], 0.75, 2.0),
        ([0, 10, 0], 0.0, None),
        ([0, 0, 10], 0.5, 3.0),
    ],
)
def test_a_quantile_lies_where_its_bucket_says(counts: list[int], part: float, value: float | None) -> None:
    assert quantile((1.0, 3.0), counts, part) == value


def test_connections_are_told_by_protocol_and_by_what_they_do() -> None:
    made = board()
    for number, (held, active) in enumerate(((9, 2), (5, 1))):
        _, pen = add_worker(made, 101 + number, connections=held)
        pen.words[counters.OPEN_1], pen.words[counters.OPEN_2], pen.words[counters.HANDSHAKING] = held - 3, 2, 1
        pen.words[counters.ACTIVE], pen.words[counters.STREAMS], pen.words[counters.SOCKETS] = active, 6, 1
        pen.words[counters.ACCEPTED] = 100
        pen.closed(CloseReason.PEER_CLOSED)
    found = status(read(made))["connections"]
    closed = found.pop("closed")
    assert {name: value for name, value in found.items() if name != "reuse"} == {
        "open": 14,
        "http1": 8,
        "http2": 4,
        "handshaking": 2,
        "active": 3,
        "idle": 9,
        "streams": 12,
        "websockets": 2,
        "accepted": 200,
        "per_worker_spread": 4,
    }
    assert set(closed) == {reason.value for reason in REASONS}
    assert {name: count for name, count in closed.items() if count} == {"peer_closed": 2}


def test_reuse_is_what_needed_no_new_connection(one: tuple[Scoreboard, Counters]) -> None:
    made, pen = one
    words, seconds = pen.words, pen.seconds
    words[counters.REQUESTS_1], words[counters.REQUESTS_2], words[counters.ACCEPTED] = 150, 50, 25
    for _ in range(5):
        pen.carried(0, 0, 0)  # connections of a probe: they had no request
    words[counters.RTT_SAMPLES], seconds[counters.RTT_SECONDS] = 4, 0.02
    found = status(read(made))["connections"]["reuse"]
    assert found["requests_per_connection"] == 8.0
    assert (found["handshakes_avoided"], found["ratio"]) == (180, 0.9)
    assert (found["rtt"], found["time_saved"]) == (0.005, pytest.approx(0.9))
    assert found["counts"][0] == 5
    words[counters.ACCEPTED_TLS], seconds[counters.TLS_SECONDS] = 10, 0.3
    found = status(read(made))["connections"]["reuse"]
    assert (found["tls_handshake"], found["time_saved"]) == (pytest.approx(0.03), pytest.approx(180 * 0.03))


def test_idle_closes_are_told_by_who_closed(one: tuple[Scoreboard, Counters]) -> None:
    made, pen = one
    pen.idled(60.3, by_us=False)
    pen.idled(80.2, by_us=True)
    pen.words[counters.LB_IDLE_1] = 60_100
    found = status(read(made))["idle"]
    assert found["by_peer"][found["bounds"].index(61.0)] == sum(found["by_peer"]) == 1
    assert found["by_us"][found["bounds"].index(81.0)] == sum(found["by_us"]) == 1
    assert found["inferred"] == {"http1": 60.1, "http2": None}


def test_of_several_inferred_timeouts_the_longest_counts() -> None:
    made = board()
    for number, seen in enumerate((60_000, 350_000, 0)):
        add_worker(made, 101 + number)[1].words[counters.LB_IDLE_2] = seen
    assert status(read(made))["idle"]["inferred"] == {"http1": None, "http2": 350.0}


def test_tls_bytes_and_the_rest(one: tuple[Scoreboard, Counters]) -> None:
    made, pen = one
    words = pen.words
    words[counters.ACCEPTED_TLS], words[counters.RESUMED_TLS] = 8, 6
    for reason in (CloseReason.TLS_FAILED, CloseReason.TLS_FAILED, CloseReason.TLS_TIMEOUT):
        pen.closed(reason)
    words[counters.BYTES_IN], words[counters.BYTES_OUT] = 1000, 2000
    words[counters.SOCKETS_ACCEPTED], words[counters.OVERDUE], words[counters.LOG_LINES_LOST] = 3, 4, 5
    pen.carried(2, glitches=6, resets=7)
    made.common[CERTIFICATE_EXPIRES], made.common[RELOADS], made.common[RELOADS_FAILED] = 99_000, 2, 1
    for cause in RESTARTS:
        made.restarted(cause)
    found = status(read(made))
    assert found["tls"] == {
        "handshakes": 8,
        "resumed": 6,
        "resumption": 0.75,
        "failed": 3,
        "certificate_expires": 99_000,
    }
    assert found["bytes"] == {"in": 1000, "out": 2000}
    assert (found["websockets_accepted"], found["overdue"], found["log_lines_lost"]) == (3, 4, 5)
    assert (found["glitches"], found["resets"], found["reloads"], found["reloads_failed"]) == (6, 7, 2, 1)
    assert found["restarts"] == dict.fromkeys(RESTARTS, 1)


def test_a_worker_is_told_as_it_is(one: tuple[Scoreboard, Counters]) -> None:
    made, pen = one
    seat, words = made.seat(0), pen.words
    seat[CONNECTIONS], seat[RUNNING], seat[ACCEPTED], seat[BEAT], seat[FULL] = 7, 2, 40, NOW_NS - 500_000_000, 1
    words[counters.OPEN_1], words[counters.OPEN_2], words[counters.ACTIVE], words[counters.STREAMS] = 4, 3, 2, 9
    words[counters.SOCKETS], words[counters.WAITING], words[counters.LAG], words[counters.LAG_MAX] = (
        1,
        5,
        1500,
        90_000,
    )
    pen.answered(b"GET", 200, 0.01)
    (found,) = status(read(made))["workers"]
    assert found == {
        "seat": 0,
        "pid": 101,
        "stage": "serving",
        "phase": "serving",
        "replaced": False,
        "connections": 7,
        "http1": 4,
        "http2": 3,
        "active": 2,
        "streams": 9,
        "websockets": 1,
        "running": 2,
        "waiting": 5,
        "requests": 1,
        "accepted": 40,
        "lag": 0.0015,
        "lag_max": 0.09,
        "memory": 40_000_000,
        "beat_age": 0.5,
        "full": True,
    }


def test_a_worker_that_is_not_born_yet_has_no_process_and_no_beat() -> None:
    made = board()
    made.take()
    (found,) = status(read(made))["workers"]
    assert (found["pid"], found["stage"], found["memory"], found["beat_age"]) == (None, "starting", None, None)


@pytest.mark.parametrize("phase", list(Phase))
def test_the_phase_of_a_leaving_worker_has_its_name(phase: Phase, one: tuple[Scoreboard, Counters]) -> None:
    made, pen = one
    made.seat(0)[STAGE] = LEAVING
    pen.words[counters.PHASE], pen.words[counters.LEAVING_NOW] = phase, 1
    (found,) = status(read(made))["workers"]
    assert (found["stage"], found["phase"], found["replaced"]) == ("leaving", phase.name.lower(), True)


def test_what_workers_that_are_gone_have_counted_stays_in_the_sums() -> None:
    made = board()
    number, pen = add_worker(made, 101, connections=3)
    pen.answered(b"GET", 200, 0.01)
    pen.words[counters.ACCEPTED] = pen.words[counters.REQUESTS_1] = 5
    pen.words[counters.OPEN_1] = 3
    made.free(number)
    add_worker(made, 102)
    found = status(read(made))
    assert (found["requests"]["total"], found["connections"]["accepted"]) == (1, 5)
    assert (found["connections"]["open"], found["connections"]["http1"]) == (0, 0)
    assert [worker["requests"] for worker in found["workers"]] == [0]


def test_the_server_serves_once_a_worker_does() -> None:
    made = board()
    assert status(read(made))["state"] == "starting"
    add_worker(made, 101, stage=STARTING)
    assert status(read(made))["state"] == "starting"
    add_worker(made, 102)
    assert status(read(made))["state"] == "serving"


def test_a_reload_is_no_drain(one: tuple[Scoreboard, Counters]) -> None:
    made, pen = one
    made.seat(0)[STAGE] = LEAVING
    pen.words[counters.PHASE], pen.words[counters.LEAVING_NOW] = Phase.CLOSING, 1
    add_worker(made, 102)
    found = status(read(made))
    assert (found["state"], found["drain"]) == ("serving", None)


def test_a_stop_shows_how_far_it_has_come(one: tuple[Scoreboard, Counters]) -> None:
    made, _ = one
    made.common[STOP_BEGAN] = NOW_NS - 4_000_000_000
    made.seat(0)[STAGE], made.seat(0)[CONNECTIONS], made.seat(0)[RUNNING] = LEAVING, 6, 2
    found = status(read(made, settings=Settings(drain_timeout=20.0, drain_cancel=3.0, shutdown_timeout=5.0)))
    assert found["state"] == "draining"
    assert found["drain"] == {"elapsed": 4.0, "limit": 28.0, "workers": 1, "connections": 6, "requests": 2}
