"""What a worker is given. Apart from `worker.py`, so that the supervisor need not load a server to name it."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from keepserve.config import Settings
from keepserve.telemetry.scoreboard import Scoreboard


@dataclass(frozen=True, slots=True)
class Launch:
    """What workers of one generation have in common; a reload makes a new one.

    ``environment`` is the whole environment the application sees, where it is not the supervisor's: the env-file may
    have changed. ``warnings`` are for the log. ``reread`` tells a generation that a reload made.
    """

    settings: Settings
    ssl_context: ssl.SSLContext | None = None
    environment: Mapping[str, str] | None = None
    warnings: tuple[str, ...] = ()
    reread: bool = False

    def enter(self) -> None:
        """Make the environment that of this generation; for the worker itself."""
        if self.environment is not None:
            for name in os.environ.keys() - self.environment.keys():
                del os.environ[name]
            os.environ.update(self.environment)


@dataclass(frozen=True, slots=True)
class WorkerContext:
    """What a worker gets from the supervisor.

    ``channel`` is its end of the socket pair (see `orders`), ``seat`` the number of its seat on the ``board``.
    """

    launch: Launch
    sockets: list[socket.socket]
    channel: socket.socket
    board: Scoreboard = field(default_factory=Scoreboard)
    seat: int = 0

    @property
    def settings(self) -> Settings:
        """The settings of this worker."""
        return self.launch.settings


WorkerEntry = Callable[[WorkerContext], int]
"""What runs in a worker's process; returns its exit code."""

Reread = Callable[[], Launch]
"""Reads settings, environment, env-file and certificates again. Raises ConfigError."""
