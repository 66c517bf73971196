"""When a worker that ended is replaced: at once, unless it keeps ending."""

from __future__ import annotations

import os
from collections.abc import Callable

FIRST_DELAY = 0.1
"""Seconds before the second replacement; doubled for each one after it."""

LONGEST_DELAY = 30.0
"""Seconds; no delay is longer."""

HEALTHY_AFTER = 60.0
"""Seconds of running after which earlier failures are forgotten."""


def random_fraction() -> float:
    """A number from 0 up to 1 from the system: supervisors forked from one image must not agree on it."""
    return int.from_bytes(os.urandom(4)) / 2**32


class Backoff:
    """The delays of one worker slot. Pure: times come in as arguments, randomness from ``fraction``.

    The first failure costs nothing, so that a single crash is healed at once. Then 0.1 s, doubled up to
    30 s, each shortened by a random part of up to a half: workers that fail together (a database that is
    down) come back apart.
    """

    def __init__(self, fraction: Callable[[], float] = random_fraction) -> None:
        self._fraction = fraction
        self._failures = 0

    def after(self, uptime: float) -> float:
        """Seconds to wait before the next start, given how long (seconds) the one that ended had run."""
        if uptime >= HEALTHY_AFTER:
            self._failures = 0
        self._failures += 1
        if self._failures == 1:
            return 0.0
        # The exponent is bounded: a slot that fails for a month must not overflow a float.
        delay = min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** min(self._failures - 2, 16))
        return delay * (1.0 - self._fraction() / 2.0)

    def reset(self) -> None:
        """Forget all failures: what is started next is something else (changed code)."""
        self._failures = 0
