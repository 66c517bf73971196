"""The worker's clock and a connection: idle, stalled, overloaded, draining; time moves only when told."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import Any

import pytest

from keepserve.server.connection import Connection
from tests.support.harness import GET, Receive, Scope, Send, Worker, answer, body, get, in_loop, post, start, turns


def closed(worker: Worker) -> dict[str, int]:
    """Reasons counted so far."""
    return {reason.value: count for reason, count in worker.state.closed.items() if count}


def live(worker: Worker, seconds: float) -> None:
    """Let time pass as it does: in ticks."""
    for _ in range(round(seconds * 10)):
        worker.tick(0.1)


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
    assert closed(worker) == {"idle_timeout": 1}


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
    assert closed(worker) == {"idle_timeout": 1}


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
    assert closed(worker) == {"head_timeout": 1}


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
    live(worker, 20.2)
    await turns()
    assert client.statuses == [408]
    assert seen == ["http.request", "http.disconnect"]
    client.transport.lose()
    assert closed(worker) == {"body_timeout": 1}


# Writing to somebody who does not read.


class Streams:
    """An application that sends for ever, and what ended it."""

    def __init__(self) -> None:
        self.ended: BaseException | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        try:
            while True:
                await send(body(b"x" * 10_000, more=True))
        except BaseException as error:
            self.ended = error
            raise


@in_loop
async def test_a_client_that_stops_reading_is_reset_after_the_write_timeout() -> None:
    app = Streams()
    worker = Worker(app, write_timeout=60.0, write_min_rate=0)
    client = worker.connect(capacity=0)
    client.send(GET)
    await turns()
    worker.tick()
    live(worker, 59.9)
    assert client.transport.events == ["pause"] or client.transport.events == []
    live(worker, 0.3)
    await turns()
    assert client.transport.events[-1] == "abort"
    assert closed(worker) == {"write_stall": 1}
    assert isinstance(app.ended, OSError)


@in_loop
async def test_bytes_that_really_left_are_progress_however_few() -> None:
    app = Streams()
    worker = Worker(app, write_timeout=60.0, write_min_rate=0)
    client = worker.connect(capacity=0)
    client.send(GET)
    await turns()
    for _ in range(10):
        live(worker, 50.0)
        client.transport.take(1)
        await turns()
    assert not client.transport.lost
    live(worker, 60.3)
    assert client.transport.lost
    await turns()
    assert closed(worker) == {"write_stall": 1}


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
        live(worker, 10.0)
        gate.set()
        await turns()
    assert not client.transport.lost
    live(worker, 0.3)
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
        live(worker, 1.0)
        client.transport.take(400)
        await turns()
    assert not client.transport.lost
    live(worker, 1.3)
    assert client.transport.lost
    await turns()
    assert closed(worker) == {"write_stall": 1}


@in_loop
async def test_a_client_that_reads_slowly_but_well_enough_is_served() -> None:
    worker = Worker(Streams(), write_timeout=60.0, write_min_rate=500, write_rate_grace=30.0)
    client = worker.connect(capacity=0)
    client.send(GET)
    await turns()
    for _ in range(120):
        live(worker, 1.0)
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
    live(worker, 600.0)
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
    live(worker, 60.3)
    assert client.transport.lost
    await turns()
    assert not worker.state.connections


# Too much at once.


@in_loop
async def test_above_the_limit_of_running_requests_the_answer_is_503_and_the_connection_stays() -> None:
    gate = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/slow":
            await gate.wait()
        await answer(send)

    worker = Worker(app, limit_concurrency=2)
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

    worker = Worker(app, limit_concurrency=1)
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
    client.connection.drain(worker.clock())
    live(worker, 4.9)
    assert client.transport.events == []
    live(worker, 0.3)
    assert client.transport.events == ["close"]
    await turns()
    assert closed(worker) == {"draining": 1}


@in_loop
async def test_a_connection_accepted_while_draining_is_served_once() -> None:
    worker = Worker(drain_idle=5.0)
    worker.state.draining = True
    client = worker.connect()
    client.send(GET)
    await turns()
    assert client.answers()[0].closes
    client.eof()
    await turns()
    assert closed(worker) == {"draining": 1}


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
    client.connection.drain(worker.clock())
    client.connection.cut()
    await turns()
    (said,) = client.answers()
    if begun:
        assert (said.status, said.whole) == (200, False)
        assert closed(worker) == {"cut": 1}
    else:
        assert (said.status, said.closes) == (503, True)
        assert closed(worker) == {"draining": 1}


# Half-closed peers.


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    """Two ends of a TCP connection over loopback."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    return ours, theirs


@in_loop
async def test_a_half_closed_peer_that_has_died_is_noticed() -> None:
    ours, theirs = tcp_pair()
    with ours, theirs:
        disconnected = asyncio.Event()

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await receive()
            await receive()
            disconnected.set()

        worker = Worker(app)
        client = worker.connect(sock=ours)
        client.send(GET)
        await turns()
        client.eof()
        live(worker, 60.0)
        assert not client.transport.lost
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        theirs.close()  # a reset, as the answer to a keep-alive probe would be
        live(worker, 5.2)
        assert client.transport.lost
        await turns()
        assert disconnected.is_set()


# With real sockets and a clock of our own: what only a kernel can show.


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what the kernel brings about and tells nobody else."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.001)


def receive_all(sock: socket.socket) -> bytes:
    """Everything up to the peer's FIN."""
    received = b""
    while piece := sock.recv(1 << 20):
        received += piece
    return received


async def real(worker: Worker, ours: socket.socket) -> Connection:
    """Serve one end of a pair on the running loop."""
    ours.setblocking(False)
    _, protocol = await worker.state.loop.connect_accepted_socket(lambda: Connection(worker.state), ours)
    return protocol


@in_loop
async def test_the_end_of_the_lingering_close_does_not_take_the_answer_from_a_slow_reader() -> None:
    data = b"x" * 40_000

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start(200, (b"connection", b"close")))
        await send(body(data))

    ours, theirs = tcp_pair()
    with theirs:
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        worker = Worker(app)
        connection = await real(worker, ours)
        theirs.send(GET)
        await until(lambda: bool(connection.engine.ending))
        await turns()
        worker.tick()
        worker.tick(5.2)
        await turns()
        assert closed(worker) == {"app_asked": 1}
        theirs.settimeout(5.0)
        assert receive_all(theirs).endswith(data)


@in_loop
async def test_a_stalled_reader_is_reset_so_that_a_cut_answer_is_not_taken_for_a_whole_one() -> None:
    worker = Worker(Streams(), write_timeout=60.0)
    ours, theirs = tcp_pair()
    with theirs:
        connection = await real(worker, ours)
        theirs.send(GET)
        await until(lambda: connection.write_paused)
        worker.tick()
        worker.tick(0.1)
        worker.tick(60.2)
        await turns()
        assert closed(worker) == {"write_stall": 1}
        theirs.settimeout(5.0)
        with pytest.raises(ConnectionResetError):
            receive_all(theirs)
