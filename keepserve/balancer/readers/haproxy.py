"""Reads an HAProxy configuration: one pool for each backend with servers, and each way its servers are spoken to.

Directives as documented in HAProxy's configuration manual, https://docs.haproxy.org/3.2/configuration.html.
"""

from __future__ import annotations

import dataclasses
import math
import re

from keepserve.balancer.facts import Fact, Pool, Reading, UnreadableError
from keepserve.balancer.readers.haproxy_sections import Section, sections_of
from keepserve.balancer.readers.haproxy_servers import Server, servers_of
from keepserve.balancer.readers.haproxy_words import Line, lines_of, number, seconds

KIND = "haproxy"
TITLE = "HAProxy"

MANUAL = "https://docs.haproxy.org/3.2/configuration.html"

HALVINGS = 12
"""Purges after which we take an idle connection for gone: each closes half, so of 4000 one is left.

Seen with HAProxy 2.6 and its 5 s: of 500 idle connections the last was closed after 55 s.
"""

# A name begins with a letter here, so that NGINX's "listen 80" without its semicolon is not taken for a section.
_NAME = r"[ \t]+[A-Za-z_][\w.:-]*"
_SECTION = re.compile(
    rf"^[ \t]*(?:defaults|(?:frontend|backend|listen){_NAME})(?:{_NAME}){{0,2}}[ \t]*(?:#.*)?$", re.M
)
_REPEATING = frozenset(("empty-response", "junk-response", "response-timeout", "all-retryable-errors"))
_MODES = ("http-keep-alive", "http-server-close", "httpclose")


def looks_like(path: str, text: str) -> bool:
    """A section header alone on its line. ``path`` does not matter."""
    del path
    return _SECTION.search(text) is not None


def read(path: str, text: str) -> Reading:
    """Read a configuration file. Raises UnreadableError."""
    sections, remarks = sections_of(path, lines_of(path, text))
    pools: list[Pool] = []
    for section in sections:
        if section.kind in ("backend", "listen"):
            pools += _pools(section, sections)
        if section.kind in ("frontend", "listen") and _mode(section).value == "http":
            remarks += _on_reload(section)
    if not any(section.kind in ("backend", "listen") for section in sections):
        raise UnreadableError(f"{path}: there is no backend or listen section, so this is a part of a configuration.")
    return Reading(path, KIND, tuple(pools), tuple(remarks))


def _on_reload(section: Section) -> list[str]:
    if section.option("idle-close-on-response") is not None:
        return []
    return [
        f"{section.place}: without option idle-close-on-response, a reload of HAProxy closes the clients' idle "
        "connections at once. With another balancer in front of it, that costs 502 answers."
    ]


def _mode(section: Section) -> Fact[str]:
    line = section.last("mode")
    if line is None:
        return Fact("tcp", "mode tcp", None, MANUAL + "#4.2-mode")
    return Fact(_argument(line, 1), str(line), line.place)


def _argument(line: Line, index: int) -> str:
    if len(line.words) <= index:
        raise UnreadableError(f'{line.place}: "{line}" has no value.')
    return line.words[index]


def _pools(section: Section, sections: list[Section]) -> list[Pool]:
    """The pools of one backend: servers that are spoken to alike are one."""
    mode = _mode(section)
    pools: list[tuple[Server, Pool]] = []
    for server in servers_of(section):
        pool = _http(section, server, sections) if mode.value == "http" else _tcp(section, server, mode)
        if not any(_behaviour(pool) == _behaviour(other) for _, other in pools):
            pools.append((server, pool))
    if len(pools) == 1:
        return [pools[0][1]]
    return [dataclasses.replace(pool, name=f"{section.name}/{server.name}") for server, pool in pools]


def _behaviour(pool: Pool) -> tuple[object, ...]:
    values = (getattr(pool, field.name) for field in dataclasses.fields(pool))
    return tuple(value.value if isinstance(value, Fact) else value for value in values)


