"""What a worker is given. Apart from `worker.py`, so that the supervisor need not load a server to name it."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass

from keepserve.config import Settings
from keepserve.telemetry.scoreboard import Scoreboard


@dataclass(frozen=True, slots=True)
class WorkerContext:
    """What a worker gets from the supervisor.

    ``channel`` is its end of the socket pair (see `orders`), ``seat`` the number of its seat on the ``board``.
    """

    settings: Settings
    sockets: list[socket.socket]
    ssl_context: ssl.SSLContext | None
    channel: socket.socket
    board: Scoreboard
    seat: int


WorkerEntry = Callable[[WorkerContext], int]
"""What runs in a worker's process; returns its exit code."""
