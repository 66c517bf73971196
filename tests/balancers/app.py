"""The application behind the balancers: bodies that can be verified, and how their requests came here."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from tests.balancers.bodies import pattern

CHUNK = 16 * 1024

SEEN: Counter[str] = Counter()
"""Requests this worker got by the balancer they came through, where the client said so with ``X-Front``."""


async def app(
    scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
) -> None:
    """``/bytes/N``, ``/stream/N``, ``/echo``, ``/digest``, ``/slow/MILLISECONDS``, ``/fields`` and ``/seen``."""
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return
    _, kind, *number = scope["path"].split("/")
    size = int(number[0]) if number else 0
    told = scope["extensions"]["keepserve"]
    front = next((value.decode() for name, value in scope["headers"] if name == b"x-front"), None)
    if front is not None:
        SEEN[front] += 1
    fields = [
        (b"content-type", b"application/octet-stream"),
        (b"x-connection", b"%d.%d" % (told["worker_pid"], told["connection_id"])),
        (b"x-http-version", scope["http_version"].encode()),
        (b"x-client", (scope["client"] or ("", 0))[0].encode()),
    ]
    if kind == "stream":
        # Without a length: chunked, and taken apart and put together again by the balancer.
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        body = pattern(size)
        for start in range(0, size, CHUNK):
            await send({"type": "http.response.body", "body": body[start : start + CHUNK], "more_body": True})
            await asyncio.sleep(0)
        await send({"type": "http.response.body"})
        return
    if kind == "bytes":
        body = pattern(size)
    elif kind == "slow":
        await asyncio.sleep(size / 1000)
        body = await _whole(receive)
    elif kind == "echo":
        body = await _whole(receive)
    elif kind == "digest":
        body = hashlib.sha256(await _whole(receive)).hexdigest().encode()
    elif kind == "fields":
        body = json.dumps([[name.decode(), value.decode()] for name, value in scope["headers"]]).encode()
    elif kind == "seen":
        body = json.dumps(SEEN).encode()
    else:
        raise ValueError(f"there is no {scope['path']}")
    fields.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    await send({"type": "http.response.body", "body": body})


async def _whole(receive: Callable[[], Awaitable[Any]]) -> bytes:
    parts = []
    while True:
        message = await receive()
        assert message["type"] == "http.request", message
        parts.append(message["body"])
        if not message["more_body"]:
            return b"".join(parts)
