"""Applications for tests."""

from __future__ import annotations

import asyncio

from tests.support.harness import Receive, Scope, Send, answer, body, start


class Seen:
    """An application that keeps the scopes it is called with."""

    def __init__(self) -> None:
        self.scopes: list[Scope] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        await answer(send)


class Slow:
    """An application whose requests wait for the test's permission, in ``gates`` by path."""

    def __init__(self) -> None:
        self.gates: dict[str, asyncio.Event] = {}
        self.started: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        self.started.append(path)
        await self.gates.setdefault(path, asyncio.Event()).wait()
        await answer(send, path.encode())

    def open(self, path: str) -> None:
        """Let a request go on."""
        self.gates.setdefault(path, asyncio.Event()).set()


class Streams:
    """An application that sends for ever, and what ended it."""

    def __init__(self) -> None:
        self.ended: BaseException | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        try:
            while True:
                await send(body(b"x" * 10_000, more=True))
        except BaseException as error:
            self.ended = error
            raise
