"""Traefik's static and dynamic files, in YAML and TOML."""

from functools import partial
from math import inf

import pytest

from keepserve.balancer.readers import traefik
from tests.balancer.readers.reading import check_defaults, check_written, only, place, refused, sample

STATIC = sample("traefik-static.yaml")
DYNAMIC = sample("traefik-dynamic.yaml")
TOML = sample("traefik-dynamic.toml")


def service(extra: str = "", url: str = "http://a:8000", more: str = "") -> str:
    text = f"http:\n  services:\n    web:\n      loadBalancer:\n        servers: [{{url: '{url}'}}]\n"
    return text + "".join(f"        {line}\n" for line in extra.splitlines()) + more


def transport(settings: str) -> str:
    """A service with a transport of its own."""
    lines = "".join(f"      {line}\n" for line in settings.splitlines())
    return service("serversTransport: t", "https://a", f"  serversTransports:\n    t:\n{lines}")


def test_dynamic_yaml_is_read_with_the_line_of_every_fact() -> None:
    web, grpc, raw = traefik.read("t.yaml", DYNAMIC).pools
    at = partial(place, "t.yaml", DYNAMIC)
    assert (web.kind, web.name, grpc.name, raw.name) == ("traefik", "Web", "grpc", "TCP service raw")
    check_written(
        web,
        at,
        idle_timeout=(120.0, "idleConnTimeout"),
        protocol=("http/1.1", "disableHTTP2"),
        tls=(True, "10.0.0.5"),
        response_timeout=(30.0, "responseHeaderTimeout"),
        retries_post=(True, "retryNonIdempotentMethod"),
        health_path=("/health/ready", "path: /health/ready"),
        health_interval=(5.0, "interval: 5s"),
    )
    check_defaults(web, keeps=True, proxy_protocol="off", health_threshold=1)
    assert web.notes == ()
    assert web.idle_timeout is not None
    assert web.idle_timeout.words == "idleConnTimeout: 2m"
    check_written(grpc, at, protocol=("h2", "h2c://"), tls=(False, "h2c://"))
    check_defaults(
        grpc, keeps=True, idle_timeout=90.0, response_timeout=inf, proxy_protocol="off", retries_post=False
    )
    assert "has no healthCheck" in grpc.notes[0]
    check_written(raw, at, proxy_protocol=("v1", "version: 1"))


def test_toml_is_read_with_the_line_of_every_fact() -> None:
    pool = only(traefik.read("t.toml", TOML))
    check_written(
        pool,
        partial(place, "t.toml", TOML),
        idle_timeout=(30.0, "idleConnTimeout"),
        protocol=("http/1.1", "10.0.0.5"),
        tls=(False, "10.0.0.5"),
        response_timeout=(20.0, "responseHeaderTimeout"),
        health_path=("/health/ready", 'path = "/health/ready"'),
        health_interval=(10.0, "interval ="),
    )
    check_defaults(pool, keeps=True, proxy_protocol="off", retries_post=False, health_threshold=1)


def test_a_static_file_has_a_pool_for_its_transport() -> None:
    pool = only(traefik.read("t.yaml", STATIC))
    assert pool.name == "serversTransport"
    check_written(
        pool,
        partial(place, "t.yaml", STATIC),
        keeps=(True, "maxIdleConnsPerHost"),
        idle_timeout=(60.0, "idleConnTimeout"),
        response_timeout=(45.0, "responseHeaderTimeout"),
    )


def test_the_static_transport_is_for_services_that_name_none() -> None:
    pool = only(traefik.read("t.yaml", service() + "serversTransport: {forwardingTimeouts: {idleConnTimeout: 7s}}\n"))
    assert pool.idle_timeout is not None
    assert pool.idle_timeout.value == 7.0


def test_a_static_file_without_a_transport_says_which_default_holds() -> None:
    reading = traefik.read("t.yaml", "entryPoints: {web: {address: ':80'}}\n")
    assert reading.pools == ()
    assert "idle connections to us are kept for 90 s" in reading.notes[0]


def test_keys_count_in_any_case() -> None:
    pool = only(traefik.read("t.yaml", service("healthCheck: {path: /h}").replace("loadBalancer", "loadbalancer")))
    assert pool.health_path is not None
    assert pool.health_path.value == "/h"
    assert pool.health_interval is not None
    assert (pool.health_interval.value, pool.health_interval.written) == (30.0, False)


@pytest.mark.parametrize(
    ("written", "seconds"), [("90", 90.0), ("'90'", 90.0), ("1m30s", 90.0), ("500ms", 0.5), ("0", inf), ("0s", inf)]
)
def test_durations_are_go_s_or_seconds_and_zero_is_no_limit(written: str, seconds: float) -> None:
    pool = only(traefik.read("t.yaml", transport(f"forwardingTimeouts: {{idleConnTimeout: {written}}}")))
    assert pool.idle_timeout is not None
    assert pool.idle_timeout.value == seconds


