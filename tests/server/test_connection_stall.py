"""Writing to somebody who does not read: a stall is what does not leave, and it ends in a reset."""

from __future__ import annotations

import asyncio

from tests.support.applications import Streams
from tests.support.harness import GET, Receive, Scope, Send, Worker, answer, body, get, in_loop, start, turns

# Writing to somebody who does not read.


@in_loop
async def test_a_client_that_stops_reading_is_reset_after_the_write_timeout() -> None:
    app = Streams()
    worker = Worker(app, write_timeout=60.0, write_min_rate=0)
    client = worker.connect(capacity=0)
    client.send(GET)
    await turns()
    worker.tick()
    worker.live(59.9)
    assert client.transport.events == ["pause"] or client.transport.events == []
    worker.live(0.3)
    await turns()
    assert client.transport.events[-1] == "abort"
    assert worker.closed == {"write_stall": 1}
    assert isinstance(app.ended, OSError)


@in_loop
async def test_bytes_that_really_left_are_progress_however_few() -> None:
    app = Streams()
    worker = Worker(app, write_timeout=60.0, write_min_rate=0)
    client = worker.connect(capacity=0)
    client.send(GET)
    await turns()
    for _ in range(10):
        worker.live(50.0)
        client.transport.take(1)
        await turns()
    assert not client.transport.lost
    worker.live(60.3)
    assert client.transport.lost
    await turns()
    assert worker.closed == {"write_stall": 1}


@in_loop
async def test_what_the_application_adds_to_the_buffer_is_no_progress() -> None:
    gate = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        while True:
            await send(body(b"x", more=True))
            await gate.wait()
            gate.clear()

    worker = Worker(app, write_timeout=60.0, write_min_rate=0)
    client = worker.connect(capacity=0)
    client.send(GET)
    await turns()
    for _ in range(6):
        worker.live(10.0)
        gate.set()
        await turns()
    assert not client.transport.lost
    worker.live(0.3)
    assert client.transport.lost
    gate.set()
    await turns()


@in_loop
async def test_a_client_that_reads_too_slowly_is_reset_after_the_grace() -> None:
    worker = Worker(Streams(), write_timeout=60.0, write_min_rate=500, write_rate_grace=30.0)
    client = worker.connect(capacity=0)
    client.send(GET)
    await turns()
    for _ in range(29):
        worker.live(1.0)
        client.transport.take(400)
        await turns()
    assert not client.transport.lost
    worker.live(1.3)
    assert client.transport.lost
    await turns()
    assert worker.closed == {"write_stall": 1}


@in_loop
async def test_a_client_that_reads_slowly_but_well_enough_is_served() -> None:
    worker = Worker(Streams(), write_timeout=60.0, write_min_rate=500, write_rate_grace=30.0)
    client = worker.connect(capacity=0)
    client.send(GET)
    await turns()
    for _ in range(120):
        worker.live(1.0)
        client.transport.take(600)
        await turns()
    assert not client.transport.lost
    client.transport.lose()
    await turns()


@in_loop
async def test_a_pause_of_the_application_is_not_the_clients_stall() -> None:
    gate = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        await send(body(b"x" * 1000, more=True))
        await gate.wait()
        await send(body(b"y"))

    worker = Worker(app)
    client = worker.connect()
    client.send(GET)
    await turns()
    worker.live(600.0)
    gate.set()
    await turns()
    assert client.answers()[0].whole
    client.transport.lose()


@in_loop
async def test_an_answer_given_to_a_client_that_never_reads_it_ends_too() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"x" * 1000)

    worker = Worker(app)
    client = worker.connect(capacity=0)
    client.send(get(b"/", b"Connection: close"))
    await turns()
    assert client.transport.events == ["close"]
    assert not client.transport.lost
    worker.live(60.3)
    assert client.transport.lost
    await turns()
    assert not worker.state.connections
