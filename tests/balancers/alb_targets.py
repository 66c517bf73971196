"""The target side of the ALB stand-in: what it does with connections, and with HTTP/1.1 (``alb_http2``: HTTP/2).

A request has one try, whatever its method and whatever became of it: AWS documents none that is repeated. A
connection is dropped when nothing has gone over it for the idle timeout, and left alone when the target closed it
and that was seen in time. What a client gets if it was not seen in time is documented for the load balancer:

* 502: the target refused the connection, or closed it (RST or FIN) with an outstanding request, or sent no HTTP;
* 504: no connection within ten seconds, or nothing from the target within the idle timeout.

https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-troubleshooting.html
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any, Protocol

HOST = "127.0.0.1"
CONNECT_TIMEOUT = 10.0
"""Seconds; documented, and not to be changed."""

Fields = list[tuple[bytes, bytes]]

OF_A_CONNECTION = {b"connection", b"keep-alive", b"proxy-connection", b"te", b"transfer-encoding", b"upgrade"}
"""Fields that end at the balancer (RFC 9110 section 7.6.1)."""


class GatewayError(Exception):
    """What the client gets instead of the target's answer: a status, and why."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


@dataclasses.dataclass
class Request:
    """A request for a target. ``length`` of the body is None when it is chunked.

    ``on_its_way``: its head has been sent, so that it needs no new connection any more.
    """

    method: bytes
    path: bytes
    fields: Fields
    body: AsyncIterator[bytes]
    length: int | None = 0
    on_its_way: asyncio.Event = dataclasses.field(default_factory=asyncio.Event)


class Reply(Protocol):
    """Where an answer goes."""

    async def head(self, status: int, fields: Fields) -> None:
        """Take status and fields."""

    async def data(self, part: bytes) -> None:
        """Take a part of the body."""


