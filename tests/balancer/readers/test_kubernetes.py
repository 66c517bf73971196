"""Kubernetes manifests: workloads, ingress-nginx, Istio and Envoy Gateway."""

from functools import partial
from math import inf

import pytest

from keepserve.balancer.readers import kubernetes
from tests.balancer.readers.reading import check_defaults, check_written, only, place, refused, sample

MANIFEST = sample("kubernetes.yaml")
ISTIO = sample("istio.yaml")
GATEWAY = sample("envoy-gateway.yaml")


def deployment(container: str, spec: str = "", kind: str = "Deployment") -> str:
    """A workload with one container."""
    indented = "".join(f"          {line}\n" for line in container.splitlines())
    return (
        f"apiVersion: apps/v1\nkind: {kind}\nmetadata:\n  name: web\nspec:\n  template:\n    spec:\n"
        + "".join(f"      {line}\n" for line in spec.splitlines())
        + f"      containers:\n        - name: app\n{indented}"
    )


def ingress(annotations: str, data: str = "") -> str:
    """An Ingress of ingress-nginx, perhaps with the controller's ConfigMap."""
    text = "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  name: web\n  annotations:\n"
    text += "".join(f"    nginx.ingress.kubernetes.io/{line}\n" for line in annotations.splitlines())
    if data:
        text += "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: nginx}\ndata:\n"
        text += "".join(f"  {line}\n" for line in data.splitlines())
    return text


def istio(kind: str, spec: str) -> str:
    head = f"apiVersion: networking.istio.io/v1beta1\nkind: {kind}\nmetadata:\n  name: web\nspec:\n"
    return head + "".join(f"  {line}\n" for line in spec.splitlines())


def test_a_manifest_is_read_with_the_line_of_every_fact() -> None:
    reading = kubernetes.read("k.yaml", MANIFEST)
    at = partial(place, "k.yaml", MANIFEST)
    workload, front = reading.pools
    assert (workload.kind, workload.name, workload.place) == (
        "kubernetes",
        "Deployment web, container app",
        at("- name: app"),
    )
    check_written(
        workload,
        at,
        kill_after=(90.0, "terminationGracePeriodSeconds"),
        pre_stop=(10.0, 'command: ["/bin/sh"'),
        health_path=("/health/ready", "path: /health/ready"),
        health_interval=(5.0, "periodSeconds"),
        health_threshold=(2, "failureThreshold"),
    )
    check_defaults(workload)
    assert workload.notes == (
        "The container has its own settings, so check with the same ones: "
        f"KEEPSERVE_KEEP_ALIVE_TIMEOUT=80 ({at('KEEPSERVE_KEEP')}), --lb ingress-nginx ({at('- --lb')}), "
        f"--drain-timeout=60 ({at('--drain-timeout')}).",
    )
    assert (front.kind, front.name) == ("ingress-nginx", "Ingress web")
    check_written(
        front,
        at,
        keeps=(True, "upstream-keepalive-connections"),
        idle_timeout=(75.0, "upstream-keepalive-timeout"),
        max_age=(1800.0, "upstream-keepalive-time:"),
        max_requests=(5000, "upstream-keepalive-requests"),
        protocol=("h2", "backend-protocol"),
        tls=(False, "backend-protocol"),
        response_timeout=(40.0, 'proxy-read-timeout: "40"'),
        retries_post=(True, "proxy-next-upstream"),
    )
    check_defaults(front, proxy_protocol="off")


def test_a_workload_that_says_nothing_has_documented_defaults() -> None:
    text = deployment("readinessProbe:\n  httpGet:\n    port: 8000")
    pool = only(kubernetes.read("k.yaml", text))
    check_written(pool, partial(place, "k.yaml", text))
    check_defaults(pool, kill_after=30.0, pre_stop=0.0, health_path="/", health_interval=10.0, health_threshold=3)
    assert pool.notes == ()


