"""ingress-nginx: its ConfigMap, and the annotations of an Ingress, which win over it."""

from __future__ import annotations

from keepserve.balancer.facts import Fact, Place, Pool
from keepserve.balancer.readers import units
from keepserve.balancer.readers.tree import Mapping, Scalar

_CONFIGMAP_DOCS = "https://kubernetes.github.io/ingress-nginx/user-guide/nginx-configuration/configmap/"
_ANNOTATION_DOCS = "https://kubernetes.github.io/ingress-nginx/user-guide/nginx-configuration/annotations/"
_PREFIX = "nginx.ingress.kubernetes.io/"
_KEYS = (
    "upstream-keepalive-timeout",
    "upstream-keepalive-connections",
    "upstream-keepalive-requests",
    "upstream-keepalive-time",
    "proxy-read-timeout",
    "proxy-next-upstream",
)
_PROTOCOLS = {
    "HTTP": ("http/1.1", False),
    "HTTPS": ("http/1.1", True),
    "GRPC": ("h2", False),
    "GRPCS": ("h2", True),
}


def is_configmap(item: Mapping) -> bool:
    """Whether a ConfigMap is the controller's: by one of its keys, or by the name it has in the common installs."""
    data = item.mapping("data")
    if data is not None and any(key in data.entries for key in _KEYS):
        return True
    return item.string("metadata", "name") in ("ingress-nginx-controller", "nginx-configuration")


def is_ingress(item: Mapping) -> bool:
    """Whether an Ingress is for ingress-nginx: by its class, or by an annotation that only it reads."""
    annotations = item.mapping("metadata", "annotations")
    if annotations is not None:
        if any(key.startswith(_PREFIX) for key in annotations.entries):
            return True
        if annotations.string("kubernetes.io/ingress.class") == "nginx":
            return True
    return item.string("spec", "ingressClassName") == "nginx"


def ingress_pools(configmaps: list[Mapping], ingresses: list[Mapping]) -> list[Pool]:
    """One pool for each Ingress, with what a ConfigMap in the same file says; without any, one for the ConfigMap."""
    shared = [item for item in configmaps if item.mapping("data") is not None]
    data = shared[0].mapping("data") if shared else None
    if not ingresses:
        return [_pool(item, "ConfigMap", None, item.mapping("data")) for item in configmaps]
    notes = []
    if len(shared) > 1:
        notes.append(f"Of {len(shared)} ConfigMaps of ingress-nginx, the first one counts here ({shared[0].place}).")
    if not shared:
        notes.append(
            "The controller's ConfigMap is not in this file: what no annotation says is taken to be at its default."
        )
    return [_pool(item, "Ingress", item.mapping("metadata", "annotations"), data, tuple(notes)) for item in ingresses]


def _pool(
    item: Mapping, kind: str, annotations: Mapping | None, data: Mapping | None, notes: tuple[str, ...] = ()
) -> Pool:
    settings = _Settings(annotations, data)
    connections = settings.find("upstream-keepalive-connections")
    requests = settings.find("upstream-keepalive-requests")
    protocol, tls, protocol_notes = settings.protocol()
    next_upstream = settings.find("proxy-next-upstream")
    return Pool(
        kind="ingress-nginx",
        name=f"{kind} {item.string('metadata', 'name') or '(unnamed)'}",
        place=item.place,
        keeps=connections.fact(connections.integer() > 0)
        if connections is not None
        else Fact(True, "upstream-keepalive-connections", source=_CONFIGMAP_DOCS + "#upstream-keepalive-connections"),
        idle_timeout=settings.seconds("upstream-keepalive-timeout", 60.0),
        max_age=settings.seconds("upstream-keepalive-time", 3600.0),
        max_requests=requests.fact(requests.integer(1))
        if requests is not None
        else Fact(10_000, "upstream-keepalive-requests", source=_CONFIGMAP_DOCS + "#upstream-keepalive-requests"),
        protocol=protocol,
        tls=tls,
        proxy_protocol=Fact("off", "PROXY protocol, never sent to HTTP servers", source=_CONFIGMAP_DOCS),
        response_timeout=settings.seconds("proxy-read-timeout", 60.0),
        retries_post=next_upstream.fact("non_idempotent" in next_upstream.string().split())
        if next_upstream is not None
        else Fact(False, "proxy-next-upstream", source=_CONFIGMAP_DOCS + "#proxy-next-upstream"),
        notes=(*notes, *protocol_notes),
    )


class _Settings:
    """Annotations over ConfigMap over defaults."""

    def __init__(self, annotations: Mapping | None, data: Mapping | None) -> None:
        self._annotations = annotations
        self._data = data

    def find(self, key: str) -> Scalar | None:
        found = self._annotations.scalar(_PREFIX + key) if self._annotations is not None else None
        if found is None and self._data is not None:
            found = self._data.scalar(key)
        return found

    def seconds(self, key: str, default: float) -> Fact[float]:
        found = self.find(key)
        if found is None:
            return Fact(default, key, source=f"{_CONFIGMAP_DOCS}#{key}")
        return found.fact(found.seconds(units.nginx_seconds, "a time of NGINX's, such as 60 or 1h"))

    def protocol(self) -> tuple[Fact[str] | None, Fact[bool] | None, tuple[str, ...]]:
        """(protocol, TLS, notes) from backend-protocol."""
        found = self._annotations.scalar(_PREFIX + "backend-protocol") if self._annotations is not None else None
        source = _ANNOTATION_DOCS + "#backend-protocol"
        if found is None:
            return (
                Fact("http/1.1", "backend-protocol", source=source),
                Fact(False, "backend-protocol", source=source),
                (),
            )
        known = _PROTOCOLS.get(found.string().upper())
        if known is None:
            place: Place = found.place
            return None, None, (f"{found.words} ({place}) is not compared: it is none of HTTP, HTTPS, GRPC, GRPCS.",)
        return found.fact(known[0]), found.fact(known[1]), ()
