"""Envoy in front of a server: HTTP/2 on both sides, and an x-request-id of its own for every request."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.bench.environment import Environment
from tests.bench.processes import running
from tests.support.programs import free_port

_V3 = "type.googleapis.com/envoy.extensions"


def configuration(listen: int, server: int) -> dict[str, Any]:
    """Return the least Envoy needs to pass everything on over cleartext HTTP/2."""
    router = {"@type": f"{_V3}.filters.http.router.v3.Router"}
    manager = {
        "@type": f"{_V3}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bench",
        "codec_type": "AUTO",
        "use_remote_address": True,
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "server", "timeout": "0s"}}],
                }
            ]
        },
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": router}],
    }
    options = {
        "@type": f"{_V3}.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {"max_concurrent_streams": 100}},
    }
    cluster = {
        "name": "server",
        "type": "STATIC",
        "connect_timeout": "5s",
        "circuit_breakers": {"thresholds": [{"max_requests": 4096, "max_pending_requests": 4096}]},
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options},
        "load_assignment": {
            "cluster_name": "server",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(server)}}]}],
        },
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    listener = {"name": "bench", "address": _address(listen), "filter_chains": [{"filters": filters}]}
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


@contextlib.contextmanager
def in_front(environment: Environment, server: int, cpu: str, scratch: Path) -> Iterator[int]:
    """Run Envoy in front of a server's port, on the load's CPU; its own port. It may not listen yet."""
    port = free_port()
    file = scratch / f"envoy-{port}.json"
    file.write_text(json.dumps(configuration(port, server)))
    command = [environment.script("envoy"), "-c", str(file), "--concurrency", "1", "--log-level", "warning"]
    with running([*command, "--disable-hot-restart"], cpu, scratch / f"envoy-{port}.log"):
        yield port
