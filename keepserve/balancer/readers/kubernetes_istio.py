"""Istio: DestinationRules (connection pools) and VirtualServices (retries, timeouts), joined by their host."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import inf

from keepserve.balancer.facts import Fact, Pool
from keepserve.balancer.readers.envoy_retries import WHOLE_RESPONSE, resending, split_conditions
from keepserve.balancer.readers.tree import Mapping

_RULE_DOCS = "https://istio.io/latest/docs/reference/config/networking/destination-rule/"
_POOL_DOCS = _RULE_DOCS + "#ConnectionPoolSettings-HTTPSettings"
_ROUTE_DOCS = "https://istio.io/latest/docs/reference/config/networking/virtual-service/"
_RETRY_DOCS = "https://istio.io/latest/docs/concepts/traffic-management/#retries"

_IDLE = Fact(3600.0, "connectionPool.http.idleTimeout", source=_POOL_DOCS)
_AGE = Fact(
    inf, "connectionPool.tcp.maxConnectionDuration", source=_RULE_DOCS + "#ConnectionPoolSettings-TCPSettings"
)
_KEEPS = Fact(True, "connectionPool.http.maxRequestsPerConnection", source=_POOL_DOCS)
_NO_PROXY_PROTOCOL = Fact("off", "trafficPolicy.proxyProtocol", source=_RULE_DOCS + "#TrafficPolicy")
_NO_TIMEOUT = Fact(inf, "timeout", source=_ROUTE_DOCS + "#HTTPRoute")
# Two retries, but since 1.24 only where the request was not worked on.
_RETRIES = Fact(False, "retries.retryOn", source=_RETRY_DOCS)

_SAFE_METHODS = frozenset(("GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"))
_UPGRADES = {"UPGRADE": "h2", "DO_NOT_UPGRADE": "http/1.1"}
_SIDECAR = (
    "Where the pod has a sidecar, that is our peer, and not the proxies this rule is for; it keeps idle connections "
    "for an hour unless the Sidecar object's inboundConnectionPool says otherwise."
)


def istio_pools(items: list[Mapping]) -> list[Pool]:
    """A pool for each host of a rule (and each subset or port with a policy of its own), and of a route."""
    pools: list[Pool] = []
    for item in items:
        if item.string("kind") == "DestinationRule":
            pools += _rule_pools(item)
    for item in items:
        if item.string("kind") == "VirtualService":
            for route in item.sequence("spec", "http").mappings() if item.has("spec") else ():
                _add_route(pools, item, route)
    return pools


def _rule_pools(rule: Mapping) -> Iterator[Pool]:
    spec = rule.mapping("spec")
    if spec is None:
        return
    host = spec.needed("host").string()
    policy = spec.mapping("trafficPolicy")
    yield _pool(rule, host, policy, policy)
    for port in policy.sequence("portLevelSettings").mappings() if policy is not None else ():
        # A port's settings replace the rule's: what they leave out is at its default.
        number = port.scalar("port", "number") if port.has("port") else None
        yield _pool(port, f"{host}, port {number.text if number is not None else '?'}", port, port)
    for subset in spec.sequence("subsets").mappings():
        own = subset.mapping("trafficPolicy")
        if own is not None:
            yield _pool(subset, f"{host}, subset {subset.string('name')}", own, policy)


def _pool(item: Mapping, name: str, policy: Mapping | None, fallback: Mapping | None) -> Pool:
    def part(key: str) -> Mapping | None:
        """A section of the policy; a subset without it has the rule's."""
        found = policy.mapping(key) if policy is not None else None
        return found if found is not None or fallback is None else fallback.mapping(key)

    settings = part("connectionPool")
    http = settings.mapping("http") if settings is not None else None
    tcp = settings.mapping("tcp") if settings is not None else None
    idle = http.scalar("idleTimeout") if http is not None else None
    age = tcp.scalar("maxConnectionDuration") if tcp is not None else None
    requests = http.scalar("maxRequestsPerConnection") if http is not None else None
    most = requests.integer() if requests is not None else 0
    upgrade = http.scalar("h2UpgradePolicy") if http is not None else None
    known = _UPGRADES.get(upgrade.string()) if upgrade is not None else None
    notes = [_SIDECAR]
    if known is None:
        notes.append("Whether HTTP/2 is spoken depends on the Service's port name or appProtocol (h2UpgradePolicy).")
    tls, tls_notes = _tls(part("tls"))
    sent = part("proxyProtocol")
    version = sent.scalar("version") if sent is not None else None
    return Pool(
        kind="istio",
        name=name,
        place=item.place,
        keeps=requests.fact(most != 1) if requests is not None else _KEEPS,
        idle_timeout=idle.fact(idle.go_seconds() or inf) if idle is not None else _IDLE,
        max_age=age.fact(age.go_seconds() or inf) if age is not None else _AGE,
        max_requests=requests.fact(most) if requests is not None and most else None,
        protocol=upgrade.fact(known) if upgrade is not None and known is not None else None,
        tls=tls,
        proxy_protocol=version.fact(version.string().lower())
        if version is not None
        else (Fact("v1", "proxyProtocol", sent.place) if sent is not None else _NO_PROXY_PROTOCOL),
        notes=(*notes, *tls_notes),
    )


