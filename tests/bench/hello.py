"""Requests per second of keepserve beside uvicorn, and beside the limit, over HTTP/1.1.

    python -m tests.bench.hello [--rounds 5] [--seconds 3] [--fields balancer]

Needs ``wrk``, and uvicorn with httptools in the same environment (``pip install uvicorn[standard]``). How it is
measured, and what the figures mean: ``tests/bench/interleaved.py``.
"""

from __future__ import annotations

import argparse
import http.client
import os
import sys
import tempfile
from pathlib import Path

from tests.bench.interleaved import APP, BODY, arguments, free_port, measure, need, report, running, wrk_rate

# What a balancer adds and a browser sends: about 700 bytes of head.
BALANCER_FIELDS = {
    "X-Forwarded-For": "203.0.113.7",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Port": "443",
    "X-Amzn-Trace-Id": "Root=1-67891233-abcdef012345678912345678",
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0",
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    "Accept-Encoding": "gzip, deflate, br",
    "Accept-Language": "en-US,en;q=0.9",
    "Cookie": "session=0123456789abcdef0123456789abcdef; theme=dark",
    "Cache-Control": "no-cache",
    "X-Request-Id": "5f0c6a4e2b8d4c1e9a7f3b2d1c0e8f6a",
}


def commands(ports: dict[str, int]) -> dict[str, list[str]]:
    """Return how each competitor is started; keepserve with everything it does by default but the access log."""
    python = sys.executable
    quiet = ["--no-access-log", "--log-level", "warning"]
    keepserve = [python, "-m", "keepserve", APP, "--port", str(ports["keepserve"]), *quiet]
    uvicorn = [python, "-m", "uvicorn", APP, "--port", str(ports["uvicorn"]), *quiet]
    return {
        "keepserve": keepserve,
        "uvicorn": [*uvicorn, "--http", "httptools", "--loop", "uvloop"],
        "bare limit": [python, "-m", "tests.bench.bare", str(ports["bare limit"])],
    }


def answers(port: int) -> bool:
    """Whether the server answers; a wrong answer ends the benchmark."""
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
        connection.request("GET", "/")
        answer = connection.getresponse()
    except OSError:
        return False
    if (answer.status, answer.read()) != (200, BODY):
        raise SystemExit(f"The server on port {port} gave a wrong answer: {answer.status}.")
    return True


def requests_per_second(port: int, options: argparse.Namespace, script: str | None) -> float:
    """Load one server for a while. Any error or answer other than 200 ends the benchmark."""
    command = ["wrk", "-t1", f"-c{options.connections}", f"-d{options.seconds}s"]
    if script is not None:
        command += ["-s", script]
    command.append(f"http://127.0.0.1:{port}/")
    return wrk_rate(command, options.load_cpu)


def main() -> None:
    """Run the rounds and print a table."""
    parser = arguments(__doc__)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--fields", choices=("none", "balancer"), default="none")
    options = parser.parse_args()
    need("wrk", "wrk")

    ports = {name: free_port() for name in ("keepserve", "uvicorn", "bare limit")}
    with tempfile.TemporaryDirectory() as scratch:
        script = None
        if options.fields == "balancer":
            script = os.path.join(scratch, "fields.lua")
            lines = (f'wrk.headers["{name}"] = "{value}"\n' for name, value in BALANCER_FIELDS.items())
            Path(script).write_text("".join(lines))
        with running(commands(ports), options.server_cpu, lambda name: answers(ports[name])):
            rates = measure(
                list(ports), options.rounds, lambda name: requests_per_second(ports[name], options, script)
            )
    report(f"{options.connections} connections, fields: {options.fields}", rates)


if __name__ == "__main__":
    main()
