"""How other servers lost requests, or their patience, at a stop: each row once more, against ours, as real processes.

The names are rows of our list of other servers' faults. Those that are tested elsewhere: D1, D4-D6, D12 by
``test_http2_drain`` and ``tests/http2/test_farewell``, D2 by ``tests/server/test_connection_http2_apps``, D8 by
``tests/server/test_connection_http2_drain``, D10 and D19 by ``test_stopping``, D17, D18 and D21 by
``tests/balancers/test_stops``.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme

from keepserve.config import Settings
from tests.http2.client import Client
from tests.http2.frames import PREFACE, get, settings
from tests.support.programs import free_port
from tests.support.serving import ServerProcess, eventually, serving
from tests.system.client import RawClient
from tests.system.test_http2_drain import Http2

APP = "tests.system.app:app"

SHORT = ("--drain-idle", "0.2", "--drain-timeout", "0.5", "--drain-cancel", "0.3")

LATE = 1.5
"""Seconds a loaded machine may need for a whole stop, beside what the settings allow."""

Connect = Callable[[int], RawClient]


@pytest.fixture
def connect() -> Iterator[Connect]:
    """A client at this port, which is closed at the end of a test that fails."""
    with contextlib.ExitStack() as stack:
        yield lambda port: stack.enter_context(RawClient(port))


# HTTP/1.1.


def test_whoever_has_begun_a_request_may_finish_it(tmp_path: Path, connect: Connect) -> None:
    """D9: uvicorn cut half a head and connections it had just accepted; three servers closed what was idle."""
    with serving(APP, "--drain-idle", "500ms", directory=tmp_path) as server:
        fresh, idle, head, body = (connect(server.port) for _ in range(4))
        idle.asks("/number/-")
        head.send(b"GET /number/- HTTP/1.1\r\nHo")
        body.post_head("/size/-", 10)
        body.send(b"12345")
        with RawClient(server.port) as last:
            last.asks("/number/-")  # accepted after the others, whose bytes are there by now
        server.send_signal(signal.SIGTERM)
        server.said(r"Stopping: \d connections, 1 running requests")
        head.send(b"st: test\r\n\r\n")
        body.send(b"67890")
        for client in (fresh, idle):
            client.get("/number/-")
        for client in (fresh, idle, head, body):
            answer = client.answer()
            assert (answer.status, answer.fields["connection"]) == (200, "close")
            assert client.at_end()
            client.sock.close()
        assert answer.body == b"10"
        assert server.ended() == 0


def test_silent_and_idle_connections_hold_nobody_longer_than_their_grace(tmp_path: Path, connect: Connect) -> None:
    """D11: gunicorn waited for 30.2 s."""
    clocks = ("--lb-idle-timeout", "600", "--keep-alive-timeout", "3600", "--request-head-timeout", "60")
    with serving(APP, *clocks, "--drain-idle", "0.5", directory=tmp_path) as server:
        clients = [connect(server.port) for _ in range(6)]
        for client in clients[:3]:
            client.asks("/number/-")
        server.send_signal(signal.SIGTERM)
        began = time.monotonic()
        for client in clients:
            assert client.at_end()
            client.sock.close()
        assert server.ended() == 0
        assert 0.5 <= time.monotonic() - began < 0.5 + LATE


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_the_limit_is_honoured_whatever_a_connection_is_doing(tmp_path: Path, connect: Connect, loop: str) -> None:
    """D13, D14: hypercorn was alive 12 s after SIGTERM with a limit of 2, as ``wait_closed`` waits on new Pythons."""
    with serving(APP, *SHORT, "--loop", loop, directory=tmp_path) as server:
        waits, drips, stalls, uploads, half = (connect(server.port) for _ in range(5))
        waits.get("/wait/60000")
        drips.get("/drip/drips")
        stalls.get("/endless/stalls")  # and reads nothing of it
        uploads.post_head("/size/-", 10)
        half.send(b"GET / HT")
        with RawClient(server.port) as other:
            for name in ("wait", "drips", "stalls"):
                eventually(lambda name=name: other.asks(f"/seen/{name}").body != b"{}", f"{name} runs")
        server.send_signal(signal.SIGTERM)
        began = time.monotonic()
        code = server.ended()
        lasted = time.monotonic() - began
        assert code == 0, server.stderr
        assert 0.5 <= lasted < 0.8 + LATE, server.stderr
        # The upload's application answers when it is told that nobody listens: what it says then still counts.
        assert "1 requests finished, 3 cut; 0 connections closed by the peer, 5 by us" in server.said("Stopped in .*")
        for client in (waits, drips, stalls, uploads, half):
            client.sock.close()


def test_the_default_limit_is_one() -> None:
    """D14: granian and uvicorn wait for ever unless they are told not to."""
    assert Settings().stop_budget == 20 + 3 + 5


def test_the_application_is_shut_down_though_a_request_would_not_end(tmp_path: Path) -> None:
    """D15: gunicorn's supervisor killed at the very moment the worker's own limit ended."""
    (tmp_path / "tidy.py").write_text(
        "import asyncio\n\n"
        "async def app(scope, receive, send):\n"
        "    if scope['type'] == 'http':\n"
        "        print('begun', flush=True)\n"
        "        await asyncio.sleep(3600)\n"
        "    await receive()\n"
        "    await send({'type': 'lifespan.startup.complete'})\n"
        "    await receive()\n"
        "    await asyncio.sleep(0.4)\n"
        "    print('tidied up', flush=True)\n"
        "    await send({'type': 'lifespan.shutdown.complete'})\n"
    )
    options = (*SHORT, "--shutdown-timeout", "2", "--app-dir", str(tmp_path))
    with serving("tidy:app", *options, directory=tmp_path / "log") as server, RawClient(server.port) as client:
        client.get("/")
        eventually(lambda: "begun" in server.stdout, "the request runs")
        server.send_signal(signal.SIGTERM)
        assert server.ended() == 0
        assert "tidied up" in server.stdout
    assert "killed" not in server.stderr


def test_all_listeners_close_together_and_none_forgets_its_queue(tmp_path: Path, connect: Connect) -> None:
    """D16, D21: hypercorn closed one after another, over as many seconds as they had connections."""
    ports = [free_port(), free_port()]
    path = tmp_path / "sock"
    where = [f"127.0.0.1:{port}" for port in ports] + [f"unix:{path}"]
    options = [word for address in where for word in ("--bind", address)]
    with serving(APP, *options, directory=tmp_path / "log") as server:
        busy, blocker = connect(ports[0]), connect(ports[0])
        busy.get("/wait/1500")
        with RawClient(ports[1]) as other:
            eventually(lambda: other.asks("/seen/wait").body != b"{}", "the request runs")
        blocker.get("/block/300")
        late = [socket.create_connection(("127.0.0.1", port), timeout=10) for port in ports]
        late.append(socket.socket(socket.AF_UNIX))
        late[-1].settimeout(10)
        late[-1].connect(str(path))
        for sock in late:
            sock.sendall(b"GET /number/- HTTP/1.1\r\nHost: test\r\n\r\n")
        server.send_signal(signal.SIGTERM)
        for sock in late:
            assert sock.recv(4096).startswith(b"HTTP/1.1 200 ")
            sock.close()
        server.said("Stopping: .* closing")
        for port in ports:
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port), timeout=10).close()
        with socket.socket(socket.AF_UNIX) as sock, pytest.raises((FileNotFoundError, ConnectionRefusedError)):
            sock.connect(str(path))
        assert (blocker.answer().body, busy.answer().body) == (b"blocked\n", b"waited\n")
        blocker.sock.close()
        busy.sock.close()
        assert server.ended() == 0


# TLS.


class Late(Http2):
    """HTTP/2 on a TCP connection that has been there for a while; the handshake comes now."""

    def __init__(self, raw: RawClient, context: ssl.SSLContext) -> None:
        self.sock = context.wrap_socket(raw.sock, server_hostname="127.0.0.1")
        self._buffer = self._unjudged = b""
        self.peer = Client()
        self.tell(PREFACE, settings(), settings(ack=True))


@pytest.fixture
def context() -> ssl.SSLContext:
    """A client's, which trusts the server of ``with_tls``."""
    return ssl.create_default_context()


