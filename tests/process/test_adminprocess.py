"""The admin listener of a real server: what it shows, and that nobody else notices what happens to it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from keepserve.config import Settings
from keepserve.process.adminprocess import AdminProcess, own_settings
from keepserve.process.respawn import Backoff
from keepserve.telemetry.scoreboard import Scoreboard
from tests.process.running import (
    PATIENCE,
    ROOT,
    Running,
    alive,
    eventually,
    fake,
    get,
    linux,
    port_of,
    server,
)
from tests.support.processes import children, descriptors
from tests.support.programs import free_port
from tests.support.serving import clean_environment

APP = "tests.process.apps:app"
ADMIN = ("--port", "0", "--admin", "127.0.0.1:0", "--drain-idle", "0.1")


def admin_port(running: Running) -> int:
    """Where the admin listener is."""
    return int(running.said(r"admin +http://127\.0\.0\.1:(\d+): a page, /status and /metrics")[0])


def status(port: int) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(get(port, "/status"))
    return document


def helper(running: Running) -> int:
    """The pid of the admin listener's process: the child that is no worker."""
    document = status(admin_port(running))
    (found,) = children(running.pid) - {worker["pid"] for worker in document["workers"]}
    return found


def test_page_status_and_metrics_are_served_beside_the_application(log: Path) -> None:
    with server(log, APP, *ADMIN, "--workers", "2") as running:
        running.said("All 2 workers are ready")
        port, admin = port_of(running), admin_port(running)
        assert get(admin).startswith("<!doctype html>")
        before = status(admin)
        assert (before["state"], before["pid"], before["warnings"]) == ("serving", running.pid, [])
        assert before["listening"] == [f"http://127.0.0.1:{port}"]
        assert {worker["stage"] for worker in before["workers"]} == {"serving"}
        for _ in range(3):
            get(port)
        after = eventually(lambda: (seen := status(admin))["requests"]["total"] == 3 and seen, "three requests")
        assert after["connections"]["accepted"] == 3
        assert "keepserve_requests_total" in get(admin, "/metrics")
        assert "There is nothing at /wait" in get(admin, "/wait")
        running.send(signal.SIGTERM)
        assert running.ended() == 0
    assert "ERROR" not in running.log
    assert "Traceback" not in running.log


def test_it_is_no_worker_and_its_own_requests_are_not_counted(log: Path) -> None:
    with server(log, APP, *ADMIN) as running:
        port_of(running)
        admin = admin_port(running)
        for _ in range(5):
            seen = status(admin)
        assert [worker["seat"] for worker in seen["workers"]] == [0]
        assert (seen["requests"]["total"], seen["connections"]["accepted"]) == (0, 0)
        assert "/status" not in running.log.partition("serves on")[2]


@linux
def test_a_killed_process_comes_back_and_no_worker_notices(log: Path) -> None:
    with server(log, APP, *ADMIN) as running:
        port, admin = port_of(running), admin_port(running)
        worker, first = get(port), helper(running)
        os.kill(first, signal.SIGKILL)
        running.said("The admin listener's process was killed by SIGKILL .*; another one is started now")
        assert status(admin)["state"] == "serving"  # who asked meanwhile has waited
        second = helper(running)
        assert second not in (first, int(worker))
        os.kill(second, signal.SIGKILL)
        running.said(r"process was killed by SIGKILL .*; another one is started in \d+ ms")
        assert status(admin)["restarts"]["killed"] == 0
        assert get(port) == worker
        running.send(signal.SIGTERM)
        assert running.ended() == 0


@linux
def test_it_ends_with_a_supervisor_that_is_killed(log: Path) -> None:
    with server(log, APP, *ADMIN) as running:
        port_of(running)
        pid = helper(running)
        running.send(signal.SIGKILL)
        running.ended()
        eventually(lambda: not alive(pid), "its end")


@linux
def test_it_holds_none_of_the_servers_sockets_nor_they_its(log: Path) -> None:
    with server(log, APP, *ADMIN, "--workers", "2") as running:
        running.said("All 2 workers are ready")
        admin = admin_port(running)
        pid, document = helper(running), status(admin)
        shared = _socket_inodes(pid) & _socket_inodes(running.pid)
        assert len(shared) == 1  # its listening socket
        for worker in document["workers"]:
            assert _socket_inodes(worker["pid"]).isdisjoint(_socket_inodes(pid))


def _socket_inodes(pid: int) -> set[str]:
    assert descriptors(pid)
    found = (os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir())
    return {name for name in found if name.startswith("socket:")}


