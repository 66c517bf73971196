"""A connection between a fake socket and a fake clock: writing, reading, pipelining, and how it ends."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from keepserve.server.connection import BODY_HIGH_WATER, WRITE_HIGH_WATER
from keepserve.telemetry.reasons import CloseReason
from keepserve.wire.engine import Ending
from tests.support.harness import GET, Receive, Scope, Send, Worker, answer, body, get, in_loop, post, start, turns

pytestmark = pytest.mark.usefixtures("start_of_tasks")


class Slow:
    """An application whose requests wait for the test's permission, in ``gates`` by path."""

    def __init__(self) -> None:
        self.gates: dict[str, asyncio.Event] = {}
        self.started: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        self.started.append(path)
        await self.gates.setdefault(path, asyncio.Event()).wait()
        await answer(send, path.encode())

    def open(self, path: str) -> None:
        """Let a request go on."""
        self.gates.setdefault(path, asyncio.Event()).set()


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


@in_loop
async def test_a_large_body_is_written_whole() -> None:
    data = bytes(range(256)) * 4000

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, data)

    client = Worker(app).connect()
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
    client.send(GET * 500)
    await turns(50)
    assert client.transport.get_write_buffer_size() <= WRITE_HIGH_WATER + 2 * (size + 200)
    assert served <= 4
    for _ in range(1000):
        if client.transport.get_write_buffer_size() == 0 and served == 500:
            break
        client.transport.take(size)
        await turns(5)
        assert client.transport.get_write_buffer_size() <= WRITE_HIGH_WATER + 2 * (size + 200)
    assert client.statuses == [200] * 500


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


# The end.


@in_loop
async def test_a_client_that_asks_for_the_close_gets_it_at_once() -> None:
    worker = Worker()
    client = worker.connect()
    client.send(get(b"/", b"Connection: close"))
    await turns()
    assert client.transport.events == ["close"]
    assert worker.state.closed[CloseReason.CLIENT_ASKED] == 1


@in_loop
async def test_the_applications_close_half_closes_and_waits_for_the_peer() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start(200, (b"connection", b"close")))
        await send(body(b"x"))

    worker = Worker(app)
    client = worker.connect()
    client.send(GET)
    await turns()
    assert client.transport.events == ["eof"]
    client.send(b"some more of something")
    client.eof()
    await turns()
    assert client.transport.events == ["eof", "close"]
    assert worker.state.closed[CloseReason.APP_ASKED] == 1
    assert not worker.state.connections


@in_loop
async def test_tls_has_no_half_close() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start(200, (b"connection", b"close")))
        await send(body(b"x"))

    client = Worker(app).connect(tls=True)
    client.send(GET)
    await turns()
    assert client.transport.events == ["close"]


@in_loop
async def test_a_lingering_close_ends_in_time_without_a_reset() -> None:
    worker = Worker()
    client = worker.connect()
    client.send(b"nonsense\r\n")
    await turns()
    assert client.statuses == [400]
    assert client.transport.events == ["eof"]
    worker.tick()
    worker.tick(4.8)
    assert client.transport.events == ["eof"]
    worker.tick(0.3)
    await turns()
    assert client.transport.events == ["eof", "close"]
    assert worker.state.closed[CloseReason.BAD_REQUEST] == 1


@in_loop
async def test_a_peer_that_sends_without_end_after_its_answer_is_reset() -> None:
    worker = Worker(linger_bytes=100_000)
    client = worker.connect()
    client.send(post(b"", length=10_000_000))
    await turns()
    assert client.answers()[0].closes
    worker.tick()
    for _ in range(4):
        client.send(b"x" * 30_000) if client.transport.reading else None
    await turns()
    assert client.transport.events == ["eof", "abort"]
    assert worker.state.closed[CloseReason.UNREAD_BODY] == 1


@in_loop
async def test_reading_that_was_paused_goes_on_for_the_lingering_close() -> None:
    gate = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await gate.wait()
        await answer(send, status=413)

    client = Worker(app).connect()
    client.send(post(b"x" * 100_000, length=1_000_000))
    await turns()
    assert not client.transport.reading
    gate.set()
    await turns()
    assert client.transport.events == ["pause", "resume", "eof"]
    client.send(b"x" * 100_000)


