"""A real NGINX, started from deploy/nginx/nginx.conf with nothing changed but places and ports."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from tests.support.programs import free_port, listening
from tests.support.serving import ROOT
from tests.support.tools import find_tool

CONFIGURATION = ROOT / "deploy" / "nginx" / "nginx.conf"


def adapted(directory: Path, port: int, *backends: int, idle: str | None = None) -> str:
    """The deployed configuration for this machine; each replaced text has to be there exactly once.

    Several ``backends`` are what its comment says: a line each. Open-source NGINX has passive health checks only: a
    server that refused a connection is left alone for ``fail_timeout``; its workers agree on that by the zone.
    """
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
        # For those who count bytes.
        "$upstream_response_time';": "$upstream_response_time "
        "sent=$upstream_bytes_sent got=$upstream_bytes_received';",
        "listen 80;": f"listen 127.0.0.1:{port};",
        "listen [::]:80;": "",
        "        server 127.0.0.1:8000;": _servers(backends),
    }
    if idle is not None:
        changes["        keepalive_timeout 60s;"] = f"        keepalive_timeout {idle};"
    for old, new in changes.items():
        assert text.count(old) == 1, f"{CONFIGURATION.name} has {old!r} {text.count(old)} times"
        text = text.replace(old, new)
    return text


def _servers(backends: tuple[int, ...]) -> str:
    if len(backends) == 1:
        return f"        server 127.0.0.1:{backends[0]};"
    lines = [f"        server 127.0.0.1:{backend} max_fails=1 fail_timeout=1s;" for backend in backends]
    return "\n".join(["        zone keepserve 64k;", *lines])


def arguments(binary: str, directory: Path) -> list[str]:
    """NGINX's command line, with everything it reads and writes below ``directory``."""
    return [binary, "-p", str(directory), "-c", str(directory / "nginx.conf"), "-e", str(directory / "error.log")]


@contextlib.contextmanager
def nginx(
    directory: Path,
    *backends: int,
    idle: str | None = None,
    refusals: bool = False,
    expected: tuple[str, ...] = (),
) -> Iterator[int]:
    """NGINX in front of ``backends``; gives its port. ``idle`` is the upstream keep-alive time, NGINX's notation.

    Whatever it had to complain about is a failure, but with ``refusals`` not that a backend refused a connection, and
    nothing that has one of the ``expected`` texts.
    """
    binary = find_tool("nginx", "nginx-light")
    directory.mkdir()
    port = free_port()
    (directory / "nginx.conf").write_text(adapted(directory, port, *backends, idle=idle))
    # One file for both: what it says before it has read its configuration, and its error log.
    command = [*arguments(binary, directory), "-g", "daemon off;"]
    # That a large body went through a file is no complaint.
    harmless = ["is buffered to a temporary file", *expected]
    if refusals:
        harmless += [
            "(111: Connection refused) while connecting",
            "upstream server temporarily disabled while connecting",
        ]

    def complaints(log: str) -> str:
        return "\n".join(line for line in log.splitlines() if not any(text in line for text in harmless))

    with listening(command, port, directory / "error.log", complaints=complaints):
        yield port


_PASSED_ON = re.compile(r" upstream=(\S+(?:, \S+)+) connect=(\S+(?:, \S+)+) ")


def passed_on(directory: Path) -> tuple[int, list[str]]:
    """How many requests NGINX gave to another backend; and those lines of its log where that was not safe.

    It is safe when no connection to the backend before came about: nothing of the request was sent then, and
    ``connect`` has no time.
    """
    lines = [line for line in (directory / "access.log").read_text().splitlines() if _PASSED_ON.search(line)]
    unsafe = []
    for line in lines:
        found = _PASSED_ON.search(line)
        assert found is not None
        if any(time != "-" for time in found[2].split(", ")[:-1]):
            unsafe.append(line)
    return len(lines), unsafe
