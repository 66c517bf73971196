"""The README's performance section: written between two marks, from what a run found."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tests.bench.figures import OURS, Table, growth, judge_goals, shown, spread
from tests.bench.report import bound, families, python_of, servers_of, versions_of
from tests.bench.results import Results

MARK = "benchmark"
"""The name of the two comments between which it stands."""
PICTURE = Path("tests/bench/results/comparison.png")
"""Where the picture is, from the root of the tree."""


def section(results: Results, picture: Path = PICTURE) -> str:
    """Return the section: what was measured where, a picture, and tables."""
    parts = [
        f"Measured on {results.date} with CPython {python_of(results)} ({results.machine}): the server on one core, "
        f"the load on another; medians of {results.rounds} interleaved rounds of {results.seconds} s. Figures move "
        "from machine to machine: the ratios are taken round by round, and stand with the least and the most. All "
        "answers are checked.",
        f"![keepserve and its peers, with the least and the most of each]({picture.as_posix()})",
        "\n".join(_ratios(results)),
        *("\n".join(_curve(tables)) for tables in families(results.tables)),
        _errors(results),
        f"Versions: {versions_of(results)}.",
        "To repeat it (wrk and h2load needed; the other servers are installed into a cache):\n\n"
        f"```sh\n{results.command}\n```",
    ]
    return "\n\n".join(part for part in parts if part)


def _ratios(results: Results) -> Iterator[str]:
    yield "| work | keepserve | fastest peer | ratio | goal |"
    yield "|---|---|---|---|---|"
    for table in results.tables:
        ours = table.entry(OURS)
        if ours is None or table.family:
            continue
        peer = table.fastest_peer
        fastest = f"{peer.server}: {shown(spread(peer.values).median)}" if peer is not None else "none"
        ratio = table.ours_to(peer) if peer is not None else None
        found = f"{ratio.median:.2f} ({ratio.low:.2f}-{ratio.high:.2f})" if ratio is not None else ""
        figure = f"{shown(spread(ours.values).median)} {table.unit}"
        yield f"| {table.title} | {figure} | {fastest} | {found} | {_goals(table)} |"


def _errors(results: Results) -> str:
    """Who answered wrongly, where and how: marked, and not compared with."""
    asked: dict[str, list[tuple[str, str]]] = {}
    for table in results.tables:
        for entry in table.entries:
            if not entry.absent:
                asked.setdefault(entry.server, []).append((table.title, entry.problem))
    found = {server: where for server, cases in asked.items() if (where := _where(cases))}
    erred = "; ".join(f"{server} ({where})" for server, where in found.items())
    return f"Errors or wrong answers, hence no figures: {erred}." if erred else ""


def _where(cases: list[tuple[str, str]]) -> str:
    """Of titles and problems those with one; or the problem itself, if it was the same everywhere."""
    problems = {problem for _, problem in cases}
    if len(cases) > 1 and len(problems) == 1 and any(problems):
        return f"everything: {problems.pop().rstrip('.')}"
    return ", ".join(title for title, problem in cases if problem)


def _goals(table: Table) -> str:
    return "; ".join(
        f"{bound(verdict, table)}: {shown(verdict.found.median)}, {'reached' if verdict.reached else 'missed'}"
        for verdict in judge_goals(table)
    )


def _curve(tables: list[Table]) -> Iterator[str]:
    ordered = sorted(tables, key=lambda table: table.point)
    points = " | ".join(f"{table.point:,.0f}" for table in ordered)
    yield f"| {ordered[0].unit}, by {ordered[0].family} | {points} | last/first |"
    yield "|---" * (len(ordered) + 2) + "|"
    for server in servers_of(ordered):
        entries = [table.entry(server) for table in ordered]
        if any(entries):
            cells = " | ".join(shown(spread(entry.values).median) if entry else "-" for entry in entries)
            grown = growth(ordered, server)
            yield f"| {server} | {cells} | {f'{grown:.2f}' if grown is not None else '-'} |"
