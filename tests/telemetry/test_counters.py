"""What workers count: every figure has its own word, sums lose and double nothing, nothing is written elsewhere."""

from __future__ import annotations

import random

import pytest

from keepserve.telemetry import counters
from keepserve.telemetry.counters import (
    DURATION_BOUNDS,
    IDLE_BOUNDS,
    METHODS,
    NOW_END,
    REASONS,
    REJECTIONS,
    RESTARTS,
    ROW_WORDS,
    SECONDS_WORDS,
    STATUS_CLASSES,
    Counters,
    Tally,
)
from keepserve.telemetry.reasons import CloseReason
from keepserve.telemetry.scoreboard import CERTIFICATE_EXPIRES, EDITION, PID, Scoreboard, snapshot


def test_every_method_and_class_of_status_has_its_own_words() -> None:
    pen = Counters()
    for amount, (method, status) in enumerate(((m, s) for m in METHODS for s in range(1, 6)), 1):
        for _ in range(amount):
            pen.answered(b"BREW" if method == "other" else method.encode(), status * 100 + 4, 0.003)
    pen.write_durations()
    tally = Tally((pen.words,))
    amounts = iter(range(1, 1000))
    for method in METHODS:
        for status_class in STATUS_CLASSES:
            found = tally.requests(method, status_class)
            assert sum(found) == found[DURATION_BOUNDS.index(0.005)] == next(amounts)
    assert sum(tally.requests()) == sum(range(1, len(METHODS) * 5 + 1))
    assert tally.seconds(counters.DURATIONS) == pytest.approx(0.003 * sum(tally.requests()))


@pytest.mark.parametrize(
    ("duration", "bucket"),
    [(0.0, 0), (0.0005, 0), (0.00051, 1), (60.0, len(DURATION_BOUNDS) - 1), (60.1, len(DURATION_BOUNDS))],
)
def test_a_duration_lies_at_or_below_the_bound_of_its_bucket(duration: float, bucket: int) -> None:
    pen = Counters()
    pen.answered(b"GET", 200, duration)
    expected = [0] * (len(DURATION_BOUNDS) + 1)
    expected[bucket] = 1
    assert Tally((pen.words,)).requests("GET", "2xx") == expected


@pytest.mark.parametrize("status", [0, 99, 600, 999, -1])
def test_what_is_no_status_counts_as_a_fault_of_the_server(status: int) -> None:
    pen = Counters()
    pen.answered(b"GET", status, 0.1)
    assert sum(Tally((pen.words,)).requests("GET", "5xx")) == 1


def test_rejections_are_told_apart_and_unknown_ones_are_one() -> None:
    pen = Counters()
    for status in (*REJECTIONS, 418, 599):
        pen.rejected(status)
    assert Tally((pen.words,)).rejected() == {**dict.fromkeys(REJECTIONS, 1), 0: 2}


def test_every_reason_has_its_own_word() -> None:
    pen = Counters()
    for amount, reason in enumerate(CloseReason, 1):
        for _ in range(amount):
            pen.closed(reason)
    assert Tally((pen.words,)).closed() == {reason: amount for amount, reason in enumerate(CloseReason, 1)}


@pytest.mark.parametrize("timeout", [60.0, 65.0, 75.0, 350.0, 600.0, 3600.0])
def test_idle_times_of_one_balancer_fall_into_one_bucket(timeout: float) -> None:
    pen = Counters()
    for late in (0.0, 0.05, 0.1, 0.2, 0.3):
        pen.idled(timeout + late, by_us=False)
        pen.idled(timeout + late, by_us=True)
    tally = Tally((pen.words,))
    for block, total in (
        (counters.IDLE_BY_PEER, counters.IDLE_BY_PEER_SECONDS),
        (counters.IDLE_BY_US, counters.IDLE_BY_US_SECONDS),
    ):
        found = tally.block(block, len(IDLE_BOUNDS) + 1)
        # 65 s and 600 s are bounds themselves: then a second one may be touched, and none but that.
        assert sorted(filter(None, found)) in ([5], [1, 4])
        assert tally.seconds(total) == pytest.approx(5 * timeout + 0.65)


def test_connections_count_by_what_they_carried() -> None:
    pen = Counters()
    for requests in (0, 1, 1, 3, 10**6):
        pen.carried(requests, glitches=2, resets=1)
    tally = Tally((pen.words,))
    found = tally.block(counters.CONNECTION_REQUESTS, len(counters.CONNECTION_REQUESTS_BOUNDS) + 1)
    assert (found[0], found[1], found[3], found[-1], sum(found)) == (1, 2, 1, 1, 5)
    assert tally[counters.CONNECTION_REQUESTS_SUM] == 10**6 + 5
    assert (tally[counters.GLITCHES], tally[counters.RESETS]) == (10, 5)


def test_the_worst_lag_is_remembered_for_a_minute() -> None:
    pen = Counters()
    for seconds, now, worst in ((0.002, 1.0, 2000), (0.3, 5.0, 300000), (0.001, 64.9, 300000), (0.001, 65.0, 1000)):
        pen.lagged(seconds, now)
        assert pen.words[counters.LAG_MAX] == worst
        assert pen.words[counters.LAG] == round(seconds * 1e6)
    pen.lagged(-0.1, 70.0)  # a clock that is early has no lag
    tally = Tally((pen.words,))
    assert sum(tally.block(counters.LAGS, len(counters.LAG_BOUNDS) + 1)) == 5
    assert tally.seconds(counters.LAG_SECONDS) == pytest.approx(0.304)


