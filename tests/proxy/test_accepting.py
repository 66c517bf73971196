"""Headers on real sockets and both kinds of event loop: what the acceptor counts, and gives up."""

from __future__ import annotations

import asyncio
from typing import Any

from keepserve.telemetry.reasons import CloseReason
from keepserve.telemetry.scoreboard import CONNECTIONS
from tests.proxy.headers import v2
from tests.server.test_acceptor import Fixture, accepting, on_both_loops, until
from tests.support.harness import GET

REQUIRED: dict[str, Any] = {"proxy_protocol": "require", "proxy_protocol_from": ("127.0.0.1",)}


@on_both_loops
async def test_a_request_in_the_same_packet_as_the_header_is_served() -> None:
    async with accepting(**REQUIRED) as fixture:
        (client,) = fixture.connect()
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(client, v2() + GET)
        assert (await loop.sock_recv(client, 4096)).startswith(b"HTTP/1.1 200 ")
        await loop.sock_sendall(client, GET)
        assert (await loop.sock_recv(client, 4096)).startswith(b"HTTP/1.1 200 ")
        (connection,) = fixture.state.connections
        assert connection.header is not None
        assert connection.header.source == ("203.0.113.7", 4711)


@on_both_loops
async def test_who_has_not_sent_a_header_is_a_connection_that_counts() -> None:
    async with accepting(**REQUIRED) as fixture:
        one, two = fixture.connect(2)
        await until(lambda: len(fixture.state.pending) == 2)
        assert fixture.seat[CONNECTIONS] == 2
        assert fixture.acceptor.pending
        await asyncio.get_running_loop().sock_sendall(one, v2())
        await fixture.accepted(1)
        assert (fixture.seat[CONNECTIONS], len(fixture.state.pending)) == (2, 1)
        two.close()
        await until(lambda: not fixture.state.pending)
        assert fixture.seat[CONNECTIONS] == 1


@on_both_loops
async def test_who_has_not_sent_a_header_is_given_up_in_the_end() -> None:
    async with accepting(**REQUIRED) as fixture:
        (client,) = fixture.connect()
        await asyncio.get_running_loop().sock_sendall(client, b"PROXY TCP4")
        await until(lambda: fixture.state.pending)
        fixture.acceptor.close(empty=False)
        fixture.acceptor.abort_pending()
        await until(fixture.still)
        assert fixture.state.closed[CloseReason.PROXY_HEADER] == 0


@on_both_loops
async def test_a_refused_connection_is_closed_and_forgotten() -> None:
    async with accepting(**REQUIRED) as fixture:
        (client,) = fixture.connect()
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(client, GET)
        assert await loop.sock_recv(client, 4096) == b""
        await until(fixture.still)
        assert fixture.seat[CONNECTIONS] == 0
        assert fixture.state.closed[CloseReason.PROXY_HEADER] == 1


@on_both_loops
async def test_a_header_that_does_not_come_is_waited_for_as_long_as_the_setting_says() -> None:
    async with accepting(**REQUIRED, proxy_protocol_timeout=0.2) as fixture:
        fixture.state.wheel.turn(asyncio.get_running_loop())
        (client,) = fixture.connect()
        begun = asyncio.get_running_loop().time()
        assert await asyncio.get_running_loop().sock_recv(client, 4096) == b""
        assert asyncio.get_running_loop().time() - begun >= 0.2
        assert fixture.state.closed[CloseReason.PROXY_HEADER] == 1
        fixture.state.wheel.stop()


@on_both_loops
async def test_a_stranger_is_closed_at_once() -> None:
    async with accepting(proxy_protocol="require", proxy_protocol_from=("127.0.0.2",)) as fixture:
        (client,) = fixture.connect()
        assert await asyncio.get_running_loop().sock_recv(client, 4096) == b""
        await until(fixture.still)
        assert fixture.state.closed[CloseReason.PROXY_HEADER] == 1


@on_both_loops
async def test_who_is_in_the_making_as_the_worker_ends_is_given_up_before_its_header() -> None:
    fixture = Fixture(**REQUIRED, proxy_protocol_timeout=60.0)
    fixture.acceptor.listen()
    clients = fixture.connect(2)
    fixture.acceptor.close(empty=True)  # accepts at once, within this turn of the loop
    assert len(fixture.state.pending) == 2
    fixture.acceptor.abort_pending()
    await until(fixture.still)
    for client in clients:
        assert await asyncio.get_running_loop().sock_recv(client, 4096) == b""
    fixture.clients.close()
