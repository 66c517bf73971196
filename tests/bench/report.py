"""Tables as text for a terminal."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from tests.bench.figures import (
    FASTEST,
    OURS,
    Entry,
    Spread,
    Table,
    Verdict,
    growth,
    judge_goals,
    per_cpu,
    shown,
    spread,
)
from tests.bench.results import Results


def text_of(table: Table) -> str:
    """A table: the ranked ones from best to worst, then who has no rank, and why."""
    better = "more is better" if table.more else "less is better"
    lines = [
        f"{table.name}: {table.title}, in {table.unit} ({better})",
        f"  {'':16}{'median':>10}{'min':>10}{'max':>10}{'CPUs busy':>11}{'per CPU s':>11}   keepserve is better by",
    ]
    lines += (_ranked(table, entry) for entry in table.ranking)
    lines += (f"  {entry.server:16}{_why(entry)}" for entry in table.entries if not entry.ranked)
    lines += (f"  goal: {sentence(verdict, table)}" for verdict in judge_goals(table))
    return "\n".join(lines)


def _ranked(table: Table, entry: Entry) -> str:
    values = spread(entry.values)
    busy = f"{spread(entry.busy).median:.2f}" if entry.busy else ""
    each = shown(spread(per_cpu(entry)).median) if table.unit.endswith("/s") and entry.busy else ""
    ratio = table.ours_to(entry) if entry.server != OURS else None
    figures = "".join(f"{shown(value):>10}" for value in (values.median, values.low, values.high))
    return f"  {entry.server:16}{figures}{busy:>11}{each:>11}   {times(ratio) if ratio is not None else ''}".rstrip()


def _why(entry: Entry) -> str:
    if entry.problem:
        return f"not ranked: {entry.problem}"
    return entry.absent if entry.absent == "not offered" else f"left out: {entry.absent or 'not measured'}"


def times(ratio: Spread) -> str:
    """A ratio with its spread."""
    return f"{ratio.median:.2f} x ({ratio.low:.2f}-{ratio.high:.2f})"


def bound(verdict: Verdict, table: Table) -> str:
    """A goal in a few signs."""
    goal = verdict.goal
    if goal.against:
        who = FASTEST if goal.against == FASTEST else goal.against
        return f"≥ {goal.bound:g} x {who}"
    return f"{'≥' if table.more else '≤'} {goal.bound:g} {table.unit}"


def sentence(verdict: Verdict, table: Table) -> str:
    """A goal, what was found, and whether that is enough."""
    found = verdict.found
    if verdict.against:
        figures = f"{times(found)} {verdict.against}"
    else:
        figures = f"{shown(found.median)} ({shown(found.low)}-{shown(found.high)})"
    return f"{bound(verdict, table)}: {figures}, {'reached' if verdict.reached else 'missed'}"


def growth_of(tables: Sequence[Table]) -> str:
    """A family of tables as one: a column for each point, and how much the last is of the first."""
    ordered = sorted(tables, key=lambda table: table.point)
    lines = [
        f"{ordered[0].family}, in {ordered[0].unit}",
        f"  {'':16}" + "".join(f"{table.point:>12,.0f}" for table in ordered) + f"{'last/first':>12}",
    ]
    for server in servers_of(ordered):
        cells = [table.entry(server) for table in ordered]
        if any(cells):
            figures = "".join(f"{shown(spread(cell.values).median) if cell else '-':>12}" for cell in cells)
            grown = growth(ordered, server)
            lines.append(f"  {server:16}{figures}{f'{grown:.2f} x' if grown is not None else '-':>12}")
    return "\n".join(lines)


def families(tables: Sequence[Table]) -> Iterator[list[Table]]:
    """The curves among tables: those families of which there are two points or more."""
    named = sorted((table for table in tables if table.family), key=lambda table: table.family)
    for _, group in itertools.groupby(named, key=lambda table: table.family):
        points = list(group)
        if len(points) > 1:
            yield points


def servers_of(tables: Sequence[Table]) -> list[str]:
    """The servers of these tables, in their order."""
    return list(dict.fromkeys(entry.server for table in tables for entry in table.entries))


def closing(results: Results) -> str:
    """What ends a run: the curves, the goals, and the circumstances."""
    parts = [growth_of(tables) for tables in families(results.tables)]
    goals = [
        f"  {table.name:30}{sentence(verdict, table)}" for table in results.tables for verdict in judge_goals(table)
    ]
    if goals:
        parts.append("\n".join(["Goals", *goals]))
    parts.append(
        f"CPython {python_of(results)}, {results.machine}, {results.date}; "
        f"{results.rounds} rounds of {results.seconds} s\n{versions_of(results)}"
    )
    return "\n\n".join(parts)


def python_of(results: Results) -> str:
    """The interpreter's version, and what was said of it."""
    return f"{results.python}, {results.note}" if results.note else results.python


def versions_of(results: Results) -> str:
    """All versions, each part once."""
    parts: dict[str, str] = {}
    for found in results.versions.values():
        parts.update(found)
    return ", ".join(f"{part} {version}" for part, version in parts.items())
