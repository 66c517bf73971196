"""keepserve from Python: a server in a thread of a test, on a program's own loop, and ``run``."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import keepserve
from tests.support.serving import PATIENCE, ROOT, clean_environment, eventually


@contextlib.contextmanager
def in_thread(app: Any, **options: Any) -> Iterator[keepserve.Server]:
    """A server in a thread, as people use it in their tests."""
    server = keepserve.Server(keepserve.Config(app, port=0, drain_idle=0, **options))
    failures: list[BaseException] = []

    def serve() -> None:
        try:
            asyncio.run(server.serve())
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        eventually(lambda: server.started or failures, "the server starts")
        if not failures:
            yield server
    finally:
        server.should_exit = True
        thread.join(PATIENCE)
    assert not thread.is_alive()
    if failures:
        raise failures[0]


def url(server: keepserve.Server) -> str:
    """Where it listens."""
    address = server.addresses[0]
    assert isinstance(address, tuple)
    return f"http://{address[0]}:{address[1]}"


def test_a_server_in_a_thread_serves_and_stops() -> None:
    with in_thread("keepserve.demo:app") as server, httpx.Client(base_url=url(server), trust_env=False) as client:
        assert [client.get("/json").json()["connection"]["requests"] for _ in range(2)] == [1, 2]
    with pytest.raises(httpx.ConnectError):
        httpx.get(url(server), trust_env=False)


def test_an_application_object_shares_its_state_with_the_test() -> None:
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            while True:
                message = await receive()
                seen.append(message["type"])
                await send({"type": message["type"] + ".complete"})
                if message["type"] == "lifespan.shutdown":
                    return
        seen.append(scope["path"])
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    with in_thread(app) as server:
        assert httpx.get(url(server) + "/here", trust_env=False).status_code == 204
    assert seen == ["lifespan.startup", "/here", "lifespan.shutdown"]


def test_two_servers_run_side_by_side_and_again() -> None:
    with in_thread("keepserve.demo:app") as one, in_thread("keepserve.demo:app", http1="h11") as two:
        assert url(one) != url(two)
        assert httpx.get(url(one) + "/hello", trust_env=False).text == "Hello\n"
        assert httpx.get(url(two) + "/hello", trust_env=False).text == "Hello\n"
    with in_thread("keepserve.demo:app") as again:
        assert httpx.get(url(again) + "/hello", trust_env=False).text == "Hello\n"


def test_a_server_on_a_programs_own_loop() -> None:
    async def program() -> str:
        server = keepserve.Server(keepserve.Config("keepserve.demo:app", port=0, drain_idle=0))
        ready = asyncio.Event()
        serving = asyncio.create_task(server.serve(on_started=ready.set))
        await asyncio.wait_for(ready.wait(), PATIENCE)
        async with httpx.AsyncClient(trust_env=False) as client:
            text = (await client.get(url(server) + "/hello")).text
        server.should_exit = True
        await asyncio.wait_for(serving, PATIENCE)
        return text

    assert asyncio.run(program()) == "Hello\n"


def test_a_failed_startup_is_raised_where_serve_was_awaited() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    with pytest.raises(Exception, match="no database"), in_thread(app):
        pass


def test_the_law_holds_in_python_too() -> None:
    with pytest.raises(keepserve.ConfigError, match=r"keep_alive_timeout \(60 s, .*\) must be longer"):
        keepserve.Config("keepserve.demo:app", lb="alb", keep_alive_timeout=60)


def test_run_serves_with_workers_until_told_to_stop(tmp_path: Path) -> None:
    program = "import keepserve; keepserve.run('keepserve.demo:app', port=0, workers=2); print('went on')"
    err = tmp_path / "err"
    with err.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", program],
            cwd=ROOT,
            env=clean_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
        )
    try:
        eventually(lambda: "All 2 workers are ready" in err.read_text() or process.poll() is not None, "it serves")
        address = err.read_text().partition(" serves on ")[2].split()[0]
        assert httpx.get(f"{address}/hello", trust_env=False).text == "Hello\n"
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0
        # run() returns after a graceful stop, and raises SystemExit otherwise.
        assert output.endswith("went on\n")
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def test_run_exits_with_the_servers_code() -> None:
    program = "import keepserve; keepserve.run('there_is_no_such:app', port=0); print('went on')"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=ROOT,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 3
    assert "went on" not in done.stdout
    assert "no module 'there_is_no_such'" in done.stderr


def test_run_outside_the_main_thread_is_refused_in_words() -> None:
    said: list[str] = []

    def run() -> None:
        try:
            keepserve.run("keepserve.demo:app", port=0)
        except RuntimeError as error:
            said.append(str(error))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(PATIENCE)
    assert len(said) == 1
    assert "keepserve.Server" in said[0]


def test_without_a_supervisor_nobody_serves_the_admin_listener_and_that_is_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    keepserve.Server(keepserve.Config("keepserve.demo:app", admin="127.0.0.1:9090"))
    assert caplog.messages == [
        "admin (127.0.0.1:9090) is not served: a supervisor does that, beside its workers; use keepserve.run() or "
        "the keepserve command."
    ]
