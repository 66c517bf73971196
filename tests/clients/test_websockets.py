"""The ``websockets`` client, which most Python programs use: all it can do, over real connections."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import ssl
import urllib.request
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Frame, Opcode

from tests.clients.conftest import Secure
from tests.support.serving import ServerProcess, eventually, serving

APP = "tests.clients.websocket_app:app"

IDLE_SOCKETS = int(os.environ.get("KEEPSERVE_TEST_IDLE_SOCKETS", "1000"))
"""How many quiet WebSockets are held at once."""


@pytest.fixture(scope="module", params=["httptools", "h11"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server that agrees to compression."""
    directory = tmp_path_factory.mktemp(request.param)
    with serving(APP, "--http1", request.param, "--ws-deflate", directory=directory) as running:
        yield running
        assert "Traceback" not in running.stderr


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a test's coroutine, with a patience of its own."""

    async def bounded() -> None:
        async with asyncio.timeout(40):
            await test()

    asyncio.run(bounded())


def url(server: ServerProcess, path: str) -> str:
    """Where a path of the application is."""
    return f"ws://127.0.0.1:{server.port}/{path}"


def test_messages_of_all_sizes_are_echoed_compressed_or_not(server: ServerProcess) -> None:
    async def test() -> None:
        for compression in ("deflate", None):
            async with connect(url(server, "echo"), compression=compression, max_size=None) as socket:
                agreed = "Sec-WebSocket-Extensions" in (socket.response or pytest.fail("no answer")).headers
                assert agreed is (compression is not None)
                for size in (0, 1, 125, 126, 65535, 65536, 1024 * 1024):
                    for message in ("é" * (size // 2), os.urandom(size)):
                        await socket.send(message)
                        same = await socket.recv() == message
                        assert same, (size, type(message))

    run(test)


def test_a_message_may_be_sent_and_received_in_fragments(server: ServerProcess) -> None:
    async def fragments() -> AsyncIterator[str]:
        for number in range(100):
            yield f"fragment {number}, "

    async def test() -> None:
        async with connect(url(server, "echo")) as socket:
            await socket.send(fragments())
            received = "".join([part async for part in socket.recv_streaming()])
            assert received == "".join([part async for part in fragments()])

    run(test)


def test_pings_are_answered_also_while_messages_wait(server: ServerProcess) -> None:
    async def test() -> None:
        async with connect(url(server, "echo")) as socket:
            waiters = [await socket.ping(f"ping {number}".encode()) for number in range(20)]
            await socket.send("between")
            latencies = await asyncio.gather(*waiters)
            assert len(latencies) == 20
            assert await socket.recv() == "between"
            await socket.pong(b"unasked")
            await socket.send("after")
            assert await socket.recv() == "after"

    run(test)


def test_subprotocols_fields_and_facts_of_the_handshake(server: ServerProcess) -> None:
    async def test() -> None:
        async with connect(url(server, "echo"), subprotocols=["a", "b"]) as socket:  # type: ignore[list-item]
            assert socket.subprotocol == "b"
            assert socket.response is not None
            assert (socket.response.headers["x-version"], socket.response.headers["x-scheme"]) == ("1.1", "ws")

    run(test)


def test_a_refusal_comes_as_the_application_made_it(server: ServerProcess) -> None:
    async def test() -> None:
        with pytest.raises(InvalidStatus) as caught:
            await connect(url(server, "refuse"))
        response = caught.value.response
        assert response.status_code == 418
        assert json.loads(bytes(response.body or b"")) == {"why": "not today"}

    run(test)


@pytest.mark.parametrize("code", [1000, 1001, 1008, 1011, 3000, 4999])
def test_closes_of_the_application_come_with_code_and_reason(server: ServerProcess, code: int) -> None:
    async def test() -> None:
        async with connect(url(server, f"close?code={code}&reason=so")) as socket:
            with pytest.raises(ConnectionClosed):
                await socket.recv()
            assert (socket.close_code, socket.close_reason) == (code, "so")

    run(test)


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1007, 1009, 1011, 3000, 4999])
def test_closes_of_the_client_are_told_to_the_application(server: ServerProcess, code: int) -> None:
    async def test() -> None:
        async with connect(url(server, "echo")) as socket:
            await socket.close(code, f"reason {code}")

    run(test)
    wanted = {"type": "websocket.disconnect", "code": code, "reason": f"reason {code}"}

    def told() -> bool:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/ends") as answer:
            return wanted in json.load(answer)

    eventually(told, f"the application is told of {code}")


