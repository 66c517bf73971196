"""Rows of the table that are after running applications, or after what waits for them.

Real connections over fake transports: how many applications were begun, how many run, how much is held for them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from keepserve.http2.streams import CONNECTION_WINDOW
from tests.hostile.applications import Stubborn, frames, last_goaway
from tests.hostile.attack import KIB, RESETS, measured
from tests.http2.frames import (
    GET,
    Code,
    Kind,
    data,
    get,
    headers,
    ping,
    post,
    rst,
    window_update,
)
from tests.support.harness import Receive, Scope, Send, Worker, in_loop, turns
from tests.support.http2 import Http2Client

PING = ping()
STREAMS = range(1, 200, 2)
LARGEST = 2**31 - 1
MESSAGE = 16 * KIB

# Rows 9, 23: uploads that nobody reads.


@in_loop
async def test_row_09_the_smallest_frames_of_a_body_are_kept_as_if_they_were_large(engine: str) -> None:
    app = Stubborn()
    client = Http2Client(Worker(app, http2=engine))
    client.client.send(post(1))
    await turns()
    frame = data(1, b"x")
    connection = client.client.connection
    for _ in range(65_500 // 50):
        connection.data_received(frame * 50)
    (exchange,) = connection._exchanges.values()
    assert exchange._body is not None
    assert sum(map(len, exchange._body)) == 65_500
    assert sum(map(sys.getsizeof, exchange._body)) < 68 * KIB
    app.gate.set()
    await turns()


@in_loop
async def test_row_23_a_hundred_uploads_that_nobody_reads_are_a_window_and_no_more(engine: str) -> None:
    app = Stubborn()
    client = Http2Client(Worker(app, http2=engine))
    client.client.send(b"".join(map(post, STREAMS)))
    await turns()
    piece = 10_000
    with measured() as growth:
        for number in STREAMS:
            client.client.send(data(number, bytes(piece)))
        await turns()
    assert app.begun == len(STREAMS)
    assert growth.left < CONNECTION_WINDOW + len(STREAMS) * KIB
    assert not [frame for frame in frames(client)[2:] if frame.kind == Kind.WINDOW_UPDATE]
    app.gate.set()
    await turns()
    told = sum(frame.number for frame in frames(client)[2:] if frame.kind == Kind.WINDOW_UPDATE and not frame.stream)
    assert told >= len(STREAMS) * piece - CONNECTION_WINDOW // 2, "what was not read is given back at the end"


# Rows 10, 11: streams that are given up as soon as they have begun.


@in_loop
async def test_row_10_what_is_reset_in_the_read_it_came_in_is_never_begun(engine: str) -> None:
    app = Stubborn()
    client = Http2Client(Worker(app, http2=engine))
    client.client.send(b"".join(get(number) + rst(number) for number in range(1, 100_000, 2))[: 256 * KIB])
    await turns(100)
    assert last_goaway(client) == Code.ENHANCE_YOUR_CALM
    assert app.begun <= 3, "where a slice of work ends, a request and its reset may be in two"


GIVEN_UP: dict[str, Callable[[int], bytes]] = {
    "RST_STREAM": rst,
    "HEADERS": lambda number: headers(number, GET, end=True),
    "DATA": lambda number: data(number, b"x"),
    "WINDOW_UPDATE": lambda number: window_update(number, LARGEST),
    "PRIORITY": lambda number: b"\x00\x00\x04\x02\x00" + number.to_bytes(4, "big") + bytes(4),
}


@pytest.mark.parametrize("how", GIVEN_UP)
@in_loop
async def test_row_10_11_few_applications_are_begun_for_streams_that_are_given_up(engine: str, how: str) -> None:
    app = Stubborn()
    worker = Worker(app, http2=engine)
    client = Http2Client(worker)
    for number in range(1, 100_000, 2):
        client.client.send(get(number))
        await turns(2)
        client.client.send(GIVEN_UP[how](number))
        await turns(2)
        if client.client.ending:
            break
    assert number == 2 * RESETS - 1
    assert last_goaway(client) == Code.ENHANCE_YOUR_CALM
    await turns()
    assert app.begun <= 100 < 300, "places, and not streams, are what is limited"
    assert app.most <= 100
    assert app.running["now"] == 0, "a flood's applications are cancelled"
    assert app.cancelled == app.begun
    assert worker.state.tasks == set()


@in_loop
async def test_row_10_slower_than_the_bucket_the_queue_is_the_bound(engine: str) -> None:
    app = Stubborn()
    worker = Worker(app, http2=engine)
    client = Http2Client(worker)
    for number in range(1, 100_000, 2):
        worker.clock.advance(0.06)
        client.client.send(get(number))
        await turns(2)
        client.client.send(rst(number))
        if client.client.ending:
            break
    await turns()
    assert number <= 2 * (100 + 400 + 1) - 1
    assert last_goaway(client) == Code.ENHANCE_YOUR_CALM
    assert (app.begun, app.most) == (100, 100)
    app.gate.set()
    await turns()
    assert app.begun == 100, "those that waited are not begun"
    assert worker.state.tasks == set()


@in_loop
async def test_row_10_applications_that_heed_the_disconnect_free_their_places(engine: str) -> None:
    begun = ended = 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal begun, ended
        begun += 1
        while (await receive())["type"] != "http.disconnect":
            pass
        ended += 1

    worker = Worker(app, http2=engine)
    client = Http2Client(worker)
    for number in range(1, 100_000, 2):
        client.client.send(get(number))
        await turns(2)
        client.client.send(rst(number))
        await turns(2)
        if client.client.ending:
            break
    assert begun == RESETS <= 300
    await turns()
    assert worker.state.tasks == set()
    assert ended == 0.75 * RESETS - 1, "told before it was plain that this is a flood, cancelled after that"


# Row 19: more streams than may be open.


@in_loop
async def test_row_19_no_application_is_begun_for_a_stream_above_the_limit(engine: str) -> None:
    app = Stubborn()
    client = Http2Client(Worker(app, http2=engine))
    client.send(*(headers(number, b"\x83\x87\x84\x41\x01a") for number in range(1, 301, 2)))
    await client.turn()
    assert app.begun == 100
    refused = [frame for frame in client.came(Kind.RST_STREAM) if frame.number == Code.REFUSED_STREAM]
    assert len(refused) == 50
    assert client.goaways == []
    app.gate.set()
    await client.turn()
    assert client.whole(*range(1, 201, 2))
