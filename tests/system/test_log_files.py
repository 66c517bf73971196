"""Log files of a supervised server: one sentence where they cannot be, and nothing lost when they are moved."""

from __future__ import annotations

import http.client
import json
import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.support.serving import ServerProcess, eventually, serving

DEMO = "keepserve.demo:app"


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.mark.parametrize("setting", ["log_file", "access_log_file"])
def test_a_log_file_that_cannot_be_opened_is_refused_before_anything_is_bound(setting: str, tmp_path: Path) -> None:
    flag = "--" + setting.replace("_", "-")
    path = tmp_path / "none" / "x.log"
    server = ServerProcess(DEMO, "--port", "0", flag, str(path), directory=tmp_path / "out")
    try:
        assert server.ended() == 2
        assert server.stderr == (
            f"keepserve: {setting}: the log file {str(path)!r} cannot be opened for appending: No such file or "
            f"directory; create its directory and let this user write there, or choose another {flag}.\n"
        )
        assert server.stdout == ""
    finally:
        server.kill()


def test_a_refused_start_is_told_on_standard_error_also_with_a_log_file(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        server = ServerProcess(DEMO, "--port", port, "--log-file", str(log), directory=tmp_path / "out")
        try:
            assert server.ended() == 4
            assert f"127.0.0.1:{port} is taken" in server.stderr
        finally:
            server.kill()


def test_all_workers_go_on_in_new_files_and_no_request_is_missing_in_them(tmp_path: Path) -> None:
    log, access = tmp_path / "server.log", tmp_path / "access.log"
    log_old, access_old = tmp_path / "server.log.1", tmp_path / "access.log.1"
    options = ("--log-file", str(log), "--access-log-file", str(access), "--log-format", "json", "--port")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = ServerProcess(DEMO, *options, str(port), "--workers", "2", directory=tmp_path / "out")
    asked = 0

    def ask() -> None:
        nonlocal asked
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", "/hello", headers={"Connection": "close"})
        assert connection.getresponse().read() == b"Hello\n"
        connection.close()
        asked += 1

    def both_have_written(path: Path) -> bool:
        ask()
        return len({line["pid"] for line in lines_of(path)}) == 2

    try:
        eventually(lambda: any("All 2 workers" in line["message"] for line in lines_of(log)), "two workers")
        eventually(lambda: both_have_written(access), "a line of each worker")
        log.rename(log_old)
        access.rename(access_old)
        server.send_signal(signal.SIGUSR1)
        eventually(lambda: access.exists() and both_have_written(access), "a line of each worker in the new file")
        eventually(lambda: lines_of(log), "a message in the new file")
        server.send_signal(signal.SIGTERM)
        assert server.ended() == 0
        assert (server.stdout, server.stderr) == ("", "")
    finally:
        server.kill()
    assert len(lines_of(access_old)) + len(lines_of(access)) == asked
    assert lines_of(access_old)
    assert "SIGTERM" in log.read_text()
    assert "SIGTERM" not in log_old.read_text()


def test_without_log_files_the_signal_changes_nothing(tmp_path: Path) -> None:
    with serving(DEMO, directory=tmp_path) as server:
        server.send_signal(signal.SIGUSR1)
        server.said("SIGUSR1")
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        connection.request("GET", "/hello")
        assert connection.getresponse().status == 200
        connection.close()
        eventually(lambda: "GET /hello" in server.stdout, "the line of the request")


def test_stacks_of_all_workers_are_told_on_request(tmp_path: Path) -> None:
    with serving("tests.system.app:app", directory=tmp_path, workers=2) as server:
        server.send_signal(signal.SIGUSR2)
        server.said(r"Worker \d+: \d+ tasks?, 0 of them for a request(?s:.*)Worker \d+: \d+ tasks?, 0 of them")
