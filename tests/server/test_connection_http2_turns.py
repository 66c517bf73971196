"""Requests on one HTTP/2 connection: what runs beside what, who has to wait, and for whom."""

from __future__ import annotations

import asyncio

from tests.http2.frames import (
    Code,
    data,
    get,
    post,
    rst,
    window_update,
)
from tests.support.applications import Slow
from tests.support.harness import Receive, Scope, Send, Worker, body, in_loop, start
from tests.support.http2 import Http2Client, echo

# What runs beside what.


@in_loop
async def test_requests_of_one_read_run_side_by_side_in_their_order() -> None:
    """L6."""
    app = Slow()
    client = Http2Client(Worker(app))
    client.send(*(get(number, b"/%d" % number) for number in range(1, 21, 2)))
    await client.turn()
    assert app.started == [f"/{number}" for number in range(1, 21, 2)]
    for number in (19, 1):
        app.open(f"/{number}")
        await client.turn()
        assert client.whole(number)
    for number in range(3, 19, 2):
        app.open(f"/{number}")
    await client.turn()
    assert client.whole(*range(1, 21, 2))


@in_loop
async def test_a_client_may_have_as_many_open_as_it_was_told_and_no_more() -> None:
    app = Slow()
    client = Http2Client(Worker(app, http2_max_streams=3))
    client.send(*(get(number, b"/%d" % number) for number in (1, 3, 5, 7)))
    await client.turn()
    assert app.started == ["/1", "/3", "/5"]
    assert client.reset_code(7) == Code.REFUSED_STREAM
    app.open("/3")
    await client.turn()
    client.send(get(9, b"/9"))
    await client.turn()
    assert app.started == ["/1", "/3", "/5", "/9"]
    for path in ("/1", "/5", "/9"):
        app.open(path)
    await client.turn()
    assert client.whole(1, 3, 5, 9)


@in_loop
async def test_applications_whose_streams_were_given_up_keep_their_places() -> None:
    """What is limited is what runs. Requests wait for a place and get it in their order."""
    app = Slow()
    client = Http2Client(Worker(app, http2_max_streams=2))
    client.send(get(1, b"/1"), get(3, b"/3"))
    await client.turn()
    client.send(rst(1), rst(3), get(5, b"/5"), get(7, b"/7"))
    await client.turn()
    assert app.started == ["/1", "/3"]
    app.open("/3")
    await client.turn()
    assert app.started == ["/1", "/3", "/5"]
    app.open("/5")
    await client.turn()
    assert app.started == ["/1", "/3", "/5", "/7"]
    assert client.whole(5)
    app.open("/7")
    app.open("/1")
    await client.turn()
    assert client.whole(7)


@in_loop
async def test_a_request_that_is_given_up_while_it_waits_never_runs() -> None:
    app = Slow()
    client = Http2Client(Worker(app, http2_max_streams=2))
    client.send(get(1, b"/1"), get(3, b"/3"))
    await client.turn()
    client.send(rst(1), rst(3), get(5, b"/5"), get(7, b"/7"))
    await client.turn()
    client.send(rst(5))
    await client.turn()
    for path in ("/1", "/3", "/7"):
        app.open(path)
    await client.turn()
    assert app.started == ["/1", "/3", "/7"]
    assert client.whole(7)


@in_loop
async def test_no_more_wait_than_four_times_the_places() -> None:
    app = Slow()
    worker = Worker(app, http2_max_streams=2)
    client = Http2Client(worker)
    numbers = iter(range(1, 1001, 2))
    open_streams: list[int] = []

    async def ask() -> None:
        if len(open_streams) == 2:
            client.send(*(rst(number) for number in open_streams))
            open_streams.clear()
        open_streams.append(number := next(numbers))
        client.send(get(number, b"/%d" % number))
        await client.turn(3)

    for _ in range(2 + 4 * 2):
        await ask()
    assert (len(app.started), client.goaways) == (2, [])
    await ask()
    assert client.goaways[-1][1] == Code.ENHANCE_YOUR_CALM
    assert client.transport.events == ["eof"]
    for path in list(app.started):
        app.open(path)
    await client.turn()
    assert len(app.started) == 2, "what waited is not begun"
    assert worker.state.tasks == set()


