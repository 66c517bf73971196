"""/metrics: what the scoreboard holds is what Prometheus reads, in both formats."""

from __future__ import annotations

import math
from collections.abc import Iterable

import pytest
from prometheus_client.core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as text_format

from keepserve.admin import figures
from keepserve.admin.metrics import render
from keepserve.admin.reading import Reading
from keepserve.config.settings import Settings
from keepserve.server.phases import Phase
from keepserve.telemetry import counters
from keepserve.telemetry.counters import DURATION_BOUNDS, IDLE_BOUNDS, METHODS, REJECTIONS, RESTARTS, STATUS_CLASSES
from keepserve.telemetry.reasons import CloseReason
from keepserve.telemetry.scoreboard import (
    BEAT,
    CERTIFICATE_EXPIRES,
    FULL,
    LEAVING,
    PID,
    RELOADS,
    RELOADS_FAILED,
    STAGE,
    STARTING,
    STOP_BEGAN,
    Scoreboard,
)
from tests.admin.readings import NOW_NS, add_worker, board, busy, read, two_workers

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
Values = dict[str, dict[tuple[tuple[str, str], ...], float]]


def values(reading: Reading, accept: str = "") -> Values:
    """All samples: by name, then by labels."""
    body, _ = render(reading, accept)
    parse = openmetrics if "openmetrics" in accept else text_format
    return _collect(parse(body.decode()))


def _collect(families: Iterable[Metric]) -> Values:
    found: Values = {}
    for family in families:
        for sample in family.samples:
            series = found.setdefault(sample.name, {})
            labels = tuple(sorted(sample.labels.items()))
            assert labels not in series, f"{sample.name}{labels} is there twice."
            series[labels] = sample.value
    return found


def value(found: Values, name: str, **labels: str) -> float:
    return found[name][tuple(sorted(labels.items()))]


def test_both_formats_say_the_same() -> None:
    made, _ = two_workers()
    plain, modern = values(read(made)), values(read(made), OPENMETRICS)
    assert set(plain) == set(modern)
    for name, series in plain.items():
        assert series == pytest.approx(modern[name], nan_ok=True), name


def test_requests_by_method_and_class_of_status() -> None:
    made, _ = two_workers()
    found = values(read(made))
    for method in METHODS:
        for status in STATUS_CLASSES:
            expected = 4 if method in ("GET", "POST", "other") else 0
            assert value(found, "keepserve_requests_total", method=method, status=status) == expected
    assert len(found["keepserve_requests_total"]) == len(METHODS) * len(STATUS_CLASSES)


def test_the_durations_are_of_the_same_requests() -> None:
    made, _ = two_workers()
    found = values(read(made))
    requests = sum(found["keepserve_requests_total"].values())
    assert value(found, "keepserve_request_duration_seconds_count") == requests == 60
    assert value(found, "keepserve_request_duration_seconds_sum") == pytest.approx(60 * 0.004)
    assert value(found, "keepserve_request_duration_seconds_bucket", le="0.0025") == 0
    assert value(found, "keepserve_request_duration_seconds_bucket", le="0.005") == 60
    assert len(found["keepserve_request_duration_seconds_bucket"]) == len(DURATION_BOUNDS) + 1


def test_every_counter_of_a_word_shows_that_word() -> None:
    made, _ = two_workers()
    found, total = values(read(made)), read(made).snapshot.total
    for name, word in {
        "keepserve_requests_left_total": counters.LEFT,
        "keepserve_requests_limited_total": counters.LIMITED,
        "keepserve_requests_failed_total": counters.FAILED,
        "keepserve_requests_overdue_total": counters.OVERDUE,
        "keepserve_health_checks_total": counters.HEALTH_CHECKS,
        "keepserve_received_bytes_total": counters.BYTES_IN,
        "keepserve_sent_bytes_total": counters.BYTES_OUT,
        "keepserve_websockets_accepted_total": counters.SOCKETS_ACCEPTED,
        "keepserve_connections_accepted_total": counters.ACCEPTED,
        "keepserve_http2_glitches_total": counters.GLITCHES,
        "keepserve_http2_resets_total": counters.RESETS,
        "keepserve_access_log_lines_lost_total": counters.LOG_LINES_LOST,
        "keepserve_streams": counters.STREAMS,
        "keepserve_websockets": counters.SOCKETS,
        "keepserve_requests_waiting": counters.WAITING,
    }.items():
        assert total[word] > 0
        assert value(found, name) == total[word], name


