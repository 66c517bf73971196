"""Connections accepted per second: balanced between workers, as they come, and by the event loop's own servers.

    python -m tests.bench.accept [--rounds 5] [--seconds 3] [--workers 4] [--loop uvloop] [--connections 64]

What ``python -m tests.bench`` does not compare: keepserve with itself, accepting in other ways. Each connection
carries one request. With one worker there is nothing to balance, and the figures show what accepting costs. Needs
``wrk``.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from functools import partial
from pathlib import Path

import click

import keepserve
from keepserve.server import server
from keepserve.server.acceptor import Acceptor
from keepserve.server.connection import Connection
from tests.bench import measures, report
from tests.bench.checks import Ask, WrongAnswer
from tests.bench.figures import Entry, Table
from tests.bench.processes import Unavailable
from tests.bench.setups import HELLO, Target
from tests.bench.variants import serving_all

COMPETITORS = ("keepserve", "unbalanced", "loop's own")
"""It balances connections between workers unless told otherwise."""

ASK = Ask(fields=(("Connection", "close"),))


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
        vars(server)["Acceptor"] = LoopServers  # inherited by the workers
    keepserve.run(
        HELLO,
        port=port,
        workers=workers,
        loop=loop,
        balance_workers=name == "keepserve",
        access_log=False,
        log_level="warning",
    )


@click.command()
@click.option("--rounds", default=5, show_default=True)
@click.option("--seconds", default=3, show_default=True)
@click.option("--workers", default=4, show_default=True)
@click.option("--connections", default=64, show_default=True)
@click.option("--loop", type=click.Choice(["uvloop", "asyncio"]), default="uvloop", show_default=True)
@click.option("--server-cpus", default="0", show_default=True)
@click.option("--load-cpu", default="1", show_default=True)
@click.option("--serve", "serving", nargs=2, hidden=True)
def main(
    rounds: int,
    seconds: int,
    workers: int,
    connections: int,
    loop: str,
    server_cpus: str,
    load_cpu: str,
    serving: tuple[str, str] | None,
) -> None:
    """Compare the ways to accept connections, in turns."""
    if serving:
        serve(serving[0], int(serving[1]), workers, loop)
        return
    table = Table("accept", f"{workers} workers on {loop}, {connections} connections at a time", "connections/s")
    table.entries = [Entry(name) for name in COMPETITORS]

    def command(name: str, port: int) -> list[str]:
        how = ["--workers", str(workers), "--loop", loop, "--serve", name, str(port)]
        return [sys.executable, "-m", "tests.bench.accept", *how]

    try:
        with tempfile.TemporaryDirectory(prefix="keepserve-bench-") as directory:
            scratch = Path(directory)
            commands = {name: partial(command, name) for name in COMPETITORS}
            with serving_all(commands, ASK, server_cpus, scratch / "output") as targets:
                fill(table, targets, measures.requests(ASK, connections), rounds, (seconds, load_cpu, scratch))
    except (WrongAnswer, Unavailable) as error:
        raise click.ClickException(f"Errors under load, so nothing was measured: {error}") from error
    click.echo(report.text_of(table))


def fill(
    table: Table, targets: dict[str, Target], measure: measures.Measure, rounds: int, how: tuple[int, str, Path]
) -> None:
    """Load the competitors in turn; the first round warms up and does not count."""
    known: dict[str, dict[str, float]] = {name: {} for name in targets}
    for number in range(rounds + 1):
        for entry in table.entries:
            context = measures.Context(*how, warming=number == 0, known=known[entry.server])
            sample = measure(context, (targets[entry.server],))
            if number:
                entry.values.append(sample.value)
                entry.busy.append(sample.busy or 0.0)


if __name__ == "__main__":
    main()
