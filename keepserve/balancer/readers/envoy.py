"""Envoy: bootstrap files, files of clusters (CDS) or routes (RDS), and the admin endpoint's config_dump.

YAML or JSON, fields in either spelling. One pool for each cluster. The settings of a cluster's connections stand in
``typed_extension_protocol_options``; where they still stand in the cluster itself, that is read, too. Clusters and
routes that come from a control plane at run time are in none of these files but the config_dump.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import inf

from keepserve.balancer.facts import Fact, Pool, Reading, UnreadableError
from keepserve.balancer.readers import proto
from keepserve.balancer.readers.documents import load, try_load
from keepserve.balancer.readers.envoy_retries import WHOLE_RESPONSE
from keepserve.balancer.readers.envoy_routes import Routed, routes_by_cluster
from keepserve.balancer.readers.tree import Mapping, Node, Scalar, Sequence

KIND = "envoy"
TITLE = "Envoy"

_PROTOCOL_DOCS = "https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/core/v3/protocol.proto"
_CLUSTER_DOCS = "https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/cluster/v3/cluster.proto"
_TIMEOUT_DOCS = "https://www.envoyproxy.io/docs/envoy/latest/faq/configuration/timeouts"
_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

_BOOTSTRAP = ("static_resources", "staticResources", "dynamic_resources", "dynamicResources")
_CLUSTER_ONLY = (
    "load_assignment",
    "eds_cluster_config",
    "typed_extension_protocol_options",
    "common_http_protocol_options",
    "http2_protocol_options",
    "lb_policy",
    "dns_lookup_family",
)

_DEFAULT_IDLE = Fact(3600.0, "common_http_protocol_options.idle_timeout", source=_TIMEOUT_DOCS)
_DEFAULT_AGE = Fact(inf, "common_http_protocol_options.max_connection_duration", source=_TIMEOUT_DOCS)
_KEEPS = Fact(True, "common_http_protocol_options.max_requests_per_connection", source=_PROTOCOL_DOCS)
_HTTP1 = Fact(
    "http/1.1",
    "explicit_http_config",
    source="https://www.envoyproxy.io/docs/envoy/latest/api-v3/extensions/upstreams/http/v3/http_protocol_options.proto",
)
_CLEAR = Fact(False, "transport_socket", source=_CLUSTER_DOCS)
_NO_PROXY_PROTOCOL = Fact("off", "transport_socket", source=_CLUSTER_DOCS)


def looks_like(path: str, text: str) -> bool:
    """Whether the file has clusters, routes or a bootstrap of Envoy's."""
    return any(_is_envoy(document) for document in try_load(path, text))


def read(path: str, text: str) -> Reading:
    """One pool for each cluster, and for each cluster that is only named by a route. Raises UnreadableError."""
    pools: list[Pool] = []
    notes: list[str] = []
    known = False
    for document in load(path, text):
        if not _is_envoy(document):
            continue
        known = True
        routed = routes_by_cluster(document)
        clusters = list(_clusters(document))
        pools += [_pool(cluster, routed.pop(_name(cluster), None)) for cluster in clusters]
        pools += [_routed_only(name, route) for name, route in routed.items()]
        if _dynamic(document):
            notes.append(
                "Clusters or routes come from a control plane, too, and are not in this file; "
                "the admin endpoint's /config_dump has them all."
            )
    if not known:
        raise UnreadableError(
            f'{path}: this is not an Envoy configuration: none of "static_resources", "clusters", "resources", '
            '"virtual_hosts" or "configs" (a config_dump) is here.'
        )
    if not pools:
        notes.append("There is no cluster and no route in this file.")
    return Reading(path, KIND, tuple(pools), tuple(notes))


def _is_envoy(document: Node) -> bool:
    if isinstance(document, Sequence):
        return bool(document.items) and all(map(_is_cluster, document.items))
    if not isinstance(document, Mapping):
        return False
    if any(key in document.entries for key in _BOOTSTRAP) or _is_cluster(document):
        return True
    for key in ("resources", "configs"):
        listed = document.entries.get(key)
        if isinstance(listed, Sequence) and any("envoy." in _type(item) for item in listed.items):
            return True
    clusters = document.entries.get("clusters")
    if isinstance(clusters, Sequence) and any(map(_is_cluster, clusters.items)):
        return True
    return "virtual_hosts" in document.entries or "virtualHosts" in document.entries