FAULTS = {
    "text that is not UTF-8": (Frame(Opcode.TEXT, b"\xff"), 1007),
    "a reserved bit": (Frame(Opcode.PING, b"", rsv2=True), 1002),
    "too large": (Frame(Opcode.BINARY, bytes(1024 * 1024 + 1)), 1009),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_faulty_frame_closes_with_its_code(server: ServerProcess, name: str) -> None:
    frame, code = FAULTS[name]

    async def test() -> None:
        async with connect(url(server, "echo"), compression=None) as socket:
            frame.check = lambda: None  # type: ignore[method-assign]  # the client would not send it otherwise
            socket.protocol.send_frame(frame)
            socket.send_data()
            with pytest.raises(ConnectionClosed):
                await socket.recv()
            assert socket.close_code == code

    run(test)


def test_a_client_that_reads_slowly_gets_everything_in_order(server: ServerProcess) -> None:
    async def test() -> None:
        async with connect(url(server, "flood?count=300&size=16384"), max_queue=1) as socket:
            await asyncio.sleep(0.3)
            for number in range(300):
                same = await socket.recv() == number.to_bytes(4, "big") * 16384
                assert same, number

    run(test)


def test_a_client_that_sends_faster_than_it_is_read_loses_nothing(server: ServerProcess) -> None:
    async def test() -> None:
        async with connect(url(server, "slow?seconds=0.3"), max_queue=None) as socket:
            for number in range(1000):
                await socket.send(f"{number} " + "x" * 1000)
            for number in range(1000):
                assert str(await socket.recv()).startswith(f"{number} ")

    run(test)


def test_a_stop_closes_with_1012_after_the_application_has_said_goodbye(tmp_path: Path) -> None:
    async def test(server: ServerProcess) -> None:
        async with connect(url(server, "goodbye")) as told, connect(url(server, "echo")) as quiet:
            server.send_signal(signal.SIGTERM)
            assert await told.recv() == "about to restart"
            for socket in (told, quiet):
                with pytest.raises(ConnectionClosed):
                    await socket.recv()
                assert (socket.close_code, socket.close_reason) == (1012, "service restart")

    with serving(APP, directory=tmp_path) as server:
        run(lambda: test(server))
        assert server.ended() == 0
        log = server.stderr
    assert "0 cut" in log
    assert "(2 draining)" in log


def test_quiet_websockets_are_pinged_and_stay(tmp_path: Path) -> None:
    """1,000 at once; KEEPSERVE_TEST_IDLE_SOCKETS may ask for more."""
    pinged = 0
    enough = asyncio.Event()

    async def open_one(server: ServerProcess, turns: asyncio.Semaphore) -> ClientConnection:
        async with turns:
            socket = await connect(
                url(server, "echo"), ping_interval=None, compression=None, open_timeout=30, proxy=None
            )
        receive_frame = socket.protocol.recv_frame

        def counting(frame: Frame) -> None:
            nonlocal pinged
            if frame.opcode is Opcode.PING:
                pinged += 1
                if pinged == 2 * IDLE_SOCKETS:
                    enough.set()
            receive_frame(frame)

        socket.protocol.recv_frame = counting  # type: ignore[method-assign]  # the client hides pings otherwise
        return socket

    async def test(server: ServerProcess) -> None:
        turns = asyncio.Semaphore(50)
        sockets = await asyncio.gather(*(open_one(server, turns) for _ in range(IDLE_SOCKETS)))
        async with asyncio.timeout(30):
            await enough.wait()
        for socket in sockets[:: max(1, len(sockets) // 100)]:
            await socket.send("still here")
            assert await socket.recv() == "still here"
        for socket in sockets:
            assert socket.close_code is None
            socket.transport.abort()

    # The shortest patience of any balancer: the pings are what keeps the connections.
    with serving(APP, "--ws-ping-interval", "2", "--no-access-log", directory=tmp_path) as server:
        asyncio.run(test(server))
        assert "Traceback" not in server.stderr


def test_a_websocket_over_tls_is_closed_in_order(secure: Secure) -> None:
    # Not the fixture's own, which others have offered HTTP/2 with: this client speaks HTTP/1.1.
    context = ssl.create_default_context(cafile=secure.trust[1])

    async def test() -> None:
        base = secure.base.replace("https:", "wss:")
        async with connect(f"{base}/live", ssl=context, proxy=None) as socket:
            assert json.loads(await socket.recv())["http_version"] == "1.1"
            await socket.send("over TLS")
            assert json.loads(await socket.recv()) == {"echo": "over TLS"}
        assert socket.close_code == 1000

    run(test)
