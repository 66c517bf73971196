"""The phases of a stop over real sockets: what a balancer sees, from the signal to the last connection."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme
import uvloop

import keepserve
from tests.support.serving import PATIENCE, eventually, serving
from tests.system.client import RawClient

APP = "tests.system.app:app"
LAME_DUCK = ("--drain-delay", "1500ms", "--health-path", "/healthz")


def refused(port: int) -> bool:
    """Whether nobody listens any more."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=PATIENCE).close()
    except ConnectionRefusedError:
        return True
    return False


def test_before_a_stop_health_checks_are_answered_without_the_application(tmp_path: Path) -> None:
    with serving(APP, "--health-path", "/healthz", directory=tmp_path) as server, RawClient(server.port) as client:
        for _ in range(2):
            answer = client.asks("/healthz?probe")
            assert (answer.status, json.loads(answer.body)) == (200, {"status": "ready"})
            assert answer.fields["cache-control"] == "no-store"
            assert answer.fields["connection"] == "keep-alive"
        assert client.asks("/number/-").body == b"1/3"
    assert "/healthz" not in server.stdout
    assert "/number/-" in server.stdout


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_a_lame_duck_accepts_and_answers_and_then_nobody_listens(tmp_path: Path, loop: str) -> None:
    with (
        serving(APP, *LAME_DUCK, "--loop", loop, "--drain-idle", "500ms", directory=tmp_path) as server,
        RawClient(server.port) as used,
        RawClient(server.port) as idle,
    ):
        for client in (used, idle):
            assert client.asks("/number/-").fields["connection"] == "keep-alive"
        server.send_signal(signal.SIGTERM)
        began = time.monotonic()
        server.said("Stopping: lame duck for 1.5 s")
        with RawClient(server.port) as fresh:
            answer = fresh.asks("/healthz")
            assert answer.status == 503
            assert json.loads(answer.body) == {"status": "draining", "phase": "lame_duck"}
            assert answer.fields["connection"] == "close"
        for client in (used, RawClient(server.port)):
            with client:
                answer = client.asks("/number/-")
                assert (answer.status, answer.fields["connection"]) == (200, "close")
                assert client.at_end()
        assert time.monotonic() - began < 1.5, "too slow to have seen a lame duck"
        server.said("Stopping: 1 connections, 0 running requests; closing")
        assert time.monotonic() - began >= 1.49
        eventually(lambda: refused(server.port), "the listener is closed")
        # The idle connection is there for another half second, and is not used.
        assert idle.at_end()
        assert time.monotonic() - began >= 1.99
        assert server.ended() == 0
    assert "2 requests finished, 0 cut" in server.said("Stopped in .*")


def test_an_interrupt_skips_the_lame_duck_and_the_grace(tmp_path: Path) -> None:
    with (
        serving(
            APP, "--drain-delay", "30", "--drain-idle", "30", "--drain-timeout", "60", directory=tmp_path
        ) as server,
        RawClient(server.port) as idle,
    ):
        idle.asks("/number/-")
        began = time.monotonic()
        server.send_signal(signal.SIGINT)
        assert idle.at_end()
        assert server.ended() == 0
        assert time.monotonic() - began < 5
    assert "lame duck" not in server.stderr.partition("Ready after")[2]


def test_a_second_signal_ends_the_lame_duck_and_what_still_runs(tmp_path: Path) -> None:
    with (
        serving(APP, "--drain-delay", "60", directory=tmp_path) as server,
        RawClient(server.port) as client,
    ):
        server.send_signal(signal.SIGTERM)
        server.said("lame duck for 60 s")
        client.get("/wait/60000")

        def runs() -> bool:
            with RawClient(server.port) as other:
                return other.asks("/seen/wait").body != b"{}"

        eventually(runs, "the request runs")
        time.sleep(0.6)  # two signals at once are one wish
        began = time.monotonic()
        server.send_signal(signal.SIGTERM)
        assert client.answer().status == 503
        assert server.ended() == 0
        assert time.monotonic() - began < 4
    assert "1 cut" in server.said("Stopped in .*")


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_a_handshake_that_is_under_way_is_completed_and_its_client_served(tmp_path: Path, loop: str) -> None:
    authority = trustme.CA()
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    issued = authority.issue_cert("127.0.0.1")
    issued.cert_chain_pems[0].write_to_path(str(cert))
    issued.private_key_pem.write_to_path(str(key))
    context = ssl.create_default_context()
    authority.configure_trust(context)
    options = ("--ssl-certfile", str(cert), "--ssl-keyfile", str(key), "--loop", loop, "--drain-idle", "1")
    with serving(APP, *options, directory=tmp_path / "log") as server:
        with RawClient(server.port) as begun, RawClient(server.port) as silent:
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            tls = context.wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
            with contextlib.suppress(ssl.SSLWantReadError):
                tls.do_handshake()
            hello = outgoing.read()
            begun.send(hello[:50])
            # Another connection comes after it: when that one has its answer, ours is in the server's hands.
            with RawClient(server.port) as other:
                other.sock = context.wrap_socket(other.sock, server_hostname="127.0.0.1")
                other.asks("/number/-")
            server.send_signal(signal.SIGTERM)
            eventually(lambda: refused(server.port), "the listener is closed")
            time.sleep(1.2)  # the grace of idle connections is over
            begun.send(hello[50:])
            while True:
                try:
                    tls.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    begun.send(outgoing.read())
                    incoming.write(begun.sock.recv(65536))
            tls.write(b"GET /number/- HTTP/1.1\r\nHost: test\r\n\r\n")
            begun.send(outgoing.read())
            answer = b""
            while not answer.endswith(b"/1"):
                try:
                    answer += tls.read()
                except ssl.SSLWantReadError:
                    incoming.write(begun.sock.recv(65536))
            assert answer.startswith(b"HTTP/1.1 200 ")
            assert b"\r\nconnection: close\r\n" in answer.lower()
            # A client that never begins its handshake is nobody to wait for beyond that one's time.
            silent.sock.close()
        assert server.ended() == 0
    assert "Traceback" not in server.stderr


