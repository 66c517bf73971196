"""Running the application for one exchange, in a task of its own, and what its end means."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from keepserve.asgi.exchange import DONE, Exchange
from keepserve.telemetry.scoreboard import RUNNING

if TYPE_CHECKING:
    from keepserve.server.state import WorkerState


# ``run_application`` starts the application on an exchange, in a copy of the context its lifespan startup left. It
# begins when every socket that was ready has been read (``keepserve.server.batch``), and ``on_end`` is called when it
# has ended. ``run_application_now`` is for whoever has read a whole batch: the application begins at once, where
# Python can do that. One that never waits is then over when this returns, which saves a turn of the loop, and a
# twelfth of all work for a tiny one.
if sys.version_info >= (3, 12):
    BEGINS_AT_ONCE = True

    def run_application(
        state: WorkerState, exchange: Exchange, scope: dict[str, Any], on_end: Callable[[], None] | None = None
    ) -> None:
        """Start the application on an exchange when the others of this turn have been read."""
        state.batch.add(exchange, scope, on_end)

    def run_application_now(
        state: WorkerState, exchange: Exchange, scope: dict[str, Any], on_end: Callable[[], None] | None = None
    ) -> None:
        """Start the application on an exchange, and run it to where it first waits."""
        coroutine = _run(state, exchange, scope, on_end)
        task = asyncio.Task(coroutine, loop=state.loop, context=state.context.copy(), eager_start=True)
        if not task.done():
            exchange.task = task
            state.tasks.add(task)
            state.seat[RUNNING] = len(state.tasks)

else:
    BEGINS_AT_ONCE = False

    def run_application(
        state: WorkerState, exchange: Exchange, scope: dict[str, Any], on_end: Callable[[], None] | None = None
    ) -> None:
        """Start the application on an exchange in the next turn of the loop."""
        task = state.loop.create_task(_run(state, exchange, scope, on_end), context=state.context.copy())
        exchange.task = task
        state.tasks.add(task)
        state.seat[RUNNING] = len(state.tasks)

    run_application_now = run_application


async def _run(
    state: WorkerState, exchange: Exchange, scope: dict[str, Any], on_end: Callable[[], None] | None
) -> None:
    """Run the application to its end. Ending here, and not in a callback of the task, saves a turn of the loop."""
    try:
        await state.app(scope, exchange.receive, exchange.send)
    except asyncio.CancelledError as error:
        if exchange.disconnected:
            pass  # by us, because its client's connection had to be ended, or of its own will: nobody waits for it
        elif exchange.task not in state.cut:
            exchange.app_ended(error)  # a doing of its own, such as waiting for a task it had cancelled
        elif exchange.phase != DONE:
            exchange.cut()
    except (Exception, SystemExit) as error:
        # The traceback is to begin in the application, not here. It gets no name: this frame would hold itself.
        exchange.app_ended(error.with_traceback(error.__traceback__.tb_next if error.__traceback__ else None))
    else:
        if exchange.phase != DONE:
            exchange.app_ended(None)
    finally:
        _ended(state, exchange, on_end)


def exchange_of(task: asyncio.Task[None]) -> Exchange | None:
    """The exchange whose application a task runs, also when its connection is gone; None for other tasks.

    Found in the frame of ``_run``, so that nothing has to be kept for the rare case that somebody asks.
    """
    frame = getattr(task.get_coro(), "cr_frame", None)
    if frame is None or frame.f_code is not _run.__code__:
        return None
    exchange = frame.f_locals.get("exchange")
    return exchange if isinstance(exchange, Exchange) else None


def cancel_application(state: WorkerState, exchange: Exchange, on_end: Callable[[], None] | None) -> None:
    """End the application of an exchange whose client's connection had to be ended for abuse.

    A client that leaves has its applications told, never cancelled; but what was started by a flood of requests
    is not worth finishing.
    """
    task = exchange.task
    if task is not None:
        task.cancel()
        # A task that is cancelled before it has begun never reaches its own end.
        task.add_done_callback(lambda _: _ended(state, exchange, on_end) if exchange.task is not None else None)


def _ended(state: WorkerState, exchange: Exchange, on_end: Callable[[], None] | None) -> None:
    task = exchange.task
    if task is not None:  # else it began and ended at once
        exchange.task = None
        state.tasks.discard(task)  # written down at the next tick: whoever reads it wants to know what has begun
    if state.sockets:
        state.sockets.discard(exchange)
    if state.waiting is not None:
        state.waiting.advance()
    if on_end is not None:
        on_end()
    if state.on_quiet is not None:
        if exchange.phase == DONE and not exchange.disconnected and task not in state.cut:
            state.finished += 1
        state.on_quiet()
