"""A worker process: one event loop, one `Server`, and an ear for the supervisor."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import errno
import faulthandler
import logging
import math
import os
import signal
import socket
import sys
import time
from collections.abc import Set
from types import FrameType
from typing import Any

from keepserve.asgi.lifespan import LifespanError
from keepserve.asgi.loading import AppLoadError, load_app
from keepserve.config import ConfigError, exitcodes
from keepserve.process.context import WorkerContext
from keepserve.process.loops import loop_factory
from keepserve.process.memory import prefer_as_victim
from keepserve.process.orders import READY, Order
from keepserve.process.watchdog import beat_interval
from keepserve.server.listening import BindError, display, reserve
from keepserve.server.overview import describe_tasks
from keepserve.server.server import Server
from keepserve.telemetry.logs import configure_logging
from keepserve.telemetry.reopen import reopen_logs
from keepserve.telemetry.scoreboard import BEAT, DEBUGGED, REQUESTS, Seat

logger = logging.getLogger("keepserve")

ORPHAN_MARGIN = 4.0
"""Seconds past the stop budget after which a worker ends itself; the supervisor, if there is one, is faster."""

LAST_TASKS = 0.5
"""Seconds that tasks of the application have to end when everything else has."""

_SUPERVISOR_FIRST = 0.5
"""Seconds a worker that got SIGTERM waits for the supervisor's order.

