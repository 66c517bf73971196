"""What tests of HTTP/2 connections share, most of all a strict client at the far end of a ``FakeTransport``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.http2.client import Client as StrictClient
from tests.http2.client import Response
from tests.http2.frames import PREFACE, Frame, Kind, ping, settings
from tests.support.harness import Receive, Scope, Send, Worker, answer, turns


class Http2Client:
    """One connection that speaks HTTP/2 without TLS.

    ``await client.turn()`` lets everything run that can, and judges what came. ``client.client`` is the
    connection's end as every test of the server sees it.
    """

    def __init__(
        self,
        worker: Worker,
        *,
        greeted: bool = True,
        own_settings: Sequence[tuple[int, int]] = (),
        capacity: int | None = None,
        **facts: Any,
    ) -> None:
        self.client = worker.connect(capacity, **facts)
        self.transport = self.client.transport
        self.peer = StrictClient()
        self._judged = 0
        if greeted:
            self.send(PREFACE, settings(*own_settings), settings(ack=True))

    def send(self, *octets: bytes) -> None:
        """Let all of it arrive in one read."""
        data = b"".join(octets)
        self.peer.sends(data)
        self.client.send(data)

    async def turn(self, count: int = 10) -> None:
        """Let everything that is ready run, then look at what came."""
        await turns(count)
        self.look()

    def look(self) -> None:
        """Judge what came, and hold the server to all that it has been told by now."""
        sent = self.transport.sent
        self.peer.receives(sent[self._judged :])
        self._judged = len(sent)
        if not self.client.connection.engine.backlog:
            self.peer.settle()

    def pong(self) -> None:
        """Answer the last PING that came."""
        self.send(ping(self.came(Kind.PING)[-1].payload, ack=True))

    def came(self, *kinds: Kind) -> list[Frame]:
        """Frames of these kinds, as far as they have been looked at."""
        return [frame for frame in self.peer.frames if frame.kind in kinds]

    def response(self, stream: int) -> Response:
        """What has come of a response."""
        return self.peer.streams[stream].response

    def body(self, stream: int) -> bytes:
        """What has come of its body."""
        return self.response(stream).body

    def whole(self, *streams: int) -> bool:
        """Whether all of these responses are complete."""
        return all(self.response(number).whole for number in streams)

    def reset_code(self, stream: int) -> int | None:
        """The code of the RST_STREAM that came for this stream."""
        codes = [frame.number for frame in self.came(Kind.RST_STREAM) if frame.stream == stream]
        return codes[-1] if codes else None

    @property
    def goaways(self) -> list[tuple[int, int]]:
        """Last stream and code of each GOAWAY."""
        return [
            (int.from_bytes(frame.payload[:4], "big"), int.from_bytes(frame.payload[4:8], "big"))
            for frame in self.came(Kind.GOAWAY)
        ]


def stop(worker: Worker) -> None:
    """What the server does first when it is told to stop."""
    worker.drain.stop()


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Say how the request came, and what was in it."""
    got = b""
    while True:
        message = await receive()
        got += message["body"]
        if not message["more_body"]:
            break
    await answer(send, f"{scope['http_version']} {scope['method']} {scope['path']} ".encode() + got)
