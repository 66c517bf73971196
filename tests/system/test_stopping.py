"""SIGTERM, seen from the outside: what runs is finished, what waits in the accept queue is served, exit code 0."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import uvloop

import keepserve
from tests.support.serving import PATIENCE, ServerProcess, eventually, serving
from tests.system.client import Answer, RawClient

APP = "tests.system.app:app"


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_a_running_request_is_answered_and_told_of_the_close(tmp_path: Path, loop: str) -> None:
    with serving(APP, "--loop", loop, directory=tmp_path) as server, RawClient(server.port) as client:
        client.asks("/number/-")
        client.get("/wait/500")
        with RawClient(server.port) as other:
            eventually(lambda: other.asks("/seen/wait").body != b"{}", "the request runs")
        server.send_signal(signal.SIGTERM)
        answer = client.answer()
        assert (answer.status, answer.body) == (200, b"waited\n")
        assert answer.fields["connection"] == "close"
        assert client.at_end()
        client.sock.close()
        assert server.ended() == 0


def test_idle_connections_are_usable_for_a_while_and_then_closed_by_fin(tmp_path: Path) -> None:
    options = ("--drain-idle", "500ms")
    with (
        serving(APP, *options, directory=tmp_path) as server,
        RawClient(server.port) as used,
        RawClient(server.port) as idle,
        RawClient(server.port) as fresh,
    ):
        for client in (used, idle):
            client.asks("/number/-")
        server.send_signal(signal.SIGTERM)
        began = time.monotonic()
        server.said("Stopping: 3 connections")
        for client, expected in ((used, b"/2"), (fresh, b"/1")):
            answer = client.asks("/number/-")
            assert answer.body.endswith(expected)
            assert answer.fields["connection"] == "close"
            assert client.at_end()
            client.sock.close()
        assert idle.at_end()
        assert time.monotonic() - began >= 0.5
        assert server.ended() == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_nobody_is_reset_who_connected_before_the_signal(tmp_path: Path, workers: int) -> None:
    """Their connect has succeeded, and a balancer has sent its POST: closing the socket now would reset it."""
    with serving(APP, directory=tmp_path, workers=workers) as server:
        busy = _one_connection_per_worker(server.port, workers)
        for client in busy:
            client.get("/block/500")
        # Each worker computes now, and accepts nobody.
        late = []
        for number in range(20):
            client = RawClient(server.port)
            client.post_head("/size/-", 5)
            client.send(b"%5d" % number)
            late.append(client)
        server.send_signal(signal.SIGTERM)
        for client in late:
            answer = client.answer()
            assert (answer.status, answer.body) == (200, b"5")
            client.sock.close()
        for client in busy:
            assert client.answer().body == b"blocked\n"
            client.sock.close()
        assert server.ended() == 0


def _one_connection_per_worker(port: int, workers: int) -> list[RawClient]:
    """Which worker accepts a connection is the kernel's choice: connect until each has one."""
    found: dict[bytes, RawClient] = {}

    def try_one() -> bool:
        client = RawClient(port)
        if found.setdefault(client.asks("/pid/-").body, client) is not client:
            client.sock.close()
        return len(found) == workers

    eventually(try_one, "each worker has accepted a connection")
    return list(found.values())


@pytest.mark.parametrize("loop_factory", [uvloop.new_event_loop, asyncio.new_event_loop])
def test_the_accept_queue_is_emptied_before_the_listener_closes(
    loop_factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """In this process, so that the order is certain: the loop sees none of the connections before the stop."""

    async def program() -> list[Answer]:
        server = keepserve.Server(keepserve.Config("tests.system.app:app", port=0))
        ready = asyncio.Event()
        serving = asyncio.create_task(server.serve(on_started=ready.set))
        await asyncio.wait_for(ready.wait(), PATIENCE)
        address = server.addresses[0]
        assert isinstance(address, tuple)
        clients = []
        for number in range(10):
            client = RawClient(address[1])  # the kernel completes it; nobody has to accept for that
            client.post_head("/size/-", 5)
            client.send(b"%5d" % number)
            clients.append(client)
        server.stop()

        def read(client: RawClient) -> Answer:
            with client:
                answer = client.answer()
                assert client.at_end()
                return answer

        answers = await asyncio.gather(*(asyncio.to_thread(read, client) for client in clients))
        await asyncio.wait_for(serving, PATIENCE)
        return answers

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        answers = runner.run(program())
    assert [answer.body for answer in answers] == [b"5"] * 10
    assert {answer.fields["connection"] for answer in answers} == {"close"}


def test_a_second_signal_ends_what_still_runs(tmp_path: Path) -> None:
    with serving(APP, directory=tmp_path) as server, RawClient(server.port) as client:
        client.get("/wait/60000")
        with RawClient(server.port) as other:
            eventually(lambda: other.asks("/seen/wait").body != b"{}", "the request runs")
        server.send_signal(signal.SIGTERM)
        server.said("Stopping: .* 1 running")
        time.sleep(0.6)  # two signals at once are one wish
        began = time.monotonic()
        server.send_signal(signal.SIGTERM)
        assert client.answer().status == 503
        assert server.ended() == 0
        assert time.monotonic() - began < 3


def test_a_stop_while_the_application_starts_is_a_stop(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(
        "import asyncio\n\nasync def app(scope, receive, send):\n    print('starting', flush=True)\n"
        "    await asyncio.sleep(60)\n"
    )
    server = ServerProcess("slow:app", "--port", "0", "--app-dir", str(tmp_path), directory=tmp_path / "log")
    try:
        eventually(lambda: "starting" in server.stdout, "the startup runs")
        server.send_signal(signal.SIGTERM)
        assert server.ended() == 0
        assert "Told to stop during the application's startup" in server.stderr
    finally:
        server.kill()
