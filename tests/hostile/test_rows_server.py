"""Rows of the table that concern a connection as a whole: clients that read nothing, bursts, a server that stops.

Real connections over fake transports: how much is held for whom, who is served meanwhile, what is lost.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from keepserve.http2.incoming import SLICE
from keepserve.http2.streams import SEND_HIGH_WATER
from keepserve.server.connection import WRITE_HIGH_WATER
from tests.hostile.applications import MESSAGE, Download, Stubborn, last_goaway
from tests.hostile.attack import KIB, measured
from tests.http2.frames import (
    PREFACE,
    Code,
    Setting,
    data,
    get,
    headers,
    ping,
    post,
    window_update,
)
from tests.support.harness import Receive, Scope, Send, Worker, answer, body, in_loop, start, turns
from tests.support.harness import get as get1
from tests.support.http2 import Http2Client, stop

PING = ping()
STREAMS = range(1, 200, 2)
LARGEST = 2**31 - 1


def waiting(client: Http2Client) -> int:
    """Bytes that the transport holds because its peer does not read."""
    return client.transport.get_write_buffer_size()


# Rows 2, 7: a client that does not read.


@in_loop
async def test_row_02_a_thousand_acknowledgements_at_most_wait_for_a_client_that_never_reads(engine: str) -> None:
    worker = Worker(http2=engine)
    client = Http2Client(worker, capacity=0)
    for _ in range(100):
        if not client.transport.reading or client.client.ending:
            break
        client.client.send(PING * 1000)
        await turns()
    assert last_goaway(client) == Code.ENHANCE_YOUR_CALM
    assert waiting(client) < 20 * KIB
    assert client.transport.events[-1] == "eof"
    worker.live(31)
    await turns()
    assert worker.closed == {"write_stall": 1}, "who reads nothing is not waited for"


@pytest.mark.parametrize("request_frame", [get, lambda number: headers(number, b"\x02\x07CONNECT\x01\x01a")])
@in_loop
async def test_row_02_nothing_is_read_or_answered_while_64_kib_wait(
    engine: str, request_frame: Callable[[int], bytes]
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start(200, *[(b"x-%d" % number, b"v" * 90) for number in range(10)]))
        await send(body())

    worker = Worker(app, http2=engine, http2_max_streams=1000)
    client = Http2Client(worker, capacity=0)
    burst = b"".join(request_frame(number) for number in range(1, 50_000, 2))[: 256 * KIB]
    client.client.send(burst)
    await turns(1000)
    most = waiting(client)
    assert WRITE_HIGH_WATER < most < 256 * KIB
    assert not client.transport.reading
    assert client.client.connection.engine.backlog, "read, and not answered"
    await turns(1000)
    assert waiting(client) == most, "no growth"
    sent = len(client.transport.sent)
    client.transport.take(most - 1000)
    await turns(1000)
    assert len(client.transport.sent) > sent + 10 * KIB, "it goes on when the client does"
    assert waiting(client) < 256 * KIB
    client.transport.lose()
    await turns()


@in_loop
async def test_row_02_a_client_that_stops_and_goes_on_reading_gets_a_slice_a_turn(engine: str) -> None:
    served = 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal served
        served += 1
        await answer(send, b"x" * 1000)

    client = Http2Client(Worker(app, http2=engine, http2_max_streams=1000), capacity=0)
    client.client.send(window_update(0, LARGEST - 65_535) + b"".join(map(get, range(1, 20_000, 2))))
    for _ in range(50):
        before = served
        client.transport.take(waiting(client))
        client.transport.block()
        await turns(1)
        assert served - before <= SLICE, "more than a slice of work in a turn, and the one that reading resumed"
    client.transport.lose()
    await turns()


@in_loop
async def test_row_07_applications_wait_for_a_client_that_reads_nothing_and_then_it_is_dropped(engine: str) -> None:
    app = Download()
    worker = Worker(app, http2=engine)
    client = Http2Client(worker, own_settings=[(Setting.INITIAL_WINDOW_SIZE, LARGEST)], capacity=0)
    with measured() as growth:
        client.client.send(window_update(0, LARGEST - 65_535) + b"".join(map(get, STREAMS)))
        await turns(100)
    assert app.sent <= len(STREAMS) * (SEND_HIGH_WATER + MESSAGE) + 256 * KIB
    assert growth.left <= len(STREAMS) * (SEND_HIGH_WATER + 2 * MESSAGE) + 256 * KIB
    assert waiting(client) < 256 * KIB
    assert not client.transport.reading
    worker.live(29.9)
    await turns()
    assert not client.transport.lost
    worker.live(0.4)
    await turns(20)
    assert client.transport.events[-1] == "abort"
    assert worker.closed == {"write_stall": 1}
    assert app.ended == len(STREAMS)


# Row 26: how it is detected.


@pytest.mark.parametrize("size", [1, 4, 16, 23])
@in_loop
async def test_row_26_a_preface_that_does_not_end_has_ten_seconds(engine: str, size: int) -> None:
    worker = Worker(http2=engine)
    client = worker.connect()
    worker.tick()
    client.send(PREFACE[:size])
    worker.live(9.9)
    assert client.transport.events == []
    worker.live(0.3)
    assert client.transport.events == ["eof"]
    worker.live(31)
    await turns()
    assert worker.closed == {"head_timeout": 1}


# Row 34: one burst, and another connection.


@pytest.mark.parametrize("name", ["PING", "HEADERS", "DATA"])
@in_loop
async def test_row_34_another_connection_is_served_between_two_slices(engine: str, name: str) -> None:
    many = range(1, 50_000, 2)
    burst = {
        "PING": lambda: PING * 16_000,
        "HEADERS": lambda: b"".join(map(get, many)),
        "DATA": lambda: post(1) + data(1, b"x") * 26_000,
    }[name]()[: 256 * KIB]
    worker = Worker(http2=engine)
    attacker, other = Http2Client(worker), worker.connect()
    await turns()
    attacker.client.send(burst)
    assert attacker.client.connection.engine.backlog
    other.send(get1(b"/other"))
    await turns(2)
    assert other.statuses == [200]
    assert attacker.client.connection.engine.backlog
    await turns(2000)
    assert not attacker.client.connection.engine.backlog
    attacker.transport.lose()
    await turns()


# Row 35: the server stops while the client opens streams.


@in_loop
async def test_row_35_nothing_is_lost_when_a_stop_and_new_streams_cross(engine: str) -> None:
    app = Stubborn()
    worker = Worker(app, http2=engine)
    client = Http2Client(worker)
    client.send(get(1), get(3))
    await client.turn()
    stop(worker)
    await client.turn()
    assert client.goaways == [(LARGEST, Code.NO_ERROR)]
    client.send(get(5))  # on its way when the server spoke
    await client.turn()
    client.pong()
    await client.turn()
    assert client.goaways[1:] == [(5, Code.NO_ERROR)]
    client.send(get(7))
    await client.turn()
    assert client.reset_code(7) == Code.REFUSED_STREAM
    assert app.begun == 3
    app.gate.set()
    await client.turn()
    assert client.whole(1, 3, 5)
    assert client.transport.events == ["eof"]


@in_loop
async def test_row_35_a_client_that_does_not_answer_has_a_second(engine: str) -> None:
    app = Stubborn()
    worker = Worker(app, http2=engine)
    client = Http2Client(worker)
    client.send(get(1))
    await client.turn()
    worker.tick()
    stop(worker)
    worker.tick()
    worker.live(0.9)
    client.send(get(3))
    await client.turn()
    assert client.goaways == [(LARGEST, Code.NO_ERROR)]
    worker.live(0.3)
    await client.turn()
    assert client.goaways[1:] == [(3, Code.NO_ERROR)]
    app.gate.set()
    await client.turn()
    assert client.whole(1, 3)


@pytest.mark.parametrize("when", ["accepted", "preface"])
@in_loop
async def test_row_35_a_connection_that_comes_after_the_stop_is_told_as_well(engine: str, when: str) -> None:
    worker = Worker(http2=engine)
    if when == "accepted":
        stop(worker)
    client = Http2Client(worker, greeted=False)
    await turns()
    stop(worker)
    client.send(PREFACE + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00", b"\x00\x00\x00\x04\x01\x00\x00\x00\x00", get(1))
    await client.turn()
    assert client.goaways[0] == (LARGEST, Code.NO_ERROR)
    client.pong()
    await client.turn()
    assert client.goaways[1:] == [(1, Code.NO_ERROR)]
    assert client.whole(1)
    assert client.transport.events == ["eof"]
