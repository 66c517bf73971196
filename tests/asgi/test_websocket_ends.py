"""How WebSockets end, and what the application is told of it and may do afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from keepserve.asgi.exchange import ClientDisconnected
from tests.support.harness import Receive, Scope, Send, in_loop, turns
from tests.websocket.frames import TEXT, Frame, close, closing, frame, text
from tests.websocket.sockets import ACCEPTING, WAYS, Recorder, Socket, connected, ended

pytestmark = pytest.mark.parametrize("way", WAYS)


@in_loop
async def test_a_close_of_the_client_is_answered_and_told_behind_its_messages(way: str) -> None:
    app = Recorder(ACCEPTING)
    socket = await connected(way, app)
    socket.send(text("last"), close(4001, b"enough"))
    await socket.turn()
    assert socket.frames == [closing(4001, "enough")]
    assert app.got[1:] == [{"type": "websocket.receive", "text": "last"}, ended(4001, "enough")]
    assert socket.over
    socket.leave()


@in_loop
async def test_a_close_of_the_application_waits_for_the_clients(way: str) -> None:
    app = Recorder(ACCEPTING, {"type": "websocket.close", "code": 3000, "reason": "done"})
    socket = await connected(way, app)
    assert socket.frames == [closing(3000, "done")]
    assert app.end == ended(3000, "done"), "the application need not wait"
    assert not socket.over
    socket.send(close(3000))
    await socket.turn()
    assert socket.over
    socket.leave()


@in_loop
async def test_a_close_has_1000_and_no_reason_unless_it_says_so(way: str) -> None:
    socket = await connected(way, Recorder(ACCEPTING, {"type": "websocket.close", "reason": None}))
    assert socket.frames == [closing(1000)]
    socket.leave()


@in_loop
async def test_an_application_that_returns_closes_with_1000(way: str) -> None:
    async def brief(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": "bye"})

    socket = await connected(way, brief)
    assert socket.frames == [Frame(TEXT, b"bye"), closing(1000)]
    socket.send(close(1000))
    await socket.turn()
    assert socket.over
    socket.leave()


@in_loop
async def test_an_application_that_fails_closes_with_1011_and_tells_the_client_nothing(
    way: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def failing(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})
        raise ValueError("a secret")

    socket = await connected(way, failing)
    assert socket.frames == [closing(1011)]
    assert "a secret" in caplog.text
    socket.leave()


@in_loop
async def test_a_client_that_vanishes_is_told_as_1006(way: str) -> None:
    app = Recorder(ACCEPTING)
    socket = await connected(way, app)
    socket.send(text("a"), text("half")[:3])
    socket.transport.lose()
    await turns()
    assert app.got[1:] == [{"type": "websocket.receive", "text": "a"}, ended(1006)]


@in_loop
async def test_a_client_that_ends_without_a_close_is_told_as_1006(way: str) -> None:
    app = Recorder(ACCEPTING)
    socket = await connected(way, app)
    socket.end()
    await socket.turn()
    assert app.end == ended(1006)
    assert socket.over
    socket.leave()


@in_loop
async def test_a_fault_of_the_client_is_told_with_its_code(way: str) -> None:
    app = Recorder(ACCEPTING)
    socket = await connected(way, app)
    socket.send(frame(TEXT, b"x", mask=None))
    await socket.turn()
    assert app.end == ended(1002, "incorrect masking")
    assert socket.frames == [closing(1002, "incorrect masking")]
    assert socket.over
    socket.leave()


@in_loop
async def test_receive_goes_on_saying_that_it_is_over(way: str) -> None:
    told: list[dict[str, Any]] = []

    async def asking(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        told.extend([dict(await receive()) for _ in range(3)])

    socket = await connected(way, asking)
    socket.send(close(1001))
    await socket.turn()
    assert told == [ended(1001)] * 3
    socket.leave()


async def _sending_late(way: str, end: Callable[[Socket], Coroutine[Any, Any, None]]) -> BaseException | None:
    """The error of an application that sends after this end."""
    go, found = asyncio.Event(), []

    async def late(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await go.wait()
        try:
            await send({"type": "websocket.send", "text": "late"})
        except Exception as error:
            found.append(error)
            raise

    socket = await connected(way, late)
    await end(socket)
    go.set()
    await turns()
    socket.leave()
    return found[0] if found else None


@in_loop
async def test_sending_to_a_client_that_is_gone_is_an_oserror_and_not_logged(
    way: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def vanish(socket: Socket) -> None:
        socket.transport.lose()

    assert isinstance(await _sending_late(way, vanish), ClientDisconnected)
    assert isinstance(ClientDisconnected(), OSError)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@in_loop
async def test_sending_to_a_client_that_has_closed_is_an_oserror_and_not_logged(
    way: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def say_goodbye(socket: Socket) -> None:
        socket.send(close(1000))
        await socket.turn()

    assert isinstance(await _sending_late(way, say_goodbye), ClientDisconnected)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@in_loop
async def test_sending_after_ones_own_close_is_an_error_of_the_applications(
    way: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = Recorder(ACCEPTING, {"type": "websocket.close"}, {"type": "websocket.send", "text": "more"})
    socket = await connected(way, app)
    assert isinstance(app.error, RuntimeError)
    assert "expected nothing more, since it has closed the WebSocket" in str(app.error)
    assert "The application failed on" in caplog.text
    assert socket.frames == [closing(1000)]
    socket.leave()


@in_loop
async def test_several_tasks_may_wait_and_one_may_be_cancelled(way: str) -> None:
    told: list[dict[str, Any]] = []

    async def waiting(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        tasks = [asyncio.ensure_future(receive()) for _ in range(3)]
        await turns(3)
        tasks[0].cancel()
        for _ in range(20):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(receive(), 0)
        told.extend(dict(message) for message in await asyncio.gather(*tasks[1:]))

    socket = await connected(way, waiting)
    await turns(200)
    (exchange,) = socket.connection.exchanges
    assert len(exchange._waiters) == 2  # type: ignore[attr-defined]  # nothing is left of those that gave up
    socket.send(text("one"))
    await socket.turn()
    socket.send(close(1000))
    await socket.turn()
    assert told == [{"type": "websocket.receive", "text": "one"}, ended(1000)]
    socket.leave()
