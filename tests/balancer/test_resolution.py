"""From flags, environment, env-file and presets to settings: who wins, and what is said."""

from pathlib import Path
from typing import Any

import pytest

from keepserve.balancer import Resolution, load, resolve
from keepserve.config import FIELDS_BY_NAME, ConfigError
from keepserve.config.envfile import parse_env_file


def of(environ: dict[str, str] | None = None, env_file: str | None = None, **options: Any) -> Resolution:
    parsed = parse_env_file(env_file, "x.env") if env_file is not None else None
    return resolve(options, environ or {}, parsed)


def only(problems: list[Any]) -> str:
    assert len(problems) == 1, [str(problem) for problem in problems]
    return str(problems[0])


def test_nothing_given_is_all_defaults_and_every_setting_has_an_origin() -> None:
    resolution = of()
    assert (resolution.problems, resolution.warnings) == ([], [])
    assert set(resolution.origins) == set(FIELDS_BY_NAME)
    assert str(resolution.origins["port"]) == "default"
    assert str(resolution.origins["keep_alive_timeout"]) == "= lb_idle_timeout + keep_alive_margin"
    assert str(resolution.origins["lb_idle_timeout"]) == "default"


def test_flag_wins_over_environment_over_env_file_over_default() -> None:
    environ, env_file = {"KEEPSERVE_PORT": "2"}, "KEEPSERVE_PORT=3\nKEEPSERVE_HOST=h\n"
    resolution = of(environ, env_file, port="1")
    assert (resolution.settings.port, str(resolution.origins["port"])) == (1, "flag --port")
    assert (resolution.settings.host, str(resolution.origins["host"])) == ("h", "file x.env:2")
    resolution = of(environ, env_file)
    assert (resolution.settings.port, str(resolution.origins["port"])) == (2, "env KEEPSERVE_PORT")
    resolution = of({}, env_file)
    assert (resolution.settings.port, str(resolution.origins["port"])) == (3, "file x.env:1")


@pytest.mark.parametrize(
    ("variable", "value", "name", "expected"),
    [
        ("PORT", "5000", "port", 5000),
        ("WEB_CONCURRENCY", "3", "workers", 3),
        ("FORWARDED_ALLOW_IPS", "10.0.0.1", "forwarded_allow_ips", ("10.0.0.1",)),
        ("KEEPSERVE_ACCESS_LOG", "off", "access_log", False),
        ("KEEPSERVE_KEEP_ALIVE_TIMEOUT", "2m", "keep_alive_timeout", 120.0),
        ("KEEPSERVE_BIND", "a:1,b:2", "bind", ("a:1", "b:2")),
        ("KEEPSERVE_APP", "a:b", "app", "a:b"),
    ],
)
def test_environment_variables_are_honoured(variable: str, value: str, name: str, expected: object) -> None:
    resolution = of({variable: value})
    assert resolution.problems == []
    assert getattr(resolution.settings, name) == expected
    assert str(resolution.origins[name]) == f"env {variable}"


def test_our_own_name_wins_over_the_shared_one() -> None:
    assert of({"PORT": "1", "KEEPSERVE_PORT": "2"}).settings.port == 2
    assert of({}, "PORT=1\nKEEPSERVE_PORT=2").settings.port == 2


def test_the_environment_wins_over_the_file_even_by_its_shared_name() -> None:
    assert of({"PORT": "1"}, "KEEPSERVE_PORT=2").settings.port == 1


def test_an_empty_variable_is_not_set() -> None:
    resolution = of({"PORT": "", "KEEPSERVE_LB": ""})
    assert (resolution.settings.port, resolution.settings.lb, resolution.problems) == (8000, None, [])


def test_no_and_yes_flags_name_the_flag_typed() -> None:
    assert str(of(access_log=False).origins["access_log"]) == "flag --no-access-log"
    assert str(of(access_log=True).origins["access_log"]) == "flag --access-log"


