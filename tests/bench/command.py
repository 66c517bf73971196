"""The command: ``python -m tests.bench``."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from keepserve.config.documents import insert_between
from tests.bench import plot, readme, report
from tests.bench.environment import Environments, default_place
from tests.bench.figures import Table
from tests.bench.peers import SERVERS, Server
from tests.bench.processes import ROOT, Unavailable
from tests.bench.results import Results, begin, from_json, merged
from tests.bench.runner import Options, Progress, Runner
from tests.bench.scenarios import Scenario, chosen
from tests.bench.setups import Certificate


class Lines:
    """Progress where nobody watches: each table as soon as it is complete."""

    def begin(self, steps: int) -> None:
        """Nothing to say yet."""

    def step(self, what: str, steps: int = 1) -> None:
        """Nothing to say until the table is complete."""

    def found(self, table: Table) -> None:
        """Print it."""
        click.echo(report.text_of(table) + "\n")


class Bar:
    """Progress on a terminal: a bar, and each table above it."""

    def __init__(self) -> None:
        self._what = ""
        self._bar = click.progressbar(length=0)

    def begin(self, steps: int) -> None:
        """Draw it."""
        self._bar = click.progressbar(length=max(1, steps), show_pos=True, item_show_func=lambda _: self._what)
        self._bar.render_progress()

    def step(self, what: str, steps: int = 1) -> None:
        """Move it."""
        self._what = what
        self._bar.update(steps)

    def found(self, table: Table) -> None:
        """Print the table over it."""
        click.echo("\r\x1b[K" + report.text_of(table) + "\n")
        self._bar.render_progress()


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--only", multiple=True, metavar="SCENARIO", help="A scenario, or a pattern like 'http2/*'; repeatable."
)
@click.option("--goals", is_flag=True, help="Only the scenarios that have a goal.")
@click.option("--servers", metavar="NAMES", help="These servers, separated by commas; default: all but variants.")
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1), help="Rounds that count.")
@click.option("--seconds", default=3, show_default=True, type=click.IntRange(1), help="Length of one load.")
@click.option("--note", default="", metavar="TEXT", help="Words to keep with the interpreter's version: its build.")
@click.option("--server-cpus", help="CPUs of the servers.  [default: the first that may be used]")
@click.option("--load-cpu", help="CPU of the load.  [default: the last that may be used]")
@click.option("--json", "json_file", type=click.Path(path_type=Path, dir_okay=False), help="Write the results here.")
@click.option("--plot", "plot_file", type=click.Path(path_type=Path, dir_okay=False), help="Draw them here (PNG).")
@click.option(
    "--readme", "write_readme", is_flag=True, help="Write the README's performance section and its picture."
)
@click.option(
    "--from",
    "from_files",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Measure nothing: take the results from this JSON file; repeatable, for runs of several parts.",
)
@click.option("--list", "list_all", is_flag=True, help="Name the scenarios and the servers.")
@click.option(
    "--environments", type=click.Path(path_type=Path, file_okay=False), help="Where the servers are installed."
)
@click.option("--update", is_flag=True, help="Install the servers anew.")
def main(
    only: tuple[str, ...],
    goals: bool,
    servers: str | None,
    rounds: int,
    seconds: int,
    note: str,
    server_cpus: str | None,
    load_cpu: str | None,
    json_file: Path | None,
    plot_file: Path | None,
    write_readme: bool,
    from_files: tuple[Path, ...],
    list_all: bool,
    environments: Path | None,
    update: bool,
) -> None:
    """Measure keepserve and other ASGI servers in one interleaved run, and check every answer.

    The other servers are installed into a cache, each into an environment of its own. One that cannot be installed,
    or answers wrongly, is named with the reason; the run goes on. Only ratios within one run mean anything.
    """
    if list_all:
        _print_lists()
        return
    try:
        scenarios = chosen(only, goals_only=goals)
        wanted = _servers(servers)
        if plot_file or write_readme:
            plot.need_matplotlib()
        if from_files:
            results = merged([from_json(file.read_text()) for file in from_files])
        else:
            cpus = _cpus(server_cpus, load_cpu)
            place = environments or default_place()
            results = begin(["python", "-m", "tests.bench", *_repeatable(sys.argv[1:])], rounds, seconds, note)
            _measure(results, scenarios, wanted, cpus, Environments(place, click.echo, update=update))
        click.echo(report.closing(results))
        if json_file is not None:
            json_file.write_text(results.as_json())
        if plot_file is not None:
            plot.draw(results, plot_file)
        if write_readme:
            _write_readme(results)
    except (ValueError, Unavailable) as error:
        raise click.ClickException(str(error)) from error


def _measure(
    results: Results,
    scenarios: Sequence[Scenario],
    servers: Sequence[Server],
    cpus: tuple[str, str],
    environments: Environments,
) -> None:
    """Run it all. Interrupted, it leaves what was found until then."""
    _allow_many_files()
    # Ended in whatever way, it ends its servers first.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    ready = [server for server in servers if _installed(server, environments)]
    progress: Progress = Bar() if sys.stdout.isatty() else Lines()
    with tempfile.TemporaryDirectory(prefix="keepserve-bench-") as directory, _on(cpus[1]):
        scratch = Path(directory)
        options = Options(results.rounds, results.seconds, *cpus, scratch, _certificate(scratch))
        runner = Runner(ready, environments, options, progress)
        results.versions = runner.versions
        try:
            results.tables += runner.run(scenarios)
        except KeyboardInterrupt:
            click.echo("Interrupted: what follows is what was found until now.")


def _installed(server: Server, environments: Environments) -> bool:
    try:
        environments.ready(server.package)
    except Unavailable as error:
        click.echo(f"{server.name} is left out: {error}")
        return False
    return True


def _servers(names: str | None) -> list[Server]:
    if names is None:
        return [server for server in SERVERS if server.role != "variant"]
    wanted = [name.strip() for name in names.split(",")]
    known = {server.name for server in SERVERS}
    for name in wanted:
        if name not in known:
            raise ValueError(f"There is no server {name!r} here, but {', '.join(sorted(known))}.")
    return [server for server in SERVERS if server.name in wanted]


def _cpus(server: str | None, load: str | None) -> tuple[str, str]:
    """The CPUs of servers and load; apart as far as the machine allows."""
    usable = sorted(os.sched_getaffinity(0))
    if len(usable) < 2 and (server is None or load is None):
        click.echo("There is one CPU only: servers and load share it, and the figures say little.")
    return server or str(usable[0]), load or str(usable[-1])


@contextlib.contextmanager
def _on(cpu: str) -> Iterator[None]:
    """Run this process, which checks while servers are measured, where the load runs."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {int(cpu)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _allow_many_files() -> None:
    """Raise the limit of open files to what it may be: 10,000 connections have two ends."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _certificate(directory: Path) -> Certificate:
    """Make a certificate for localhost: ECDSA, P-256."""
    try:
        import trustme
    except ImportError:
        raise Unavailable("trustme is not installed (pip install 'keepserve[bench]')") from None
    made = trustme.CA().issue_cert("localhost", "127.0.0.1")
    chain, key = directory / "chain.pem", directory / "key.pem"
    chain.write_bytes(b"".join(pem.bytes() for pem in made.cert_chain_pems))
    made.private_key_pem.write_to_path(str(key))
    key.chmod(0o600)
    return Certificate(str(chain), str(key))


def _write_readme(results: Results) -> None:
    file = ROOT / "README.md"
    text = insert_between(file.read_text(encoding="utf-8"), readme.MARK, readme.section(results) + "\n")
    plot.draw(results, ROOT / readme.PICTURE, goals_only=True)
    file.write_text(text, encoding="utf-8")


def _repeatable(arguments: Sequence[str]) -> list[str]:
    """The arguments that say what is measured: without files and places of this machine."""
    kept: list[str] = []
    skip = False
    for argument in arguments:
        name, has_value, _ = argument.partition("=")
        if skip:
            skip = False
        elif name in ("--json", "--plot", "--environments", "--server-cpus", "--load-cpu", "--from", "--note"):
            skip = not has_value
        elif name not in ("--readme", "--update"):
            kept.append(f"'{argument}'" if set(argument) & set("*?[ ") else argument)
    return kept


def _print_lists() -> None:
    click.echo("Scenarios")
    for scenario in chosen(()):
        click.echo(f"  {scenario.name:30}{scenario.title}, in {scenario.unit}")
    click.echo("Servers")
    for server in SERVERS:
        click.echo(f"  {server.name:18}{server.role:9}{', '.join(sorted(server.offers))}")
