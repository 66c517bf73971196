"""JSON (RFC 8259) to the tree: one value, or several one after the other, as concatenated answers of a tool are.

The standard library's parser tells no lines, and YAML 1.1 is no superset of JSON: it refuses tabs and pairs of
surrogates. So this is a parser of its own, strict, without comments or trailing commas.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right

from keepserve.balancer.facts import Place, UnreadableError
from keepserve.balancer.readers.tree import (
    MAX_DEPTH,
    MAX_VALUES,
    Mapping,
    Node,
    Scalar,
    Sequence,
    shortened,
    template_in,
)

_SPACE = re.compile(r"[ \t\r\n]*")
# Runs of plain characters at once: taken one by one, a long string would cost much memory.
_STRING = re.compile(r'"[^"\\\x00-\x1f]*(?:\\.[^"\\\x00-\x1f]*)*"')
_ATOM = re.compile(r"true|false|null|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?", re.ASCII)
_WORD = re.compile(r"[^\s,:{}\[\]]+|.")


def load_json(path: str, text: str, *, lines: bool = True) -> tuple[Node, ...]:
    """Every value of the text that is not null. Raises UnreadableError.

    ``lines`` False: the text was made by a tool, so its lines are none that anybody could change.
    """
    parser = _Parser(path, text, lines)
    documents = []
    while not parser.at_end():
        node = parser.value(0)
        if not (isinstance(node, Scalar) and node.null):
            documents.append(node)
    return tuple(documents)


class _Parser:
    def __init__(self, path: str, text: str, lines: bool) -> None:
        self.path = path
        self.text = text
        self._lines = lines
        self.position = 0
        self.values = 0
        self._line_ends = [match.start() for match in re.finditer("\n", text)]

    def at_end(self) -> bool:
        """Skip white space and say whether anything is left."""
        self.position = self._after_space(self.position)
        return self.position == len(self.text)

    def value(self, depth: int, inside: Place | None = None) -> Node:
        """The value that begins here, with everything in it; ``inside`` is where what it belongs to begins."""
        self.at_end()
        place = self._place(self.position)
        self.values += 1
        if self.values > MAX_VALUES:
            raise UnreadableError(f"{place}: the file has more than {MAX_VALUES:,} values.")
        character = self.text[self.position : self.position + 1]
        if character in ("{", "[") and depth == MAX_DEPTH:
            raise UnreadableError(f"{place}: the file is nested deeper than {MAX_DEPTH} levels.")
        if character == "{":
            return self._object(place, depth)
        if character == "[":
            return self._array(place, depth)
        if character == '"':
            return Scalar(place, self._string(), plain=False)
        atom = _ATOM.match(self.text, self.position)
        if atom is None:
            raise self._wrong("a value", inside or place)
        self.position = atom.end()
        return Scalar(place, atom[0], plain=True)

    def _object(self, place: Place, depth: int) -> Mapping:
        entries: dict[str, Node] = {}
        lines: dict[str, int] = {}
        weight = 1
        self.position += 1
        more = not self._take("}")
        while more:
            self.at_end()
            key_place = self._place(self.position)
            if self.text[self.position : self.position + 1] != '"':
                raise self._wrong("a key in double quotes", place)
            key = self._string()
            if key in lines:
                raise UnreadableError(
                    f'{key_place}: "{shortened(key)}" is given twice, first in line {lines[key]}; '
                    "one of them is not what is meant."
                )
            lines[key] = key_place.line
            if not self._take(":"):
                raise self._wrong(f'":" after "{shortened(key)}"', place)
            entries[key] = node = self.value(depth + 1, place)
            weight += node.weight
            more = self._take(",")
            if not more and not self._take("}"):
                raise self._wrong('"," or "}"', place)
        return Mapping(place, entries, weight)

    def _array(self, place: Place, depth: int) -> Sequence:
        items: list[Node] = []
        self.position += 1
        more = not self._take("]")
        while more:
            items.append(self.value(depth + 1, place))
            more = self._take(",")
            if not more and not self._take("]"):
                raise self._wrong('"," or "]"', place)
        return Sequence(place, tuple(items), 1 + sum(item.weight for item in items))

    def _string(self) -> str:
        match = _STRING.match(self.text, self.position)
        if match is not None:
            try:
                string = json.loads(match[0])
            except ValueError:
                match = None
        if match is None:
            raise UnreadableError(
                f"{self._place(self.position)}: this is not JSON: the string that begins here does not end in its "
                "line, or has an escape that JSON does not know."
            )
        self.position = match.end()
        return str(string)

    def _take(self, character: str) -> bool:
        self.position = self._after_space(self.position)
        if not self.text.startswith(character, self.position):
            return False
        self.position += 1
        return True

    def _after_space(self, position: int) -> int:
        match = _SPACE.match(self.text, position)
        return match.end() if match is not None else position

    def _place(self, position: int) -> Place:
        return Place(self.path, bisect_right(self._line_ends, position - 1) + 1 if self._lines else 0)

    def _wrong(self, expected: str, begun: Place) -> UnreadableError:
        if self.at_end():
            return UnreadableError(
                f"{begun}: this is half a file: what begins here is still open in line "
                f"{self._place(self.position).line}, where the file ends."
            )
        place = self._place(self.position)
        template = template_in(self.path, self.text, place.line)
        if template is not None:
            return template
        found = _WORD.match(self.text, self.position)
        quoted = shortened(found[0]) if found is not None else ""
        return UnreadableError(f"{place}: this is not JSON: {expected} should stand where '{quoted}' is.")
