"""What Envoy's routes say about the clusters they lead to: the time for a response, and retries."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from keepserve.balancer.facts import Fact, Place
from keepserve.balancer.readers import proto
from keepserve.balancer.readers.envoy_retries import RETRY_SOURCE, resending, split_conditions
from keepserve.balancer.readers.tree import Mapping, Node, Sequence

TIMEOUT_SOURCE = "https://www.envoyproxy.io/docs/envoy/latest/faq/configuration/timeouts#route-timeouts"
_ROUTE_TIMEOUT = Fact(15.0, "route timeout", source=TIMEOUT_SOURCE)
_NO_RETRIES = Fact(False, "retry_policy", source=RETRY_SOURCE)
_RESENDABLE = frozenset(("GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"))
"""Methods that may be sent twice (RFC 9110 section 9.2.2)."""


@dataclass(slots=True)
class Routed:
    """What the routes to one cluster add up to."""

    place: Place
    timeout: Fact[float]
    """The shortest of them."""
    retries_post: Fact[bool]
    """The first that does, otherwise one that was written down, otherwise the default."""

    def add(self, timeout: Fact[float], retries_post: Fact[bool]) -> None:
        """Take in one more route."""
        if timeout.value < self.timeout.value:
            self.timeout = timeout
        better = (retries_post.value, retries_post.written) > (self.retries_post.value, self.retries_post.written)
        if better:
            self.retries_post = retries_post


def routes_by_cluster(document: Node) -> dict[str, Routed]:
    """Every route with a cluster in the document, wherever its virtual hosts stand."""
    found: dict[str, Routed] = {}
    for host in _virtual_hosts(document):
        shared = proto.submessage(host, "retry_policy")
        for route in host.sequence("routes").mappings():
            action = route.mapping("route")
            if action is None:
                continue  # a redirect or a direct response
            timeout = proto.duration(action, "timeout") or _ROUTE_TIMEOUT
            retries = _retries_post(proto.submessage(action, "retry_policy") or shared, route)
            for name in _clusters(action):
                if name in found:
                    found[name].add(timeout, retries)
                else:
                    found[name] = Routed(route.place, timeout, retries)
    return found


def _virtual_hosts(node: Node) -> Iterator[Mapping]:
    if isinstance(node, Mapping):
        for key, child in node.entries.items():
            if key in ("virtual_hosts", "virtualHosts") and isinstance(child, Sequence):
                yield from child.mappings()
            else:
                yield from _virtual_hosts(child)
    elif isinstance(node, Sequence):
        for child in node.items:
            yield from _virtual_hosts(child)


def _clusters(action: Mapping) -> Iterator[str]:
    name = action.string("cluster")
    if name:
        yield name
    weighted = proto.submessage(action, "weighted_clusters")
    if weighted is not None:
        for choice in weighted.sequence("clusters").mappings():
            yield choice.string("name")


def _retries_post(policy: Mapping | None, route: Mapping) -> Fact[bool]:
    if policy is None:
        return _NO_RETRIES
    retry_on = policy.scalar(*proto.spelled(policy, "retry_on"))
    if retry_on is None:
        return _NO_RETRIES
    times = proto.integer(policy, "num_retries")
    codes = policy.sequence(*proto.spelled(policy, "retriable_status_codes"))
    conditions = resending(split_conditions(retry_on.string()), status_codes=bool(codes.items))
    headers = [
        *policy.sequence(*proto.spelled(policy, "retriable_request_headers")).mappings(),
        *(route.sequence("match", "headers").mappings() if route.has("match") else ()),
    ]
    safe = not conditions or (times is not None and times.value == 0) or any(map(_never_post, headers))
    return retry_on.fact(not safe)


def _never_post(header: Mapping) -> bool:
    """Whether a header matcher lets only methods through that may be sent twice."""
    if header.string("name") != ":method" or proto.text(header, "invert_match") == "true":
        return False
    match = proto.submessage(header, "string_match")
    exact = proto.text(header, "exact_match") or proto.text(match, "exact")
    return exact in _RESENDABLE