@pytest.mark.parametrize("kind", ["StatefulSet", "DaemonSet", "ReplicaSet", "Rollout"])
def test_every_kind_of_workload_is_read(kind: str) -> None:
    pool = only(kubernetes.read("k.yaml", deployment("image: web", "terminationGracePeriodSeconds: 45", kind)))
    assert pool.name == f"{kind} web, container app"
    assert pool.kill_after is not None
    assert pool.kill_after.value == 45.0


def test_a_pod_has_its_spec_at_the_top() -> None:
    text = (
        "apiVersion: v1\nkind: Pod\nmetadata: {name: one}\nspec:\n  terminationGracePeriodSeconds: 5\n"
        "  containers:\n  - image: web\n"
    )
    pool = only(kubernetes.read("k.yaml", text))
    assert pool.name == "Pod one"
    assert pool.kill_after is not None
    assert pool.kill_after.place == place("k.yaml", text, "terminationGrace")


@pytest.mark.parametrize(
    ("hook", "seconds"),
    [
        ("sleep: {seconds: 7}", 7.0),
        ("exec: {command: [sleep, '7']}", 7.0),
        ("exec: {command: [/bin/sleep, '7']}", 7.0),
        ("exec: {command: [/usr/bin/sleep, 1.5s]}", 1.5),
        ("exec: {command: [sleep, 1m, '5']}", 65.0),
        ("exec: {command: [sh, -c, sleep 7]}", 7.0),
        ("exec: {command: [/bin/bash, -c, '/bin/sleep  7']}", 7.0),
    ],
)
def test_a_hook_that_sleeps_is_read(hook: str, seconds: float) -> None:
    text = deployment(f"lifecycle:\n  preStop:\n    {hook}")
    pool = only(kubernetes.read("k.yaml", text))
    assert pool.pre_stop is not None
    assert pool.pre_stop.value == seconds
    assert pool.pre_stop.place == place("k.yaml", text, hook)
    assert "preStop" in pool.pre_stop.words


@pytest.mark.parametrize(
    "hook",
    [
        "exec: {command: [nginx, -s, quit]}",
        "exec: {command: [sh, -c, 'sleep 5; curl localhost/stop']}",
        "exec: {command: [sh, -c, 'sleep 5 && true']}",
        "exec: {command: [sh, -c, 'sleep $DELAY']}",
        'exec: {command: [sh, -c, "sleep \'5"]}',
        "exec: {command: [sleep]}",
        "httpGet: {path: /stop, port: 8000}",
    ],
)
def test_a_hook_of_unknown_length_is_told_and_not_guessed(hook: str) -> None:
    text = deployment(f"lifecycle:\n  preStop:\n    {hook}")
    pool = only(kubernetes.read("k.yaml", text))
    assert pool.pre_stop is None
    assert any(f"cannot be told ({place('k.yaml', text, 'preStop')})" in note for note in pool.notes)


def two_containers(first: str, second: str) -> str:
    return (
        deployment(first) + "        - name: other\n" + "".join(f"          {line}\n" for line in second.splitlines())
    )


@pytest.mark.parametrize(
    "ours",
    [
        "command: [keepserve, 'a:app']",
        "command: [python, -m, keepserve, 'a:app']",
        "args: [keepserve, 'a:app']",
        "command: [sh, -c, 'exec keepserve a:app']",
        "env: [{name: KEEPSERVE_LB, value: alb}]",
    ],
)
def test_the_container_that_names_keepserve_is_ours(ours: str) -> None:
    hook = "lifecycle: {preStop: {sleep: {seconds: 3}}}"
    pool = only(kubernetes.read("k.yaml", two_containers("image: proxy", f"{ours}\n{hook}")))
    assert pool.name == "Deployment web, container other"
    assert pool.pre_stop is not None
    assert pool.pre_stop.value == 3.0


