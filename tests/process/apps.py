"""Applications for the tests of supervised servers. What they do besides is chosen by the environment."""

from __future__ import annotations

import asyncio
import atexit
import os
import sys
import time
from typing import Any

if "APP_AT_EXIT" in os.environ:
    atexit.register(print, "the application's exit function ran")

if os.environ.get("APP_IMPORT") == "hang":
    print("importing", flush=True)
    time.sleep(60)


async def app(scope: Any, receive: Any, send: Any) -> None:
    """``/``: the worker's pid. ``/wait``: the same, once the file APP_RELEASE exists. ``/block``: blocks the loop."""
    if scope["type"] == "lifespan":
        return await _lifespan(receive, send)
    if scope["path"] == "/wait":
        print("waiting", os.getpid(), flush=True)
        await _release()
    elif scope["path"] == "/block":
        print("blocking", flush=True)
        time.sleep(60)  # noqa: ASYNC251 - what an application must not do is what is tested
    body = str(os.getpid()).encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
    return None


async def _release() -> None:
    while not os.path.exists(os.environ["APP_RELEASE"]):  # noqa: ASYNC110, ASYNC240 - the test is another process
        await asyncio.sleep(0.01)


async def _lifespan(receive: Any, send: Any) -> None:
    startup = os.environ.get("APP_STARTUP", "")
    await receive()
    if startup == "fail":
        await send({"type": "lifespan.startup.failed", "message": "the database is not there"})
        return
    if startup == "wait":
        print("starting", flush=True)
        try:
            await _release()
        except asyncio.CancelledError:
            print("startup cancelled", flush=True)
            raise
    await send({"type": "lifespan.startup.complete"})
    await receive()
    print("lifespan shutdown", flush=True)
    await send({"type": "lifespan.shutdown.complete"})


if __name__ == "__main__":
    import keepserve

    # The application as an object, which the workers inherit.
    keepserve.run(app, port=0, lb="alb", log_level=sys.argv[1])
