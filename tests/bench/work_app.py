"""The application of the benchmarks that move bodies: it echoes, counts, downloads and streams, by path."""

from __future__ import annotations

from typing import Any

KIB_64 = bytes(range(256)) * 256
MIB = KIB_64 * 16
CHUNK = b"0123456789abcdef" * 64
CHUNKS = 100

_TYPE = (b"content-type", b"application/octet-stream")


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Do what the path says; lifespan is declined."""
    if scope["type"] != "http":
        raise RuntimeError("This application speaks HTTP only.")
    path = scope["path"]
    if path == "/echo":
        await _answer(send, await _body(receive))
    elif path == "/count":
        size = 0
        while True:
            message = await receive()
            size += len(message.get("body", b""))
            if not message.get("more_body", False):
                break
        await _answer(send, b"%d" % size)
    elif path == "/64k":
        await _answer(send, KIB_64)
    elif path == "/1m":
        await _answer(send, MIB)
    else:
        await send({"type": "http.response.start", "status": 200, "headers": [_TYPE]})
        for _ in range(CHUNKS):
            await send({"type": "http.response.body", "body": CHUNK, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


async def _body(receive: Any) -> bytes:
    pieces = []
    while True:
        message = await receive()
        pieces.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(pieces)


async def _answer(send: Any, body: bytes) -> None:
    headers = [_TYPE, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
