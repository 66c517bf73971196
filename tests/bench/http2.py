"""Requests per second of keepserve beside granian over HTTP/2 without TLS.

    python -m tests.bench.http2 [--rounds 5] [--seconds 3] [--shape 1x100] [--engine h2]

Needs ``h2load``, and granian in the same environment (``pip install granian uvloop``). A shape is connections
times streams. How it is measured, and what the figures mean: ``tests/bench/interleaved.py``.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys

from tests.bench.interleaved import APP, BODY, arguments, free_port, measure, need, pinned, report, running

SHAPES = ("1x100", "8x32")

# What differs from request to request behind a balancer; h2load sends it as it stands, so only its length is real.
BALANCER_FIELDS = {
    "x-forwarded-for": "203.0.113.7",
    "x-forwarded-proto": "https",
    "x-request-id": "5f0c6a4e-2b8d-4c1e-9a7f-3b2d1c0e8f6a",
    "user-agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0",
    "accept": "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    "accept-encoding": "gzip, deflate, br",
    "cookie": "session=0123456789abcdef0123456789abcdef; theme=dark",
}


def commands(ports: dict[str, int], engine: str) -> dict[str, list[str]]:
    """Return how each competitor is started; keepserve with everything it does by default but the access log."""
    keepserve = [sys.executable, "-m", "keepserve", APP, "--port", str(ports["keepserve"]), "--http2", engine]
    granian = ["granian", APP, "--interface", "asgi", "--port", str(ports["granian"]), "--http", "2", "--no-ws"]
    return {
        "keepserve": [*keepserve, "--no-access-log", "--log-level", "warning"],
        "granian": [*granian, "--loop", "uvloop", "--log-level", "warning"],
    }


def answers(port: int) -> bool:
    """Whether the server answers; a wrong answer ends the benchmark."""
    command = ["h2load", "-n1", "-c1", "-m1", f"http://127.0.0.1:{port}/"]
    output = subprocess.run(command, check=False, capture_output=True, text=True).stdout
    if "1 succeeded" not in output:
        return False
    sent = re.search(r"\((\d+)\) data", output)
    if sent is None or int(sent[1]) != len(BODY):
        raise SystemExit(f"The server on port {port} gave a wrong answer:\n{output}")
    return True


def requests_per_second(port: int, shape: str, options: argparse.Namespace) -> float:
    """Load one server for a while. Any error or answer other than 2xx ends the benchmark."""
    connections, streams = shape.split("x")
    command = ["h2load", f"-D{options.seconds}", "--warm-up-time=1", f"-c{connections}", f"-m{streams}"]
    if options.fields == "balancer":
        command += [part for name, value in BALANCER_FIELDS.items() for part in ("-H", f"{name}: {value}")]
    command.append(f"http://127.0.0.1:{port}/")
    output = subprocess.run(pinned(command, options.load_cpu), check=True, capture_output=True, text=True).stdout
    found = re.search(r"finished in .*?, ([\d.]+) req/s", output)
    if found is None or " 0 failed" not in output or "0 3xx, 0 4xx, 0 5xx" not in output:
        raise SystemExit(f"Errors under load, so nothing was measured:\n{output}")
    return float(found[1])


def main() -> None:
    """Run the rounds and print a table for each shape."""
    parser = arguments(__doc__)
    parser.add_argument("--shape", choices=SHAPES, action="append", help="default: all of them")
    parser.add_argument("--fields", choices=("none", "balancer"), default="none")
    parser.add_argument("--engine", choices=("native", "h2"), default="native")
    options = parser.parse_args()
    need("h2load", "nghttp2-client")

    ports = {name: free_port() for name in ("keepserve", "granian")}
    for shape in options.shape or SHAPES:
        with running(commands(ports, options.engine), options.server_cpu, lambda name: answers(ports[name])):
            rates = measure(
                list(ports),
                options.rounds,
                lambda name: requests_per_second(ports[name], shape, options),  # noqa: B023
            )
        report(f"{shape} (connections x streams), fields: {options.fields}", rates)


if __name__ == "__main__":
    main()
