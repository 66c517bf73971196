"""The settings class and what its fields say about themselves."""

import dataclasses
from itertools import pairwise

import pytest

from keepserve.config import FIELDS_BY_NAME, GROUPS, Settings
from keepserve.config.fields import is_derived


def test_the_defaults_are_those_of_a_60_second_balancer() -> None:
    settings = Settings()
    assert (settings.lb_idle_timeout, settings.keep_alive_timeout, settings.headers_timeout) == (60.0, 80.0, 90.0)


def test_the_clocks_follow_the_balancers_idle_timeout() -> None:
    settings = Settings(lb_idle_timeout=600.0)
    assert (settings.keep_alive_timeout, settings.headers_timeout) == (620.0, 630.0)


def test_the_clocks_follow_margin_and_head_timeout() -> None:
    settings = Settings(lb_idle_timeout=10.0, keep_alive_margin=5.0, request_head_timeout=3.0)
    assert (settings.keep_alive_timeout, settings.headers_timeout) == (15.0, 18.0)


def test_without_a_balancer_keep_alive_stays_at_its_default() -> None:
    assert Settings(lb_idle_timeout=0.0).keep_alive_timeout == 80.0


def test_given_clocks_are_kept() -> None:
    settings = Settings(keep_alive_timeout=70.0, headers_timeout=75.0)
    assert (settings.keep_alive_timeout, settings.headers_timeout) == (70.0, 75.0)


def test_replacing_a_setting_keeps_the_computed_ones() -> None:
    settings = dataclasses.replace(Settings(lb_idle_timeout=600.0), port=1)
    assert (settings.keep_alive_timeout, settings.port) == (620.0, 1)


@pytest.mark.parametrize(
    ("keep_alive", "idle", "margin", "advertised"),
    [
        (80.0, 60.0, 20.0, 60),
        (65.0, 60.0, 20.0, 45),
        (3620.0, 60.0, 20.0, 60),
        (1.5, 1.0, 20.0, 0),
        (20.9, 1.0, 20.0, 0),
        (23.0, 3.0, 20.0, 3),
        (80.0, 0.0, 20.0, 60),
        (30.0, 0.0, 2.5, 27),
    ],
)
def test_the_advertised_timeout_is_smaller_than_both_clocks(
    keep_alive: float, idle: float, margin: float, advertised: int
) -> None:
    settings = Settings(keep_alive_timeout=keep_alive, lb_idle_timeout=idle, keep_alive_margin=margin)
    assert settings.advertised_keep_alive == advertised


def test_the_stop_budget_is_the_sum_of_the_drain_phases() -> None:
    assert Settings().stop_budget == 28.0


def test_response_fields_are_bytes_for_the_wire() -> None:
    settings = Settings(header=("X-A: 1", "X-B:\xe9: x "))
    assert settings.response_fields == [(b"X-A", b"1"), (b"X-B", b"\xe9: x")]


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().port = 1  # type: ignore[misc]  # that it is refused is the point


def test_the_password_is_not_in_the_repr() -> None:
    assert "hunter2" not in repr(Settings(ssl_keyfile_password="hunter2"))


@pytest.mark.parametrize("name", FIELDS_BY_NAME)
def test_every_setting_describes_itself(name: str) -> None:
    info = FIELDS_BY_NAME[name]
    assert info.doc.endswith(".")
    assert info.doc[0].isupper()
    assert info.group in GROUPS
    assert info.default_text, "a default, a formula or what unset means"
    assert info.env == f"KEEPSERVE_{name.upper()}"
    assert info.formula or not is_derived(info.default)


@pytest.mark.parametrize("name", [name for name, info in FIELDS_BY_NAME.items() if not info.formula])
def test_every_default_is_a_value_its_own_check_accepts(name: str) -> None:
    info = FIELDS_BY_NAME[name]
    if info.default is not None:
        assert info.check(info.default) == info.default


def test_each_subject_is_declared_in_one_piece() -> None:
    order = [info.group for info in FIELDS_BY_NAME.values()]
    changes = sum(before != after for before, after in pairwise(order))
    assert changes == len(GROUPS) - 1


def test_no_two_settings_share_an_environment_name() -> None:
    names = [name for info in FIELDS_BY_NAME.values() for name in info.envs]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(("idle", "interval"), [(2.0, 0.8), (60.0, 24.0), (75.0, 30.0), (3600.0, 30.0), (0.0, 24.0)])
def test_websockets_are_pinged_in_less_than_half_of_the_balancers_patience(idle: float, interval: float) -> None:
    assert Settings(lb_idle_timeout=idle).ws_ping_interval == pytest.approx(interval)
    assert Settings(lb_idle_timeout=idle, ws_ping_interval=5.0).ws_ping_interval == 5.0
