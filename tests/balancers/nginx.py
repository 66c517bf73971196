"""A real NGINX, started from deploy/nginx/nginx.conf with nothing changed but places and ports."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from tests.support.programs import free_port, listening
from tests.support.serving import ROOT
from tests.support.tools import find_tool

CONFIGURATION = ROOT / "deploy" / "nginx" / "nginx.conf"


def adapted(directory: Path, port: int, backend: int, *, idle: str | None = None) -> str:
    """The deployed configuration for this machine; each replaced text has to be there exactly once."""
    text = CONFIGURATION.read_text()
    user = "user root;" if os.geteuid() == 0 else ""
    temporary = "".join(
        f"{kind}_temp_path {directory}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    changes = {
        "user www-data;": user,
        "worker_processes auto;": "worker_processes 2;",
        "pid /run/nginx.pid;": f"pid {directory}/nginx.pid;",
        "error_log /var/log/nginx/error.log warn;": f"error_log {directory}/error.log warn;",
        "access_log /var/log/nginx/access.log ": f"access_log {directory}/access.log ",
        "\nhttp {\n": f"\nhttp {{\n{temporary}\n",
        "listen 80;": f"listen 127.0.0.1:{port};",
        "listen [::]:80;": "",
        "        server 127.0.0.1:8000;": f"        server 127.0.0.1:{backend};",
    }
    if idle is not None:
        changes["        keepalive_timeout 60s;"] = f"        keepalive_timeout {idle};"
    for old, new in changes.items():
        assert text.count(old) == 1, f"{CONFIGURATION.name} has {old!r} {text.count(old)} times"
        text = text.replace(old, new)
    return text


def arguments(binary: str, directory: Path) -> list[str]:
    """NGINX's command line, with everything it reads and writes below ``directory``."""
    return [binary, "-p", str(directory), "-c", str(directory / "nginx.conf"), "-e", str(directory / "error.log")]


@contextlib.contextmanager
def nginx(directory: Path, backend: int, *, idle: str | None = None) -> Iterator[int]:
    """NGINX in front of ``backend``; gives its port. ``idle`` is the upstream keep-alive time, NGINX's notation.

    Whatever it had to complain about is a failure.
    """
    binary = find_tool("nginx", "nginx-light")
    directory.mkdir()
    port = free_port()
    (directory / "nginx.conf").write_text(adapted(directory, port, backend, idle=idle))
    # One file for both: what it says before it has read its configuration, and its error log.
    command = [*arguments(binary, directory), "-g", "daemon off;"]
    with listening(command, port, directory / "error.log", complaints=_complaints):
        yield port


def _complaints(log: str) -> str:
    """What NGINX logged, but for its remark that a large body went through a file."""
    return "\n".join(line for line in log.splitlines() if "is buffered to a temporary file" not in line)
