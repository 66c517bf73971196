"""The application of the system tests: it misbehaves on request, and remembers what became of it."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable
from typing import Any

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

BLOCK = b"0123456789abcdef" * 1024
"""16 KiB."""

SEEN: dict[str, dict[str, Any]] = {}
"""By the name in the path: what happened to a request; ``/seen/NAME`` tells."""


async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """``/KIND/ARGUMENT``; the kinds are the functions below."""
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return
    _, kind, argument = scope["path"].split("/")
    await KINDS[kind](argument, scope, receive, send)


async def answer(send: Send, body: bytes, status: int = 200) -> None:
    """A whole response."""
    fields = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": body})


async def seen(name: str, scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """What became of a request."""
    await answer(send, json.dumps(SEEN.get(name, {})).encode())


async def number(_: str, scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """The connection and the request, as the server counts them."""
    told = scope["extensions"]["keepserve"]
    await answer(send, b"%d/%d" % (told["connection_id"], told["request_number"]))


async def pid(_: str, scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """The worker."""
    await answer(send, b"%d" % os.getpid())


async def size(_: str, scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """How long the body was."""
    total = 0
    while True:
        message = await receive()
        total += len(message.get("body", b""))
        if not message.get("more_body"):
            break
    await answer(send, b"%d" % total)


async def refuse(_: str, scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """401 at the first piece of a body, of which the rest is never read."""
    await receive()
    await answer(send, b"Who are you?\n", 401)


async def late(blocks: str, scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """After a tenth of a second, that many blocks."""
    await asyncio.sleep(0.1)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(int(blocks)):
        await send({"type": "http.response.body", "body": BLOCK, "more_body": True})
    await send({"type": "http.response.body"})


async def endless(name: str, scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Blocks, as fast as they are taken, until ``send`` fails."""
    record = SEEN[name] = {"blocks": 0, "end": None}
    await send({"type": "http.response.start", "status": 200, "headers": []})
    try:
        while True:
            await send({"type": "http.response.body", "body": BLOCK, "more_body": True})
            record["blocks"] += 1
    except BaseException as error:
        record["end"] = [base.__name__ for base in type(error).__mro__]
        raise


async def drip(name: str, scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """A word now and then, until ``send`` fails."""
    record = SEEN[name] = {"end": None}
    await send({"type": "http.response.start", "status": 200, "headers": []})
    try:
        while True:
            await send({"type": "http.response.body", "body": b"still here\n", "more_body": True})
            await asyncio.sleep(0.01)
    except BaseException as error:
        record["end"] = [base.__name__ for base in type(error).__mro__]
        raise


async def watch(name: str, scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Wait for the client to leave."""
    SEEN[name] = {"end": None}
    while (message := await receive())["type"] != "http.disconnect":
        pass
    SEEN[name] = {"end": message["type"]}


async def wait(milliseconds: str, scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """An answer after some time."""
    SEEN["wait"] = {"begun": True}
    await asyncio.sleep(int(milliseconds) / 1000)
    await answer(send, b"waited\n")


async def block(milliseconds: str, scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Stop the whole event loop, as code that computes does."""
    time.sleep(int(milliseconds) / 1000)  # noqa: ASYNC251
    await answer(send, b"blocked\n")


RELEASED = asyncio.Event()


async def background(_: str, scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Work on after the response, until a later request says that it is enough."""
    RELEASED.clear()
    await answer(send, b"accepted\n")
    await asyncio.wait_for(RELEASED.wait(), 30)
    SEEN["background"] = {"end": "done"}


async def release(_: str, scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Let the work in the background end."""
    RELEASED.set()
    await answer(send, b"released\n")


async def tls(_: str, scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """What the application is told of TLS."""
    await answer(send, json.dumps({"scheme": scope["scheme"], **scope["extensions"].get("tls", {})}).encode())


KINDS = {
    function.__name__: function
    for function in (
        seen,
        number,
        pid,
        size,
        refuse,
        late,
        endless,
        drip,
        watch,
        wait,
        block,
        background,
        release,
        tls,
    )
}
