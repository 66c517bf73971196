"""HAProxy in front of two servers that it asks for their health, and two servers that are started again and again."""

from __future__ import annotations

import contextlib
import csv
import io
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

from tests.support.programs import free_port, listening
from tests.support.serving import ServerProcess, eventually
from tests.support.tools import find_tool

HOST = "127.0.0.1"

# "retries 0": no connect is tried a second time, let alone a request. So a client gets an error unless HAProxy
# knows in time that a server leaves: from its health check, asked every 100 ms, and believed at the second answer.
# A slow answer on a busy machine is no bad one: without "timeout check" it would have to come within those 100 ms.
# "http-reuse always": any client's request may go on any connection that was left idle.
_HAPROXY = """\
global
    maxconn 4000
    nbthread 2
    stats socket ipv4@127.0.0.1:{admin} level operator
defaults
    mode http
    retries 0
    timeout connect 5s
    timeout check 5s
    timeout client 30s
    timeout server 30s
frontend clients
    bind 127.0.0.1:{port}
    default_backend app
backend app
    balance roundrobin
    http-reuse always
    option httpchk
    http-check send meth GET uri {health} ver HTTP/1.1 hdr Host haproxy
    default-server check inter 100ms fall 2 rise 2
{servers}
"""

HEALTH = "/healthz"


class Haproxy:
    """A running HAProxy: the port for clients, and what it thinks of its servers."""

    def __init__(self, port: int, admin: int) -> None:
        self.port = port
        self._admin = admin

    def states(self) -> dict[str, str]:
        """UP or DOWN, with what is in between, by server."""
        return {row["svname"]: row["status"] for row in self._stat()}

    def sessions(self) -> dict[str, int]:
        """Requests given to each server so far."""
        return {row["svname"]: int(row["stot"]) for row in self._stat()}

    def wait_up(self) -> None:
        """Wait until both servers are in use."""
        eventually(lambda: set(self.states().values()) == {"UP"}, "HAProxy finds both servers healthy")

    def _stat(self) -> list[dict[str, str]]:
        with socket.create_connection((HOST, self._admin), timeout=5) as sock:
            sock.sendall(b"show stat\n")
            text = b"".join(iter(lambda: sock.recv(65536), b"")).decode()
        rows = csv.DictReader(io.StringIO(text.removeprefix("# ")))
        return [row for row in rows if row["pxname"] == "app" and row["svname"] != "BACKEND"]


@contextlib.contextmanager
def haproxy(directory: Path, *backends: int) -> Iterator[Haproxy]:
    """HAProxy in front of ``backends``. Complaints are failures, but for those that a server went or came."""
    binary = find_tool("haproxy", "haproxy")
    directory.mkdir()
    running = Haproxy(free_port(), admin := free_port())
    servers = "\n".join(f"    server s{backend} {HOST}:{backend}" for backend in backends)
    configuration = directory / "haproxy.cfg"
    configuration.write_text(_HAPROXY.format(port=running.port, admin=admin, health=HEALTH, servers=servers))

    def complaints(log: str) -> str:
        return "\n".join(line for line in log.splitlines() if ": Server app/s" not in line)

    command = [binary, "-db", "-f", str(configuration)]
    with listening(command, running.port, directory / "output", complaints=complaints):
        yield running


class Instance:
    """A keepserve on a port of its own that can be replaced by a new one."""

    def __init__(self, app: str, *options: str, directory: Path, workers: int) -> None:
        self.port = free_port()
        self._app = app
        self._options = ("--port", str(self.port), "--workers", str(workers), *options)
        self._workers = workers
        self._directory = directory
        self._number = 0
        self.process = self._start()
        self.process.wait_ready(workers)

    def _start(self) -> ServerProcess:
        self._number += 1
        return ServerProcess(self._app, *self._options, directory=self._directory / str(self._number))

    def restart(self) -> None:
        """SIGTERM, wait for the end, start again on the same port, wait until it is ready."""
        self.stop()
        self.process = self._start()
        self.process.wait_ready(self._workers)

    def stop(self) -> None:
        """SIGTERM, and the end of it."""
        self.process.send_signal(signal.SIGTERM)
        self.ended()

    def ended(self) -> None:
        """The end, which has to be a good one."""
        code = self.process.ended()
        assert code == 0, f"exit code {code}; the log:\n{self.process.stderr}"
        assert "ERROR" not in self.process.stderr, self.process.stderr


@contextlib.contextmanager
def instances(app: str, *options: str, directory: Path, workers: int = 2) -> Iterator[tuple[Instance, Instance]]:
    """Two of them, ready, and ended at the end."""
    with contextlib.ExitStack() as stack:
        pair = []
        for name in ("one", "two"):
            instance = Instance(app, *options, directory=directory / name, workers=workers)
            stack.callback(lambda instance=instance: instance.process.kill())
            pair.append(instance)
        yield pair[0], pair[1]
        for instance in pair:
            instance.process.send_signal(signal.SIGTERM)
        for instance in pair:
            instance.ended()
