"""What tests of a worker's end share: time that passes for it, clients that behave, applications that do not."""

from __future__ import annotations

import asyncio

import keepserve
from tests.support.harness import Client, Receive, Scope, Send, Worker, body, get, start, turns


class Converses:
    """Converses until somebody says goodbye: ``/told`` when it is told, ``/deaf`` never."""

    def __init__(self) -> None:
        self.ended: dict[str, str] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        await send(start())
        await send(body(b"hello ", more=True))
        try:
            if path == "/told":
                await keepserve.until_draining()
            elif path == "/disconnect":
                while (await receive())["type"] != "http.disconnect":
                    pass
            else:
                await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.ended[path] = "cancelled"
            raise
        self.ended[path] = "told"
        await send(body(b"goodbye"))


async def live(worker: Worker, seconds: float) -> None:
    """Let time pass tick by tick, and the loop turn in between."""
    for _ in range(round(seconds * 10)):
        worker.tick(0.1)
        await turns(3)
        worker.drain.look()


def ask(worker: Worker, *paths: str) -> list[Client]:
    """A connection for each path, with a request for it."""
    clients = [worker.connect() for _ in paths]
    for client, path in zip(clients, paths, strict=True):
        client.send(get(path.encode()))
    return clients


def leave_after_answer(client: Client) -> None:
    """Close as a client does that was told ``Connection: close`` and has seen our FIN."""
    assert client.transport.events[-1] == "eof"
    client.eof()


class Stubborn:
    """An application that ignores its cancellation until it is released."""

    def __init__(self) -> None:
        self.release = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        while not self.release.is_set():
            try:
                await self.release.wait()
            except asyncio.CancelledError:
                pass
