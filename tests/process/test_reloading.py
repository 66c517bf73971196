"""SIGHUP to the whole command: what is read again, what is kept, and what becomes of requests under way."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import ssl
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import trustme

from tests.process.running import PATIENCE, Running, alive, eventually, get, linux, port_of, server

APP = "tests.process.apps:app"
QUICK = ("--port", "0", "--roll-idle", "0.2", "--drain-idle", "0.1")


def _reload(running: Running, times: int = 1) -> None:
    running.send(signal.SIGHUP)
    running.said("Reloaded in", times)


def test_the_new_code_serves_and_the_old_is_gone(log: Path, tmp_path: Path) -> None:
    source = tmp_path / "reloaded_app.py"
    code = """
async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1")]})
        await send({"type": "http.response.body", "body": b"%s"})
"""
    source.write_text(code % "1")
    with server(log, "reloaded_app:app", "--app-dir", str(tmp_path), "--lifespan", "off", *QUICK) as running:
        port = port_of(running)
        assert get(port) == "1"
        # Another size, since a file changed within one second may look unchanged to the byte-code cache.
        source.write_text("# the second version\n" + code % "2")
        _reload(running)
        eventually(lambda: get(port) == "2", "an answer of the new code")
        running.send(signal.SIGTERM)
        assert running.ended() == 0


def test_broken_code_is_told_and_the_old_goes_on(log: Path, tmp_path: Path) -> None:
    source = tmp_path / "breaking_app.py"
    source.write_text("from tests.process.apps import app\n")
    with server(log, "breaking_app:app", "--app-dir", str(tmp_path), *QUICK) as running:
        port = port_of(running)
        before = get(port)
        source.write_text("from tests.process.apps import application  # there is no such thing\n")
        running.send(signal.SIGHUP)
        running.said("The reload failed: worker .* ended; the old workers go on")
        running.said("ImportError|cannot import name")
        assert get(port) == before
        source.write_text("from tests.process.apps import app\n# mended\n")
        _reload(running)
        eventually(lambda: get(port) != before, "an answer of a new worker")


def test_settings_and_the_applications_environment_are_read_again(log: Path, tmp_path: Path) -> None:
    source = tmp_path / "env_app.py"
    source.write_text("""
import os

