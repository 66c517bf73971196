"""What the WebSocket clients of the tests talk to, by path."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qs

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

ENDS: list[dict[str, Any]] = []
"""The last messages to this worker's applications: what ``/ends`` tells."""


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Serve WebSockets, and ``/ends`` by HTTP."""
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": json.dumps(ENDS).encode()})
        return
    if scope["type"] != "websocket":
        raise RuntimeError("Nothing to start.")
    await receive()
    query = {name: values[0] for name, values in parse_qs(scope["query_string"].decode()).items()}
    kind = scope["path"].strip("/")
    if kind == "refuse":
        body = json.dumps({"why": "not today"}).encode()
        head = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "websocket.http.response.start", "status": 418, "headers": head})
        await send({"type": "websocket.http.response.body", "body": body})
        return
    offered = scope["subprotocols"]
    await send(
        {
            "type": "websocket.accept",
            "subprotocol": offered[-1] if offered else None,
            "headers": [(b"x-version", scope["http_version"].encode()), (b"x-scheme", scope["scheme"].encode())],
        }
    )
    if kind == "close":
        await send({"type": "websocket.close", "code": int(query["code"]), "reason": query.get("reason", "")})
    elif kind == "flood":
        for number in range(int(query["count"])):
            await send({"type": "websocket.send", "bytes": number.to_bytes(4, "big") * int(query["size"])})
    elif kind == "goodbye":
        waiting = asyncio.ensure_future(scope["extensions"]["keepserve"]["until_draining"]())
        await waiting
        await send({"type": "websocket.send", "text": "about to restart"})
    elif kind == "slow":
        await asyncio.sleep(float(query["seconds"]))
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            ENDS.append(dict(message))
            return
        await send({**message, "type": "websocket.send"})
