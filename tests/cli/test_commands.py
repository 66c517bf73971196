"""The commands: what they print, where, and how they exit. Nothing is ever bound here."""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from keepserve._version import __version__
from keepserve.balancer import PRESETS
from keepserve.cli import main
from keepserve.cli.commands import unsupported
from keepserve.config import ConfigError, Settings
from keepserve.process.context import Launch

Run = Callable[..., Result]


class Supervisor:
    """Stands in for `run_supervised` and remembers what it was given."""

    def __init__(self) -> None:
        self.calls: list[tuple[Settings, list[str]]] = []
        self.environ: dict[str, str] = {}
        self.code = 0
        self.reread: Callable[[], Launch] | None = None

    def __call__(
        self, settings: Settings, warnings: Sequence[str] = (), *, reread: Callable[[], Launch] | None = None
    ) -> int:
        self.calls.append((settings, list(warnings)))
        self.environ = dict(os.environ)
        self.reread = reread
        return self.code

    @property
    def settings(self) -> Settings:
        (call,) = self.calls
        return call[0]


@pytest.fixture
def supervisor(monkeypatch: pytest.MonkeyPatch) -> Supervisor:
    stand_in = Supervisor()
    monkeypatch.setattr("keepserve.process.run_supervised", stand_in)
    return stand_in


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, supervisor: Supervisor) -> Run:
    for name in list(os.environ):
        if name.startswith("KEEPSERVE_") or name in ("PORT", "WEB_CONCURRENCY", "FORWARDED_ALLOW_IPS"):
            monkeypatch.delenv(name)

    def invoke(*arguments: str, env: dict[str, str] | None = None) -> Result:
        return CliRunner().invoke(main, arguments, prog_name="keepserve", env=env)

    return invoke


@pytest.mark.parametrize("arguments", [["main:app", "--port", "1"], ["serve", "main:app", "--port", "1"]])
def test_serve_is_the_default_command(run: Run, supervisor: Supervisor, arguments: list[str]) -> None:
    assert run(*arguments).exit_code == 0
    assert (supervisor.settings.app, supervisor.settings.port) == ("main:app", 1)


def test_options_may_come_before_the_application(run: Run, supervisor: Supervisor) -> None:
    assert run("--port", "1", "--no-access-log", "main:app").exit_code == 0
    assert (supervisor.settings.port, supervisor.settings.access_log) == (1, False)


def test_the_application_may_come_from_the_environment(run: Run, supervisor: Supervisor) -> None:
    assert run(env={"KEEPSERVE_APP": "main:app"}).exit_code == 0
    assert supervisor.settings.app == "main:app"


def test_the_exit_code_is_the_supervisors(run: Run, supervisor: Supervisor) -> None:
    supervisor.code = 4
    assert run("main:app").exit_code == 4


def test_warnings_go_to_the_supervisor(run: Run, supervisor: Supervisor) -> None:
    run("main:app", "--keep-alive-timeout", "62")
    assert "is only 2 s longer than" in supervisor.calls[0][1][0]


def test_a_reload_reads_the_env_file_again_on_top_of_the_flags(
    run: Run, supervisor: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.env"
    for name in ("KEEPSERVE_WORKERS", "DATABASE_URL", "GONE"):
        # Set first, so that monkeypatch puts the variable back as it was: absent.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    path.write_text("KEEPSERVE_WORKERS=2\nDATABASE_URL=one\nGONE=here\n")
    assert run("main:app", "--env-file", str(path), "--port", "7").exit_code == 0
    assert supervisor.settings.workers == 2
    assert supervisor.reread is not None
    path.write_text("KEEPSERVE_WORKERS=3\nDATABASE_URL=two\nKEEPSERVE_PORT=9\n")
    launch = supervisor.reread()
    assert (launch.settings.workers, launch.settings.port) == (3, 7)
    assert launch.environment is not None
    assert launch.environment["DATABASE_URL"] == "two"
    assert "GONE" not in launch.environment
    path.write_text("KEEPSERVE_WORKERS=many\n")
    with pytest.raises(ConfigError, match="workers"):
        supervisor.reread()


def test_repeated_options_are_collected(run: Run, supervisor: Supervisor) -> None:
    run("main:app", "--bind", "a:1", "--bind", "unix:/x", "--header", "X-A: 1", "--header", "X-B: 2")
    assert supervisor.settings.bind == ("a:1", "unix:/x")
    assert supervisor.settings.header == ("X-A: 1", "X-B: 2")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["main:app", "--keep-alive-timeout", "60", "--lb", "alb"],
            [
                "keep_alive_timeout (60 s, flag --keep-alive-timeout)",
                "(60 s, preset alb)",
                "Set --keep-alive-timeout 80",
            ],
        ),
        (
            ["main:app", "--headers-timeout", "70", "--keep-alive-timeout", "80"],
            ["(70 s, flag --headers-timeout)", "(80 s, flag --keep-alive-timeout)", "Set --headers-timeout 90"],
        ),
        (["main:app", "--lb", "ngnix"], ['no preset "ngnix"', 'Did you mean "nginx"?', "Presets: alb, nlb"]),
        (["main:app", "--keep-alive-timeout", "soon"], ["(flag --keep-alive-timeout)", '"soon" is not a duration']),
        ([], ["No application was given", "module:attribute", "KEEPSERVE_APP"]),
        (["serve"], ["No application was given"]),
        (["main:app", "--uds", "/x", "--fd", "3"], ["fd (flag --fd) and uds (flag --uds) each say where to listen"]),
        (["main:app", "--access-log-format", "{clinet}"], ['"{clinet}" is not a field', 'mean "{client}"?']),
        (["main:app", "--env-file", "/nonexistent/x.env"], ["The env-file /nonexistent/x.env cannot be read"]),
    ],
)
def test_bad_settings_exit_2_with_one_clear_message_and_bind_nothing(
    run: Run, supervisor: Supervisor, arguments: list[str], words: list[str]
) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert supervisor.calls == []
    assert result.stdout == ""
    assert result.stderr.startswith("keepserve: ")
    assert result.stderr.count("\n") == 1
    for word in words:
        assert word in result.stderr


