"""The WebSockets of a connection: what there is to do for those whose application has accepted.

Each is an exchange like the others, and has clocks of its own beside the engine's; the worker's wheel asks for them
together. An accepted WebSocket holds no place of ``limit_concurrency``: it mostly waits, and may do so for days.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from keepserve.asgi.exchange import Exchange
from keepserve.server.phases import Phase
from keepserve.server.state import WorkerState
from keepserve.telemetry.counters import SOCKETS_ACCEPTED
from keepserve.wire.engine import NEVER

if TYPE_CHECKING:
    from keepserve.asgi.websocket import WebSocket

FAREWELL_TIME = 1.0
"""Seconds between telling applications of the end (``until_draining``) and closing their WebSockets with 1012."""


class SocketHosting:
    """The part of ``Hosting`` that knows WebSockets."""

    __slots__ = ("_sockets",)

    state: WorkerState
    _exchanges: dict[int, Exchange]
    _sockets: dict[int, WebSocket] | None
    """Those of the exchanges that are accepted WebSockets, if there were any."""

    def accepted(self, socket: WebSocket) -> None:
        """The application has accepted a WebSocket: it has deadlines, and does not hold a place any more."""
        state = self.state
        if self._sockets is None:
            self._sockets = {}
        self._sockets[socket.request.stream] = socket
        state.sockets.add(socket)
        state.counters.words[SOCKETS_ACCEPTED] += 1
        if state.waiting is not None:
            state.waiting.advance()
        if state.phase >= Phase.CLOSING:
            self._part_sockets(state.clock())

    def _part_sockets(self, now: float) -> None:
        """Close WebSockets with 1012, a moment after their applications could know: they may do it better."""
        if self._sockets:
            at = now + min(FAREWELL_TIME, self.state.idle_grace)
            for socket in self._sockets.values():
                socket.part(at)

    def _expire_sockets(self, now: float) -> None:
        if self._sockets:
            for socket in list(self._sockets.values()):
                socket.expire(now)

    def _socket_deadline(self) -> float:
        sockets = self._sockets
        return min((socket.next_deadline() for socket in sockets.values()), default=NEVER) if sockets else NEVER
