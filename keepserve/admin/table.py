"""The metrics as a Markdown table: what deploy/README.md shows between its two markers.

``python -m keepserve.admin.table`` prints it, ``python -m keepserve.admin.table deploy/README.md`` puts it into the
file. A test compares the two.
"""

from __future__ import annotations

import sys
from pathlib import Path

from keepserve.admin.catalogue import CATALOGUE
from keepserve.admin.families import Family

BEGIN = "<!-- metrics -->"
END = "<!-- /metrics -->"


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
    """Return a document with the current table between its markers.

    Raises ValueError when the markers are not there, once each and in order.
    """
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"The document has no {BEGIN} followed by {END}; add them where the table belongs.")
    return f"{head}{BEGIN}\n\n{metrics_table()}\n{END}{tail}"


def main(arguments: list[str]) -> None:
    """Print the table, or put it into the file named."""
    if not arguments:
        print(metrics_table(), end="")
        return
    path = Path(arguments[0])
    path.write_text(insert_table(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