@pytest.mark.parametrize(
    ("option", "instead"),
    [
        ("--timeout-keep-alive", "--keep-alive-timeout"),
        ("--timeout-graceful-shutdown", "--drain-timeout"),
        ("--limit-max-requests", "use --max-requests"),
        ("--ws", "use --no-websocket"),
        ("--ws-max-size", "use --ws-max-message"),
        ("--ws-max-queue", "holds 32 messages"),
        ("--ws-per-message-deflate", "use --ws-deflate"),
        ("--http", "--http1"),
        ("--interface", "ASGI 3"),
        ("--h11-max-incomplete-event-size", "--limit-request-head"),
        ("--worker-class", "leave it out"),
        ("-w", "--workers"),
        ("-b", "--bind"),
        ("--certfile", "--ssl-certfile"),
    ],
)
def test_options_of_other_servers_are_answered_with_ours(run: Run, option: str, instead: str) -> None:
    result = run("main:app", option, "5")
    assert result.exit_code == 2
    assert f"keepserve has no {option}: " in result.stderr
    assert instead in result.stderr


def test_a_mistyped_option_names_the_nearest(run: Run) -> None:
    result = run("main:app", "--keepalive-timeout", "5")
    assert result.exit_code == 2
    assert "--keep-alive-timeout" in result.stderr


@pytest.mark.parametrize(("word", "command"), [("chek", "check"), ("preset", "presets"), ("serv", "serve")])
def test_a_mistyped_command_is_not_taken_for_an_application(run: Run, word: str, command: str) -> None:
    result = run(word)
    assert result.exit_code == 2
    assert f'There is no command "{word}"; did you mean "{command}"?' in result.stderr