def _is_cluster(node: Node) -> bool:
    if not isinstance(node, Mapping) or "name" not in node.entries:
        return False
    return any(key in node.entries or proto.camel(key) in node.entries for key in _CLUSTER_ONLY)


def _type(node: Node) -> str:
    kind = node.entries.get("@type") if isinstance(node, Mapping) else None
    return kind.text if isinstance(kind, Scalar) else ""


def _dynamic(document: Node) -> bool:
    return isinstance(document, Mapping) and proto.submessage(document, "dynamic_resources") is not None


def _clusters(document: Node) -> Iterator[Mapping]:
    if isinstance(document, Sequence):
        yield from document.mappings()
        return
    if not isinstance(document, Mapping):
        return
    if _is_cluster(document):
        yield document
        return
    static = proto.submessage(document, "static_resources")
    if static is not None:
        yield from static.sequence("clusters").mappings()
    if "clusters" in document.entries:
        yield from document.sequence("clusters").mappings()
    if "resources" in document.entries:
        yield from (item for item in document.sequence("resources").mappings() if _type(item).endswith(".Cluster"))
    if "configs" in document.entries:
        for dump in document.sequence("configs").mappings():
            for section in ("static_clusters", "dynamic_active_clusters"):
                for entry in dump.sequence(*proto.spelled(dump, section)).mappings():
                    cluster = entry.mapping("cluster")
                    if cluster is not None:
                        yield cluster


def _name(cluster: Mapping) -> str:
    return cluster.needed("name").string()


def _routed_only(name: str, routed: Routed) -> Pool:
    return Pool(
        kind=KIND,
        name=name,
        place=routed.place,
        response_timeout=routed.timeout,
        retries_post=routed.retries_post,
        notes=(f'Routes lead to cluster "{name}", which is not in this file: its timeouts are not known from here.',),
    )


def _pool(cluster: Mapping, routed: Routed | None) -> Pool:
    notes: list[str] = []
    typed = proto.submessage(cluster, "typed_extension_protocol_options")
    options = typed.mapping(_HTTP_OPTIONS) if typed is not None else None
    old = proto.submessage(cluster, "common_http_protocol_options")
    # Envoy ignores what stands in the cluster itself as soon as there are typed options.
    common = proto.submessage(options, "common_http_protocol_options") if options is not None else old
    if options is not None and old is not None:
        notes.append(
            f"common_http_protocol_options of the cluster itself ({old.place}) are not used, "
            f"because {_HTTP_OPTIONS} is there."
        )
    requests = proto.integer(common, "max_requests_per_connection") or proto.integer(
        cluster, "max_requests_per_connection"
    )
    secured, sent = _transport(proto.submessage(cluster, "transport_socket"), notes)
    if cluster.has(*proto.spelled(cluster, "transport_socket_matches")):
        notes.append(
            "transport_socket_matches choose TLS or PROXY protocol for each endpoint; they are not compared."
        )
    pool = Pool(
        kind=KIND,
        name=_name(cluster),
        place=cluster.place,
        keeps=_concluded(requests, requests.value != 1) if requests is not None else _KEEPS,
        idle_timeout=proto.duration(common, "idle_timeout") or _DEFAULT_IDLE,
        max_age=proto.duration(common, "max_connection_duration") or _DEFAULT_AGE,
        max_requests=requests if requests is not None and requests.value else None,
        protocol=_protocol(cluster, options, notes),
        tls=secured,
        proxy_protocol=sent,
    )
    pool = _with_health(pool, cluster, notes)
    if routed is not None:
        pool = replace(pool, response_timeout=routed.timeout, retries_post=routed.retries_post)
        if routed.timeout.value != inf:
            notes.append(WHOLE_RESPONSE)
    else:
        notes.append("No route to this cluster is in this file: its response timeout and its retries are not known.")
    return replace(pool, notes=tuple(notes))


def _concluded(fact: Fact[int], value: bool) -> Fact[bool]:
    """Another conclusion from the same words."""
    return Fact(value, fact.words, fact.place, fact.source)


