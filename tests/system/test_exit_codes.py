"""Servers that cannot start: one exit code each, one clear message, and nothing left behind."""

from __future__ import annotations

import dataclasses
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import trustme

from tests.support.serving import ROOT, clean_environment

SETTINGS, APP, BIND = 2, 3, 4
DEMO = "keepserve.demo:app"


@dataclasses.dataclass
class Ended:
    """How a server ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def errors(self) -> list[str]:
        """The error messages: whole lines of the command, or of the log."""
        return [line for line in self.stderr.splitlines() if line.startswith("keepserve: ") or " ERROR " in line]


@pytest.fixture
def port() -> int:
    """A port that is free; the servers of these tests never get to listen on it."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        number: int = sock.getsockname()[1]
        return number


def keepserve(port: int, *arguments: str, cwd: Path = ROOT, **env: str) -> Ended:
    """Run the command until it ends by itself, and see that nobody listens afterwards."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "keepserve", *arguments, "--port", str(port)],
        cwd=cwd,
        env=clean_environment(**env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def nobody_listens(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) != 0


def assert_refused(ended: Ended, code: int, *parts: str) -> None:
    """Ended before anything was started: the message is all there is to read."""
    assert ended.code == code, ended.stderr
    assert ended.stdout == ""
    lines = ended.stderr.splitlines()
    assert len(lines) == 1, ended.stderr
    assert lines[0].startswith("keepserve: ")
    assert "Traceback" not in ended.stderr
    for part in parts:
        assert part in ended.stderr


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        pytest.param(
            ["--keep-alive-timeout", "60", "--lb", "alb"],
            [
                "keep_alive_timeout (60 s, flag --keep-alive-timeout) must be longer than lb_idle_timeout "
                "(60 s, preset alb)",
                "Set --keep-alive-timeout 80",
            ],
            id="keep-alive-as-short-as-the-balancer's",
        ),
        pytest.param(
            ["--headers-timeout", "70", "--keep-alive-timeout", "80"],
            [
                "headers_timeout (70 s, flag --headers-timeout) must be longer than keep_alive_timeout "
                "(80 s, flag --keep-alive-timeout)",
                "Set --headers-timeout 90",
            ],
            id="headers-shorter-than-keep-alive",
        ),
        pytest.param(["--lb", "ablb"], ["--lb", '"ablb"', '"alb"', "nginx", "heroku"], id="unknown-preset"),
        pytest.param(
            ["--keep-alive-timeout", "5 parsecs"],
            ["--keep-alive-timeout", '"5 parsecs" is not a duration', "500ms"],
            id="bad-duration",
        ),
        pytest.param(
            ["--bind", "127.0.0.1:80"],
            ["bind (flag --bind) and port (flag --port)", "Keep one of them"],
            id="two-answers-to-one-question",
        ),
        pytest.param(["--ssl-certfile", "/nowhere/at/all.pem"], ["--ssl-certfile /nowhere/at/all.pem"], id="no-file"),
    ],
)
def test_bad_settings_end_with_2_before_anything_is_bound(port: int, options: list[str], parts: list[str]) -> None:
    assert_refused(keepserve(port, DEMO, *options), SETTINGS, *parts)
    assert nobody_listens(port)


def test_the_message_names_the_variable_a_value_came_from(port: int) -> None:
    ended = keepserve(port, DEMO, KEEPSERVE_LB="alb", KEEPSERVE_KEEP_ALIVE_TIMEOUT="59")
    assert_refused(ended, SETTINGS, "keep_alive_timeout (59 s, env KEEPSERVE_KEEP_ALIVE_TIMEOUT)")


def test_no_application_ends_with_2(port: int) -> None:
    assert_refused(keepserve(port), SETTINGS, "No application was given", "keepserve main:app")


def test_a_certificate_that_is_none_ends_with_2(port: int, tmp_path: Path) -> None:
    nonsense = tmp_path / "cert.pem"
    nonsense.write_text("-----BEGIN CERTIFICATE-----\nbm9uc2Vuc2U=\n-----END CERTIFICATE-----\n")
    key = tmp_path / "key.pem"
    trustme.CA().private_key_pem.write_to_path(str(key))
    ended = keepserve(port, DEMO, "--ssl-certfile", str(nonsense), "--ssl-keyfile", str(key))
    assert_refused(ended, SETTINGS, f"OpenSSL cannot use {nonsense}")
    assert nobody_listens(port)


def test_a_key_of_another_certificate_ends_with_2(port: int, tmp_path: Path) -> None:
    authority = trustme.CA()
    one, other = authority.issue_cert("127.0.0.1"), authority.issue_cert("127.0.0.1")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    one.cert_chain_pems[0].write_to_path(str(cert))
    other.private_key_pem.write_to_path(str(key))
    ended = keepserve(port, DEMO, "--ssl-certfile", str(cert), "--ssl-keyfile", str(key))
    assert_refused(ended, SETTINGS, f"private key in {key} does not belong to")
    assert nobody_listens(port)


def test_a_taken_port_ends_with_4(port: int) -> None:
    with socket.create_server(("127.0.0.1", port)) as owner:
        assert_refused(keepserve(port, DEMO), BIND, f"127.0.0.1:{port}")
        # Its owner has lost nothing.
        with socket.create_connection(("127.0.0.1", port)) as client:
            accepted, peer = owner.accept()
            accepted.close()
            assert peer == client.getsockname()


def assert_not_started(ended: Ended, *parts: str) -> None:
    """Ended by the application: one error in the log, and it says which."""
    assert ended.code == APP, ended.stderr
    assert len(ended.errors) == 1, ended.stderr
    for part in parts:
        assert part in ended.stderr


@pytest.mark.parametrize(
    ("app", "parts"),
    [
        pytest.param("there_is_no_such:app", ["no module 'there_is_no_such'", "--app-dir"], id="no-module"),
        pytest.param("keepserve.demo:ap", ["no attribute 'ap'", "Did you mean", "app"], id="no-attribute"),
        pytest.param(
            "keepserve.demo:SLOW_LIMIT", ["keepserve.demo:SLOW_LIMIT", "is of type float"], id="not-callable"
        ),
    ],
)
def test_an_application_that_is_not_there_ends_with_3(port: int, app: str, parts: list[str]) -> None:
    ended = keepserve(port, app)
    assert_not_started(ended, *parts)
    assert "Traceback" not in ended.stderr
    assert nobody_listens(port)


def _traceback_files(stderr: str) -> set[str]:
    """The files in the frames of the traceback."""
    frames = [line.strip() for line in stderr.splitlines() if line.strip().startswith('File "')]
    return {Path(frame.split('"')[1]).name for frame in frames}


def test_an_application_that_raises_on_import_shows_its_own_traceback(port: int, tmp_path: Path) -> None:
    (tmp_path / "burning.py").write_text(
        "def start():\n    raise RuntimeError('the database is on fire')\n\nstart()\n"
    )
    ended = keepserve(port, "burning:app", "--app-dir", str(tmp_path))
    assert_not_started(ended, "Could not import 'burning'", "RuntimeError: the database is on fire")
    assert ended.stderr.count("Traceback") == 1
    # From the application's first line on: nothing of keepserve, asyncio or importlib.
    assert _traceback_files(ended.stderr) == {"burning.py"}
    assert nobody_listens(port)


def test_several_workers_tell_a_failure_once(port: int, tmp_path: Path) -> None:
    (tmp_path / "burning.py").write_text("raise RuntimeError('the database is on fire')\n")
    ended = keepserve(port, "burning:app", "--app-dir", str(tmp_path), "--workers", "4")
    assert_not_started(ended, "RuntimeError: the database is on fire")
    assert ended.stderr.count("Traceback") == 1


def test_a_startup_that_fails_ends_with_3_and_the_applications_message(port: int, tmp_path: Path) -> None:
    (tmp_path / "failing.py").write_text(
        "async def app(scope, receive, send):\n"
        "    await receive()\n"
        "    await send({'type': 'lifespan.startup.failed', 'message': 'no database at db.test'})\n"
    )
    ended = keepserve(port, "failing:app", "--app-dir", str(tmp_path))
    assert_not_started(ended, "lifespan startup failed", "no database at db.test")
    assert "Traceback" not in ended.stderr
    assert nobody_listens(port)


def test_a_startup_that_raises_ends_with_3_where_lifespan_is_on(port: int, tmp_path: Path) -> None:
    (tmp_path / "raising.py").write_text("async def app(scope, receive, send):\n    raise KeyError('database')\n")
    ended = keepserve(port, "raising:app", "--app-dir", str(tmp_path), "--lifespan", "on")
    assert_not_started(ended, "KeyError: 'database'")
    assert _traceback_files(ended.stderr) == {"raising.py"}


def test_a_startup_that_takes_too_long_ends_with_3(port: int, tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(
        "import asyncio\n\nasync def app(scope, receive, send):\n    await asyncio.sleep(60)\n"
    )
    ended = keepserve(port, "slow:app", "--app-dir", str(tmp_path), "--startup-timeout", "100ms")
    assert_not_started(ended, "longer than startup_timeout, 0.1 s")
    assert "Traceback" not in ended.stderr
