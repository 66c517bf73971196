"""The ALB stand-in does what AWS documents of the original, in front of servers that each do one thing."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from tests.balancers.alb import Balancer, Plan, forwarded, traced
from tests.support.programs import free_port

HOST = "127.0.0.1"

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

POST = b"POST /it HTTP/1.1\r\nHost: example.org\r\nContent-Length: 2\r\n\r\nhi"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
UNHEALTHY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"


class Server:
    """A target: counts connections and requests, and does ``serve`` with each POST; health checks get 200."""

    def __init__(self, serve: Serve) -> None:
        self._serve = serve
        self.connections = 0
        self.heads: list[bytes] = []
        self.healthy = True
        self.checks: list[bytes] = []

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._client, HOST, 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def close(self) -> None:
        self._server.close()

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while not writer.is_closing():
                head = await reader.readuntil(b"\r\n\r\n")
                if head.startswith(b"GET /health "):
                    self.checks.append(head)
                    writer.write(OK if self.healthy else UNHEALTHY)
                    continue
                self.heads.append(head)
                await reader.readexactly(2)
                await self._serve(reader, writer)
        except (OSError, EOFError, asyncio.CancelledError):
            pass  # the load balancer went, or the test is over
        finally:
            writer.close()


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """What one hopes for."""
    writer.write(OK)


async def leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Close instead of an answer."""
    writer.close()


async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Let it wait."""
    await reader.read(1)


async def leave_within(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Close within the answer."""
    writer.write(OK[:-1])
    writer.close()


async def answer_and_close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """An answer, and no announcement of the end."""
    writer.write(OK)
    writer.close()


@contextlib.asynccontextmanager
async def balanced(*servers: Server, **attributes: Any) -> AsyncIterator[Balancer]:
    """A load balancer in front of these, all of them healthy."""
    for server in servers:
        await server.start()
    attributes = {"idle_timeout": 0.2, "health_path": "/health", "health_interval": 0.02} | attributes
    ports = tuple(server.port for server in servers)
    balancer = Balancer(Plan(port=free_port(), targets=ports, **attributes))
    await balancer.start()
    try:
        await until(lambda: all(target.state == "healthy" for target in balancer.targets))
        yield balancer
    finally:
        await balancer.stop()
        for server in servers:
            server.close()
        # Ends of connections are noticed a turn later, and then closed.
        await asyncio.sleep(0.01)


