"""How a connection ends: closing, lingering, breaking, refusing, and what is left of it."""

from __future__ import annotations

import asyncio
import errno
import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from keepserve.telemetry.reasons import CloseReason
from keepserve.wire.engine import Ending
from tests.support.applications import Slow
from tests.support.harness import GET, Receive, Scope, Send, Worker, answer, body, get, in_loop, post, start, turns

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


@pytest.mark.parametrize("tls", [False, True])
def test_a_peer_that_resets_before_our_fin_is_no_error_of_the_application(
    tls: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    @in_loop
    async def test() -> None:
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await send(start(200, (b"connection", b"close")))
            await send(body(b"x"))

        def not_connected() -> None:
            raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")

        worker = Worker(app)
        client = worker.connect(tls=tls)
        monkeypatch.setattr(client.transport, "write_eof", not_connected)
        client.send(GET)
        await turns()
        assert not caplog.records
        assert not client.transport.lost, "the loop says so when it reads"
        client.transport.lose(ConnectionResetError())
        assert worker.state.closed[CloseReason.APP_ASKED] == 1
        assert not worker.state.connections

    test()


@in_loop
async def test_tls_lingers_as_plain_tcp_does() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start(200, (b"connection", b"close")))
        await send(body(b"x"))

    client = Worker(app).connect(tls=True)
    client.send(GET)
    await turns()
    assert client.transport.events == ["eof"]


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
    gc.disable()  # a cycle would need the collector, and keep the memory until it comes by
    try:
        del client, mark
        assert seen() is None
    finally:
        gc.enable()


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


@in_loop
async def test_a_peer_that_half_closes_and_reads_slowly_gets_all_its_answers() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"x" * 100_000)

    worker = Worker(app)
    client = worker.connect(capacity=0)
    client.send(GET * 5)
    client.eof()
    for _ in range(100):
        client.transport.take(10_000)
        await turns(4)
    assert client.statuses == [200] * 5
    assert client.transport.events[-1] == "close"
    assert worker.state.closed[CloseReason.PEER_CLOSED] == 1
