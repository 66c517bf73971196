"""A picture of a comparison: for each piece of work how the servers stand to the best, and how costs grow."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from tests.bench.figures import OURS, Table, spread
from tests.bench.processes import Unavailable
from tests.bench.report import families, servers_of
from tests.bench.results import Results

_COLUMNS = 4
_OURS, _LIMIT = "#c2410c", "#d6d3d1"
_OTHERS = (
    "#1d4ed8",
    "#0f766e",
    "#7c3aed",
    "#a16207",
    "#be185d",
    "#4d7c0f",
    "#0369a1",
    "#57534e",
    "#6d28d9",
    "#334155",
)


def need_matplotlib() -> Any:
    """Return matplotlib's pyplot, drawing without a screen; raise ``Unavailable`` when it is not installed."""
    try:
        import matplotlib
    except ImportError:
        raise Unavailable("matplotlib is not installed (pip install 'keepserve[bench]')") from None
    matplotlib.use("agg")
    import matplotlib.pyplot

    return matplotlib.pyplot


def draw(results: Results, file: Path, *, goals_only: bool = False) -> None:
    """Draw the curves, and the tables with a figure of ours or only those of them with a goal, into a PNG file."""
    pyplot = need_matplotlib()
    tables = [table for table in results.tables if not table.family and table.entry(OURS)]
    if goals_only:
        tables = [table for table in tables if table.goals]
    curves = list(families(results.tables))
    if not tables and not curves:
        raise Unavailable("there is nothing to draw: keepserve was not measured in any scenario")
    colours = _colours(servers_of(results.tables))
    panels = len(tables) + len(curves)
    rows = math.ceil(panels / _COLUMNS)
    height = 0.9 + 0.19 * max((len(table.ranking) for table in tables), default=8)
    figure, grid = pyplot.subplots(
        rows, min(_COLUMNS, panels), figsize=(3.5 * min(_COLUMNS, panels), height * rows), squeeze=False
    )
    axes = iter(grid.flat)
    for table in tables:
        _bars(next(axes), table, colours)
    for curve in curves:
        _lines(next(axes), curve, colours)
    for unused in axes:
        unused.set_visible(False)
    figure.suptitle(f"CPython {results.python}, {results.date}", fontsize=8)
    figure.tight_layout()
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=100, metadata={"Software": None})
    pyplot.close(figure)


def _colours(servers: list[str]) -> dict[str, str]:
    others = [server for server in servers if server not in (OURS, "bare")]
    found = {server: _OTHERS[index % len(_OTHERS)] for index, server in enumerate(others)}
    return {**found, OURS: _OURS, "bare": _LIMIT}


def _bars(axis: Any, table: Table, colours: dict[str, str]) -> None:
    """A bar for each server with its least and most; the best on top."""
    ranking = table.ranking[::-1]
    spreads = [spread(entry.values) for entry in ranking]
    names = [entry.server for entry in ranking]
    medians = [one.median for one in spreads]
    errors = [[one.median - one.low for one in spreads], [one.high - one.median for one in spreads]]
    axis.barh(names, medians, xerr=errors, color=[colours[name] for name in names], height=0.7, error_kw={"lw": 0.8})
    _dress(axis, table.title, table.unit + ("" if table.more else ", less is better"))
    axis.set_xlim(left=0)


def _lines(axis: Any, curve: list[Table], colours: dict[str, str]) -> None:
    """How the cost of a request grows, for each server."""
    ordered = sorted(curve, key=lambda table: table.point)
    for server in servers_of(ordered):
        points = [(index, table.entry(server)) for index, table in enumerate(ordered)]
        line = [(index, spread(entry.values).median) for index, entry in points if entry is not None]
        if line:
            wide = 2.0 if server == OURS else 1.0
            axis.plot(*zip(*line, strict=True), color=colours[server], lw=wide, marker="o", ms=2.5, label=server)
    axis.set_xticks(range(len(ordered)), [f"{table.point:,.0f}" for table in ordered])
    axis.set_yscale("log")
    axis.legend(fontsize=4.5, ncols=2)
    _dress(axis, "Growth: " + ordered[0].family, "")
    axis.set_ylabel(ordered[0].unit, fontsize=6)


def _dress(axis: Any, title: str, unit: str) -> None:
    axis.set_title(title, fontsize=7)
    axis.set_xlabel(unit, fontsize=6)
    axis.tick_params(which="both", labelsize=6)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