def test_connections_by_protocol_and_state() -> None:
    made, _ = two_workers()
    found = values(read(made))
    assert found["keepserve_connections"] == {(("protocol", "http1"),): 10, (("protocol", "http2"),): 6}
    states = {dict(labels)["state"]: count for labels, count in found["keepserve_connection_states"].items()}
    assert states == {"handshaking": 4, "active": 8, "idle": 8}
    assert value(found, "keepserve_requests_received_total", protocol="http1") == 240
    assert value(found, "keepserve_requests_received_total", protocol="http2") == 160


def test_every_reason_cause_and_refusal_is_there_from_the_start() -> None:
    found = values(read(board()))
    for name, label, expected in (
        ("keepserve_connections_closed_total", "reason", {reason.value for reason in CloseReason}),
        ("keepserve_workers_replaced_total", "cause", set(RESTARTS)),
        ("keepserve_requests_rejected_total", "status", {*map(str, REJECTIONS), "other"}),
        ("keepserve_reloads_total", "result", {"done", "failed"}),
        ("keepserve_workers", "stage", {"starting", "serving", "leaving"}),
    ):
        assert {dict(labels)[label] for labels in found[name]} == expected
        assert set(found[name].values()) == {0.0}


def test_reasons_causes_and_refusals_are_told_apart() -> None:
    made, _ = two_workers()
    made.restarted("crashed")
    made.restarted("max_age")
    made.restarted("max_age")
    made.common[RELOADS], made.common[RELOADS_FAILED] = 3, 1
    found = values(read(made))
    assert set(found["keepserve_connections_closed_total"].values()) == {2.0}
    assert value(found, "keepserve_workers_replaced_total", cause="crashed") == 1
    assert value(found, "keepserve_workers_replaced_total", cause="max_age") == 2
    assert value(found, "keepserve_requests_rejected_total", status="408") == 2
    assert value(found, "keepserve_requests_rejected_total", status="411") == 0
    assert value(found, "keepserve_requests_rejected_total", status="other") == 2
    assert value(found, "keepserve_reloads_total", result="done") == 3
    assert value(found, "keepserve_reloads_total", result="failed") == 1


def test_reuse_and_what_it_saves() -> None:
    made, _ = two_workers()
    found, total = values(read(made)), read(made).snapshot.total
    assert value(found, "keepserve_handshakes_avoided") == 400 - (40 - 2), "two have carried nothing"
    assert value(found, "keepserve_connection_reuse_ratio") == 362 / 400
    assert value(found, "keepserve_connection_setup_seconds") == pytest.approx(0.05)
    assert value(found, "keepserve_handshakes_avoided_seconds") == pytest.approx(362 * 0.05)
    assert value(found, "keepserve_handshakes_avoided_seconds") == pytest.approx(figures.time_saved(total))
    assert value(found, "keepserve_connection_requests_count") == 8
    assert value(found, "keepserve_connection_requests_sum") == 2 * 40_008
    assert value(found, "keepserve_connection_requests_bucket", le="1.0") == 4
    assert value(found, "keepserve_connection_requests_bucket", le="10000.0") == 6


def test_without_tls_a_round_trip_is_what_a_connection_costs() -> None:
    made = board()
    _, pen = add_worker(made, 101)
    pen.words[counters.ACCEPTED], pen.words[counters.REQUESTS_1] = 2, 12
    pen.words[counters.RTT_SAMPLES], pen.seconds[counters.RTT_SECONDS] = 2, 0.006
    found = values(read(made))
    assert value(found, "keepserve_connection_setup_seconds") == pytest.approx(0.003)
    assert value(found, "keepserve_handshakes_avoided_seconds") == pytest.approx(0.03)
    assert value(found, "keepserve_connection_round_trip_seconds_count") == 2
    assert value(found, "keepserve_connection_round_trip_seconds_sum") == pytest.approx(0.006)


def test_idle_times_by_who_closed() -> None:
    made, _ = two_workers()
    found = values(read(made))

    def below(by: str, bound: str) -> float:
        return value(found, "keepserve_connection_idle_seconds_bucket", closed_by=by, le=bound)

    assert [below("peer", bound) for bound in ("1.0", "55.0", "61.0", "3600.0", "+Inf")] == [2, 2, 4, 4, 6]
    assert [below("us", bound) for bound in ("76.0", "81.0", "+Inf")] == [0, 2, 2]
    assert value(found, "keepserve_connection_idle_seconds_sum", closed_by="peer") == pytest.approx(2 * 4060.7)
    assert value(found, "keepserve_connection_idle_seconds_sum", closed_by="us") == pytest.approx(2 * 80.1)
    assert len(found["keepserve_connection_idle_seconds_bucket"]) == 2 * (len(IDLE_BOUNDS) + 1)


