"""A connection between a fake socket and a fake clock: writing, reading, pipelining, and how it ends."""

from __future__ import annotations

import asyncio

import pytest

from keepserve.server.connection import BODY_HIGH_WATER, GATHER_FROM, GATHER_UP_TO, WRITE_HIGH_WATER
from tests.support.applications import Slow
from tests.support.harness import GET, Receive, Scope, Send, Worker, answer, body, get, in_loop, post, start, turns

# Writing.


@in_loop
async def test_a_response_is_one_write() -> None:
    client = Worker().connect()
    client.send(GET)
    await turns()
    assert len(client.transport.writes) == 1
    assert client.statuses == [200]


@in_loop
async def test_a_response_in_parts_is_written_as_it_comes() -> None:
    gate = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        await send(body(b"one", more=True))
        await gate.wait()
        await send(body(b"two"))

    client = Worker(app).connect()
    client.send(GET)
    await turns()
    assert client.answers()[0].body == b"one"
    gate.set()
    await turns()
    assert client.answers()[0].body == b"onetwo"
    assert len(client.transport.writes) == 2


@pytest.mark.parametrize("gathers", [True, False])
@in_loop
async def test_a_large_body_is_written_whole(gathers: bool) -> None:
    data = bytes(range(256)) * 4000

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, data)

    worker = Worker(app)
    worker.state.gathers_writes = gathers
    client = worker.connect()
    client.send(GET)
    await turns()
    assert client.answers()[0].body == data


@in_loop
async def test_a_streaming_application_waits_for_a_slow_client() -> None:
    sent = 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal sent
        await send(start())
        for _ in range(100):
            await send(body(b"x" * 10_000, more=True))
            sent += 10_000
        await send(body())

    worker = Worker(app)
    client = worker.connect(capacity=20_000)
    client.send(GET)
    await turns()
    assert sent <= 20_000 + WRITE_HIGH_WATER + 30_000
    assert client.transport.get_write_buffer_size() <= WRITE_HIGH_WATER + 30_000
    while worker.state.tasks:
        client.transport.take(50_000)
        await turns(3)
        assert client.transport.get_write_buffer_size() <= WRITE_HIGH_WATER + 30_000
    assert len(client.answers()[0].body) == 1_000_000


@in_loop
async def test_small_pieces_that_are_sent_without_a_pause_leave_together() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        for _ in range(10):
            await send(body(b"x" * 100, more=True))
        await send(body())

    client = Worker(app).connect()
    client.send(GET)
    await turns()
    assert len(client.transport.writes) == 1
    assert client.answers()[0].body == b"x" * 1000