def test_a_preset_sets_the_idle_timeout_and_the_clocks_follow() -> None:
    resolution = of(lb="gcp")
    settings = resolution.settings
    assert (settings.lb_idle_timeout, settings.keep_alive_timeout, settings.headers_timeout) == (600.0, 620.0, 630.0)
    assert str(resolution.origins["lb_idle_timeout"]) == "preset gcp"
    assert resolution.preset is not None
    assert resolution.preset.title.startswith("Google")


def test_an_idle_timeout_of_ones_own_wins_over_the_preset() -> None:
    resolution = of(lb="ALB", lb_idle_timeout="120")
    assert (resolution.settings.lb, resolution.settings.keep_alive_timeout) == ("alb", 140.0)
    assert str(resolution.origins["lb_idle_timeout"]) == "flag --lb-idle-timeout"
    assert resolution.warnings == []


def test_a_preset_may_have_a_lame_duck() -> None:
    resolution = of(lb="istio")
    assert (resolution.settings.drain_delay, str(resolution.origins["drain_delay"])) == (5.0, "preset istio")
    assert (resolution.problems, resolution.warnings) == ([], [])
    assert str(of(lb="alb").origins["drain_delay"]) == "default"


def test_a_lame_duck_of_ones_own_wins_over_the_preset_even_if_it_is_none() -> None:
    resolution = of(lb="istio", drain_delay="0")
    assert (resolution.settings.drain_delay, str(resolution.origins["drain_delay"])) == (0.0, "flag --drain-delay")
    assert len(of(lb="istio", drain_delay="soon").problems) == 1


def test_a_presets_lame_duck_counts_against_the_orchestrators_patience() -> None:
    message = only(of(lb="istio", stop_grace="30").problems)
    assert message.startswith("drain_delay (5 s, preset istio) + ")


def test_a_health_path_begins_with_a_slash() -> None:
    assert of(health_path="/healthz").problems == []
    message = only(of(health_path="healthz").problems)
    assert message == (
        'health_path (healthz, flag --health-path) must begin with "/", as the path of every request does. '
        "Set --health-path /healthz."
    )


def test_contradicting_a_balancer_that_cannot_be_changed_is_a_warning() -> None:
    message = only(of(lb="gcp", lb_idle_timeout="60").warnings)
    assert "keeps idle connections for 600 s and cannot be changed" in message


def test_scaling_a_changeable_balancer_down_is_allowed() -> None:
    resolution = of(lb="alb", lb_idle_timeout="1", keep_alive_timeout="1.5")
    assert resolution.problems == []
    assert "only 500 ms longer" in only(resolution.warnings)


@pytest.mark.parametrize("name", ["apache", "haproxy", "nlb", "azure-lb", "azure-appgw"])
def test_a_preset_without_a_number_means_60_seconds_and_says_so(name: str) -> None:
    resolution = of(lb=name)
    assert resolution.settings.keep_alive_timeout == 80.0
    assert "the clocks are those for a 60 s balancer" in only(resolution.warnings)
    assert of(lb=name, lb_idle_timeout="90").warnings == []


def test_an_unconfirmed_number_is_used_with_a_warning() -> None:
    resolution = of(lb="fly")
    assert resolution.settings.lb_idle_timeout == 60.0
    assert "is not confirmed by its vendor" in only(resolution.warnings)


def test_without_a_balancer_a_short_keep_alive_is_fine() -> None:
    resolution = of(lb="none", keep_alive_timeout="5")
    assert (resolution.problems, resolution.warnings) == ([], [])
    assert resolution.settings.keep_alive_timeout == 5.0


def test_an_unknown_preset_names_the_nearest_and_all() -> None:
    message = only(of(lb="ngnix").problems)
    assert message.startswith('Bad value for lb (flag --lb): there is no preset "ngnix". Did you mean "nginx"?')
    assert "alb, nlb," in message


def test_keep_alive_at_the_balancers_own_timeout_is_refused() -> None:
    message = only(of(keep_alive_timeout="60", lb="alb").problems)
    assert "keep_alive_timeout (60 s, flag --keep-alive-timeout) must be longer than" in message
    assert "lb_idle_timeout (60 s, preset alb)" in message
    assert "Set --keep-alive-timeout 80" in message


