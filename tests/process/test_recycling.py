"""When a worker has lived long enough."""

from __future__ import annotations

import pytest

from keepserve.config import Settings
from keepserve.process.recycling import Lifetime, draw_lifetime
from keepserve.telemetry.counters import RESTARTS

MIB = 1024 * 1024


def test_without_limits_a_worker_lives_for_ever() -> None:
    lifetime = draw_lifetime(Settings(), 0.5)
    assert lifetime.endless
    assert lifetime.over(10**9, 1e9, 10**12) is None


@pytest.mark.parametrize(("fraction", "requests", "age"), [(0.0, 900, 90.0), (0.5, 1000, 100.0), (1.0, 1100, 110.0)])
def test_requests_and_age_are_spread_by_a_tenth_either_way(fraction: float, requests: int, age: float) -> None:
    lifetime = draw_lifetime(Settings(max_requests=1000, max_worker_age=100.0), fraction)
    assert (lifetime.requests, lifetime.age) == (requests, pytest.approx(age))


@pytest.mark.parametrize(("fraction", "memory"), [(0.0, 200 * MIB), (1.0, 180 * MIB)])
def test_memory_is_spread_downwards_only(fraction: float, memory: int) -> None:
    assert draw_lifetime(Settings(max_worker_memory=200 * MIB), fraction).memory == memory


def test_a_limit_of_one_request_stays_one() -> None:
    assert draw_lifetime(Settings(max_requests=1), 0.0).requests == 1


@pytest.mark.parametrize(
    ("lifetime", "cause", "said"),
    [
        (Lifetime(requests=10), "max_requests", "has served 10 requests (max_requests)"),
        (Lifetime(age=60.0), "max_age", "is 60 s old (max_worker_age)"),
        (Lifetime(memory=100 * MIB), "max_memory", "has grown to 100 MiB (max_worker_memory)"),
    ],
)
def test_each_limit_is_reached_exactly_and_named(lifetime: Lifetime, cause: str, said: str) -> None:
    assert lifetime.over(9, 59.9, 100 * MIB - 1) is None
    assert lifetime.over(10, 60.0, 100 * MIB) == (cause, said)
    assert cause in RESTARTS
