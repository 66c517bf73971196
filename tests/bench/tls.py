"""Requests per second over TLS: keepserve beside uvicorn and granian, HTTP/1.1 with keep-alive.

    python -m tests.bench.tls [--rounds 5] [--seconds 3] [--connections 64]

Needs ``wrk``, and uvicorn with httptools and granian in the same environment. Each server has one certificate (ECDSA,
P-256) and offers what it offers by default. How it is measured, and what the figures mean:
``tests/bench/interleaved.py``.
"""

from __future__ import annotations

import argparse
import http.client
import re
import ssl
import subprocess
import sys
import tempfile
from pathlib import Path

import trustme

from tests.bench.interleaved import APP, BODY, arguments, free_port, measure, need, pinned, report, running


def certificate(directory: Path) -> tuple[str, str]:
    """Make a certificate for localhost; the paths of chain and key."""
    made = trustme.CA().issue_cert("localhost", "127.0.0.1")
    chain, key = directory / "chain.pem", directory / "key.pem"
    for pem in made.cert_chain_pems:
        pem.write_to_path(str(chain), append=True)
    made.private_key_pem.write_to_path(str(key))
    key.chmod(0o600)
    return str(chain), str(key)


def commands(ports: dict[str, int], chain: str, key: str) -> dict[str, list[str]]:
    """Return how each competitor is started: one worker, no access log."""
    python = sys.executable
    quiet = ["--no-access-log", "--log-level", "warning"]
    uvicorn_tls = ["--ssl-certfile", chain, "--ssl-keyfile", key]
    granian_tls = ["--ssl-certificate", chain, "--ssl-keyfile", key]
    base = ["--host", "127.0.0.1", "--port"]
    started = {
        "keepserve": [python, "-m", "keepserve", APP, *base, str(ports["keepserve"]), *quiet, *uvicorn_tls],
        "uvicorn": [python, "-m", "uvicorn", APP, *base, str(ports["uvicorn"]), *quiet, *uvicorn_tls],
        "granian": [python, "-m", "granian", APP, *base, str(ports["granian"]), "--no-access-log"],
    }
    started["uvicorn"] += ["--http", "httptools", "--loop", "uvloop"]
    started["granian"] += ["--interface", "asgi", "--loop", "uvloop", "--log-level", "warning", *granian_tls]
    return started


def answers(port: int, context: ssl.SSLContext) -> bool:
    """Whether the server answers; a wrong answer ends the benchmark."""
    try:
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=2, context=context)
        connection.request("GET", "/")
        answer = connection.getresponse()
    except OSError:
        return False
    if (answer.status, answer.read()) != (200, BODY):
        raise SystemExit(f"The server on port {port} gave a wrong answer: {answer.status}.")
    return True


def requests_per_second(port: int, options: argparse.Namespace) -> float:
    """Load one server for a while. Any error or answer other than 200 ends the benchmark."""
    command = ["wrk", "-t1", f"-c{options.connections}", f"-d{options.seconds}s", f"https://127.0.0.1:{port}/"]
    output = subprocess.run(pinned(command, options.load_cpu), check=True, capture_output=True, text=True).stdout
    if "Non-2xx" in output or "Socket errors" in output:
        raise SystemExit(f"Errors under load, so nothing was measured:\n{output}")
    found = re.search(r"Requests/sec:\s+([0-9.]+)", output)
    assert found is not None
    return float(found[1])


def main() -> None:
    """Run the rounds and print a table."""
    parser = arguments(__doc__)
    parser.add_argument("--connections", type=int, default=64)
    options = parser.parse_args()
    need("wrk", "wrk")
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE

    ports = {name: free_port() for name in ("keepserve", "uvicorn", "granian")}
    with tempfile.TemporaryDirectory() as scratch:
        chain, key = certificate(Path(scratch))
        started = commands(ports, chain, key)
        with running(started, options.server_cpu, lambda name: answers(ports[name], context)):
            rates = measure(list(ports), options.rounds, lambda name: requests_per_second(ports[name], options))
    report(f"{ssl.OPENSSL_VERSION}, {options.connections} connections over TLS", rates)


if __name__ == "__main__":
    main()
