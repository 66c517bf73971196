"""Docker Compose files."""

from functools import partial

import pytest

from keepserve.balancer.readers import compose
from tests.balancer.readers.reading import check_defaults, check_written, only, place, refused, sample

COMPOSE = sample("compose.yaml")


def service(*lines: str) -> str:
    return "services:\n  web:\n    image: web\n" + "".join(f"    {line}\n" for line in lines)


def test_a_file_is_read_with_the_line_of_every_fact() -> None:
    pool = only(compose.read("c.yaml", COMPOSE))
    at = partial(place, "c.yaml", COMPOSE)
    assert (pool.kind, pool.name, pool.place) == ("compose", "service web", at("  web:"))
    check_written(
        pool,
        at,
        kill_after=(70.0, "stop_grace_period"),
        health_interval=(10.0, "interval"),
        health_threshold=(4, "retries"),
    )
    check_defaults(pool)
    assert pool.notes == (
        "The container has its own settings, so check with the same ones: "
        f"KEEPSERVE_KEEP_ALIVE_TIMEOUT=80s ({at('KEEPSERVE')}), --lb nginx ({at('--lb')}), "
        f"--drain-timeout=20 ({at('--lb')}).",
    )


def test_a_service_that_says_nothing_has_documented_defaults() -> None:
    check_defaults(only(compose.read("c.yaml", service())), kill_after=10.0)
    check_defaults(
        only(compose.read("c.yaml", service("healthcheck: {test: x}"))),
        kill_after=10.0,
        health_interval=30.0,
        health_threshold=3,
    )


@pytest.mark.parametrize(
    "ours",
    [
        "command: [keepserve, 'a:app']",
        "entrypoint: python -m keepserve",
        "environment: [KEEPSERVE_LB=alb, OTHER]",
        "environment: {KEEPSERVE_LB: alb}",
    ],
)
def test_the_service_that_names_keepserve_is_ours(ours: str) -> None:
    text = service(ours, "stop_grace_period: 9s") + "  db: {image: postgres, command: postgres}\n"
    pool = only(compose.read("c.yaml", text))
    assert pool.name == "service web"
    assert pool.kill_after is not None
    assert pool.kill_after.value == 9.0


def test_of_several_services_none_is_guessed() -> None:
    reading = compose.read("c.yaml", service() + "  db: {image: postgres}\n")
    assert reading.pools == ()
    assert "Which of the 2 services runs keepserve cannot be told" in reading.notes[0]


@pytest.mark.parametrize(("signal", "told"), [("SIGTERM", False), ("SIGKILL", True), ("USR1", True)])
def test_a_signal_that_stops_nobody_gracefully_is_told(signal: str, told: bool) -> None:
    pool = only(compose.read("c.yaml", service(f"stop_signal: {signal}")))
    assert any(f"stop_signal: {signal}" in note for note in pool.notes) is told


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("services: {}\n", "lb.yaml:1: this is not a Compose file"),
        ("services: {web: {}}\n", "lb.yaml:1: this is not a Compose file"),
        (service("stop_grace_period: 30"), 'lb.yaml:4: "stop_grace_period: 30" should be a duration'),
        (service("stop_grace_period: ${GRACE}"), 'lb.yaml:4: "stop_grace_period: ${GRACE}" is a template'),
        (service("command: keepserve 'open"), 'lb.yaml:4: "command: keepserve \'open" should be a command line'),
        (service("command: [a"), "lb.yaml:5: this is not YAML"),
    ],
)
def test_what_is_broken_or_of_another_kind_is_refused(text: str, message: str) -> None:
    assert refused(compose, text).startswith(message)
