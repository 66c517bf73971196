"""Running the scenarios: servers started, checked, and loaded in turns, A B C A B C …

So a machine whose speed drifts is as unfair to one as to the other.
"""

from __future__ import annotations

import contextlib
import itertools
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from tests.bench.checks import WrongAnswer, check, wait_until_right, watched
from tests.bench.environment import Environments
from tests.bench.figures import Entry, Table
from tests.bench.measures import Context, Sample
from tests.bench.peers import BALANCER, Server
from tests.bench.processes import Unavailable, last_words, signal_all, start, stop
from tests.bench.scenarios import Scenario
from tests.bench.setups import Certificate, Setup, Start, Target
from tests.support.programs import free_port

_STARTUP = 20.0
"""Seconds a server has to answer for the first time."""


@dataclass(frozen=True)
class Options:
    """How it is all run: ``rounds`` that count, of so many ``seconds``, on these CPUs."""

    rounds: int
    seconds: int
    server_cpus: str
    load_cpu: str
    scratch: Path
    certificate: Certificate


class Progress(Protocol):
    """Who is told what is being done."""

    def begin(self, steps: int) -> None:
        """So many steps in all."""

    def step(self, what: str, steps: int = 1) -> None:
        """So many are done, or will not be; ``what`` is the next."""

    def found(self, table: Table) -> None:
        """A table is complete."""


@dataclass
class Running:
    """A server's processes, one for each setup of a scenario."""

    targets: list[Target] = field(default_factory=list)
    programs: list[subprocess.Popen[bytes]] = field(default_factory=list)
    outputs: list[Path] = field(default_factory=list)

    def rest(self) -> None:
        """Stop them until they are wanted again."""
        for program in self.programs:
            signal_all(program, signal.SIGSTOP)

    def go_on(self) -> None:
        """Want them again."""
        for program in self.programs:
            signal_all(program, signal.SIGCONT)

    @property
    def alive(self) -> bool:
        """Whether none has ended."""
        return all(program.poll() is None for program in self.programs)


