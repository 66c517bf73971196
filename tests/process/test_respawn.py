"""When a worker that ended is replaced."""

from __future__ import annotations

import pytest

from keepserve.process.respawn import Backoff, random_fraction


def _delays(count: int, fraction: float = 0.0, uptime: float = 0.0) -> list[float]:
    backoff = Backoff(lambda: fraction)
    return [backoff.after(uptime) for _ in range(count)]


def test_the_first_failure_costs_nothing() -> None:
    assert _delays(1) == [0.0]


def test_further_failures_wait_twice_as_long_each_up_to_30_seconds() -> None:
    expected = [0.0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0]
    assert _delays(12) == pytest.approx(expected)


def test_each_delay_is_shortened_by_a_random_part_of_up_to_a_half() -> None:
    assert _delays(3, fraction=0.5) == pytest.approx([0.0, 0.075, 0.15])
    assert all(delay >= 15.0 for delay in _delays(20, fraction=0.999999)[12:])


def test_60_seconds_of_running_forget_all_failures() -> None:
    backoff = Backoff(lambda: 0.0)
    for _ in range(5):
        backoff.after(0.0)
    assert backoff.after(59.9) == pytest.approx(1.6)
    assert backoff.after(60.0) == 0.0
    assert backoff.after(1.0) == pytest.approx(0.1)


def test_a_worker_that_fails_for_months_does_not_overflow() -> None:
    assert _delays(5000)[-1] == 30.0


def test_reset_forgets_all_failures() -> None:
    backoff = Backoff(lambda: 0.0)
    backoff.after(0.0)
    backoff.after(0.0)
    backoff.reset()
    assert backoff.after(0.0) == 0.0


def test_random_fractions_differ_and_stay_below_one() -> None:
    fractions = {random_fraction() for _ in range(50)}
    assert len(fractions) > 40
    assert all(0.0 <= fraction < 1.0 for fraction in fractions)
