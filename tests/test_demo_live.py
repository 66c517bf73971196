"""The demonstration's WebSocket, over every way a WebSocket can come."""

from __future__ import annotations

import json
from typing import Any

import pytest

from keepserve import demo_live
from keepserve.demo import app
from tests.support.harness import in_loop, turns
from tests.websocket.frames import BINARY, TEXT, close, closing, frame, text
from tests.websocket.sockets import HTTP1, WAYS, Field, Socket, worker

pytestmark = pytest.mark.parametrize("way", WAYS)


async def opened(way: str, *fields: Field, path: bytes = b"/live", **settings: Any) -> Socket:
    """A WebSocket to the demonstration."""
    return await Socket(worker(way, app, **settings), way, path, *fields).turn()


def said(socket: Socket) -> list[dict[str, Any]]:
    """What it has said."""
    return [json.loads(one.payload) for one in socket.frames if one.opcode == TEXT]


@in_loop
async def test_it_ticks(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_live, "TICK", 0.0)
    socket = await opened(way)
    await turns(50)
    ticks = said(socket)
    assert [tick["ticks"] for tick in ticks] == list(range(len(ticks)))
    assert len(ticks) > 2
    assert {tick["http_version"] for tick in ticks} == {"1.1" if way in HTTP1 else "2"}
    socket.leave()


@in_loop
async def test_it_echoes_text_and_wants_no_bytes(way: str) -> None:
    socket = await opened(way)
    socket.send(text("Anybody <there>?"))
    await socket.turn()
    assert said(socket)[1:] == [{"echo": "Anybody <there>?"}]
    socket.send(frame(BINARY, b"x"))
    await socket.turn()
    assert socket.frames[-1] == closing(1003, "text only, please")
    socket.leave()


@in_loop
async def test_it_says_that_the_server_stops_and_closes_by_itself(way: str) -> None:
    tested = worker(way, app)
    socket = await Socket(tested, way, b"/live").turn()
    tested.drain.stop()
    await socket.turn()
    assert said(socket)[-1] == {"restarting": True}
    assert socket.frames[-1] == closing(1012, "service restart")
    socket.send(close(1012))
    await socket.turn()
    assert socket.over
    socket.leave()


@in_loop
async def test_pages_of_other_sites_are_refused(way: str) -> None:
    host = b"x" if way in HTTP1 else b"a"
    own = await opened(way, (b"origin", b"https://" + host))
    assert own.open
    foreign = await opened(way, (b"origin", b"https://elsewhere.example"))
    assert foreign.status == 403
    own.leave()
    foreign.leave()


@in_loop
async def test_other_paths_are_refused(way: str) -> None:
    socket = await opened(way, path=b"/json")
    assert socket.status == 403
    socket.leave()


@in_loop
async def test_a_root_path_is_no_part_of_the_path(way: str) -> None:
    socket = await opened(way, root_path="/demo")
    assert socket.open
    socket.leave()


@in_loop
async def test_a_client_that_vanishes_is_no_error(way: str, caplog: pytest.LogCaptureFixture) -> None:
    socket = await opened(way)
    socket.leave()
    await turns()
    assert "ERROR" not in caplog.text