def _tcp(section: Section, server: Server, mode: Fact[str]) -> Pool:
    path, interval, threshold = _health(section, server)
    return Pool(
        kind=KIND,
        name=section.name,
        place=section.place,
        tls=_tls(server),
        proxy_protocol=_proxy_protocol(server),
        health_path=path,
        health_interval=interval,
        health_threshold=threshold,
        notes=(f"{mode}: bytes are passed on, so connections are the clients', not HAProxy's.",),
    )


def _http(section: Section, server: Server, sections: list[Section]) -> Pool:
    path, interval, threshold = _health(section, server)
    purge = server.get("pool-purge-delay")
    purged = seconds(purge.value, purge.place) if purge is not None else 5.0
    reuses = server.get("max-reuse")
    limited = number(reuses.value, reuses.place) if reuses is not None else -1
    return Pool(
        kind=KIND,
        name=section.name,
        place=section.place,
        keeps=_keeps(section, server, sections, purged, limited),
        idle_timeout=Fact(
            HALVINGS * purged,
            (purge.words if purge is not None else "pool-purge-delay 5s") + f", {HALVINGS} times",
            purge.place if purge is not None else None,
            MANUAL + "#5.2-pool-purge-delay",
        ),
        max_requests=Fact(limited + 1, reuses.words, reuses.place) if reuses is not None and limited >= 0 else None,
        protocol=_protocol(server),
        tls=_tls(server),
        proxy_protocol=_proxy_protocol(server),
        response_timeout=_response_timeout(section),
        retries_post=_retries(section),
        health_path=path,
        health_interval=interval,
        health_threshold=threshold,
        notes=(
            "HAProxy has no idle timeout for servers: every pool-purge-delay it closes half of the idle connections "
            f"it can spare. {HALVINGS} times that is taken for the longest life of one.",
        ),
    )


def _keeps(section: Section, server: Server, sections: list[Section], purged: float, limited: int) -> Fact[bool]:
    for proxy in (section, *_in_front_of(section, sections)):
        closing = _closing(proxy)
        if closing is not None:
            cure = f"option http-keep-alive (in {proxy.kind} {proxy.name})"
            return Fact(False, str(closing), closing.place, remedy=cure)
    reuse = section.last("http-reuse")
    if reuse is not None and _argument(reuse, 1) == "never":
        return Fact(False, str(reuse), reuse.place, remedy="http-reuse safe")
    most = server.get("pool-max-conn")
    if most is not None and number(most.value, most.place) == 0:
        return Fact(False, most.words, most.place, remedy="default-server pool-max-conn -1")
    purge, reuses = server.get("pool-purge-delay"), server.get("max-reuse")
    if purge is not None and purged == 0:
        return Fact(False, purge.words, purge.place, remedy="default-server pool-purge-delay 5s")
    if reuses is not None and limited == 0:
        return Fact(False, reuses.words, reuses.place, remedy="default-server max-reuse -1")
    if reuse is not None:
        return Fact(True, str(reuse), reuse.place)
    return Fact(True, "http-reuse safe", None, MANUAL + "#4.2-http-reuse")


def _in_front_of(section: Section, sections: list[Section]) -> list[Section]:
    """The frontends that send to a backend; one that chooses by an expression may send to any."""
    found = []
    for proxy in sections:
        if proxy is section or proxy.kind not in ("frontend", "listen"):
            continue
        named = [line.words[1] for line in proxy.all("use_backend") if len(line.words) > 1]
        default = proxy.last("default_backend")
        if default is not None:
            named.append(_argument(default, 1))
        if section.name in named or any("%[" in name for name in named):
            found.append(proxy)
    return found


def _closing(section: Section) -> Line | None:
    """The line that has server connections closed after each response: the last of the three modes counts."""
    inherited = _closing(section.parent) if section.parent is not None else None
    state = inherited
    for line in section.lines:
        if line.words[:1] == ("option",) and line.words[1:2] and line.words[1] in _MODES:
            state = None if line.words[1] == "http-keep-alive" else line
        elif line.words[:2] == ("no", "option") and state is not None and line.words[2:3] == state.words[1:2]:
            state = None
    return state


