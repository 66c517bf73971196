"""Traefik: static and dynamic configuration in YAML, TOML or JSON.

One pool for each service with servers, with the serversTransport it uses and the retry middleware on its way; for a
file without services, one for each serversTransport. Labels and Kubernetes resources are not files of Traefik's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import inf

from keepserve.balancer.facts import Fact, Pool, Reading, UnreadableError
from keepserve.balancer.readers import units
from keepserve.balancer.readers.documents import load_mappings, try_load
from keepserve.balancer.readers.toml_places import load_toml
from keepserve.balancer.readers.tree import Mapping, Node, Scalar, Sequence

KIND = "traefik"
TITLE = "Traefik"

_TRANSPORT_DOCS = (
    "https://doc.traefik.io/traefik/reference/routing-configuration/http/load-balancing/serverstransport/"
)
_SERVICE_DOCS = "https://doc.traefik.io/traefik/reference/routing-configuration/http/load-balancing/service/"
_RETRY_DOCS = "https://doc.traefik.io/traefik/reference/routing-configuration/http/middlewares/retry/"

_IDLE = Fact(90.0, "forwardingTimeouts.idleConnTimeout", source=_TRANSPORT_DOCS)
_NO_TIMEOUT = Fact(inf, "forwardingTimeouts.responseHeaderTimeout", source=_TRANSPORT_DOCS)
_KEEPS = Fact(True, "maxIdleConnsPerHost", source=_TRANSPORT_DOCS)
_NO_RETRIES = Fact(False, "retry.retryNonIdempotentMethod", source=_RETRY_DOCS)
_NO_PROXY_PROTOCOL = Fact("off", "PROXY protocol, for TCP services only", source=_TRANSPORT_DOCS)
_INTERVAL = Fact(30.0, "healthCheck.interval", source=_SERVICE_DOCS)
_ONE_FAILURE = Fact(1, "healthCheck (one failed check is enough)", source=_SERVICE_DOCS)

_TOP = ("entrypoints", "serverstransport", "certificatesresolvers")
_SECTIONS = ("routers", "services", "middlewares", "serverstransports")
_DEFAULT_TRANSPORT = "(default)"


def looks_like(path: str, text: str) -> bool:
    """Whether the file has Traefik's sections. Their names count in any spelling of case, as for Traefik itself."""
    try:
        documents: tuple[Node, ...] = (load_toml(path, text),) if path.endswith(".toml") else try_load(path, text)
    except UnreadableError:
        return False
    return any(isinstance(document, Mapping) and _is_traefik(_folded(document)) for document in documents)


def read(path: str, text: str) -> Reading:
    """A pool for each service, or for each serversTransport where there are no services. Raises UnreadableError."""
    documents = (load_toml(path, text),) if path.endswith(".toml") else load_mappings(path, text)
    pools: list[Pool] = []
    notes: list[str] = []
    for document in map(_folded, documents):
        if not _is_traefik(document):
            raise UnreadableError(
                f'{document.place}: this is not a Traefik configuration: none of "entryPoints", "serversTransport", '
                '"http" or "tcp" with routers and services is here.'
            )
        config = _Config(document)
        found = [*config.services(), *config.tcp_services()]
        pools += found or config.transports_only()
        notes += config.notes
    if not pools:
        notes.append(
            "No service and no serversTransport is in this file, so the defaults hold: "
            f"idle connections to us are kept for {_IDLE.value:g} s."
        )
    return Reading(path, KIND, tuple(pools), tuple(notes))


def _folded(node: Mapping) -> Mapping:
    """The mapping with its keys in lower case, all the way down: Traefik does not look at case."""
    return replace(node, entries={key.lower(): _folded_node(child, key) for key, child in node.entries.items()})


def _folded_node(node: Node, key: str) -> Node:
    """A node below. It keeps its key as people wrote it, because that is how they want to see it."""
    if isinstance(node, Mapping):
        return replace(_folded(node), name=key)
    if isinstance(node, Sequence):
        return replace(node, items=tuple(_folded_node(item, "") for item in node.items), name=key)
    return replace(node, name=key)


