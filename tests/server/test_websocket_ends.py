"""WebSockets when their server stops, and the line they leave in the log."""

from __future__ import annotations

import asyncio

import pytest

from keepserve.telemetry.reasons import CloseReason
from tests.support.accesslog import Log
from tests.support.harness import Receive, Scope, Send, in_loop, turns
from tests.websocket.frames import TEXT, Frame, close, closing, text
from tests.websocket.sockets import ACCEPTING, HTTP1, WAYS, Recorder, Socket, echo, ended, worker

every_way = pytest.mark.parametrize("way", WAYS)

RESTART = closing(1012, "service restart")


@every_way
@in_loop
async def test_a_stop_closes_websockets_with_1012_and_waits_for_the_clients(way: str) -> None:
    app = Recorder(ACCEPTING)
    tested = worker(way, app)
    socket = await Socket(tested, way).turn()
    tested.drain.stop()
    tested.live(0.9)
    await socket.turn()
    assert socket.frames == [], "the application has a second to say goodbye itself"
    tested.live(0.3)
    await socket.turn()
    assert socket.frames == [RESTART]
    assert app.end == ended(1012, "service restart")
    assert not socket.over
    socket.send(close(1012))
    await socket.turn()
    assert socket.over
    if way in HTTP1:
        assert socket.connection.engine.close_reason is CloseReason.DRAINING
    tested.live(3.0)
    await turns()
    assert socket.transport.is_closing()
    socket.leave()
    await turns()
    tested.tick(0.1)
    assert tested.drain.phase.name == "OVER"


@every_way
@in_loop
async def test_an_application_that_is_told_may_say_goodbye_itself(way: str) -> None:
    async def polite(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await scope["extensions"]["keepserve"]["until_draining"]()
        await send({"type": "websocket.send", "text": "we are restarting"})
        await send({"type": "websocket.close", "code": 1001, "reason": "elsewhere"})

    tested = worker(way, polite)
    socket = await Socket(tested, way).turn()
    tested.drain.stop()
    await socket.turn()
    assert socket.frames == [Frame(TEXT, b"we are restarting"), closing(1001, "elsewhere")]
    socket.send(close(1001))
    await socket.turn()
    tested.live(2.0)
    assert len(socket.frames) == 2
    socket.leave()


@every_way
@in_loop
async def test_a_lame_duck_leaves_websockets_alone(way: str) -> None:
    tested = worker(way, echo, drain_delay=10.0)
    socket = await Socket(tested, way).turn()
    tested.drain.stop()
    tested.live(9.5)
    socket.send(text("quack"))
    await socket.turn()
    assert socket.frames == [Frame(TEXT, b"quack")]
    tested.live(1.8)
    await socket.turn()
    assert socket.frames[1:] == [RESTART]
    socket.leave()


@every_way
@in_loop
async def test_a_client_that_does_not_answer_1012_holds_the_stop_for_five_seconds(way: str) -> None:
    tested = worker(way, echo)
    socket = await Socket(tested, way).turn()
    tested.drain.stop()
    tested.live(6.0)
    assert not socket.over
    tested.live(0.4)
    assert socket.over
    socket.leave()


@every_way
@in_loop
async def test_an_application_that_does_not_end_is_cancelled_at_the_limit(way: str) -> None:
    async def stubborn(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})
        await asyncio.get_running_loop().create_future()

    tested = worker(way, stubborn, drain_timeout=8.0, drain_cancel=2.0)
    socket = await Socket(tested, way).turn()
    tested.drain.stop()
    tested.live(7.0)
    await turns()
    assert socket.frames == [RESTART]
    assert tested.state.tasks
    tested.live(4.0)
    await turns()
    assert not tested.state.tasks
    assert not tested.state.sockets
    socket.leave()


@pytest.mark.parametrize("way", HTTP1)
@in_loop
async def test_a_hurried_stop_closes_at_once(way: str) -> None:
    tested = worker(way, echo)
    socket = await Socket(tested, way).turn()
    tested.drain.stop(interactive=True)
    tested.live(0.2)
    await socket.turn()
    assert socket.frames == [RESTART]
    socket.leave()


@every_way
@in_loop
async def test_a_websocket_that_is_accepted_during_a_stop_is_closed_as_well(way: str) -> None:
    go = asyncio.Event()

    async def late(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await go.wait()
        await send({"type": "websocket.accept"})
        await receive()

    tested = worker(way, late)
    socket = await Socket(tested, way).turn()
    tested.drain.stop()
    tested.live(2.0)
    go.set()
    await socket.turn()
    assert socket.status in (101, 200)
    tested.live(1.3)
    await socket.turn()
    assert socket.frames == [RESTART]
    socket.leave()


@every_way
@in_loop
async def test_a_websocket_leaves_one_line_when_it_ends(way: str) -> None:
    log = Log()
    tested = worker(way, echo, access=log, access_log=True)
    socket = await Socket(tested, way, b"/chat?x").turn()
    socket.send(text("12345"))
    await socket.turn()
    tested.live(65.0)
    assert log.lines == []
    socket.send(close(1000))
    await socket.turn()
    method, version, status = ("GET", "1.1", 101) if way in HTTP1 else ("CONNECT", "2", 200)
    (line,) = log.lines
    assert line[:6] == ("192.0.2.1:40000", method, b"/chat?x", version, status, 5)
    assert line[6] == pytest.approx(65.0)
    socket.leave()
    await turns()
    assert len(log.lines) == 1


@every_way
@in_loop
async def test_a_client_that_vanishes_leaves_a_line_too(way: str) -> None:
    log = Log()
    socket = await Socket(worker(way, echo, access=log, access_log=True), way).turn()
    socket.leave()
    await turns()
    assert [line[4] for line in log.lines] == [101 if way in HTTP1 else 200]


@every_way
@in_loop
async def test_a_refused_websocket_leaves_its_status(way: str) -> None:
    log = Log()
    socket = await Socket(worker(way, Recorder({"type": "websocket.close"}), access=log, access_log=True), way).turn()
    assert [line[4] for line in log.lines] == [403]
    socket.leave()
