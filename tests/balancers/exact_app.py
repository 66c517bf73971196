"""An application that knows what it has not answered: a worker can be killed so that all figures are known."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Any

Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]

QUIET_TURNS = 20
TURN = 0.02
"""A worker dies when so many turns of its loop, so many seconds apart, have brought it nothing: that is four ticks of
the wheel, in which it has written down what it does not count as it happens, and all it has said has left it."""


class Worker:
    """What this process has seen."""

    def __init__(self) -> None:
        self.dying = False
        self.events = 0
        """Requests begun, and requests ended."""


WORKER = Worker()


async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """``/STATUS/BYTES`` with that answer, ``/slow/MILLISECONDS``, ``/begin``, ``/raise``, and ``/die``."""
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return
    WORKER.events += 1
    _, kind, *number = scope["path"].split("/")
    if WORKER.dying or kind == "die":
        balanced = any(name == b"x-forwarded-for" for name, _ in scope["headers"])
        told = {"pid": os.getpid(), "method": scope["method"], "balanced": balanced}
        os.write(sys.stderr.fileno(), f"held: {json.dumps(told)}\n".encode())
        if WORKER.dying:
            await asyncio.get_running_loop().create_future()
        WORKER.dying = True
        await _die()
    try:
        await _answer(kind, int(number[0]) if number else 0, scope, receive, send)
    finally:
        WORKER.events += 1


async def _answer(kind: str, number: int, scope: dict[str, Any], receive: Receive, send: Send) -> None:
    while (await receive()).get("more_body"):
        pass
    if kind == "raise":
        raise RuntimeError("as asked for")
    if kind == "slow":
        await asyncio.sleep(number / 1000)
        kind, number = "200", 0
    told = scope["extensions"]["keepserve"]
    fields = [(b"x-connection", b"%d.%d" % (told["worker_pid"], told["connection_id"]))]
    if kind == "begin":
        fields.append((b"content-length", b"2"))
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        await send({"type": "http.response.body", "body": b".", "more_body": True})
        while (await receive())["type"] != "http.disconnect":
            pass
        return
    status = int(kind)
    if status not in (204, 304):
        fields.append((b"content-length", b"%d" % number))
    await send({"type": "http.response.start", "status": status, "headers": fields})
    body = b"" if scope["method"] == "HEAD" or status in (204, 304) else b"." * number
    await send({"type": "http.response.body", "body": body})


async def _die() -> None:
    """End as if by the kernel, when SIGUSR2 says that nothing more will come, and what has come has settled."""
    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR2, told.set)
    await told.wait()
    quiet, seen = 0, WORKER.events
    while quiet < QUIET_TURNS:
        await asyncio.sleep(TURN)
        quiet, seen = (quiet + 1 if WORKER.events == seen else 0), WORKER.events
    os.kill(os.getpid(), signal.SIGKILL)