async def app(scope, receive, send):
    body = (os.environ.get("COLOUR", "none") + " " + os.environ.get("GONE", "none")).encode()
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})
""")
    env = tmp_path / "env"
    env.write_text("COLOUR=red\nGONE=here\nKEEPSERVE_HEADER=x-generation: 1\n")
    options = ("--app-dir", str(tmp_path), "--env-file", str(env), "--lifespan", "off", "--workers", "1")
    with server(log, "env_app:app", *options, *QUICK) as running:
        port = port_of(running)
        assert get(port) == "red here"
        env.write_text("COLOUR=blue\nKEEPSERVE_HEADER=x-generation: 2\n")
        _reload(running)
        eventually(lambda: get(port) == "blue none", "the new environment")
        eventually(lambda: _generation(port) == "2", "the new field")


def _generation(port: int) -> str | None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("GET", "/")
        return connection.getresponse().headers["x-generation"]
    finally:
        connection.close()


def test_settings_that_cannot_be_used_change_nothing(log: Path, tmp_path: Path) -> None:
    env = tmp_path / "env"
    env.write_text("KEEPSERVE_LB_IDLE_TIMEOUT=60\n")
    with server(log, APP, "--env-file", str(env), *QUICK) as running:
        port = port_of(running)
        before = get(port)
        env.write_text("KEEPSERVE_LB_IDLE_TIMEOUT=60\nKEEPSERVE_KEEP_ALIVE_TIMEOUT=10\n")
        running.send(signal.SIGHUP)
        running.said("SIGHUP: the settings cannot be used, and everything stays as it is: .*keep_alive_timeout")
        assert get(port) == before


def test_addresses_stay_as_they_are_and_that_is_said(log: Path, tmp_path: Path) -> None:
    env = tmp_path / "env"
    env.write_text("KEEPSERVE_PORT=0\n")
    options = ("--roll-idle", "0.2", "--drain-idle", "0.1", "--env-file", str(env))
    with server(log, APP, *options) as running:
        port = port_of(running)
        before = get(port)
        env.write_text("KEEPSERVE_PORT=1\n")
        _reload(running)
        running.said("--port: changed, and not used before a restart")
        eventually(lambda: get(port) != before, "a new worker on the old port")


def test_the_number_of_workers_follows_the_settings(log: Path, tmp_path: Path) -> None:
    env = tmp_path / "env"
    env.write_text("KEEPSERVE_WORKERS=1\n")
    with server(log, APP, "--env-file", str(env), *QUICK) as running:
        port = port_of(running)
        env.write_text("KEEPSERVE_WORKERS=3\n")
        _reload(running)
        running.said("is ready after", 3)
        env.write_text("KEEPSERVE_WORKERS=2\n")
        _reload(running, 2)
        eventually(lambda: len({get(port) for _ in range(8)}) == 2, "two workers that answer")
        running.send(signal.SIGTERM)
        assert running.ended() == 0


def test_new_certificates_are_used_for_new_connections_and_old_ones_go_on(log: Path, tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = tmp_path / "server.pem"

    def issue() -> int:
        issued = authority.issue_cert("localhost")
        issued.private_key_and_cert_chain_pem.write_to_path(str(certificate))
        return int(ssl._ssl._test_decode_cert(str(certificate))["serialNumber"], 16)  # type: ignore[attr-defined]  # the only decoder the standard library has

    def connect(port: int) -> tuple[http.client.HTTPSConnection, int]:
        context = ssl.create_default_context()
        authority.configure_trust(context)
        connection = http.client.HTTPSConnection("localhost", port, timeout=PATIENCE, context=context)
        connection.connect()
        shown = connection.sock.getpeercert()
        return connection, int(shown["serialNumber"], 16)

    first = issue()
    options = ("--host", "localhost", "--ssl-certfile", str(certificate), "--roll-idle", "10", "--port", "0")
    with server(log, APP, *options) as running:
        port = int(running.said(r"serves on https://[^ ,]*:(\d+)")[0])
        kept, serial = connect(port)
        assert serial == first
        second = issue()
        _reload(running)
        eventually(lambda: connect_and_close(connect, port) == second, "the new certificate")
        kept.request("GET", "/")
        answer = kept.getresponse()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        answer.read()
        kept.close()


def connect_and_close(connect: object, port: int) -> int:
    """The serial number a new connection is shown."""
    assert callable(connect)
    connection, serial = connect(port)
    connection.close()
    return int(serial)


def test_a_broken_certificate_changes_nothing(log: Path, tmp_path: Path) -> None:
    certificate = tmp_path / "server.pem"
    trustme.CA().issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(certificate))
    options = ("--host", "localhost", "--ssl-certfile", str(certificate), "--port", "0")
    with server(log, APP, *options) as running:
        running.said("serves on https")
        certificate.write_text("half a certifica")
        running.send(signal.SIGHUP)
        running.said("SIGHUP: the settings cannot be used.*holds no certificate in PEM form")
        assert running.process.poll() is None


def test_a_request_under_way_is_finished_by_the_old_worker(
    log: Path, tmp_path: Path, pool: ThreadPoolExecutor
) -> None:
    release = tmp_path / "release"
    with server(log, APP, *QUICK, env={"APP_RELEASE": str(release)}) as running:
        port = port_of(running)
        old = get(port)
        waiting = pool.submit(get, port, "/wait")
        running.said("waiting")
        _reload(running)
        eventually(lambda: get(port) != old, "an answer of the new worker")
        release.touch()
        assert waiting.result() == old
        eventually(lambda: not alive(int(old)), "the end of the old worker")


def test_an_idle_connection_survives_a_reload_until_it_is_used(log: Path) -> None:
    with server(log, APP, "--port", "0", "--roll-idle", "10") as running:
        port = port_of(running)
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        connection.request("GET", "/")
        old = connection.getresponse().read()
        _reload(running)
        connection.request("GET", "/")
        answer = connection.getresponse()
        assert (answer.read(), answer.headers["connection"]) == (old, "close")
        eventually(lambda: not alive(int(old)), "the end of the old worker")
        connection.close()


def test_a_stop_does_not_wait_for_the_idle_connections_of_a_worker_that_leaves(log: Path) -> None:
    with server(log, APP, "--port", "0", "--roll-idle", "60", "--drain-idle", "0.1") as running:
        port = port_of(running)
        with socket.create_connection(("127.0.0.1", port)) as idle:
            idle.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert idle.recv(4096).startswith(b"HTTP/1.1 200")
            _reload(running)
            running.send(signal.SIGTERM)
            assert running.ended(patience=5) == 0


def test_requests_keep_being_counted_for_recycling(log: Path) -> None:
    with server(log, APP, *QUICK, "--max-requests", "20", "--worker-timeout", "0.4") as running:
        port = port_of(running)
        before = get(port)
        for _ in range(30):
            get(port)
        running.said(rf"Worker {before} has served \d+ requests \(max_requests\) and is replaced")
        eventually(lambda: get(port) != before, "an answer of the new worker")


@linux
def test_a_blocked_event_loop_shows_where_it_is_blocked_and_is_replaced(log: Path, pool: ThreadPoolExecutor) -> None:
    with server(log, APP, *QUICK, "--worker-timeout", "0.6") as running:
        port = port_of(running)
        pid = get(port)
        blocked = pool.submit(get, port, "/block")
        running.said(rf"Worker {pid} hangs: its event loop has not turned for 600 ms .*, with 1 request in flight")
        running.said(r"tests/process/apps\.py\", line \d+ in app")  # the stack, by faulthandler
        running.said(rf"Worker {pid} was ended by our SIGABRT for hanging")
        with pytest.raises(OSError, match=r".+"):
            blocked.result()
        assert get(port) != pid


@linux
def test_a_healthy_worker_is_not_taken_for_a_hanging_one(log: Path) -> None:
    with server(log, APP, *QUICK, "--worker-timeout", "0.5") as running:
        port = port_of(running)
        pid = get(port)
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            assert get(port) == pid
        assert "hangs" not in running.log


@linux
def test_sigusr2_shows_requests_and_threads_also_of_a_blocked_worker(
    log: Path, tmp_path: Path, pool: ThreadPoolExecutor
) -> None:
    release = tmp_path / "release"
    with server(log, APP, *QUICK, env={"APP_RELEASE": str(release)}) as running:
        port = port_of(running)
        waiting = pool.submit(get, port, "/wait")
        running.said("waiting")
        running.send(signal.SIGUSR2)
        running.said(r"GET /wait, .* old, no response yet")
        running.said(r"Current thread|Thread 0x")
        release.touch()
        pid = waiting.result()
        blocked = pool.submit(get, port, "/block")
        running.said("blocking")
        running.send(signal.SIGUSR2)
        running.said(r"apps\.py\", line \d+ in app")
        os.kill(int(pid), signal.SIGKILL)
        with pytest.raises(OSError, match=r".+"):
            blocked.result()


def test_signals_to_the_whole_group_do_not_end_workers(log: Path) -> None:
    """``pkill -HUP keepserve`` reaches everybody."""
    with server(log, APP, *QUICK, start_new_session=True) as running:
        port = port_of(running)
        pid = get(port)
        for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTTOU):
            os.killpg(running.pid, number)
            running.said(number.name)
        assert get(port) == pid
        os.killpg(running.pid, signal.SIGHUP)
        running.said("Reloaded in")
        running.send(signal.SIGTERM)
        assert running.ended() == 0


def test_breakpoint_keeps_a_worker_from_being_taken_for_a_hanging_one(log: Path, tmp_path: Path) -> None:
    (tmp_path / "stopping_app.py").write_text("""
import time

def look_around():
    time.sleep(1.5)

async def app(scope, receive, send):
    if scope["type"] == "http":
        breakpoint()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})
""")
    options = ("--app-dir", str(tmp_path), "--lifespan", "off", "--worker-timeout", "0.4", *QUICK)
    environment = {"PYTHONBREAKPOINT": "stopping_app.look_around"}
    with server(log, "stopping_app:app", *options, env=environment) as running:
        assert get(port_of(running)) == "ok"
        assert "hangs" not in running.log