systemd signals every process of a service. Then the accept queue has to be emptied, which a worker that leaves alone
does not do: it leaves the queue to the others.
"""


def worker_main(context: WorkerContext) -> int:
    """Serve until told to stop; the exit code. Runs in the forked child, whose signals have been reset."""
    _enable_faulthandler()
    _notice_debuggers(context.board.seat(context.seat))
    prefer_as_victim()
    try:
        if context.launch.reread:
            configure_logging(context.settings)
        with contextlib.ExitStack() as stack:
            runner = stack.enter_context(asyncio.Runner(loop_factory=loop_factory(context.settings.loop)))
            unending = runner.run(_serve(context))
            if unending:
                # The runner would wait for them, and the supervisor would have to kill us.
                logger.warning("Tasks that do not end although they were cancelled are left behind: %d", unending)
                stack.pop_all()
    except (AppLoadError, LifespanError) as error:
        logger.error("%s", error, exc_info=error.__cause__ if error.show_traceback else None)
        return exitcodes.APP
    except ConfigError as error:
        logger.error("%s", error)
        return exitcodes.SETTINGS
    except BindError as error:
        logger.error("%s", error)
        return exitcodes.BIND
    except Exception:
        logger.critical("The worker failed unexpectedly", exc_info=True)
        return exitcodes.CRASH
    return exitcodes.OK


async def _serve(context: WorkerContext) -> int:
    """Serve to the end; how many tasks did not."""
    # SIGTERM still has its default action: an import that takes minutes, or hangs, ends at once.
    app = load_app(context.settings)
    settings = dataclasses.replace(context.settings, app=app, factory=False)
    server = Server(settings, ssl_context=context.launch.ssl_context, board=context.board, seat=context.seat)
    link = SupervisorLink(server, context.channel, settings.stop_budget + ORPHAN_MARGIN)
    link.connect()
    heart = Heart(server, context.board.seat(context.seat), beat_interval(settings.worker_timeout))

    def started() -> None:
        # uvloop does not raise when listen(2) fails.
        if not all(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) for sock in context.sockets):
            raise _too_late(context.sockets)
        heart.begin()
        link.report_ready()

    reserve(context.sockets, reserved=False)
    try:
        await server.serve(context.sockets, on_started=started)
    except OSError as error:
        if error.errno != errno.EADDRINUSE or server.started:
            raise
        raise _too_late(context.sockets) from None
    finally:
        heart.stop()
        link.disconnect()
    return await _end_tasks(server.state.cut if server.state is not None else set())


async def _end_tasks(cut: Set[asyncio.Task[None]]) -> int:
    """Cancel what the application has left running on the loop; how many tasks do not end for all that.

    Those in ``cut`` were cancelled in the course of the stop, and have had their time.
    """
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    others = tasks - cut
    for task in others:
        task.cancel()
    if others:
        await asyncio.wait(others, timeout=LAST_TASKS)
    return sum(not task.done() for task in tasks)


def _too_late(sockets: list[socket.socket]) -> BindError:
    where = ", ".join(display(sock) for sock in sockets)
    return BindError(f"Another server began to listen on {where} while this one was starting: only one can.")


class Heart:
    """Writes down, on the worker's seat, that its event loop turns, and how many requests there have been,
    and how late it came to do so.

    By the loop and by nothing else: a thread would go on while the loop is blocked. ``interval`` is in seconds.
    """

    def __init__(self, server: Server, seat: Seat, interval: float) -> None:
        self._server = server
        self._seat = seat
        self._interval = interval
        self._loop = asyncio.get_running_loop()
        self._next: asyncio.TimerHandle | None = None
        self._due = math.inf

    def begin(self) -> None:
        """Beat now, and from now on."""
        now = self._loop.time()
        self._seat[BEAT] = time.monotonic_ns()
        state = self._server.state
        if state is not None:
            self._seat[REQUESTS] = state.requests
            if now >= self._due:
                state.counters.lagged(now - self._due, now)
            state.write_down()
        self._due = now + self._interval
        self._next = self._loop.call_later(self._interval, self.begin)

    def stop(self) -> None:
        """Beat no more: what follows has limits of its own."""
        if self._next is not None:
            self._next.cancel()


class SupervisorLink:
    """Carries the supervisor's orders to a `Server`, and "ready" back.

    The end of the channel means a graceful stop, at most once; only `Order.HURRY` hurries. A worker that was told to
    leave can still be told to stop, which is sooner. SIGTERM without an order is for this worker alone: it leaves.
    """

    def __init__(self, server: Server, channel: socket.socket, longest_stop: float) -> None:
        self._server = server
        self._channel = channel
        self._longest_stop = longest_stop
        self._loop = asyncio.get_running_loop()
        self._stopping = False
        self._leaving = False

    def connect(self) -> None:
        """Listen to the supervisor and to SIGTERM. Main thread only."""
        self._channel.setblocking(False)
        self._loop.add_reader(self._channel, self._read)
        self._loop.add_signal_handler(signal.SIGTERM, self._terminated)
        # The loop's handler runs when the loop is free; this one also while the application blocks it.
        signal.signal(signal.SIGTERM, self._arm)

    def disconnect(self) -> None:
        """Stop listening to the supervisor; SIGTERM has its default action again."""
        self._loop.remove_reader(self._channel)
        self._loop.remove_signal_handler(signal.SIGTERM)

    def report_ready(self) -> None:
        """Tell the supervisor that the server listens."""
        try:
            self._channel.send(READY)
        except OSError:
            pass  # the supervisor is gone, which the reader will see

    def _read(self) -> None:
        try:
            orders = self._channel.recv(64)
        except BlockingIOError:
            return
        except OSError:
            orders = b""
        if not orders:
            self._loop.remove_reader(self._channel)
            if not self._stopping:
                logger.warning("The supervisor is gone; worker %d stops", os.getpid())
            self._arm(signal.SIGTERM, None)
            self._stop(interactive=False)
            return
        for order in orders:
            self._obey(Order(bytes((order,))))

    def _obey(self, order: Order) -> None:
        if order is Order.HURRY:
            self._stopping = True
            self._server.hurry()
        elif order in (Order.LEAVE, Order.LEAVE_AT_ONCE):
            if not self._stopping:
                self._leaving = True
                self._server.leave(interactive=order is Order.LEAVE_AT_ONCE)
        elif order is Order.REOPEN:
            reopen_logs(self._server.settings)
        elif order is Order.DUMP:
            state = self._server.state
            logger.info("Worker %d: %s", os.getpid(), describe_tasks(state) if state is not None else "starting")
        else:
            self._stop(interactive=order is Order.STOP_INTERACTIVE)

    def _terminated(self) -> None:
        if not self._stopping:
            self._loop.call_later(_SUPERVISOR_FIRST, self._leave_alone)

    def _leave_alone(self) -> None:
        """The signal was for this worker only: the server goes on, and has the listening sockets."""
        if self._stopping or self._leaving:
            return
        self._leaving = True
        logger.info("SIGTERM to worker %d alone: it leaves, and is replaced", os.getpid())
        settings = self._server.settings
        signal.setitimer(signal.ITIMER_REAL, max(settings.roll_budget, settings.stop_budget) + ORPHAN_MARGIN)
        self._server.leave()

    def _stop(self, interactive: bool) -> None:
        if not self._stopping:
            self._stopping = True
            self._server.stop(interactive=interactive)

    def _arm(self, signum: int, frame: FrameType | None) -> None:
        # SIGALRM's default action ends the process even when its loop never runs again: without a supervisor
        # nobody else would, and the port would stay taken.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, self._longest_stop)


def _enable_faulthandler() -> None:
    """Have the Python stack printed when native code crashes: the log would otherwise only name the signal.

    And at SIGUSR2, also while the event loop is blocked.
    """
    try:
        if not faulthandler.is_enabled():
            faulthandler.enable()
        faulthandler.register(signal.SIGUSR2, all_threads=True)
    except (OSError, ValueError, AttributeError, RuntimeError):
        pass  # standard error is closed or is not a file


def _notice_debuggers(seat: Seat) -> None:
    """Whoever stops in ``breakpoint()`` is not hanging: the supervisor is told to leave this worker alone."""
    hook = sys.breakpointhook

    def noticed(*arguments: Any, **keywords: Any) -> Any:
        seat[DEBUGGED] = 1
        return hook(*arguments, **keywords)

    sys.breakpointhook = noticed
    if sys.gettrace() is not None:
        seat[DEBUGGED] = 1
