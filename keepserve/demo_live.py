"""The WebSocket of the demonstration application: it ticks, echoes, and says when its server is about to go."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Final
from urllib.parse import urlsplit

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

LIVE_PATH: Final = "/live"

TICK: Final = 1.0
"""Seconds between two messages of the server's own."""

_TEXT_ONLY: Final = 1003
_RESTARTING: Final = 1012


async def live(scope: Scope, receive: Receive, send: Send) -> None:
    """Serve ``/live``: messages are JSON objects, with ``ticks`` once a second, or the ``echo`` of a text.

    Other paths are refused, and pages of other sites: a browser lets any page connect to any server, and the
    Origin field is all there is to tell (RFC 6455 section 10.2).
    """
    await receive()
    path = scope["path"].removeprefix(scope.get("root_path", ""))
    if path != LIVE_PATH or not same_origin(scope):
        await send({"type": "websocket.close"})
        return
    await send({"type": "websocket.accept"})
    ticking = asyncio.ensure_future(_tick(scope, send))
    try:
        while (message := await receive())["type"] == "websocket.receive":
            text = message.get("text")
            if text is None:
                await send({"type": "websocket.close", "code": _TEXT_ONLY, "reason": "text only, please"})
                return
            await _say(send, echo=text)
    except OSError:
        return  # the client has left
    finally:
        ticking.cancel()
        await asyncio.gather(ticking, return_exceptions=True)


async def _tick(scope: Scope, send: Send) -> None:
    ticks = 0
    try:
        while True:
            await _say(send, ticks=ticks, worker_pid=os.getpid(), http_version=scope.get("http_version"))
            if await told_to_go(scope, TICK):
                await _say(send, restarting=True)
                await send({"type": "websocket.close", "code": _RESTARTING, "reason": "service restart"})
                return
            ticks += 1
    except (OSError, RuntimeError):
        return  # it was closed meanwhile


async def _say(send: Send, **what: object) -> None:
    await send({"type": "websocket.send", "text": json.dumps(what)})


def same_origin(scope: Mapping[str, Any]) -> bool:
    """Whether a browser says that the page is of this host; other clients send no Origin, and may do as they like."""
    fields = dict(scope["headers"])
    origin: bytes | None = fields.get(b"origin")
    if origin is None:
        return True
    host: bytes = fields.get(b"host", b"")
    return urlsplit(origin.decode("latin-1")).netloc.lower() == host.decode("latin-1").lower()


async def told_to_go(scope: Scope, delay: float) -> bool:
    """Sleep for so many seconds, or until the server says that it is closing; whether it does."""
    told = (scope.get("extensions") or {}).get("keepserve", {})
    if "until_draining" not in told:
        await asyncio.sleep(delay)
        return False
    try:
        await asyncio.wait_for(told["until_draining"](), delay)
    except TimeoutError:
        return False
    return True