def test_an_envelope_shorter_than_keep_alive_is_refused() -> None:
    message = only(of(headers_timeout="70", keep_alive_timeout="80").problems)
    assert "headers_timeout (70 s, flag --headers-timeout) must be longer than" in message
    assert "keep_alive_timeout (80 s, flag --keep-alive-timeout)" in message
    assert "Set --headers-timeout 90" in message


def test_a_bad_value_says_where_it_stands() -> None:
    environ = {"KEEPSERVE_KEEP_ALIVE_TIMEOUT": "soon"}
    message = only(of(environ).problems)
    assert message.startswith('Bad value for keep_alive_timeout (env KEEPSERVE_KEEP_ALIVE_TIMEOUT): "soon" is not')
    assert only(of({}, "\nPORT=x").problems).startswith("Bad value for port (file x.env:2): ")


def test_a_bad_value_with_control_characters_stays_one_line() -> None:
    message = only(of(lb_idle_timeout="1\n\x1b[31m").problems)
    assert "\\n\\x1b[31m" in message
    assert message.isprintable()


@pytest.mark.parametrize("name", ["lb", "lb_idle_timeout", "keep_alive_margin", "keep_alive_timeout"])
def test_what_only_follows_from_an_unreadable_value_is_not_told(name: str) -> None:
    assert only(resolve({name: "x", "headers_timeout": "30"}, {}).problems).startswith(f"Bad value for {name} ")


def test_all_problems_come_at_once() -> None:
    resolution = of(port="x", workers="0", keep_alive_timeout="5", ssl_keyfile="k")
    assert len(resolution.problems) == 4
    with pytest.raises(ConfigError) as caught:
        resolution.require()
    assert str(caught.value).startswith("4 settings problems:\n  1. ")


def test_settings_that_can_be_used_are_handed_out() -> None:
    assert of(port="1").require().port == 1


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"uds": "/x", "fd": "3"}, "fd (flag --fd) and uds (flag --uds)"),
        ({"bind": ("a:1",), "port": "1"}, "bind (flag --bind) and port (flag --port)"),
        ({"bind": ("a:1",), "host": "h"}, "bind (flag --bind) and host (flag --host)"),
        ({"uds": "/x", "host": "h", "port": "1"}, "uds (flag --uds), host (flag --host) and port (flag --port)"),
    ],
)
def test_two_ways_to_say_where_to_listen_are_refused(options: dict[str, Any], names: str) -> None:
    assert only(of(**options).problems).startswith(f"{names} each say where to listen. Keep one of them")


def test_a_stronger_source_decides_where_to_listen_and_the_loser_is_named() -> None:
    resolution = of({"KEEPSERVE_BIND": "a:1"}, port="9")
    assert (resolution.settings.bind, resolution.settings.port, resolution.problems) == ((), 9, [])
    assert only(resolution.warnings) == "bind (env KEEPSERVE_BIND) is ignored: port (flag --port) is stronger."


def test_the_platforms_port_gives_way_in_silence() -> None:
    resolution = of({"PORT": "5000"}, bind=("a:1",))
    assert (resolution.settings.bind, resolution.settings.port) == (("a:1",), 8000)
    assert (resolution.problems, resolution.warnings) == ([], [])


def test_reload_with_several_workers_is_refused() -> None:
    message = only(of(reload=True, workers="3").problems)
    assert message.startswith("reload (flag --reload) and workers (flag --workers) exclude each other")


def test_reload_with_one_worker_is_fine() -> None:
    assert of(reload=True, workers="1").problems == []


