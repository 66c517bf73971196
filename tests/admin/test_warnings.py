"""What a person is warned of: each sentence when its time has come, with its numbers, and not before."""

from __future__ import annotations

from typing import Any

import pytest

from keepserve.admin.document import status
from keepserve.config.settings import Settings
from keepserve.telemetry import counters
from keepserve.telemetry.counters import RESTARTS, Counters
from keepserve.telemetry.reasons import CloseReason
from keepserve.telemetry.scoreboard import (
    BEAT,
    CERTIFICATE_EXPIRES,
    CONNECTIONS,
    FULL,
    RUNNING,
    STAGE,
    STARTING,
    STOP_BEGAN,
    Scoreboard,
    snapshot,
)
from tests.admin.readings import NOW_NS, add_worker, board, read, two_workers

DAY = 86400


@pytest.fixture
def one() -> tuple[Scoreboard, Counters]:
    """A server with one worker, pid 101, that has counted nothing."""
    made = board()
    return made, add_worker(made, 101)[1]


def warnings(made: Scoreboard, **changes: Any) -> list[str]:
    found: list[str] = status(read(made, **changes))["warnings"]
    return found


def only(made: Scoreboard, **changes: Any) -> str:
    (found,) = warnings(made, **changes)
    return found


def test_a_server_in_order_warns_of_nothing(one: tuple[Scoreboard, Counters]) -> None:
    made, pen = one
    pen.answered(b"GET", 200, 0.01)
    for _ in range(200):
        pen.idled(60.1, by_us=False)
    pen.words[counters.LB_IDLE_1] = 60_100
    assert warnings(made) == []


def test_every_sentence_is_one() -> None:
    made, _ = two_workers()
    made.common[STOP_BEGAN] = NOW_NS - 1
    for cause in RESTARTS:
        made.restarted(cause)
    found = warnings(made)
    assert len(found) > 5
    assert all(not sentence[0].islower() and sentence.endswith(".") for sentence in found)


def test_a_stop_is_told_with_what_is_still_to_do(one: tuple[Scoreboard, Counters]) -> None:
    made, _ = one
    made.common[STOP_BEGAN] = NOW_NS - 4_200_000_000
    made.seat(0)[CONNECTIONS], made.seat(0)[RUNNING] = 5, 1
    assert only(made) == (
        "The server is stopping: after 4.2 s of at most 28 s, 1 request and 5 connections are left."
    )


def test_a_server_without_workers_says_so_once_it_has_served() -> None:
    made = board()
    assert warnings(made) == []  # it begins
    number, pen = add_worker(made, 101)
    pen.answered(b"GET", 200, 0.01)
    made.free(number)
    assert only(made).startswith("No worker serves at present")
    add_worker(made, 102, stage=STARTING)
    assert only(made).startswith("No worker serves at present")


def test_a_loop_that_lags_and_one_that_stands_still_are_told(one: tuple[Scoreboard, Counters]) -> None:
    made, pen = one
    pen.words[counters.LAG_MAX] = 240_000
    assert warnings(made) == []
    pen.words[counters.LAG_MAX] = 800_000
    assert "Worker 101's event loop came up to 800 ms late" in only(made)
    made.seat(0)[BEAT] = NOW_NS - 4_900_000_000
    assert "late" in only(made)
    made.seat(0)[BEAT] = 0
    assert "late" in only(made)
    made.seat(0)[BEAT] = 1
    assert only(made, monotonic_ns=7_500_000_001).startswith("Worker 101's event loop has not turned for 7.5 s")


def test_a_worker_without_room_is_told(one: tuple[Scoreboard, Counters]) -> None:
    made, _ = one
    made.seat(0)[FULL] = 1
    assert only(made).startswith("Worker 101 accepts nothing for want of room: raise the limit on open files")


@pytest.mark.parametrize(
    ("left", "words"),
    [
        (15 * DAY, None),
        (13.5 * DAY, "expires in 13 days (1970-01-14 12:33 UTC)"),
        (1.5 * DAY, "expires in 1 day ("),
        (-5, "has expired (1970-01-01 00:33 UTC)"),
    ],
)
def test_a_certificate_is_told_in_its_last_days(
    left: float, words: str | None, one: tuple[Scoreboard, Counters]
) -> None:
    made, _ = one
    made.common[CERTIFICATE_EXPIRES] = int(2000 + left)
    if words is None:
        assert warnings(made) == []
    else:
        assert words in only(made)
        assert "send SIGHUP" in only(made)


@pytest.mark.parametrize(
    ("loads", "told"),
    [((60, 20, 20), True), ((40, 30, 30), False), ((19, 0, 0), False), ((500,), False), ((0, 0), False)],
)
def test_connections_that_are_not_spread_are_told(loads: tuple[int, ...], told: bool) -> None:
    made = board()
    for number, load in enumerate(loads):
        add_worker(made, 101 + number, connections=load)
    assert [sentence[:45] for sentence in warnings(made)] == (
        ["Connections are spread unevenly: one worker h"] if told else []
    )


