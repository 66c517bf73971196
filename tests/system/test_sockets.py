"""What only real sockets show: half-closes, lingering closes, FIN or RST, back-pressure, clients that leave."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator

import pytest

from tests.support.serving import ServerProcess, eventually, serving
from tests.system.app import BLOCK
from tests.system.client import RawClient

APP = "tests.system.app:app"
KEEP_ALIVE = 0.4
TICK_AND_PATIENCE = 0.7
"""Seconds a timer may be late: a tick, the flush noticed by another, and a busy machine."""


@pytest.fixture(scope="module", params=["uvloop", "asyncio"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    options = ["--lb-idle-timeout", "0.2", "--keep-alive-timeout", str(KEEP_ALIVE), "--write-timeout", "500ms"]
    options += ["--limit-request-body", "4MiB", "--loop", request.param]
    with serving(APP, *options, directory=tmp_path_factory.mktemp(request.param)) as running:
        yield running
        # Nothing these clients do is an error of the server's or of the application's.
        assert "Traceback" not in running.stderr
        assert " ERROR " not in running.stderr


@pytest.fixture
def client(server: ServerProcess) -> Iterator[RawClient]:
    with RawClient(server.port) as client:
        yield client


def seen(server: ServerProcess, name: str) -> dict[str, object]:
    """What the application remembers of a request."""
    with RawClient(server.port) as client:
        told: dict[str, object] = json.loads(client.asks(f"/seen/{name}").body)
        return told


# Half-closes


def test_a_client_that_sends_its_fin_after_the_request_gets_the_whole_answer(client: RawClient) -> None:
    client.get("/late/100")
    client.sock.shutdown(socket.SHUT_WR)
    answer = client.answer()
    assert (answer.status, answer.body) == (200, BLOCK * 100)
    assert client.at_end()


def test_an_upload_that_ends_with_a_fin_is_answered(client: RawClient) -> None:
    client.post_head("/size/-", 3_000_000)
    client.send(b"x" * 3_000_000)
    client.sock.shutdown(socket.SHUT_WR)
    assert client.answer().body == b"3000000"
    assert client.at_end()


def test_a_fin_within_a_request_ends_the_connection_without_an_answer(client: RawClient) -> None:
    client.send(b"GET /number/- HTTP/1.1\r\nHost: te")
    client.sock.shutdown(socket.SHUT_WR)
    assert client.at_end()


# Early answers


def test_an_early_401_can_be_read_by_a_client_that_is_still_sending(client: RawClient) -> None:
    client.post_head("/refuse/-", 3_000_000)
    for _ in range(30):
        # A reset would show here, or destroy the answer before it is read.
        client.send(b"x" * 100_000)
        time.sleep(0.001)
    answer = client.answer()
    assert (answer.status, answer.body) == (401, b"Who are you?\n")
    assert answer.fields["connection"] == "close"
    assert client.at_end()


@pytest.mark.parametrize("framing", ["content-length", "chunked"])
def test_a_413_can_be_read_by_a_client_that_is_still_sending(client: RawClient, framing: str) -> None:
    if framing == "content-length":
        client.post_head("/size/-", 5_000_000)
        parts = [b"x" * 100_000] * 50
    else:
        client.send(b"POST /size/- HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n")
        parts = [b"186a0\r\n" + b"x" * 100_000 + b"\r\n"] * 50 + [b"0\r\n\r\n"]
    for part in parts:
        client.send(part)
        time.sleep(0.001)
    answer = client.answer()
    assert answer.status == 413
    assert b"4194304 bytes" in answer.body
    assert answer.fields["connection"] == "close"
    assert client.at_end()


# Idle connections


@pytest.mark.parametrize("requests", [0, 2])
def test_an_idle_connection_is_closed_by_fin_and_never_early(client: RawClient, requests: int) -> None:
    began = time.monotonic()
    for _ in range(requests):
        began = time.monotonic()
        client.asks("/number/-")
    assert client.at_end()  # a reset would raise
    idle = time.monotonic() - began
    assert KEEP_ALIVE <= idle < KEEP_ALIVE + TICK_AND_PATIENCE


def test_a_request_that_arrives_while_the_loop_is_busy_past_the_idle_limit_is_served(
    server: ServerProcess, client: RawClient
) -> None:
    client.asks("/number/-")
    with RawClient(server.port) as other:
        time.sleep(KEEP_ALIVE / 2)
        # The loop sleeps over the idle deadline of the first connection, and the request is sent meanwhile.
        other.get("/block/600")
        time.sleep(KEEP_ALIVE)
        client.post_head("/size/-", 3)
        client.send(b"abc")
        assert client.answer().body == b"3"
        assert other.answer().body == b"blocked\n"


def test_connections_accepted_together_have_numbers_of_their_own(server: ServerProcess) -> None:
    clients = [RawClient(server.port) for _ in range(4)]
    time.sleep(0.02)  # for all to be accepted before the first request
    numbers = [client.asks("/number/-").body for client in clients]
    for client in clients:
        client.sock.close()
    assert len(set(numbers)) == 4
    assert all(number.endswith(b"/1") for number in numbers)


def test_work_after_the_response_does_not_hold_the_next_request(server: ServerProcess, client: RawClient) -> None:
    assert client.asks("/background/-").body == b"accepted\n"
    assert client.asks("/release/-").body == b"released\n"
    eventually(lambda: seen(server, "background").get("end") == "done", "the work is finished")


# Clients that do not read, or leave


def test_a_client_that_does_not_read_stops_the_application_and_is_cut(server: ServerProcess) -> None:
    name = f"stall-{server.port}"
    with RawClient(server.port, receive_buffer=4096) as client:
        began = time.monotonic()
        client.get(f"/endless/{name}")
        eventually(lambda: seen(server, name).get("blocks"), "the response begins")
        # Socket buffers and the transport's are full soon; from then on send() waits.
        stalled = eventually(lambda: _twice_the_same(server, name), "send() waits")
        assert stalled < 16 * 1024 * 1024 / len(BLOCK)
        eventually(lambda: seen(server, name)["end"], "the client is cut", patience=5)
        assert 0.5 <= time.monotonic() - began < 4.0
        assert _ends_with_reset(client.sock)
    assert "OSError" in seen(server, name)["end"]  # type: ignore[operator]  # a list of class names by now


def _twice_the_same(server: ServerProcess, name: str) -> int | None:
    before = seen(server, name)
    time.sleep(0.1)
    after = seen(server, name)
    return int(str(after["blocks"])) if before["blocks"] == after["blocks"] and after["end"] is None else None


def _ends_with_reset(sock: socket.socket) -> bool:
    try:
        while sock.recv(262_144):
            pass
    except ConnectionResetError:
        return True
    return False


def test_a_client_that_reads_slowly_gets_everything(server: ServerProcess) -> None:
    with RawClient(server.port, receive_buffer=4096) as client:
        client.get("/late/20")
        time.sleep(0.3)
        assert client.answer().body == BLOCK * 20


def test_send_raises_oserror_once_the_client_has_left(server: ServerProcess) -> None:
    name = f"left-{server.port}"
    with RawClient(server.port) as client:
        client.get(f"/drip/{name}")
        client.sock.recv(100)
    end = eventually(lambda: seen(server, name).get("end"), "send() fails")
    assert "OSError" in end


def test_send_raises_oserror_once_the_client_has_reset(server: ServerProcess) -> None:
    name = f"reset-{server.port}"
    with RawClient(server.port) as client:
        client.get(f"/drip/{name}")
        client.sock.recv(100)
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    end = eventually(lambda: seen(server, name).get("end"), "send() fails")
    assert "OSError" in end


def test_an_application_that_waits_is_told_of_a_reset(server: ServerProcess) -> None:
    name = f"watched-{server.port}"
    with RawClient(server.port) as client:
        client.get(f"/watch/{name}")
        eventually(lambda: "end" in seen(server, name), "the application waits")
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    eventually(lambda: seen(server, name)["end"] == "http.disconnect", "it is told")
