"""Sockets passed as a service manager does: numbered from 3, announced by LISTEN_FDS, to a process that execs."""

from __future__ import annotations

import os
import sys
from typing import Any


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the process that serves and with what the environment says of systemd."""
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    told = [name for name in sorted(os.environ) if name.startswith(("LISTEN_", "NOTIFY_", "WATCHDOG_"))]
    body = " ".join([os.environ.get("GENERATION", ""), *told]).encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def main(numbers: str, names: str, *command: str) -> None:
    """Put these descriptors at 3, 4, ... and become ``command``."""
    # Far away first: one may be where another is to go.
    spare = [os.dup2(int(number), 100 + index) for index, number in enumerate(numbers.split(","))]
    for index, number in enumerate(spare):
        os.dup2(number, 3 + index)
        os.close(number)
    os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(spare)), "LISTEN_FDNAMES": names}
    os.execv(sys.executable, [sys.executable, "-W", "error", *command])


if __name__ == "__main__":
    main(*sys.argv[1:])
