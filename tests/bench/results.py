"""What a run found, and under which circumstances: kept as JSON, so that tables and plots can be made again."""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.bench.figures import Entry, Goal, Table

FORMAT = 1
"""Changed when a key is renamed or removed."""


@dataclass
class Results:
    """Tables, and what is needed to believe them. ``versions`` are by server, then by part.

    ``note`` is what only the caller knows, such as how the interpreter was built.
    """

    date: str
    machine: str
    python: str
    command: str
    rounds: int
    seconds: int
    versions: dict[str, dict[str, str]] = field(default_factory=dict)
    tables: list[Table] = field(default_factory=list)
    note: str = ""

    def as_json(self) -> str:
        """All of it."""
        return json.dumps({"format": FORMAT, **dataclasses.asdict(self)}, indent=1) + "\n"


def from_json(text: str) -> Results:
    """Read what ``as_json`` wrote; raises ``ValueError`` for anything else."""
    try:
        data: dict[str, Any] = json.loads(text)
        if data.pop("format", None) != FORMAT:
            raise ValueError(f"These are not results of format {FORMAT}; run the benchmark again.")
        data["tables"] = [_table(table) for table in data["tables"]]
        return Results(**data)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"These results are not complete: {error!r}.") from error


def merged(runs: Sequence[Results]) -> Results:
    """Put runs together, so that one report has the tables of all; raises ``ValueError`` for what does not belong so.

    Each table is of one run: what is compared was measured together.
    """
    first = runs[0]
    for name in ("machine", "python", "note", "rounds", "seconds"):
        values = {getattr(run, name) for run in runs}
        if len(values) > 1:
            found = ", ".join(sorted(map(repr, values)))
            raise ValueError(f"Runs to be put together must have the same {name}; these have {found}.")
    versions: dict[str, dict[str, str]] = {}
    tables: dict[str, Table] = {}
    for run in runs:
        for server, parts in run.versions.items():
            if versions.setdefault(server, parts) != parts:
                raise ValueError(f"Runs to be put together must have the same servers; two have other {server}s.")
        for table in run.tables:
            if tables.setdefault(table.name, table) is not table:
                raise ValueError(f"{table.name} was measured twice; which of the two is to be shown?")
    return dataclasses.replace(
        first,
        date=max(run.date for run in runs),
        command="\n".join(run.command for run in runs),
        versions=versions,
        tables=list(tables.values()),
    )


def _table(data: dict[str, Any]) -> Table:
    goals = tuple(Goal(**goal) for goal in data.pop("goals"))
    entries = [Entry(**entry) for entry in data.pop("entries")]
    return Table(**data, goals=goals, entries=entries)


def begin(command: Sequence[str], rounds: int, seconds: int, note: str = "") -> Results:
    """Results without tables: of here and today."""
    return Results(
        date=datetime.date.today().isoformat(),
        machine=machine(),
        python=platform.python_version(),
        command=" ".join(command),
        rounds=rounds,
        seconds=seconds,
        note=note,
    )


def machine() -> str:
    """The CPU's model, how many of them, and the kernel."""
    model = platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    # Without the part of the release that names who built it.
    kernel = platform.release().partition("-")[0]
    cpus = os.cpu_count() or 1
    return f"{model}, {cpus} CPU{'s' if cpus > 1 else ''}, {platform.system()} {kernel}"
