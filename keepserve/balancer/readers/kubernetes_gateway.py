"""Envoy Gateway's BackendTrafficPolicy."""

from __future__ import annotations

from math import inf

from keepserve.balancer.facts import Fact, Pool
from keepserve.balancer.readers.envoy_retries import WHOLE_RESPONSE, resending
from keepserve.balancer.readers.tree import Mapping

_DOCS = "https://gateway.envoyproxy.io/docs/api/extension_types/"
_IDLE = Fact(3600.0, "timeout.http.connectionIdleTimeout", source=_DOCS + "#httptimeout")
_AGE = Fact(inf, "timeout.http.maxConnectionDuration", source=_DOCS + "#httptimeout")
_INTERVAL = Fact(3.0, "healthCheck.active.interval", source=_DOCS + "#activehealthcheck")
_THRESHOLD = Fact(3, "healthCheck.active.unhealthyThreshold", source=_DOCS + "#activehealthcheck")
_NOTE = "Whether HTTP/2 is spoken depends on the Service's appProtocol, and TLS on a BackendTLSPolicy."
_RETRY_DOCS = "https://gateway.envoyproxy.io/docs/tasks/traffic/retry/"


def policy_pool(item: Mapping) -> Pool:
    """The pool of one policy. Raises UnreadableError."""
    spec = item.mapping("spec")
    spec = spec if spec is not None else Mapping(item.place, {}, 1)
    http = spec.mapping("timeout", "http") if spec.has("timeout") else None
    idle = http.scalar("connectionIdleTimeout") if http is not None else None
    age = http.scalar("maxConnectionDuration") if http is not None else None
    waits = http.scalar("requestTimeout") if http is not None else None
    requests = spec.scalar("circuitBreaker", "maxRequestsPerConnection") if spec.has("circuitBreaker") else None
    sent = spec.scalar("proxyProtocol", "version") if spec.has("proxyProtocol") else None
    path, interval, threshold = _health(spec)
    return Pool(
        kind="envoy-gateway",
        name=f"BackendTrafficPolicy {item.string('metadata', 'name') or '(unnamed)'}",
        place=item.place,
        keeps=requests.fact(requests.integer() != 1) if requests is not None else None,
        idle_timeout=idle.fact(idle.go_seconds() or inf) if idle is not None else _IDLE,
        max_age=age.fact(age.go_seconds() or inf) if age is not None else _AGE,
        max_requests=requests.fact(requests.integer()) if requests is not None and requests.integer() else None,
        proxy_protocol=sent.fact(sent.string().lower())
        if sent is not None
        else Fact("off", "proxyProtocol", source=_DOCS + "#proxyprotocol"),
        response_timeout=waits.fact(waits.go_seconds() or inf) if waits is not None else None,
        retries_post=_retries_post(spec),
        health_path=path,
        health_interval=interval,
        health_threshold=threshold,
        notes=(_NOTE, WHOLE_RESPONSE) if waits is not None else (_NOTE,),
    )


def _retries_post(spec: Mapping) -> Fact[bool]:
    policy = spec.mapping("retry")
    if policy is None:
        return Fact(False, "retry", source=_RETRY_DOCS)
    times = policy.scalar("numRetries")
    if times is not None and times.integer() == 0:
        return times.fact(False)
    when = policy.mapping("retryOn")
    if when is None:
        # The defaults have "retriable-status-codes" with 503, which an application may answer after it has worked.
        return Fact(True, "retry without retryOn, which includes answers of 503", policy.place)
    triggers = [trigger.string() for trigger in when.sequence("triggers").scalars()]
    codes = when.sequence("httpStatusCodes")
    risky = resending(triggers, status_codes=bool(codes.items))
    return Fact(bool(risky), f"retryOn: {', '.join(triggers) or 'nothing'}", when.place)


def _health(spec: Mapping) -> tuple[Fact[str] | None, Fact[float] | None, Fact[int] | None]:
    active = spec.mapping("healthCheck", "active") if spec.has("healthCheck") else None
    if active is None:
        return None, None, None
    path = active.scalar("http", "path") if active.has("http") else None
    interval, threshold = active.scalar("interval"), active.scalar("unhealthyThreshold")
    failures = threshold.fact(threshold.integer(1)) if threshold is not None else _THRESHOLD
    if path is not None:
        # As with Envoy itself, the threshold is for checks without an answer: our 503 counts at once.
        words = f"{failures.words} (an answer such as 503 counts at once)"
        failures = Fact(1, words, failures.place, failures.source)
    return (
        path.fact(path.string()) if path is not None else None,
        interval.fact(interval.go_seconds()) if interval is not None else _INTERVAL,
        failures,
    )
