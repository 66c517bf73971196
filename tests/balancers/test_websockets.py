"""WebSockets through real balancers, by Upgrade and by HTTP/2's extended CONNECT."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.balancers.sockets import PATIENCE, caddy, envoy, haproxy, nginx
from tests.support.serving import ServerProcess, serving

APP = "tests.clients.websocket_app:app"

Start = Callable[[Path, int], contextlib.AbstractContextManager[int]]

FRONTS: dict[str, tuple[Start, str]] = {
    "nginx": (nginx, "1.1"),
    "haproxy-h1": (haproxy, "1.1"),
    "haproxy-h2": (functools.partial(haproxy, http2=True), "2"),
    "envoy-h1": (envoy, "1.1"),
    "envoy-h2": (functools.partial(envoy, http2=True), "2"),
    "caddy": (caddy, "1.1"),
}


async def _use(port: int, version: str) -> None:
    """Everything that has to pass through, then silence of twice the balancer's patience."""
    base = f"ws://127.0.0.1:{port}"
    async with connect(f"{base}/echo", subprotocols=["a", "b"], ping_interval=None, proxy=None) as socket:  # type: ignore[list-item]
        assert socket.response is not None
        assert (socket.response.headers["x-version"], socket.subprotocol) == (version, "b")
        for message in ("héllo", b"\x00\xff", "", "x" * 300_000):
            await socket.send(message)
            same = await socket.recv() == message
            assert same
        await asyncio.sleep(2 * PATIENCE + 0.5)
        await socket.send("still here")
        assert await socket.recv() == "still here"
        await socket.close(3000, "enough")
    async with connect(f"{base}/close?code=4000&reason=so", proxy=None) as socket:
        with pytest.raises(ConnectionClosed):
            await socket.recv()
        assert (socket.close_code, socket.close_reason) == (4000, "so")
    with pytest.raises(InvalidStatus) as caught:
        await connect(f"{base}/refuse", proxy=None)
    assert caught.value.response.status_code == 418


async def _stop(port: int, server: ServerProcess) -> None:
    async with connect(f"ws://127.0.0.1:{port}/goodbye", proxy=None) as socket:
        server.send_signal(signal.SIGTERM)
        assert await socket.recv() == "about to restart"
        with pytest.raises(ConnectionClosed):
            await socket.recv()
        assert socket.close_code == 1012


def _through(name: str, directory: Path) -> None:
    start, version = FRONTS[name]
    options = ("--lb-idle-timeout", str(PATIENCE), "--drain-idle", "1")
    with (
        serving(APP, *options, directory=directory / "keepserve") as server,
        start(directory / "balancer", server.port) as port,
    ):
        asyncio.run(asyncio.wait_for(_use(port, version), 30))
        asyncio.run(asyncio.wait_for(_stop(port, server), 20))
        assert server.ended() == 0
        assert "Traceback" not in server.stderr
        assert "ERROR" not in server.stderr


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[None]]]:
    """All balancers at once, each with a server of its own: they are silent most of the time."""
    directories = {name: tmp_path_factory.mktemp(name) for name in FRONTS}
    with ThreadPoolExecutor(len(FRONTS)) as pool:
        yield {name: pool.submit(_through, name, directory) for name, directory in directories.items()}


@pytest.mark.parametrize("name", FRONTS)
def test_websockets_work_through(name: str, outcomes: dict[str, Future[None]]) -> None:
    """Quiet ones stay, since keepserve pings in less than half of the balancer's patience; a stop says 1012."""
    outcomes[name].result()
