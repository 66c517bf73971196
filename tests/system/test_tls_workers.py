"""TLS and the life of workers: sessions resumed by any of them, certificates replaced, the end of a worker."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from keepserve.config import exitcodes
from tests.support.serving import eventually, serving
from tests.support.tls import authority, certificate_files
from tests.support.tools import find_tool

APP = "tests.system.app:app"


def context(version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority().configure_trust(made)
    made.minimum_version = made.maximum_version = version
    return made


def ask(port: int, client: ssl.SSLContext) -> str:
    """One request on a connection of its own; the process that answered."""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
        client.wrap_socket(plain, server_hostname="127.0.0.1") as sock,
    ):
        sock.sendall(b"GET /pid/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = b""
        while data := sock.recv(65536):
            answer += data
        return answer.rpartition(b"\r\n")[2].decode()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_every_worker_resumes_the_sessions_of_the_others_until_a_reload_changes_the_keys(
    tmp_path: Path, version: ssl.TLSVersion
) -> None:
    chain, key = certificate_files(tmp_path)
    options = ("--ssl-certfile", chain, "--ssl-keyfile", key, "--no-access-log", "--roll-idle", "0.2")
    with serving(APP, *options, workers=4, directory=tmp_path / "log") as server:
        client = context(version)
        with contextlib.ExitStack() as stack:

            def first(port: int = server.port) -> ssl.SSLSession:
                plain = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
                sock = stack.enter_context(client.wrap_socket(plain, server_hostname="127.0.0.1"))
                sock.sendall(b"GET /pid/x HTTP/1.1\r\nHost: x\r\n\r\n")
                assert b" 200 " in sock.recv(65536)  # with TLS 1.3 the ticket comes before it
                assert sock.session is not None
                assert not sock.session_reused
                return sock.session

            session = first()
            resumed, workers = 0, set()
            for _ in range(59):
                plain = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=10))
                sock = stack.enter_context(client.wrap_socket(plain, server_hostname="127.0.0.1", session=session))
                sock.sendall(b"GET /pid/x HTTP/1.1\r\nHost: x\r\n\r\n")
                workers.add(sock.recv(65536).rpartition(b"\r\n")[2])
                resumed += bool(sock.session_reused)
            assert len(workers) == 4
            assert resumed == 59
        server.send_signal(signal.SIGHUP)
        server.said("Reloaded in")
        with contextlib.ExitStack() as stack:
            plain = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=10))
            sock = stack.enter_context(client.wrap_socket(plain, server_hostname="127.0.0.1", session=session))
            assert not sock.session_reused


def test_openssls_own_client_resumes_over_all_workers(tmp_path: Path) -> None:
    """``-reconnect`` of openssl s_client: five connections with the session of the first."""
    binary = find_tool("openssl", "openssl")
    chain, key = certificate_files(tmp_path)
    options = ("--ssl-certfile", chain, "--ssl-keyfile", key, "--no-access-log")
    with serving(APP, *options, workers=4, directory=tmp_path / "log") as server:
        for _ in range(4):
            done = subprocess.run(
                [binary, "s_client", "-connect", f"127.0.0.1:{server.port}", "-reconnect", "-tls1_2"],
                input=b"",
                capture_output=True,
                timeout=15,
                check=False,
            )
            told = [
                line.partition(b",")[0] for line in done.stdout.splitlines() if re.match(rb"(New|Reused), ", line)
            ]
            assert told == [b"New"] + [b"Reused"] * 5


def test_a_certificate_is_replaced_under_load_and_nothing_is_lost(tmp_path: Path) -> None:
    """Clients that ask all the time, on connections kept and on new ones, over three reloads."""
    chain, key = certificate_files(tmp_path)
    options = ("--ssl-certfile", chain, "--ssl-keyfile", key, "--no-access-log", "--roll-idle", "0.3")
    with serving(APP, *options, workers=2, directory=tmp_path / "log") as server:
        over = threading.Event()
        lost: list[str] = []
        seen: set[bytes] = set()
        counts = [0, 0]

        def keeps_asking(each_its_own: bool) -> None:
            client = context()
            try:
                while not over.is_set():
                    with (
                        socket.create_connection(("127.0.0.1", server.port), timeout=10) as plain,
                        client.wrap_socket(plain, server_hostname="127.0.0.1") as sock,
                    ):
                        seen.add(sock.getpeercert(binary_form=True) or b"")
                        sock.sendall(b"GET /pid/x HTTP/1.1\r\nHost: x\r\n\r\n")
                        answer = sock.recv(65536)
                        while True:
                            assert answer.startswith(b"HTTP/1.1 200 "), answer
                            counts[each_its_own] += 1
                            if each_its_own or b"connection: close" in answer or over.is_set():
                                break
                            sock.sendall(b"GET /pid/x HTTP/1.1\r\nHost: x\r\n\r\n")
                            answer = sock.recv(65536)
                            time.sleep(0.001)
            except Exception as error:
                lost.append(repr(error))

        threads = [threading.Thread(target=keeps_asking, args=(number % 2 == 0,)) for number in range(6)]
        for thread in threads:
            thread.start()
        try:
            for number in range(3):
                certificate_files(tmp_path)
                server.send_signal(signal.SIGHUP)
                eventually(lambda n=number: server.stderr.count("Reloaded in") > n, "a reload")  # type: ignore[misc]
                time.sleep(0.1)
        finally:
            over.set()
            for thread in threads:
                thread.join(20)
        assert lost == []
        assert len(seen) == 4
        assert min(counts) > 50


def test_a_reload_with_a_bad_certificate_changes_nothing(tmp_path: Path) -> None:
    chain, key = certificate_files(tmp_path)
    options = ("--ssl-certfile", chain, "--ssl-keyfile", key)
    with serving(APP, *options, directory=tmp_path / "log") as server:
        worker = ask(server.port, context())
        whole = Path(chain).read_bytes()
        Path(chain).write_bytes(whole[:200])
        server.send_signal(signal.SIGHUP)
        server.said("damaged|holds no")
        assert ask(server.port, context()) == worker


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
@pytest.mark.parametrize("grace", [0.0, 0.5])
def test_a_silent_client_does_not_hold_the_end_longer_than_an_idle_one(
    tmp_path: Path, loop: str, grace: float
) -> None:
    chain, key = certificate_files(tmp_path)
    options = ["--ssl-certfile", chain, "--ssl-keyfile", key, "--loop", loop, "--drain-idle", str(grace)]
    options += ["--tls-handshake-timeout", "15", "--drain-timeout", "15"]
    with serving(APP, *options, directory=tmp_path / "log") as server, contextlib.ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=10))
        ask(server.port, context())  # who came before is in the worker now
        began = time.monotonic()
        server.send_signal(signal.SIGTERM)
        assert server.ended() == 0
        took = time.monotonic() - began
        assert grace <= took < grace + 2, f"{took:.2f} s"
        assert "3 draining" in server.stderr


def test_a_client_in_its_handshake_is_still_served_at_a_stop(tmp_path: Path) -> None:
    chain, key = certificate_files(tmp_path)
    options = ["--ssl-certfile", chain, "--ssl-keyfile", key, "--drain-idle", "0.3", "--drain-timeout", "10"]
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context().wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
    with (
        serving(APP, *options, directory=tmp_path / "log") as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=10) as sock,
    ):
        with contextlib.suppress(ssl.SSLWantReadError):
            tls.do_handshake()
        hello = outgoing.read()
        sock.sendall(hello[:50])
        time.sleep(0.2)
        server.send_signal(signal.SIGTERM)
        time.sleep(0.8)  # longer than idle ones have
        sock.sendall(hello[50:])
        while True:
            incoming.write(sock.recv(65536))
            with contextlib.suppress(ssl.SSLWantReadError):
                tls.do_handshake()
                break
        tls.write(b"GET /pid/x HTTP/1.1\r\nHost: x\r\n\r\n")
        sock.sendall(outgoing.read())
        answer = b""
        while data := sock.recv(65536):
            incoming.write(data)
            with contextlib.suppress(ssl.SSLWantReadError):
                while piece := tls.read(65536):
                    answer += piece
        assert answer.startswith(b"HTTP/1.1 200 ")
        sock.close()
        assert server.ended() == 0


def test_an_expired_certificate_is_refused_before_anything_is_bound(tmp_path: Path) -> None:
    chain, key = certificate_files(tmp_path, expires_in=-1)
    done = subprocess.run(
        [sys.executable, "-m", "keepserve", APP, "--port", "0", "--ssl-certfile", chain, "--ssl-keyfile", key],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert done.returncode == exitcodes.SETTINGS == 2
    assert f"The certificate in {chain} has expired at " in done.stderr
    assert "Traceback" not in done.stderr
