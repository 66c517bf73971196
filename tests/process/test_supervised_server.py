"""The whole command: supervisor, workers and a real server, under the faults they are made for."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.process.running import (
    PATIENCE,
    ROOT,
    Running,
    alive,
    can_bind,
    can_unshare,
    eventually,
    fake,
    get,
    linux,
    port_of,
    server,
)
from tests.support.programs import free_port

APP = "tests.process.apps:app"
PORT_0 = ("--port", "0")


def _asked_to_wait(running: Running, port: int, pool: ThreadPoolExecutor) -> Future[Any]:
    """Have a request run in the server; the future gives its response and body."""

    def wait() -> tuple[http.client.HTTPResponse, bytes]:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)) as connection:
            connection.request("GET", "/wait")
            response = connection.getresponse()
            return response, response.read()

    waiting = pool.submit(wait)
    running.said("waiting")
    return waiting


# -- Faults


def test_service_goes_on_when_a_worker_is_killed(log: Path) -> None:
    with server(log, APP, *PORT_0) as running:
        port = port_of(running)
        first = get(port)
        os.kill(int(first), signal.SIGKILL)
        # At once: the supervisor holds the listening socket, so the connection waits for the next worker.
        second = get(port)
        assert second != first
        running.said(rf"Worker {first} was killed by SIGKILL .* another one is started now")
        running.send(signal.SIGTERM)
        assert running.ended() == 0


def test_siblings_do_not_notice_the_end_of_a_worker(log: Path, tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    release = tmp_path / "release"
    with server(log, APP, *PORT_0, "--workers", "2", env={"APP_RELEASE": str(release)}) as running:
        running.said("All 2 workers are ready")
        port = port_of(running)
        waiting = _asked_to_wait(running, port, pool)
        busy = running.said(r"waiting (\d+)")[0]
        # The kernel spreads connections; sooner or later one reaches the other worker.
        other = eventually(lambda: (pid := get(port)) != busy and pid, "an answer of the other worker")
        os.kill(int(other), signal.SIGSEGV)
        running.said(rf"Worker {other} crashed with SIGSEGV")
        release.touch()
        assert waiting.result()[1].decode() == busy
        running.said("is ready after")
        assert other not in {get(port) for _ in range(10)}


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_workers_end_and_the_port_is_free_when_the_supervisor_is_killed(log: Path, loop: str) -> None:
    port = free_port()
    with server(log, APP, "--port", str(port), "--workers", "2", "--loop", loop) as running:
        running.said("All 2 workers are ready")
        worker = int(get(port))
        running.process.kill()
        running.ended()
        eventually(lambda: can_bind(port), "the port to be free")
        eventually(lambda: not alive(worker), "the end of the worker")
        running.said("lifespan shutdown", 2, by_orphans=True)


@linux
def test_an_orphan_whose_application_blocks_the_loop_ends_nevertheless(log: Path, pool: ThreadPoolExecutor) -> None:
    port = free_port()
    options: dict[str, Any] = {"app": APP, "port": port, "ORPHAN_MARGIN": 0.3}
    options |= {"drain_timeout": 0.0, "drain_cancel": 0.0, "shutdown_timeout": 0.0}
    with fake("served", log, **options) as running:
        running.said("serves on")
        lost = pool.submit(get, port, "/block")
        running.said("blocking")
        running.process.kill()
        eventually(lambda: can_bind(port), "the port to be free")
        assert isinstance(lost.exception(PATIENCE), OSError)


def test_a_worker_that_is_told_to_end_is_replaced(log: Path) -> None:
    with server(log, APP, *PORT_0) as running:
        port = port_of(running)
        first = get(port)
        os.kill(int(first), signal.SIGTERM)
        running.said(rf"Worker {first} ended with exit code 0 .* another one is started now")
        assert get(port) != first


# -- Stopping


def test_a_request_in_flight_is_finished_and_says_connection_close(
    log: Path, tmp_path: Path, pool: ThreadPoolExecutor
) -> None:
    release = tmp_path / "release"
    environment = {"APP_RELEASE": str(release), "APP_AT_EXIT": "1"}
    with server(log, APP, *PORT_0, env=environment) as running:
        port = port_of(running)
        waiting = _asked_to_wait(running, port, pool)
        running.send(signal.SIGTERM)
        eventually(lambda: _refuses(port), "the listener to be closed")
        release.touch()
        response, body = waiting.result()
        assert response.status == 200
        assert response.headers["connection"] == "close"
        assert running.ended() == 0
        assert not alive(int(body))
        running.said("lifespan shutdown[^$]*exit function ran")


def test_a_signal_to_every_process_of_the_service_is_one_graceful_stop(
    log: Path, tmp_path: Path, pool: ThreadPoolExecutor
) -> None:
    # systemd's default (KillMode=control-group); a terminal does it with SIGINT.
    release = tmp_path / "release"
    with server(log, APP, *PORT_0, env={"APP_RELEASE": str(release)}, start_new_session=True) as running:
        waiting = _asked_to_wait(running, port_of(running), pool)
        for number in (signal.SIGTERM, signal.SIGINT):
            os.killpg(running.pid, number)
        running.said("Stopping: 1 conn")
        time.sleep(0.1)  # for what a worker must not do
        release.touch()
        assert waiting.result()[0].status == 200
        assert running.ended() == 0


def test_a_second_signal_cancels_what_still_runs(log: Path, tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    with server(log, APP, *PORT_0, env={"APP_RELEASE": str(tmp_path / "never")}) as running:
        waiting = _asked_to_wait(running, port_of(running), pool)
        running.send(signal.SIGTERM)
        running.said("Stopping: 1 conn")
        time.sleep(0.55)  # a second signal within half a second is a wrapper's echo of the first
        began = time.monotonic()
        running.send(signal.SIGTERM)
        assert running.ended() == 0
        assert time.monotonic() - began < 2.5
        assert waiting.exception() is not None or waiting.result()[0].status >= 500


def test_sigterm_while_the_application_is_imported_ends_promptly(log: Path) -> None:
    with server(log, APP, *PORT_0, env={"APP_IMPORT": "hang"}) as running:
        running.said("importing")
        running.send(signal.SIGTERM)
        assert running.ended(patience=2) == 0


def test_sigterm_while_the_application_starts_up_cancels_its_startup(log: Path) -> None:
    with server(log, APP, *PORT_0, env={"APP_STARTUP": "wait", "APP_RELEASE": "/nowhere"}) as running:
        running.said("starting")
        running.send(signal.SIGTERM)
        assert running.ended(patience=3) == 0
        running.said("startup cancelled")


def _refuses(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) != 0


# -- Failures to start


def test_an_application_that_is_not_there_ends_with_3_and_no_traceback(log: Path) -> None:
    with server(log, "tests.process.nowhere:app", *PORT_0, "--workers", "3") as running:
        assert running.ended() == 3
        assert len(running.said("no module 'tests.process.nowhere'")) == 1
        assert "Traceback" not in running.log


def test_an_application_that_raises_on_import_ends_with_3_and_its_own_traceback_once(log: Path) -> None:
    with server(log, "tests.process.broken_app:app", *PORT_0, "--workers", "3") as running:
        assert running.ended() == 3
        assert running.log.count("Traceback") == 1
        running.said("LookupError: no such secret")
        assert "importlib" not in running.log


def test_a_failed_startup_ends_with_3_and_the_applications_message(log: Path) -> None:
    with server(log, APP, *PORT_0, env={"APP_STARTUP": "fail"}) as running:
        assert running.ended() == 3
        running.said("the database is not there")
        assert "Traceback" not in running.log


def test_nobody_can_connect_before_the_application_has_started(log: Path) -> None:
    port = free_port()
    with server(log, APP, "--port", str(port), env={"APP_STARTUP": "wait", "APP_RELEASE": "/nowhere"}) as running:
        running.said("starting")
        assert _refuses(port)


@linux
@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_another_server_that_began_to_listen_first_is_told_of(log: Path, tmp_path: Path, loop: str) -> None:
    release = tmp_path / "release"
    with socket.socket() as other:
        # Linux lets two sockets have a port until one of them listens.
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", 0))
        port = str(other.getsockname()[1])
        environment = {"APP_STARTUP": "wait", "APP_RELEASE": str(release)}
        with server(log, APP, "--port", port, "--loop", loop, env=environment) as running:
            running.said("starting")
            other.listen()
            release.touch()
            assert running.ended() == 4
            running.said(f"Another server began to listen on http://127.0.0.1:{port} while this one was starting")


# -- Ways to be run


@pytest.mark.skipif(bool(can_unshare()), reason=can_unshare() or "it can")
def test_as_pid_1_it_serves_handles_signals_and_reaps_orphans(log: Path) -> None:
    port = free_port()
    # What a shell leaves behind when it ends in exec: a child that keepserve knows nothing of.
    script = f"sleep 0.1 & exec {sys.executable} -m keepserve {APP} --port {port} --log-level debug"
    command = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c", script]
    with log.open("wb") as output:
        outer = subprocess.Popen(command, stdout=output, stderr=output, cwd=ROOT)
    try:
        assert eventually(lambda: not _refuses(port) and get(port), "an answer") != "1"
        assert "supervisor 1, 1 worker" in log.read_text()
        eventually(lambda: "which is not a worker, ended with exit code 0" in log.read_text(), "the reaping")
        inner = int(Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text())
        os.kill(inner, signal.SIGTERM)
        assert outer.wait(PATIENCE) == 0
    finally:
        outer.kill()
        outer.wait()


def test_an_application_object_is_served_from_a_script(log: Path) -> None:
    with Running(["-m", "tests.process.apps", "info"], log).closing() as running:
        assert get(port_of(running)) != str(running.pid)
        running.said("alb drops idle connections after 60 s")
        running.send(signal.SIGINT)
        assert running.ended() == 0


def test_unix_and_inherited_sockets_are_served_beside_tcp(log: Path, tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    with socket.create_server(("127.0.0.1", 0)) as inherited:
        fd, port = inherited.fileno(), inherited.getsockname()[1]
        binds = ("--bind", f"unix:{path}", "--bind", f"fd://{fd}", "--bind", "127.0.0.1:0")
        with server(log, APP, *binds, pass_fds=(fd,)) as running:
            running.said("serves on")
            tcp = int(running.said(rf"127\.0\.0\.1:(?!{port})(\d+)")[0])
            worker = get(tcp)
            assert get(port) == worker
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(path))
                client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                assert client.makefile("rb").read().endswith(worker.encode())
            running.send(signal.SIGTERM)
            assert running.ended() == 0
            assert not path.exists()


def test_a_tls_session_is_resumed_by_another_worker(log: Path, tmp_path: Path) -> None:
    authority = trustme.CA()
    pem = tmp_path / "both.pem"
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(pem))
    context = ssl.create_default_context()
    # TLS 1.3 works as well; 1.2 has the session at hand after the handshake.
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    authority.configure_trust(context)
    with server(log, APP, *PORT_0, "--workers", "2", "--ssl-certfile", str(pem)) as running:
        running.said("All 2 workers are ready")
        port = port_of(running)
        session, resumed = None, set()

        def ask() -> bool:
            nonlocal session
            tcp = socket.create_connection(("127.0.0.1", port))
            with context.wrap_socket(tcp, server_hostname="localhost", session=session) as client:
                client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                resumed.add(client.makefile("rb").read().rpartition(b"\r\n")[2])
                assert session is None or client.session_reused
                session = session or client.session
            return len(resumed) == 2

        eventually(ask, "an answer of each worker")
