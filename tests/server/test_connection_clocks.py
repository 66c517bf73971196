"""The worker's clock and a connection: idle, stalled, overloaded, draining; time moves only when told."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from tests.support.harness import GET, Receive, Scope, Send, Worker, answer, body, get, in_loop, post, start, turns

# Idle.


@in_loop
async def test_an_idle_connection_closes_at_its_time_and_not_before() -> None:
    worker = Worker(lb_idle_timeout=60.0, keep_alive_timeout=80.0)
    client = worker.connect()
    client.send(GET)
    await turns()
    worker.tick()  # the answer has left: the idle clock starts
    worker.tick(79.9)
    await turns()
    assert client.transport.events == []
    worker.tick(0.2)
    await turns()
    assert client.transport.events == ["close"]
    assert worker.closed == {"idle_timeout": 1}


@in_loop
async def test_the_idle_clock_waits_for_the_last_byte_to_leave() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"x" * 50_000)

    worker = Worker(app, keep_alive_timeout=80.0, write_timeout=1000.0, write_min_rate=0)
    client = worker.connect(capacity=0)
    client.send(GET)
    await turns()
    for _ in range(10):
        worker.tick(50.0)
    assert client.transport.events == []
    client.transport.take(100_000)
    worker.tick(0.1)
    worker.tick(79.9)
    assert client.transport.events == []
    worker.tick(0.2)
    assert client.transport.events == ["close"]
    await turns()


@in_loop
async def test_traffic_keeps_a_connection_alive() -> None:
    worker = Worker(keep_alive_timeout=80.0)
    client = worker.connect()
    for _ in range(20):
        client.send(GET)
        await turns()
        worker.tick()
        worker.tick(79.0)
    assert client.statuses == [200] * 20
    assert client.transport.events == []
    client.transport.lose()


@in_loop
async def test_bytes_nobody_has_read_yet_save_an_idle_connection() -> None:
    """The balancer sent a request in the very moment we looked at the clock."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        worker = Worker(keep_alive_timeout=80.0)
        client = worker.connect(sock=ours)
        worker.tick()
        theirs.send(GET)
        worker.tick(80.2)
        assert client.transport.events == []
        client.send(ours.recv(1000))
        await turns()
        assert client.statuses == [200]
        assert client.answers()[0].closes
        assert client.transport.events == ["eof"]
        client.eof()
        await turns()
    assert worker.closed == {"idle_timeout": 1}


@in_loop
async def test_an_idle_socket_without_bytes_is_closed() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        worker = Worker(keep_alive_timeout=80.0)
        client = worker.connect(sock=ours)
        worker.tick()
        worker.tick(80.2)
        assert client.transport.events == ["close"]
        await turns()


@in_loop
async def test_a_slow_head_is_answered_408() -> None:
    worker = Worker()
    client = worker.connect()
    client.send(b"GET / HTTP/1.1\r\n")
    worker.tick()
    worker.tick(9.9)
    assert client.transport.sent == b""
    worker.tick(0.2)
    assert client.statuses == [408]
    assert client.transport.events == ["eof"]
    client.eof()
    await turns()
    assert worker.closed == {"head_timeout": 1}


@in_loop
async def test_a_slow_body_is_answered_408_and_its_application_told() -> None:
    seen: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while not seen or seen[-1] != "http.disconnect":
            seen.append((await receive())["type"])

    worker = Worker(app)
    client = worker.connect()
    client.send(post(b"a", length=1000))
    await turns()
    worker.live(20.2)
    await turns()
    assert client.statuses == [408]
    assert seen == ["http.request", "http.disconnect"]
    client.transport.lose()
    assert worker.closed == {"body_timeout": 1}


# Too much at once.


@in_loop
async def test_above_the_limit_of_running_requests_the_answer_is_503_and_the_connection_stays() -> None:
    gate = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/slow":
            await gate.wait()
        await answer(send)

    worker = Worker(app, limit_concurrency=2, limit_concurrency_wait=0.0)
    idle = [worker.connect() for _ in range(10)]
    busy = [worker.connect() for _ in range(2)]
    for client in busy:
        client.send(get(b"/slow"))
    await turns()
    idle[0].send(get(b"/"))
    await turns()
    (refusal,) = idle[0].answers()
    assert (refusal.status, refusal.get(b"retry-after"), refusal.closes) == (503, b"1", False)
    assert "limit of concurrent requests" in refusal.text
    gate.set()
    await turns()
    idle[0].send(get(b"/"))
    await turns()
    assert idle[0].statuses == [503, 200]
    assert [client.statuses for client in busy] == [[200], [200]]
    assert idle[0].transport.events == []


@in_loop
async def test_an_application_that_works_on_after_its_response_still_counts_as_running() -> None:
    gate = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send)
        await gate.wait()

    worker = Worker(app, limit_concurrency=1, limit_concurrency_wait=0.0)
    client = worker.connect()
    client.send(GET)
    await turns()
    client.send(GET)
    await turns()
    assert client.statuses == [200, 503]
    gate.set()
    await turns()


# The date, and draining.


@in_loop
async def test_the_date_is_fresh_before_each_tick_s_answers() -> None:
    worker = Worker(date_header=True)
    client = worker.connect()
    client.send(GET)
    await turns()
    worker.wall.advance(1.0)
    worker.state._refresh()
    client.send(GET)
    await turns()
    assert [answer.get(b"date") for answer in client.answers()] == [
        b"Sun, 06 Nov 1994 08:49:37 GMT",
        b"Sun, 06 Nov 1994 08:49:38 GMT",
    ]


@in_loop
async def test_the_wheel_keeps_the_date_while_there_are_connections() -> None:
    worker = Worker(date_header=True)
    worker.state.wheel.turn(worker.state.loop)
    worker.wall.advance(60.0)
    client = worker.connect()
    client.send(GET)
    await turns()
    assert client.answers()[0].get(b"date") == b"Sun, 06 Nov 1994 08:50:37 GMT"
    worker.state.wheel.stop()


@in_loop
async def test_a_drain_gives_idle_connections_their_grace_and_closes_them() -> None:
    worker = Worker(drain_idle=5.0)
    client = worker.connect()
    worker.tick()
    worker.drain.stop()
    worker.live(4.9)
    assert client.transport.events == []
    worker.live(0.3)
    assert client.transport.events == ["close"]
    await turns()
    assert worker.closed == {"draining": 1}


@in_loop
async def test_a_connection_accepted_while_draining_is_served_once() -> None:
    worker = Worker(drain_idle=5.0)
    worker.listeners.pending = 1
    worker.drain.stop()
    client = worker.connect()
    client.send(GET)
    await turns()
    assert client.answers()[0].closes
    client.eof()
    await turns()
    assert worker.closed == {"draining": 1}


@pytest.mark.parametrize("begun", [False, True])
@in_loop
async def test_a_cut_tells_the_client_that_its_answer_will_not_come(begun: bool) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if begun:
            await send(start())
            await send(body(b"some", more=True))
        while (await receive())["type"] != "http.disconnect":
            pass

    worker = Worker(app)
    client = worker.connect()
    client.send(GET)
    await turns()
    worker.drain.stop()
    client.connection.cut()
    await turns()
    (said,) = client.answers()
    if begun:
        assert (said.status, said.whole) == (200, False)
        assert worker.closed == {"cut": 1}
    else:
        assert (said.status, said.closes) == (503, True)
        assert worker.closed == {"draining": 1}
