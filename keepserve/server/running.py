"""Running the application for one exchange, in a task of its own, and what its end means."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from keepserve.asgi.exchange import DONE, Exchange

if TYPE_CHECKING:
    from keepserve.server.state import WorkerState


def run_application(state: WorkerState, exchange: Exchange, scope: dict[str, Any]) -> None:
    """Start the application on an exchange, in a copy of the context its lifespan startup left.

    It begins in the next turn of the loop, when every socket that was ready has been read. Eager tasks
    (Python 3.12), which would begin inside the read callback, measured no faster with a tiny
    application and a tenth slower with a framework: reading and running in turns keeps caches warm.
    """
    task = state.loop.create_task(_run(state, exchange, scope), context=state.context.copy())
    state.tasks.add(task)


async def _run(state: WorkerState, exchange: Exchange, scope: dict[str, Any]) -> None:
    """Run the application to its end. Ending here, and not in a callback of the task, saves a turn of the loop."""
    try:
        await state.app(scope, exchange.receive, exchange.send)
    except asyncio.CancelledError as error:
        if not state.draining:
            exchange.app_ended(error)  # a doing of its own, such as waiting for a task it had cancelled
        elif exchange.phase != DONE:
            exchange.cut()
    except (Exception, SystemExit) as error:
        # The traceback is to begin in the application, not here.
        traceback = error.__traceback__
        exchange.app_ended(error.with_traceback(traceback.tb_next if traceback is not None else None))
    else:
        if exchange.phase != DONE:
            exchange.app_ended(None)
    finally:
        task = asyncio.current_task()
        assert task is not None
        state.tasks.discard(task)
        if state.on_quiet is not None:
            state.on_quiet()
