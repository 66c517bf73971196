"""The run: who is measured when, and what becomes of a server with errors."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from tests.bench.checks import WrongAnswer
from tests.bench.environment import Environment, Environments, Package
from tests.bench.figures import Entry, Table
from tests.bench.measures import Context, Sample
from tests.bench.peers import Server
from tests.bench.processes import Unavailable
from tests.bench.runner import Options, Runner, Running
from tests.bench.scenarios import Scenario
from tests.bench.setups import HTTP1, Certificate, Setup, Target

NOWHERE = Path()


def named(name: str, *more: str, role: str = "peer") -> Server:
    """A server that offers HTTP/1.1, and more."""
    return Server(name, Package(name, ()), frozenset({HTTP1, *more}), lambda start: [], role=role)


class Recorded:
    """Progress, kept."""

    def __init__(self) -> None:
        self.steps = 0
        self.done = 0
        self.tables: list[Table] = []

    def begin(self, steps: int) -> None:
        self.steps = steps

    def step(self, what: str, steps: int = 1) -> None:
        self.done += steps

    def found(self, table: Table) -> None:
        self.tables.append(table)


class Still(Runner):
    """A runner whose servers are no processes. ``broken`` are those that cannot be started, and how."""

    broken: dict[str, Exception]

    def _start(self, scenario: Scenario, server: Server, running: Running) -> None:
        if server.name in self.broken:
            raise self.broken[server.name]
        running.targets.append(Target(server.name, Setup(), 0, 0))

    def _sample(self, scenario: Scenario, context: Context, running: Running) -> Sample:
        return scenario.measure(context, tuple(running.targets))


def run(
    scenario: Scenario, *servers: Server, rounds: int = 2, broken: dict[str, Exception] | None = None
) -> tuple[Table, Recorded]:
    """Run a scenario; what was found, and what was told meanwhile."""
    progress = Recorded()
    options = Options(rounds, 1, "0", "1", NOWHERE, Certificate("", ""))
    runner = Still(servers, Environments(NOWHERE, print), options, progress)
    runner.broken = broken or {}
    (table,) = runner.run([scenario])
    assert progress.tables == [table]
    assert progress.done == progress.steps
    return table, progress


def test_servers_are_loaded_in_turns_and_the_first_round_does_not_count() -> None:
    turns: list[tuple[str, bool]] = []

    def measure(context: Context, targets: tuple[Target, ...]) -> Sample:
        turns.append((targets[0].name, context.warming))
        return Sample(float(len(turns)), 0.5)

    table, _ = run(Scenario("x", "X", "things", measure, fresh=True), named("a"), named("b"))
    assert turns == [("a", True), ("b", True), ("a", False), ("b", False), ("a", False), ("b", False)]
    assert [(entry.values, entry.busy) for entry in table.entries] == [
        ([3.0, 5.0], [0.5] * 2),
        ([4.0, 6.0], [0.5] * 2),
    ]


@pytest.mark.parametrize("error", [WrongAnswer("status 500 instead of 200"), ConnectionResetError("reset by peer")])
def test_a_server_that_errs_in_any_round_is_marked_and_not_loaded_again(error: Exception) -> None:
    loads: list[str] = []

    def measure(context: Context, targets: tuple[Target, ...]) -> Sample:
        loads.append(targets[0].name)
        if loads.count("b") == 2 and loads[-1] == "b":
            raise error
        return Sample(100.0 if loads[-1] == "b" else 1.0)

    table, _ = run(Scenario("x", "X", "things", measure, fresh=True), named("a"), named("b"), rounds=3)
    assert loads.count("a") == 4
    assert loads.count("b") == 2
    assert [entry.server for entry in table.ranking] == ["a"]
    assert table.entries[1].problem == str(error)


def test_a_server_that_cannot_be_installed_or_started_is_left_out_with_the_reason() -> None:
    broken = {"b": Unavailable("pip install b failed"), "c": WrongAnswer("it ended: no such option")}
    scenario = Scenario("x", "X", "things", lambda context, targets: Sample(1.0))
    for fresh in (False, True):
        varied = Scenario("x", "X", "things", scenario.measure, fresh=fresh)
        table, _ = run(varied, named("a"), named("b"), named("c"), broken=broken)
        assert [(entry.absent, entry.problem) for entry in table.entries] == [
            ("", ""),
            ("pip install b failed", ""),
            ("", "it ended: no such option"),
        ]


def test_what_a_server_does_not_offer_is_no_error_of_it() -> None:
    scenario = Scenario("x", "X", "things", lambda context, targets: Sample(1.0), (Setup(tls=True),), fresh=True)
    table, _ = run(scenario, named("a", "HTTP/1.1 over TLS"), named("b"))
    assert table.entries[1].absent == "not offered"


def test_the_limit_takes_part_only_where_it_means_something() -> None:
    limit = named("bare", role="limit")
    for takes in (False, True):
        scenario = Scenario("x", "X", "things", lambda context, targets: Sample(1.0), limit=takes)
        assert scenario.takes(limit) is takes


def test_a_long_scenario_has_fewer_rounds() -> None:
    scenario = Scenario("x", "X", "things", lambda context, targets: Sample(1.0), rounds=2)
    table, progress = run(scenario, named("a"), rounds=5)
    assert len(table.entries[0].values) == 2
    assert progress.steps == 3


def test_what_the_warm_up_found_out_is_known_later_and_to_this_server_alone() -> None:
    seen: list[dict[str, float]] = []

    def measure(context: Context, targets: tuple[Target, ...]) -> Sample:
        seen.append(dict(context.known))
        if context.warming:
            context.known["size"] = float(len(seen))
        return Sample(1.0)

    run(Scenario("x", "X", "things", measure, fresh=True), named("a"), named("b"), rounds=1)
    assert seen == [{}, {}, {"size": 1.0}, {"size": 2.0}]


def test_a_server_that_spins_while_idle_rests_while_others_are_measured() -> None:
    resting: dict[str, bool] = {}

    class Seen(Running):
        def rest(self) -> None:
            resting[self.targets[0].name] = True

        def go_on(self) -> None:
            resting[self.targets[0].name] = False

    class Watched(Still):
        def _ensure(self, scenario: Scenario, server: Server, entry: Entry, fleet: dict[str, Running]) -> None:
            fleet[server.name] = Seen([Target(server.name, Setup(), 0, 0)])

    seen: list[tuple[str, dict[str, bool]]] = []

    def measure(context: Context, targets: tuple[Target, ...]) -> Sample:
        seen.append((targets[0].name, dict(resting)))
        if targets[0].name == "spins" and not context.warming:
            raise WrongAnswer("status 500 instead of 200")
        return Sample(1.0)

    spins = dataclasses.replace(named("spins"), spins=True)
    options = Options(1, 1, "0", "1", NOWHERE, Certificate("", ""))
    runner = Watched([named("a"), spins, named("b")], Environments(NOWHERE, print), options, Recorded())
    list(runner.run([Scenario("x", "X", "things", measure)]))
    assert [(name, now["spins"]) for name, now in seen] == [
        ("a", True),
        ("spins", False),
        ("b", True),
        ("a", True),
        ("spins", False),
        ("b", True),
    ]


def test_an_environment_names_the_programs_in_it() -> None:
    assert Environment(Path("/somewhere"), {}).script("granian") == "/somewhere/bin/granian"
