"""What the access log costs: keepserve with it, in each of its forms, beside keepserve without.

    python -m tests.bench.access_log [--rounds 5] [--seconds 3] [--connections 64] [--fields] [--to pipe]

What ``python -m tests.bench`` does not compare: keepserve with itself. The servers share one core and the load has
another; each is loaded in turn, round by round. Requests per second say little where others use the machine, so the
processor time of the server per request stands beside them, all its processes and threads counted, and the ratios
are formed of that, round by round. Needs ``wrk``.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from functools import partial
from pathlib import Path

import click

from tests.bench import wrk
from tests.bench.checks import Ask, WrongAnswer
from tests.bench.processes import Unavailable, cpu_seconds
from tests.bench.setups import HELLO
from tests.bench.variants import serving_all

OFF = "off"
FORMS = {
    "text": "text",
    "combined": "combined",
    "json": "json",
    "own": "{time_iso} {client_host} {method} {path} {status} {bytes} {duration_ms} {trace_id}",
}


@click.command()
@click.option("--rounds", default=5, show_default=True)
@click.option("--seconds", default=3, show_default=True)
@click.option("--connections", default=64, show_default=True)
@click.option("--fields", is_flag=True, help="Send what a balancer adds and a browser sends.")
@click.option("--to", type=click.Choice(["file", "pipe"]), default="file", show_default=True)
@click.option("--server-cpus", default="0", show_default=True)
@click.option("--load-cpu", default="1", show_default=True)
def main(rounds: int, seconds: int, connections: int, fields: bool, to: str, server_cpus: str, load_cpu: str) -> None:
    """Compare the forms of the access log with none, in turns."""
    ask = Ask(fields=wrk.BALANCER_FIELDS) if fields else Ask()
    rates: dict[str, list[float]] = {name: [] for name in (OFF, *FORMS)}
    costs: dict[str, list[float]] = {name: [] for name in rates}
    try:
        with tempfile.TemporaryDirectory(prefix="keepserve-bench-") as directory:
            scratch = Path(directory)
            script = scratch / "load.lua"
            script.write_text(wrk.script(ask, None, wrk.UNIQUE_FIELDS if fields else ""))
            commands = {name: partial(command, name, to, scratch) for name in rates}
            with serving_all(commands, Ask(), server_cpus, scratch / "output.log") as targets:
                for number in range(rounds + 1):
                    for name, target in targets.items():
                        before = cpu_seconds(target.pid)
                        run = wrk.load(f"http://127.0.0.1:{target.port}/", connections, seconds, load_cpu, script)
                        wrk.judge_run(run, None, connections)
                        spent = cpu_seconds(target.pid) - before
                        if number:  # the first round warms up
                            rates[name].append(run.rate)
                            costs[name].append(spent / run.requests * 1e6)
                        empty(scratch)
    except (WrongAnswer, Unavailable) as error:
        raise click.ClickException(f"Errors under load, so nothing was measured: {error}") from error
    click.echo(f"to a {to}, {connections} connections, {'with' if fields else 'without'} a balancer's fields")
    click.echo(f"{'':10}{'requests/s':>12}{'µs each':>9}   throughput at the same processor time, of that without")
    for name in rates:
        ratios = [without / cost for without, cost in zip(costs[OFF], costs[name], strict=True)]
        spread = f"{statistics.median(ratios):.3f} ({min(ratios):.3f}-{max(ratios):.3f})"
        figures = f"{statistics.median(rates[name]):12,.0f}{statistics.median(costs[name]):9.2f}"
        click.echo(f"{name:10}{figures}   {'' if name == OFF else spread}")


def command(name: str, to: str, scratch: Path, port: int) -> list[str]:
    """What starts the server with the log in this form, or without one."""
    log = ["--no-access-log"]
    if name != OFF:
        log = ["--access-log-format", FORMS[name]]
        if to == "file":
            log += ["--access-log-file", str(scratch / f"{name}.log")]
    found = [sys.executable, "-m", "keepserve", HELLO, "--port", str(port), "--log-file", os.devnull, *log]
    return ["sh", "-c", '"$@" | cat > /dev/null', "sh", *found] if to == "pipe" else found


def empty(scratch: Path) -> None:
    """A benchmark is not to fill the disk."""
    for file in scratch.glob("*.log"):
        os.truncate(file, 0)


if __name__ == "__main__":
    main()