@pytest.mark.parametrize("exc", [None, ConnectionResetError(104, "reset"), TimeoutError("gone"), OSError("ssl")])
@in_loop
async def test_whatever_breaks_a_connection_its_timers_and_waiters_go_with_it(exc: Exception | None) -> None:
    seen: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(await receive())
        await send(start())
        try:
            while True:
                await send(body(b"x" * 30_000, more=True))
        except OSError as error:
            seen.append(error)
        seen.append(await receive())

    worker = Worker(app)
    client = worker.connect(capacity=0)
    client.send(GET)
    await turns()
    worker.tick(0.1)
    worker.tick(0.1)
    client.transport.lose(exc)
    await turns()
    assert isinstance(seen[1], OSError)
    assert seen[2] == {"type": "http.disconnect"}
    reason = CloseReason.PEER_RESET if exc is not None else CloseReason.PEER_LEFT
    assert {key: count for key, count in worker.state.closed.items() if count} == {reason: 1}
    assert not worker.state.connections
    assert not worker.state.tasks
    for _ in range(10):
        worker.tick(100.0)
    assert worker.state.wheel.touched == []


@in_loop
async def test_a_connection_lost_before_its_first_tick_is_forgotten() -> None:
    worker = Worker()
    client = worker.connect()
    client.transport.lose()
    worker.tick(100.0)
    assert worker.state.closed[CloseReason.PEER_CLOSED] == 1


@pytest.mark.parametrize(
    "live",
    [
        lambda client: None,
        lambda client: client.send(GET),
        lambda client: client.send(GET * 3 + b"GET /"),
        lambda client: client.send(post(b"", b"Expect: 100-continue", length=5)),
        lambda client: client.send(b"nonsense\r\n"),
    ],
    ids=["silent", "served", "pipelined", "expecting", "refused"],
)
@in_loop
async def test_nothing_keeps_a_closed_connection_in_memory(live: Callable[[Any], None]) -> None:
    class Mark:
        pass

    worker = Worker()
    client = worker.connect()
    client.transport.mark = mark = Mark()  # type: ignore[attr-defined]  # the connection itself takes no weak references
    seen = weakref.ref(mark)
    worker.tick()
    live(client)
    await turns()
    worker.tick(0.1)
    if not client.transport.lost:
        client.transport.lose()
    worker.tick(0.1)
    await turns()
    del client, mark
    gc.collect()
    assert seen() is None


# Faults that are told.


@pytest.mark.parametrize(
    ("raw", "status", "reason"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400, CloseReason.BAD_REQUEST),
        (b"GET /" + b"a" * 9000, 414, CloseReason.BAD_REQUEST),
        (get(b"/", *[b"A: b"] * 120), 431, CloseReason.BAD_REQUEST),
        (b"BREW / HTTP/1.1\r\nHost: x\r\n\r\n", 501, CloseReason.BAD_REQUEST),
        (b"GET / HTTP/3.0\r\nHost: x\r\n\r\n", 505, CloseReason.BAD_REQUEST),
    ],
)
@in_loop
async def test_a_faulty_request_never_reaches_the_application(raw: bytes, status: int, reason: CloseReason) -> None:
    app = Slow()
    worker = Worker(app)
    client = worker.connect()
    client.send(raw)
    await turns()
    assert client.statuses == [status]
    assert client.ending == Ending.LINGER
    client.eof()
    await turns()
    assert app.started == []
    assert worker.state.closed[reason] == 1


@in_loop
async def test_a_body_that_breaks_off_disconnects_its_application() -> None:
    seen: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            seen.append(message["type"])
            if message["type"] == "http.disconnect":
                break

    worker = Worker(app)
    client = worker.connect()
    client.send(post(b"abc", length=10))
    await turns()
    client.eof()
    await turns()
    assert seen == ["http.request", "http.disconnect"]
    assert client.transport.events == ["close"]
    assert worker.state.closed[CloseReason.PEER_LEFT] == 1


@in_loop
async def test_a_body_that_breaks_the_protocol_is_answered_and_its_application_disconnected() -> None:
    seen: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while not seen or seen[-1] == "http.request":
            seen.append((await receive())["type"])
        try:
            await send(start())
        except OSError:
            seen.append("OSError")

    client = Worker(app).connect()
    client.send(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
    await turns()
    client.send(b"nonsense\r\n")
    await turns()
    assert client.statuses == [400]
    assert seen == ["http.request", "http.disconnect", "OSError"]
