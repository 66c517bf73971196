"""Who is ended for hanging, and who is not. Times are numbers."""

from __future__ import annotations

import math

from keepserve.process.watchdog import KILL_PAUSE, LATE, Watchdog, beat_interval


def test_nobody_hangs_without_a_limit() -> None:
    watchdog = Watchdog(0.0)
    watchdog.watch(100.0)
    assert watchdog.due == math.inf
    assert watchdog.look(1000.0, [("a", 0.0)]) is None


def test_a_worker_hangs_when_its_last_beat_is_as_old_as_the_limit_and_not_before() -> None:
    watchdog = Watchdog(30.0)
    watchdog.watch(100.0)
    assert watchdog.due == 130.0
    assert watchdog.look(130.0, [("a", 100.5), ("b", 129.0)]) is None
    assert watchdog.due == 130.5
    assert watchdog.look(130.4, [("a", 100.5), ("b", 129.0)]) is None
    assert watchdog.look(130.5, [("a", 100.5), ("b", 129.0)]) == "a"


def test_between_two_looks_nobody_wakes_up() -> None:
    watchdog = Watchdog(30.0)
    watchdog.watch(100.0)
    now = 130.0
    looks = 0
    while now < 400.0:
        assert watchdog.look(now, [("a", now - 0.7)]) is None
        looks += 1
        now = watchdog.due
    assert looks <= 11


def test_of_two_that_hang_the_longest_silent_goes_first_and_the_other_after_a_pause() -> None:
    watchdog = Watchdog(30.0)
    watchdog.watch(100.0)
    assert watchdog.look(130.0, [("a", 99.0), ("b", 98.0)]) == "b"
    assert watchdog.look(131.0, [("a", 99.0)]) is None
    assert watchdog.look(130.0 + KILL_PAUSE - 0.1, [("a", 99.0)]) is None
    assert watchdog.look(130.0 + KILL_PAUSE, [("a", 99.0)]) == "a"


def test_a_short_limit_does_not_shorten_the_pause() -> None:
    watchdog = Watchdog(0.5)
    watchdog.watch(100.0)
    assert watchdog.look(100.5, [("a", 100.0), ("b", 100.0)]) == "a"
    assert watchdog.look(101.0, [("b", 100.0)]) is None
    assert watchdog.due == 100.5 + KILL_PAUSE


def test_after_a_stop_of_our_own_everybody_has_the_whole_time_again() -> None:
    watchdog = Watchdog(30.0)
    watchdog.watch(100.0)
    assert watchdog.look(190.0, [("a", 100.0)]) is None  # SIGSTOP for a minute: the workers may have been stopped too
    assert watchdog.due == 220.0
    assert watchdog.look(220.0, [("a", 100.0)]) == "a"


def test_a_little_lateness_of_our_own_is_no_excuse() -> None:
    watchdog = Watchdog(30.0)
    watchdog.watch(100.0)
    assert watchdog.look(130.0 + LATE, [("a", 100.0)]) == "a"


def test_with_nobody_to_watch_it_sleeps_until_somebody_comes() -> None:
    watchdog = Watchdog(30.0)
    watchdog.watch(100.0)
    assert watchdog.look(130.0, []) is None
    assert watchdog.due == math.inf
    watchdog.watch(500.0)
    assert watchdog.due == 530.0


def test_workers_beat_often_enough_for_a_short_limit() -> None:
    assert beat_interval(30.0) == 1.0
    assert beat_interval(0.4) == 0.1
    assert beat_interval(0.0) == 1.0
