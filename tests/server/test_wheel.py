"""One clock for all connections: never early, at most a tick late, and nothing kept of what is gone."""

from __future__ import annotations

import asyncio
import gc
import logging
import math
import random
import weakref
from collections.abc import Callable

import pytest

from keepserve.server.wheel import Wheel
from tests.support.clock import FakeClock
from tests.support.harness import in_loop

NEVER = math.inf


class Timer:
    """Something with a deadline that writes down when it was looked at."""

    def __init__(self, wheel: Wheel, deadline: float = NEVER) -> None:
        self.wheel = wheel
        self.deadline = deadline
        self.slot = -1
        self.expired: list[float] = []
        self.settled = 0
        self.on_expire: Callable[[], None] = lambda: None

    def settle(self, now: float) -> float:
        self.settled += 1
        return self.deadline

    def expire(self, now: float) -> float:
        if now < self.deadline:
            return self.deadline
        self.expired.append(now)
        self.deadline = NEVER
        self.on_expire()
        return self.deadline

    def touch(self, deadline: float) -> None:
        """Traffic: the deadline moves and the wheel is told to look."""
        self.deadline = deadline
        self.wheel.touched.append(self)


def make(tick: float = 0.1, now: float = 1000.0) -> tuple[Wheel, FakeClock]:
    clock = FakeClock(now)
    return Wheel(tick=tick, clock=clock), clock


def add(wheel: Wheel, deadline: float) -> Timer:
    timer = Timer(wheel, deadline)
    wheel.add(timer)
    return timer


def test_a_deadline_is_noticed_within_a_tick_and_never_early() -> None:
    wheel, clock = make()
    timer = add(wheel, 1000.55)
    for _ in range(6):
        wheel.sweep(clock())
        assert timer.expired == []
        clock.advance(0.1)
    wheel.sweep(clock())
    assert len(timer.expired) == 1
    assert timer.expired[0] >= 1000.55


def test_random_deadlines_are_met_in_time_whatever_the_steps() -> None:
    dice = random.Random(1)
    wheel, clock = make()
    timers = [add(wheel, 1000.0 + dice.uniform(0.0, 30.0)) for _ in range(300)]
    deadlines = [timer.deadline for timer in timers]
    wheel.sweep(clock())
    steps = []
    while clock() < 1031.0:
        steps.append(clock.advance(dice.choice([0.01, 0.1, 0.1, 0.13, 2.0])))
        wheel.sweep(clock())
    for timer, deadline in zip(timers, deadlines, strict=True):
        (when,) = timer.expired
        assert when >= deadline
        # The first step that is at least a tick behind the deadline is the latest that may notice it.
        assert when <= min(step for step in steps if step >= deadline + 0.1)


def test_a_deadline_that_moves_away_costs_no_filing_until_its_old_place_comes() -> None:
    wheel, clock = make()
    timer = add(wheel, 1001.0)
    wheel.sweep(clock())
    place = timer.slot
    timer.touch(1050.0)
    wheel.sweep(clock.advance(0.1))
    assert timer.slot == place
    wheel.sweep(clock.advance(2.0))
    assert timer.expired == []
    assert timer.slot > place
    wheel.sweep(clock.advance(50.0))
    assert len(timer.expired) == 1


def test_a_deadline_that_comes_nearer_is_met() -> None:
    wheel, clock = make()
    timer = add(wheel, 1080.0)
    wheel.sweep(clock())
    timer.touch(1000.5)
    wheel.sweep(clock.advance(0.1))
    wheel.sweep(clock.advance(0.5))
    assert len(timer.expired) == 1


def test_a_deadline_that_has_passed_already_is_met_at_the_next_tick() -> None:
    wheel, clock = make()
    timer = add(wheel, 990.0)
    wheel.sweep(clock())
    wheel.sweep(clock.advance(0.1))
    assert len(timer.expired) == 1


def test_a_long_stall_of_the_loop_loses_nothing() -> None:
    wheel, clock = make()
    timers = [add(wheel, 1000.0 + number) for number in range(100)]
    wheel.sweep(clock())
    wheel.sweep(clock.advance(1e6))
    assert all(len(timer.expired) == 1 for timer in timers)


