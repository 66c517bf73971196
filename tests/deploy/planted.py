"""Mistakes planted in the files of deploy/, as `tests.balancer.planted` does it for single kinds of balancer.

``keepserve check`` has to name each of them with its line. Where a file starts keepserve itself, its environment is
part of the copy.
"""

from __future__ import annotations

from tests.balancer.planted import Mistake
from tests.deploy.pieces import AWS, CADDY, COMPOSE, COMPOSE_NGINX, ENVOY, HAPROXY, KUBERNETES, SERVICE, TRAEFIK

_HAPROXY_SERVERS = "    default-server check inter 2s fall 3 rise 2 pool-purge-delay 5s"
_ENVOY_IDLE = (
    "          common_http_protocol_options: { idle_timeout: 3600s }\n          explicit_http_config: { http_"
)
_ENVOY_RETRIES = "retry_on: connect-failure,refused-stream,reset-before-request"
_CADDY_CHECK = "\thealth_interval 2s\n"


def _in_envoy(idle: str) -> str:
    return _ENVOY_IDLE.replace("3600s", idle)


MISTAKES = (
    # -- HAProxy
    Mistake(
        "purged too rarely",
        HAPROXY,
        "keep-alive-order",
        "problem",
        "pool-purge-delay 30s",
        _HAPROXY_SERVERS,
        _HAPROXY_SERVERS.replace("pool-purge-delay 5s", "pool-purge-delay 30s"),
    ),
    Mistake(
        "never shared",
        HAPROXY,
        "connections-kept",
        "warning",
        "http-reuse never",
        "http-reuse safe",
        "http-reuse never",
    ),
    Mistake("POST repeated", HAPROXY, "retries", "warning", "retry-on 502", "retry-on conn-failure", "retry-on 502"),
    Mistake(
        "noticed too late",
        HAPROXY,
        "health",
        "warning",
        "check inter 5s",
        _HAPROXY_SERVERS,
        _HAPROXY_SERVERS.replace("inter 2s", "inter 5s"),
    ),
    Mistake(
        "PROXY header",
        HAPROXY,
        "proxy-protocol",
        "problem",
        "send-proxy-v2",
        _HAPROXY_SERVERS,
        f"{_HAPROXY_SERVERS} send-proxy-v2",
    ),
    Mistake("HTTP/2 refused", HAPROXY, "protocol", "problem", "default-server proto h2", options=("--http2", "off")),
    # -- Envoy
    Mistake(
        "idle longer than ours",
        ENVOY,
        "keep-alive-order",
        "problem",
        "idle_timeout: 7200s",
        _ENVOY_IDLE,
        _in_envoy("7200s"),
    ),
    Mistake(
        "idle without limit", ENVOY, "keep-alive-order", "problem", "idle_timeout: 0s", _ENVOY_IDLE, _in_envoy("0s")
    ),
    Mistake(
        "POST repeated", ENVOY, "retries", "warning", "retry_on: 5xx,reset", _ENVOY_RETRIES, "retry_on: 5xx,reset"
    ),
    Mistake("checked too rarely", ENVOY, "health", "warning", " interval: 10s", " interval: 2s", " interval: 10s"),
    Mistake("another path checked", ENVOY, "health", "warning", "path: /ping }", "path: /health }", "path: /ping }"),
    Mistake(
        "HTTP/2 in clear refused", ENVOY, "protocol", "problem", "http2_protocol_options:", options=("--no-h2c",)
    ),
    Mistake(
        "keep-alive of ours too short",
        ENVOY,
        "keep-alive-order",
        "problem",
        "idle_timeout: 3600s }",
        options=("--lb", "nginx"),
    ),
    # -- Traefik
    Mistake(
        "idle longer than ours",
        TRAEFIK,
        "keep-alive-order",
        "problem",
        "idleConnTimeout: 2m",
        "idleConnTimeout: 90s",
        "idleConnTimeout: 2m",
    ),
    Mistake(
        "idle without limit",
        TRAEFIK,
        "keep-alive-order",
        "problem",
        "idleConnTimeout: 0",
        "idleConnTimeout: 90s",
        "idleConnTimeout: 0",
    ),
    Mistake("checked too rarely", TRAEFIK, "health", "warning", "interval: 30s", "interval: 2s", "interval: 30s"),
    Mistake(
        "POST repeated",
        TRAEFIK,
        "retries",
        "warning",
        "retryNonIdempotentMethod: true",
        "        attempts: 3\n",
        "        attempts: 3\n        retryNonIdempotentMethod: true\n",
    ),
    Mistake(
        "TLS on one side",
        TRAEFIK,
        "tls",
        "problem",
        "url: https://127.0.0.1:8001",
        "url: http://127",
        "url: https://127",
    ),
    # -- Caddy (its adapter gives no lines: the file is the place)
    Mistake(
        "idle longer than ours",
        CADDY,
        "keep-alive-order",
        "problem",
        "",
        "\t\t\tkeepalive 2m\n",
        "\t\t\tkeepalive 10m\n",
    ),
    Mistake(
        "connections not kept",
        CADDY,
        "connections-kept",
        "warning",
        "",
        "\t\t\tkeepalive 2m\n",
        "\t\t\tkeepalive off\n",
    ),
    Mistake("checked too rarely", CADDY, "health", "warning", "", _CADDY_CHECK, "\thealth_interval 30s\n"),
    Mistake("another path checked", CADDY, "health", "warning", "", "health_uri /health", "health_uri /ping"),
    Mistake(
        "POST repeated",
        CADDY,
        "retries",
        "warning",
        "",
        "\tlb_retries 2\n",
        "\tlb_retries 2\n\tlb_retry_match {\n\t\tmethod GET POST\n\t}\n",
    ),
    Mistake("HTTP/2 refused", CADDY, "protocol", "problem", "", options=("--http2", "off")),
    # -- AWS
    Mistake(
        "idle timeout on one side only",
        AWS,
        "keep-alive-order",
        "problem",
        'Value: "300"',
        "          Value: !Ref IdleTimeout\n",
        '          Value: "300"\n',
    ),
    Mistake(
        "requests cut by the deregistration",
        AWS,
        "drain",
        "warning",
        'Value: "5"',
        "deregistration_delay.timeout_seconds\n          Value: !Ref StopSeconds",
        'deregistration_delay.timeout_seconds\n          Value: "5"',
    ),
    Mistake(
        "killed too early",
        AWS,
        "drain",
        "problem",
        "StopTimeout: 30",
        "StopTimeout: !Ref StopSeconds",
        "StopTimeout: 30",
    ),
    Mistake(
        "another path checked",
        AWS,
        "health",
        "warning",
        "HealthCheckPath: /ping",
        "HealthCheckPath: /health",
        "HealthCheckPath: /ping",
    ),
    Mistake(
        "TLS on one side",
        AWS,
        "tls",
        "problem",
        "Protocol: HTTPS",
        "      Protocol: HTTP\n      ProtocolV",
        "      Protocol: HTTPS\n      ProtocolV",
    ),
    # -- Kubernetes
    Mistake(
        "killed too early",
        KUBERNETES,
        "drain",
        "problem",
        "terminationGracePeriodSeconds: 30",
        "terminationGracePeriodSeconds: 45\n",
        "terminationGracePeriodSeconds: 30\n",
    ),
    Mistake(
        "a hook that eats the grace period",
        KUBERNETES,
        "drain",
        "problem",
        "terminationGracePeriodSeconds: 45",
        "          readinessProbe:\n",
        "          lifecycle: { preStop: { sleep: { seconds: 20 } } }\n          readinessProbe:\n",
    ),
    Mistake(
        "no delay",
        KUBERNETES,
        "drain",
        "warning",
        "- name: keepserve",
        'KEEPSERVE_DRAIN_DELAY, value: "10"',
        'KEEPSERVE_DRAIN_DELAY, value: "0"',
    ),
    Mistake(
        "another path probed",
        KUBERNETES,
        "health",
        "warning",
        "path: /ping",
        "httpGet: { path: /health",
        "httpGet: { path: /ping",
    ),
    Mistake(
        "ingress idle longer than ours",
        KUBERNETES,
        "keep-alive-order",
        "problem",
        'upstream-keepalive-timeout: "600"',
        'upstream-keepalive-timeout: "60"',
        'upstream-keepalive-timeout: "600"',
    ),
    Mistake(
        "POST repeated by the ingress",
        KUBERNETES,
        "retries",
        "warning",
        "proxy-next-upstream: error timeout non_idempotent",
        "proxy-next-upstream: error timeout",
        "proxy-next-upstream: error timeout non_idempotent",
    ),
    # -- Compose
    Mistake(
        "killed too early",
        COMPOSE,
        "drain",
        "problem",
        "stop_grace_period: 20s",
        "stop_grace_period: 45s",
        "stop_grace_period: 20s",
    ),
    Mistake(
        "Docker's 10 s", COMPOSE, "drain", "problem", "  app1:", "  stop_grace_period: 45s\n  restart", "  restart"
    ),
    Mistake(
        "a stop that takes longer",
        COMPOSE,
        "drain",
        "problem",
        "stop_grace_period: 45s",
        "    KEEPSERVE_STOP_GRACE: 45s\n",
        "    KEEPSERVE_DRAIN_TIMEOUT: 60s\n",
    ),
    # -- systemd
    Mistake(
        "killed too early",
        SERVICE,
        "drain",
        "problem",
        "TimeoutStopSec=20",
        "TimeoutStopSec=45\n",
        "TimeoutStopSec=20\n",
    ),
    Mistake(
        "a stop that takes longer",
        SERVICE,
        "drain",
        "problem",
        "TimeoutStopSec=45",
        "Environment=KEEPSERVE_STOP_GRACE=45\n",
        "Environment=KEEPSERVE_DRAIN_DELAY=20\n",
    ),
    Mistake(
        "a time it does not know",
        SERVICE,
        "",
        "",
        "TimeoutStopSec=45 secs",
        "TimeoutStopSec=45\n",
        "TimeoutStopSec=45 secs\n",
    ),
    # -- NGINX of the Compose file (deploy/nginx has its own in tests.balancer.planted)
    Mistake(
        "idle longer than ours",
        COMPOSE_NGINX,
        "keep-alive-order",
        "problem",
        "keepalive_timeout 80s;",
        "        keepalive_timeout 60s;\n        keepalive_requests",
        "        keepalive_timeout 80s;\n        keepalive_requests",
    ),
    Mistake(
        "no pool", COMPOSE_NGINX, "connections-kept", "warning", "upstream keepserve {", "        keepalive 64;\n", ""
    ),
    Mistake(
        "POST repeated",
        COMPOSE_NGINX,
        "retries",
        "warning",
        "error timeout non_idempotent;",
        "proxy_next_upstream error timeout;",
        "proxy_next_upstream error timeout non_idempotent;",
    ),
)
