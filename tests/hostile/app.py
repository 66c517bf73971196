"""The application under attack: small answers, large ones, and applications that wait or do not care."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
from collections.abc import Awaitable, Callable
from typing import Any

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

PIECE = 16 * 1024

_libc = ctypes.CDLL(None)
_count = {"begun": 0, "running": 0, "most": 0}


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """The paths are the names of the functions below."""
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return
    await PATHS.get(scope["path"], small)(receive, send)


async def answer(send: Send, body: bytes, fields: list[tuple[bytes, bytes]] | None = None) -> None:
    """A whole response."""
    await send({"type": "http.response.start", "status": 200, "headers": fields or []})
    await send({"type": "http.response.body", "body": body})


async def small(receive: Receive, send: Send) -> None:
    """Two bytes."""
    await answer(send, b"ok")


async def pid(receive: Receive, send: Send) -> None:
    """Which process this is."""
    await answer(send, b"%d" % os.getpid())


async def trim(receive: Receive, send: Send) -> None:
    """Give back to the system what is free: what is in use then is in use."""
    gc.collect()
    if hasattr(_libc, "malloc_trim"):
        _libc.malloc_trim(0)
    await answer(send, b"ok")


async def counted(receive: Receive, send: Send) -> None:
    """How many of ``stubborn`` were begun, and how many ran at once, since the last time this was asked."""
    await answer(send, b"%d %d" % (_count["begun"], _count["most"]))
    _count["begun"], _count["most"] = 0, _count["running"]


async def wait(receive: Receive, send: Send) -> None:
    """Wait until the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def stubborn(receive: Receive, send: Send) -> None:
    """Work on for a while, whether anybody is there or not."""
    _count["begun"] += 1
    _count["running"] += 1
    _count["most"] = max(_count["most"], _count["running"])
    try:
        await asyncio.sleep(10)
    finally:
        _count["running"] -= 1


async def unread(receive: Receive, send: Send) -> None:
    """Never look at the body."""
    await asyncio.sleep(10)


async def endless(receive: Receive, send: Send) -> None:
    """As much as may be sent, in fresh bytes."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    try:
        while True:
            await send({"type": "http.response.body", "body": os.urandom(16) * (PIECE // 16), "more_body": True})
    except OSError:
        pass  # the client has left


async def fields(receive: Receive, send: Send) -> None:
    """Response fields that never come again."""
    await answer(send, b"ok", [(b"x-%b" % os.urandom(4).hex().encode(), os.urandom(100).hex().encode())])


PATHS = {
    f"/{function.__name__}": function
    for function in (small, pid, trim, counted, wait, stubborn, unread, endless, fields)
}