def test_no_two_figures_share_a_word() -> None:
    pen = Counters()
    taken: list[int] = []

    def changed() -> set[int]:
        nonlocal pen
        nonzero = {word for word in range(ROW_WORDS) if pen.words[word]}
        pen = Counters()
        return nonzero

    for method in METHODS:
        for status in range(100, 600, 100):
            for bound in (*DURATION_BOUNDS, 100.0):
                pen.answered(method.encode(), status, bound)
                taken += changed() - {counters.DURATIONS}
    for reason in REASONS:
        pen.closed(reason)
        taken += changed()
    for status in (*REJECTIONS, 0):
        pen.rejected(status)
        taken += changed()
    for bound in (*IDLE_BOUNDS, 1e9):
        for by_us in (False, True):
            pen.idled(bound, by_us)
            taken += changed() - {counters.IDLE_BY_US_SECONDS, counters.IDLE_BY_PEER_SECONDS}
    assert len(taken) == len(set(taken))
    assert min(taken) >= NOW_END
    assert max(taken) < ROW_WORDS
    assert not set(taken) & set(SECONDS_WORDS)


# On the scoreboard.


def worker(board: Scoreboard, pid: int) -> tuple[int, Counters]:
    """Somebody who has a seat."""
    number = board.take()
    board.seat(number)[PID] = pid
    return number, Counters(board.counters(number))


def test_what_a_worker_has_counted_outlives_it() -> None:
    board = Scoreboard(4)
    first, pen = worker(board, 11)
    _, other = worker(board, 12)
    pen.answered(b"POST", 201, 0.25)
    pen.write_durations()
    pen.words[counters.STREAMS] = 7
    pen.closed(CloseReason.IDLE_TIMEOUT)
    other.answered(b"POST", 201, 0.5)
    other.write_durations()
    before = snapshot(board)
    assert before.total[counters.STREAMS] == 7
    board.free(first)
    after = snapshot(board)
    assert [view.seat[PID] for view in after.workers] == [12]
    assert after.total.requests("POST", "2xx") == before.total.requests("POST", "2xx")
    assert sum(after.total.requests()) == 2
    assert after.total.seconds(counters.DURATIONS) == 0.75
    assert after.total.closed()[CloseReason.IDLE_TIMEOUT] == 1
    assert after.total[counters.STREAMS] == 0, "it is at present"
    again, fresh = worker(board, 13)
    assert again == first
    fresh.answered(b"POST", 201, 0.125)
    fresh.write_durations()
    board.free(again)
    assert sum(snapshot(board).total.requests()) == 3
    assert snapshot(board).total.seconds(counters.DURATIONS) == 0.875


def test_connections_that_were_open_are_closed_when_their_worker_is_gone() -> None:
    board = Scoreboard(2)
    number, pen = worker(board, 11)
    pen.words[counters.OPEN_1], pen.words[counters.OPEN_2], pen.words[counters.ACCEPTED] = 3, 2, 6
    pen.closed(CloseReason.PEER_CLOSED)
    board.free(number)
    total = snapshot(board).total
    closed = {reason: count for reason, count in total.closed().items() if count}
    assert closed == {CloseReason.PEER_CLOSED: 1, CloseReason.WORKER_DIED: 5}
    assert sum(closed.values()) == total[counters.ACCEPTED]


def test_sums_of_seconds_do_not_fall_when_rows_are_added_up_in_another_order() -> None:
    source = random.Random(1)
    for _ in range(100):
        board = Scoreboard(5)
        numbers = []
        for pid in range(1, 6):
            number, pen = worker(board, pid)
            pen.seconds[counters.DURATIONS] = source.uniform(0, 300)
            numbers.append(number)
        source.shuffle(numbers)
        before = snapshot(board).total.seconds(counters.DURATIONS)
        for number in numbers:
            board.free(number)
            assert snapshot(board).total.seconds(counters.DURATIONS) == before


def test_rows_of_neighbours_do_not_touch() -> None:
    board = Scoreboard(3)
    pens = [worker(board, pid)[1] for pid in (1, 2, 3)]
    pens[1].words[:] = memoryview(bytes([1]) * ROW_WORDS * 8).cast("q")
    for pen in (pens[0], pens[2]):
        assert not any(pen.words)
    assert not any(board.gone)


def test_a_reader_waits_until_the_sums_are_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    board = Scoreboard(2)
    _, pen = worker(board, 1)
    pen.answered(b"GET", 200, 0.1)
    board.common[EDITION] += 1  # the supervisor is adding up
    waited: list[float] = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 3:
            board.common[EDITION] += 1

    monkeypatch.setattr("keepserve.telemetry.scoreboard.time.sleep", sleep)
    assert sum(snapshot(board).total.requests()) == 1
    assert len(waited) == 3


def test_restarts_and_other_news_of_the_supervisor_are_read() -> None:
    board = Scoreboard(2)
    for cause in RESTARTS:
        board.restarted(cause)
    board.restarted("hung")
    board.common[CERTIFICATE_EXPIRES] = 4711
    found = snapshot(board)
    assert found.total.restarts() == {**dict.fromkeys(RESTARTS, 1), "hung": 2}
    assert found.common[CERTIFICATE_EXPIRES] == 4711
    with pytest.raises(ValueError, match="not in tuple"):
        board.restarted("boredom")
