"""Envoy's files: every setting of a cluster with its line, the defaults with their sources, and what is refused."""

from functools import partial
from math import inf

import pytest

from keepserve.balancer.readers import envoy
from tests.balancer.readers.reading import check_defaults, check_written, only, place, refused, sample

BOOTSTRAP = sample("envoy-bootstrap.yaml")
CLUSTERS = sample("envoy-clusters.json")

PLAIN = """\
static_resources:
  clusters:
    - name: app
      type: STATIC
      connect_timeout: 1s
      load_assignment:
        cluster_name: app
"""


def cluster(extra: str, base: str = PLAIN) -> str:
    return base + "".join(f"      {line}\n" for line in extra.splitlines())


def options(extra: str) -> str:
    """A cluster with typed options."""
    head = "typed_extension_protocol_options:\n  envoy.extensions.upstreams.http.v3.HttpProtocolOptions:\n"
    return cluster(head + "".join(f"    {line}\n" for line in extra.splitlines()))


def routed(route: str, match: str = '{ prefix: "/" }', host: str = "") -> str:
    """A cluster with a route to it, as RouteConfiguration in the same file."""
    return (
        PLAIN
        + "  listeners:\n    - filter_chains:\n        - filters:\n            - typed_config:\n"
        + "                route_config:\n                  virtual_hosts:\n"
        + f"                    - name: all\n{host}"
        + f"                      routes:\n                        - match: {match}\n"
        + "                          route:\n                            cluster: app\n"
        + "".join(f"                            {line}\n" for line in route.splitlines())
    )


def test_a_bootstrap_is_read_with_the_line_of_every_fact() -> None:
    reading = envoy.read("envoy.yaml", BOOTSTRAP)
    pool = only(reading)
    at = partial(place, "envoy.yaml", BOOTSTRAP)
    assert (reading.kind, pool.kind, pool.name, pool.place) == ("envoy", "envoy", "app", at("- name: app"))
    check_written(
        pool,
        at,
        keeps=(True, "max_requests_per_connection: 1000"),
        idle_timeout=(60.0, "idle_timeout: 60s"),
        max_age=(600.0, "max_connection_duration: 600s"),
        max_requests=(1000, "max_requests_per_connection: 1000"),
        protocol=("h2", "http2_protocol_options:"),
        tls=(True, "transport_socket:", 2),
        proxy_protocol=("v2", "version: V2"),
        response_timeout=(30.0, "timeout: 30s"),
        retries_post=(True, "retry_on:"),
        health_path=("/health/ready", "path: /health/ready"),
        health_interval=(5.0, "interval: 5s"),
        health_threshold=(1, "unhealthy_threshold: 2"),
    )
    check_defaults(pool)
    assert len(pool.notes) == 1
    assert "for the whole response" in pool.notes[0]
    assert pool.idle_timeout is not None
    assert str(pool.idle_timeout) == f"idle_timeout: 60s (envoy.yaml:{at('idle_timeout').line})"


def test_clusters_in_json_with_the_other_spelling_and_the_old_place_are_read() -> None:
    pool = only(envoy.read("cds.json", CLUSTERS))
    check_written(
        pool,
        partial(place, "cds.json", CLUSTERS),
        keeps=(False, "maxRequestsPerConnection"),
        idle_timeout=(45.0, "idleTimeout"),
        max_requests=(1, "maxRequestsPerConnection"),
        tls=(True, "transportSocket"),
    )
    check_defaults(pool, max_age=inf, protocol="http/1.1", proxy_protocol="off")
    assert len(pool.notes) == 2
    assert "no health_checks" in pool.notes[0]
    assert "No route to this cluster is in this file" in pool.notes[1]


def test_a_cluster_that_says_nothing_has_documented_defaults() -> None:
    pool = only(envoy.read("e.yaml", PLAIN))
    check_written(pool, partial(place, "e.yaml", PLAIN))
    check_defaults(
        pool, keeps=True, idle_timeout=3600.0, max_age=inf, protocol="http/1.1", tls=False, proxy_protocol="off"
    )


