"""The settings as a Markdown table: what the README shows between its two markers.

``python -m keepserve.config.table`` prints it, ``python -m keepserve.config.table README.md`` puts it into
the file. A test compares the two, so the README cannot fall behind the code.
"""

from __future__ import annotations

import sys
from pathlib import Path

from keepserve.config.fields import Info
from keepserve.config.settings import FIELDS_BY_NAME, GROUPS

BEGIN = "<!-- settings -->"
END = "<!-- /settings -->"


def settings_table() -> str:
    """Every setting by subject: option, environment, default and sentence. Ends with a newline."""
    lines: list[str] = []
    for group in GROUPS:
        lines += [f"**{group}**", "", "| Option | Environment | Default | |", "|---|---|---|---|"]
        lines += [_row(info) for info in FIELDS_BY_NAME.values() if info.group == group]
        lines.append("")
    return "\n".join(lines)


def _row(info: Info) -> str:
    option = f"{info.flag}/{info.negative_flag}" if info.boolean else f"{info.flag} {info.kind.metavar}"
    if info.name == "app":
        option = info.flag
    names = ", ".join(f"`{name}`" for name in info.envs)
    return f"| `{_cell(option.strip())}` | {names} | {_cell(info.default_text)} | {_cell(info.doc)} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def insert_table(text: str) -> str:
    """Return a document with the current table between its markers.

    Raises ValueError when the markers are not there, once each and in order.
    """
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"The document has no {BEGIN} followed by {END}; add them where the table belongs.")
    return f"{head}{BEGIN}\n\n{settings_table()}\n{END}{tail}"


def main(arguments: list[str]) -> None:
    """Print the table, or put it into the file named."""
    if not arguments:
        print(settings_table(), end="")
        return
    path = Path(arguments[0])
    path.write_text(insert_table(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