def test_the_env_file_reaches_settings_and_the_applications_environment(
    run: Run, supervisor: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.env"
    path.write_text("KEEPSERVE_PORT=7\nDATABASE_URL=sqlite://\nPATH_OF_MINE=file\n")
    # Set first, so that monkeypatch puts the variable back as it was: absent.
    monkeypatch.setenv("DATABASE_URL", "")
    monkeypatch.delenv("DATABASE_URL")
    monkeypatch.setenv("KEEPSERVE_PORT", "")
    monkeypatch.delenv("KEEPSERVE_PORT")
    monkeypatch.setenv("PATH_OF_MINE", "environment")
    assert run("main:app", "--env-file", str(path)).exit_code == 0
    assert supervisor.settings.port == 7
    assert supervisor.environ["DATABASE_URL"] == "sqlite://"
    assert supervisor.environ["PATH_OF_MINE"] == "environment"


def test_a_bad_env_file_is_told_by_file_and_line(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "x.env"
    path.write_text("A=1\nB\n")
    result = run("main:app", "--env-file", str(path))
    assert result.exit_code == 2
    assert f'{path}:2: expected "=" after B' in result.stderr


def test_check_prints_settings_origins_and_timeline_and_exits_0(run: Run, supervisor: Supervisor) -> None:
    result = run("check", "main:app", "--lb", "gcp", "--stop-grace", "30s", env={"PORT": "5000"})
    assert result.exit_code == 0, result.stderr
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert "app main:app argument APP" in lines
    assert "port 5000 env PORT" in lines
    assert "lb_idle_timeout 600 s preset gcp" in lines
    assert "keep_alive_timeout 620 s = lb_idle_timeout + keep_alive_margin" in lines
    assert "backlog 2048 default" in lines
    assert "✓ the balancer gives up first, 20 s before we would" in lines
    assert "✓ ends after 28 s at the latest, 2 s before the kill" in lines
    assert lines[-1] == "These settings can be used."
    assert supervisor.calls == []


def test_check_needs_no_application(run: Run) -> None:
    assert run("check").exit_code == 0


def test_check_of_bad_settings_prints_them_all_the_same_and_exits_2(run: Run) -> None:
    result = run("check", "--lb", "alb", "--keep-alive-timeout", "50")
    assert result.exit_code == 2
    assert "✗ we give up 10 s before the balancer does" in result.stdout
    assert "must be longer than lb_idle_timeout (60 s, preset alb)" in result.stderr


def test_check_prints_warnings(run: Run) -> None:
    result = run("check", "--keep-alive-timeout", "62", env={"KEEPSERVE_PROT": "1"})
    assert result.exit_code == 0
    assert "warning: KEEPSERVE_PROT (the environment) is no setting" in result.stderr
    assert "warning: keep_alive_timeout (62 s, flag --keep-alive-timeout) is only 2 s longer" in result.stderr


def test_check_hides_the_password(run: Run) -> None:
    result = run("check", env={"KEEPSERVE_SSL_KEYFILE_PASSWORD": "hunter2"})
    assert "(hidden)" in result.stdout
    assert "hunter2" not in result.output


def test_check_reads_addresses_and_certificates_too(run: Run, tmp_path: Path) -> None:
    result = run("check", "--bind", "nonsense:port", "--ssl-certfile", str(tmp_path / "missing.pem"))
    assert result.exit_code == 2
    assert "nonsense:port" in result.stderr
    assert "missing.pem" in result.stderr


def test_presets_prints_every_balancer_with_timeout_confirmation_and_source(run: Run) -> None:
    result = run("presets")
    assert result.exit_code == 0
    for preset in PRESETS.values():
        assert preset.source in result.stdout
    rows = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert "alb 60 s 80 s yes AWS Application Load Balancer" in rows
    assert "fly 60 s 80 s no Fly.io proxy" in rows
    assert "apache - 80 s yes Apache httpd mod_proxy_http" in rows


def test_presets_says_which_have_a_lame_duck(run: Run) -> None:
    assert "a stop begins with a lame duck of 5 s (drain_delay)" in run("presets", "istio").stdout
    assert "lame duck of" not in run("presets", "envoy").stdout


def test_presets_may_be_asked_for_by_name(run: Run) -> None:
    result = run("presets", "gcp")
    assert "Google" in result.stdout
    assert "AWS" not in result.stdout


def test_an_unknown_preset_is_told(run: Run) -> None:
    result = run("presets", "ngnix")
    assert result.exit_code == 2
    assert result.stderr.startswith('keepserve: There is no preset "ngnix". Did you mean "nginx"?')


def test_the_version_is_printed(run: Run) -> None:
    result = run("--version")
    assert (result.exit_code, result.stdout.split(" (")[0]) == (0, f"keepserve {__version__}")


def test_windows_is_refused_with_one_sentence(
    run: Run, monkeypatch: pytest.MonkeyPatch, supervisor: Supervisor
) -> None:
    monkeypatch.setattr("keepserve.cli.commands.unsupported", lambda _system: unsupported("win32"))
    result = run("main:app")
    assert (result.exit_code, supervisor.calls) == (2, [])
    assert result.stderr.startswith("keepserve: keepserve runs on Linux and macOS; on Windows, ")


@pytest.mark.parametrize("system", ["linux", "darwin", "freebsd14"])
def test_other_systems_are_not_refused(system: str) -> None:
    assert unsupported(system) == ""


def real(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("KEEPSERVE_")}
    more: dict[str, Any] = {"env": {**clean, **environ}, "capture_output": True, "text": True, "timeout": 30}
    return subprocess.run([sys.executable, "-m", "keepserve", *arguments], check=False, **more)


def test_a_real_process_with_bad_settings_exits_2_without_a_traceback() -> None:
    done = real("keepserve.demo:app", "--keep-alive-timeout", "60", "--lb", "alb")
    assert done.returncode == 2
    assert done.stderr.startswith("keepserve: keep_alive_timeout (60 s, flag --keep-alive-timeout) must be longer")
    assert "Traceback" not in done.stderr


def test_a_real_check_draws_in_ascii_where_the_terminal_cannot_do_more() -> None:
    done = real("check", PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert "ok: the balancer gives up first" in done.stdout


def test_shell_completion_knows_the_commands() -> None:
    words = {"COMP_WORDS": "keepserve ", "COMP_CWORD": "1", "_KEEPSERVE_COMPLETE": "bash_complete"}
    assert real(**words).stdout.split() == ["plain,check", "plain,presets", "plain,serve", "plain,status"]


def test_shell_completion_knows_options_and_their_values() -> None:
    words = {"COMP_WORDS": "keepserve serve --lb a", "COMP_CWORD": "3", "_KEEPSERVE_COMPLETE": "bash_complete"}
    assert real(**words).stdout.split() == [
        "plain,alb",
        "plain,apache",
        "plain,azure-appgw",
        "plain,azure-front-door",
        "plain,azure-lb",
    ]
    words["COMP_WORDS"] = "keepserve main:app --log-level w"
    assert real(**words).stdout.split() == ["plain,warning"]
    words["COMP_WORDS"] = "keepserve serve --env-file x"
    assert real(**words).stdout.split() == ["file,x"]


def test_check_refuses_an_admin_address_that_others_reach(run: Run) -> None:
    result = run("check", "--admin", "0.0.0.0:9090")
    assert result.exit_code == 2
    assert "0.0.0.0:9090 can be reached by other machines (--admin)" in result.stderr
    assert run("check", "--admin", ":9090").exit_code == 0
