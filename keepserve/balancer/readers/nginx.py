"""Reads an NGINX configuration: one pool for each group of servers and each way in which requests are passed to it.

Documented at nginx.org: ngx_http_upstream_module, ngx_http_proxy_module, ngx_http_grpc_module. NGINX 1.29.7 changed
defaults: it speaks HTTP/1.1 to servers and keeps connections by itself where older ones did neither.
"""

from __future__ import annotations

import dataclasses
import re
from typing import TypeVar

from keepserve.balancer.facts import Fact, Place, Pool, Reading, UnreadableError
from keepserve.balancer.readers.nginx_passing import Passing, passings
from keepserve.balancer.readers.nginx_tree import Directive, parse
from keepserve.balancer.readers.nginx_values import PROXY_DOCS, UPSTREAM_DOCS, count, seconds

KIND = "nginx"
TITLE = "NGINX"

KEEPS_BY_DEFAULT = (1, 29, 7)
"""The version from which upstream blocks keep connections, and HTTP/1.1 is spoken, without being told."""

_READ = (
    *(
        "keepalive",
        "keepalive_timeout",
        "keepalive_requests",
        "keepalive_time",
        "upstream",
        "health_check",
        "include",
    ),
    *("proxy_pass", "proxy_http_version", "proxy_set_header", "proxy_read_timeout", "proxy_next_upstream"),
    *("grpc_pass", "grpc_read_timeout", "grpc_next_upstream", "proxy_protocol", "proxy_ssl"),
)
_BLOCKS = re.compile(r"^\s*(?:http|events|upstream\s+\S+|server|stream)\s*\{", re.MULTILINE)


def looks_like(path: str, text: str) -> bool:
    """A block that only NGINX's files have, opened by a brace on its line. ``path`` does not matter."""
    del path
    return _BLOCKS.search(text) is not None


def read(path: str, text: str, version: tuple[int, ...] | None = None) -> Reading:
    """Read a main configuration file and all it includes (relative to it, as NGINX does).

    ``text`` is not used: crossplane reads the files itself. ``version``: NGINX's, for its defaults; None: the
    older, stricter ones. Raises UnreadableError.
    """
    del text
    tree = parse(path, _READ)
    contexts = [one for one in tree if one.name in ("http", "stream")]
    if not contexts:
        raise UnreadableError(
            f"{path}: there is no http block, so this is a part of a configuration: what the rest sets is not known. "
            "Give the main file (nginx.conf) that includes it."
        )
    pools: list[Pool] = []
    notes: list[str] = []
    for context in contexts:
        if context.name == "http":
            upstreams = {one.args[0]: one for one in context.all("upstream") if one.args}
            found, remarks = passings(context)
            pools += _merged([_pool(passing, upstreams.get(passing.target), version) for passing in found])
            notes += remarks
        else:
            pools += _stream_pools(context)
    return Reading(path, KIND, tuple(pools), tuple(notes))


def _pool(passing: Passing, upstream: Directive | None, version: tuple[int, ...] | None) -> Pool:
    modern = version is not None and version >= KEEPS_BY_DEFAULT
    protocol = passing.protocol(modern)
    keeps = _keeps(passing, upstream, protocol, modern)
    undecided = version is None and not keeps.value and not _written_against(passing, upstream)
    if not keeps.value:
        # With a source it counts as a default, which may be another one in the version that runs.
        source = keeps.source if undecided else ""
        keeps = dataclasses.replace(keeps, place=keeps.place or passing.place, source=source)
    return Pool(
        kind=KIND,
        name=passing.target,
        place=upstream.place if upstream is not None else passing.place,
        keeps=keeps,
        idle_timeout=_timed(upstream, "keepalive_timeout", 60.0) if upstream is not None else None,
        max_age=_timed(upstream, "keepalive_time", 3600.0) if upstream is not None else None,
        max_requests=_max_requests(upstream) if upstream is not None else None,
        protocol=protocol,
        tls=passing.tls,
        proxy_protocol=Fact("off", "http blocks send no PROXY protocol", None, PROXY_DOCS),
        response_timeout=passing.response_timeout,
        retries_post=passing.retries_post,
        health_path=passing.health_path,
        health_interval=passing.health_interval,
        health_threshold=passing.health_threshold,
        notes=(_TWO_DEFAULTS,) if undecided else (),
    )


_TWO_DEFAULTS = (
    "The file leaves it to NGINX's defaults whether connections are kept: 1.29.7 and newer keep them and speak "
    "HTTP/1.1, older ones do neither. The older defaults are assumed; --balancer-version says which it is."
)