async def until(condition: Callable[[], Any]) -> None:
    """Wait for it."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  # what is waited for sets no event
            await asyncio.sleep(0.002)


async def ask(balancer: Balancer, request: bytes = POST) -> bytes:
    """What a client gets on a connection of its own, up to the end of the body."""
    reader, writer = await asyncio.open_connection(HOST, balancer.plan.port)
    try:
        writer.write(request)
        return await answer_of(reader)
    finally:
        writer.close()


async def answer_of(reader: asyncio.StreamReader) -> bytes:
    """Head and body."""
    head = await reader.readuntil(b"\r\n\r\n")
    found = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
    assert found, head
    return head + await reader.readexactly(int(found[1]))


def test_a_connection_is_reused_until_the_idle_timeout() -> None:
    async def run() -> None:
        server = Server(answer)
        async with balanced(server) as balancer:
            checks = len(server.checks)
            for _ in range(3):
                assert (await ask(balancer)).endswith(b"ok")
            pool = balancer.targets[0].pool
            assert pool.counted["reused"] == 2
            assert server.connections <= 1 + len(server.checks)
            assert len(pool.connections) == 1
            await until(lambda: not pool.connections)
            assert pool.counted["dropped"] == 1
            assert checks > 0

    asyncio.run(run())


def test_a_post_that_the_target_does_not_answer_is_a_502_and_not_repeated() -> None:
    async def run() -> None:
        server, other = Server(leave), Server(leave)
        async with balanced(server, other) as balancer:
            assert (await ask(balancer)).startswith(b"HTTP/1.1 502 ")
            assert len(server.heads) + len(other.heads) == 1

    asyncio.run(run())


def test_so_is_one_on_a_kept_connection_that_was_closed_unseen() -> None:
    async def run() -> None:
        answers = iter((answer, leave))
        server = Server(lambda reader, writer: next(answers)(reader, writer))
        async with balanced(server) as balancer:
            assert (await ask(balancer)).startswith(b"HTTP/1.1 200 ")
            assert (await ask(balancer)).startswith(b"HTTP/1.1 502 ")
            assert len(server.heads) == 2
            assert balancer.targets[0].pool.counted["reused"] == 1

    asyncio.run(run())


def test_a_kept_connection_that_was_closed_in_time_is_not_used() -> None:
    async def run() -> None:
        server = Server(answer_and_close)
        async with balanced(server) as balancer:
            pool = balancer.targets[0].pool
            for number in range(1, 3):
                assert (await ask(balancer)).startswith(b"HTTP/1.1 200 ")
                await until(lambda: not pool.connections)
                assert pool.counted["closed_by_target"] + pool.counted["told"] <= number
            assert pool.counted["reused"] == 0

    asyncio.run(run())


def test_silence_for_the_idle_timeout_is_a_504() -> None:
    async def run() -> None:
        async with balanced(Server(say_nothing), idle_timeout=0.05) as balancer:
            assert (await ask(balancer)).startswith(b"HTTP/1.1 504 ")

    asyncio.run(run())


def test_a_refused_connection_is_a_502_and_nobody_else_is_asked() -> None:
    async def run() -> None:
        server, other = Server(answer), Server(answer)
        async with balanced(server, other, health_interval=60) as balancer:
            server.close()
            answers = [await ask(balancer) for _ in range(2)]
            assert sorted(answer[9:12] for answer in answers) == [b"200", b"502"]

    asyncio.run(run())


def test_half_an_answer_is_cut_off_at_the_client_too() -> None:
    async def run() -> None:
        async with balanced(Server(leave_within)) as balancer:
            with pytest.raises(asyncio.IncompleteReadError):
                await ask(balancer)

    asyncio.run(run())


def test_health_checks_take_a_target_out_and_in_again() -> None:
    async def run() -> None:
        sick, well = Server(answer), Server(answer)
        async with balanced(sick, well, healthy_threshold=2, unhealthy_threshold=2) as balancer:
            target = balancer.targets[0]
            sick.healthy = False
            await until(lambda: target.state == "unhealthy")
            before = len(sick.heads)
            for _ in range(4):
                await ask(balancer)
            assert len(sick.heads) == before
            sick.healthy = True
            await until(lambda: target.state == "healthy")
            for _ in range(4):
                await ask(balancer)
            assert len(sick.heads) == before + 2
            assert b"user-agent: ELB-HealthChecker/2.0\r\n" in sick.checks[0]

    asyncio.run(run())


def test_with_nobody_healthy_it_fails_open_and_with_nobody_registered_it_says_503() -> None:
    async def run() -> None:
        server = Server(answer)
        async with balanced(server) as balancer:
            server.healthy = False
            await until(lambda: balancer.targets[0].state == "unhealthy")
            assert (await ask(balancer)).startswith(b"HTTP/1.1 200 ")
            balancer.deregister(server.port)
            assert (await ask(balancer)).startswith(b"HTTP/1.1 503 ")

    asyncio.run(run())


def test_a_deregistering_target_finishes_what_it_has_within_the_delay() -> None:
    async def run() -> None:
        going, release = asyncio.Event(), asyncio.Event()

        async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            going.set()
            await release.wait()
            writer.write(OK)

        server = Server(slow)
        async with balanced(server, idle_timeout=10, deregistration_delay=10) as balancer:
            asking = asyncio.ensure_future(ask(balancer))
            await going.wait()
            balancer.deregister(server.port)
            await asyncio.sleep(0.02)
            assert balancer.targets[0].state == "draining"
            release.set()
            assert (await asking).endswith(b"ok")
            await until(lambda: balancer.targets[0].state == "unused")
            assert balancer.targets[0].pool.connections == []

    asyncio.run(run())


def test_after_the_deregistration_delay_the_client_gets_502() -> None:
    async def run() -> None:
        server = Server(say_nothing)
        async with balanced(server, idle_timeout=10, deregistration_delay=0.05) as balancer:
            asking = asyncio.ensure_future(ask(balancer))
            await until(lambda: server.heads)
            balancer.deregister(server.port)
            assert (await asking).startswith(b"HTTP/1.1 502 ")

    asyncio.run(run())


def test_an_http11_client_of_an_http2_target_group_gets_464() -> None:
    async def run() -> None:
        balancer = Balancer(Plan(port=free_port(), protocol="HTTP2"))
        await balancer.start()
        assert (await ask(balancer)).startswith(b"HTTP/1.1 464 ")
        await balancer.stop()
        await asyncio.sleep(0)

    asyncio.run(run())


def test_the_client_is_appended_to_who_forwarded_before() -> None:
    given = [
        (b"host", b"example.org"),
        (b"connection", b"keep-alive"),
        (b"x-forwarded-for", b"203.0.113.7"),
        (b"x-forwarded-proto", b"https"),
        (b"x-forwarded-port", b"443"),
    ]
    got = dict(forwarded(given, "192.0.2.1", 80, 0.0))
    assert got[b"x-forwarded-for"] == b"203.0.113.7, 192.0.2.1"
    assert got[b"x-forwarded-proto"] == b"http"
    assert got[b"x-forwarded-port"] == b"80"
    assert got[b"host"] == b"example.org"
    assert b"connection" not in got


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, rb"Root=1-65a0c2f0-[0-9a-f]{24}"),
        (b"Root=1-67891233-abcdef012345678912345678", rb"Self=1-65a0c2f0-[0-9a-f]{24};Root=1-67891233-[0-9a-f]{24}"),
        (b"Self=1-1-2;Root=1-3-4;CalledFrom=app", rb"Self=1-65a0c2f0-[0-9a-f]{24};Root=1-3-4;CalledFrom=app"),
    ],
    ids=["none", "root", "self"],
)
def test_a_trace_identity_is_made_and_added_to(given: bytes | None, expected: bytes) -> None:
    assert re.fullmatch(expected, traced(given, 0x65A0C2F0))