def test_a_stream_says_goodbye_when_the_server_closes(tmp_path: Path) -> None:
    with (
        serving("keepserve.demo:app", "--drain-timeout", "20", directory=tmp_path) as server,
        RawClient(server.port) as client,
    ):
        client.get("/stream?chunks=3&delay=10")
        while b"chunk 1 of 3" not in client._buffer:
            assert client._more()
        began = time.monotonic()
        server.send_signal(signal.SIGTERM)
        answer = client.answer()
        assert answer.body.startswith(b"chunk 1 of 3\nThe server is stopping. Goodbye")
        client.sock.close()
        assert server.ended() == 0
        assert time.monotonic() - began < 5


@pytest.mark.parametrize("loop_factory", [uvloop.new_event_loop, asyncio.new_event_loop])
def test_a_worker_that_leaves_keeps_its_connections_and_takes_none_of_its_siblings(
    loop_factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """In this process: the listening socket is shared with a sibling, which is the test."""

    async def program() -> None:
        config = keepserve.Config(
            APP, health_path="/healthz", drain_delay=30, drain_idle=0, roll_idle=20, keep_alive_timeout=61
        )
        shared = socket.create_server(("127.0.0.1", 0))
        port = shared.getsockname()[1]
        server = keepserve.Server(config)
        ready = asyncio.Event()
        serving = asyncio.create_task(server.serve([shared.dup()], on_started=ready.set))
        await asyncio.wait_for(ready.wait(), PATIENCE)

        def with_leaver() -> RawClient:
            client = RawClient(port)
            assert client.asks("/number/-").fields["connection"] == "keep-alive"
            return client

        first, second, third = [await asyncio.to_thread(with_leaver) for _ in range(3)]
        server.leave()
        await asyncio.sleep(0.3)
        with first, second, third, socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as late:
            health = await asyncio.to_thread(first.asks, "/healthz")
            assert (health.status, health.fields["connection"]) == (200, "close")
            answer = await asyncio.to_thread(second.asks, "/number/-")
            assert (answer.status, answer.fields["connection"]) == (200, "close")
            # Who connects now is the sibling's.
            shared.settimeout(PATIENCE)
            accepted, _ = await asyncio.to_thread(shared.accept)
            with accepted:
                assert accepted.getpeername() == late.getsockname()
            assert not serving.done()
            # The whole server stops: idle connections have the grace of that, which is none.
            began = time.monotonic()
            server.stop(interactive=True)
            assert await asyncio.to_thread(third.at_end)
        await asyncio.wait_for(serving, PATIENCE)
        assert time.monotonic() - began < 5
        shared.close()

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(program())


def test_what_a_lifespan_has_begun_is_told_as_well() -> None:
    told: list[tuple[str, bool]] = []

    async def watch() -> None:
        told.append(("serving", keepserve.draining()))
        await keepserve.until_draining()
        told.append(("closing", keepserve.draining()))

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "lifespan"
        await receive()
        task = asyncio.create_task(watch())
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await asyncio.wait_for(task, PATIENCE)
        await send({"type": "lifespan.shutdown.complete"})

    async def program() -> None:
        server = keepserve.Server(keepserve.Config(app, port=0))
        await server.serve(on_started=lambda: asyncio.get_running_loop().call_later(0.05, server.stop) and None)

    asyncio.run(program())
    assert told == [("serving", False), ("closing", True)]
