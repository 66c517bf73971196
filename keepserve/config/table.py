"""The settings, and the fields of the access log, as Markdown tables: what the README shows between markers.

``python -m keepserve.config.table`` prints the settings, ``python -m keepserve.config.table README.md`` puts both
into the file. A test compares the two, so the README cannot fall behind the code.
"""

from __future__ import annotations

import sys
from pathlib import Path

from keepserve.config.fields import Info
from keepserve.config.logformats import FIELDS, HEADER
from keepserve.config.settings import FIELDS_BY_NAME, GROUPS

BEGIN = "<!-- settings -->"
END = "<!-- /settings -->"
LOG_BEGIN = "<!-- access log fields -->"
LOG_END = "<!-- /access log fields -->"


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
    """Return a document with the current tables between their markers; that of the log's fields need not be there.

    Raises ValueError when the markers of the settings are not there, once each and in order.
    """
    text = _insert(text, BEGIN, END, settings_table())
    return _insert(text, LOG_BEGIN, LOG_END, log_fields_table()) if LOG_BEGIN in text else text


def log_fields_table() -> str:
    """Every field a format of the access log may have. Ends with a newline."""
    rows = [f"| `{{{name}}}` | {_cell(doc)} |" for name, doc in FIELDS.items()]
    header = f"| `{{{HEADER}NAME}}` | a field of the request's header |"
    return "\n".join(["| Field | |", "|---|---|", *rows, header, ""])


def _insert(text: str, begin: str, end: str, table: str) -> str:
    head, found, rest = text.partition(begin)
    _, closed, tail = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"The document has no {begin} followed by {end}; add them where the table belongs.")
    return f"{head}{begin}\n\n{table}\n{end}{tail}"


def main(arguments: list[str]) -> None:
    """Print the table, or put it into the file named."""
    if not arguments:
        print(settings_table(), end="")
        return
    path = Path(arguments[0])
    path.write_text(insert_table(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
