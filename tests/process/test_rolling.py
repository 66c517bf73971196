"""The bookkeeping of a replacement of workers: who is started, who is told to leave, and when."""

from __future__ import annotations

import math
import socket
from collections.abc import Iterator

import pytest

from keepserve.config import Settings
from keepserve.process.context import Launch
from keepserve.process.recycling import Lifetime
from keepserve.process.rolling import Roll
from keepserve.process.table import Slot, Worker
from keepserve.telemetry.scoreboard import private_seat

LAUNCH = Launch(Settings())


@pytest.fixture
def channel() -> Iterator[socket.socket]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours


class Scene:
    """Slots with ready workers, and a roll over them. Pids: 1, 2, 3 for the old, 11, 12, 13 for their successors."""

    def __init__(self, count: int, channel: socket.socket, *, patience: float = 120.0, stagger: float = 5.0) -> None:
        self._channel = channel
        self.slots = [Slot(index, proven=True) for index in range(count)]
        self.old = [self.worker(slot, slot.index + 1, ready=True) for slot in self.slots]
        for slot, worker in zip(self.slots, self.old, strict=True):
            slot.worker = worker
        self.roll = Roll(LAUNCH, self.slots, "", 100.0, patience=patience, stagger=stagger)

    def worker(self, slot: Slot, pid: int, *, ready: bool = False) -> Worker:
        return Worker(
            pid=pid,
            slot=slot,
            channel=self._channel,
            started=0.0,
            launch=LAUNCH,
            seat_number=0,
            seat=private_seat(),
            lifetime=Lifetime(),
            ready=ready,
        )

    def start(self) -> list[Worker]:
        """Start whatever the roll wants started now."""
        started = []
        for slot in self.roll.slots_to_start():
            successor = slot.successor = self.worker(slot, 11 + slot.index)
            self.roll.started(slot, successor)
            started.append(successor)
        return started

    def all_ready(self) -> list[Worker]:
        """Start all successors, the first alone, and have them become ready."""
        while started := self.start():
            for worker in started:
                worker.ready = True
        return self.roll.successors

    def leaving(self, now: float) -> list[int]:
        """Pids of those told to leave at this time."""
        found = []
        while worker := self.roll.to_leave(now):
            found.append(worker.pid)
        return found


def test_the_first_successor_is_alone_until_it_is_ready(channel: socket.socket) -> None:
    scene = Scene(3, channel)
    (first,) = scene.start()
    assert scene.start() == []
    first.ready = True
    assert [worker.pid for worker in scene.start()] == [12, 13]
    assert scene.start() == []
    assert not scene.roll.complete


def test_nobody_leaves_before_all_successors_are_ready(channel: socket.socket) -> None:
    scene = Scene(2, channel)
    (first,) = scene.start()
    first.ready = True
    (second,) = scene.start()
    assert not scene.roll.complete
    assert scene.leaving(200.0) == []
    second.ready = True
    assert scene.roll.complete


def test_the_successors_have_the_places_once_they_are_all_ready(channel: socket.socket) -> None:
    scene = Scene(2, channel)
    successors = scene.all_ready()
    scene.roll.commit([], 110.0)
    assert [slot.worker for slot in scene.slots] == successors
    assert all(slot.successor is None for slot in scene.slots)


def test_the_old_leave_one_at_a_time_with_a_pause_between_them(channel: socket.socket) -> None:
    scene = Scene(3, channel, stagger=5.0)
    scene.all_ready()
    scene.roll.commit([], 110.0)
    assert scene.leaving(110.0) == [1]
    assert scene.roll.due == 115.0
    assert scene.leaving(114.9) == []
    assert scene.leaving(115.0) == [2]
    assert not scene.roll.over
    assert scene.leaving(120.0) == [3]
    assert scene.roll.over
    assert scene.roll.due == math.inf


def test_the_next_leaves_as_soon_as_the_one_before_is_gone(channel: socket.socket) -> None:
    scene = Scene(2, channel, stagger=5.0)
    scene.all_ready()
    scene.roll.commit([], 110.0)
    assert scene.leaving(110.0) == [1]
    scene.roll.gone(scene.old[0], 110.5)
    assert scene.leaving(110.5) == [2]


def test_one_that_ended_by_itself_is_not_told_to_leave(channel: socket.socket) -> None:
    scene = Scene(2, channel)
    scene.all_ready()
    scene.roll.commit([], 110.0)
    assert scene.leaving(110.0) == [1]
    scene.roll.gone(scene.old[1], 111.0)
    assert scene.roll.over
    assert scene.leaving(120.0) == []


def test_workers_without_a_place_any_more_leave_too(channel: socket.socket) -> None:
    scene = Scene(1, channel, stagger=1.0)
    surplus = scene.worker(Slot(1), 2, ready=True)
    scene.all_ready()
    scene.roll.commit([surplus], 110.0)
    assert scene.leaving(110.0) == [1]
    assert scene.leaving(111.0) == [2]


def test_successors_that_take_too_long_are_late_but_never_early(channel: socket.socket) -> None:
    scene = Scene(1, channel, patience=60.0)
    scene.start()
    assert scene.roll.due == 160.0
    assert not scene.roll.late(159.9)
    assert scene.roll.late(160.0)


def test_patience_without_a_limit_has_no_end(channel: socket.socket) -> None:
    scene = Scene(1, channel, patience=0.0)
    scene.start()
    assert scene.roll.due == math.inf
    assert not scene.roll.late(1e9)


def test_a_roll_that_is_given_up_leaves_the_old_in_their_places(channel: socket.socket) -> None:
    scene = Scene(2, channel)
    (first,) = scene.start()
    first.ready = True
    (second,) = scene.start()
    assert scene.roll.fail() == [first, second]
    assert [slot.worker for slot in scene.slots] == scene.old
    assert all(slot.successor is None for slot in scene.slots)
    assert scene.roll.over
    assert scene.start() == []
    assert not scene.roll.complete


def test_it_knows_its_own_successors_and_nobody_else(channel: socket.socket) -> None:
    scene = Scene(2, channel)
    (first,) = scene.start()
    assert scene.roll.concerns(first)
    assert not scene.roll.concerns(scene.old[0])
    assert not scene.roll.concerns(scene.old[1])


def test_a_successor_that_has_ended_is_none_any_more(channel: socket.socket) -> None:
    scene = Scene(2, channel)
    (first,) = scene.start()
    first.ready = True
    (second,) = scene.start()
    scene.roll.gone(second, 101.0)
    assert scene.roll.fail() == [first]
