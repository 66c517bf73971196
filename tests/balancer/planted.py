"""Mistakes planted in good configurations: what is written instead of what, and what must be found.

One table for all kinds, so that adding a balancer means adding lines. ``test_check_balancer`` runs it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]

NGINX = ROOT / "deploy" / "nginx" / "nginx.conf"
HAPROXY = Path(__file__).parent / "readers" / "haproxy.cfg"

OPTIONS: dict[Path, tuple[str, ...]] = {
    NGINX: ("--lb", "nginx"),
    HAPROXY: ("--lb", "haproxy", "--lb-idle-timeout", "60", "--health-path", "/health", "--drain-delay", "10"),
}
"""The options keepserve runs with behind each file; with them the file as it is has nothing to complain about."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """``old`` becomes ``new`` in a copy of ``file``, or keepserve is started with ``options`` as well.

    ``rule`` and ``level`` of the finding, and ``line``, a piece of the line in the changed file it must name. An
    empty ``rule``: the file is refused, with ``line`` in the message.
    """

    name: str
    file: Path
    rule: str
    level: str
    line: str
    old: str = ""
    new: str = ""
    options: tuple[str, ...] = ()


_CLEARED = "            proxy_set_header Connection $connection_upgrade;\n"
_VERSION = "proxy_http_version 1.1;"
_PASS = "proxy_pass http://keepserve;"
_DEFAULT_SERVER = "default-server check inter 2s"

MISTAKES = (
    # -- NGINX
    Mistake("idle longer than ours", NGINX, "keep-alive-order", "problem", "keepalive_timeout 5m;", "60s;", "5m;"),
    Mistake("idle as long as ours", NGINX, "keep-alive-order", "problem", "keepalive_timeout 80s;", "60s;", "80s;"),
    Mistake("thin margin", NGINX, "keep-alive-order", "warning", "keepalive_timeout 78s;", "60s;", "78s;"),
    Mistake(
        "our keep-alive too short",
        NGINX,
        "keep-alive-order",
        "problem",
        "        keepalive_timeout 60s;",
        options=("--lb-idle-timeout", "30", "--keep-alive-timeout", "50"),
    ),
    Mistake("no pool", NGINX, "connections-kept", "warning", "upstream keepserve {", "keepalive 64;", ""),
    Mistake("empty pool", NGINX, "connections-kept", "warning", "keepalive 0;", "keepalive 64;", "keepalive 0;"),
    Mistake(
        "HTTP/1.0",
        NGINX,
        "connections-kept",
        "warning",
        "proxy_http_version 1.0;",
        _VERSION,
        "proxy_http_version 1.0;",
    ),
    Mistake(
        "HTTP/1.0 spoken",
        NGINX,
        "protocol",
        "warning",
        "proxy_http_version 1.0;",
        _VERSION,
        "proxy_http_version 1.0;",
    ),
    Mistake("version forgotten", NGINX, "connections-kept", "warning", _PASS, _VERSION, ""),
    Mistake("Connection not cleared", NGINX, "connections-kept", "warning", _PASS, _CLEARED, ""),
    Mistake(
        "Connection: close",
        NGINX,
        "connections-kept",
        "warning",
        "proxy_set_header Connection close;",
        _CLEARED,
        "            proxy_set_header Connection close;\n",
    ),
    Mistake(
        "headers replaced on the inside",
        NGINX,
        "connections-kept",
        "warning",
        "proxy_set_header X-Api yes;",
        "        location / {\n",
        f"        {_VERSION}\n{_CLEARED}        location /api {{\n            {_PASS}\n"
        "            proxy_set_header X-Api yes;\n        }\n        location / {\n",
    ),
    Mistake(
        "past the pool",
        NGINX,
        "connections-kept",
        "warning",
        "http://127.0.0.1:8000;",
        "http://keepserve;",
        "http://127.0.0.1:8000;",
    ),
    Mistake(
        "TLS on one side", NGINX, "tls", "problem", "https://keepserve;", "http://keepserve;", "https://keepserve;"
    ),
    Mistake(
        "HTTP/2 to a server without",
        NGINX,
        "protocol",
        "problem",
        "proxy_http_version 2;",
        _VERSION,
        "proxy_http_version 2;",
        ("--http2", "off"),
    ),
    Mistake(
        "HTTP/2 in clear refused",
        NGINX,
        "protocol",
        "problem",
        "proxy_http_version 2;",
        _VERSION,
        "proxy_http_version 2;",
        ("--no-h2c",),
    ),
    Mistake(
        "POST repeated",
        NGINX,
        "retries",
        "warning",
        "error timeout non_idempotent;",
        "proxy_next_upstream error timeout;",
        "proxy_next_upstream error timeout non_idempotent;",
    ),
    Mistake(
        "another balancer named", NGINX, "balancer-name", "warning", "upstream keepserve {", options=("--lb", "envoy")
    ),
    Mistake(
        "letter missing",
        NGINX,
        "",
        "",
        "keepalive_timout 60s;",
        "        keepalive_timeout 60s;",
        "        keepalive_timout 60s;",
    ),
    Mistake("semicolon missing", NGINX, "", "", "keepalive 64", "keepalive 64;", "keepalive 64"),
    Mistake(
        "no time",
        NGINX,
        "",
        "",
        "keepalive_timeout 60 seconds;",
        "        keepalive_timeout 60s;",
        "        keepalive_timeout 60 seconds;",
    ),
    # -- HAProxy
    Mistake(
        "idle longer than ours",
        HAPROXY,
        "keep-alive-order",
        "problem",
        "pool-purge-delay 1m",
        "pool-purge-delay 5s",
        "pool-purge-delay 1m",
    ),
    Mistake(
        "shared with nobody",
        HAPROXY,
        "connections-kept",
        "warning",
        "http-reuse never",
        "http-reuse safe",
        "http-reuse never",
    ),
    Mistake(
        "closed after each response",
        HAPROXY,
        "connections-kept",
        "warning",
        "option http-server-close",
        "    option redispatch",
        "    option http-server-close",
    ),
    Mistake(
        "closed by the frontend",
        HAPROXY,
        "connections-kept",
        "warning",
        "option httpclose",
        "    option forwardfor",
        "    option httpclose",
    ),
    Mistake(
        "PROXY header",
        HAPROXY,
        "proxy-protocol",
        "problem",
        "send-proxy-v2",
        _DEFAULT_SERVER,
        f"{_DEFAULT_SERVER} send-proxy-v2",
    ),
    Mistake("PROXY header to one", HAPROXY, "proxy-protocol", "problem", "server app2", ":8002", ":8002 send-proxy"),
    Mistake(
        "TLS on one side",
        HAPROXY,
        "tls",
        "problem",
        "ssl verify none",
        _DEFAULT_SERVER,
        f"{_DEFAULT_SERVER} ssl verify none",
    ),
    Mistake(
        "HTTP/2 to a server without",
        HAPROXY,
        "protocol",
        "problem",
        "proto h2",
        _DEFAULT_SERVER,
        f"{_DEFAULT_SERVER} proto h2",
        ("--http2", "off"),
    ),
    Mistake(
        "POST repeated",
        HAPROXY,
        "retries",
        "warning",
        "retry-on all-retryable-errors",
        "retry-on conn-failure",
        "retry-on all-retryable-errors",
    ),
    Mistake("checks too rare", HAPROXY, "health", "warning", "inter 5s", "inter 2s", "inter 5s"),
    Mistake("too many failures", HAPROXY, "health", "warning", "fall 9", "fall 3", "fall 9"),
    Mistake("another path checked", HAPROXY, "health", "warning", "GET /ping", "GET /health", "GET /ping"),
    Mistake(
        "checked by connecting", HAPROXY, "health", "warning", _DEFAULT_SERVER, "    option httpchk GET /health\n", ""
    ),
    Mistake("drain delay too short", HAPROXY, "health", "warning", _DEFAULT_SERVER, options=("--drain-delay", "3")),
    Mistake("unit misspelt", HAPROXY, "", "", "timeout server 60sec", "timeout server 60s", "timeout server 60sec"),
    Mistake("letter missing", HAPROXY, "", "", "bakend keepserve", "backend keepserve from", "bakend keepserve from"),
    Mistake(
        "defaults misnamed",
        HAPROXY,
        "",
        "",
        "backend keepserve from comon",
        "keepserve from common",
        "keepserve from comon",
    ),
)
