"""The phases of a stop as arithmetic: each boundary just before and at its time."""

from __future__ import annotations

import pytest

from keepserve.config import Settings
from keepserve.server.phases import HURRY_TIMEOUT, PARTING, TELLING, Course, Left, Phase, Times
from keepserve.wire.engine import NEVER

START = 100.0
EARLY = 0.001
BUSY = Left(connections=3, requests=1)
IDLE = Left(connections=3, requests=0)
NOTHING = Left(connections=0, requests=0)

TIMES = Times(delay=10.0, idle=5.0, timeout=20.0, cancel=3.0, roll_idle=80.0)


def course(delay: float = 0.0, cancel: float = 3.0) -> Course:
    return Course(Times(delay, TIMES.idle, TIMES.timeout, cancel, TIMES.roll_idle))


def at(course: Course, seconds: float, left: Left = BUSY) -> Phase:
    """The phase so many seconds after the start, when every look is taken that was asked for."""
    end = START + seconds
    while (look := min(course.next_look, end)) < end:
        list(course.early(look))
        while course.advance(look, left):
            pass
    list(course.early(end))
    while course.advance(end, left):
        pass
    return course.phase


def boundaries(course: Course, left: Left = BUSY) -> list[tuple[Phase, float]]:
    """Every phase from here on, and the seconds from the start to when it began."""
    found = []
    for _ in range(20):
        now = course.next_look
        if now == NEVER:
            break
        phase = course.phase
        assert at(course, now - START - EARLY, left) == phase, "not before its time"
        if at(course, now - START, left) != phase:
            found.append((course.phase, round(now - START, 3)))
        if course.phase == Phase.OVER:
            break
    return found


def test_a_stop_goes_through_all_phases_in_the_times_of_the_settings() -> None:
    stop = Course(TIMES)
    assert (stop.phase, stop.next_look) == (Phase.SERVING, NEVER)
    stop.stop(START)
    assert stop.phase == Phase.LAME_DUCK
    assert boundaries(stop) == [
        (Phase.CLOSING, 10.0),
        (Phase.LIMIT, 30.0),
        (Phase.CANCEL, 30.0 + TELLING),
        (Phase.CUT, 33.0),
        (Phase.DROP, 33.0 + PARTING),
        (Phase.OVER, 33.0 + 2 * PARTING),
    ]


def test_the_times_are_those_of_the_settings_and_their_sum_is_the_budget() -> None:
    settings = Settings(drain_delay=1.0, drain_idle=2.0, drain_timeout=3.0, drain_cancel=4.0, roll_idle=5.0)
    assert Times.of(settings) == Times(delay=1.0, idle=2.0, timeout=3.0, cancel=4.0, roll_idle=5.0)
    stop = Course(Times.of(settings))
    stop.stop(START)
    ((_, cut),) = [entry for entry in boundaries(stop) if entry[0] == Phase.CUT]
    assert cut + settings.shutdown_timeout == settings.stop_budget


def test_without_a_lame_duck_the_listeners_close_at_once() -> None:
    stop = course()
    stop.stop(START)
    assert at(stop, 0.0) == Phase.CLOSING
    assert stop.next_look == START + TIMES.timeout


def test_closing_is_over_as_soon_as_nothing_is_left() -> None:
    stop = course()
    stop.stop(START)
    assert at(stop, 2.0) == Phase.CLOSING
    assert at(stop, 2.0, IDLE) == Phase.CLOSING
    assert at(stop, 2.0, NOTHING) == Phase.OVER


def test_a_lame_duck_goes_on_though_nothing_is_left_because_somebody_may_come() -> None:
    stop = course(delay=10.0)
    stop.stop(START)
    assert at(stop, 10.0 - EARLY, NOTHING) == Phase.LAME_DUCK
    assert at(stop, 10.0, NOTHING) == Phase.OVER


def test_a_worker_that_looked_late_gives_its_requests_their_full_time() -> None:
    stop = course(delay=10.0)
    stop.stop(START)
    assert stop.advance(START + 14.0, BUSY)
    assert stop.next_look == START + 14.0 + TIMES.timeout


@pytest.mark.parametrize("phase", [Phase.LIMIT, Phase.CANCEL])
def test_at_the_limit_only_applications_are_waited_for(phase: Phase) -> None:
    stop = course()
    stop.stop(START)
    assert at(stop, 20.0 + (TELLING if phase == Phase.CANCEL else 0.0)) == phase
    stop.advance(stop.next_look - EARLY, IDLE)
    assert stop.phase == Phase.CUT


@pytest.mark.parametrize("seconds", [23.0, 23.0 + PARTING])
def test_in_the_end_applications_that_go_on_are_not_waited_for(seconds: float) -> None:
    stop = course()
    stop.stop(START)
    assert at(stop, seconds) in (Phase.CUT, Phase.DROP)
    assert at(stop, seconds, Left(connections=0, requests=1)) == Phase.OVER


def test_applications_are_told_for_half_of_a_short_time_and_cancelled_in_the_other() -> None:
    stop = course(cancel=0.4)
    stop.stop(START)
    assert boundaries(stop)[-5:-2] == [(Phase.LIMIT, 20.0), (Phase.CANCEL, 20.2), (Phase.CUT, 20.4)]


