"""A real NGINX, started from deploy/nginx/nginx.conf with nothing changed but places and ports."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.support.serving import ROOT, eventually
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
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
    (directory / "nginx.conf").write_text(adapted(directory, port, backend, idle=idle))
    output = directory / "output"
    with output.open("wb") as file:
        process = subprocess.Popen(
            [*arguments(binary, directory), "-g", "daemon off;"],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
        )

    def answers() -> bool:
        assert process.poll() is None, f"NGINX ended: {output.read_text()}{_errors(directory)}"
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            return False
        return True

    try:
        eventually(answers, "NGINX listens")
        yield port
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    finally:
        if process.poll() is None:
            # Its workers notice that the master is gone and end.
            process.terminate()
            process.wait(10)
    assert _errors(directory) == ""


def _errors(directory: Path) -> str:
    """What NGINX logged, but for its remark that a large body went through a file."""
    path = directory / "error.log"
    lines = path.read_text(errors="replace").splitlines() if path.exists() else []
    return "\n".join(line for line in lines if "is buffered to a temporary file" not in line)
