"""Accepting connections: from sockets that several workers share, in fair parts, and to the last one at a stop.

The event loop's own servers cannot pause, cannot tell which connections are still in the making, and take
whatever they get hold of.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import select
import socket
import ssl
from collections.abc import Coroutine
from typing import Any

from keepserve.server.balance import Balance
from keepserve.server.connection import Connection
from keepserve.server.deafness import HANDSHAKE, deafen
from keepserve.server.preamble import Preamble
from keepserve.server.state import WorkerState
from keepserve.server.tlstransport import TlsTransport
from keepserve.telemetry.scoreboard import ACCEPTED, FULL, LEAVING, LIFE, STAGE, Scoreboard

logger = logging.getLogger("keepserve")

BURST = 16
"""Connections accepted before requests that run have their turn. One a turn is half as much work again for each."""

EXHAUSTED_PAUSE = 0.5
"""Seconds without accepting after the system had no descriptor or memory left, unless a connection ends before."""

_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Acceptor:
    """Accepts on the listening sockets of this worker and makes connections of what comes.

    ``board`` and ``number`` (our seat on it) are given when connections are to be balanced between workers. The
    sockets may be shared with other processes. They are closed by `close`, and belong to the acceptor from
    `listen` on.
    """

    def __init__(
        self,
        state: WorkerState,
        sockets: list[socket.socket],
        ssl_context: ssl.SSLContext | None = None,
        *,
        board: Scoreboard | None = None,
        number: int = 0,
    ) -> None:
        self._state = state
        self._listeners = [_Listener(sock) for sock in sockets]
        self._context = ssl_context
        self._balance = Balance(board, number) if board is not None else None
        self._listening = False
        self._closing: asyncio.TimerHandle | None = None
        self._aborting = False
        self._paused = False
        self._again: asyncio.Handle | None = None
        """The next look at the sockets, while the loop does not watch them."""
        self._at_once = False
        """That will be in the loop's next turn."""
        state.on_room = self._room
        state.capacity.door = self

    @property
    def pending(self) -> bool:
        """Somebody may still come: sockets are being closed, or connections are in the making.

        ``state.on_quiet`` is called when that changes; connections that come about are ``state.connections``.
        """
        return self._closing is not None or bool(self._state.pending)

    def listen(self) -> None:
        """Begin to accept. Raises OSError when another server has taken an address meanwhile."""
        for listener in self._listeners:
            sock = listener.sock
            sock.setblocking(False)
            if sock.family != socket.AF_UNIX:
                # Accepted sockets inherit it. asyncio sets it only where the protocol's number is spelled out.
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                # One that listens already may be a service manager's, with a backlog of its choice.
                sock.listen(self._state.settings.backlog)
        self._listening = True
        self._watch()

    def pause(self) -> None:
        """Accept no more until `resume`; who connects waits in the system's queue."""
        self._paused = True
        self._state.seat[FULL] = 1
        self._ignore()

    def resume(self) -> None:
        """Accept again."""
        self._paused = False
        self._state.seat[FULL] = 0
        self._watch()

    def close(self, *, empty: bool) -> None:
        """Stop accepting and close the sockets.

        With ``empty``, for the end of the whole server, every connection that the system has established for us is
        taken first: its client may have sent a request, and would be reset. Where nobody can be kept from connecting
        meanwhile (`deafness`) that is done at once, else when handshakes under way have had their time. Without
        ``empty`` other workers go on with the same queue. Limits and balance no longer count.
        """
        self._ignore()
        listening, self._listening = self._listening, False
        self._state.seat[STAGE] = LEAVING
        if empty and listening:
            # All of them, before anything else.
            deaf = [deafen(listener.sock) for listener in self._listeners]
            self._empty()
            if any(deaf):
                self._closing = self._state.loop.call_later(HANDSHAKE, self._close_empty)
                return
        self._close()

    def _close_empty(self) -> None:
        self._closing = None
        self._empty()
        self._close()
        if self._state.on_quiet is not None:
            self._state.on_quiet()

    def _close(self) -> None:
        for listener in self._listeners:
            listener.sock.close()
        self._listeners.clear()

    def _empty(self) -> None:
        """Take everybody who waits."""
        for listener in self._listeners:
            # No more than can have waited: those who keep connecting must not keep us here.
            for _ in range(self._state.settings.backlog + 1):
                try:
                    self._take(listener.sock.accept()[0])
                except ConnectionAbortedError:
                    continue
                except OSError:
                    break  # empty (EAGAIN), or no more descriptors: then nothing can be accepted anyway

    def abort_pending(self) -> None:
        """Give up whoever may still come; connections in the making are gone when the loop has turned."""
        if self._closing is not None:
            self._closing.cancel()
            self._closing = None
            self._close()
        self._aborting = True
        for waiter in list(self._state.pending.values()):
            # The loop's futures come about in its next turn, and uvloop forgets to tell a connection of its end whose
            # making is cancelled at that moment.
            if not isinstance(waiter, asyncio.Future):
                waiter.cancel()

    # Within.

    def _watch(self) -> None:
        """Have the loop watch the sockets, if nothing speaks against it."""
        if self._listening and not self._paused and self._again is None:
            for listener in self._listeners:
                self._state.loop.add_reader(listener.sock, self._ready, listener)

    def _ignore(self) -> None:
        """Have the loop no longer watch the sockets, which would report the same connection all the time."""
        for listener in self._listeners:
            self._state.loop.remove_reader(listener.sock)
        if self._again is not None:
            self._again.cancel()
            self._again = None
            self._at_once = False

    def _ready(self, listener: _Listener) -> None:
        """Take what waits, as far as it is for us."""
        state, balance = self._state, self._balance
        state.seat[LIFE] += 1
        for _ in range(BURST):
            if balance is not None and (wait := balance.wait(state.clock())):
                self._look_later(wait)
                return
            try:
                sock = listener.sock.accept()[0]
            except OSError as error:
                # Mostly BlockingIOError: another worker was faster. The rest says that a client has left.
                if error.errno in _EXHAUSTED:
                    state.capacity.exhausted()
                    if not self._paused:
                        self._look_later(EXHAUSTED_PAUSE)
                return
            self._take(sock)
            if self._paused or not listener.waiting():
                return

    def _look_later(self, seconds: float) -> None:
        self._ignore()
        self._again = self._state.loop.call_later(seconds, self._look)

    def _look(self) -> None:
        """Look at the sockets ourselves, which the loop does not watch at present."""
        self._again = None
        self._at_once = False
        self._state.seat[LIFE] += 1
        for listener in self._listeners:
            if listener.waiting():
                self._ready(listener)
                if self._paused or self._again is not None:
                    return
        if self._balance is not None:
            self._balance.nobody_waits()
        self._watch()

    def _room(self) -> None:
        """A connection of ours has ended: we need not wait any longer."""
        if self._again is not None and not self._at_once:
            self._again.cancel()
            self._again = self._state.loop.call_soon(self._look)
            self._at_once = True

    def _take(self, sock: socket.socket) -> None:
        """Make a connection of an accepted socket.

        Its coroutine is driven by hand: a task would do no more than that, take a turn of the loop longer, and
        cost a few per cent of all that a connection with one request does.
        """
        state = self._state
        sock.setblocking(False)
        connection = Connection(state, self._context is not None)
        protocol: asyncio.Protocol = connection
        if self._context is not None:
            protocol = TlsTransport(state, connection, self._context)
        if state.settings.proxy_protocol != "off":
            protocol = Preamble(state, connection, protocol)
        making = state.loop.connect_accepted_socket(lambda: protocol, sock)
        state.seat[ACCEPTED] += 1
        try:
            waiter = making.send(None)
        except Exception as error:
            sock.close()
            logger.debug("A connection did not come about: %r", error)
            return
        waiter.add_done_callback(lambda _: self._go_on(connection, making))
        state.pending[connection] = waiter
        state.count_connections()
        if len(state.connections) + len(state.pending) > state.capacity.watch:
            state.capacity.enter()

    def _go_on(self, connection: Connection, making: Coroutine[Any, Any, Any]) -> None:
        """What the coroutine waited for is there: the connection is made, or will never be."""
        try:
            waiter = making.send(None)
        except (Exception, asyncio.CancelledError) as end:
            waiter = self._state.pending.get(connection)
            if isinstance(waiter, asyncio.Future):  # else all is well, and this is StopIteration
                logger.debug("A connection did not come about: %r", end)
                self._state.connection_failed(connection)
            elif self._aborting and waiter is not None:
                waiter.cancel()
            elif self._aborting and connection in self._state.connections:
                connection.abort()
        else:
            waiter.add_done_callback(lambda _: self._go_on(connection, making))


class _Listener:
    """A listening socket and a way to ask it whether a connection waits."""

    __slots__ = ("_poll", "sock")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)

    def waiting(self) -> bool:
        """Whether a connection waits; cheaper than an attempt that fails."""
        return bool(self._poll.poll(0))