def _protocol(cluster: Mapping, options: Mapping | None, notes: list[str]) -> Fact[str] | None:
    if options is None:
        old = proto.submessage(cluster, "http2_protocol_options")
        if proto.text(cluster, "protocol_selection") == "USE_DOWNSTREAM_PROTOCOL":
            notes.append("The cluster speaks to us whatever its client speaks to it: HTTP/1.1 or HTTP/2.")
            return None
        return Fact("h2", old.name, old.place) if old is not None else _HTTP1
    if proto.submessage(options, "use_downstream_protocol_config") is not None:
        notes.append("The cluster speaks to us whatever its client speaks to it: HTTP/1.1 or HTTP/2.")
        return None
    if proto.submessage(options, "auto_config") is not None:
        notes.append("The cluster takes HTTP/2 when we offer it by ALPN, otherwise HTTP/1.1 (auto_config).")
        return None
    explicit = proto.submessage(options, "explicit_http_config")
    for field, value in (("http2_protocol_options", "h2"), ("http_protocol_options", "http/1.1")):
        chosen = proto.submessage(explicit, field)
        if chosen is not None:
            return Fact(value, chosen.name, chosen.place)
    if proto.submessage(explicit, "http3_protocol_options") is not None:
        notes.append("The cluster speaks HTTP/3 to us, which keepserve does not.")
        return None
    return _HTTP1


def _transport(socket: Mapping | None, notes: list[str]) -> tuple[Fact[bool] | None, Fact[str] | None]:
    """(TLS, PROXY protocol), each from the socket that says so; sockets wrap one another."""
    sent = _NO_PROXY_PROTOCOL
    while socket is not None:
        config = proto.submessage(socket, "typed_config")
        # The type decides; the name is only a label, but all there is when somebody leaves the type out.
        kind = _type(config) if config is not None else socket.string("name")
        if kind.endswith((".UpstreamTlsContext", "transport_sockets.tls")):
            return Fact(True, f"transport_socket: {socket.string('name') or kind}", socket.place), sent
        if kind.endswith((".RawBuffer", "transport_sockets.raw_buffer")):
            return Fact(False, f"transport_socket: {socket.string('name') or kind}", socket.place), sent
        if kind.endswith((".ProxyProtocolUpstreamTransport", "transport_sockets.upstream_proxy_protocol")):
            version = config.scalar("config", "version") if config is not None and config.has("config") else None
            value = version.string().lower() if version is not None else "v1"
            if version is not None and value not in ("v1", "v2"):
                raise version.wrong("V1 or V2")
            sent = (
                version.fact(value) if version is not None else Fact(value, "upstream PROXY protocol", socket.place)
            )
        else:
            notes.append(f"transport_socket ({socket.place}) is of a type that is not known here: {kind or 'none'}.")
            if config is None or proto.submessage(config, "transport_socket") is None:
                return None, None
        socket = proto.submessage(config, "transport_socket")
    return _CLEAR, sent


def _with_health(pool: Pool, cluster: Mapping, notes: list[str]) -> Pool:
    checks = list(cluster.sequence(*proto.spelled(cluster, "health_checks")).mappings())
    if not checks:
        notes.append("The cluster has no health_checks: only failing connections tell it that a server drains.")
        return pool
    if len(checks) > 1:
        notes.append(f"Of {len(checks)} health checks, the first one is compared ({checks[0].place}).")
    check = checks[0]
    for field in ("interval", "unhealthy_threshold"):
        check_field = proto.spelled(check, field)
        if not check.has(*check_field):
            check.needed(*check_field)  # Envoy refuses such a file, so it is half of one
    http = proto.submessage(check, "http_health_check")
    where = http.scalar("path") if http is not None else None
    threshold = proto.integer(check, "unhealthy_threshold")
    if threshold is not None and http is not None and not http.has(*proto.spelled(http, "retriable_statuses")):
        # As the field's documentation says, the threshold is for checks without an answer: our 503 counts at once.
        threshold = Fact(1, f"{threshold.words} (an answer such as 503 counts at once)", threshold.place)
    return replace(
        pool,
        health_path=where.fact(where.string()) if where is not None else None,
        health_interval=proto.duration(check, "interval", zero_is_off=False),
        health_threshold=threshold,
    )
