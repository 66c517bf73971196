"""The Dockerfile, without a container engine: its form, and its health check run for real."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from keepserve.config import FIELDS_BY_NAME

ROOT = Path(__file__).parent.parent


def instructions() -> list[tuple[str, str]]:
    """(KEYWORD, argument) of each instruction, comments dropped and continued lines joined."""
    lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    found = [line.split(None, 1) for line in joined.splitlines() if line.strip()]
    return [(keyword.upper(), argument.strip()) for keyword, argument in found]


def final_stage() -> dict[str, str]:
    """The last instruction of each keyword in the stage that becomes the image."""
    stage: dict[str, str] = {}
    for keyword, argument in instructions():
        if keyword == "FROM":
            stage = {}
        stage[keyword] = argument
    return stage


def health_command() -> list[str]:
    options, _, command = final_stage()["HEALTHCHECK"].partition("CMD ")
    assert "--interval=" in options
    assert "--start-period=" in options
    parsed = json.loads(command)
    assert all(isinstance(part, str) for part in parsed)
    return list(parsed)


@pytest.mark.parametrize("keyword", ["ENTRYPOINT", "CMD"])
def test_the_server_is_started_in_exec_form(keyword: str) -> None:
    words = json.loads(final_stage()[keyword])
    assert words
    assert all(isinstance(word, str) for word in words)


def test_the_entry_point_is_the_installed_command_with_the_demo_as_default() -> None:
    stage = final_stage()
    assert json.loads(stage["ENTRYPOINT"]) == ["keepserve"]
    assert json.loads(stage["CMD"]) == ["keepserve.demo:app"]
    assert "/opt/keepserve/bin:" in stage["ENV"]


def test_the_server_runs_as_a_user_that_is_not_root_and_exists() -> None:
    user = final_stage()["USER"]
    uid, _, gid = user.partition(":")
    assert uid.isdigit()
    assert int(uid) > 0
    assert int(gid) > 0
    assert f"--uid {uid} " in final_stage()["RUN"]
    keywords = [keyword for keyword, _ in instructions()]
    assert "RUN" not in keywords[keywords.index("USER") :]


def test_stopping_is_asked_for_with_sigterm() -> None:
    assert final_stage()["STOPSIGNAL"] == "SIGTERM"


def test_the_server_listens_on_every_address_and_the_documented_port() -> None:
    stage = final_stage()
    environment = dict(pair.split("=", 1) for pair in stage["ENV"].split())
    assert environment["KEEPSERVE_HOST"] == "0.0.0.0"
    assert stage["EXPOSE"] == str(FIELDS_BY_NAME["port"].default)
    settings = {name.removeprefix("KEEPSERVE_").lower() for name in environment if name.startswith("KEEPSERVE_")}
    assert settings <= set(FIELDS_BY_NAME)


def copied_from_the_context() -> list[str]:
    return [
        source
        for keyword, argument in instructions()
        if keyword == "COPY" and not argument.startswith("--from=")
        for source in argument.split()[:-1]
    ]


def test_what_is_copied_exists_and_reaches_the_build_context() -> None:
    ignore = (ROOT / ".dockerignore").read_text().splitlines()
    assert copied_from_the_context()
    for source in copied_from_the_context():
        assert (ROOT / source).exists(), f"the Dockerfile copies {source}, which is not there"
        assert f"!{source}" in ignore


def test_what_is_copied_between_stages_comes_from_a_stage_that_is_there() -> None:
    stages = {
        argument.split()[-1] for keyword, argument in instructions() if keyword == "FROM" and " AS " in argument
    }
    sources = [
        argument.split()[0].removeprefix("--from=") for keyword, argument in instructions() if keyword == "COPY"
    ]
    assert {source for source in sources if source in stages} == {"build"}


def test_nothing_of_pip_stays_in_the_image() -> None:
    runs = [argument for keyword, argument in instructions() if keyword == "RUN"]
    assert all("--no-cache-dir" in run for run in runs if "pip" in run.split() and "install" in run)
    assert "pip" not in final_stage()["RUN"]


# The health check, run.


@contextmanager
def server(status: int) -> Iterator[tuple[int, list[str]]]:
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield listening.server_port, asked
        finally:
            listening.shutdown()
            thread.join(10)


def health(**environment: str) -> int:
    command = health_command()
    assert command[0] == "python"
    environ = {name: value for name, value in os.environ.items() if name not in ("PORT", "HEALTH_PATH")}
    environ = {name: value for name, value in environ.items() if not name.startswith("KEEPSERVE_")}
    checked = subprocess.run(
        [sys.executable, "-I", *command[1:]], env={**environ, **environment}, capture_output=True, timeout=30
    )
    return checked.returncode


@pytest.mark.parametrize(("status", "code"), [(200, 0), (404, 0), (503, 1)])
def test_the_health_check_passes_any_answer_below_500(status: int, code: int) -> None:
    with server(status) as (port, asked):
        assert health(KEEPSERVE_PORT=str(port)) == code
    assert asked == ["/"]


def test_the_health_check_finds_the_port_and_path_the_container_was_given() -> None:
    with server(200) as (port, asked):
        assert health(PORT=str(port), HEALTH_PATH="/ready") == 0
    assert asked == ["/ready"]


def test_the_health_check_asks_for_the_path_that_keepserve_answers_itself() -> None:
    with server(200) as (port, asked):
        assert health(PORT=str(port), KEEPSERVE_HEALTH_PATH="/health") == 0
        assert health(PORT=str(port), KEEPSERVE_HEALTH_PATH="/health", HEALTH_PATH="/ready") == 0
    assert asked == ["/health", "/ready"]


def test_the_health_check_fails_when_nobody_listens() -> None:
    with server(200) as (port, _):
        pass
    assert health(KEEPSERVE_PORT=str(port)) == 1


def test_the_health_check_needs_nothing_but_python() -> None:
    assert "curl" not in " ".join(health_command())
    compile(health_command()[-1], "HEALTHCHECK", "exec")
