"""Connections accepted per second: balanced between workers, as they come, and by the event loop's own servers.

    python -m tests.bench.accept [--rounds 5] [--seconds 3] [--workers 4] [--loop uvloop] [--connections 64]

Each connection carries one request. With one worker there is nothing to balance, and the figures show what
accepting costs. How it is measured, and what the figures mean: ``tests/bench/interleaved.py``. Needs ``wrk``.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import sys
from functools import partial

import keepserve
from keepserve.server import server
from keepserve.server.acceptor import Acceptor
from keepserve.server.connection import Connection
from tests.bench.interleaved import APP, arguments, free_port, measure, need, report, running, wrk_rate

COMPETITORS = ("balanced", "unbalanced", "loop's own")


class LoopServers(Acceptor):
    """Accepts with ``loop.create_server``, for comparison. Enough of an acceptor for a benchmark."""

    def listen(self) -> None:
        """Begin to accept."""
        loop, backlog = self._state.loop, self._state.settings.backlog
        for listener in self._listeners:
            listener.sock.listen(backlog)
            factory = partial(Connection, self._state)
            self._starting = asyncio.ensure_future(
                loop.create_server(factory, sock=listener.sock.dup(), backlog=backlog)
            )


def serve(name: str, port: int, workers: int, loop: str) -> None:
    """Be one of the servers."""
    if name == "loop's own":
        server.Acceptor = LoopServers  # type: ignore[misc]  # inherited by the workers
    keepserve.run(
        APP,
        port=port,
        workers=workers,
        loop=loop,
        balance_workers=name == "balanced",
        access_log=False,
        log_level="warning",
    )


def answers(port: int) -> bool:
    """Whether the server answers."""
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
        connection.request("GET", "/", headers={"Connection": "close"})
        return connection.getresponse().status == 200
    except OSError:
        return False


def connections_per_second(port: int, options: argparse.Namespace) -> float:
    """Load one server for a while. Any error or answer other than 200 ends the benchmark."""
    command = ["wrk", "-t1", f"-c{options.connections}", f"-d{options.seconds}s", "-H", "Connection: close"]
    command.append(f"http://127.0.0.1:{port}/")
    return wrk_rate(command, options.load_cpu)


def main() -> None:
    """Run the rounds and print a table."""
    parser = arguments(__doc__)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--loop", choices=("uvloop", "asyncio"), default="uvloop")
    parser.add_argument("--serve", nargs=2, metavar=("NAME", "PORT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve[0], int(options.serve[1]), options.workers, options.loop)
        return
    need("wrk", "wrk")
    ports = {name: free_port() for name in COMPETITORS}
    how = ["--workers", str(options.workers), "--loop", options.loop]
    commands = {
        name: [sys.executable, "-m", "tests.bench.accept", *how, "--serve", name, str(port)]
        for name, port in ports.items()
    }
    with running(commands, options.server_cpu, lambda name: answers(ports[name])):
        rates = measure(list(ports), options.rounds, lambda name: connections_per_second(ports[name], options))
    report(f"{options.workers} workers on {options.loop}, {options.connections} connections at a time", rates)


if __name__ == "__main__":
    main()
