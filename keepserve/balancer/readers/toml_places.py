"""TOML to the tree. The standard library's parser tells no lines, so it is asked statement by statement.

A statement is the shortest run of lines, from where the last one ended, that ``tomllib`` takes by itself: no
beginning of a value is a value, so this finds each statement whole. Every value has the line its statement begins in.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from keepserve.balancer.facts import Place, UnreadableError
from keepserve.balancer.readers.tree import Mapping, Node, Scalar, Sequence, template_in

_LONGEST_STATEMENT = 500
"""Lines of one statement; finding its end takes the square of that."""

_Value: TypeAlias = "_Table | list[_Table] | Node"


@dataclass(slots=True)
class _Table:
    place: Place
    entries: dict[str, _Value] = field(default_factory=dict)


def load_toml(path: str, text: str) -> Mapping:
    """The whole file. Raises UnreadableError."""
    try:
        tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise template_in(path, text, 0) or UnreadableError(f"{path}: this is not TOML: {error}.") from None
    text = text.replace("\r\n", "\n")
    root = _Table(Place(path, 1))
    table = root
    for place, statement in _statements(path, text):
        if _is_header(statement):
            table = _enter(root, statement, place)
        else:
            _assign(table, statement, place)
    return _finished(root)


def _statements(path: str, text: str) -> Iterator[tuple[Place, dict[str, Any]]]:
    lines = text.split("\n")
    start = 0
    while start < len(lines):
        for end in range(start + 1, len(lines) + 1):
            if end - start > _LONGEST_STATEMENT:
                place = Place(path, start + 1)
                raise UnreadableError(
                    f"{place}: this value is longer than {_LONGEST_STATEMENT} lines; is it meant here?"
                )
            try:
                statement = tomllib.loads("\n".join(lines[start:end]))
            except tomllib.TOMLDecodeError:
                continue
            if statement:
                yield Place(path, start + 1), _with_header(statement, lines[start])
            break
        start = end


def _with_header(statement: dict[str, Any], line: str) -> dict[str, Any]:
    return {_HEADER: statement} if line.lstrip().startswith("[") else statement


_HEADER = "\x00header"
"""Marks a table's header; no key of a file can hold this control character unescaped."""


def _is_header(statement: dict[str, Any]) -> bool:
    return _HEADER in statement


def _enter(root: _Table, statement: dict[str, Any], place: Place) -> _Table:
    """The table that ``[a.b]`` or ``[[a.b]]`` opens."""
    table, value = root, statement[_HEADER]
    while value:
        ((key, value),) = value.items()
        known = table.entries.get(key)
        if isinstance(value, list):
            tables = known if isinstance(known, list) else []
            tables.append(_Table(place))
            table.entries[key] = tables
            return tables[-1]
        table = _step(table, key, place)
    return table


def _step(table: _Table, key: str, place: Place) -> _Table:
    known = table.entries.get(key)
    if isinstance(known, list):
        return known[-1]
    if not isinstance(known, _Table):
        known = table.entries[key] = _Table(place)
    return known


def _assign(table: _Table, statement: dict[str, Any], place: Place) -> None:
    """``a.b = 1`` in the open table; an inline table is a value like any other."""
    for key, value in statement.items():
        if isinstance(value, dict):
            _assign(_step(table, key, place), value, place)
        else:
            table.entries[key] = _node(value, place)


def _node(value: Any, place: Place) -> Node:
    if isinstance(value, dict):
        entries = {key: _node(child, place) for key, child in value.items()}
        return Mapping(place, entries, 1 + sum(child.weight for child in entries.values()))
    if isinstance(value, list):
        items = tuple(_node(child, place) for child in value)
        return Sequence(place, items, 1 + sum(child.weight for child in items))
    if isinstance(value, bool):
        return Scalar(place, "true" if value else "false", plain=True)
    return Scalar(place, str(value), plain=not isinstance(value, str))


def _finished(table: _Table) -> Mapping:
    entries: dict[str, Node] = {}
    for key, value in table.entries.items():
        if isinstance(value, _Table):
            entries[key] = _finished(value)
        elif isinstance(value, list):
            items = tuple(map(_finished, value))
            entries[key] = Sequence(items[0].place, items, 1 + sum(item.weight for item in items))
        else:
            entries[key] = value
    return Mapping(table.place, entries, 1 + sum(child.weight for child in entries.values()))
