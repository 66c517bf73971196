"""How each balancer writes what the rules ask of it: one template for each kind and wish.

Words only. A kind that is missing here gets the directive it used itself, and the value wanted.
"""

from __future__ import annotations

from keepserve.balancer.facts import Fact

_KILL = "terminationGracePeriodSeconds: {seconds}"
_ELB = "aws elbv2 modify-{of}-attributes --attributes Key={key},Value={{seconds}}"
_ALB_IDLE = _ELB.format(of="load-balancer", key="idle_timeout.timeout_seconds")
_DELAY = _ELB.format(of="target-group", key="deregistration_delay.timeout_seconds")
_PROXY_OFF = "aws elbv2 modify-target-group-attributes --attributes Key=proxy_protocol_v2.enabled,Value=false"
_HEALTH = "aws elbv2 modify-target-group --health-check-path {path}"

_TEMPLATES: dict[str, dict[str, str]] = {
    "nginx": {
        "idle": "keepalive_timeout {seconds}s;",
        "http/1.1": "proxy_http_version 1.1;",
        "tls on": "proxy_pass https://...;",
        "tls off": "proxy_pass http://...;",
        "proxy off": "proxy_protocol off;",
        "no post": "proxy_next_upstream error timeout;",
        "health": "health_check uri={path};",
    },
    "ingress-nginx": {
        "idle": 'upstream-keepalive-timeout: "{seconds}"',
        "http/1.1": "nginx.ingress.kubernetes.io/backend-protocol: HTTP",
        "tls on": "nginx.ingress.kubernetes.io/backend-protocol: HTTPS",
        "tls off": "nginx.ingress.kubernetes.io/backend-protocol: HTTP",
        "no post": "nginx.ingress.kubernetes.io/proxy-next-upstream: error timeout",
    },
    "haproxy": {
        # The reader takes twelve halvings for the life of an idle connection, so a twelfth is what to write.
        "idle": "default-server pool-purge-delay {twelfth}ms",
        "proxy off": "server ... (without send-proxy)",
        "http/1.1": "server ... (without proto h2 or alpn h2)",
        "tls on": "server ... ssl verify required ca-file ...",
        "tls off": "server ... (without ssl)",
        "no post": "retry-on conn-failure",
        "health": "option httpchk GET {path}",
    },
    "envoy": {
        "idle": "common_http_protocol_options: {{ idle_timeout: {seconds}s }}",
        "http/1.1": "explicit_http_config: {{ http_protocol_options: {{}} }}",
        "no post": "retry_on: connect-failure,refused-stream,reset-before-request",
        "health": "http_health_check: {{ path: {path} }}",
    },
    "istio": {
        "idle": "connectionPool: {{ http: {{ idleTimeout: {seconds}s }} }}",
        "http/1.1": "h2UpgradePolicy: DO_NOT_UPGRADE",
        "no post": "retryOn: connect-failure,refused-stream",
    },
    "envoy-gateway": {
        "idle": "timeout: {{ http: {{ connectionIdleTimeout: {seconds}s }} }}",
        "no post": "retryOn: {{ triggers: [connect-failure, refused-stream] }}",
    },
    "traefik": {
        "idle": "idleConnTimeout: {seconds}s",
        "http/1.1": "url: http://...",
        "tls off": "url: http://...",
        "tls on": "url: https://...",
        "health": "healthCheck: {{ path: {path} }}",
        "no post": "retryNonIdempotentMethod: false",
    },
    "caddy": {
        "keep": "transport http {{ keepalive 2m }}",
        "no post": "lb_retry_match {{ method GET }}",
        "idle": "transport http {{ keepalive {seconds}s }}",
        "http/1.1": "transport http {{ versions 1.1 }}",
        "proxy off": "transport http {{ ... }} without proxy_protocol",
        "health": "health_uri {path}",
    },
    "alb": {"idle": _ALB_IDLE, "drain": _DELAY, "health": _HEALTH, "http/1.1": "ProtocolVersion: HTTP1"},
    "nlb": {
        "drain": _DELAY,
        "health": _HEALTH,
        "proxy off": _PROXY_OFF,
    },
    "classic-elb": {"idle": "ConnectionSettings: {{ IdleTimeout: {seconds} }}"},
    "kubernetes": {"kill": _KILL, "health": "readinessProbe: {{ httpGet: {{ path: {path} }} }}"},
    "ecs": {"kill": '"stopTimeout": {seconds}'},
    "apache": {"idle": "ProxyPass ... ttl={seconds}"},
}


def remedy(kind: str, what: str, fact: Fact[object] | None = None, **values: object) -> str:
    """The line that grants a wish on that balancer; empty where nothing is known to write.

    ``what``: ``idle`` (``seconds``), ``http/1.1``, ``tls on``, ``tls off``, ``proxy off``, ``no post``, ``health``
    (``path``), ``drain`` and ``kill`` (``seconds``). ``values`` fill the template. Seconds are rounded down for
    ``idle``, where less is safer, and up elsewhere: their caller does it.
    """
    template = _TEMPLATES.get(kind, {}).get(what)
    if template is None:
        wanted = values.get("seconds", values.get("path"))
        return f"{fact.words}: change it to {wanted}" if fact is not None and wanted is not None else ""
    seconds = values.get("seconds")
    twelfth = int(seconds * 1000 / 12) if isinstance(seconds, int) else ""
    return template.format(twelfth=twelfth, **values)
