"""The supervisor's table. It has two halves.

A `Slot` is a place for a worker and outlives it: it knows when the next worker is due. A `Worker` is a
process: it knows what is done to it, and when, if it does not end by itself.
"""

from __future__ import annotations

import enum
import socket
from collections import deque
from dataclasses import dataclass, field

from keepserve.process.respawn import Backoff


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


@dataclass(slots=True)
class Slot:
    """A place for one worker. ``proven``: a worker in it has been ready at least once."""

    index: int
    backoff: Backoff = field(default_factory=Backoff)
    due: float | None = None
    proven: bool = False


@dataclass(slots=True)
class Worker:
    """A worker process. ``retired``: it was told to end; ``steps``: what follows, and when, if it does not."""

    pid: int
    slot: Slot
    channel: socket.socket
    started: float
    ready: bool = False
    retired: bool = False
    steps: deque[tuple[float, Step]] = field(default_factory=deque)