def test_a_drain_can_be_watched_to_its_end_and_is_not_delayed(
    log: Path, tmp_path: Path, pool: ThreadPoolExecutor
) -> None:
    release = tmp_path / "release"
    with server(log, APP, *ADMIN, env={"APP_RELEASE": str(release)}) as running:
        port, admin = port_of(running), admin_port(running)
        waiting = pool.submit(get, port, "/wait")
        running.said(r"waiting \d+")
        # A scraper with a connection of its own, as Prometheus has: it is nobody's reason to wait.
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", admin, timeout=PATIENCE)) as scraper:
            scraper.request("GET", "/metrics")
            scraper.getresponse().read()
            os.kill(helper(running), signal.SIGTERM)  # as a service manager does, to every process
            running.send(signal.SIGTERM)
            seen = eventually(
                lambda: (seen := status(admin))["workers"][0]["phase"] != "serving" and seen, "a worker that drains"
            )
            assert seen["state"] == "draining"
            assert (seen["drain"]["requests"], seen["drain"]["limit"]) == (1, 28.0)
            assert seen["warnings"][0].startswith("The server is stopping: after ")
            release.touch()
            assert waiting.result(PATIENCE).isdigit()
            asked = time.monotonic()
            assert running.ended() == 0
            assert time.monotonic() - asked < 2.0
    with pytest.raises(ConnectionRefusedError):
        get(admin)
    assert "The admin listener's process" not in running.log


def test_after_a_reload_it_shows_the_new_settings_by_the_same_process(log: Path, tmp_path: Path) -> None:
    env = tmp_path / "env"
    env.write_text("KEEPSERVE_LB=alb\nKEEPSERVE_ADMIN=127.0.0.1:0\n")
    options = ("--port", "0", "--env-file", str(env), "--roll-idle", "0.2", "--drain-idle", "0.1")
    with server(log, APP, *options) as running:
        port_of(running)
        admin = admin_port(running)
        before = helper(running)
        assert status(admin)["settings"]["lb_idle_timeout"] == 60
        env.write_text("KEEPSERVE_LB=alb\nKEEPSERVE_LB_IDLE_TIMEOUT=90\nKEEPSERVE_ADMIN=127.0.0.1:1\n")
        running.send(signal.SIGHUP)
        running.said("--admin: changed, and not used before a restart")
        running.said("Reloaded in")
        seen = eventually(
            lambda: (seen := status(admin))["settings"]["lb_idle_timeout"] == 90 and seen, "the new settings"
        )
        assert seen["settings"]["keep_alive_timeout"] == 110
        assert (seen["reloads"], seen["state"]) == (1, "serving")
        eventually(lambda: len(status(admin)["workers"]) == 1, "the end of the old worker")
        assert helper(running) == before


def test_before_the_first_worker_is_ready_it_says_that_the_server_starts(log: Path, tmp_path: Path) -> None:
    release = tmp_path / "release"
    with server(log, APP, *ADMIN, env={"APP_STARTUP": "wait", "APP_RELEASE": str(release)}) as running:
        running.said("starting")
        admin = admin_port(running)
        assert status(admin)["state"] == "starting"
        release.touch()
        eventually(lambda: status(admin)["state"] == "serving", "that it serves")


