"""Tables that are generated into a document, each between two HTML comments: so it cannot fall behind the code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path


def markers(name: str) -> tuple[str, str]:
    """The comments between which the table of that name stands."""
    return f"<!-- {name} -->", f"<!-- /{name} -->"


def insert_between(text: str, name: str, table: str) -> str:
    """Return a document with the table between its markers.

    Raises ValueError when the markers are not there, once each and in order.
    """
    begin, end = markers(name)
    head, found, rest = text.partition(begin)
    _, closed, tail = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"The document has no {begin} followed by {end}; add them where the table belongs.")
    return f"{head}{begin}\n\n{table}\n{end}{tail}"


def update(arguments: Sequence[str], printed: Callable[[], str], inserted: Callable[[str], str]) -> None:
    """Run a generator's command: print the table, or put it into the file named."""
    if not arguments:
        print(printed(), end="")
        return
    path = Path(arguments[0])
    path.write_text(inserted(path.read_text(encoding="utf-8")), encoding="utf-8")
