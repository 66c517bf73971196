"""The idle timeout that shows in the times after which peers closed: found when it is there, and only then."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest

from keepserve.telemetry.idle import KEPT, LONGEST, IdleTimes, round_timeout

Times = Callable[[random.Random], float]


def recorded(count: int, times: Times, seed: int) -> IdleTimes:
    """A record of so many closes."""
    source = random.Random(seed)
    record = IdleTimes()
    for _ in range(count):
        record.add(times(source))
    return record


def late(timeout: float, ticks: float = 0.05, lag: float = 0.002) -> Times:
    """A timeout as the server sees it: the start of idleness is known to a tick, the close comes a little late."""
    return lambda source: timeout + source.uniform(-ticks, ticks) + source.expovariate(1 / lag)


def mixed(*parts: tuple[float, Times]) -> Times:
    """Each close is of one kind, with these weights."""
    weights = [weight for weight, _ in parts]
    return lambda source: source.choices([times for _, times in parts], weights)[0](source)


def leaving(mean: float) -> Times:
    """Clients that leave without memory of how long they were idle."""
    return lambda source: source.expovariate(1 / mean)


def surplus(source: random.Random) -> float:
    """What a pool lets go of at once because it is full."""
    return source.uniform(0, 0.1)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("count", [20, 200, 2000])
@pytest.mark.parametrize("timeout", [0.7, 1.0, 5.0, 60.0, 350.0, 3600.0])
def test_a_timeout_is_found_within_a_few_per_cent(timeout: float, count: int, seed: int) -> None:
    (found,) = recorded(count, late(timeout), seed).clusters()
    assert found.seconds == pytest.approx(timeout, rel=0.05)
    assert found.of == count
    assert found.closes >= 0.8 * count


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    "others",
    [
        leaving(20.0),
        leaving(200.0),
        lambda source: source.uniform(0, 60),
        surplus,
        mixed((1, surplus), (1, leaving(10.0)), (1, lambda source: source.lognormvariate(2.0, 1.0))),
    ],
    ids=["leaving", "leaving late", "evenly", "surplus", "of all kinds"],
)
def test_it_is_found_among_clients_that_leave_when_they_please(others: Times, seed: int) -> None:
    found = recorded(400, mixed((1, late(60.0)), (1, others)), seed).clusters()
    assert [cluster.seconds for cluster in found] == [pytest.approx(60, rel=0.03)]


@pytest.mark.parametrize("count", [20, 50, 199, 200, 1000, 4000])
@pytest.mark.parametrize(
    "times",
    [
        lambda source: source.uniform(0, 75),
        lambda source: source.uniform(40, 80),
        leaving(5.0),
        leaving(30.0),
        leaving(500.0),
        lambda source: min(source.expovariate(1 / 30), 0.0) or source.uniform(0, 10),
        lambda source: source.lognormvariate(3.0, 0.5),
        lambda source: math.exp(source.uniform(math.log(0.3), math.log(1000))),
        surplus,
    ],
    ids=["evenly", "late", "soon", "leaving", "hardly", "short", "around 20 s", "of all lengths", "surplus"],
)
def test_random_times_show_nothing(times: Times, count: int) -> None:
    assert [recorded(count, times, seed).clusters() for seed in range(20)] == [[]] * 20


@pytest.mark.parametrize("seed", range(5))
def test_two_balancers_show_both_and_the_longest_first(seed: int) -> None:
    found = recorded(400, mixed((2, late(60.0)), (1, late(350.0)), (1, leaving(30.0))), seed).clusters()
    assert [cluster.seconds for cluster in found] == [pytest.approx(350, rel=0.03), pytest.approx(60, rel=0.03)]


def test_few_closes_show_nothing() -> None:
    assert recorded(19, late(60.0), 1).clusters() == []
    assert recorded(20, late(60.0), 1).clusters() != []


def test_what_was_closed_at_once_counts_for_nothing() -> None:
    record = recorded(10_000, surplus, 1)
    assert record.count == 0
    assert record.clusters() == []


def test_beyond_a_limit_few_are_enough_but_they_must_stand_out_from_what_is_below() -> None:
    record = recorded(300, lambda source: min(leaving(20.0)(source), 74.9), 1)
    for _ in range(5):
        record.add(350.0)
    assert record.clusters() == []
    (found,) = record.clusters(least=5, above=80.0)
    assert found.seconds == pytest.approx(350, rel=0.02)
    assert (found.closes, found.of) == (5, 5)
    # What is next to them on the other side of the limit is not theirs.
    for _ in range(100):
        record.add(79.0)
    for _ in range(5):
        record.add(81.0)
    assert record.clusters(least=5, above=80.0)[0].seconds == pytest.approx(350, rel=0.02)
    assert len(record.clusters(least=5, above=80.0)) == 1
    # These are the tail of what is below, of which only the end lies beyond the limit.
    tail = recorded(2000, leaving(20.0), 1)
    assert tail.above(75.0) >= 20
    assert tail.clusters(least=5, above=75.0) == []


def test_a_balancer_may_change_its_mind() -> None:
    record = recorded(KEPT, late(60.0), 1)
    for _ in range(KEPT):
        record.add(350.0)
    assert record.clusters()[0].seconds == pytest.approx(350, rel=0.02)
    for _ in range(4 * KEPT):
        record.add(20.0)
    assert [cluster.seconds for cluster in record.clusters()] == [pytest.approx(20, rel=0.02)]
    assert record.count <= KEPT


def test_above_counts_what_came_later() -> None:
    record = IdleTimes()
    for seconds in (1.0, 30.0, 50.0, 70.0):
        record.add(seconds)
    assert [record.above(seconds) for seconds in (0.0, 10.0, 40.0, 60.0, 100.0)] == [4, 3, 2, 1, 0]


def test_the_longest_times_have_a_place() -> None:
    record = IdleTimes()
    for _ in range(20):
        record.add(10 * LONGEST)
    assert record.count == 20
    (found,) = record.clusters()
    assert found.seconds == pytest.approx(LONGEST, rel=0.05)


@pytest.mark.parametrize(
    ("measured", "meant"),
    [
        (347.8, 350),
        (59.69, 60),
        (60.3, 60),
        (61.5, 62),
        (75.2, 75),
        (3588.0, 3600),
        (15.1, 15),
        (5.04, 5),
        (0.99, 1),
        (0.71, 0.7),
        (4010.0, 4000),
    ],
)
def test_the_number_somebody_wrote_is_guessed(measured: float, meant: float) -> None:
    assert round_timeout(measured) == meant