def _protocol(server: Server) -> Fact[str]:
    forced, offered = server.get("proto"), server.get("alpn")
    if forced is not None:
        return Fact("h2" if forced.value == "h2" else "http/1.1", forced.words, forced.place)
    if offered is not None and server.get("ssl") is not None:
        names = offered.value.split(",")
        value = "h2" if names == ["h2"] else "h2 or http/1.1" if "h2" in names else "http/1.1"
        return Fact(value, offered.words, offered.place)
    return Fact("http/1.1", "server ... without proto h2", None, MANUAL + "#5.2-proto")


def _tls(server: Server) -> Fact[bool]:
    spoken = server.get("ssl")
    if spoken is None:
        return Fact(False, f"server {server.name} without ssl", server.place)
    return Fact(True, f"server {server.name} ... ssl", spoken.place)


def _proxy_protocol(server: Server) -> Fact[str]:
    for name, parameter in server.parameters.items():
        if name.startswith("send-proxy"):
            version = "v2" if name.startswith("send-proxy-v2") else "v1"
            cure = f"server {server.name} ... (without {name})"
            return Fact(version, f"server {server.name} ... {name}", parameter.place, remedy=cure)
    return Fact("off", f"server {server.name} without send-proxy", server.place)


def _response_timeout(section: Section) -> Fact[float]:
    line = section.last("timeout", "server")
    if line is None:
        return Fact(math.inf, "no timeout server", None, MANUAL + "#4.2-timeout%20server")
    return Fact(seconds(_argument(line, 2), line.place) or math.inf, str(line), line.place)


def _retries(section: Section) -> Fact[bool]:
    line, times = section.last("retry-on"), section.last("retries")
    if line is None:
        return Fact(False, "retry-on conn-failure", None, MANUAL + "#4.2-retry-on")
    if times is not None and number(_argument(times, 1), times.place) == 0:
        return Fact(False, str(times), times.place)
    repeating = [word for word in line.words[1:] if word in _REPEATING or word.isdigit()]
    for rule in section.all("http-request", "disable-l7-retry"):
        # Unconditionally, for POST, or for all but GET.
        condition = rule.words[2:]
        if not condition or "METH_POST" in condition or condition == ("unless", "METH_GET"):
            return Fact(False, str(rule), rule.place)
    return Fact(bool(repeating), str(line), line.place, remedy="http-request disable-l7-retry unless METH_GET")


def _health(section: Section, server: Server) -> tuple[Fact[str] | None, Fact[float] | None, Fact[int] | None]:
    """Path, interval and threshold of the checks; the path is None for checks that only connect."""
    if server.get("check") is None:
        return None, None, None
    inter, fall = server.get("inter"), server.get("fall")
    interval = Fact(2.0, "inter 2s", None, MANUAL + "#5.2-inter")
    if inter is not None:
        interval = Fact(seconds(inter.value, inter.place), inter.words, inter.place)
    threshold = Fact(3, "fall 3", None, MANUAL + "#5.2-fall")
    if fall is not None:
        threshold = Fact(number(fall.value, fall.place), fall.words, fall.place)
    return _health_path(section), interval, threshold


def _health_path(section: Section) -> Fact[str] | None:
    asked = section.option("httpchk")
    if asked is None:
        return None
    for send in section.all("http-check", "send"):
        if "uri" in send.words[:-1]:
            return Fact(send.words[send.words.index("uri") + 1], str(send), send.place)
    # "option httpchk <uri>", or "option httpchk <method> <uri> [<version>]"
    arguments = asked.words[2:]
    path = arguments[0] if len(arguments) == 1 else arguments[1] if arguments else "/"
    return Fact(path, str(asked), asked.place)
