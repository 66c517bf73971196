"""The ALB stand-in's HTTP/2 to a target: one connection for all requests at once, without TLS.

As with HTTP/1.1 a request has one try. That is stricter than HTTP/2 needs (RFC 9113 section 8.7 lets a client repeat
what a GOAWAY excluded), so a server has to say in time that it leaves.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import hpack

from tests.balancers.alb_targets import Connection, Fields, GatewayError, Pool, Reply, Request
from tests.http2.frames import (
    ACK,
    END_HEADERS,
    END_STREAM,
    PADDED,
    PREFACE,
    PRIORITY_PART,
    Frame,
    Kind,
    Setting,
    data,
    headers,
    ping,
    read_settings,
    rst,
    settings,
    split_frames,
    window_update,
)


class Stream:
    """A request on an HTTP/2 connection, and what has come of its answer."""

    def __init__(self, number: int, window: int) -> None:
        self.number = number
        self.window = window
        self.events: asyncio.Queue[tuple[int, Fields] | bytes | Exception | None] = asyncio.Queue()
        """Head, parts, None for the end or what went wrong."""
        self.over = False
        """Both sides are done with it."""


class Http2Connection(Connection):
    """One for many requests, by prior knowledge (RFC 9113 section 3.3)."""

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool)
        self.streams: dict[int, Stream] = {}
        self.leaving = False
        self._next = 1
        self._window = 65_535
        self._initial = 65_535
        self._widened = asyncio.Event()
        self._raw = b""
        self._block = b""
        self._encoder = hpack.Encoder()
        self._decoder = hpack.Decoder()

    def connection_made(self, transport: Any) -> None:
        """Begin: no push, and a window that no answer of these tests fills."""
        super().connection_made(transport)
        greeting = settings((Setting.ENABLE_PUSH, 0), (Setting.INITIAL_WINDOW_SIZE, 1 << 20))
        transport.write(PREFACE + greeting + window_update(0, 1 << 24))

    def connection_lost(self, exc: Exception | None) -> None:
        """The end: for each request that is under way, too."""
        if not self.streams and not self.leaving and self.open:
            self.pool.counted["closed_by_target"] += 1
        for stream in self.streams.values():
            stream.events.put_nowait(exc or EOFError("the target closed"))
        self._widened.set()
        super().connection_lost(exc)

    async def exchange(self, request: Request, reply: Reply) -> None:
        """One request among others."""
        stream = self.streams[self._next] = Stream(self._next, self._initial)
        self._next += 2
        self.busy()
        # In the same breath as the connection was taken: behind a GOAWAY read meanwhile no stream may be opened.
        self._open(stream, request)
        try:
            async with asyncio.timeout(self.pool.idle_timeout) as patience:

                def progress() -> None:
                    patience.reschedule(self.loop.time() + self.pool.idle_timeout)

                upload = asyncio.create_task(self._upload(stream, request, progress))
                try:
                    await self._download(stream, reply, progress)
                    stream.over = upload.done()
                finally:
                    upload.cancel()
                    with contextlib.suppress(asyncio.CancelledError, OSError):
                        await upload
        finally:
            del self.streams[stream.number]
            if not stream.over and self.open:
                self.transport.write(rst(stream.number))
            if not self.streams and self.open:
                if self.leaving:
                    self.close()
                else:
                    self.rest()

    async def _download(self, stream: Stream, reply: Reply, progress: Any) -> None:
        while (event := await stream.events.get()) is not None:
            progress()
            if isinstance(event, Exception):
                raise event
            if isinstance(event, bytes):
                await reply.data(event)
                if self.open and event:
                    self.transport.write(window_update(0, len(event)) + window_update(stream.number, len(event)))
            else:
                await reply.head(*event)

    def _open(self, stream: Stream, request: Request) -> None:
        host = dict(request.fields).get(b"host", b"")
        control = [(b":method", request.method), (b":scheme", b"http"), (b":path", request.path)]
        control.append((b":authority", host))
        fields = [field for field in request.fields if field[0] != b"host"]
        block = self._encoder.encode([*control, *fields])
        self.transport.write(headers(stream.number, block, end=request.length == 0))
        request.on_its_way.set()

    async def _upload(self, stream: Stream, request: Request, progress: Any) -> None:
        if request.length == 0:
            return
        async for part in request.body:
            while part and self.open:
                size = min(len(part), stream.window, self._window, 16_384)
                if size <= 0:
                    self._widened.clear()
                    await self._widened.wait()
                    continue
                await self.writable.wait()
                stream.window -= size
                self._window -= size
                self.transport.write(data(stream.number, part[:size]))
                part = part[size:]
                progress()
        self.transport.write(data(stream.number, end=True))

    def data_received(self, data: bytes) -> None:
        """Take frames apart."""
        frames, self._raw = split_frames(self._raw + data)
        for frame in frames:
            self._frame(frame)

    def _frame(self, frame: Frame) -> None:
        stream = self.streams.get(frame.stream)
        if frame.kind in (Kind.HEADERS, Kind.CONTINUATION):
            assert not frame.flags & (PADDED | PRIORITY_PART) or frame.kind == Kind.CONTINUATION, frame
            self._block += frame.payload
            if frame.has(END_HEADERS):
                fields = [(bytes(name), bytes(value)) for name, value in self._decoder.decode(self._block, raw=True)]
                self._block = b""
                status = int(dict(fields).get(b":status", b"0"))
                if stream is not None and status >= 200:
                    stream.events.put_nowait((status, [field for field in fields if field[0] != b":status"]))
        elif frame.kind == Kind.DATA:
            if stream is not None:
                stream.events.put_nowait(frame.payload)
            elif frame.payload:
                self.transport.write(window_update(0, len(frame.payload)))
        elif frame.kind == Kind.SETTINGS and not frame.has(ACK):
            for name, value in read_settings(frame.payload):
                if name == Setting.INITIAL_WINDOW_SIZE:
                    for one in self.streams.values():
                        one.window += value - self._initial
                    self._initial = value
            self._widened.set()
            self.transport.write(settings(ack=True))
        elif frame.kind == Kind.PING and not frame.has(ACK):
            self.transport.write(ping(frame.payload, ack=True))
        elif frame.kind == Kind.WINDOW_UPDATE:
            if stream is not None:
                stream.window += frame.number
            elif frame.stream == 0:
                self._window += frame.number
            self._widened.set()
        elif frame.kind == Kind.RST_STREAM:
            if stream is not None:
                stream.events.put_nowait(ConnectionResetError(f"{frame!r}"))
        elif frame.kind == Kind.GOAWAY:
            self._goaway(int.from_bytes(frame.payload[:4], "big"))
        if frame.kind in (Kind.HEADERS, Kind.DATA) and frame.has(END_STREAM) and stream is not None:
            stream.events.put_nowait(None)

    def _goaway(self, last: int) -> None:
        """No request goes this way any more (RFC 9113 section 6.8). Those above ``last`` have had their one try."""
        if not self.leaving:
            self.leaving = True
            self.pool.counted["told"] += 1
            self.pool.forget(self)
        for stream in self.streams.values():
            if stream.number > last:
                stream.events.put_nowait(ConnectionResetError(f"GOAWAY after {last}"))
        if not self.streams:
            self.close()


class Http2Pool(Pool):
    """One connection at a time takes new requests; a new one is made when it leaves."""

    kind = Http2Connection

    def __init__(self, port: int, idle_timeout: float) -> None:
        super().__init__(port, idle_timeout)
        self._connecting = asyncio.Lock()

    async def exchange(self, request: Request, reply: Reply, *, fresh: bool = False) -> None:
        """See ``Pool``."""
        if fresh:
            connection = await self.connect()
        else:
            async with self._connecting:
                if not self.connections:
                    self.connections.append(await self.connect())
                else:
                    self.counted["reused"] += 1
                connection = self.connections[-1]
        try:
            await connection.exchange(request, reply)
        except TimeoutError:
            raise GatewayError(504, "nothing from the target within the idle timeout") from None
        except (OSError, EOFError) as error:
            raise GatewayError(502, f"the target closed with an outstanding request: {error!r}") from None
        finally:
            if fresh:
                connection.close()
