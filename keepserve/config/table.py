"""The settings, and the fields of the access log, as Markdown tables: what the README shows between markers.

``python -m keepserve.config.table`` prints the settings, ``python -m keepserve.config.table README.md`` puts both
into the file. A test compares the two, so the README cannot fall behind the code.
"""

from __future__ import annotations

import sys

from keepserve.config.documents import insert_between, update
from keepserve.config.fields import Info
from keepserve.config.logformats import FIELDS, HEADER
from keepserve.config.settings import FIELDS_BY_NAME, GROUPS

SETTINGS = "settings"
LOG_FIELDS = "access log fields"


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
    """Return a document with the current tables between their markers. Raises ValueError when one is not there."""
    return insert_between(insert_between(text, SETTINGS, settings_table()), LOG_FIELDS, log_fields_table())


def log_fields_table() -> str:
    """Every field a format of the access log may have. Ends with a newline."""
    rows = [f"| `{{{name}}}` | {_cell(doc)} |" for name, doc in FIELDS.items()]
    header = f"| `{{{HEADER}NAME}}` | a field of the request's header |"
    return "\n".join(["| Field | |", "|---|---|", *rows, header, ""])


if __name__ == "__main__":
    update(sys.argv[1:], settings_table, insert_table)