@pytest.mark.parametrize(
    "text",
    [
        "- name: app\n  lb_policy: ROUND_ROBIN\n",
        "name: app\ntype: EDS\neds_cluster_config: {}\n",
        "clusters:\n  - name: app\n    load_assignment: {}\n",
        "resources:\n  - '@type': type.googleapis.com/envoy.config.cluster.v3.Cluster\n    name: app\n",
        "configs:\n  - '@type': type.googleapis.com/envoy.admin.v3.ClustersConfigDump\n"
        "    static_clusters:\n      - cluster: {name: app}\n",
        "configs:\n  - '@type': type.googleapis.com/envoy.admin.v3.ClustersConfigDump\n"
        "    dynamicActiveClusters:\n      - cluster: {name: app}\n",
    ],
)
def test_clusters_are_found_in_every_kind_of_file(text: str) -> None:
    assert envoy.looks_like("e.yaml", text)
    assert only(envoy.read("e.yaml", text)).name == "app"


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("60s", 60.0), ("0.5s", 0.5), ("0s", inf), ("{seconds: 5}", 5.0), ("{seconds: 1, nanos: 500000000}", 1.5)],
)
def test_durations_have_the_forms_of_protobuf_and_zero_is_off(written: str, seconds: float) -> None:
    text = options(f"common_http_protocol_options:\n  idle_timeout: {written}")
    pool = only(envoy.read("e.yaml", text))
    assert pool.idle_timeout is not None
    assert pool.idle_timeout.value == seconds
    assert pool.idle_timeout.place == place("e.yaml", text, "idle_timeout")


@pytest.mark.parametrize("written", ["60", "1m", "60 s", "-1s", "[]", '""', "1e3s"])
def test_a_duration_that_envoy_would_refuse_is_refused(written: str) -> None:
    text = options(f"common_http_protocol_options:\n  idle_timeout: {written}")
    message = refused(envoy, text, "e.yaml")
    assert message.startswith(f"e.yaml:{place('', text, 'idle_timeout').line}: ")
    assert "seconds with an s, such as 3600s or 0.5s" in message


def test_old_options_do_not_count_beside_typed_ones() -> None:
    text = options("explicit_http_config: {http_protocol_options: {}}") + (
        "      common_http_protocol_options:\n        idle_timeout: 5s\n"
    )
    pool = only(envoy.read("e.yaml", text))
    check_defaults(pool, keeps=True, idle_timeout=3600.0, max_age=inf, tls=False, proxy_protocol="off")
    assert any("common_http_protocol_options of the cluster itself" in note for note in pool.notes)


@pytest.mark.parametrize(
    ("text", "protocol"),
    [
        (options("explicit_http_config: {http_protocol_options: {}}"), "http/1.1"),
        (options("explicit_http_config: {http2_protocol_options: {}}"), "h2"),
        (options("explicitHttpConfig: {http2ProtocolOptions: {}}"), "h2"),
        (cluster("http2_protocol_options: {}"), "h2"),
        (options("common_http_protocol_options: {}"), "http/1.1"),
        (options("auto_config: {}"), None),
        (options("use_downstream_protocol_config: {http2_protocol_options: {}}"), None),
        (options("explicit_http_config: {http3_protocol_options: {}}"), None),
        (cluster("protocol_selection: USE_DOWNSTREAM_PROTOCOL"), None),
    ],
)
def test_the_protocol_is_told_or_a_note_says_why_not(text: str, protocol: str | None) -> None:
    pool = only(envoy.read("e.yaml", text))
    if protocol is None:
        assert pool.protocol is None
        assert any("HTTP/" in note for note in pool.notes)
    else:
        assert pool.protocol is not None
        assert pool.protocol.value == protocol


