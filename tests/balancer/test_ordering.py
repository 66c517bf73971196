"""The ordering law, paragraph by paragraph: each violation names both values, their origins and the cure."""

from typing import Any

import pytest

from keepserve.balancer import check_ordering
from keepserve.config import Origin, OriginKind, Settings


def problems(**values: Any) -> list[str]:
    return [str(problem) for problem in check_ordering(Settings(**values), {})[0]]


def warnings(**values: Any) -> list[str]:
    return [str(warning) for warning in check_ordering(Settings(**values), {})[1]]


def test_the_defaults_obey_the_law() -> None:
    assert check_ordering(Settings(), {}) == ([], [])


@pytest.mark.parametrize("idle", [3.0, 5.0, 60.0, 600.0, 3600.0])
def test_computed_clocks_obey_the_law_for_every_balancer(idle: float) -> None:
    assert check_ordering(Settings(lb_idle_timeout=idle), {}) == ([], [])


@pytest.mark.parametrize("keep_alive", [5.0, 59.9, 60.0])
def test_keep_alive_must_outlast_the_balancer(keep_alive: float) -> None:
    (message,) = problems(keep_alive_timeout=keep_alive)
    assert message.startswith("keep_alive_timeout (")
    assert "must be longer than lb_idle_timeout (60 s, default)" in message
    assert "Set --keep-alive-timeout 80 (the balancer's plus 20 s), or leave it out." in message


def test_a_violation_names_values_origins_and_cure() -> None:
    origins = {
        "keep_alive_timeout": Origin(OriginKind.FLAG, "--keep-alive-timeout"),
        "lb_idle_timeout": Origin(OriginKind.PRESET, "alb"),
    }
    found, _ = check_ordering(Settings(keep_alive_timeout=60.0), origins)
    assert [str(problem) for problem in found] == [
        "keep_alive_timeout (60 s, flag --keep-alive-timeout) must be longer than "
        "lb_idle_timeout (60 s, preset alb): keepserve would close idle connections that the balancer still "
        "counts on, and requests sent at that moment get 502. "
        "Set --keep-alive-timeout 80 (the balancer's plus 20 s), or leave it out."
    ]
    assert found[0].settings == ("keep_alive_timeout", "lb_idle_timeout")


def test_without_a_named_balancer_the_way_out_for_direct_clients_is_told() -> None:
    (message,) = problems(keep_alive_timeout=5.0)
    assert message.endswith("If clients connect directly, say --lb none.")


def test_without_a_balancer_any_keep_alive_will_do() -> None:
    assert check_ordering(Settings(lb_idle_timeout=0.0, keep_alive_timeout=0.5), {}) == ([], [])


@pytest.mark.parametrize(("keep_alive", "warned"), [(60.5, True), (64.9, True), (65.0, False), (80.0, False)])
def test_a_margin_under_five_seconds_is_a_warning_that_explains_the_race(keep_alive: float, warned: bool) -> None:
    messages = warnings(keep_alive_timeout=keep_alive)
    assert bool(messages) is warned
    if warned:
        assert "the balancer may send a request in the very moment our timer fires" in messages[0]
        assert "Set --keep-alive-timeout 80 to be 20 s apart." in messages[0]


def test_the_advice_respects_a_margin_of_ones_own_unless_it_is_the_trouble() -> None:
    assert "--keep-alive-timeout 90 " in problems(keep_alive_timeout=60.0, keep_alive_margin=30.0)[0]
    assert "--keep-alive-timeout 80 " in problems(keep_alive_timeout=60.0, keep_alive_margin=1.0)[0]


@pytest.mark.parametrize("headers", [70.0, 80.0])
def test_the_envelope_must_outlast_keep_alive(headers: float) -> None:
    (message,) = problems(headers_timeout=headers)
    assert message.startswith(
        f"headers_timeout ({headers:g} s, default) must be longer than keep_alive_timeout (80 s"
    )
    assert (
        "Set --headers-timeout 90 (keep_alive_timeout plus request_head_timeout, 10 s), or leave it out." in message
    )


def test_an_envelope_that_shortens_the_last_head_is_a_warning() -> None:
    (message,) = warnings(headers_timeout=85.0)
    assert "leaves only 5 s for the head of a request" in message
    assert "Set --headers-timeout 90" in message


def test_the_head_must_fit_the_envelope() -> None:
    messages = problems(request_head_timeout=100.0, headers_timeout=90.0)
    assert any(
        message.startswith("request_head_timeout (100 s, default) must not be longer than headers_timeout (90 s")
        for message in messages
    )


