"""Caddy: its JSON, or a Caddyfile by way of Caddy's own adapter.

One pool for each reverse_proxy handler. A Caddyfile has no meaning without Caddy, so ``caddy adapt`` is run on it,
which reads files and starts nothing; without a caddy on this machine, that is an error that says what to run where
Caddy is. Adapted files have no line numbers: the place of their values is the file.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from math import inf
from pathlib import Path

from keepserve.balancer.facts import Fact, Pool, Reading, UnreadableError
from keepserve.balancer.readers import units
from keepserve.balancer.readers.documents import load_mappings, try_load
from keepserve.balancer.readers.json_places import load_json
from keepserve.balancer.readers.tree import Mapping, Node, Scalar, Sequence
from keepserve.config.durations import format_duration

KIND = "caddy"
TITLE = "Caddy"

ADAPT_SECONDS = 10.0
"""How long ``caddy adapt`` may take."""

_STDIN = "/dev/stdin"
"""Caddy's own "-" is newer than the versions that distributions have."""

_PROXY_DOCS = "https://caddyserver.com/docs/json/apps/http/servers/routes/handle/reverse_proxy/"
_TRANSPORT_DOCS = _PROXY_DOCS + "transport/http/"
_HEALTH_DOCS = _PROXY_DOCS + "health_checks/active/"

_IDLE = Fact(120.0, "keep_alive.idle_timeout", source=_TRANSPORT_DOCS + "keep_alive/idle_timeout/")
_KEEPS = Fact(True, "keep_alive.enabled", source=_TRANSPORT_DOCS + "keep_alive/")
_NO_TIMEOUT = Fact(inf, "response_header_timeout", source=_TRANSPORT_DOCS + "response_header_timeout/")
_HTTP1 = Fact("http/1.1", "versions", source=_TRANSPORT_DOCS + "versions/")
_CLEAR = Fact(False, "tls", source=_TRANSPORT_DOCS + "tls/")
_NO_PROXY_PROTOCOL = Fact("off", "proxy_protocol", source=_TRANSPORT_DOCS + "proxy_protocol/")
_NO_RETRIES = Fact(False, "load_balancing.retries", source=_PROXY_DOCS + "load_balancing/retry_match/")
_INTERVAL = Fact(30.0, "health_checks.active.interval", source=_HEALTH_DOCS + "interval/")
_FAILURES = Fact(1, "health_checks.active.fails", source=_HEALTH_DOCS + "fails/")

_RESENDABLE = frozenset(("GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"))
_EXPECTED = f"{units.GO_EXPECTED}, or a whole number of nanoseconds"


def looks_like(path: str, text: str) -> bool:
    """Whether the file is Caddy's JSON or, by its name or its reverse_proxy directives, a Caddyfile."""
    if _is_caddyfile(path, text):
        return True
    return any(isinstance(document, Mapping) and _is_caddy(document) for document in try_load(path, text))


def read(path: str, text: str) -> Reading:
    """A pool for each reverse_proxy. Raises UnreadableError."""
    documents = _adapted(path, text) if _is_caddyfile(path, text) else load_mappings(path, text)
    pools: list[Pool] = []
    for document in documents:
        if not _is_caddy(document):
            raise UnreadableError(
                f'{document.place}: this is not a Caddy configuration: it has no "apps" with "http" in it.'
            )
        pools += [_pool(handler) for handler in _proxies(document)]
    notes = () if pools else ("There is no reverse_proxy in this file.",)
    return Reading(path, KIND, tuple(pools), notes)


def _is_caddy(document: Mapping) -> bool:
    apps = document.entries.get("apps")
    return isinstance(apps, Mapping) and any(name in apps.entries for name in ("http", "tls", "layer4"))


def _is_caddyfile(path: str, text: str) -> bool:
    name = os.path.basename(path).lower()
    if name.endswith((".json", ".yaml", ".yml", ".toml", ".conf", ".cfg")):
        return False
    if name.startswith("caddyfile") or name.endswith(".caddyfile"):
        return not text.lstrip().startswith('{"')
    # No other kind of file has this directive, and no site could be proxied without it.
    return any(line.split()[:1] == ["reverse_proxy"] for line in text.splitlines())


