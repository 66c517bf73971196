"""The server of one process: lifespan, listeners, connections, and the graceful stop.

Floor 4's worker runs one of these; a test or a notebook may run one in a thread of its own.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import time
from collections.abc import Callable
from functools import partial

from keepserve.asgi.lifespan import Lifespan
from keepserve.asgi.loading import load_app
from keepserve.config import Settings
from keepserve.server.connection import Connection
from keepserve.server.listening import bind_sockets
from keepserve.server.state import WorkerState
from keepserve.server.tls import build_context
from keepserve.telemetry.access import open_access_log
from keepserve.telemetry.scoreboard import Scoreboard, private_seat

logger = logging.getLogger("keepserve")

HURRY_TIMEOUT = 1.0
"""Seconds that cancelled requests get after a second signal."""


class Server:
    """An ASGI server in this process and on the running event loop.

    ``started`` turns true when the application is up and the sockets listen. Set ``should_exit``,
    from any thread, to stop gracefully. ``ssl_context`` is built from the settings unless given
    (a supervisor builds it before it forks, so that all workers share TLS session tickets). ``board`` and the
    number of our ``seat`` on it come from a supervisor, too.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        ssl_context: ssl.SSLContext | None = None,
        board: Scoreboard | None = None,
        seat: int = 0,
    ) -> None:
        self.settings = settings
        self._board = board
        self._seat = board.seat(seat) if board is not None else private_seat()
        self.started = False
        self.state: WorkerState | None = None
        self.addresses: list[object] = []
        """What the listening sockets are bound to, once ``started``."""
        self._ssl_context = ssl_context
        self._should_exit = False
        self._interactive = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._hurry: asyncio.Event | None = None
        self._listeners: list[asyncio.Server] = []

    @property
    def should_exit(self) -> bool:
        """Whether the server is to stop, or is stopping."""
        return self._should_exit

    @should_exit.setter
    def should_exit(self, value: bool) -> None:
        self._should_exit = value
        loop, stop = self._loop, self._stop
        if value and loop is not None and stop is not None:
            try:
                loop.call_soon_threadsafe(stop.set)
            except RuntimeError:
                pass  # the loop has ended, and with it the server

    def stop(self, *, interactive: bool = False) -> None:
        """Stop gracefully; ``interactive`` (Ctrl-C) closes idle connections without a grace. Loop thread only."""
        self._interactive = interactive
        self._should_exit = True
        if self._stop is not None:
            self._stop.set()

    def hurry(self) -> None:
        """Cancel what still runs and end within a second. Loop thread only."""
        self.stop(interactive=True)
        if self._hurry is not None:
            self._hurry.set()

    async def serve(
        self, sockets: list[socket.socket] | None = None, on_started: Callable[[], None] | None = None
    ) -> None:
        """Serve until told to stop.

        Without ``sockets`` the addresses of the settings are bound. ``on_started`` is called once
        when everything is up.

        Raises:
            AppLoadError: the application cannot be imported.
            LifespanError: its startup failed.
            BindError: an address cannot be bound.
            OSError: an address was bound, but by the time of listening another server had taken it.
            ConfigError: the certificate cannot be used.
        """
        settings = self.settings
        loop = asyncio.get_running_loop()
        self._loop, self._stop, self._hurry = loop, asyncio.Event(), asyncio.Event()
        if self._should_exit:
            return
        app = load_app(settings)
        context = self._ssl_context if self._ssl_context is not None else build_context(settings)
        own_sockets = sockets is None
        if sockets is None:
            sockets = bind_sockets(settings)
        access = open_access_log(settings)
        lifespan = Lifespan(app, settings.lifespan)
        state = WorkerState(settings, app, loop, access=access, seat=self._seat)
        try:
            up = await self._start_up(lifespan)
            try:
                if up:
                    state.app_state, state.context = lifespan.state, lifespan.context
                    if access is not None:
                        access.start()
                    self.state = state
                    await self._listen(state, sockets, context)
                    self.started = True
                    if on_started is not None:
                        on_started()
                    await self._stop.wait()
                    await self._drain(state, sockets, context)
            finally:
                # What was started up is shut down, also when the address turns out to be taken.
                await lifespan.shutdown(settings.shutdown_timeout)
        finally:
            state.wheel.stop()
            if access is not None:
                access.close(timeout=1.0)
            if own_sockets:
                for sock in sockets:
                    sock.close()

    async def _start_up(self, lifespan: Lifespan) -> bool:
        """Run the application's startup; a stop signal meanwhile ends it. Returns whether to serve."""
        assert self._stop is not None
        startup = asyncio.ensure_future(lifespan.startup(self.settings.startup_timeout))
        stopped = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait([startup, stopped], return_when=asyncio.FIRST_COMPLETED)
            if not startup.done():
                logger.info("Told to stop during the application's startup")
                startup.cancel()
                await asyncio.wait([startup])
                return False
            startup.result()
            return not self._should_exit
        finally:
            stopped.cancel()

    async def _listen(self, state: WorkerState, sockets: list[socket.socket], context: ssl.SSLContext | None) -> None:
        state.wheel.turn(state.loop)
        settings = self.settings
        for sock in sockets:
            # Here and not in create_server alone, because uvloop does not raise when listen(2) fails.
            sock.listen(settings.backlog)
            # The loop gets a duplicate: the original is needed once more, to empty the accept queue.
            server = await state.loop.create_server(
                partial(Connection, state, context is not None),
                sock=sock.dup(),
                backlog=settings.backlog,
                ssl=context,
                ssl_handshake_timeout=settings.tls_handshake_timeout if context is not None else None,
                ssl_shutdown_timeout=settings.tls_shutdown_timeout if context is not None else None,
            )
            self._listeners.append(server)
            self.addresses.append(sock.getsockname())

    async def _drain(self, state: WorkerState, sockets: list[socket.socket], context: ssl.SSLContext | None) -> None:
        """Stop gracefully: accept what waits, announce the end, finish what runs, then cut what does not end."""
        assert self._hurry is not None
        settings = self.settings
        began = time.monotonic()
        before = dict(state.closed)
        state.draining = True
        state.idle_grace = 0.0 if self._interactive else settings.drain_idle
        if state.connections or state.tasks:
            logger.info("Stopping: %d connections, %d running requests", len(state.connections), len(state.tasks))
        late = self._empty_accept_queues(state, sockets, context)
        now = state.clock()
        for connection in list(state.connections):
            connection.drain(now)
        quiet = asyncio.Event()

        def check() -> None:
            if not state.connections and not state.tasks and not late:
                quiet.set()

        def connected(task: asyncio.Task[object]) -> None:
            late.discard(task)
            if not task.cancelled() and task.exception() is not None:
                logger.debug("A connection accepted last did not come about: %r", task.exception())
            check()

        for task in late:
            task.add_done_callback(connected)
        state.on_quiet = check
        check()
        await self._first_of(quiet, self._hurry, timeout=settings.drain_timeout)
        cut = 0
        if not quiet.is_set():
            cut = len(state.tasks)
            await self._cut(state, quiet)
        closed = {reason.value: count - before[reason] for reason, count in state.closed.items()}
        logger.info(
            "Stopped in %.1f s; requests cut: %d; connections closed: %s",
            time.monotonic() - began,
            cut,
            ", ".join(f"{count} {reason}" for reason, count in closed.items() if count) or "none",
        )

    async def _cut(self, state: WorkerState, quiet: asyncio.Event) -> None:
        """Nothing may hold the stop any longer: cancel applications, then drop their connections."""
        assert self._hurry is not None
        for task in list(state.tasks):
            task.cancel()
        timeout = HURRY_TIMEOUT if self._hurry.is_set() else self.settings.drain_cancel
        if state.tasks:
            # A second signal shortens this wait, too.
            waiting = asyncio.ensure_future(asyncio.wait(list(state.tasks), timeout=timeout))
            hurried = asyncio.ensure_future(self._hurry.wait())
            if not self._hurry.is_set():
                await asyncio.wait([waiting, hurried], return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait([waiting], timeout=HURRY_TIMEOUT)
            waiting.cancel()
            hurried.cancel()
        for connection in list(state.connections):
            connection.cut()
        await self._first_of(quiet, timeout=0.2)
        for connection in list(state.connections):
            connection.abort()
        await self._first_of(quiet, timeout=0.2)

    def _empty_accept_queues(
        self, state: WorkerState, sockets: list[socket.socket], context: ssl.SSLContext | None
    ) -> set[asyncio.Task[object]]:
        """Close the listeners, but first take every connection the kernel has already accepted for us.

        A client whose connect succeeded may have sent its request; closing the listener would reset it.
        Returns the tasks that make these connections (with TLS, a handshake each).
        """
        for listener in self._listeners:
            listener.close()
        settings = self.settings
        late: set[asyncio.Task[object]] = set()
        for sock in sockets:
            sock.setblocking(False)
            # No more than can have waited: those who keep connecting must not keep us here.
            for _ in range(settings.backlog + 1):
                try:
                    accepted = sock.accept()[0]
                except OSError:
                    break  # empty (EAGAIN), or no more descriptors: then nothing can be accepted anyway
                accepted.setblocking(False)
                connection = state.loop.connect_accepted_socket(
                    partial(Connection, state, context is not None),
                    accepted,
                    ssl=context,
                    ssl_handshake_timeout=settings.tls_handshake_timeout if context is not None else None,
                    ssl_shutdown_timeout=settings.tls_shutdown_timeout if context is not None else None,
                )
                late.add(state.loop.create_task(connection))
            sock.close()
        return late

    @staticmethod
    async def _first_of(*events: asyncio.Event, timeout: float) -> None:
        waits = [asyncio.ensure_future(event.wait()) for event in events]
        await asyncio.wait(waits, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