def test_of_the_timeouts_that_workers_infer_the_longest_counts() -> None:
    made, _ = two_workers()
    found = values(read(made))
    assert value(found, "keepserve_lb_idle_timeout_inferred_seconds", protocol="http1") == 60.015
    assert math.isnan(value(found, "keepserve_lb_idle_timeout_inferred_seconds", protocol="http2"))


def test_tls() -> None:
    made, _ = two_workers()
    made.common[CERTIFICATE_EXPIRES] = 1_800_000_000
    found = values(read(made))
    assert value(found, "keepserve_tls_handshakes_total", session="new") == 24
    assert value(found, "keepserve_tls_handshakes_total", session="resumed") == 16
    assert value(found, "keepserve_tls_resumption_ratio") == 0.4
    assert value(found, "keepserve_tls_handshake_seconds_count") == 40
    assert value(found, "keepserve_tls_handshake_seconds_sum") == pytest.approx(2.0)
    assert value(found, "keepserve_certificate_expiry_timestamp_seconds") == 1_800_000_000


@pytest.mark.parametrize("accept", ["", OPENMETRICS])
def test_what_is_not_known_is_no_number(accept: str) -> None:
    found = values(read(board()), accept)
    unknown = {name for name, series in found.items() if any(map(math.isnan, series.values()))}
    assert unknown == {
        "keepserve_connection_reuse_ratio",
        "keepserve_lb_idle_timeout_inferred_seconds",
        "keepserve_tls_resumption_ratio",
        "keepserve_certificate_expiry_timestamp_seconds",
    }


def test_the_lag_of_the_loops() -> None:
    made, _ = two_workers()
    found = values(read(made))
    assert value(found, "keepserve_loop_lag_seconds_bucket", le="0.0025") == 4
    assert value(found, "keepserve_loop_lag_seconds_count") == 6
    assert value(found, "keepserve_loop_lag_seconds_sum") == pytest.approx(2 * 0.702)
    assert value(found, "keepserve_worker_loop_lag_seconds", worker="0") == 0
    assert value(found, "keepserve_worker_loop_lag_max_seconds", worker="0") == 0.7


def test_each_worker_by_its_seat() -> None:
    made, numbers = two_workers()
    assert numbers == [0, 1]
    made.seat(1)[FULL] = 1
    found = values(read(made))
    for name, expected in {
        "keepserve_worker_connections": [10, 30],
        "keepserve_worker_active_connections": [4, 4],
        "keepserve_worker_websockets": [1, 1],
        "keepserve_worker_requests_running": [1, 3],
        "keepserve_worker_connections_accepted_total": [10, 30],
        "keepserve_worker_requests_total": [15, 45],
        "keepserve_worker_resident_memory_bytes": [40e6, 50e6],
        "keepserve_worker_beat_age_seconds": [0.25, 0.25],
        "keepserve_worker_full": [0, 1],
    }.items():
        assert [value(found, name, worker=str(number)) for number in numbers] == expected, name
        assert len(found[name]) == 2
    assert value(found, "keepserve_connections_spread") == 20
    assert value(found, "keepserve_requests_running") == 4
    assert set(found["keepserve_worker_info"]) == {
        (("pid", "101"), ("worker", "0")),
        (("pid", "102"), ("worker", "1")),
    }


def test_a_worker_that_is_not_born_yet_has_no_process() -> None:
    made = board()
    made.take()
    found = values(read(made))
    assert "keepserve_worker_info" not in found
    assert math.isnan(value(found, "keepserve_worker_resident_memory_bytes", worker="0"))
    assert math.isnan(value(found, "keepserve_worker_beat_age_seconds", worker="0"))
    assert value(found, "keepserve_workers", stage="starting") == 1


def test_a_beat_after_the_reading_began_is_no_negative_age() -> None:
    made, _ = two_workers()
    made.seat(0)[BEAT] = NOW_NS + 1_000_000
    assert value(values(read(made)), "keepserve_worker_beat_age_seconds", worker="0") == 0


@pytest.mark.parametrize("phase", Phase)
def test_the_phase_of_a_stop_is_one_of_all(phase: Phase) -> None:
    made, _ = two_workers()
    made.counters(1).cast("q")[counters.PHASE] = phase
    series = values(read(made))["keepserve_worker_phase"]
    of_worker = {dict(labels)["phase"]: one for labels, one in series.items() if ("worker", "1") in labels}
    assert of_worker == {each.name.lower(): float(each is phase) for each in Phase}


def test_a_stop_and_the_stages_of_workers() -> None:
    made, _ = two_workers()
    add_worker(made, 103, stage=LEAVING, connections=99)
    add_worker(made, 104, stage=STARTING)
    found = values(read(made))
    stages = {dict(labels)["stage"]: count for labels, count in found["keepserve_workers"].items()}
    assert stages == {"starting": 1, "serving": 2, "leaving": 1}
    assert value(found, "keepserve_connections_spread") == 20, "only of those that serve"
    assert value(found, "keepserve_draining") == 0
    made.common[STOP_BEGAN] = NOW_NS
    assert value(values(read(made)), "keepserve_draining") == 1


