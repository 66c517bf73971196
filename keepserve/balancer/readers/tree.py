"""What a YAML or JSON file says, as a tree whose every value knows its line: Mapping, Sequence and Scalar.

Scalars stay text until a reader says what it expects; then a wrong value is an UnreadableError with its place,
what was expected and what was found. A key without a value (null) counts as absent.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TypeAlias, TypeVar

from keepserve.balancer.facts import Fact, Place, UnreadableError
from keepserve.balancer.readers import units

MAX_DEPTH = 100
"""Nesting of mappings and sequences."""
MAX_VALUES = 500_000
"""Values in one file, aliases counted as often as they are used: ten lines of aliases can stand for billions."""

Node: TypeAlias = "Mapping | Sequence | Scalar"
Made = TypeVar("Made")

_NULLS = ("", "~", "null", "Null", "NULL")
_TRUE = ("true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON")
_FALSE = ("false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF")
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}", re.ASCII)
TEMPLATE = re.compile(r"\{\{|\{%|\$\{")
_LOUD_TEMPLATE = re.compile(r"\{\{|\{%")
RENDER = "render it first (helm template, docker compose config, envsubst ...) and give what comes out"
_LONGEST_QUOTE = 60


@dataclass(frozen=True, slots=True, eq=False)
class Scalar:
    """One value as text. ``plain``: written without quotes, so that it may be a number, a bool or null."""

    place: Place
    text: str
    plain: bool
    name: str = ""
    """The key it was looked up by."""
    weight: int = 1

    @property
    def null(self) -> bool:
        return self.plain and self.text in _NULLS

    @property
    def words(self) -> str:
        """The value as it is written there: ``idle_timeout: 3600s``."""
        value = shortened(self.text) or '""'
        return f"{self.name}: {value}" if self.name else value

    def fact(self, value: Made) -> Fact[Made]:
        """A fact that stands here."""
        return Fact(value, self.words, self.place)

    def string(self) -> str:
        """The text. Raises UnreadableError when it is a template that nobody has filled in."""
        if TEMPLATE.search(self.text):
            raise self.wrong("a value")
        return self.text

    def integer(self, least: int = 0) -> int:
        """A whole number of at least ``least``; a number in quotes counts, as it does for the balancers."""
        if not _INTEGER.fullmatch(self.text) or int(self.text) < least:
            raise self.wrong(f"a whole number of at least {least}")
        return int(self.text)

    def boolean(self) -> bool:
        """``true`` or ``false`` (and YAML's yes, no, on, off)."""
        if self.text in _TRUE:
            return True
        if self.text in _FALSE:
            return False
        raise self.wrong("true or false")

    def seconds(self, parse: Callable[[str], float], expected: str) -> float:
        """A duration in the notation of ``parse`` (see ``units``)."""
        try:
            return parse(self.text)
        except ValueError:
            raise self.wrong(expected) from None

    def go_seconds(self) -> float:
        """A duration in Go's notation."""
        return self.seconds(units.go_seconds, units.GO_EXPECTED)

    def wrong(self, expected: str) -> UnreadableError:
        """The error for a value that is not what was expected here."""
        if TEMPLATE.search(self.text):
            return UnreadableError(f'{self.place}: "{self.words}" is a template, not its result; {RENDER}.')
        return UnreadableError(f'{self.place}: "{self.words}" should be {expected}.')


@dataclass(frozen=True, slots=True, eq=False)
class Sequence:
    """Several values in order."""

    place: Place
    items: tuple[Node, ...]
    weight: int
    name: str = ""

    def mappings(self) -> Iterator[Mapping]:
        """The items, each of which must be a mapping."""
        for item in self.items:
            if not isinstance(item, Mapping):
                raise wrong_shape(item, self.name, "a list of mappings (each with keys of its own)")
            yield item

    def scalars(self) -> Iterator[Scalar]:
        """The items, each of which must be a single value."""
        for item in self.items:
            if not isinstance(item, Scalar):
                raise wrong_shape(item, self.name, "a list of single values")
            yield replace(item, name=self.name)


@dataclass(frozen=True, slots=True, eq=False)
class Mapping:
    """Keys and values. A key without a value (null) counts as absent."""

    place: Place
    entries: dict[str, Node]
    weight: int
    name: str = ""

    def get(self, *path: str) -> Node | None:
        """The value under these keys, or None. Raises UnreadableError where the way there is no mapping."""
        node: Node = self
        for depth, key in enumerate(path):
            if not isinstance(node, Mapping):
                raise wrong_shape(node, path[depth - 1], "a mapping (keys with values)")
            found = node.entries.get(key)
            if found is None or (isinstance(found, Scalar) and found.null):
                return None
            node = found
        return replace(node, name=node.name or path[-1])

    def scalar(self, *path: str) -> Scalar | None:
        """The single value under these keys."""
        node = self.get(*path)
        if node is None or isinstance(node, Scalar):
            return node
        raise wrong_shape(node, path[-1], "a single value")

    def mapping(self, *path: str) -> Mapping | None:
        """The mapping under these keys."""
        node = self.get(*path)
        if node is None or isinstance(node, Mapping):
            return node
        raise wrong_shape(node, path[-1], "a mapping (keys with values)")

    def sequence(self, *path: str) -> Sequence:
        """The list under these keys; an empty one when there is none."""
        node = self.get(*path)
        if node is None:
            return Sequence(self.place, (), 0, path[-1])
        if isinstance(node, Sequence):
            return node
        raise wrong_shape(node, path[-1], "a list")

    def string(self, *path: str) -> str:
        """The text under these keys, empty when there is none."""
        node = self.scalar(*path)
        return node.string() if node is not None else ""

    def needed(self, *path: str) -> Scalar:
        """The single value under these keys, which must be there."""
        node = self.scalar(*path)
        if node is None:
            raise UnreadableError(f'{self.place}: there is no "{".".join(path)}" here; is this the whole file?')
        return node

    def children(self) -> Iterator[tuple[str, Mapping]]:
        """Named mappings, as in ``services:``; keys without a value are left out."""
        for key, node in self.entries.items():
            if isinstance(node, Scalar) and node.null:
                continue
            if not isinstance(node, Mapping):
                raise wrong_shape(node, key, "a mapping (keys with values)")
            yield key, replace(node, name=node.name or key)

    def has(self, *keys: str) -> bool:
        """Whether all these keys are here, with values."""
        return all(self.get(key) is not None for key in keys)


def template_in(path: str, text: str, line: int) -> UnreadableError | None:
    """The error for a template, where that explains a broken file: markers in its line, or ``{{`` anywhere."""
    lines = text.split("\n")
    numbers = [line] if 0 < line <= len(lines) and TEMPLATE.search(lines[line - 1]) else []
    numbers += (number for number, content in enumerate(lines, 1) if _LOUD_TEMPLATE.search(content))
    if not numbers:
        return None
    return UnreadableError(f"{Place(path, numbers[0])}: this is a template, not its result; {RENDER}.")


def shortened(text: str) -> str:
    """The text on one line, for a message."""
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST_QUOTE else line[: _LONGEST_QUOTE - 3] + "..."


def wrong_shape(node: Node, name: str, expected: str) -> UnreadableError:
    """The error for a node of another kind than expected."""
    if isinstance(node, Scalar):
        return replace(node, name=name).wrong(expected)
    found = "a list" if isinstance(node, Sequence) else "a mapping"
    what = f'"{name}"' if name else "this"
    return UnreadableError(f"{node.place}: {what} should be {expected}, but is {found}.")
