"""What a worker is doing at the moment, in words: for SIGUSR2, and for a worker that does not get its work done."""

from __future__ import annotations

import asyncio

from keepserve.asgi.exchange import AWAITED, DONE, HEAD_HELD, Exchange
from keepserve.config.durations import format_duration
from keepserve.server.running import exchange_of
from keepserve.server.state import WorkerState
from keepserve.telemetry.stacks import dump_stacks


def describe_tasks(state: WorkerState) -> str:
    """All tasks of a worker's loop with their innermost frames, requests first and of these the oldest.

    Several lines for one log record. To be called on the loop.
    """
    now = state.clock()
    # Also those whose connection is gone, or whose response is complete: their applications still run.
    hosted = [(exchange, task) for task in state.tasks if (exchange := exchange_of(task)) is not None]
    hosted.sort(key=lambda pair: pair[0].started)
    titles = {task: _title(exchange, now) for exchange, task in hosted}
    text = dump_stacks(asyncio.all_tasks(state.loop), titles)
    if state.waiting:
        waiting = len(state.waiting)
        text += f"\n{waiting} more {'request waits' if waiting == 1 else 'requests wait'} for a place to run"
    return text


def _title(exchange: Exchange, now: float) -> str:
    request = exchange.request
    # Without the query: it is where secrets are.
    path = request.target.partition(b"?")[0].decode("latin-1")
    age = format_duration(round(max(0.0, now - exchange.started), 3))
    return f"{request.method.decode('latin-1')} {path}, {age} old, {_progress(exchange)}"


def _progress(exchange: Exchange) -> str:
    if exchange.disconnected:
        return "the client is gone"
    if exchange.phase <= AWAITED:
        return "no response yet"
    if exchange.phase == HEAD_HELD:
        return f"response {exchange.status} not sent yet"
    return (
        f"response {exchange.status}, {exchange.sent} bytes of body{', complete' if exchange.phase == DONE else ''}"
    )