@pytest.mark.parametrize(
    ("first", "second"), [("image: a", "image: b"), ("command: [keepserve]", "args: [keepserve]")]
)
def test_of_several_containers_none_is_guessed(first: str, second: str) -> None:
    pool = only(kubernetes.read("k.yaml", two_containers(first, second)))
    assert pool.name == "Deployment web"
    assert pool.pre_stop is None
    assert pool.kill_after is not None
    assert "Which of the 2 containers of Deployment web runs keepserve cannot be told" in pool.notes[0]


def test_a_probe_that_asks_no_path_and_a_missing_one_are_told() -> None:
    tcp = only(kubernetes.read("k.yaml", deployment("readinessProbe: {tcpSocket: {port: 8000}}")))
    assert tcp.health_path is None
    assert tcp.health_interval is not None
    assert "asks no HTTP path" in tcp.notes[0]
    none = only(kubernetes.read("k.yaml", deployment("image: web")))
    assert none.health_interval is None
    assert "has no readinessProbe" in none.notes[0]


def test_an_ingress_alone_has_the_controllers_defaults() -> None:
    text = ingress('proxy-body-size: "1m"')
    pool = only(kubernetes.read("k.yaml", text))
    check_written(pool, partial(place, "k.yaml", text))
    check_defaults(
        pool,
        keeps=True,
        idle_timeout=60.0,
        max_age=3600.0,
        max_requests=10000,
        protocol="http/1.1",
        tls=False,
        proxy_protocol="off",
        response_timeout=60.0,
        retries_post=False,
    )
    assert "ConfigMap is not in this file" in pool.notes[0]


def test_a_configmap_alone_makes_a_pool_of_its_own() -> None:
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata:\n  upstream-keepalive-connections: '0'\n"
    pool = only(kubernetes.read("k.yaml", text))
    assert pool.name == "ConfigMap c"
    check_written(pool, partial(place, "k.yaml", text), keeps=(False, "upstream-keepalive-connections"))


def test_a_configmap_of_something_else_says_nothing() -> None:
    reading = kubernetes.read("k.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: app}\ndata: {a: b}\n")
    assert reading.pools == ()
    assert "None of the objects" in reading.notes[0]


@pytest.mark.parametrize(
    ("written", "protocol", "tls"),
    [("HTTP", "http/1.1", False), ("HTTPS", "http/1.1", True), ("grpc", "h2", False), ("GRPCS", "h2", True)],
)
def test_the_backend_protocol_says_version_and_tls(written: str, protocol: str, tls: bool) -> None:
    pool = only(kubernetes.read("k.yaml", ingress(f"backend-protocol: {written}")))
    assert pool.protocol is not None
    assert pool.tls is not None
    assert (pool.protocol.value, pool.tls.value) == (protocol, tls)


def test_a_backend_protocol_that_is_no_http_is_told() -> None:
    pool = only(kubernetes.read("k.yaml", ingress("backend-protocol: FCGI", "upstream-keepalive-timeout: '5'")))
    assert pool.protocol is None
    assert "backend-protocol: FCGI" in pool.notes[0]
    assert pool.idle_timeout is not None
    assert pool.idle_timeout.value == 5.0


@pytest.mark.parametrize(
    ("text", "front"),
    [
        ("metadata: {name: w, annotations: {kubernetes.io/ingress.class: nginx}}\n", True),
        ("metadata: {name: w}\nspec: {ingressClassName: nginx}\n", True),
        ("metadata: {name: w}\nspec: {ingressClassName: traefik}\n", False),
        ("metadata: {name: w}\n", False),
    ],
)
def test_an_ingress_is_nginx_s_by_its_class(text: str, front: bool) -> None:
    reading = kubernetes.read("k.yaml", "apiVersion: networking.k8s.io/v1\nkind: Ingress\n" + text)
    assert bool(reading.pools) is front


