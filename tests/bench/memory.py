"""Memory of idle connections: what a worker grows by when a balancer keeps its pool open.

    python -m tests.bench.memory [--connections 4000] [--tls]

Each connection has carried one request. With ``--tls`` they are encrypted, and uvicorn is measured beside us if it is
installed. The figure is the growth of the worker's resident memory, divided.
"""

from __future__ import annotations

import argparse
import importlib.util
import platform
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.bench.interleaved import APP, ROOT, free_port
from tests.bench.tls import certificate

HTTP1 = b"GET / HTTP/1.1\r\nHost: balancer.test\r\nX-Request-Id: 5f0c6a4e2b8d4c1e9a7f3b2d1c0e8f6a\r\n\r\n"
# A GET whose fields go into the table, as balancers send them (RFC 7541 §6.2.1).
BLOCK = b"\x82\x86\x84\x41\x0dbalancer.test\x40\x0cx-request-id\x205f0c6a4e2b8d4c1e9a7f3b2d1c0e8f6a"
# The preface, SETTINGS, the acknowledgement of the server's, and HEADERS on stream 1.
HTTP2 = (
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    + bytes.fromhex("000000040000000000 000000040100000000")
    + len(BLOCK).to_bytes(3, "big")
    + bytes.fromhex("010500000001")
    + BLOCK
)


def resident(pid: int) -> int:
    """Resident memory in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise SystemExit(f"Process {pid} is gone.")


def worker_of(supervisor: int) -> int:
    """The worker's process."""
    children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
    return int(children[0])


def open_idle(port: int, request: bytes, count: int, context: ssl.SSLContext | None = None) -> list[socket.socket]:
    """Open connections, let each carry one request, and leave them."""
    sockets = []
    for _ in range(count):
        sock = socket.create_connection(("127.0.0.1", port), timeout=5)
        if context is not None:
            sock = context.wrap_socket(sock)
        sock.sendall(request)
        received = b""
        while b"Hello, world!" not in received:
            piece = sock.recv(65536)
            if not piece:
                raise SystemExit(f"The server closed instead of answering: {received!r}")
            received += piece
        sockets.append(sock)
    return sockets


def client_context(protocol: str) -> ssl.SSLContext:
    """A client that offers one protocol, and believes everybody."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols([protocol])
    return context


def measure(
    request: bytes, count: int, server_name: str = "keepserve", options: Sequence[str] = (), protocol: str = ""
) -> float:
    """KiB for each idle connection; with a ``protocol`` to offer by ALPN, over TLS."""
    port = free_port()
    command = [
        sys.executable,
        "-m",
        server_name,
        APP,
        "--port",
        str(port),
        "--no-access-log",
        "--log-level",
        "warning",
        *options,
    ]
    context = client_context(protocol) if protocol else None
    server = subprocess.Popen(command, cwd=ROOT)
    try:
        time.sleep(1.5)
        worker = worker_of(server.pid) if server_name == "keepserve" else server.pid
        warm = open_idle(port, request, 200, context)
        for sock in warm:
            sock.close()
        time.sleep(0.5)
        before = resident(worker)
        sockets = open_idle(port, request, count, context)
        time.sleep(0.5)
        grown = resident(worker) - before
        for sock in sockets:
            sock.close()
        return grown / count / 1024
    finally:
        server.terminate()
        server.wait(timeout=15)


def main() -> None:
    """Measure and print both protocols."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", type=int, default=4000)
    parser.add_argument("--tls", action="store_true")
    options = parser.parse_args()
    print(f"CPython {platform.python_version()}, {options.connections} idle connections")
    if not options.tls:
        for name, request in (("HTTP/1.1", HTTP1), ("HTTP/2", HTTP2)):
            print(f"{name:22}{measure(request, options.connections):6.1f} KiB for each")
        return
    with tempfile.TemporaryDirectory() as scratch:
        chain, key = certificate(Path(scratch))
        files = ("--ssl-certfile", chain, "--ssl-keyfile", key)
        rows = [("keepserve", "HTTP/1.1", HTTP1, "http/1.1"), ("keepserve", "HTTP/2", HTTP2, "h2")]
        if importlib.util.find_spec("uvicorn") is not None:
            rows.append(("uvicorn", "HTTP/1.1", HTTP1, "http/1.1"))
        for server_name, name, request, protocol in rows:
            more = (*files, "--timeout-keep-alive", "600") if server_name == "uvicorn" else files
            grown = measure(request, options.connections, server_name, more, protocol)
            print(f"{server_name + ', ' + name:22}{grown:6.1f} KiB for each, over TLS")


if __name__ == "__main__":
    main()
