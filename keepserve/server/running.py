"""Running the application for one exchange: a task that starts at once where Python can, and what its end means."""

from __future__ import annotations

import asyncio
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

from keepserve.asgi.exchange import DONE, Exchange

if TYPE_CHECKING:
    from keepserve.server.state import WorkerState

# Eager tasks (Python 3.12) let an application that never waits finish inside the read callback.
if sys.version_info >= (3, 12):
    EAGER = True
    _task = partial(asyncio.Task, eager_start=True)
else:
    EAGER = False
    _task = asyncio.Task


def run_application(state: WorkerState, exchange: Exchange, scope: dict[str, Any]) -> None:
    """Start the application on an exchange, in a copy of the context its lifespan startup left.

    ``state.tasks`` holds the task as long as it runs. One that ends at once never gets there.
    """
    try:
        coroutine = state.app(scope, exchange.receive, exchange.send)
    except Exception as error:  # it takes other arguments: nothing of it has run
        exchange.app_ended(error)
        return
    if EAGER:
        exchange.eager = True
        task: asyncio.Task[None] = _task(coroutine, loop=state.loop, context=state.context.copy())
        exchange.eager = False
        if task.done():
            _ended(exchange, task)
            return
        exchange.flush_head()
    else:
        task = state.loop.create_task(coroutine, context=state.context.copy())
    state.tasks.add(task)
    task.add_done_callback(partial(_ended_later, state, exchange))


def _ended_later(state: WorkerState, exchange: Exchange, task: asyncio.Task[None]) -> None:
    state.tasks.discard(task)
    _ended(exchange, task)
    if state.on_quiet is not None:
        state.on_quiet()


def _ended(exchange: Exchange, task: asyncio.Task[None]) -> None:
    try:
        error = task.exception()
    except asyncio.CancelledError:
        if exchange.phase != DONE:
            exchange.cut()
        return
    if error is not None or exchange.phase != DONE:
        exchange.app_ended(error)
