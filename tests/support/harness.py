"""A worker without sockets: real connections, exchanges and engines over fake transports and clocks."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from typing import Any

from keepserve.config import Settings
from keepserve.server.connection import Connection
from keepserve.server.drain import Drain
from keepserve.server.preamble import Preamble
from keepserve.server.state import WorkerState
from keepserve.wire.engine import Ending
from tests.support.answers import Answer, read_answers
from tests.support.clock import FakeClock
from tests.support.transport import FakeTransport

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Coroutine[Any, Any, None]]

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


def get(target: bytes = b"/", *lines: bytes) -> bytes:
    """A GET with these field lines."""
    return b"GET " + target + b" HTTP/1.1\r\nHost: x\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


def post(body: bytes = b"", *lines: bytes, length: int | None = None, target: bytes = b"/") -> bytes:
    """A POST whose Content-Length is ``length``, or that of what is here of its body."""
    size = len(body) if length is None else length
    head = b"POST " + target + b" HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n" % size
    return head + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body


def start(status: int = 200, *headers: tuple[bytes, bytes], **more: Any) -> dict[str, Any]:
    """The message that begins a response."""
    return {"type": "http.response.start", "status": status, "headers": list(headers), **more}


def body(data: bytes = b"", more: bool = False) -> dict[str, Any]:
    """A message with some of its body."""
    return {"type": "http.response.body", "body": data, "more_body": more}


async def answer(send: Send, data: bytes = b"", status: int = 200) -> None:
    """Send a whole response."""
    await send(start(status, (b"content-type", b"text/plain")))
    await send(body(data))


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that says which path was asked for."""
    await answer(send, scope["path"].encode())


async def turns(count: int = 10) -> None:
    """Let everything that is ready run."""
    for _ in range(count):
        await asyncio.sleep(0)


class Client:
    """One connection and the peer's end of it."""

    def __init__(self, worker: Worker, transport: FakeTransport, tls: bool) -> None:
        self.transport = transport
        self.connection = Connection(worker.state, tls)
        required = worker.state.settings.proxy_protocol != "off"
        transport.attach(Preamble(worker.state, self.connection, self.connection) if required else self.connection)

    def send(self, data: bytes) -> None:
        """Let bytes arrive, unless the server has stopped reading."""
        assert self.transport.reading, "the server does not read"
        self.transport.deliver(data)

    def eof(self) -> None:
        """Send a FIN; the transport closes if the protocol says so, as real ones do."""
        self.transport.end()

    def answers(self, *methods: bytes) -> list[Answer]:
        """All responses so far."""
        closed = self.transport.is_closing() or bool(self.connection.engine.ending)
        return read_answers(self.transport.sent, methods, closed=closed)

    @property
    def statuses(self) -> list[int]:
        """Their statuses."""
        return [answer.status for answer in self.answers()]

    @property
    def ending(self) -> Ending:
        """How the connection is to end."""
        return self.connection.engine.ending


class Listeners:
    """Listening sockets that only remember what was done to them; ``pending`` are connections in the making."""

    def __init__(self) -> None:
        self.closed: list[str] = []
        self.pending = 0

    def close(self, *, empty: bool) -> None:
        """Stop accepting."""
        self.closed.append("emptied" if empty else "left to siblings")


class Worker:
    """What all connections share, with clocks that a test moves. Make it inside a running loop."""

    def __init__(self, app: App = hello, **settings: Any) -> None:
        settings.setdefault("access_log", False)
        settings.setdefault("date_header", False)
        self.clock = FakeClock(1000.0)
        self.wall = FakeClock(784111777.0)
        self.access = settings.pop("access", None)
        common = settings.pop("common", None)
        self.state = WorkerState(
            Settings(**settings),
            app,
            asyncio.get_running_loop(),
            access=self.access,
            clock=self.clock,
            wall=self.wall,
            spread=lambda: 0.5,
            common=common,
        )
        self.listeners = Listeners()
        self.drain = Drain(self.state, self.listeners)
        """``stop()``, ``leave()`` and ``hurry()`` begin the worker's end; time and ``look()`` move it on."""

    def connect(self, capacity: int | None = None, *, tls: bool = False, **facts: Any) -> Client:
        """Accept a connection; see ``FakeTransport``."""
        client = Client(self, FakeTransport(capacity, **facts), tls)
        if len(self.state.connections) > self.state.capacity.watch:
            self.state.capacity.enter()  # as the acceptor does
        return client

    def tick(self, seconds: float = 0.0) -> None:
        """Let time pass, and the wheel look; the end of the worker goes on if it has begun."""
        self.state.wheel.sweep(self.clock.advance(seconds))
        if self.state.draining:
            self.drain.look()

    def live(self, seconds: float) -> None:
        """Let time pass as it does, in ticks."""
        for _ in range(round(seconds * 10)):
            self.tick(0.1)

    @property
    def closed(self) -> dict[str, int]:
        """How many connections closed, by reason."""
        return {reason.value: count for reason, count in self.state.closed.items() if count}


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a coroutine function in a loop of its own; fail if it leaves a task behind or an error in the loop."""

    async def guarded() -> None:
        faults: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: faults.append(context))
        async with asyncio.timeout(10):
            await test()
            await turns()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        assert not faults, faults
        assert not left, left

    asyncio.run(guarded())


def in_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Make a test of a coroutine function: ``run`` around it, its parameters left as pytest sees them."""

    def wrapper(*args: Any, **kwargs: Any) -> None:
        run(lambda: test(*args, **kwargs))

    wrapper.__name__ = test.__name__
    wrapper.__doc__ = test.__doc__
    wrapper.__module__ = test.__module__
    wrapper.__signature__ = inspect.signature(test)  # type: ignore[attr-defined]
    wrapper.pytestmark = getattr(test, "pytestmark", [])  # type: ignore[attr-defined]
    return wrapper