@contextlib.contextmanager
def with_tls(directory: Path, context: ssl.SSLContext, *options: str) -> Iterator[ServerProcess]:
    """A server with a certificate of its own, which ``context`` trusts from then on."""
    authority = trustme.CA()
    authority.configure_trust(context)
    issued = authority.issue_cert("127.0.0.1")
    both = directory / "cert.pem"
    issued.private_key_and_cert_chain_pem.write_to_path(str(both))
    with serving(APP, "--ssl-certfile", str(both), *options, directory=directory / "log") as server:
        yield server


def test_a_handshake_that_ends_in_the_drain_is_worth_a_request(
    tmp_path: Path, connect: Connect, context: ssl.SSLContext
) -> None:
    """D7, D9: Go did not tell such a connection of HTTP/2 to go; uvicorn dropped it."""
    with_http2 = ssl.create_default_context()
    with with_tls(tmp_path, context) as server:
        waiting = [connect(server.port) for _ in range(3)]
        with_http2.load_verify_locations(cadata=_certificates(context))
        with_http2.set_alpn_protocols(["h2"])
        with RawClient(server.port) as last:
            last.sock = context.wrap_socket(last.sock, server_hostname="127.0.0.1")
            last.asks("/number/-")  # accepted after those that wait
        server.send_signal(signal.SIGTERM)
        server.said("Stopping: .* closing")
        old, new, silent = waiting
        client = Late(new, with_http2)
        client.tell(get(1, b"/number/-"))
        old.sock = context.wrap_socket(old.sock, server_hostname="127.0.0.1")
        answer = old.asks("/number/-")
        assert (answer.status, answer.fields["connection"]) == (200, "close")
        while client.listen():
            pass
        assert client.peer.streams[1].response.whole
        assert client.last_named[-1] == 1
        for one in (old, client, silent):
            one.sock.close()
        assert server.ended() == 0
    assert "Traceback" not in server.stderr