@in_loop
async def test_requests_given_up_in_the_read_they_came_in_never_run() -> None:
    app = Slow()
    client = Http2Client(Worker(app))
    client.send(get(1, b"/1"), post(3, b"/3"), rst(1), get(5, b"/5"), rst(3))
    await client.turn()
    assert app.started == ["/5"]
    app.open("/5")
    await client.turn()
    assert client.whole(5)


@in_loop
async def test_above_the_workers_limit_requests_are_refused_and_may_be_tried_again() -> None:
    app = Slow()
    worker = Worker(app, limit_concurrency=3, limit_concurrency_wait=0.0)
    client, other = Http2Client(worker), Http2Client(worker)
    client.send(*(get(number, b"/%d" % number) for number in (1, 3, 5, 7)))
    other.send(get(1, b"/other"))
    await client.turn()
    other.look()
    assert app.started == ["/1", "/3", "/5"]
    for response in (client.response(7), other.response(1)):
        assert (response.status, response.whole) == (503, True)
        assert dict(response.fields)[b"retry-after"] == b"1"
    for path in app.started:
        app.open(path)
    await client.turn()
    app.open("/again")
    other.send(get(3, b"/again"))
    await other.turn()
    assert client.whole(1, 3, 5)
    assert other.response(3).status == 200


@in_loop
async def test_idle_connections_count_for_no_limit() -> None:
    """L2."""
    worker = Worker(limit_concurrency=1)
    idle = [Http2Client(worker) for _ in range(20)]
    for client in idle:
        client.send(get(1))
        await client.turn(3)
    assert [client.response(1).status for client in idle] == [200] * 20


# Uploads.


@in_loop
async def test_one_upload_that_is_not_read_stops_neither_others_nor_the_connection() -> None:
    """L5."""
    gate = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/stuck":
            await gate.wait()
        await echo(scope, receive, send)

    client = Http2Client(Worker(app), own_settings=[(4, 10_000_000)])
    client.send(window_update(0, 10_000_000))
    frame = b"x" * 16_000
    client.send(post(1, b"/stuck"), *[data(1, frame)] * 16)
    await client.turn()
    assert client.transport.reading
    client.send(post(3, b"/read"), get(5, b"/get"))
    for _ in range(100):
        client.send(data(3, frame))
        await client.turn(3)
    client.send(data(3, b"", end=True))
    await client.turn(50)
    assert len(client.body(3)) == len(b"2 POST /read ") + 100 * len(frame)
    assert client.whole(3, 5)
    gate.set()
    client.send(data(1, b"", end=True))
    await client.turn()
    assert len(client.body(1)) == len(b"2 POST /stuck ") + 16 * len(frame)


@in_loop
async def test_100_continue_is_said_when_the_application_asks_for_the_body() -> None:
    gate = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await gate.wait()
        await echo(scope, receive, send)

    client = Http2Client(Worker(app))
    client.send(post(1, b"/", (b"expect", b"100-continue")))
    await client.turn()
    assert client.response(1).interim == ()
    gate.set()
    await client.turn()
    assert client.response(1).interim == (100,)
    client.send(data(1, b"abc", end=True))
    await client.turn()
    assert client.body(1) == b"2 POST / abc"


@in_loop
async def test_an_early_answer_is_whole_and_the_upload_is_told_to_stop() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start(403))
        await send(body(b"no"))

    worker = Worker(app)
    client = Http2Client(worker)
    client.send(post(1), data(1, b"x" * 1000))
    await client.turn()
    assert (client.response(1).status, client.body(1)) == (403, b"no")
    worker.live(0.5)
    client.look()
    assert client.reset_code(1) == Code.NO_ERROR
    client.send(get(3))
    await client.turn()
    assert client.whole(3)