def test_a_margin_that_leaves_nothing_to_advertise_is_a_warning_when_it_was_chosen() -> None:
    settings = Settings(keep_alive_timeout=100.0, keep_alive_margin=100.0)
    chosen = {"keep_alive_margin": Origin(OriginKind.FLAG, "--keep-alive-margin")}
    assert check_ordering(settings, {})[1] == []
    (warning,) = check_ordering(settings, chosen)[1]
    assert "is not sent and clients cannot close first" in str(warning)


def test_the_idle_drain_must_fit_the_drain() -> None:
    (message,) = problems(drain_idle=21.0)
    assert message.startswith("drain_idle (21 s, default) must not be longer than drain_timeout (20 s, default)")
    assert "Set --drain-idle 20 or less." in message


@pytest.mark.parametrize(("grace", "fits"), [(30.0, True), (28.0, True), (27.9, False), (10.0, False)])
def test_a_stop_must_fit_the_orchestrators_patience(grace: float, fits: bool) -> None:
    messages = problems(stop_grace=grace)
    assert not messages if fits else len(messages) == 1


def test_a_stop_that_does_not_fit_names_every_summand_and_both_cures() -> None:
    (message,) = problems(stop_grace=10.0)
    assert message.startswith(
        "drain_timeout (20 s, default) + drain_cancel (3 s, default) + shutdown_timeout (5 s, default) = 28 s "
        "must not be longer than stop_grace (10 s, default)"
    )
    assert "Set --drain-timeout 2 or less, or --stop-grace 28 or more" in message


def test_a_lame_duck_is_a_summand_of_a_stop_that_does_not_fit() -> None:
    (message,) = problems(stop_grace=30.0, drain_delay=5.0)
    assert message.startswith("drain_delay (5 s, default) + drain_timeout (20 s, default) + ")
    assert "= 33 s must not be longer than stop_grace (30 s, default)" in message
    assert "Set --drain-timeout 17 or less, or --stop-grace 33 or more" in message


@pytest.mark.parametrize(
    ("kind", "health_path", "warned"),
    [
        (OriginKind.FLAG, None, True),
        (OriginKind.FLAG, "/healthz", False),
        (OriginKind.PRESET, None, False),
    ],
)
def test_a_lame_duck_of_ones_own_that_no_health_check_can_see_is_a_warning(
    kind: OriginKind, health_path: str | None, warned: bool
) -> None:
    settings = Settings(drain_delay=5.0, health_path=health_path)
    found, warnings = check_ordering(settings, {"drain_delay": Origin(kind, "--drain-delay")})
    assert found == []
    assert len(warnings) == warned
    for warning in warnings:
        assert str(warning).startswith("drain_delay (5 s, flag --drain-delay) announces a stop by health checks")
        assert "Set --health-path /healthz" in str(warning)
        assert warning.settings == ("drain_delay", "health_path")


def test_a_stop_with_no_room_for_requests_at_all_says_so() -> None:
    (message,) = problems(stop_grace=5.0)
    assert "Shorten them, or --stop-grace 28 or more" in message


def test_one_wait_of_lingering_must_fit_all_of_it() -> None:
    (message,) = problems(linger_timeout=1.0)
    assert message.startswith("linger_idle_timeout (5 s, default) must not be longer than linger_timeout (1 s")


def test_all_violations_come_at_once() -> None:
    assert len(problems(keep_alive_timeout=10.0, headers_timeout=5.0, drain_idle=60.0, stop_grace=1.0)) == 5


def test_advice_for_short_times_can_be_typed_as_it_stands() -> None:
    assert "--drain-idle 0.5 or less" in problems(drain_idle=1.0, drain_timeout=0.5)[0]


@pytest.mark.parametrize(("interval", "warned"), [(0.0, True), (60.0, True), (59.0, False), (24.0, False)])
def test_pings_must_come_before_the_balancer_loses_its_patience(interval: float, warned: bool) -> None:
    found = warnings(ws_ping_interval=interval)
    assert bool(found) is warned
    if found:
        assert "Set --ws-ping-interval 24 or less, or leave it out." in found[0]
        assert "the balancer will close quiet ones" in found[0]


def test_without_a_balancer_or_websockets_pings_are_a_matter_of_taste() -> None:
    assert warnings(ws_ping_interval=0.0, lb_idle_timeout=0.0, keep_alive_timeout=80.0) == []
    assert warnings(ws_ping_interval=0.0, websocket=False) == []
