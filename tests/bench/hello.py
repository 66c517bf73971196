"""Requests per second of keepserve beside uvicorn, and beside the limit, in one interleaved run.

    python -m tests.bench.hello [--rounds 5] [--seconds 3] [--fields balancer]

Needs ``wrk``, and uvicorn with httptools in the same environment (``pip install uvicorn[standard]``).
The servers run on one core and the load on another, one server under load at a time, A B C A B C …,
so that a machine whose speed drifts is as unfair to one as to the other. Only the ratios mean
anything, and they are printed with their spread.
"""

from __future__ import annotations

import argparse
import http.client
import os
import platform
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
APP = "tests.bench.hello_app:app"

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


def free_port() -> int:
    """Return a port nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


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


def wait_until_answering(port: int) -> None:
    """Wait, at most 15 s, until the server gives the right answer."""
    deadline = time.monotonic() + 15
    while True:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
            connection.request("GET", "/")
            answer = connection.getresponse()
            if (answer.status, answer.read()) == (200, b"Hello, world!"):
                return
            raise SystemExit(f"The server on port {port} gave a wrong answer: {answer.status}.")
        except OSError:
            if time.monotonic() > deadline:
                raise SystemExit(f"No server answered on port {port} within 15 s.") from None
            time.sleep(0.1)


def requests_per_second(port: int, options: argparse.Namespace, script: str | None) -> float:
    """Load one server for a while. Any error or answer other than 200 ends the benchmark."""
    command = ["wrk", "-t1", f"-c{options.connections}", f"-d{options.seconds}s"]
    if script is not None:
        command += ["-s", script]
    command.append(f"http://127.0.0.1:{port}/")
    output = subprocess.run(pinned(command, options.load_cpu), check=True, capture_output=True, text=True).stdout
    if "Non-2xx" in output or "Socket errors" in output:
        raise SystemExit(f"Errors under load, so nothing was measured:\n{output}")
    found = re.search(r"Requests/sec:\s+([0-9.]+)", output)
    assert found is not None
    return float(found[1])


def pinned(command: list[str], cpu: int) -> list[str]:
    """Return a command that runs on one CPU, where taskset exists."""
    return ["taskset", "-c", str(cpu), *command] if shutil.which("taskset") else command


def main() -> None:
    """Run the rounds and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--fields", choices=("none", "balancer"), default="none")
    parser.add_argument("--server-cpu", type=int, default=0)
    parser.add_argument("--load-cpu", type=int, default=1)
    options = parser.parse_args()
    if shutil.which("wrk") is None:
        raise SystemExit("This benchmark needs wrk (Debian: apt-get install wrk).")

    ports = {name: free_port() for name in ("keepserve", "uvicorn", "bare limit")}
    rates: dict[str, list[float]] = {name: [] for name in ports}
    servers: list[subprocess.Popen[bytes]] = []
    with tempfile.TemporaryDirectory() as scratch:
        script = None
        if options.fields == "balancer":
            script = os.path.join(scratch, "fields.lua")
            lines = (f'wrk.headers["{name}"] = "{value}"\n' for name, value in BALANCER_FIELDS.items())
            Path(script).write_text("".join(lines))
        try:
            for name, command in commands(ports).items():
                servers.append(subprocess.Popen(pinned(command, options.server_cpu), cwd=ROOT))
                wait_until_answering(ports[name])
            for number in range(options.rounds + 1):
                for name, port in ports.items():
                    rate = requests_per_second(port, options, script)
                    if number:  # the first round warms up
                        rates[name].append(rate)
        finally:
            for server in servers:
                server.terminate()
            for server in servers:
                server.wait(timeout=15)

    print(f"CPython {platform.python_version()}, {options.connections} connections, fields: {options.fields}")
    print(f"{'':12}{'median':>10}{'min':>10}{'max':>10}   keepserve is, round by round")
    for name, values in rates.items():
        ratios = [ours / theirs for ours, theirs in zip(rates["keepserve"], values, strict=True)]
        spread = f"{statistics.median(ratios):.2f} x ({min(ratios):.2f}-{max(ratios):.2f})"
        if name == "keepserve":
            spread = ""
        print(f"{name:12}{statistics.median(values):10,.0f}{min(values):10,.0f}{max(values):10,.0f}   {spread}")


if __name__ == "__main__":
    main()
