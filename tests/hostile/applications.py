"""Applications for the rows about running applications, and what is seen of them on the wire."""

from __future__ import annotations

import asyncio
from collections import Counter

from tests.http2.frames import Frame, Kind, split_frames
from tests.support.harness import Receive, Scope, Send, answer, body, start
from tests.support.http2 import Http2Client

MESSAGE = 16 * 1024


class Stubborn:
    """An application that does not care whether its client is there; it ends when it is let go, or cancelled."""

    def __init__(self) -> None:
        self.begun = self.most = 0
        self.running: Counter[str] = Counter()
        self.cancelled = 0
        self.gate = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.begun += 1
        self.running["now"] += 1
        self.most = max(self.most, self.running["now"])
        try:
            await self.gate.wait()
            await answer(send)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        except OSError:
            pass  # the client had left
        finally:
            self.running["now"] -= 1


class Download:
    """An application that sends as much as it may, in fresh bytes, and counts them."""

    def __init__(self) -> None:
        self.sent = self.ended = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        try:
            while True:
                self.sent += MESSAGE
                await send(body(bytes(MESSAGE), more=True))
        except OSError:
            self.ended += 1


def frames(client: Http2Client) -> list[Frame]:
    """What the server has sent, not judged: a client that reads nothing cannot complain."""
    return split_frames(client.transport.sent)[0]


def last_goaway(client: Http2Client) -> int:
    """The code of the last GOAWAY."""
    return int.from_bytes([frame for frame in frames(client) if frame.kind == Kind.GOAWAY][-1].payload[4:8], "big")
