"""The metrics as a Markdown table: what deploy/README.md shows between its two markers.

``python -m keepserve.admin.table`` prints it, ``python -m keepserve.admin.table deploy/README.md`` puts it into the
file. A test compares the two.
"""

from __future__ import annotations

import sys

from keepserve.admin.catalogue import CATALOGUE
from keepserve.admin.families import Family
from keepserve.config.documents import insert_between, update

NAME = "metrics"


def metrics_table() -> str:
    """Every metric by subject: name, labels, kind and sentence. Ends with a newline."""
    lines: list[str] = []
    for subject, families in CATALOGUE.items():
        lines += [f"**{subject}**", "", "| Metric | Labels | Kind | |", "|---|---|---|---|"]
        lines += map(_row, families)
        lines.append("")
    return "\n".join(lines)


def _row(family: Family) -> str:
    labels = ", ".join(f"`{label}`" for label in family.all_labels)
    return f"| `{family.name}` | {labels} | {family.kind} | {family.text} |"


def insert_table(text: str) -> str:
    """Return a document with the current table between its markers. Raises ValueError when they are not there."""
    return insert_between(text, NAME, metrics_table())


if __name__ == "__main__":
    update(sys.argv[1:], metrics_table, insert_table)