def test_a_worker_that_only_begins_is_no_uneven_spread() -> None:
    made = board()
    add_worker(made, 101, connections=100)
    add_worker(made, 102, stage=STARTING)
    assert warnings(made) == []
    made.seat(1)[STAGE] = 1
    assert "one worker has 100, another 0" in only(made)


# -- The balancer watch


def test_a_balancer_with_more_patience_than_we_is_told_with_both_numbers(one: tuple[Scoreboard, Counters]) -> None:
    made, pen = one
    pen.words[counters.LB_IDLE_1] = 347_800
    for _ in range(3):
        pen.idled(80.1, by_us=True)
    assert only(made, settings=Settings(lb="alb")) == (
        "We closed 3 idle connections before the balancer did: its idle timeout looks like 350 s, and "
        "keep_alive_timeout is 80 s. A request that is sent as we close gets a 502. Set --lb-idle-timeout 350."
    )


def test_a_keep_alive_that_somebody_chose_has_to_be_changed_as_well(one: tuple[Scoreboard, Counters]) -> None:
    made, pen = one
    pen.words[counters.LB_IDLE_1] = 120_000
    settings = Settings(keep_alive_timeout=100.0)
    assert only(made, settings=settings).endswith("Set --lb-idle-timeout 120 and --keep-alive-timeout 140.")
    assert only(made, settings=settings).startswith("The balancer closes idle connections as late as we do")


def test_idle_closes_of_ours_alarm_when_they_are_more_than_accidents(one: tuple[Scoreboard, Counters]) -> None:
    made, pen = one
    for _ in range(4):
        pen.idled(80.1, by_us=True)
    assert warnings(made) == []
    pen.idled(80.1, by_us=True)
    assert "We closed 5 idle connections before the balancer did: lb_idle_timeout is 60 s" in only(made)
    for _ in range(46):
        pen.idled(60.1, by_us=False)
    assert warnings(made) == []  # a balancer that does close first; somebody else beside it


def test_early_closes_of_clients_do_not_hide_ours(one: tuple[Scoreboard, Counters]) -> None:
    made, pen = one
    for _ in range(5):
        pen.idled(80.1, by_us=True)
    for _ in range(1000):
        pen.idled(2.0, by_us=False)
    assert "We closed 5 idle connections" in only(made)


def test_without_a_balancer_to_outlast_nobody_closes_first(one: tuple[Scoreboard, Counters]) -> None:
    made, pen = one
    pen.words[counters.LB_IDLE_1] = 347_800
    for _ in range(50):
        pen.idled(80.1, by_us=True)
    assert warnings(made, settings=Settings(lb="none", lb_idle_timeout=0.0)) == []


def test_a_balancer_within_the_margin_is_told_what_is_left_of_it(one: tuple[Scoreboard, Counters]) -> None:
    made, pen = one
    pen.words[counters.LB_IDLE_1] = 75_100
    assert only(made) == (
        "The balancer's idle timeout looks like 75 s, lb_idle_timeout is 60 s: that leaves 5 s until we close "
        "(keep_alive_timeout is 80 s). Set --lb-idle-timeout 75."
    )


# -- Events


def close(pen: Counters, reason: CloseReason, times: int) -> None:
    for _ in range(times):
        pen.closed(reason)


def test_events_are_told_with_their_numbers(one: tuple[Scoreboard, Counters]) -> None:
    made, pen = one
    words = pen.words
    words[counters.OVERDUE], words[counters.LIMITED], words[counters.LOG_LINES_LOST] = 2, 3, 4
    close(pen, CloseReason.EVICTED, 5)
    for cause in ("crashed", "crashed", "out_of_memory", "reload", "max_requests", "left"):
        made.restarted(cause)
    assert [sentence.partition(":")[0] for sentence in warnings(made)] == [
        "3 workers had to be replaced (crashed 2, out of memory 1)",
        "2 requests had no byte of a response after lb_idle_timeout (60 s)",
        "3 requests got 503, since more than limit_concurrency (50) ran in a worker.",
        "5 connections had to be closed because there were nearly too many",
        "4 lines of the access log could not be written in time, and were dropped",
    ]


def test_what_happened_long_ago_is_no_warning(one: tuple[Scoreboard, Counters]) -> None:
    made, pen = one
    pen.words[counters.OVERDUE] = 7
    for _ in range(5):
        pen.idled(80.1, by_us=True)
    made.restarted("killed")
    earlier = snapshot(made).total
    assert len(warnings(made)) == 3
    assert warnings(made, earlier=earlier) == []
    pen.words[counters.OVERDUE] = 8
    assert only(made, earlier=earlier).startswith("1 request had no byte")
