"""What a balancer's own configuration says about its connections to us, and where it says so.

The readers (`keepserve.balancer.readers`) make these from files; the rules (`keepserve.balancer.rules`) hold them
against our settings. Pure data: no reader knows a rule, and no rule knows a file format.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Generic, TypeVar

Value = TypeVar("Value", covariant=True)


@dataclass(frozen=True, slots=True)
class Place:
    """Where something was read: a file and a line counted from 1; 0: the file as a whole, or an API's answer."""

    path: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.path}:{self.line}" if self.line else self.path


@dataclass(frozen=True, slots=True)
class Fact(Generic[Value]):
    """One value. ``words`` is the directive as it is written there; ``place`` is None for a documented default.

    For a default, ``words`` names the directive that would change it, and ``source`` (a public address) documents it.
    ``remedy`` is the line to write there instead, when it takes the reader to know it (a directive is missing).
    """

    value: Value
    words: str
    place: Place | None = None
    source: str = ""
    remedy: str = ""

    @property
    def written(self) -> bool:
        """Somebody wrote it down; otherwise it is the balancer's default."""
        return self.place is not None

    def __str__(self) -> str:
        where = str(self.place) if self.place is not None else "default"
        return f"{self.words} ({where})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """What one balancer does with its connections to one group of servers. None: nothing is known about it.

    Durations are seconds; ``inf`` stands for "no limit".
    """

    kind: str
    """The balancer, by the name of its preset: ``nginx``, ``haproxy``, ``envoy``, ``alb``, ``kubernetes`` ..."""
    name: str
    """The group as it is called there: an ``upstream``, a ``backend``, a cluster, a target group, a container."""
    place: Place
    keeps: Fact[bool] | None = None
    """Whether connections are kept for further requests at all."""
    idle_timeout: Fact[float] | None = None
    """How long an idle connection is kept; ``inf``: until we close it."""
    max_age: Fact[float] | None = None
    max_requests: Fact[int] | None = None
    protocol: Fact[str] | None = None
    """What is spoken to us: ``http/1.0``, ``http/1.1``, ``h2``; ``h2 or http/1.1``: both, ours to choose by ALPN."""
    tls: Fact[bool] | None = None
    proxy_protocol: Fact[str] | None = None
    """``off``, ``v1`` or ``v2``."""
    response_timeout: Fact[float] | None = None
    """How long it waits for the first, or the next, byte of a response before it answers 504."""
    retries_post: Fact[bool] | None = None
    """Whether a request that is not idempotent is sent a second time after it may have been processed."""
    health_path: Fact[str] | None = None
    health_interval: Fact[float] | None = None
    health_threshold: Fact[int] | None = None
    """Failed checks after which we are taken out."""
    drain_time: Fact[float] | None = None
    """How long a server that is taken out may still work (ALB: deregistration delay)."""
    kill_after: Fact[float] | None = None
    """When the orchestrator kills us after the stop signal (terminationGracePeriodSeconds, stopTimeout)."""
    pre_stop: Fact[float] | None = None
    """How much of ``kill_after`` passes before we get the signal (a preStop hook's sleep)."""
    notes: tuple[str, ...] = ()
    """Sentences about what could not be told from the file, for a person."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What came out of one file: its kind, the groups it describes (perhaps none of ours), and remarks."""

    path: str
    kind: str
    pools: tuple[Pool, ...] = ()
    notes: tuple[str, ...] = field(default=())


class UnreadableError(Exception):
    """A file that is broken, half a file, or of another kind. ``str()`` is a sentence with path and line."""