def test_istio_s_rule_and_routes_are_joined_by_host() -> None:
    reading = kubernetes.read("i.yaml", ISTIO)
    at = partial(place, "i.yaml", ISTIO)
    rule, port, subset = reading.pools
    host = "web.default.svc.cluster.local"
    assert [pool.name for pool in reading.pools] == [host, f"{host}, port 8443", f"{host}, subset canary"]
    check_written(
        rule,
        at,
        keeps=(True, "maxRequestsPerConnection"),
        idle_timeout=(90.0, "idleTimeout: 90s"),
        max_age=(1800.0, "maxConnectionDuration"),
        max_requests=(500, "maxRequestsPerConnection"),
        protocol=("h2", "h2UpgradePolicy: UPGRADE"),
        response_timeout=(20.0, "timeout: 20s"),
        retries_post=(True, "retryOn"),
    )
    check_defaults(rule, proxy_protocol="off")
    assert any("sidecar" in note for note in rule.notes)
    assert any("mode: ISTIO_MUTUAL" in note for note in rule.notes)
    assert sum("for the whole response" in note for note in rule.notes) == 1
    check_written(
        port,
        at,
        idle_timeout=(15.0, "idleTimeout: 15s"),
        protocol=("http/1.1", "h2UpgradePolicy: DO_NOT_UPGRADE"),
        tls=(True, "mode: SIMPLE"),
    )
    # A port's settings replace the rule's; a subset keeps what it does not mention.
    check_defaults(port, keeps=True, max_age=inf, proxy_protocol="off")
    assert subset.idle_timeout == rule.idle_timeout
    assert subset.tls is not None
    assert subset.tls.value is False
    assert subset.response_timeout is not None
    assert subset.response_timeout.value == 20.0


def test_a_rule_that_says_nothing_has_documented_defaults() -> None:
    pool = only(kubernetes.read("i.yaml", istio("DestinationRule", "host: web")))
    check_defaults(pool, keeps=True, idle_timeout=3600.0, max_age=inf, proxy_protocol="off")
    assert any("port name or appProtocol" in note for note in pool.notes)


def test_a_rule_s_proxy_protocol_is_read() -> None:
    for written, version in (("{version: V2}", "v2"), ("{}", "v1")):
        text = istio("DestinationRule", f"host: web\ntrafficPolicy:\n  proxyProtocol: {written}")
        pool = only(kubernetes.read("i.yaml", text))
        assert pool.proxy_protocol is not None
        assert pool.proxy_protocol.value == version
        assert pool.proxy_protocol.place == place("i.yaml", text, "proxyProtocol")


def test_a_route_alone_makes_a_pool_and_says_what_is_missing() -> None:
    pool = only(kubernetes.read("i.yaml", istio("VirtualService", "http:\n- route:\n  - destination: {host: web}")))
    check_defaults(pool, response_timeout=inf, retries_post=False)
    assert "there is no DestinationRule in this file" in pool.notes[0]


@pytest.mark.parametrize(
    ("retries", "match", "expected"),
    [
        ("{attempts: 0}", "", False),
        ("{attempts: 2}", "", False),
        ("{attempts: 2, retryOn: '5xx'}", "", True),
        ("{attempts: 2, retryOn: 'connect-failure,refused-stream'}", "", False),
        ("{attempts: 2, retryOn: 'retriable-status-codes'}", "", False),
        ("{attempts: 2, retryOn: 'retriable-status-codes,503'}", "", True),
        ("{attempts: 2, retryOn: '503'}", "", True),
        ("{attempts: 2, retryOn: '5xx'}", "match: [{method: {exact: GET}}]", False),
        ("{attempts: 2, retryOn: '5xx'}", "match: [{method: {exact: GET}}, {uri: {prefix: /}}]", True),
        ("{attempts: 2, retryOn: '5xx'}", "match: [{method: {regex: .*}}]", True),
    ],
)
def test_istio_s_retries_are_read(retries: str, match: str, expected: bool) -> None:
    more = f"\n  {match}" if match else ""
    spec = f"http:\n- retries: {retries}\n  route:\n  - destination: {{host: web}}{more}"
    pool = only(kubernetes.read("i.yaml", istio("VirtualService", spec)))
    assert pool.retries_post is not None
    assert pool.retries_post.value is expected