@pytest.mark.parametrize(
    ("socket", "tls", "sent"),
    [
        ("{name: envoy.transport_sockets.tls}", True, "off"),
        ("{name: envoy.transport_sockets.raw_buffer}", False, "off"),
        ("{name: x, typed_config: {'@type': a/b.RawBuffer}}", False, "off"),
        (
            "{name: x, typed_config: {'@type': a/b.ProxyProtocolUpstreamTransport, "
            "transport_socket: {name: envoy.transport_sockets.raw_buffer}}}",
            False,
            "v1",
        ),
        ("{typed_config: {'@type': a/b.ProxyProtocolUpstreamTransport, config: {version: V1}}}", False, "v1"),
        ("{name: x, typed_config: {'@type': a/b.TapTransport, transport_socket: {name: "
         "envoy.transport_sockets.tls}}}", True, "off"),
        ("{name: x, typed_config: {'@type': a/b.Alts}}", None, None),
    ],
)  # fmt: skip
def test_transport_sockets_wrap_one_another(socket: str, tls: bool | None, sent: str | None) -> None:
    pool = only(envoy.read("e.yaml", cluster(f"transport_socket: {socket}")))
    assert (pool.tls.value if pool.tls else None, pool.proxy_protocol.value if pool.proxy_protocol else None) == (
        tls,
        sent,
    )
    assert (tls is None) == any("of a type that is not known here: a/b.Alts" in note for note in pool.notes)


def test_sockets_that_are_chosen_by_endpoint_are_told() -> None:
    pool = only(envoy.read("e.yaml", cluster("transport_socket_matches:\n  - name: x\n")))
    assert any("transport_socket_matches" in note for note in pool.notes)


def test_the_threshold_holds_where_answers_can_be_retried() -> None:
    check = "health_checks:\n  - interval: 5s\n    unhealthy_threshold: 3\n    http_health_check:\n      path: /h\n"
    strict = only(envoy.read("e.yaml", cluster(check)))
    patient = only(envoy.read("e.yaml", cluster(check + "      retriable_statuses: [{start: 500, end: 600}]\n")))
    assert strict.health_threshold is not None
    assert patient.health_threshold is not None
    assert strict.health_threshold.value == 1
    assert "counts at once" in strict.health_threshold.words
    assert patient.health_threshold.value == 3


def test_of_several_health_checks_the_first_is_compared() -> None:
    check = "  - interval: {n}s\n    unhealthy_threshold: 3\n    tcp_health_check: {{}}\n"
    pool = only(envoy.read("e.yaml", cluster("health_checks:\n" + check.format(n=1) + check.format(n=2))))
    assert pool.health_interval is not None
    assert pool.health_interval.value == 1.0
    assert pool.health_path is None
    assert any("Of 2 health checks, the first one" in note for note in pool.notes)


def test_a_health_check_without_its_interval_is_half_a_file() -> None:
    text = cluster("health_checks:\n  - unhealthy_threshold: 3\n")
    assert refused(envoy, text) == 'lb.yaml:9: there is no "interval" here; is this the whole file?'


@pytest.mark.parametrize(
    ("conditions", "more", "expected"),
    [
        ("5xx", "", True),
        ("gateway-error", "", True),
        ("reset", "", True),
        ("retriable-4xx", "", True),
        ("connect-failure,refused-stream,reset-before-request", "", False),
        ("unavailable,cancelled", "", False),
        ("deadline-exceeded", "", True),
        ("internal", "", True),
        ("retriable-headers", "", True),
        ("retriable-status-codes", "", False),
        ("retriable-status-codes", "retriable_status_codes: [503]", True),
        ("5xx", "num_retries: 0", False),
        ("5xx", "retriable_request_headers: [{name: ':method', string_match: {exact: GET}}]", False),
        ("5xx", "retriable_request_headers: [{name: ':method', string_match: {exact: POST}}]", True),
        ("5xx", "retriable_request_headers: [{name: x-retry, present_match: true}]", True),
    ],
)
def test_retries_that_may_run_a_post_twice_are_told(conditions: str, more: str, expected: bool) -> None:
    text = routed("retry_policy:\n  retry_on: '" + conditions + "'\n" + (f"  {more}" if more else ""))
    pool = only(envoy.read("e.yaml", text))
    assert pool.retries_post is not None
    assert pool.retries_post.value is expected
    assert pool.retries_post.place == place("e.yaml", text, "retry_on")


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        ("{ prefix: /, headers: [{name: ':method', exact_match: GET}] }", False),
        ("{ prefix: /, headers: [{name: ':method', exact_match: GET, invert_match: true}] }", True),
        ("{ prefix: /, headers: [{name: host, exact_match: GET}] }", True),
    ],
)
def test_a_route_for_reads_only_repeats_no_post(match: str, expected: bool) -> None:
    pool = only(envoy.read("e.yaml", routed("retry_policy: {retry_on: 5xx}", match)))
    assert pool.retries_post is not None
    assert pool.retries_post.value is expected


