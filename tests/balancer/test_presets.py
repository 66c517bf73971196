"""The presets: complete, sourced, and found by name."""

import re

import pytest

from keepserve.balancer import PRESETS, Preset, find_preset

NAMES = """
alb nlb classic-elb nginx ingress-nginx haproxy envoy istio traefik caddy apache gcp azure-appgw
azure-front-door azure-lb cloudflare cloudfront heroku fly kong varnish linkerd none
""".split()  # noqa: SIM905 - a list of 23 quoted words reads worse


def test_every_balancer_people_ask_for_has_a_preset() -> None:
    assert list(PRESETS) == NAMES


@pytest.mark.parametrize(
    ("name", "idle"),
    [
        ("alb", 60),
        ("classic-elb", 60),
        ("nginx", 60),
        ("ingress-nginx", 60),
        ("kong", 60),
        ("varnish", 60),
        ("traefik", 90),
        ("heroku", 90),
        ("azure-front-door", 90),
        ("caddy", 120),
        ("gcp", 600),
        ("cloudflare", 900),
        ("envoy", 3600),
        ("istio", 3600),
        ("cloudfront", 5),
        ("linkerd", 3),
        ("none", 0),
        ("nlb", None),
        ("azure-lb", None),
        ("apache", None),
        ("haproxy", None),
        ("azure-appgw", None),
    ],
)
def test_the_idle_timeouts_are_the_documented_ones(name: str, idle: float | None) -> None:
    assert PRESETS[name].idle == idle


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_every_preset_has_a_public_source(preset: Preset) -> None:
    assert re.fullmatch(r"https://[a-z0-9.-]+/\S+", preset.source)


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_a_preset_without_a_number_or_without_confirmation_says_what_to_do(preset: Preset) -> None:
    if preset.idle is None or not preset.confirmed:
        assert preset.note


def test_unconfirmed_numbers_are_marked() -> None:
    assert {name for name, preset in PRESETS.items() if not preset.confirmed} == {
        "azure-appgw",
        "azure-front-door",
        "fly",
    }


def test_only_known_and_unchangeable_timeouts_are_fixed() -> None:
    assert {name for name, preset in PRESETS.items() if preset.fixed} == {
        "gcp",
        "cloudflare",
        "heroku",
        "azure-front-door",
    }


def test_a_lame_duck_is_preset_where_kubernetes_tells_proxies_late() -> None:
    delays = {name: preset.drain_delay for name, preset in PRESETS.items() if preset.drain_delay}
    assert delays == {"ingress-nginx": 5.0, "istio": 5.0, "linkerd": 5.0}
    assert all("lame duck" in PRESETS[name].note for name in (*delays, "alb", "nlb"))


@pytest.mark.parametrize("text", ["alb", "ALB", " alb ", "Classic_ELB"])
def test_names_are_found_in_any_spelling_of_case(text: str) -> None:
    assert find_preset(text).name in ("alb", "classic-elb")


def test_an_unknown_name_names_the_nearest_and_all() -> None:
    with pytest.raises(ValueError, match='there is no preset "ngnix"') as caught:
        find_preset("ngnix")
    assert 'Did you mean "nginx"?' in str(caught.value)
    assert ", ".join(NAMES) in str(caught.value)


def test_a_name_like_nothing_names_all_only() -> None:
    with pytest.raises(ValueError, match="Presets: alb, nlb") as caught:
        find_preset("zzz")
    assert "Did you mean" not in str(caught.value)