def _is_traefik(document: Mapping) -> bool:
    if "apiversion" in document.entries:
        return False
    if any(key in document.entries for key in _TOP):
        return True
    for key in ("http", "tcp"):
        section = document.entries.get(key)
        if isinstance(section, Mapping) and any(name in section.entries for name in _SECTIONS):
            return True
    return False


class _Config:
    """One document, its keys in lower case."""

    def __init__(self, document: Mapping) -> None:
        self.notes: list[str] = []
        self._document = document
        self._http = document.mapping("http")
        self._transports = self._by_name("serverstransports")
        static = document.mapping("serverstransport")
        if static is not None:
            self._transports[_DEFAULT_TRANSPORT] = static
        self._retries = self._retries_by_service()

    def services(self) -> Iterator[Pool]:
        """A pool for each HTTP service with servers of its own."""
        for name, service in self._section("services"):
            balancer = service.mapping("loadbalancer")
            if balancer is not None:
                yield self._service(name, balancer)

    def tcp_services(self) -> Iterator[Pool]:
        """A pool for each TCP service: all that matters to us is whether it sends the PROXY protocol."""
        transports = self._by_name("serverstransports", "tcp")
        for name, service in self._section("services", "tcp"):
            balancer = service.mapping("loadbalancer")
            if balancer is None:
                continue
            named = balancer.scalar("serverstransport")
            transport = transports.get(_plain_name(named.string())) if named is not None else None
            # Version 3 has it in the transport; before, it stood in the service.
            sent = transport.mapping("proxyprotocol") if transport is not None else None
            sent = sent if sent is not None else balancer.mapping("proxyprotocol")
            yield Pool(
                kind=KIND,
                name=f"TCP service {name}",
                place=balancer.place,
                proxy_protocol=_proxy_protocol(sent),
                notes=(
                    "A TCP service passes connections through: the timeouts are those of whoever connects to it.",
                ),
            )

    def transports_only(self) -> Iterator[Pool]:
        """A pool for each serversTransport, for a file that has no services."""
        for name, transport in self._transports.items():
            label = "serversTransport" if name == _DEFAULT_TRANSPORT else f"serversTransport {name}"
            yield self._with_transport(Pool(kind=KIND, name=label, place=transport.place), transport)

    def _section(self, key: str, of: str = "http") -> Iterator[tuple[str, Mapping]]:
        section = self._document.mapping(of)
        children = section.mapping(key) if section is not None else None
        for _, child in children.children() if children is not None else ():
            yield child.name, child

    def _by_name(self, key: str, of: str = "http") -> dict[str, Mapping]:
        return {_plain_name(name): child for name, child in self._section(key, of)}

    def _service(self, name: str, balancer: Mapping) -> Pool:
        notes: list[str] = []
        pool = Pool(
            kind=KIND,
            name=name,
            place=balancer.place,
            proxy_protocol=_NO_PROXY_PROTOCOL,
            retries_post=self._retries.get(_plain_name(name), _NO_RETRIES),
        )
        named = balancer.scalar("serverstransport")
        wanted = _plain_name(named.string()) if named is not None else _DEFAULT_TRANSPORT
        transport = self._transports.get(wanted)
        if named is not None and transport is None:
            notes.append(f"{named.words} ({named.place}) is not in this file, so its timeouts are not known.")
        else:
            pool = self._with_transport(pool, transport)
        pool = _with_servers(pool, balancer, transport, notes)
        return replace(_with_health(pool, balancer, notes), notes=tuple(notes))

    def _with_transport(self, pool: Pool, transport: Mapping | None) -> Pool:
        timeouts = transport.mapping("forwardingtimeouts") if transport is not None else None
        spare = transport.scalar("maxidleconnsperhost") if transport is not None else None
        return replace(
            pool,
            keeps=spare.fact(spare.integer(-1) >= 0) if spare is not None else _KEEPS,
            idle_timeout=_timeout(timeouts, "idleConnTimeout", _IDLE),
            response_timeout=_timeout(timeouts, "responseHeaderTimeout", _NO_TIMEOUT),
        )

    def _retries_by_service(self) -> dict[str, Fact[bool]]:
        """For each service a router leads to by way of a retry middleware: whether that repeats a POST."""
        middlewares = self._by_name("middlewares")
        found: dict[str, Fact[bool]] = {}
        for _, router in self._section("routers"):
            service = _plain_name(router.string("service"))
            for name in router.sequence("middlewares").scalars():
                middleware = middlewares.get(_plain_name(name.string()))
                retry = middleware.mapping("retry") if middleware is not None else None
                if retry is None:
                    continue
                chosen = retry.scalar("retrynonidempotentmethod")
                # Without that, a request is repeated only before anything of it was sent, or if it is idempotent.
                repeats = chosen is not None and chosen.boolean()
                place = chosen.place if chosen is not None else retry.place
                words = chosen.words if chosen is not None else f"retry ({name.text})"
                if repeats or service not in found:
                    found[service] = Fact(repeats, words, place)
        return found


