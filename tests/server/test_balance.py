"""Which worker may take the next connection: the rule, with a clock of the test's own."""

from __future__ import annotations

import pytest

from keepserve.server.balance import BRIEF, LOOK, MANY, PATIENCE, PATIENCE_EXACT, Balance
from keepserve.telemetry.scoreboard import (
    ACCEPTED,
    CONNECTIONS,
    FULL,
    LEAVING,
    LIFE,
    PID,
    SERVING,
    STAGE,
    STARTING,
    Scoreboard,
    Seat,
)
from tests.support.clock import FakeClock


class Workers:
    """A scoreboard with serving workers, seen from the first of them."""

    def __init__(self, *connections: int) -> None:
        self.clock = FakeClock()
        self.board = Scoreboard(8)
        self.seats = [self.add(count) for count in connections]
        self.balance = Balance(self.board, 0)

    def add(self, connections: int, stage: int = SERVING) -> Seat:
        number = self.board.take()
        seat = self.board.seat(number)
        seat[PID], seat[STAGE] = 100 + number, stage
        seat[CONNECTIONS] = seat[ACCEPTED] = connections
        return seat

    def may_accept(self) -> bool:
        return self.balance.wait(self.clock()) == 0.0

    def accept(self, number: int = 0) -> None:
        self.seats[number][CONNECTIONS] += 1
        self.seats[number][ACCEPTED] += 1

    def waits(self, patience: float = 1.0, *alive: Seat) -> float:
        """Ask until it may accept; the seconds that took. The others look whenever it asks."""
        began = self.clock()
        while wait := self.balance.wait(self.clock()):
            assert self.clock() - began < patience, "it waits for ever"
            for seat in alive:
                seat[LIFE] += 1
            self.clock.advance(wait)
        return self.clock() - began

    def others_were_asked_for(self) -> None:
        """Let so much time pass that the list of the others is read anew."""
        self.clock.advance(2 * LOOK)


@pytest.mark.parametrize("others", [(), (3,), (3, 3, 4), (4, 9)])
def test_who_has_no_more_than_any_other_accepts_at_once(others: tuple[int, ...]) -> None:
    assert Workers(3, *others).may_accept()


def test_who_has_more_leaves_it_to_the_others_and_asks_again_in_a_moment() -> None:
    workers = Workers(4, 3, 5)
    assert workers.balance.wait(workers.clock()) == LOOK


def test_it_accepts_as_soon_as_the_other_has_caught_up() -> None:
    workers = Workers(4, 3)
    assert not workers.may_accept()
    workers.accept(1)
    assert workers.may_accept()


def test_it_accepts_as_soon_as_one_of_its_own_has_ended() -> None:
    workers = Workers(4, 3)
    assert not workers.may_accept()
    workers.seats[0][CONNECTIONS] -= 1
    assert workers.may_accept()


def test_every_connection_counts_at_once_in_a_burst() -> None:
    workers = Workers(0, 0, 0)
    taken = 0
    while workers.may_accept() and taken < 100:
        workers.accept()
        taken += 1
    assert taken == 1


@pytest.mark.parametrize("stage", [STARTING, LEAVING])
def test_a_worker_that_does_not_serve_is_not_waited_for(stage: int) -> None:
    workers = Workers(4)
    workers.add(0, stage)
    assert workers.may_accept()


def test_a_worker_that_accepts_nothing_for_want_of_room_is_not_waited_for() -> None:
    workers = Workers(4, 2)
    workers.seats[1][FULL] = 1
    assert workers.may_accept()


def test_a_worker_that_begins_to_serve_gets_the_next_connections() -> None:
    workers = Workers(4, 4)
    assert workers.may_accept()
    workers.add(0)
    workers.others_were_asked_for()
    assert not workers.may_accept()


def test_a_worker_that_is_gone_is_forgotten() -> None:
    workers = Workers(4, 0)
    assert not workers.may_accept()
    workers.board.free(1)
    workers.others_were_asked_for()
    assert workers.may_accept()


def test_a_connection_others_look_at_and_do_not_take_waits_for_a_while_only() -> None:
    workers = Workers(4, 3)
    assert PATIENCE_EXACT <= workers.waits(1.0, workers.seats[1]) < PATIENCE_EXACT + 2 * LOOK


def test_to_be_ahead_by_two_takes_longer() -> None:
    workers = Workers(5, 3)
    assert PATIENCE <= workers.waits(1.0, workers.seats[1]) < PATIENCE + 2 * LOOK


def test_a_silent_worker_delays_one_connection_and_no_other() -> None:
    workers = Workers(5, 3, 5)
    assert PATIENCE <= workers.waits(1.0, workers.seats[2]) < PATIENCE + 2 * LOOK
    workers.accept(0)
    workers.accept(2)
    assert workers.waits() == 0.0
    workers.accept(0)
    workers.others_were_asked_for()
    assert not workers.may_accept()  # the third has fewer, and is well


def test_a_silent_worker_counts_again_when_it_looks() -> None:
    workers = Workers(5, 3)
    workers.waits()
    workers.accept()
    workers.seats[1][LIFE] += 1
    workers.others_were_asked_for()
    assert not workers.may_accept()


def test_each_connection_that_is_taken_by_another_begins_the_wait_anew() -> None:
    workers = Workers(9, 0)
    for _ in range(5):
        workers.clock.advance(PATIENCE * 0.8)
        workers.seats[1][LIFE] += 1
        assert not workers.may_accept()
        workers.accept(1)


def test_a_wait_that_was_over_does_not_count_for_the_next_connection() -> None:
    workers = Workers(5, 4)
    assert not workers.may_accept()
    workers.balance.nobody_waits()
    workers.clock.advance(60.0)
    assert PATIENCE_EXACT <= workers.waits(1.0, workers.seats[1]) < PATIENCE_EXACT + 2 * LOOK


def test_silence_counts_only_while_a_connection_waits() -> None:
    workers = Workers(5, 3, 9)
    for _ in range(3):
        assert not workers.may_accept()
        workers.clock.advance(PATIENCE * 0.1)
        assert not workers.may_accept()
        workers.balance.nobody_waits()
        workers.clock.advance(60.0)
    workers.accept(2)
    assert not workers.may_accept()  # waited for 0.3 of the patience, all together


def test_silence_is_noticed_although_others_accept_meanwhile() -> None:
    workers = Workers(9, 0, 1)
    began = workers.clock()
    while workers.balance.wait(workers.clock()):
        workers.clock.advance(LOOK)
        workers.seats[2][LIFE] += 1
        if workers.seats[2][CONNECTIONS] < 9:
            workers.accept(2)
    assert workers.clock() - began < PATIENCE + 10 * LOOK


def test_many_connections_are_balanced_less_exactly() -> None:
    workers = Workers(2 * MANY + 2, 2 * MANY)
    assert workers.may_accept()
    workers.accept()
    assert not workers.may_accept()


def test_connections_that_come_and_go_are_balanced_less_exactly() -> None:
    workers = Workers(4, 3)
    workers.clock.advance(1.0)
    assert not workers.may_accept()
    workers.seats[0][ACCEPTED] += BRIEF  # and as many have ended
    assert workers.may_accept()
    workers.accept()
    assert not workers.may_accept()


def test_that_is_over_a_second_after_they_stopped() -> None:
    workers = Workers(4, 3)
    assert not workers.may_accept()
    workers.seats[0][ACCEPTED] += BRIEF
    workers.clock.advance(0.9)
    assert workers.may_accept()
    workers.clock.advance(1.1)
    assert not workers.may_accept()
