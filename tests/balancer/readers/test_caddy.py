"""Caddy's JSON, and a Caddyfile by way of the adapter."""

import json
import os
import shutil
from functools import partial
from math import inf
from pathlib import Path

import pytest

from keepserve.balancer.facts import Place
from keepserve.balancer.readers import caddy
from tests.balancer.readers.reading import (
    DIRECTORY,
    check_defaults,
    check_written,
    known,
    only,
    place,
    refused,
    sample,
)

JSON = sample("caddy.json")
CADDYFILE = sample("Caddyfile")


def proxy(**handler: object) -> str:
    handle = {"handler": "reverse_proxy", "upstreams": [{"dial": "app:8000"}], **handler}
    return json.dumps({"apps": {"http": {"servers": {"s": {"routes": [{"handle": [handle]}]}}}}}, indent=1)


def test_json_is_read_with_the_line_of_every_fact() -> None:
    reading = caddy.read("caddy.json", JSON)
    pool = only(reading)
    assert (pool.kind, pool.name) == ("caddy", "10.0.0.5:8000, 10.0.0.6:8000")
    check_written(
        pool,
        partial(place, "caddy.json", JSON),
        idle_timeout=(90.0, "idle_timeout"),
        protocol=("h2", "versions"),
        proxy_protocol=("v2", "proxy_protocol"),
        response_timeout=(45.0, "read_timeout"),
        retries_post=(True, "retry_match"),
        health_path=("/health/ready", '"uri"'),
        health_interval=(5.0, "interval"),
        health_threshold=(2, "fails"),
    )
    check_defaults(pool, keeps=True, tls=False)
    assert pool.notes == ()
    assert pool.idle_timeout is not None
    assert pool.idle_timeout.words == "idle_timeout: 90000000000 (90 s)"


def test_a_proxy_that_says_nothing_has_documented_defaults() -> None:
    pool = only(caddy.read("c.json", proxy()))
    check_defaults(
        pool,
        keeps=True,
        idle_timeout=120.0,
        protocol="http/1.1",
        tls=False,
        proxy_protocol="off",
        response_timeout=inf,
        retries_post=False,
    )
    assert "no active health check" in pool.notes[0]


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("90s", 90.0), ("1m30s", 90.0), ("1d", 86400.0), ("1.5h", 5400.0), (90_000_000_000, 90.0), (0, 120.0)],
)
def test_durations_are_go_s_or_nanoseconds_and_zero_is_the_default(written: object, seconds: float) -> None:
    pool = only(caddy.read("c.json", proxy(transport={"protocol": "http", "keep_alive": {"idle_timeout": written}})))
    assert pool.idle_timeout is not None
    assert pool.idle_timeout.value == seconds


def test_keep_alive_may_be_off() -> None:
    pool = only(caddy.read("c.json", proxy(transport={"protocol": "http", "keep_alive": {"enabled": False}})))
    assert pool.keeps is not None
    assert (pool.keeps.value, pool.keeps.words) == (False, "enabled: false")


@pytest.mark.parametrize(
    ("transport", "protocol", "tls"),
    [
        ({"versions": ["h2c"]}, "h2", False),
        ({"versions": ["h2c", "2"]}, "h2", False),
        ({"versions": ["1.1"]}, "http/1.1", False),
        ({"versions": ["1.1", "2"]}, "http/1.1", False),
        ({"tls": {}, "versions": ["1.1"]}, "http/1.1", True),
        ({"tls": {}}, None, True),
        ({"tls": {}, "versions": ["1.1", "2"]}, None, True),
        ({"tls": {}, "versions": ["3"]}, None, True),
    ],
)
def test_the_protocol_follows_versions_and_tls(transport: dict[str, object], protocol: str | None, tls: bool) -> None:
    pool = only(caddy.read("c.json", proxy(transport={"protocol": "http", **transport})))
    assert (pool.protocol.value if pool.protocol else None) == protocol
    assert pool.tls is not None
    assert pool.tls.value is tls
    assert (protocol is None) == any("HTTP/" in note for note in pool.notes)


@pytest.mark.parametrize(
    ("balancing", "expected"),
    [
        ({"retries": 3}, False),
        ({"try_duration": "5s"}, False),
        ({"retries": 3, "retry_match": [{"method": ["GET", "PUT"]}]}, False),
        ({"retries": 3, "retry_match": [{"method": ["PATCH"]}]}, True),
        ({"retries": 3, "retry_match": [{"path": ["/api/*"]}]}, True),
        ({"retry_match": [{"method": ["POST"]}]}, False),
        ({"retries": 0, "try_duration": 0, "retry_match": [{"method": ["POST"]}]}, False),
    ],
)
def test_retries_repeat_a_post_only_where_they_are_told_to(balancing: dict[str, object], expected: bool) -> None:
    pool = only(caddy.read("c.json", proxy(load_balancing=balancing)))
    assert pool.retries_post is not None
    assert pool.retries_post.value is expected


def test_a_health_check_has_documented_defaults() -> None:
    pool = only(caddy.read("c.json", proxy(health_checks={"active": {"path": "/h"}})))
    defaults = {name: fact.value for name, fact in known(pool).items() if "health" in name}
    assert defaults == {"health_path": "/h", "health_interval": 30.0, "health_threshold": 1}


def test_a_health_check_may_have_nothing_but_a_port() -> None:
    pool = only(caddy.read("c.json", proxy(health_checks={"active": {"port": 8001}})))
    assert {name: fact.value for name, fact in known(pool).items() if "health" in name} == {
        "health_interval": 30.0,
        "health_threshold": 1,
    }