def _tls(settings: Mapping | None) -> tuple[Fact[bool] | None, tuple[str, ...]]:
    mode = settings.scalar("mode") if settings is not None else None
    if mode is None:
        return None, ()
    if mode.string() == "DISABLE":
        return mode.fact(False), ()
    if mode.string() in ("SIMPLE", "MUTUAL"):
        return mode.fact(True), ()
    return None, (f"{mode.words} ({mode.place}) ends in the pod's sidecar, which speaks in clear to us.",)


def _add_route(pools: list[Pool], service: Mapping, route: Mapping) -> None:
    timeout = route.scalar("timeout")
    waits = timeout.fact(timeout.go_seconds() or inf) if timeout is not None else _NO_TIMEOUT
    retries = _retries_post(route)
    for choice in route.sequence("route").mappings():
        destination = choice.mapping("destination")
        if destination is None:
            continue
        host, subset = destination.string("host"), destination.string("subset")
        names = (host, f"{host}, subset {subset}") if subset else (host,)
        matching = [index for index, pool in enumerate(pools) if pool.kind == "istio" and pool.name in names]
        if not matching:
            name = service.string("metadata", "name")
            note = f"VirtualService {name} leads to {host}, for which there is no DestinationRule in this file."
            pools.append(Pool(kind="istio", name=host, place=route.place, notes=(note,)))
            matching = [len(pools) - 1]
        for index in matching:
            pools[index] = _with_route(pools[index], waits, retries)


def _with_route(pool: Pool, waits: Fact[float], retries: Fact[bool]) -> Pool:
    """Of several routes to a host, the shortest timeout and the riskiest retries count."""
    if pool.response_timeout is None or waits.value < pool.response_timeout.value:
        pool = replace(pool, response_timeout=waits)
    if waits.value != inf and WHOLE_RESPONSE not in pool.notes:
        pool = replace(pool, notes=(*pool.notes, WHOLE_RESPONSE))
    known = pool.retries_post
    if known is None or (retries.value, retries.written) > (known.value, known.written):
        pool = replace(pool, retries_post=retries)
    return pool


def _retries_post(route: Mapping) -> Fact[bool]:
    policy = route.mapping("retries")
    if policy is None:
        return _RETRIES
    attempts, retry_on = policy.scalar("attempts"), policy.scalar("retryOn")
    if attempts is not None and attempts.integer() == 0:
        return attempts.fact(False)
    if retry_on is None:
        return _RETRIES
    words = split_conditions(retry_on.string())
    codes = [word for word in words if word.isdecimal()]
    # A bare status code stands for "retriable-status-codes" with that code.
    risky = resending(words, status_codes=bool(codes)) or codes
    return retry_on.fact(bool(risky) and not _never_post(route))


def _never_post(route: Mapping) -> bool:
    """Whether each way to match the route asks for a method that may be sent twice."""
    matches = list(route.sequence("match").mappings())
    methods = [match.string("method", "exact") if match.has("method") else "" for match in matches]
    return bool(methods) and all(method in _SAFE_METHODS for method in methods)
