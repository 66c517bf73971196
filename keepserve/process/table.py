"""The supervisor's table. It has two halves.

A `Slot` is a place for a worker and outlives it: it knows when the next worker is due. A `Worker` is a
process: it knows what is done to it, and when, if it does not end by itself.
"""

from __future__ import annotations

import enum
import socket
from collections import deque
from dataclasses import dataclass, field

from keepserve.process.context import Launch
from keepserve.process.recycling import Lifetime
from keepserve.process.respawn import Backoff
from keepserve.telemetry.scoreboard import RUNNING, Seat


class Stage(enum.IntEnum):
    """How far the server's end has come; it only grows."""

    RUNNING = 0
    STOPPING = 1
    HURRYING = 2
    KILLING = 3


class Step(enum.Enum):
    """What is done to a worker that should have ended."""

    HURRY = enum.auto()
    KILL = enum.auto()
    FORGET = enum.auto()


@dataclass(slots=True, eq=False)
class Slot:
    """A place for one worker. ``proven``: a worker in it has been ready at least once.

    ``worker`` has the place; ``successor`` is to have it once it is ready. ``spared`` until a time: its worker
    is not recycled before, because its successor failed.
    """

    index: int
    backoff: Backoff = field(default_factory=Backoff)
    due: float | None = None
    proven: bool = False
    worker: Worker | None = None
    successor: Worker | None = None
    spared: float = 0.0


@dataclass(slots=True, eq=False)
class Worker:
    """A worker process. ``retired``: it was told to end; ``steps``: what follows, and when, if it does not.

    ``end`` says why we end it where that would otherwise look like a crash.
    """

    pid: int
    slot: Slot
    channel: socket.socket
    started: float
    launch: Launch
    seat_number: int
    seat: Seat
    lifetime: Lifetime
    ready: bool = False
    retired: bool = False
    end: str = ""
    steps: deque[tuple[float, Step]] = field(default_factory=deque)

    @property
    def in_flight(self) -> int:
        """Requests it works on, by its own account; never less than 0."""
        return max(0, self.seat[RUNNING])