def test_a_unix_socket_serves_as_well_and_is_removed(log: Path, tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    with server(log, APP, "--port", "0", "--admin", f"unix:{path}") as running:
        port_of(running)
        running.said(f"admin +unix:{re.escape(str(path))}: a page")
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(PATIENCE)
            sock.connect(str(path))
            sock.sendall(b"GET /status HTTP/1.1\r\nHost: anything.example\r\nConnection: close\r\n\r\n")
            answer = b"".join(iter(lambda: sock.recv(65536), b""))
        assert answer.startswith(b"HTTP/1.1 200 ")
        running.send(signal.SIGINT)
        assert running.ended() == 0
    assert list(tmp_path.glob("admin.sock*")) == []


def _refused(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-m", "keepserve", APP, "--port", "0", *options]
    return subprocess.run(
        command, cwd=ROOT, env=clean_environment(), capture_output=True, text=True, timeout=PATIENCE, check=False
    )


def test_a_public_address_is_refused_before_anything_starts() -> None:
    ended = _refused("--admin", "0.0.0.0:9090")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("keepserve: 0.0.0.0:9090 can be reached by other machines (--admin)")
    assert "--admin-allow-public" in ended.stderr


def test_a_public_address_that_is_allowed_serves_any_name(log: Path) -> None:
    with server(log, APP, "--port", "0", "--admin", "0.0.0.0:0", "--admin-allow-public") as running:
        port = int(running.said(r"admin +http://0\.0\.0\.0:(\d+): .*, where whoever reaches it may look")[0])
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        with contextlib.closing(connection):
            connection.request("GET", "/status", headers={"Host": "server-7.internal"})
            assert connection.getresponse().status == 200


def test_a_taken_port_ends_the_server_with_the_code_for_addresses() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        where = f"127.0.0.1:{other.getsockname()[1]}"
        ended = _refused("--admin", where)
        assert (ended.returncode, ended.stdout) == (4, "")
        assert ended.stderr.startswith(f"keepserve: {where} is taken: ")
        assert ended.stderr.endswith("choose another --admin.\n")


def test_the_application_and_the_admin_listener_cannot_share_a_port() -> None:
    port = free_port()
    ended = _refused("--port", str(port), "--admin", f"127.0.0.1:{port}")
    assert ended.returncode == 4
    assert f"127.0.0.1:{port} is taken" in ended.stderr


@linux
def test_a_worker_that_hangs_does_not_keep_it_from_answering(log: Path) -> None:
    with server(log, APP, *ADMIN, "--worker-timeout", "30") as running:
        port, admin = port_of(running), admin_port(running)
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"GET /block HTTP/1.1\r\nHost: x\r\n\r\n")
            running.said("blocking")
            before = status(admin)["workers"][0]["beat_age"]
            eventually(lambda: status(admin)["workers"][0]["beat_age"] > before + 1.5, "a beat that grows old")


def test_it_is_the_same_under_every_kind_of_worker(log: Path) -> None:
    with fake("obedient", log, port=0, admin="127.0.0.1:0") as running:
        running.said("is ready after|Ready after")
        assert status(admin_port(running))["state"] == "starting"  # such workers write nothing down
        running.send(signal.SIGTERM)
        assert running.ended() == 0


# -- keepserve status


def ask(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-m", "keepserve", "status", *arguments]
    return subprocess.run(
        command, env=clean_environment(**env), capture_output=True, text=True, timeout=PATIENCE, check=False
    )


def test_the_command_shows_a_server_by_the_address_of_its_banner(log: Path) -> None:
    with server(log, APP, *ADMIN) as running:
        worker = get(port_of(running))
        shown = eventually(
            lambda: (
                " 1 in all" in (asked := ask("--admin", f"http://127.0.0.1:{admin_port(running)}")).stdout and asked
            ),
            "one request",
        )
        assert (shown.returncode, shown.stderr) == (0, "")
        assert shown.stdout.startswith("keepserve    serving for ")
        assert f" {worker} " in shown.stdout


def test_the_command_tells_a_drain_by_its_exit_code(log: Path, tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    release, where = tmp_path / "release", f"unix:{tmp_path}/admin.sock"
    with server(log, APP, "--port", "0", "--admin", where, env={"APP_RELEASE": str(release)}) as running:
        waiting = pool.submit(get, port_of(running), "/wait")
        running.said(r"waiting \d+")
        running.send(signal.SIGTERM)
        running.said("SIGTERM: stopping")
        shown = ask(KEEPSERVE_ADMIN=where)
        assert (shown.returncode, shown.stderr) == (1, "")
        assert "of at most 28 s; 1 workers, 1 requests, 1 connections left" in shown.stdout
        release.touch()
        assert waiting.result(PATIENCE)
        assert running.ended() == 0
    assert ask("--admin", where).returncode == 4


def test_the_command_watches_until_it_is_interrupted(log: Path, tmp_path: Path) -> None:
    with server(log, APP, *ADMIN) as running:
        port_of(running)
        options = ("--admin", f":{admin_port(running)}", "--watch", "--interval", "100ms")
        with Running(["-m", "keepserve", "status", *options], tmp_path / "watch").closing() as watching:
            watching.said(r"\d\d:\d\d:\d\d  serving  0 requests/s  0 requests", 2)
            watching.send(signal.SIGINT)
            assert watching.ended() == 0
        assert "Traceback" not in watching.log


def test_on_a_terminal_the_command_draws_in_place(log: Path, tmp_path: Path) -> None:
    with server(log, APP, *ADMIN) as running:
        port_of(running)
        mine, theirs = os.openpty()
        options = ("--admin", f":{admin_port(running)}", "--watch", "--interval", "100ms")
        with Running(
            ["-m", "keepserve", "status", *options], tmp_path / "watch", stdout=theirs, env={"TERM": "xterm"}
        ).closing() as watching:
            os.close(theirs)
            drawn = b""
            while drawn.count(b"\x1b[H") < 3:
                drawn += os.read(mine, 65536)
            watching.send(signal.SIGINT)
            assert watching.ended() == 0
        os.close(mine)
    assert drawn.startswith(b"\x1b[2J\x1b[H")
    assert b"\x1b[32m" in drawn
    assert b"idle closes" in drawn


# -- The supervisor's end alone


def test_without_an_address_nothing_is_ever_due() -> None:
    admin = AdminProcess([], Scoreboard(2), lambda: None)
    admin.tick(1e9, Settings())
    assert (admin.due, admin.pid) == (float("inf"), 0)
    admin.close()
    admin.stop()


def test_a_process_that_keeps_ending_is_started_ever_more_slowly(caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as sock:
        admin = AdminProcess([sock], Scoreboard(2), lambda: None, backoff=Backoff(lambda: 0.0))
        assert admin.due == 0.0
        due = []
        for now in (10.0, 20.0, 30.0):
            admin.ended(signal.SIGKILL, now)
            due.append(admin.due - now)
    assert due == pytest.approx([0.0, 0.1, 0.2])
    assert caplog.messages[0].startswith("The admin listener's process was killed by SIGKILL (")
    assert caplog.messages[0].endswith("; another one is started now")
    assert caplog.messages[2].endswith("another one is started in 200 ms")


def test_its_own_server_is_a_small_one() -> None:
    own = own_settings(Settings(app="a:b", access_log=True, proxy_headers=True, health_path="/up", loop="asyncio"))
    assert (own.loop, own.access_log, own.proxy_headers, own.websocket, own.health_path) == (
        *("asyncio", False, False, False),
        None,
    )
    assert own.limit_connections is not None
    assert own.limit_connections <= 64
    assert own.stop_budget < 5