def test_one_with_nothing_to_wait_for_is_not_asked_again() -> None:
    wheel, clock = make()
    timer = add(wheel, NEVER)
    for _ in range(100):
        wheel.sweep(clock.advance(0.1))
    assert timer.settled == 1
    assert timer.slot == -1


def test_expiring_may_forget_others_that_are_due_at_the_same_time() -> None:
    wheel, clock = make()
    timers = [add(wheel, 1000.5) for _ in range(10)]
    for timer in timers:
        timer.on_expire = lambda: [wheel.forget(other) for other in timers if other.slot >= 0]  # type: ignore[func-returns-value]
    wheel.sweep(clock())
    wheel.sweep(clock.advance(1.0))
    assert any(timer.expired for timer in timers)
    assert all(timer.slot == -1 for timer in timers)


def test_one_that_fails_does_not_stop_the_clock_of_the_others(caplog: pytest.LogCaptureFixture) -> None:
    wheel, clock = make()
    timers = [add(wheel, 1000.5) for _ in range(5)]

    def fail() -> None:
        raise ZeroDivisionError("a fault of ours")

    for timer in timers[::2]:
        timer.on_expire = fail
    wheel.sweep(clock())
    with caplog.at_level(logging.ERROR, logger="keepserve"):
        wheel.sweep(clock.advance(1.0))
    assert [len(timer.expired) for timer in timers] == [1] * 5
    assert "a fault of ours" in caplog.text


def test_one_that_fails_to_settle_does_not_stop_the_clock_of_the_others(caplog: pytest.LogCaptureFixture) -> None:
    wheel, clock = make()
    timers = [add(wheel, deadline) for deadline in (1000.5, "nonsense", 1000.5)]  # type: ignore[arg-type]
    wheel.sweep(clock())
    wheel.sweep(clock.advance(1.0))
    assert [len(timer.expired) for timer in timers] == [1, 0, 1]
    assert len(caplog.records) == 1


def test_nothing_is_kept_of_what_was_forgotten() -> None:
    wheel, clock = make()
    timers = [add(wheel, 1080.0) for _ in range(10)]
    wheel.sweep(clock())
    for timer in timers:
        timer.touch(NEVER)  # what has gone has no deadline any more
        wheel.forget(timer)
    wheel.sweep(clock.advance(0.1))
    left = [weakref.ref(timer) for timer in timers]
    del timer, timers
    gc.collect()
    assert [timer() for timer in left] == [None] * 10


@in_loop
async def test_it_turns_only_while_there_is_something_on_it() -> None:
    ticks = []
    turned = asyncio.Event()

    def on_tick() -> None:
        ticks.append(1)
        if len(ticks) == 5:
            turned.set()

    wheel = Wheel(tick=0.001, on_tick=on_tick)
    wheel.turn(asyncio.get_running_loop())
    await asyncio.sleep(0.01)
    assert ticks == []
    timer = add(wheel, NEVER)
    await turned.wait()
    wheel.forget(timer)
    await asyncio.sleep(0.01)
    seen = len(ticks)
    await asyncio.sleep(0.01)
    assert len(ticks) == seen
    assert wheel.touched == []


@in_loop
async def test_a_tick_refreshes_before_the_first_connection_is_served() -> None:
    ticks = []
    wheel = Wheel(tick=60.0, on_tick=lambda: ticks.append(1))
    wheel.turn(asyncio.get_running_loop())
    timer = add(wheel, NEVER)
    assert ticks == [1]
    wheel.forget(timer)
    wheel.stop()


@in_loop
async def test_a_stopped_wheel_turns_no_more() -> None:
    ticks = []
    wheel = Wheel(tick=0.001, on_tick=lambda: ticks.append(1))
    wheel.turn(asyncio.get_running_loop())
    add(wheel, NEVER)
    wheel.stop()
    seen = len(ticks)
    await asyncio.sleep(0.01)
    assert len(ticks) == seen