def test_envoy_gateway_s_policy_is_read_and_the_gateway_api_named() -> None:
    reading = kubernetes.read("g.yaml", GATEWAY)
    pool = only(reading)
    at = partial(place, "g.yaml", GATEWAY)
    assert (pool.kind, pool.name) == ("envoy-gateway", "BackendTrafficPolicy web")
    check_written(
        pool,
        at,
        keeps=(True, "maxRequestsPerConnection"),
        idle_timeout=(120.0, "connectionIdleTimeout"),
        max_age=(3600.0, "maxConnectionDuration"),
        max_requests=(200, "maxRequestsPerConnection"),
        proxy_protocol=("v1", "version: V1"),
        response_timeout=(30.0, "requestTimeout"),
        retries_post=(True, "retryOn:"),
        health_path=("/health/ready", "path: /health/ready"),
        health_interval=(4.0, "interval: 4s"),
        health_threshold=(1, "unhealthyThreshold"),
    )
    assert f"HTTPRoute web ({at('apiVersion')})" in reading.notes[0]
    assert "for the whole response" in pool.notes[1]


@pytest.mark.parametrize(
    ("retry", "expected"),
    [
        ("{}", True),
        ("{numRetries: 0}", False),
        ("{retryOn: {triggers: [connect-failure, refused-stream]}}", False),
        ("{retryOn: {triggers: [retriable-status-codes]}}", False),
        ("{retryOn: {triggers: [reset]}}", True),
    ],
)
def test_envoy_gateway_s_retries_are_read(retry: str, expected: bool) -> None:
    text = "apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: BackendTrafficPolicy\nmetadata: {name: p}\nspec:\n"
    pool = only(kubernetes.read("g.yaml", text + f"  retry: {retry}\n  healthCheck: {{active: {{}}}}\n"))
    assert pool.retries_post is not None
    assert pool.retries_post.value is expected
    check_defaults(
        pool, idle_timeout=3600.0, max_age=inf, proxy_protocol="off", health_interval=3.0, health_threshold=3
    )


def test_a_policy_without_retries_has_none() -> None:
    text = "apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: BackendTrafficPolicy\nmetadata: {name: p}\n"
    check_defaults(
        only(kubernetes.read("g.yaml", text)),
        idle_timeout=3600.0,
        max_age=inf,
        proxy_protocol="off",
        retries_post=False,
    )


ALB = """\
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: web
  annotations:
    alb.ingress.kubernetes.io/load-balancer-attributes: idle_timeout.timeout_seconds=120, access_logs.s3.enabled=false
    alb.ingress.kubernetes.io/target-group-attributes: deregistration_delay.timeout_seconds=40
    alb.ingress.kubernetes.io/backend-protocol: HTTPS
    alb.ingress.kubernetes.io/backend-protocol-version: HTTP2
    alb.ingress.kubernetes.io/healthcheck-path: /health/ready
    alb.ingress.kubernetes.io/healthcheck-interval-seconds: "5"
    alb.ingress.kubernetes.io/unhealthy-threshold-count: "3"
"""


def test_an_ingress_of_the_aws_controller_is_a_load_balancer() -> None:
    pool = only(kubernetes.read("k.yaml", ALB))
    assert (pool.kind, pool.name) == ("alb", "Ingress web")
    check_written(
        pool,
        partial(place, "k.yaml", ALB),
        idle_timeout=(120.0, "load-balancer-attributes"),
        response_timeout=(120.0, "load-balancer-attributes"),
        protocol=("h2", "backend-protocol-version"),
        tls=(True, "backend-protocol: HTTPS"),
        health_path=("/health/ready", "healthcheck-path"),
        health_interval=(5.0, "healthcheck-interval-seconds"),
        health_threshold=(3, "unhealthy-threshold-count"),
        drain_time=(40.0, "target-group-attributes"),
    )
    check_defaults(pool, keeps=True, proxy_protocol="off")