def _certificates(context: ssl.SSLContext) -> bytes:
    """What a context trusts."""
    return b"".join(context.get_ca_certs(binary_form=True))


def test_handshakes_that_never_end_do_not_hold_the_stop(
    tmp_path: Path, connect: Connect, context: ssl.SSLContext
) -> None:
    """D11 under TLS: nobody has spoken yet, and nobody will."""
    with with_tls(tmp_path, context, *SHORT) as server:
        silent = [connect(server.port) for _ in range(3)]
        silent[0].send(b"\x16\x03\x01\x02")  # the first bytes of a handshake
        with RawClient(server.port) as last:
            last.sock = context.wrap_socket(last.sock, server_hostname="127.0.0.1")
            last.asks("/number/-")
        server.send_signal(signal.SIGTERM)
        began = time.monotonic()
        assert server.ended() == 0
        assert time.monotonic() - began < 0.8 + LATE
        for client in silent:
            client.sock.close()


# Workers that leave.


def test_a_stop_does_not_wait_for_a_stream_of_a_worker_that_was_replaced(tmp_path: Path, connect: Connect) -> None:
    """S3: uvicorn joined the retired worker within the handler of SIGHUP, and did not hear of SIGTERM."""
    with serving(APP, *SHORT, "--roll-idle", "60", "--no-access-log", directory=tmp_path) as server:
        stream = connect(server.port)
        stream.get("/drip/stream")
        with RawClient(server.port) as other:
            eventually(lambda: other.asks("/seen/stream").body != b"{}", "the stream runs")
            before = other.asks("/pid/-").body
        server.send_signal(signal.SIGHUP)
        server.said("Reloaded in")
        with RawClient(server.port) as other:
            assert other.asks("/pid/-").body != before
        server.send_signal(signal.SIGTERM)
        began = time.monotonic()
        assert server.ended() == 0
        assert time.monotonic() - began < 0.8 + LATE
        stream.sock.close()
    assert "killed" not in server.stderr


def test_a_slow_import_is_not_taken_for_a_hanging_worker(tmp_path: Path) -> None:
    """S2: uvicorn killed workers that were busy importing, some 2,560 of them an hour."""
    (tmp_path / "heavy.py").write_text(
        "import time\n\nend = time.monotonic() + 1.5\nwhile time.monotonic() < end:\n    sum(range(100000))\n\n"
        "from tests.system.app import app\n"
    )
    options = ("--worker-timeout", "0.5", "--app-dir", str(tmp_path))
    with serving("heavy:app", *options, directory=tmp_path / "log") as server:
        with RawClient(server.port) as client:
            assert client.asks("/number/-").status == 200
        server.send_signal(signal.SIGHUP)
        server.said("Reloaded in")
    assert "hangs" not in server.stderr