def test_a_route_without_words_has_documented_defaults() -> None:
    pool = only(envoy.read("e.yaml", routed("")))
    check_defaults(
        pool,
        keeps=True,
        idle_timeout=3600.0,
        max_age=inf,
        protocol="http/1.1",
        tls=False,
        proxy_protocol="off",
        response_timeout=15.0,
        retries_post=False,
    )


def test_a_host_has_a_retry_policy_for_its_routes() -> None:
    text = routed("timeout: 0s", host="                      retry_policy: {retry_on: 5xx}\n")
    pool = only(envoy.read("e.yaml", text))
    assert pool.retries_post is not None
    assert pool.response_timeout is not None
    assert pool.retries_post.value
    assert pool.response_timeout.value == inf
    assert not any("for the whole response" in note for note in pool.notes)


def test_routes_to_clusters_elsewhere_make_pools_of_their_own() -> None:
    text = """\
resources:
  - "@type": type.googleapis.com/envoy.config.route.v3.RouteConfiguration
    name: public
    virtual_hosts:
      - name: all
        routes:
          - match: {prefix: /old}
            redirect: {path_redirect: /}
          - match: {prefix: /}
            route:
              timeout: 9s
              weighted_clusters:
                clusters: [{name: blue, weight: 1}, {name: green, weight: 1}]
"""
    assert envoy.looks_like("rds.yaml", text)
    blue, green = envoy.read("rds.yaml", text).pools
    assert (blue.name, green.name) == ("blue", "green")
    check_written(blue, partial(place, "rds.yaml", text), response_timeout=(9.0, "timeout: 9s"))
    assert "is not in this file" in blue.notes[0]


def test_a_bootstrap_with_a_control_plane_says_that_it_is_not_all() -> None:
    reading = envoy.read("e.yaml", "dynamic_resources:\n  cds_config: {ads: {}}\nnode: {id: a, cluster: b}\n")
    assert reading.pools == ()
    assert "/config_dump" in reading.notes[0]
    assert reading.notes[1] == "There is no cluster and no route in this file."


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("apiVersion: v1\nkind: Pod\n", "lb.yaml: this is not an Envoy configuration"),
        ("static_resources:\n  clusters: {name: app}\n", 'lb.yaml:2: "clusters" should be a list, but is a mapping.'),
        ("static_resources:\n  clusters: [app]\n", 'lb.yaml:2: "clusters: app" should be a list of mappings'),
        ("static_resources:\n  clusters:\n    - type: STATIC\n", 'lb.yaml:3: there is no "name" here'),
        (cluster("name: twice"), 'lb.yaml:8: "name" is given twice, first in line 3'),
        ("static_resources:\n  clusters: [\n", "lb.yaml:3: this is not YAML"),
        ("static_resources:\n  clusters:\n  - name: {{ .Values.name }}\n", "lb.yaml:3: this is a template"),
        (
            options("common_http_protocol_options: {max_requests_per_connection: many}"),
            'lb.yaml:10: "max_requests_per_connection: many" should be a whole number of at least 0.',
        ),
        (
            cluster(
                "transport_socket: {typed_config: {'@type': a.ProxyProtocolUpstreamTransport, config: {version: V3}}}"
            ),
            'lb.yaml:8: "version: V3" should be V1 or V2.',
        ),
    ],
)
def test_what_is_broken_or_of_another_kind_is_refused(text: str, message: str) -> None:
    assert refused(envoy, text).startswith(message)