@pytest.mark.parametrize(
    "more",
    [
        "spec: {ingressClassName: alb}\n",
        "metadata: {annotations: {kubernetes.io/ingress.class: alb}}\n",
    ],
)
def test_an_ingress_of_the_aws_controller_has_documented_defaults(more: str) -> None:
    pool = only(kubernetes.read("k.yaml", "apiVersion: networking.k8s.io/v1\nkind: Ingress\n" + more))
    check_defaults(
        pool,
        keeps=True,
        idle_timeout=60.0,
        response_timeout=60.0,
        protocol="http/1.1",
        tls=False,
        proxy_protocol="off",
        health_path="/",
        health_interval=15.0,
        health_threshold=2,
        drain_time=300.0,
    )


@pytest.mark.parametrize(
    "head",
    [
        "apiVersion: traefik.io/v1alpha1\nkind: ServersTransport\n",
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\n",
        "apiVersion: networking.k8s.io/v1\nkind: Ingress\n",
    ],
)
def test_what_stands_in_front_but_is_not_read_is_named(head: str) -> None:
    reading = kubernetes.read("k.yaml", head + "metadata: {name: front}\n")
    assert reading.pools == ()
    assert "Not compared" in reading.notes[0]
    assert "front (k.yaml:1)" in reading.notes[0]


def test_a_list_of_objects_is_opened() -> None:
    item = deployment("image: web").replace("\n", "\n    ")
    text = f"apiVersion: v1\nkind: List\nitems:\n  - {item}"
    assert only(kubernetes.read("k.yaml", text)).name == "Deployment web, container app"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kind: Deployment\n", 'lb.yaml:1: this is not a Kubernetes object: it has no "apiVersion" and "kind".'),
        ("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: w}\n", 'lb.yaml:1: Deployment "w" has no spec'),
        (
            "apiVersion: apps/v1\nkind: Deployment\nspec: {template: {spec: {}}}\n",
            'lb.yaml:3: Deployment "(unnamed)" has no containers',
        ),
        (deployment("image: a") + "---\nreplicas: 2\n", "lb.yaml:12: this is not a Kubernetes object"),
        ("apiVersion: v1\nkind: List\nitems:\n- a: 1\n", "lb.yaml:4: this is not a Kubernetes object"),
        (
            deployment("image: a", "terminationGracePeriodSeconds: 30s"),
            'lb.yaml:8: "terminationGracePeriodSeconds: 30s" should be a whole number of at least 0.',
        ),
        (
            deployment("readinessProbe: {httpGet: {path: /}, periodSeconds: 0}"),
            'lb.yaml:10: "periodSeconds: 0" should be a whole number of at least 1.',
        ),
        (
            ingress("backend-protocol: HTTP", "upstream-keepalive-timeout: soon"),
            'lb.yaml:12: "upstream-keepalive-timeout: soon" should be a time of NGINX\'s',
        ),
        (
            istio("DestinationRule", "host: w\ntrafficPolicy: {connectionPool: {http: {idleTimeout: 90}}}"),
            'lb.yaml:7: "idleTimeout: 90" should be a duration such as 90s',
        ),
        (istio("DestinationRule", "trafficPolicy: {}"), 'lb.yaml:5: there is no "host" here'),
        (ALB.replace("=120", ""), 'lb.yaml:6: "'),
        (
            ALB.replace("HTTP2", "HTTP9"),
            'lb.yaml:9: "alb.ingress.kubernetes.io/backend-protocol-version: HTTP9" should',
        ),
        (deployment("image: a").replace("web", "{{ .Release.Name }}"), "lb.yaml:4: this is a template"),
        (deployment("image: a", "{{- if .x }}\nhostNetwork: true\n{{- end }}"), "lb.yaml:8: this is a template"),
        (deployment("image: a", "terminationGracePeriodSeconds: ${GRACE}"), "lb.yaml:8: "),
    ],
)
def test_what_is_broken_is_refused(text: str, message: str) -> None:
    assert refused(kubernetes, text).startswith(message)
