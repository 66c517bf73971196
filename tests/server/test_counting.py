"""What a worker counts of its connections and requests, in the row that others read."""

from __future__ import annotations

import asyncio
import socket

import pytest

from keepserve.server.counted import RTT_EVERY
from keepserve.telemetry import counters
from keepserve.telemetry.counters import METHODS, Tally
from keepserve.telemetry.reasons import CloseReason
from tests.http2.frames import get as get2
from tests.http2.frames import ping, rst
from tests.support.harness import (
    GET,
    Client,
    Receive,
    Scope,
    Send,
    Worker,
    answer,
    body,
    get,
    hello,
    in_loop,
    post,
    start,
    turns,
)
from tests.support.http2 import Http2Client
from tests.websocket.frames import close
from tests.websocket.sockets import WAYS, Socket, echo
from tests.websocket.sockets import worker as worker_for


def tally(worker: Worker) -> Tally:
    """The worker's row as a reader finds it after the next tick."""
    worker.tick()
    worker.state.write_down()
    return Tally((worker.state.counters.words,))


def now(worker: Worker, *words: int) -> list[int]:
    """The words that are as they are at present."""
    found = tally(worker)
    return [found[word] for word in words]


def answered(worker: Worker) -> dict[str, int]:
    """Answered requests by method and class of status, where there are any."""
    found = tally(worker)
    return {
        f"{method} {status}": count
        for method in METHODS
        for status in counters.STATUS_CLASSES
        if (count := sum(found.requests(method, status)))
    }


async def by_target(scope: Scope, receive: Receive, send: Send) -> None:
    """``/STATUS``."""
    await send(start(int(scope["path"][1:])))
    await send(body(b""))