def test_other_transports_are_not_compared() -> None:
    pool = only(caddy.read("c.json", proxy(transport={"protocol": "fastcgi", "root": "/srv"})))
    assert known(pool) == {}
    assert "fastcgi" in pool.notes[0]


def test_upstreams_found_at_run_time_are_told() -> None:
    pool = only(caddy.read("c.json", proxy(upstreams=[], dynamic_upstreams={"source": "srv"})))
    assert pool.name == "reverse_proxy"
    assert "dynamic_upstreams" in pool.notes[0]


def test_a_configuration_without_a_proxy_says_so() -> None:
    reading = caddy.read("c.json", '{"apps": {"http": {}}}')
    assert (reading.pools, reading.notes) == ((), ("There is no reverse_proxy in this file.",))


@pytest.mark.parametrize(
    ("path", "text", "expected"),
    [
        ("Caddyfile", "example.com\nrespond hello\n", True),
        ("Caddyfile.prod", CADDYFILE, True),
        ("sites.caddyfile", "example.com\n", True),
        ("site", ":80 {\n\treverse_proxy app:8000\n}\n", True),
        ("site", "# reverse_proxy\n:80 {\n\trespond hi\n}\n", False),
        ("site.conf", "location / { proxy_pass http://a; }\n", False),
    ],
)
def test_a_caddyfile_is_known_by_its_name_or_its_directive(path: str, text: str, expected: bool) -> None:
    assert caddy.looks_like(path, text) is expected


def test_a_caddyfile_without_a_caddy_says_what_to_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    message = refused(caddy, CADDYFILE, "etc/Caddyfile")
    assert "there is no caddy on this machine" in message
    assert "caddy adapt --config Caddyfile --adapter caddyfile > caddy.json" in message


def stand_in(directory: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program called caddy that does what the adapter would."""
    program = directory / "caddy"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(directory), prepend=os.pathsep)


def test_a_caddyfile_is_adapted_by_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "Caddyfile"
    config.write_text(CADDYFILE)
    adapted = tmp_path / "adapted.json"
    adapted.write_text(proxy(transport={"protocol": "http", "keep_alive": {"idle_timeout": 90_000_000_000}}))
    told = tmp_path / "told"
    stand_in(tmp_path, f'echo "$@" "$PWD" > {told}; cat {adapted}', monkeypatch)
    pool = only(caddy.read(str(config), CADDYFILE))
    assert pool.idle_timeout is not None
    # The adapter tells no lines, so none are made up.
    assert (pool.idle_timeout.value, pool.idle_timeout.place) == (90.0, Place(str(config), 0))
    assert told.read_text().split() == ["adapt", "--adapter", "caddyfile", "--config", str(config), str(tmp_path)]


def test_a_caddyfile_that_is_no_file_is_given_on_standard_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapted = tmp_path / "adapted.json"
    adapted.write_text(proxy())
    stand_in(tmp_path, f"cat > {tmp_path}/given; cat {adapted}", monkeypatch)
    assert only(caddy.read("Caddyfile", CADDYFILE)).name == "app:8000"
    assert (tmp_path / "given").read_text() == CADDYFILE


@pytest.mark.skipif(shutil.which("caddy") is None, reason="there is no caddy on this machine")
def test_caddy_itself_adapts_the_sample() -> None:
    pool = only(caddy.read(str(DIRECTORY / "Caddyfile"), CADDYFILE))
    assert {name: fact.value for name, fact in known(pool).items() if fact.written} == {
        "idle_timeout": 90.0,
        "response_timeout": 45.0,
        "retries_post": False,
        "health_path": "/health/ready",
        "health_interval": 5.0,
    }
    assert "unrecognized directive" in refused(caddy, ":80 {\n\tfoo bar\n\treverse_proxy a\n}\n", "site")


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo noise >&2; echo 'Error: Caddyfile:7: unrecognized directive: foo' >&2; exit 1", "directive: foo."),
        ("exit 3", "it ended with status 3."),
        ("echo '{\"apps\": '", "half a file"),
        ("echo '{\"other\": 1}'", "this is not a Caddy configuration"),
    ],
)
def test_what_the_adapter_refuses_is_refused(
    script: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(tmp_path, script, monkeypatch)
    assert words in refused(caddy, CADDYFILE, "Caddyfile")


def test_an_adapter_that_hangs_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caddy, "ADAPT_SECONDS", 0.05)
    stand_in(tmp_path, "exec sleep 30", monkeypatch)
    assert "took longer than 0.05 s" in refused(caddy, CADDYFILE, "Caddyfile")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"apps": {"http": ', "c.json:1: this is half a file"),
        ('{"apps": {"other": {}}}', "c.json:1: this is not a Caddy configuration"),
        ('{"apps": {"http": {}, "http": {}}}', 'c.json:1: "http" is given twice'),
        (
            proxy(transport={"keep_alive": {"idle_timeout": "soon"}}),
            '"idle_timeout: soon" should be a duration such as 90s, 1m30s or 500ms, or a whole number of nano',
        ),
        (proxy(transport={"proxy_protocol": "v3"}), '"proxy_protocol: v3" should be v1 or v2.'),
        (proxy(transport=[]), '"transport" should be a mapping (keys with values), but is a list.'),
        (proxy(health_checks={"active": {"uri": "/h", "fails": -1}}), '"fails: -1" should be a whole number'),
    ],
)
def test_what_is_broken_is_refused(text: str, message: str) -> None:
    assert message in refused(caddy, text, "c.json")