def _adapted(path: str, text: str) -> tuple[Mapping, ...]:
    caddy = shutil.which("caddy")
    if caddy is None:
        raise UnreadableError(
            f"{path}: reading a Caddyfile takes Caddy itself, and there is no caddy on this machine. "
            f"Where it is, run caddy adapt --config {os.path.basename(path)} --adapter caddyfile > caddy.json, "
            "and give caddy.json."
        )
    # By its path where there is one, so that "import" finds its files.
    there = os.path.isfile(path)
    command = [caddy, "adapt", "--adapter", "caddyfile", "--config", os.path.abspath(path) if there else _STDIN]
    try:
        done = subprocess.run(
            command,
            input=None if there else text,
            stdin=subprocess.DEVNULL if there else None,
            capture_output=True,
            text=True,
            timeout=ADAPT_SECONDS,
            cwd=Path(path).parent if there else None,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise UnreadableError(f"{path}: caddy adapt took longer than {ADAPT_SECONDS:g} s and was stopped.") from None
    except OSError as error:
        raise UnreadableError(f"{path}: caddy adapt could not be run: {error}.") from None
    if done.returncode != 0:
        reason = done.stderr.strip().splitlines()[-1:] or [f"it ended with status {done.returncode}"]
        raise UnreadableError(f"{path}: caddy adapt cannot read this Caddyfile: {reason[0]}.")
    documents = load_json(path, done.stdout, lines=False)
    return tuple(document for document in documents if isinstance(document, Mapping))


def _proxies(node: Node) -> Iterator[Mapping]:
    """Every reverse_proxy handler, however deep its routes are."""
    if isinstance(node, Mapping):
        handler = node.entries.get("handler")
        if isinstance(handler, Scalar) and handler.text == "reverse_proxy":
            yield node
        for child in node.entries.values():
            yield from _proxies(child)
    elif isinstance(node, Sequence):
        for child in node.items:
            yield from _proxies(child)


def _pool(handler: Mapping) -> Pool:
    dials = [upstream.string("dial") for upstream in handler.sequence("upstreams").mappings()]
    notes: list[str] = []
    if handler.has("dynamic_upstreams"):
        notes.append("Upstreams are found at run time (dynamic_upstreams): active health checks do not see those.")
    pool = Pool(
        kind=KIND,
        name=", ".join(filter(None, dials)) or "reverse_proxy",
        place=handler.place,
        retries_post=_NO_RETRIES,
    )
    transport = handler.mapping("transport")
    protocol = transport.string("protocol") if transport is not None else "http"
    if protocol not in ("http", ""):
        notes.append(f"The transport is {protocol}, not HTTP: it is not compared.")
        return replace(pool, retries_post=None, notes=tuple(notes))
    pool = _with_transport(pool, transport, notes)
    pool = _with_health(pool, handler.mapping("health_checks"), notes)
    balancing = handler.mapping("load_balancing")
    if balancing is not None:
        pool = replace(pool, retries_post=_retries_post(balancing))
    return replace(pool, notes=tuple(notes))


def _seconds(node: Scalar) -> float:
    return node.seconds(units.go_or_nanoseconds, _EXPECTED)


def _duration(node: Scalar) -> Fact[float]:
    """A duration; 0 is "no limit". Nanoseconds, which nobody can read, are told in seconds as well."""
    seconds = _seconds(node)
    words = f"{node.words} ({format_duration(seconds)})" if node.text.isdecimal() else node.words
    return Fact(seconds or inf, words, node.place)


def _with_transport(pool: Pool, transport: Mapping | None, notes: list[str]) -> Pool:
    keep = transport.mapping("keep_alive") if transport is not None else None
    enabled = keep.scalar("enabled") if keep is not None else None
    idle = keep.scalar("idle_timeout") if keep is not None else None
    if idle is not None and _seconds(idle) == 0:
        idle = None  # Caddy takes 0 for "not set"
    waits = (
        [
            _duration(node)
            for node in (transport.scalar("response_header_timeout"), transport.scalar("read_timeout"))
            if node is not None
        ]
        if transport is not None
        else []
    )
    sent = transport.scalar("proxy_protocol") if transport is not None else None
    if sent is not None and sent.text not in ("", "v1", "v2"):
        raise sent.wrong("v1 or v2")
    tls = transport.mapping("tls") if transport is not None else None
    return replace(
        pool,
        keeps=enabled.fact(enabled.boolean()) if enabled is not None else _KEEPS,
        idle_timeout=_duration(idle) if idle is not None else _IDLE,
        response_timeout=min(waits, key=lambda fact: fact.value, default=_NO_TIMEOUT),
        protocol=_protocol(transport, tls is not None, notes),
        tls=Fact(True, "tls", tls.place) if tls is not None else _CLEAR,
        proxy_protocol=sent.fact(sent.text) if sent is not None and sent.text else _NO_PROXY_PROTOCOL,
    )


def _protocol(transport: Mapping | None, tls: bool, notes: list[str]) -> Fact[str] | None:
    listed = transport.sequence("versions") if transport is not None else None
    versions = [version.text for version in listed.scalars()] if listed is not None else []
    place = listed.place if listed is not None and versions else None
    words = f"versions: {', '.join(versions)}"
    if "h2c" in versions:
        return Fact("h2", words, place)
    if "3" in versions:
        notes.append("The transport speaks HTTP/3 to us, which keepserve does not.")
        return None
    if tls and (not versions or "2" in versions):
        notes.append("Over TLS, Caddy takes HTTP/2 when we offer it by ALPN, otherwise HTTP/1.1.")
        return None
    # Without TLS there is no ALPN, so that "2" alone changes nothing.
    return Fact("http/1.1", words, place) if versions else _HTTP1


def _with_health(pool: Pool, checks: Mapping | None, notes: list[str]) -> Pool:
    active = checks.mapping("active") if checks is not None else None
    uri = active.scalar("uri") or active.scalar("path") if active is not None else None
    if active is None or (uri is None and not active.has("port")):
        notes.append("There is no active health check: Caddy does not see that a server drains.")
        return pool
    interval, fails = active.scalar("interval"), active.scalar("fails")
    return replace(
        pool,
        health_path=uri.fact(uri.string().partition("?")[0]) if uri is not None else None,
        health_interval=_duration(interval) if interval is not None and _seconds(interval) else _INTERVAL,
        health_threshold=fails.fact(max(1, fails.integer())) if fails is not None else _FAILURES,
    )


def _retries_post(balancing: Mapping) -> Fact[bool]:
    """Retries repeat a GET only, unless ``retry_match`` lets other requests through."""
    times, period = balancing.scalar("retries"), balancing.scalar("try_duration")
    on = [node for node in (times, period) if node is not None and _chosen(node)]
    if not on:
        return _NO_RETRIES
    matchers = balancing.sequence("retry_match")
    for matcher in matchers.mappings():
        methods = [method.text.upper() for method in matcher.sequence("method").scalars()]
        if not methods or any(method not in _RESENDABLE for method in methods):
            return Fact(True, f"retry_match: {', '.join(methods) or 'any method'}", matcher.place)
    return on[0].fact(False)


def _chosen(node: Scalar) -> bool:
    return (node.integer() if node.name == "retries" else _seconds(node)) > 0
