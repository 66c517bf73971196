"""What the worker's wheel asks of a connection: when to look at it again, and what is then due.

No connection has a timer. What has been used is ``touched``, and at its next tick the wheel has it ``settle``: what
became of the bytes that were written, and which deadline is the next. When that has come the wheel calls ``expire``.
"""

from __future__ import annotations

from keepserve.server.parting import Parting
from keepserve.server.sockets import peer_is_dead, unread_bytes
from keepserve.telemetry.reasons import CloseReason
from keepserve.wire.clocks import ProgressClock
from keepserve.wire.engine import NEVER

HALF_CLOSED_CHECK = 5.0
"""Seconds between two looks whether a peer that has sent its FIN is still there to read the answer."""


class Watched(Parting):
    """The part of a connection that keeps time: the engine's, its WebSockets', and that of a slow reader."""

    __slots__ = ("_half_closed", "_in_kernel", "_stall", "_touched", "slot")

    slot: int
    """The wheel's."""
    _touched: bool
    """The wheel will look at it at its next tick."""
    _half_closed: bool
    """The peer has sent its FIN, and is owed an answer."""
    _stall: ProgressClock | None
    """Runs while bytes wait in the transport."""
    _in_kernel: int
    """Bytes that had left the transport at the last look while some waited."""

    # For the wheel.

    def settle(self, now: float) -> float:
        """See what became of the bytes written lately; return the next deadline."""
        self._touched = False
        if self._closed:
            return NEVER
        self._account()
        engine = self.engine
        waiting = self._transport.get_write_buffer_size()
        if waiting == 0:
            self._stall = None
            engine.flushed(now)
            deadline = engine.next_deadline()
        else:
            self._watch_stall(waiting, now)
            deadline = min(engine.next_deadline(), self._stall.deadline if self._stall is not None else NEVER)
            self._touch()
        if self._sockets:
            deadline = min(deadline, self._socket_deadline())
        return min(deadline, now + HALF_CLOSED_CHECK) if self._half_closed else deadline

    def expire(self, now: float) -> float:
        """Act on a deadline that may have passed; return the next one."""
        if self._closed:
            return NEVER
        engine = self.engine
        if self._stall is not None and now >= self._stall.deadline:
            for stream in list(self._exchanges) or (1,):
                engine.abandon(stream, CloseReason.WRITE_STALL)
            engine.close_reason = CloseReason.WRITE_STALL
            self._reset()
            return NEVER
        if self._half_closed and peer_is_dead(self._transport):
            self.abort()
            return NEVER
        self.state.idle_watch.bear_with(engine, now)
        # Rule 5 of the house: before an idle close, look once more. What has arrived is served.
        unread = engine.idle and unread_bytes(self._transport) > 0
        for event in engine.expire(now, unread):
            self._handle(event)
        self._expire_sockets(now)
        self._after()
        return self.settle(now) if not self._closed else NEVER

    # Within.

    def _touch(self) -> None:
        if not self._touched:
            self._touched = True
            self.state.wheel.touched.append(self)

    def _watch_stall(self, waiting: int, now: float) -> None:
        """Measure progress by what has really left: bytes handed to the transport less those still in it."""
        left = self._written - waiting
        if self._stall is None:
            settings = self.state.settings
            self._stall = ProgressClock(
                settings.write_timeout, settings.write_min_rate, settings.write_rate_grace, now
            )
        elif left > self._in_kernel:
            self._stall.moved(left - self._in_kernel, now)
        self._in_kernel = left
