"""SIGTERM under HTTP/2 load, from the outside: no request is lost, and nobody waits for nothing."""

from __future__ import annotations

import json
import os
import random
import signal
import ssl
import subprocess
import sys
import time
from pathlib import Path

import pytest
import trustme

from tests.http2.client import Client
from tests.http2.frames import PREFACE, Kind, get, ping, settings, split_frames, window_update
from tests.support.serving import PATIENCE, ROOT, ServerProcess, clean_environment, serving
from tests.system.client import RawClient

ROUNDS = int(os.environ.get("KEEPSERVE_DRAIN_ROUNDS", "3"))
CONNECTIONS, STREAMS = 50, 20

LOAD = "tests.system.http2_load"
NO_LIMIT = 2**31 - 1


def load_and_stop(
    server: ServerProcess, seed: int, connections: int = CONNECTIONS, number: signal.Signals = signal.SIGTERM
) -> tuple[float, dict[str, object]]:
    """Signal a server at some moment of the load; when that was, and what became of the requests."""
    load = subprocess.Popen(
        [sys.executable, "-m", LOAD, str(server.port), str(connections), str(STREAMS), str(seed)],
        cwd=ROOT,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert load.stdout is not None
        assert load.stdout.readline() == "going\n"
        time.sleep(random.Random(seed).uniform(0.0, 0.3))
        server.send_signal(number)
        began = time.monotonic()
        told, _ = load.communicate(timeout=PATIENCE)
    finally:
        load.kill()
        load.wait()
    return began, json.loads(told)


@pytest.mark.parametrize("number", range(ROUNDS))
def test_no_request_is_lost_when_a_busy_server_is_told_to_stop(tmp_path: Path, number: int) -> None:
    """50 connections of 20 POSTs each: every one is answered in full, or known to be safe to send again."""
    with serving(f"{LOAD}:app", "--no-access-log", directory=tmp_path, workers=1 + number % 2) as server:
        began, result = load_and_stop(server, number)
        assert server.ended() == 0
        seconds = time.monotonic() - began
    print(f"round {number}: {result}, {seconds:.2f} s from the signal to the end")
    assert (result["lost"], result["losses"], result["resets"]) == (0, [], 0)
    assert isinstance(result["completed"], int)
    assert result["completed"] >= CONNECTIONS * STREAMS
    assert seconds < 6, "nothing is left to wait for"


@pytest.mark.parametrize("number", range(ROUNDS))
def test_no_request_is_lost_when_the_workers_are_replaced(tmp_path: Path, number: int) -> None:
    """SIGHUP: all these connections are told to go, and others find a server that has never been away."""
    with serving(f"{LOAD}:app", "--no-access-log", directory=tmp_path, workers=1 + number % 2) as server:
        _, result = load_and_stop(server, 2000 + number, number=signal.SIGHUP)
        server.said("Reloaded in")
        with Http2(server.port) as client:
            client.tell(get(1))
            while not client.peer.streams[1].response.whole:
                assert client.listen()
    assert (result["lost"], result["losses"], result["resets"]) == (0, [], 0)


def test_the_reference_engine_loses_none_either(tmp_path: Path) -> None:
    with serving(f"{LOAD}:app", "--no-access-log", "--http2", "h2", directory=tmp_path) as server:
        _, result = load_and_stop(server, 1000, 10)
        assert server.ended() == 0
    assert (result["lost"], result["losses"], result["resets"]) == (0, [], 0)


class Http2(RawClient):
    """A connection that speaks HTTP/2, judged by the strict client."""

    def __init__(self, port: int, context: ssl.SSLContext | None = None) -> None:
        super().__init__(port)
        if context is not None:
            self.sock = context.wrap_socket(self.sock, server_hostname="127.0.0.1")
        self.peer = Client()
        self._unjudged = b""
        self.tell(PREFACE, settings(), settings(ack=True))

    def tell(self, *octets: bytes) -> None:
        """Send frames."""
        data = b"".join(octets)
        self.peer.sends(data)
        self.send(data)

    def listen(self) -> bool:
        """Wait for frames, and answer the server's PING; false at the end of the connection."""
        data = self.sock.recv(262_144)
        if not data:
            assert not self._unjudged, "the connection ended within a frame"
            return False
        data = self._unjudged + data
        self._unjudged = split_frames(data)[1]
        for frame in self.peer.receives(data[: len(data) - len(self._unjudged)]):
            if frame.kind == Kind.PING and not frame.flags:
                self.tell(ping(frame.payload, ack=True))
        return True

    @property
    def last_named(self) -> list[int]:
        """The last stream of each GOAWAY."""
        return [int.from_bytes(frame.payload[:4], "big") for frame in self.peer.frames if frame.kind == Kind.GOAWAY]


def test_idle_connections_do_not_delay_the_end(tmp_path: Path) -> None:
    """D12: used or new, they are told, and gone as soon as their clients have heard."""
    with serving(f"{LOAD}:app", directory=tmp_path) as server:
        clients = [Http2(server.port) for _ in range(5)]
        for client in clients[:-1]:
            client.tell(get(1))
            while not client.peer.streams[1].response.whole:
                assert client.listen()
        server.send_signal(signal.SIGTERM)
        began = time.monotonic()
        for client, last in zip(clients, (1, 1, 1, 1, 0), strict=True):
            while client.listen():
                pass
            assert client.last_named == [NO_LIMIT, last]
            client.sock.close()
        assert server.ended() == 0
        assert time.monotonic() - began < 1.0


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_connections_over_tls_end_likewise(tmp_path: Path, loop: str) -> None:
    """One is idle, one has a request under way; a silent third one is let go after its second."""
    authority = trustme.CA()
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    issued = authority.issue_cert("127.0.0.1")
    issued.cert_chain_pems[0].write_to_path(str(cert))
    issued.private_key_pem.write_to_path(str(key))
    context = ssl.create_default_context()
    context.set_alpn_protocols(["h2"])
    authority.configure_trust(context)
    options = (
        "--ssl-certfile",
        str(cert),
        "--ssl-keyfile",
        str(key),
        "--loop",
        loop,
        "--tls-shutdown-timeout",
        "500ms",
    )
    with serving("tests.system.app:app", *options, directory=tmp_path / "log") as server:
        idle, busy, silent = (Http2(server.port, context) for _ in range(3))
        for client in (idle, silent):
            client.tell(get(1, b"/number/-"))
            while not client.peer.streams[1].response.whole:
                assert client.listen()
        busy.tell(get(1, b"/wait/500"))
        idle.tell(get(3, b"/seen/wait"))
        while not idle.peer.streams[3].response.whole:
            assert idle.listen()
        server.send_signal(signal.SIGTERM)
        for client, last in ((idle, 3), (busy, 1)):
            while client.listen():
                pass
            assert client.last_named == [NO_LIMIT, last]
            client.sock.close()
        assert busy.peer.streams[1].response.body == b"waited\n"
        assert server.ended() == 0
        silent.sock.close()
    assert "Traceback" not in server.stderr


def test_a_silent_client_delays_the_end_by_two_seconds_and_no_more(tmp_path: Path) -> None:
    """One for the answer to the PING, one for the client's close."""
    with serving(f"{LOAD}:app", directory=tmp_path) as server, Http2(server.port) as client:
        client.tell(get(1))
        while not client.peer.streams[1].response.whole:
            assert client.listen()
        server.send_signal(signal.SIGTERM)
        began = time.monotonic()
        assert server.ended() == 0
        assert 1.9 < time.monotonic() - began < 4.0


def test_a_download_that_waits_for_its_client_is_delivered_to_the_last_byte(tmp_path: Path) -> None:
    """D1: uvicorn delivered 65,535 of 400,000 bytes."""
    with serving("tests.system.app:app", directory=tmp_path) as server, Http2(server.port) as client:
        client.tell(get(1, b"/late/25"))
        response = client.peer.streams[1].response
        while len(response.body) < 65_535:
            assert client.listen()
        server.send_signal(signal.SIGTERM)
        server.said("Stopping: 1 connections")
        while client.last_named != [NO_LIMIT, 1]:
            assert client.listen()
        time.sleep(0.5)
        assert len(response.body) == 65_535
        while not response.whole:
            client.tell(window_update(0, 20_000), window_update(1, 20_000))
            assert client.listen()
        assert response.body == b"0123456789abcdef" * 1024 * 25
        while client.listen():
            pass
        client.sock.close()
        assert server.ended() == 0