def test_settings_and_what_runs() -> None:
    settings = Settings(lb_idle_timeout=600, workers=3, loop="asyncio", http2="off", drain_timeout=12)
    found = values(read(board(), settings=settings))
    assert value(found, "keepserve_lb_idle_timeout_seconds") == 600
    assert value(found, "keepserve_keep_alive_timeout_seconds") == 620
    assert value(found, "keepserve_headers_timeout_seconds") == 630
    assert value(found, "keepserve_workers_wanted") == 3
    assert value(found, "keepserve_drain_timeout_seconds") == 12
    assert value(found, "keepserve_limit_concurrency") == value(found, "keepserve_limit_connections") == 0
    assert value(found, "keepserve_start_timestamp_seconds") == 1000
    (labels,) = found["keepserve_build_info"]
    assert {"version": "1.2.3", "http1": "httptools", "http2": "off", "loop": "asyncio"}.items() <= dict(
        labels
    ).items()


def _growing(made: Scoreboard) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every series that must not fall while the server runs."""
    found: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
    for family in text_format(render(read(made), "")[0].decode()):
        if family.type in ("counter", "histogram", "summary") and not family.name.startswith("keepserve_worker_"):
            found.update({(one.name, tuple(sorted(one.labels.items()))): one.value for one in family.samples})
    return found


def test_nothing_that_was_counted_is_lost_when_workers_go_and_others_come() -> None:
    made, numbers = two_workers()
    before = _growing(made)
    assert sum(count > 0 for count in before.values()) > 100
    made.free(numbers[0])
    after = _growing(made)
    died = ("keepserve_connections_closed_total", (("reason", "worker_died"),))
    assert after[died] - before[died] == 8, "it had these open"
    before[died] += 8
    assert after == pytest.approx(before)
    _, pen = add_worker(made, 103)
    busy(pen)
    grown = _growing(made)
    assert set(grown) == set(before)
    assert all(grown[one] >= before[one] for one in before)
    assert sum(grown[one] > before[one] for one in before) > 100
    made.seat(1)[PID] = 0  # as it is for a moment while the supervisor adds up
    made.seat(1)[PID] = 102
    assert _growing(made) == grown


def test_the_gauges_of_workers_that_are_gone_are_gone() -> None:
    made, numbers = two_workers()
    made.free(numbers[0])
    made.seat(1)[STAGE] = LEAVING
    found = values(read(made))
    assert found["keepserve_connections"] == {(("protocol", "http1"),): 5, (("protocol", "http2"),): 3}
    assert list(found["keepserve_worker_connections"]) == [(("worker", "1"),)]
    assert value(found, "keepserve_connections_spread") == 0


PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", "text/plain; version=0.0.4; charset=utf-8"),
        ("*/*", "text/plain; version=0.0.4; charset=utf-8"),
        ("text/html,application/xhtml+xml;q=0.9,*/*;q=0.8", "text/plain; version=0.0.4; charset=utf-8"),
        (OPENMETRICS, "application/openmetrics-text; version=1.0.0; charset=utf-8"),
        ("application/openmetrics-text", "application/openmetrics-text; version=1.0.0; charset=utf-8"),
        (PROMETHEUS_3, "application/openmetrics-text; version=1.0.0; charset=utf-8"),
        ("application/openmetrics-text; version=99.0.0, text/plain", "text/plain; version=0.0.4; charset=utf-8"),
        ("application/openmetrics-text; version=x", "text/plain; version=0.0.4; charset=utf-8"),
        ("application/openmetrics-text;version=1.0.0;q=0", "text/plain; version=0.0.4; charset=utf-8"),
        ("application/openmetrics-text; version=1.0.0\u00b2", "text/plain; version=0.0.4; charset=utf-8"),
    ],
)
def test_the_format_is_what_the_accept_field_asks_for(accept: str, expected: str) -> None:
    body, content_type = render(read(board()), accept)
    assert content_type.split("; escaping=")[0] == expected
    assert body.endswith(b"# EOF\n") == ("openmetrics" in expected)
    assert b"keepserve_build_info{" in body


def test_nothing_of_the_process_that_answers_is_among_it() -> None:
    names = {family.name for family in text_format(render(read(board()), "")[0].decode())}
    assert all(name.startswith("keepserve_") for name in names)


def test_the_version_is_escaped() -> None:
    body, _ = render(read(board(), version='1"\\\n2'), "")
    assert b'version="1\\"\\\\\\n2"' in body