@in_loop
@pytest.mark.parametrize("size", [GATHER_FROM, GATHER_UP_TO // 4])
async def test_pieces_that_are_large_by_themselves_or_together_leave_at_once(size: int) -> None:
    seen = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        for _ in range(4):
            await send(body(b"x" * size, more=True))
            seen.append(len(client.transport.sent) // size)
        await send(body())

    client = Worker(app).connect()
    client.send(GET)
    await turns()
    assert seen == ([1, 2, 3, 4] if size == GATHER_FROM else [0, 0, 0, 4])
    assert client.answers()[0].body == b"x" * size * 4


@in_loop
async def test_pieces_that_wait_leave_with_a_pipelined_request_behind_them() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        await send(body(scope["path"].encode(), more=True))
        await send(body())

    client = Worker(app).connect()
    client.send(get(b"/1") + get(b"/2"))
    await turns()
    assert [answer.body for answer in client.answers()] == [b"/1", b"/2"]


# Pipelining.


@in_loop
async def test_pipelined_requests_are_answered_in_order_one_at_a_time() -> None:
    app = Slow()
    client = Worker(app).connect()
    client.send(get(b"/1") + get(b"/2") + get(b"/3"))
    await turns()
    assert app.started == ["/1"]
    app.open("/2")
    app.open("/3")
    await turns()
    assert client.statuses == []
    app.open("/1")
    await turns()
    assert [answer.body for answer in client.answers()] == [b"/1", b"/2", b"/3"]


@in_loop
async def test_many_pipelined_requests_do_not_deepen_the_stack() -> None:
    client = Worker().connect()
    client.send(GET * 2000)
    await turns(2100)
    assert client.statuses == [200] * 2000


@in_loop
async def test_reading_stops_while_too_much_is_pipelined_and_goes_on_later() -> None:
    app = Slow()
    client = Worker(app).connect()
    client.send(get(b"/first"))
    client.send(get(b"/later") * (BODY_HIGH_WATER // len(get(b"/later")) + 2))
    assert not client.transport.reading
    app.open("/later")
    app.open("/first")
    await turns(8000)
    assert client.transport.reading
    assert client.transport.events == ["pause", "resume"]
    assert set(client.statuses) == {200}


@in_loop
async def test_a_client_that_pipelines_and_does_not_read_is_not_served_ahead() -> None:
    """What waits to be written is bounded by the water mark and one response, not by what was asked for."""
    size = 50_000
    served = 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal served
        served += 1
        await answer(send, b"x" * size)

    client = Worker(app).connect(capacity=0)
    client.send(GET * 100)
    await turns(50)
    assert client.transport.get_write_buffer_size() <= WRITE_HIGH_WATER + 2 * (size + 200)
    assert served <= 4
    for _ in range(1000):
        if client.transport.get_write_buffer_size() == 0 and served == 100:
            break
        client.transport.take(size)
        await turns(5)
        assert client.transport.get_write_buffer_size() <= WRITE_HIGH_WATER + 2 * (size + 200)
    assert client.statuses == [200] * 100


@in_loop
async def test_a_client_that_asks_again_and_again_without_reading_is_not_read_any_more() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"x" * 50_000)

    client = Worker(app).connect(capacity=0)
    asked = 0
    while client.transport.reading and asked < 100:
        client.send(GET)
        asked += 1
        await turns(3)
    assert asked <= 3
    client.transport.take(1_000_000)
    await turns()
    assert client.transport.reading
    client.send(GET)
    await turns()
    assert client.statuses == [200] * (asked + 1)


@in_loop
async def test_the_next_request_is_served_while_the_last_application_still_works() -> None:
    done = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, scope["path"].encode())
        if scope["path"] == "/background":
            await done.wait()

    client = Worker(app).connect()
    client.send(get(b"/background"))
    await turns()
    client.send(get(b"/next"))
    await turns()
    assert [answer.body for answer in client.answers()] == [b"/background", b"/next"]
    done.set()
    await turns()


# Reading bodies.


@in_loop
async def test_reading_stops_while_the_application_does_not_take_the_body() -> None:
    gate = asyncio.Event()
    got = 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal got
        await gate.wait()
        while True:
            message = await receive()
            got += len(message["body"])
            if not message["more_body"]:
                break
        await answer(send)

    client = Worker(app).connect()
    client.send(post(b"x" * 60_000, length=300_000))
    assert client.transport.reading
    client.send(b"x" * 60_000)
    await turns()
    assert not client.transport.reading
    gate.set()
    await turns()
    assert client.transport.reading
    assert got == 120_000
    for _ in range(18):
        client.send(b"x" * 10_000)
        await turns(3)
    assert got == 300_000
    assert client.statuses == [200]
    assert client.transport.events == ["pause", "resume"]


@in_loop
async def test_reading_goes_on_when_the_application_answers_without_taking_the_body() -> None:
    app = Slow()
    client = Worker(app).connect()
    client.send(post(b"x" * 100_000, length=130_000))
    await turns()
    assert not client.transport.reading
    app.open("/")
    await turns()
    assert client.transport.reading
    client.send(b"x" * 30_000 + get(b"/next"))
    app.open("/next")
    await turns()
    assert client.statuses == [200, 200]


@in_loop
async def test_a_slow_application_does_not_make_a_client_late() -> None:
    app = Slow()
    worker = Worker(app)
    client = worker.connect()
    client.send(post(b"x" * 100_000, length=300_000))
    await turns()
    for _ in range(1000):
        worker.tick(1.0)
    assert client.statuses == []
    app.open("/")
    await turns()
    assert client.statuses == [200]
