"""Progress and lingering as arithmetic."""

from __future__ import annotations

import pytest

from keepserve.wire.clocks import LingerClock, ProgressClock
from keepserve.wire.engine import NEVER


def test_a_transfer_may_stand_still_for_its_timeout() -> None:
    clock = ProgressClock(timeout=30.0, min_rate=0.0, grace=20.0, now=100.0)
    assert clock.deadline == 130.0
    clock.moved(1, 125.0)
    assert clock.deadline == 155.0


def test_a_transfer_has_its_grace_before_it_counts_as_slow() -> None:
    clock = ProgressClock(timeout=30.0, min_rate=500.0, grace=20.0, now=100.0)
    clock.moved(1, 110.0)
    assert clock.deadline == 120.0


def test_bytes_buy_time_at_the_minimum_rate() -> None:
    clock = ProgressClock(timeout=1000.0, min_rate=500.0, grace=20.0, now=100.0)
    clock.moved(50_000, 101.0)
    assert clock.deadline == 200.0


def test_a_timeout_or_rate_of_zero_is_none() -> None:
    assert ProgressClock(0.0, 0.0, 20.0, 0.0).deadline == NEVER
    assert ProgressClock(0.0, 500.0, 20.0, 0.0).deadline == 20.0


def test_a_held_clock_stands_still() -> None:
    clock = ProgressClock(timeout=30.0, min_rate=500.0, grace=40.0, now=0.0)
    clock.moved(10, 5.0)
    clock.hold(10.0)
    clock.hold(50.0)
    assert clock.deadline == NEVER
    clock.resume(110.0)
    clock.resume(500.0)
    assert clock.deadline == pytest.approx(135.0)
    clock.moved(1, 120.0)
    assert clock.deadline == pytest.approx(140.0)


def test_lingering_has_three_bounds() -> None:
    clock = LingerClock(timeout=30.0, idle_timeout=5.0, max_bytes=100, now=0.0)
    assert clock.deadline == 5.0
    assert clock.moved(60, 4.0)
    assert clock.deadline == 9.0
    assert clock.moved(40, 28.0)
    assert clock.deadline == 30.0
    assert not clock.moved(1, 29.0)
