"""What a server has counted in its last tenth of a second is written down before it is gone."""

from __future__ import annotations

import asyncio
from typing import Any

from keepserve.config import Settings
from keepserve.server.server import Server
from keepserve.telemetry import counters
from keepserve.telemetry.scoreboard import Scoreboard, snapshot
from tests.support.harness import in_loop

REQUEST = b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n"


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """204, after a moment that can be measured."""
    await asyncio.sleep(0.001)
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


@in_loop
async def test_bytes_and_seconds_of_the_last_request_are_counted_before_the_next_tick() -> None:
    board = Scoreboard(1)
    settings = Settings(app=app, host="127.0.0.1", port=0, lifespan="off", access_log=False, drain_idle=0.0)
    server = Server(settings, board=board, seat=board.take())
    ready = asyncio.Event()
    serving = asyncio.ensure_future(server.serve(on_started=ready.set))
    await ready.wait()
    assert server.state is not None
    server.state.wheel.stop()  # no tick comes any more
    address: Any = server.addresses[0]
    reader, writer = await asyncio.open_connection(*address[:2])
    writer.write(REQUEST)
    answer = await reader.read()
    writer.close()
    server.stop()
    await serving
    total = snapshot(board).total
    assert sum(total.requests()) == 1
    assert total.seconds(counters.DURATIONS) > 0.0005
    assert (total[counters.BYTES_IN], total[counters.BYTES_OUT]) == (len(REQUEST), len(answer))