class Runner:
    """Measures scenarios with servers; the tables come one by one."""

    def __init__(
        self, servers: Sequence[Server], environments: Environments, options: Options, progress: Progress
    ) -> None:
        self._servers = servers
        self._environments = environments
        self._options = options
        self._progress = progress
        self._numbers = itertools.count()
        self.versions: dict[str, dict[str, str]] = {}
        """Of what each server that was started is made of."""

    def run(self, scenarios: Sequence[Scenario]) -> Iterator[Table]:
        """Measure all of them, neighbours of the same setups with the same processes."""
        steps = (
            self._rounds(scenario) * sum(scenario.takes(server) for server in self._servers) for scenario in scenarios
        )
        self._progress.begin(sum(steps))
        for (_, fresh), group in itertools.groupby(scenarios, key=lambda scenario: (scenario.setups, scenario.fresh)):
            fleet: dict[str, Running] = {}
            try:
                for scenario in group:
                    table = self._measure(scenario, None if fresh else fleet)
                    self._progress.found(table)
                    yield table
            finally:
                stop(program for running in fleet.values() for program in running.programs)

    def _rounds(self, scenario: Scenario) -> int:
        return min(scenario.rounds, self._options.rounds) + 1

    def _measure(self, scenario: Scenario, fleet: dict[str, Running] | None) -> Table:
        table, rounds = scenario.table(), self._rounds(scenario)
        known: dict[str, dict[str, float]] = {}
        for server in self._servers:
            entry = Entry(server.name)
            table.entries.append(entry)
            if not scenario.takes(server):
                entry.absent = "not offered"
                continue
            if fleet is not None:
                self._ensure(scenario, server, entry, fleet)
                if server.spins and server.name in fleet:
                    fleet[server.name].rest()
            if entry.problem or entry.absent:
                self._progress.step(f"{scenario.name}: {server.name}", rounds)
        for number, server, entry in (
            (number, server, entry)
            for number in range(rounds)
            for server, entry in zip(self._servers, table.entries, strict=True)
        ):
            if entry.problem or entry.absent:
                continue
            self._progress.step(f"{scenario.name}: {server.name}")
            context = self._context(number == 0, known.setdefault(server.name, {}))
            try:
                with self._targets(scenario, server, fleet) as running:
                    sample = self._sample(scenario, context, running)
            except Unavailable as error:
                entry.absent = str(error)
            except (WrongAnswer, OSError) as error:
                entry.problem = str(error) or repr(error)
            else:
                if number:
                    entry.values.append(sample.value)
                    if sample.busy is not None:
                        entry.busy.append(sample.busy)
                continue
            self._progress.step(f"{scenario.name}: {server.name}", rounds - number - 1)
        return table

    def _context(self, warming: bool, known: dict[str, float]) -> Context:
        options = self._options
        return Context(
            options.seconds,
            options.load_cpu,
            options.scratch,
            lambda: self._environments.ready(BALANCER),
            warming,
            known,
        )

    @contextlib.contextmanager
    def _targets(self, scenario: Scenario, server: Server, fleet: dict[str, Running] | None) -> Iterator[Running]:
        if fleet is not None:
            running = fleet[server.name]
            running.go_on()
            try:
                yield running
            finally:
                if server.spins:
                    running.rest()
            return
        running = Running()
        try:
            self._start(scenario, server, running)
            yield running
        finally:
            stop(running.programs)

    def _sample(self, scenario: Scenario, context: Context, running: Running) -> Sample:
        targets = tuple(running.targets)

        def look() -> None:
            for target in targets:
                check(target, scenario.ask)

        try:
            if scenario.fresh:
                return scenario.measure(context, targets)
            with watched(look):
                return scenario.measure(context, targets)
        except (WrongAnswer, OSError) as error:
            if running.alive:
                raise
            raise WrongAnswer(f"it ended: {last_words(running.outputs[-1])}") from error

    def _ensure(self, scenario: Scenario, server: Server, entry: Entry, fleet: dict[str, Running]) -> None:
        """Start a server that does not run or does not answer; write into its entry why it cannot take part."""
        running = fleet.get(server.name)
        if running is not None:
            running.go_on()
        try:
            if running is not None and running.alive:
                try:
                    for target in running.targets:
                        check(target, scenario.ask)
                    return
                except (WrongAnswer, OSError):
                    pass  # what the scenario before did to it is not this one's business
            if running is not None:
                stop(running.programs)
            running = fleet[server.name] = Running()
            self._start(scenario, server, running)
        except Unavailable as error:
            entry.absent = str(error)
        except (WrongAnswer, OSError) as error:
            entry.problem = str(error) or repr(error)
            if running is not None and not running.alive:
                entry.problem = f"it ended: {last_words(running.outputs[-1])}"

    def _start(self, scenario: Scenario, server: Server, running: Running) -> None:
        """Start a server's processes; return when each has answered correctly."""
        environment = self._environments.ready(server.package)
        self.versions[server.name] = server.versions(environment)
        for setup in scenario.setups:
            running.targets.append(self._start_one(scenario, server, setup, running))

    def _start_one(self, scenario: Scenario, server: Server, setup: Setup, running: Running) -> Target:
        options, port = self._options, free_port()
        output = options.scratch / f"{server.name}-{next(self._numbers)}.log"
        environment = self._environments.ready(server.package)
        command = server.command(Start(environment, setup, port, options.certificate, options.scratch))
        began = time.perf_counter()
        program = start(command, options.server_cpus, output)
        running.programs.append(program)
        running.outputs.append(output)
        target = Target(server.name, setup, port, program.pid)
        alive = lambda: program.poll() is None  # noqa: E731
        wait_until_right(lambda: check(target, scenario.ask), alive, _STARTUP, 0.002)
        return Target(server.name, setup, port, program.pid, time.perf_counter() - began)
