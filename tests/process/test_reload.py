"""--reload: what is watched, and what a change does to running, busy and broken applications."""

from __future__ import annotations

import functools
import importlib.util
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from keepserve.config import ConfigError, Settings
from keepserve.process.reload import watched_directories
from tests.process.running import Running, alive, eventually, get, linux, port_of, server

APP = """
async def app(scope, receive, send):
    assert scope["type"] == "http"
    headers = [(b"content-length", b"%d")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"%s"})
"""


def _write(path: Path, text: str) -> None:
    # Lengths differ from version to version: byte code is checked by length and by seconds.
    path.write_text(APP % (len(text), text))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    directory = tmp_path / "source"
    directory.mkdir()
    path = directory / "reloaded_app.py"
    _write(path, "one")
    return path


def _serve(source: Path, tmp_path: Path, *more: str) -> Any:
    arguments = ["reloaded_app:app", "--app-dir", str(source.parent), "--reload", "--port", "0", *more]
    return server(tmp_path / "log", *arguments)


def _watching(running: Running, source: Path) -> None:
    """Wait until changes are seen: a file nobody imports is touched until the server speaks of it."""
    other = source.parent / "other.py"

    def touched() -> bool:
        other.write_text(f"# {len(other.read_text()) if other.exists() else 0}")
        return "other.py changed" in running.log

    eventually(touched, "the watcher to see a change")


def test_a_change_starts_the_new_code_without_refusing_anybody(source: Path, tmp_path: Path) -> None:
    with _serve(source, tmp_path) as running:
        port = port_of(running)
        assert get(port) == "one"
        _watching(running, source)
        _write(source, "two!")
        # Every get connects: none is refused, whenever it comes.
        eventually(lambda: get(port) == "two!", "the new code")
        running.send(signal.SIGINT)
        assert running.ended() == 0


def test_a_broken_change_waits_for_the_next_one(source: Path, tmp_path: Path) -> None:
    with _serve(source, tmp_path) as running:
        port = port_of(running)
        _watching(running, source)
        source.write_text("this is no Python")
        running.said("SyntaxError")
        running.said("waiting for a change to its source")
        _write(source, "repaired")
        eventually(lambda: get(port) == "repaired", "the repaired code")
        running.send(signal.SIGTERM)
        assert running.ended() == 0


def test_a_first_start_that_fails_waits_too(source: Path, tmp_path: Path) -> None:
    source.write_text("raise KeyError('broken from the start')")
    with _serve(source, tmp_path) as running:
        running.said("waiting for a change to its source")

        def repaired() -> bool:
            # Again and again: the watcher may not have been there yet when the file was first written.
            _write(source, "begun")
            return "serves on" in running.log

        eventually(repaired, "the repaired code")
        assert get(port_of(running)) == "begun"
        running.send(signal.SIGTERM)
        assert running.ended() == 0


def _gone(pid: int) -> bool:
    return not alive(pid)


@linux
def test_the_watcher_ends_with_the_supervisor_however_that_ends(source: Path, tmp_path: Path) -> None:
    for end in (signal.SIGTERM, signal.SIGKILL):
        with _serve(source, tmp_path) as running:
            port_of(running)
            children = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
            assert len(children) == 2
            running.send(end)
            running.ended()
            for pid in map(int, children):
                eventually(functools.partial(_gone, pid), f"the end of {pid}")


def test_a_watcher_that_ends_is_told_of_and_service_goes_on(source: Path, tmp_path: Path) -> None:
    with _serve(source, tmp_path, "--log-level", "debug") as running:
        port = port_of(running)
        (watcher,) = running.said(r"watched by process (\d+)")
        os.kill(int(watcher), signal.SIGKILL)
        running.said("The file watcher ended")
        assert get(port) == "one"
        running.send(signal.SIGTERM)
        assert running.ended() == 0


def test_nothing_is_watched_without_reload() -> None:
    assert watched_directories(Settings()) == ()


def test_the_applications_directory_is_watched_unless_others_are_named(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    assert watched_directories(Settings(reload=True, app_dir=str(tmp_path))) == (tmp_path.resolve(),)
    named = Settings(reload=True, app_dir=str(tmp_path), reload_dir=(f"{tmp_path}/a", f"{tmp_path}/a"))
    assert watched_directories(named) == (tmp_path.resolve() / "a",)


def test_directories_that_are_missing_are_all_told() -> None:
    with pytest.raises(ConfigError) as caught:
        watched_directories(Settings(reload=True, reload_dir=("/nowhere/a", "/nowhere/b")))
    assert len(caught.value.problems) == 2
    assert '"/nowhere/a", which --reload is to watch, is not a directory' in str(caught.value)


def test_without_watchfiles_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install keepserve\[reload\]"):
        watched_directories(Settings(reload=True))