def _keeps(passing: Passing, upstream: Directive | None, protocol: Fact[str], modern: bool) -> Fact[bool]:
    """Whether a connection is used again: it takes a pool, HTTP/1.1 and no "Connection: close"."""
    against: list[Fact[bool]] = []
    pooled = next(upstream.all("keepalive"), None) if upstream is not None else None
    if upstream is None:
        block = f"upstream NAME {{ server {passing.target}; keepalive 32; }}"
        against.append(Fact(False, f"{passing.words} without an upstream block", passing.place, remedy=block))
    elif pooled is None and not modern:
        words = f"no keepalive in upstream {passing.target}"
        against.append(Fact(False, words, upstream.place, UPSTREAM_DOCS + "#keepalive", remedy="keepalive 32;"))
    elif pooled is not None and count(pooled) == 0:
        against.append(Fact(False, pooled.words, pooled.place, remedy="keepalive 32;"))
    if protocol.value == "http/1.0":
        line = "proxy_http_version 1.1;"
        against.append(Fact(False, protocol.words, protocol.place, protocol.source, remedy=line))
    if protocol.value != "h2" and (closing := passing.closes(modern)) is not None:
        against.append(closing)
    if against:
        # The first is told, and all have to be changed.
        return dataclasses.replace(against[0], remedy=" ".join(fact.remedy for fact in against))
    if pooled is not None:
        return Fact(True, pooled.words, pooled.place)
    return Fact(True, "keepalive 32", None, UPSTREAM_DOCS + "#keepalive")


def _written_against(passing: Passing, upstream: Directive | None) -> bool:
    """Whether something in the file prevents keeping whatever the defaults are."""
    if upstream is None or passing.closes(modern=True) is not None or passing.protocol(True).value == "http/1.0":
        return True
    pooled = next(upstream.all("keepalive"), None)
    return pooled is not None and count(pooled) == 0


def _timed(upstream: Directive, name: str, default: float) -> Fact[float]:
    written = next(upstream.all(name), None)
    if written is None:
        return Fact(default, f"{name} {default:g}s", None, f"{UPSTREAM_DOCS}#{name}")
    return Fact(seconds(written), written.words, written.place)


def _max_requests(upstream: Directive) -> Fact[int]:
    written = next(upstream.all("keepalive_requests"), None)
    if written is None:
        return Fact(1000, "keepalive_requests 1000", None, UPSTREAM_DOCS + "#keepalive_requests")
    return Fact(count(written), written.words, written.place)


def _merged(pools: list[Pool]) -> list[Pool]:
    """One pool for each group and behaviour: locations that treat a group alike are one."""
    groups: dict[str, list[Pool]] = {}
    for pool in pools:
        same = groups.setdefault(pool.name, [])
        if not any(_behaviour(pool) == _behaviour(other) for other in same):
            same.append(pool)
    merged: list[Pool] = []
    for name, variants in groups.items():
        for pool in variants:
            where = pool.tls.place if pool.tls is not None else None
            several = len(variants) > 1 and where is not None
            merged.append(dataclasses.replace(pool, name=f"{name}, passed to at {where}") if several else pool)
    return merged


def _behaviour(pool: Pool) -> tuple[object, ...]:
    facts = (getattr(pool, field.name) for field in dataclasses.fields(pool) if field.name not in _NAMING)
    return tuple(fact.value if isinstance(fact, Fact) else fact for fact in facts)


Value = TypeVar("Value", str, bool)

_NAMING = ("kind", "name", "place", "notes")


def _stream_pools(context: Directive) -> list[Pool]:
    """``stream`` passes bytes on: only the PROXY protocol and TLS matter to us."""
    pools = []
    for server in context.all("server"):
        for passed in server.all("proxy_pass"):
            name = passed.args[0]
            place: Place = passed.place
            pools.append(
                Pool(
                    kind=KIND,
                    name=name,
                    place=place,
                    proxy_protocol=_switch(context, server, "proxy_protocol", "v1", "off"),
                    tls=_switch(context, server, "proxy_ssl", True, False),
                    notes=(f"{passed.words} ({place}) passes bytes on: connections are the clients', not NGINX's.",),
                )
            )
    return pools


def _switch(context: Directive, server: Directive, name: str, on: Value, off: Value) -> Fact[Value]:
    written = next(server.all(name), None) or next(context.all(name), None)
    if written is None:
        return Fact(off, f"{name} off", None, "https://nginx.org/en/docs/stream/ngx_stream_proxy_module.html")
    return Fact(on if written.args[0].lower() == "on" else off, written.words, written.place)