def test_somebody_at_the_terminal_waits_neither_for_a_lame_duck_nor_for_idle_connections() -> None:
    stop = course(delay=10.0)
    stop.stop(START, interactive=True)
    assert at(stop, 0.0) == Phase.CLOSING
    assert stop.idle_grace == 0.0


def test_an_interrupt_during_a_lame_duck_ends_it() -> None:
    stop = course(delay=10.0)
    stop.stop(START)
    assert at(stop, 4.0) == Phase.LAME_DUCK
    stop.stop(START + 4.0, interactive=True)
    assert at(stop, 4.0) == Phase.CLOSING
    assert (stop.idle_grace, stop.next_look) == (0.0, START + 24.0)


def test_to_be_told_twice_changes_nothing() -> None:
    stop = course(delay=10.0)
    stop.stop(START)
    stop.stop(START + 5.0)
    stop.leave(START + 6.0)
    assert (at(stop, 10.0), stop.idle_grace, stop.leaving) == (Phase.CLOSING, TIMES.idle, False)
    stop.stop(START + 15.0)
    assert stop.next_look == START + 10.0 + TIMES.timeout


@pytest.mark.parametrize("seconds", [0.0, 4.0, 15.0, 30.0, 31.0])
def test_a_hurry_ends_within_a_second_from_wherever_it_is(seconds: float) -> None:
    stop = Course(TIMES)
    stop.stop(START)
    at(stop, seconds)
    stop.hurry(START + seconds)
    assert at(stop, seconds) == Phase.CANCEL
    assert stop.next_look == START + seconds + HURRY_TIMEOUT
    assert at(stop, seconds + HURRY_TIMEOUT + 2 * PARTING) == Phase.OVER


def test_a_hurry_without_a_stop_before_is_one() -> None:
    stop = Course(TIMES)
    stop.hurry(START)
    assert at(stop, 0.0) == Phase.CANCEL


def test_a_hurry_never_gives_more_time_than_there_was() -> None:
    stop = course()
    stop.stop(START)
    assert at(stop, 22.5) == Phase.CANCEL
    stop.hurry(START + 22.5)
    assert stop.next_look == START + 23.0
    short = course(cancel=0.25)
    short.hurry(START)
    assert at(short, 0.25) == Phase.CUT


# A worker that leaves.


def test_a_leave_closes_at_once_and_lasts_until_the_last_request_on_an_idle_connection_had_its_time() -> None:
    leave = Course(TIMES)
    leave.leave(START)
    assert (leave.phase, leave.leaving, leave.idle_grace) == (Phase.CLOSING, True, 80.0)
    assert leave.began == START
    assert boundaries(leave) == [
        (Phase.LIMIT, 100.0),
        (Phase.CANCEL, 100.5),
        (Phase.CUT, 103.0),
        (Phase.DROP, 103.0 + PARTING),
        (Phase.OVER, 103.0 + 2 * PARTING),
    ]


def test_the_budget_of_a_leave_is_what_it_takes_at_the_most() -> None:
    settings = Settings(drain_timeout=3.0, drain_cancel=4.0, roll_idle=50.0)
    leave = Course(Times.of(settings))
    leave.leave(START)
    ((_, cut),) = [entry for entry in boundaries(leave) if entry[0] == Phase.CUT]
    assert cut + settings.shutdown_timeout == settings.roll_budget


def test_in_a_leave_the_first_requests_have_the_time_of_a_stop() -> None:
    leave = Course(TIMES)
    leave.leave(START)
    told = {}
    for now in (0.0, 20.0 - EARLY, 20.0, 20.5 - EARLY, 20.5, 23.0 - EARLY, 23.0, 50.0):
        told[now] = list(leave.early(START + now))
    assert {now: phases for now, phases in told.items() if phases} == {
        20.0: [Phase.LIMIT],
        20.5: [Phase.CANCEL],
        23.0: [Phase.CUT],
    }
    assert leave.phase == Phase.CLOSING


def test_a_stop_of_the_server_shortens_a_leave_to_what_a_stop_has() -> None:
    leave = Course(TIMES)
    leave.leave(START)
    assert at(leave, 10.0) == Phase.CLOSING
    leave.stop(START + 10.0)
    assert leave.leaving is False
    assert leave.idle_grace == TIMES.delay + TIMES.idle
    assert leave.ends_at(Phase.CLOSING) == START + 10.0 + TIMES.delay + TIMES.timeout


def test_an_interrupt_shortens_a_leave_to_the_time_of_requests() -> None:
    leave = Course(TIMES)
    leave.leave(START)
    leave.stop(START + 1.0, interactive=True)
    assert (leave.idle_grace, leave.ends_at(Phase.CLOSING)) == (0.0, START + 21.0)


def test_a_stop_never_prolongs_a_leave() -> None:
    leave = Course(TIMES)
    leave.leave(START)
    leave.stop(START + 95.0)
    assert leave.ends_at(Phase.CLOSING) == START + 100.0


def test_a_hurry_ends_a_leave_as_well() -> None:
    leave = Course(TIMES)
    leave.leave(START)
    leave.hurry(START + 2.0)
    assert at(leave, 2.0) == Phase.CANCEL
    assert list(leave.early(START + 1000.0)) == []
