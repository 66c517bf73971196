"""Time that passes only when a test says so."""

from __future__ import annotations


class FakeClock:
    """Seconds, as ``time.monotonic`` or ``time.time`` would give them; call it to read it."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> float:
        """Let so many seconds pass; return the new time."""
        self.now += seconds
        return self.now