def test_no_spare_connections_means_none_are_kept() -> None:
    pool = only(traefik.read("t.yaml", transport("maxIdleConnsPerHost: -1")))
    assert pool.keeps is not None
    assert (pool.keeps.value, pool.keeps.words) == (False, "maxIdleConnsPerHost: -1")


def test_over_tls_the_protocol_depends_on_us() -> None:
    pool = only(traefik.read("t.yaml", transport("disableHTTP2: false")))
    assert pool.protocol is None
    assert pool.tls is not None
    assert pool.tls.value
    assert "ALPN" in pool.notes[0]


@pytest.mark.parametrize("servers", ["", "servers: [{url: 'http://a'}, {url: 'https://b'}]"])
def test_servers_that_are_missing_or_differ_are_told(servers: str) -> None:
    text = f"http:\n  services:\n    web:\n      loadBalancer:\n        passHostHeader: true\n        {servers}\n"
    pool = only(traefik.read("t.yaml", text))
    assert pool.protocol is None
    assert "what is spoken to us is not known" in pool.notes[0]


def test_a_transport_from_elsewhere_leaves_the_timeouts_unknown() -> None:
    pool = only(traefik.read("t.yaml", service("serversTransport: other@kubernetescrd")))
    assert pool.idle_timeout is None
    assert "serversTransport: other@kubernetescrd" in pool.notes[0]


def test_a_retry_by_itself_repeats_no_post() -> None:
    text = (
        service()
        + "  routers: {r: {service: web@file, middlewares: [m@file, other]}}\n"
        + "  middlewares: {m: {retry: {attempts: 3}}}\n"
    )
    pool = only(traefik.read("t.yaml", text))
    assert pool.retries_post is not None
    assert pool.retries_post.value is False
    assert pool.retries_post.place == place("t.yaml", text, "attempts")


@pytest.mark.parametrize(
    ("tcp", "expected"),
    [
        ("loadBalancer: {servers: [{address: 'a:1'}]}", "off"),
        ("loadBalancer: {proxyProtocol: {}}", "v2"),
        ("loadBalancer: {serversTransport: p}", "v1"),
    ],
)
def test_tcp_services_may_send_the_proxy_protocol(tcp: str, expected: str) -> None:
    text = (
        f"tcp:\n  services:\n    raw:\n      {tcp}\n  serversTransports: {{p: {{proxyProtocol: {{version: 1}}}}}}\n"
    )
    pool = only(traefik.read("t.yaml", text))
    assert pool.proxy_protocol is not None
    assert pool.proxy_protocol.value == expected
    assert "timeouts are those of whoever connects" in pool.notes[0]


def test_services_that_only_point_to_others_make_no_pool() -> None:
    reading = traefik.read("t.yaml", "http: {services: {both: {weighted: {services: [{name: a}]}}}}\n")
    assert reading.pools == ()


@pytest.mark.parametrize(
    ("path", "text", "message"),
    [
        ("t.yaml", "a: 1\n", "t.yaml:1: this is not a Traefik configuration"),
        ("t.yaml", service(url="ftp://a"), 't.yaml:5: "url: ftp://a" should be a URL that begins with http://'),
        (
            "t.yaml",
            transport("forwardingTimeouts: {idleConnTimeout: soon}"),
            't.yaml:9: "idleConnTimeout: soon" should be a duration such as 90s, 1m30s or 500ms, or a number of s',
        ),
        ("t.yaml", 'http:\n  services:\n    web: {{ env "X" }}\n', "t.yaml:3: this is a template"),
        ("t.yaml", "http: {services: {web: [\n", "t.yaml:"),
        ("t.yaml", "http:\n  services: {}\n  services: {}\n", 't.yaml:3: "services" is given twice, first in line 2'),
        ("t.yaml", "http:\n  services: [web]\n", 't.yaml:2: "services" should be a mapping'),
        ("t.toml", "[http.services\n", "t.toml: this is not TOML: "),
        ("t.toml", "[http]\na = {{ x }}\n", "t.toml:2: this is a template"),
        ("t.toml", "a = 1\n", "t.toml:1: this is not a Traefik configuration"),
        (
            "t.yaml",
            "tcp: {services: {a: {loadBalancer: {proxyProtocol: {version: 3}}}}}\n",
            't.yaml:1: "version: 3" should be 1 or 2.',
        ),
    ],
)
def test_what_is_broken_or_of_another_kind_is_refused(path: str, text: str, message: str) -> None:
    assert refused(traefik, text, path).startswith(message)
