"""When a worker has lived long enough: ``max_requests``, ``max_worker_age`` and ``max_worker_memory``.

Each limit is spread by a random tenth, so that workers that began together do not end together.
"""

from __future__ import annotations

from dataclasses import dataclass

from keepserve.config import Settings
from keepserve.config.durations import format_duration
from keepserve.config.sizes import about


@dataclass(frozen=True, slots=True)
class Lifetime:
    """The limits of one worker: requests, seconds, bytes of resident memory. 0: no limit."""

    requests: int = 0
    age: float = 0.0
    memory: int = 0

    def over(self, requests: int, age: float, memory: int) -> tuple[str, str] | None:
        """Why the worker is to be replaced, if it is: one of `telemetry.counters.RESTARTS`, and words to follow
        "Worker 4711"."""
        if self.requests and requests >= self.requests:
            return "max_requests", f"has served {requests} requests (max_requests)"
        if self.age and age >= self.age:
            return "max_age", f"is {format_duration(round(age, 1))} old (max_worker_age)"
        if self.memory and memory >= self.memory:
            return "max_memory", f"has grown to {about(memory)} (max_worker_memory)"
        return None

    @property
    def endless(self) -> bool:
        """There is no limit at all."""
        return not (self.requests or self.age or self.memory)


def draw_lifetime(settings: Settings, fraction: float) -> Lifetime:
    """The limits for one worker; ``fraction`` is a random number from 0 to 1.

    Requests and age are spread by 10 % either way. Memory only downwards: the number given is what the machine
    can bear.
    """
    factor = 0.9 + 0.2 * fraction
    return Lifetime(
        requests=max(1, round(settings.max_requests * factor)) if settings.max_requests else 0,
        age=settings.max_worker_age * factor,
        memory=round(settings.max_worker_memory * (1.0 - 0.1 * fraction)),
    )
