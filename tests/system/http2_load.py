"""POSTs by HTTP/2 without end, until the server says GOAWAY; and what became of each.

``python -m tests.system.http2_load PORT CONNECTIONS STREAMS SEED`` keeps so many streams open on each
connection. It says ``going`` when all of them have had answers, and tells at the end, as JSON, how many requests

* ``completed``: a 200 whose body is right,
* ``refused``: RST_STREAM with REFUSED_STREAM, or above the last stream of the last GOAWAY: safe to send again,
* were ``lost``: anything else, with words for the first few.

``app`` is the application it talks to.
"""

from __future__ import annotations

import asyncio
import collections
import json
import random
import struct
import sys
import zlib
from collections.abc import Awaitable, Callable
from typing import Any

import hpack

from tests.http2.frames import (
    ACK,
    END_STREAM,
    PREFACE,
    Code,
    Frame,
    Kind,
    data,
    headers,
    ping,
    request_block,
    settings,
    split_frames,
    window_update,
)

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

NO_LIMIT = 2**31 - 1
PATIENCE = 30.0
"""Seconds from the start after which something hangs."""

_BLOCK = request_block(b"POST", b"/sum")
_GREETING = PREFACE + settings() + settings(ack=True)


async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Answer with the length and a checksum of the body, after up to 30 ms."""
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message["body"]
        if not message["more_body"]:
            break
    await asyncio.sleep(zlib.crc32(body) % 31 / 1000)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": told(body)})


def told(body: bytes) -> bytes:
    """What the application says of a body."""
    return b"%d %d" % (len(body), zlib.crc32(body))


class Post:
    """A request under way: ``body`` is what the answer must tell of, ``answer`` what has come of it."""

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.answer = b""
        self.status = b""


class Load(asyncio.Protocol):
    """One connection.

    One in two closes when all is answered, the others leave that to the server. One in ten is hard of hearing: it
    answers no PING, and opens streams until the second GOAWAY, as if the first were very long on its way.
    """

    def __init__(self, streams: int, seed: int) -> None:
        self.going = asyncio.Event()
        """As many requests have been answered as are open at once."""
        self.done = asyncio.Event()
        """The connection is over."""
        self.outcomes: collections.Counter[str] = collections.Counter()
        self.losses: list[str] = []
        self.reset = False
        """The connection did not end by FIN."""
        self._chance = random.Random(seed)
        self._leaves_first = seed % 2 == 0
        self._deaf = seed % 10 == 3
        self._wanted = streams
        self._open: dict[int, Post] = {}
        self._next = 1
        self._named = NO_LIMIT
        self._opens = False
        self._partial = b""
        self._window = 65_535
        self._unread = 0
        self._decoder = hpack.Decoder()

    # asyncio's part.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(_GREETING)

    def data_received(self, octets: bytes) -> None:
        frames, self._partial = split_frames(self._partial + octets)
        for frame in frames:
            self._take(frame)
        if self._unread > 30_000:
            self._transport.write(window_update(0, self._unread))
            self._unread = 0
        if self._opens:
            self._fill()
        elif not self._open and self._named != NO_LIMIT and self._leaves_first:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.reset = exc is not None
        how = f"the connection ended ({exc!r}) after GOAWAY({self._named})"
        for number in list(self._open):
            if number > self._named:
                self._ended(number, "refused")
            else:
                self._ended(number, "lost", how)
        self.done.set()

    # HTTP/2.

    def begin(self) -> None:
        """Open streams, now and whenever one is over."""
        self._opens = True
        self._fill()

    def _fill(self) -> None:
        """Open as many streams as are wanted and the connection's window allows."""
        out = []
        while len(self._open) < self._wanted and self._window >= 3000:
            number, self._next = self._next, self._next + 2
            body = self._chance.randbytes(self._chance.randrange(3000))
            self._open[number] = Post(body)
            self._window -= len(body)
            cut = self._chance.randrange(len(body) + 1)
            out += [headers(number, _BLOCK), data(number, body[:cut]), data(number, body[cut:], end=True)]
        if out:
            self._transport.write(b"".join(out))

    def _take(self, frame: Frame) -> None:
        number = frame.stream
        if frame.kind == Kind.DATA:
            self._unread += len(frame.payload)
            if number in self._open:
                self._open[number].answer += frame.payload
                self._judge(frame)
        elif frame.kind == Kind.HEADERS:
            # Every block is decoded: the next ones may refer to it.
            fields = self._decoder.decode(frame.payload, raw=True)
            if number in self._open:
                self._open[number].status = bytes(fields[0][1])
                self._judge(frame)
        elif frame.kind == Kind.RST_STREAM and number in self._open:
            if frame.number == Code.REFUSED_STREAM:
                self._ended(number, "refused")
            else:
                self._ended(number, "lost", f"RST_STREAM {frame.number}")
        elif frame.kind == Kind.PING and not frame.has(ACK) and not self._deaf:
            self._transport.write(ping(frame.payload, ack=True))
        elif frame.kind == Kind.WINDOW_UPDATE and not number:
            self._window += frame.number
        elif frame.kind == Kind.GOAWAY:
            self._named, code = struct.unpack_from(">LL", frame.payload)
            self._opens = self._deaf and self._named == NO_LIMIT
            if code:
                self.losses.append(f"GOAWAY {code} {frame.payload[8:]!r}")

    def _judge(self, frame: Frame) -> None:
        """A response may be complete now."""
        if not frame.has(END_STREAM):
            return
        post = self._open[frame.stream]
        if post.status == b"200" and post.answer == told(post.body):
            self._ended(frame.stream, "completed")
            if self.outcomes["completed"] == self._wanted:
                self.going.set()
        else:
            self._ended(frame.stream, "lost", f"{post.status!r} {post.answer!r}")

    def _ended(self, number: int, outcome: str, how: str = "") -> None:
        del self._open[number]
        self.outcomes[outcome] += 1
        if how:
            self.losses.append(f"stream {number}: {how}")


async def main(port: int, connections: int, streams: int, seed: int) -> dict[str, Any]:
    """Run the load to its end; what became of the requests."""
    loop = asyncio.get_running_loop()
    made = [
        await loop.create_connection(lambda seed=seed * 1000 + number: Load(streams, seed), "127.0.0.1", port)
        for number in range(connections)
    ]
    loads = [load for _, load in made]
    async with asyncio.timeout(PATIENCE):
        for load in loads:
            load.begin()
        for load in loads:
            await load.going.wait()
        print("going", flush=True)
        for load in loads:
            await load.done.wait()
    outcomes = sum((load.outcomes for load in loads), collections.Counter())
    return {
        "completed": outcomes["completed"],
        "refused": outcomes["refused"],
        "lost": outcomes["lost"],
        "resets": sum(load.reset for load in loads),
        "losses": [loss for load in loads for loss in load.losses][:10],
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(*map(int, sys.argv[1:])))))
