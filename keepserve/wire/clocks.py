"""Clocks without a clock: deadlines as arithmetic on times that are handed in (seconds, monotonic)."""

from __future__ import annotations

from keepserve.wire.engine import NEVER


class ProgressClock:
    """Tells when a transfer counts as stalled: nothing moved for ``timeout``, or too slow on average.

    Below ``min_rate`` bytes per second is too slow, once ``grace`` seconds have passed. As a
    deadline: ``n`` bytes may take ``n / min_rate`` seconds, and never less than the grace. A clock
    that is held (we do not let the peer go on) stands still.
    """

    __slots__ = ("_amount", "_grace", "_held_at", "_min_rate", "_moved_at", "_started", "_timeout")

    def __init__(self, timeout: float, min_rate: float, grace: float, now: float) -> None:
        self._timeout = timeout
        self._min_rate = min_rate
        self._grace = grace
        self._started = self._moved_at = now
        self._amount = 0
        self._held_at = NEVER

    def moved(self, amount: int, now: float) -> None:
        """``amount`` bytes went over."""
        self._amount += amount
        self._moved_at = now

    def hold(self, now: float) -> None:
        """Stand still from now on."""
        if self._held_at == NEVER:
            self._held_at = now

    def resume(self, now: float) -> None:
        """Go on; the time in between does not count."""
        if self._held_at != NEVER:
            self._started += now - self._held_at
            self._moved_at = min(now, self._moved_at + now - self._held_at)  # it may have moved meanwhile
            self._held_at = NEVER

    @property
    def deadline(self) -> float:
        """When the transfer is stalled unless something moves before."""
        if self._held_at != NEVER:
            return NEVER
        still = self._moved_at + self._timeout if self._timeout > 0 else NEVER
        if self._min_rate <= 0:
            return still
        return min(still, self._started + max(self._grace, self._amount / self._min_rate))


class LingerClock:
    """Bounds of a lingering close: a total time, a time without a byte, a number of bytes."""

    __slots__ = ("_bytes_left", "_idle_timeout", "_quiet_until", "_until")

    def __init__(self, timeout: float, idle_timeout: float, max_bytes: int, now: float) -> None:
        self._until = now + timeout
        self._idle_timeout = idle_timeout
        self._quiet_until = now + idle_timeout
        self._bytes_left = max_bytes

    def moved(self, amount: int, now: float) -> bool:
        """``amount`` bytes were thrown away; tells whether the peer is still within bounds."""
        self._bytes_left -= amount
        self._quiet_until = now + self._idle_timeout
        return self._bytes_left >= 0

    @property
    def quiet_since(self) -> float:
        """When the last byte came."""
        return self._quiet_until - self._idle_timeout

    @property
    def deadline(self) -> float:
        """When to stop waiting for the peer's close."""
        return min(self._until, self._quiet_until)