def _plain_name(name: str) -> str:
    """A name for comparing: without its provider (``slow@file``), in lower case."""
    return name.partition("@")[0].lower()


def _timeout(timeouts: Mapping | None, name: str, default: Fact[float]) -> Fact[float]:
    found = timeouts.scalar(name.lower()) if timeouts is not None else None
    if found is None:
        return default
    seconds = found.seconds(units.go_or_plain_seconds, f"{units.GO_EXPECTED}, or a number of seconds")
    return found.fact(seconds or inf)


def _with_servers(pool: Pool, balancer: Mapping, transport: Mapping | None, notes: list[str]) -> Pool:
    urls = [server.needed("url") for server in balancer.sequence("servers").mappings()]
    schemes = {url.string().partition(":")[0].lower() for url in urls}
    if len(schemes) != 1:
        what = "has no servers in this file" if not schemes else f"mixes the schemes {', '.join(sorted(schemes))}"
        notes.append(f"Service {pool.name} {what}: what is spoken to us is not known ({balancer.place}).")
        return pool
    first, scheme = urls[0], schemes.pop()
    if scheme == "h2c":
        return replace(pool, protocol=first.fact("h2"), tls=first.fact(False))
    if scheme == "http":
        return replace(pool, protocol=first.fact("http/1.1"), tls=first.fact(False))
    if scheme != "https":
        raise first.wrong("a URL that begins with http://, https:// or h2c://")
    off = transport.scalar("disablehttp2") if transport is not None else None
    if off is not None and off.boolean():
        return replace(pool, protocol=off.fact("http/1.1"), tls=first.fact(True))
    notes.append("Over TLS, Traefik takes HTTP/2 when we offer it by ALPN, otherwise HTTP/1.1.")
    return replace(pool, tls=first.fact(True))


def _with_health(pool: Pool, balancer: Mapping, notes: list[str]) -> Pool:
    check = balancer.mapping("healthcheck")
    if check is None:
        notes.append(f"Service {pool.name} has no healthCheck: Traefik does not see that a server drains.")
        return pool
    path: Scalar | None = check.scalar("path")
    interval = check.scalar("interval")
    return replace(
        pool,
        health_path=path.fact(path.string()) if path is not None else None,
        health_interval=interval.fact(interval.seconds(units.go_or_plain_seconds, units.GO_EXPECTED))
        if interval is not None
        else _INTERVAL,
        health_threshold=_ONE_FAILURE,
    )


def _proxy_protocol(sent: Mapping | None) -> Fact[str]:
    if sent is None:
        return Fact("off", "proxyProtocol", source=_TCP_DOCS)
    version = sent.scalar("version")
    if version is None:
        return Fact("v2", "proxyProtocol", sent.place)
    if version.text not in ("1", "2"):
        raise version.wrong("1 or 2")
    return version.fact(f"v{version.text}")


_TCP_DOCS = "https://doc.traefik.io/traefik/reference/routing-configuration/tcp/serverstransport/"