class Connection(asyncio.Protocol):
    """A TCP connection to a target that its pool is told of."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.open = True
        self.loop = asyncio.get_running_loop()
        self.transport: Any = None
        self.writable = asyncio.Event()
        self.writable.set()
        self._alarm: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Begin."""
        self.transport = transport
        self.pool.counted["connections"] += 1

    def pause_writing(self) -> None:
        """The target takes nothing at the moment."""
        self.writable.clear()

    def resume_writing(self) -> None:
        """It does again."""
        self.writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """The end, by whomever."""
        self.close()

    def rest(self) -> None:
        """Nothing is under way any more: it is closed unless it is used within the idle timeout."""
        self._alarm = self.loop.call_later(self.pool.idle_timeout, self._expired)

    def busy(self) -> None:
        """It is in use."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _expired(self) -> None:
        self.pool.counted["dropped"] += 1
        self.close()

    def close(self) -> None:
        """Close it, for good."""
        self.busy()
        if self.open:
            self.open = False
            self.writable.set()
            self.pool.forget(self)
            if self.transport is not None:
                self.transport.close()


class Pool:
    """The connections of a load balancer to one target; this one for HTTP/1.1, one request at a time on each."""

    kind: type[Connection]

    def __init__(self, port: int, idle_timeout: float) -> None:
        self.port = port
        self.idle_timeout = idle_timeout
        self.connections: list[Connection] = []
        """Those that can take a request, the last used last."""
        self.counted: Counter[str] = Counter()

    def forget(self, connection: Connection) -> None:
        """Give it no request any more."""
        if connection in self.connections:
            self.connections.remove(connection)

    def close(self) -> None:
        """Close all that are at rest."""
        for connection in list(self.connections):
            connection.close()

    async def connect(self) -> Any:
        """Make a new connection; GatewayError when none comes about."""
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                loop = asyncio.get_running_loop()
                _, connection = await loop.create_connection(lambda: self.kind(self), HOST, self.port)
        except TimeoutError:
            raise GatewayError(504, "no connection to the target") from None
        except OSError as error:
            raise GatewayError(502, f"the target refused the connection: {error}") from None
        return connection

    async def exchange(self, request: Request, reply: Reply, *, fresh: bool = False) -> None:
        """Send a request and give its answer to ``reply``; GatewayError when the target does not answer.

        ``fresh`` takes a connection of its own and closes it, as a health check does.
        """
        raise NotImplementedError


class Http1Connection(Connection):
    """One that carries a request at a time."""

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool)
        self.resting = False
        self.reader = asyncio.StreamReader()

    def connection_made(self, transport: Any) -> None:
        """Begin."""
        super().connection_made(transport)
        self.reader.set_transport(transport)

    def data_received(self, data: bytes) -> None:
        """A part of an answer; unasked for, it is the end."""
        if self.resting:
            self.close()
        else:
            self.reader.feed_data(data)

    def eof_received(self) -> bool:
        """The target has closed: between requests that is its good right, and harmless as it was seen."""
        if self.resting:
            self.pool.counted["closed_by_target"] += 1
            self.close()
        else:
            self.reader.feed_eof()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The end, by whomever."""
        if exc is not None:
            self.reader.set_exception(exc)
        else:
            self.reader.feed_eof()
        super().connection_lost(exc)

    async def exchange(self, request: Request, reply: Reply) -> bool:
        """One request; tell whether the connection can take another."""
        # The idle timeout runs from the last byte in either direction.
        async with asyncio.timeout(self.pool.idle_timeout) as patience:

            def progress() -> None:
                patience.reschedule(self.loop.time() + self.pool.idle_timeout)

            upload = asyncio.create_task(self._upload(request, progress))
            try:
                status, fields = await self._head()
                await reply.head(status, [field for field in fields if field[0] not in OF_A_CONNECTION])
                async for part in self._body(request.method, status, dict(fields)):
                    progress()
                    await reply.data(part)
                if not upload.done():
                    return False
            finally:
                upload.cancel()
                with contextlib.suppress(asyncio.CancelledError, OSError):
                    await upload
        if b"close" in dict(fields).get(b"connection", b"").lower():
            self.pool.counted["told"] += 1
            return False
        return True

    async def _upload(self, request: Request, progress: Any) -> None:
        lines = [b"%b %b HTTP/1.1" % (request.method, request.path)]
        lines += [b"%b: %b" % field for field in request.fields]
        if request.length is None:
            lines.append(b"transfer-encoding: chunked")
        self.transport.write(b"\r\n".join(lines) + b"\r\n\r\n")
        request.on_its_way.set()
        async for part in request.body:
            await self.writable.wait()
            self.transport.write(part if request.length is not None else b"%x\r\n%b\r\n" % (len(part), part))
            progress()
        if request.length is None:
            self.transport.write(b"0\r\n\r\n")

    async def _head(self) -> tuple[int, Fields]:
        while True:
            raw = await self.reader.readuntil(b"\r\n\r\n")
            first, *lines = raw[:-4].split(b"\r\n")
            version, code, *_ = first.split(b" ")
            if not version.startswith(b"HTTP/1."):
                raise GatewayError(502, f"the target sent no HTTP: {first!r}")
            if int(code) >= 200:
                split = (line.partition(b":") for line in lines)
                return int(code), [(name.lower(), value.strip()) for name, _, value in split]

    async def _body(self, method: bytes, status: int, fields: dict[bytes, bytes]) -> AsyncIterator[bytes]:
        if method == b"HEAD" or status in (204, 304):
            return
        if fields.get(b"transfer-encoding") == b"chunked":
            while size := int(await self.reader.readuntil(b"\r\n"), 16):
                yield await self.reader.readexactly(size)
                await self.reader.readexactly(2)
            await self.reader.readexactly(2)
            return
        left = int(fields.get(b"content-length", b"0"))
        while left:
            part = await self.reader.read(min(left, 65536))
            if not part:
                raise asyncio.IncompleteReadError(b"", left)
            left -= len(part)
            yield part


class Http1Pool(Pool):
    """The last one that became free is the next one used; the others come of age."""

    kind = Http1Connection

    async def exchange(self, request: Request, reply: Reply, *, fresh: bool = False) -> None:
        """See ``Pool``."""
        connection: Any = None
        if self.connections and not fresh:
            connection = self.connections.pop()
            connection.busy()
            connection.resting = False
            self.counted["reused"] += 1
        else:
            connection = await self.connect()
        again = False
        try:
            again = await connection.exchange(request, reply)
        except TimeoutError:
            raise GatewayError(504, "nothing from the target within the idle timeout") from None
        except (OSError, EOFError, ValueError) as error:
            raise GatewayError(502, f"the target closed with an outstanding request: {error!r}") from None
        finally:
            if again and connection.open and not fresh:
                connection.resting = True
                connection.rest()
                self.connections.append(connection)
            else:
                connection.close()