def test_reload_beats_a_weaker_worker_count() -> None:
    resolution = of({"WEB_CONCURRENCY": "4"}, reload=True)
    assert (resolution.settings.workers, resolution.settings.reload, resolution.problems) == (1, True, [])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"ssl_keyfile": "k"}, "ssl_keyfile (k, flag --ssl-keyfile) needs --ssl-certfile"),
        ({"ssl_keyfile_password": "hunter2"}, "ssl_keyfile_password ((hidden), flag --ssl-keyfile-password) needs"),
        ({"ssl_ca_certs": "c"}, "needs --ssl-certfile"),
        ({"ssl_certfile": "c", "ssl_cert_reqs": "required"}, "needs --ssl-ca-certs"),
        ({"proxy_protocol": "require"}, "(require, flag --proxy-protocol) needs --proxy-protocol-from"),
        ({"proxy_protocol": "require", "proxy_protocol_from": ""}, "needs --proxy-protocol-from: the networks"),
        ({"limit_request_line": "64k"}, "must not be larger than limit_request_head (32 KiB, default)"),
    ],
)
def test_settings_that_need_each_other(options: dict[str, Any], words: str) -> None:
    message = only(of(**options).problems)
    assert words in message
    assert "hunter2" not in message


def test_settings_without_effect_are_warnings() -> None:
    assert "has no effect without --reload" in only(of(reload_dir=("src",)).warnings)
    unused = of(access_log_file="access.log", access_log=False)
    assert "access_log_file (access.log" in only(unused.warnings)
    assert "has no effect with --no-access-log" in only(unused.warnings)
    stray = only(of(proxy_protocol_from="10.0.0.0/8").warnings)
    assert stray.endswith("has no effect without --proxy-protocol require.")
    assert only(of(admin_allow_public=True).warnings).endswith("has no effect without --admin.")
    assert of(admin_allow_public=True, admin="0.0.0.0:9090").warnings == []
    assert "clients are not asked" in only(of(ssl_certfile="c", ssl_ca_certs="a").warnings)


def test_a_mistyped_variable_is_a_warning_with_the_nearest_name() -> None:
    message = only(of({"KEEPSERVE_KEEP_ALIVE_TIMOUT": "5", "KEEPER": "x"}).warnings)
    assert message == (
        "KEEPSERVE_KEEP_ALIVE_TIMOUT (the environment) is no setting of keepserve and has no effect; "
        "did you mean KEEPSERVE_KEEP_ALIVE_TIMEOUT?"
    )
    assert "(x.env:2)" in only(of({}, "A=1\nKEEPSERVE_XYZ=1").warnings)


def test_an_env_file_inside_an_env_file_is_a_warning() -> None:
    assert "(x.env:1) has no effect inside an env-file" in only(of({}, "KEEPSERVE_ENV_FILE=y.env").warnings)


def test_an_unknown_keyword_names_the_nearest() -> None:
    resolution = resolve({"keepalive_timeout": 5, "timeout_keep_alive": 5}, {}, from_python=True)
    first, second = map(str, resolution.problems)
    assert first == "There is no setting keepalive_timeout; did you mean keep_alive_timeout?"
    assert second.startswith("There is no setting timeout_keep_alive: use --keep-alive-timeout")


def test_keyword_arguments_are_named_as_such() -> None:
    app = object()
    resolution = resolve({"app": app, "keep_alive_timeout": 5, "uds": None}, {}, from_python=True)
    assert resolution.settings.app is app
    assert "(5 s, argument keep_alive_timeout=)" in only(resolution.problems)


def test_the_env_file_is_found_by_flag_or_variable(tmp_path: Path) -> None:
    path = tmp_path / "x.env"
    path.write_text("KEEPSERVE_PORT=7\nDATABASE_URL=sqlite://\nHOME=/nowhere\n")
    for options, environ in (({"env_file": str(path)}, {}), ({}, {"KEEPSERVE_ENV_FILE": str(path)})):
        resolution = load(options, {**environ, "HOME": "/home/me"})
        assert resolution.settings.port == 7
        assert str(resolution.origins["port"]) == f"file {path}:1"
        assert resolution.app_environment == {"KEEPSERVE_PORT": "7", "DATABASE_URL": "sqlite://"}


def test_a_missing_env_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load({"env_file": str(tmp_path / "missing")}, {})
