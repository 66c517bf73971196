"""How the server parts with a connection: what makes it end, and how the end is carried out at the socket.

Whether and when a connection ends is the engine's decision, or the server's need of room or time; the engine says
in which way (``Ending``). A transport may be the loop's or our own of TLS: both close, abort and half-close.
"""

from __future__ import annotations

import asyncio

from keepserve.server.counted import Counted
from keepserve.server.phases import Phase
from keepserve.server.sockets import end_sending, reset_on_close, unread_bytes
from keepserve.telemetry.reasons import CloseReason
from keepserve.wire.engine import NEVER, Ending


class Parting(Counted):
    """The part of a connection that ends it."""

    __slots__ = ("_closed", "_paused", "_sending_over", "_transport")

    _transport: asyncio.Transport
    _closed: bool
    """The transport is gone."""
    _paused: bool
    """The transport does not read, as we have asked it not to."""
    _sending_over: bool
    """We have said the last, and half-closed where that can be done; what still comes is dropped."""

    # The connection's part.

    def _after(self) -> None:
        """Send what came out of the engine, end the connection if it is to end."""
        raise NotImplementedError

    def _touch(self) -> None:
        """Have the worker's wheel look at this connection."""
        raise NotImplementedError

    # For the server.

    def drain(self, now: float) -> None:
        """This worker is ending, or has gone a phase further: the engine announces it as the phase wants it."""
        self.state.part(self.engine, now)
        if self.state.phase >= Phase.CLOSING:
            self._part_sockets(now)
        self._touch()
        if self.engine.out:
            self._after()

    @property
    def idle_since(self) -> float:
        """Since when it could be closed without breaking off anything; ``inf``: it could not."""
        return self.engine.idle_since

    @property
    def leaving(self) -> bool:
        """It is ending, and nothing is under way on it that would take time."""
        engine = self.engine
        return engine.close_reason is not None and engine.idle_since == NEVER and not self._exchanges

    def make_room(self, now: float) -> None:
        """The worker has too many connections: end an idle one now, a busy one with its response."""
        # Rule 5 of the house: before an idle close, look once more. What has arrived is served.
        engine = self.engine
        engine.evict(now, engine.idle and unread_bytes(self._transport) > 0)
        self._after()

    def cut(self) -> None:
        """The server can wait no longer: end what is under way, visibly for the peer, then the connection."""
        if self._closed:
            return
        for exchange in list(self._exchanges.values()):
            exchange.cut()
        if self.engine.close_reason is None:
            self.engine.close_reason = CloseReason.DRAINING if self.engine.idle else CloseReason.CUT
        self.engine.conclude()
        self._after()
        if not self._closed:
            self._close()

    def abort(self) -> None:
        """Drop the connection at once."""
        if not self._closed:
            self._transport.abort()

    # Within.

    def _wind_up(self) -> None:
        """Carry out the end the engine has decided on; called for as long as it lasts."""
        ending = self.engine.ending
        if self._given_up and self.engine.close_reason is CloseReason.FLOOD:
            self._cancel_given_up()
        if ending == Ending.RESET:
            self._reset()
        elif ending == Ending.CLOSE:
            self._close()
        elif not self._sending_over:
            self._sending_over = True
            if self._paused:
                self._paused = False
                self._transport.resume_reading()
            if self._transport.can_write_eof():
                end_sending(self._transport)

    def _close(self) -> None:
        if not self._transport.is_closing():
            self._transport.close()

    def _reset(self) -> None:
        reset_on_close(self._transport)
        self._transport.abort()
