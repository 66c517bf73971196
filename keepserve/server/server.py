"""The server of one process: lifespan, listeners, connections, and the graceful stop.

Floor 4's worker runs one of these; a test or a notebook may run one in a thread of its own.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable

from keepserve.asgi.lifespan import Lifespan
from keepserve.asgi.loading import load_app
from keepserve.config import Settings
from keepserve.server.acceptor import Acceptor
from keepserve.server.drain import Drain
from keepserve.server.listening import bind_sockets
from keepserve.server.overview import describe_tasks
from keepserve.server.state import WorkerState
from keepserve.server.tls import build_context
from keepserve.telemetry.access import open_access_log
from keepserve.telemetry.scoreboard import SERVING, STAGE, Scoreboard, private_seat
from keepserve.telemetry.stacks import dump_stacks

logger = logging.getLogger("keepserve")


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
        self._row = board.counters(seat) if board is not None else None
        self._common = board.common if board is not None else private_seat()
        self._seat_number = seat
        self.started = False
        self.state: WorkerState | None = None
        self.addresses: list[object] = []
        """What the listening sockets are bound to, once ``started``."""
        self._ssl_context = ssl_context
        self._should_exit = False
        self._interactive = self._leaving = self._hurried = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._drain: Drain | None = None

    @property
    def should_exit(self) -> bool:
        """Whether the server is to stop, or is stopping."""
        return self._should_exit

    @should_exit.setter
    def should_exit(self, value: bool) -> None:
        self._should_exit = value
        loop = self._loop
        if value and loop is not None:
            try:
                loop.call_soon_threadsafe(self.stop)
            except RuntimeError:
                pass  # the loop has ended, and with it the server

    def stop(self, *, interactive: bool = False) -> None:
        """Stop gracefully. Loop thread only.

        ``interactive`` (Ctrl-C) leaves out the lame duck, and the grace of idle connections.
        """
        self._leaving = False
        self._interactive = self._interactive or interactive
        if self._drain is not None:
            self._drain.stop(interactive=interactive)
        self._end()

    def leave(self, *, interactive: bool = False) -> None:
        """End this worker and not the server: siblings have the same listening sockets and serve on.

        Loop thread only. Nothing more is accepted, what waits in the accept queue is theirs. Health checks on
        the connections there are go on saying 200. Idle connections stay usable for ``roll_idle``, running
        requests have ``drain_timeout``. A ``stop`` shortens it. ``interactive`` closes idle connections at once.
        """
        if self._drain is not None:
            self._drain.leave(interactive=interactive)
        elif not self._should_exit:
            self._leaving, self._interactive = True, interactive
        self._end()

    def hurry(self) -> None:
        """Cancel what still runs and end within a second. Loop thread only."""
        self._leaving, self._hurried = False, True
        if self._drain is not None:
            self._drain.hurry()
        self._end()

    def describe_tasks(self) -> str:
        """What every task of the loop is doing, in several lines, requests first. Loop thread only."""
        if self.state is None:
            return "starting the application; " + dump_stacks(asyncio.all_tasks(), {})
        return describe_tasks(self.state)

    def _end(self) -> None:
        self._should_exit = True
        if self._stop is not None:
            self._stop.set()

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
        self._loop, self._stop = loop, asyncio.Event()
        if self._should_exit:
            return
        app = load_app(settings)
        context = self._ssl_context if self._ssl_context is not None else build_context(settings)
        own_sockets = sockets is None
        if sockets is None:
            sockets = bind_sockets(settings)
        access = open_access_log(settings)
        lifespan = Lifespan(app, settings.lifespan)
        state = WorkerState(settings, app, loop, access=access, seat=self._seat, row=self._row, common=self._common)
        state.farewell.enter(lifespan.context)
        try:
            up = await self._start_up(lifespan)
            try:
                if up:
                    state.app_state, state.context = lifespan.state, lifespan.context
                    if access is not None:
                        access.start()
                    self.state = state
                    acceptor = self._listen(state, sockets, context)
                    self.started = True
                    if on_started is not None:
                        on_started()
                    await self._stop.wait()
                    await self._follow(Drain(state, acceptor))
                    acceptor.abort_pending()
            finally:
                # What was started up is shut down, also when the address turns out to be taken.
                await lifespan.shutdown(settings.shutdown_timeout)
        finally:
            state.wheel.stop()
            if access is not None:
                access.close(timeout=1.0)
            state.write_down()  # what has come since the last tick
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

    async def _follow(self, drain: Drain) -> None:
        """End gracefully, as was asked for so far and will be."""
        self._drain = drain
        if self._leaving:
            drain.leave(interactive=self._interactive)
        else:
            drain.stop(interactive=self._interactive)
        if self._hurried:
            drain.hurry()
        await drain.run()

    def _listen(self, state: WorkerState, sockets: list[socket.socket], context: ssl.SSLContext | None) -> Acceptor:
        state.wheel.turn(state.loop)
        self.addresses += [sock.getsockname() for sock in sockets]
        board = self._board if self.settings.balance_workers else None
        acceptor = Acceptor(state, sockets, context, board=board, number=self._seat_number)
        acceptor.listen()
        state.capacity.explain()
        self._seat[STAGE] = SERVING
        return acceptor