@in_loop
async def test_requests_count_by_method_and_status_once_they_are_answered() -> None:
    worker = Worker(by_target)
    client = worker.connect()
    for target, method in ((b"/200", b"GET"), (b"/204", b"DELETE"), (b"/404", b"GET"), (b"/599", b"PROPFIND")):
        client.send(method + b" " + target + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        await turns()
    assert answered(worker) == {"GET 2xx": 1, "DELETE 2xx": 1, "GET 4xx": 1, "other 5xx": 1}
    assert now(worker, counters.REQUESTS_1, counters.REQUESTS_2, counters.LEFT) == [4, 0, 0]


@in_loop
async def test_a_duration_is_from_the_head_to_the_last_byte_of_the_answer() -> None:
    gate = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await gate.wait()
        await answer(send, b"late")

    worker = Worker(app)
    client = worker.connect()
    client.send(GET)
    await turns()
    worker.clock.advance(0.3)
    gate.set()
    await turns()
    found = tally(worker)
    buckets = found.requests("GET", "2xx")
    assert buckets[counters.DURATION_BOUNDS.index(0.5)] == sum(buckets) == 1
    assert found.seconds(counters.DURATIONS) == pytest.approx(0.3)


@in_loop
async def test_http2_counts_streams_and_requests_apart() -> None:
    gate = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await gate.wait()
        await answer(send, b"")

    worker = Worker(app)
    client = Http2Client(worker)
    client.send(get2(1), get2(3), get2(5))
    await client.turn()
    gauges = (counters.OPEN_1, counters.OPEN_2, counters.ACTIVE, counters.STREAMS)
    assert now(worker, *gauges) == [0, 1, 1, 3]
    client.send(rst(3))
    await client.turn()
    assert now(worker, *gauges, counters.LEFT) == [0, 1, 1, 2, 1]
    gate.set()
    await client.turn()
    assert now(worker, *gauges) == [0, 1, 0, 0]
    assert answered(worker) == {"GET 2xx": 2}
    assert now(worker, counters.REQUESTS_1, counters.REQUESTS_2) == [0, 3]
    client.send(ping(b"nothing!"))
    client.client.eof()
    await turns()
    assert now(worker, *gauges, counters.ACCEPTED) == [0, 0, 0, 0, 1]
    assert now(worker, counters.GLITCHES, counters.RESETS) == [1, 1]


@in_loop
async def test_connections_are_active_while_a_request_is_under_way() -> None:
    gate = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await gate.wait()
        await answer(send, b"")

    worker = Worker(app)
    clients = [worker.connect() for _ in range(3)]
    gauges = (counters.OPEN_1, counters.OPEN_2, counters.ACTIVE, counters.STREAMS)
    assert now(worker, *gauges) == [3, 0, 0, 0]
    clients[0].send(GET)
    clients[1].send(GET)
    await turns()
    assert now(worker, *gauges) == [3, 0, 2, 0]
    clients[1].transport.lose(ConnectionResetError())
    assert now(worker, *gauges, counters.LEFT) == [2, 0, 1, 0, 1]
    gate.set()
    await turns()
    assert now(worker, *gauges) == [2, 0, 0, 0]
    assert answered(worker) == {"GET 2xx": 1}


@in_loop
async def test_bytes_count_both_ways() -> None:
    worker = Worker()
    client = worker.connect()
    request = post(b"x" * 1000)
    for _ in range(3):
        client.send(request)
        await turns()
    assert now(worker, counters.BYTES_IN, counters.BYTES_OUT) == [3 * len(request), len(client.transport.sent)]


@in_loop
async def test_what_the_server_refuses_by_itself_is_told_apart_by_status() -> None:
    worker = Worker(limit_request_body=10, health_path="/healthz")
    for request in (
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
        post(b"far too much"),
    ):
        worker.connect().send(request)
        await turns()
    slow = worker.connect()
    slow.send(b"GET / HT")
    worker.live(10.2)
    assert slow.transport.sent.startswith(b"HTTP/1.1 408 ")
    worker.connect().send(get(b"/healthz"))
    await turns()
    found = tally(worker)
    assert {status: count for status, count in found.rejected().items() if count} == {400: 1, 431: 1, 413: 1, 408: 1}
    assert answered(worker) == {}
    assert found[counters.HEALTH_CHECKS] == 1


@in_loop
async def test_requests_above_the_limit_and_those_that_wait_are_counted() -> None:
    gate = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await gate.wait()
        await answer(send, b"")

    worker = Worker(app, limit_concurrency=1, limit_concurrency_wait=5.0)
    for _ in range(2):
        worker.connect().send(GET)
    await turns()
    assert now(worker, counters.WAITING, counters.LIMITED) == [1, 0]
    worker.live(5.2)
    assert now(worker, counters.WAITING, counters.LIMITED) == [0, 1]
    assert answered(worker) == {"GET 5xx": 1}
    gate.set()
    await turns()
    assert answered(worker) == {"GET 5xx": 1, "GET 2xx": 1}


@pytest.mark.parametrize("begun", [False, True])
def test_an_application_that_fails_is_counted_once(begun: bool) -> None:
    @in_loop
    async def test() -> None:
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            if begun:
                await send(start(200))
                await send(body(b"some", more=True))
            raise ValueError("no")

        worker = Worker(app)
        worker.connect().send(GET)
        await turns()
        assert tally(worker)[counters.FAILED] == 1

    test()


@in_loop
async def test_closed_connections_count_by_reason_and_by_what_they_carried() -> None:
    worker = Worker()
    for requests in (0, 1, 7):
        client = worker.connect()
        for _ in range(requests):
            client.send(GET)
            await turns()
        client.eof()
        await turns()
    found = tally(worker)
    closed = {reason: count for reason, count in found.closed().items() if count}
    assert closed == {CloseReason.PEER_CLOSED: 3} == {r: n for r, n in worker.state.closed.items() if n}
    carried = found.block(counters.CONNECTION_REQUESTS, len(counters.CONNECTION_REQUESTS_BOUNDS) + 1)
    bounds = counters.CONNECTION_REQUESTS_BOUNDS
    assert (carried[0], carried[1], carried[bounds.index(10)], sum(carried)) == (1, 1, 1, 3)
    assert found[counters.CONNECTION_REQUESTS_SUM] == 8 == found[counters.REQUESTS_1]
    assert found[counters.ACCEPTED] == 3


@pytest.mark.parametrize("way", WAYS)
def test_websockets_are_counted_and_are_no_requests_with_a_duration(way: str) -> None:
    @in_loop
    async def test() -> None:
        worker = worker_for(way, echo)
        sock = await Socket(worker, way).turn()
        assert now(worker, counters.SOCKETS, counters.SOCKETS_ACCEPTED, counters.ACTIVE) == [1, 1, 1]
        worker.live(100.0)
        sock.send(close(1000))
        await turns()
        assert now(worker, counters.SOCKETS, counters.SOCKETS_ACCEPTED, counters.LEFT) == [0, 1, 0]
        assert answered(worker) == {}

    test()


@in_loop
async def test_an_end_of_the_worker_shows_its_phase() -> None:
    gate = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await gate.wait()
        await answer(send, b"")

    worker = Worker(app, drain_delay=1.0)
    client: Client = worker.connect()
    client.send(GET)
    await turns()
    assert now(worker, counters.PHASE, counters.LEAVING_NOW) == [0, 0]
    worker.drain.stop()
    phases = [now(worker, counters.PHASE)[0]]
    worker.live(1.2)
    phases.append(now(worker, counters.PHASE)[0])
    assert phases[0] < phases[1]
    assert all(phases)
    gate.set()
    await turns()


@in_loop
async def test_the_kernels_round_trip_time_is_asked_of_some() -> None:
    worker = Worker(hello)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
        with theirs, ours:
            for _ in range(RTT_EVERY + 1):
                worker.connect(sock=ours)
    found = tally(worker)
    assert found[counters.ACCEPTED] == RTT_EVERY + 1
    assert found[counters.RTT_SAMPLES] == 2
    assert 0 < found.seconds(counters.RTT_SECONDS) < 1
