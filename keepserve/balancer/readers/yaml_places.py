"""YAML to the tree, from the parser's events: PyYAML reads, this module builds and bounds.

Events rather than PyYAML's own nodes, so that depth is known before anything recurses, a key that is given twice
is seen, and no constructor ever runs. An alias shares the node it names; ``weight`` counts it as if it were copied.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from keepserve.balancer.facts import Place, UnreadableError
from keepserve.balancer.readers.tree import (
    MAX_DEPTH,
    MAX_VALUES,
    Mapping,
    Node,
    Scalar,
    Sequence,
    template_in,
)

_CORE_TAG = "tag:yaml.org,2002:"
# Core types that stand for themselves; python/..., and whatever else somebody registers there, do not.
_KNOWN_TAGS = ("str", "int", "float", "bool", "null", "map", "seq", "timestamp", "binary", "merge")


def load_yaml(path: str, text: str, *, functions: bool = False) -> tuple[Node, ...]:
    """Every document of the text that is not empty. Raises UnreadableError.

    ``functions``: tags are CloudFormation's short form of its functions, and read as the long one: ``!Ref X`` is the
    mapping ``Ref: X``, ``!Sub X`` is ``Fn::Sub: X``. Otherwise a tag is refused.
    """
    try:
        import yaml
    except ImportError:
        raise UnreadableError(
            f"{path}: reading YAML needs PyYAML, which is not installed: pip install 'keepserve[check]'."
        ) from None
    # libyaml's parser is ten times faster; wheels have it, some builds from source do not.
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    builder = _Builder(path, functions)
    try:
        for event in yaml.parse(text, Loader=loader):
            builder.take(event)
    except yaml.YAMLError as error:
        raise _broken(path, text, error) from None
    except UnicodeError:
        raise UnreadableError(f"{path}: the file is not text in UTF-8.") from None
    except _KeyIsNoScalar as error:
        line = error.place.line
        raise template_in(path, text, line) or UnreadableError(
            f"{error.place}: a key should be a single value, but a whole mapping or list stands here."
        ) from None
    return tuple(builder.documents)


def _broken(path: str, text: str, error: Any) -> UnreadableError:
    mark = getattr(error, "problem_mark", None)
    line = mark.line + 1 if mark is not None else 0
    template = template_in(path, text, line)
    if template is not None:
        return template
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "it cannot be parsed"
    context = getattr(error, "context", None)
    begun = getattr(error, "context_mark", None)
    since = f" ({context}, begun in line {begun.line + 1})" if context and begun is not None else ""
    return UnreadableError(f"{Place(path, line)}: this is not YAML: {problem}{since}.")


class _KeyIsNoScalar(Exception):
    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self.place = place


@dataclass(slots=True)
class _Open:
    """A mapping or sequence whose end has not come."""

    place: Place
    anchor: str | None
    is_mapping: bool
    function: str
    items: list[Node] = field(default_factory=list)
    entries: dict[str, Node] = field(default_factory=dict)
    key_lines: dict[str, int] = field(default_factory=dict)
    key: Scalar | None = None
    merged: list[Mapping] = field(default_factory=list)
    weight: int = 1


class _Builder:
    """Takes the parser's events and keeps the documents."""

    def __init__(self, path: str, functions: bool) -> None:
        self.path = path
        self.functions = functions
        self.documents: list[Node] = []
        self._open: list[_Open] = []
        self._anchors: dict[str, Node] = {}
        self._total = 0

    def take(self, event: Any) -> None:
        """One event. The parser guarantees that starts and ends match."""
        place = Place(self.path, event.start_mark.line + 1)
        match type(event).__name__:
            case "ScalarEvent":
                function = self._function(event, place)
                self._finish(Scalar(place, event.value, not event.style), event.anchor, function)
            case "SequenceStartEvent" | "MappingStartEvent":
                function = self._function(event, place)
                if len(self._open) == MAX_DEPTH:
                    raise UnreadableError(f"{place}: the file is nested deeper than {MAX_DEPTH} levels.")
                is_mapping = type(event).__name__ == "MappingStartEvent"
                self._open.append(_Open(place, event.anchor, is_mapping, function))
            case "SequenceEndEvent":
                done = self._open.pop()
                self._finish(Sequence(done.place, tuple(done.items), done.weight), done.anchor, done.function)
            case "MappingEndEvent":
                done = self._open.pop()
                self._finish(Mapping(done.place, _with_merged(done), done.weight), done.anchor, done.function)
            case "AliasEvent":
                node = self._anchors.get(event.anchor)
                if node is None:
                    raise UnreadableError(f'{place}: "*{event.anchor}" names no value that ends before this line.')
                self._place_node(node, place)
            case "DocumentStartEvent":
                self._anchors.clear()

    def _function(self, event: Any, place: Place) -> str:
        """The function that a tag stands for, empty for a tag that says nothing new."""
        tag: str | None = event.tag
        if tag is None or tag == "!" or tag.removeprefix(_CORE_TAG) in _KNOWN_TAGS:
            return ""
        if self.functions and tag.startswith("!"):
            return tag[1:] if tag in ("!Ref", "!Condition") else f"Fn::{tag[1:]}"
        raise UnreadableError(
            f'{place}: the tag "{tag}" has a meaning only for the tool it is written for; '
            "give the configuration as the balancer gets it."
        )

    def _finish(self, node: Node, anchor: str | None, function: str) -> None:
        if function:
            node = Mapping(node.place, {function: node}, node.weight + 1)
        if anchor is not None:
            self._anchors[anchor] = node
        self._place_node(node, node.place)

    def _place_node(self, node: Node, place: Place) -> None:
        """Put a finished node where it belongs: into what is open, or to the documents."""
        if not self._open:
            self._total += node.weight
            self._check_weight(self._total, place)
            if not (isinstance(node, Scalar) and node.null):
                self.documents.append(node)
            return
        parent = self._open[-1]
        parent.weight += node.weight
        self._check_weight(parent.weight, place)
        if not parent.is_mapping:
            parent.items.append(node)
        elif parent.key is None:
            parent.key = self._as_key(node, parent, place)
        else:
            key, parent.key = parent.key, None
            if key.plain and key.text == "<<":
                parent.merged.extend(_merged(node, place))
            else:
                # "health_checks:" is where one looks for its list, not the line of the first item.
                moved = node.place == place and not isinstance(node, Scalar)
                parent.entries[key.text] = replace(node, place=key.place) if moved else node

    def _as_key(self, node: Node, parent: _Open, place: Place) -> Scalar:
        if not isinstance(node, Scalar):
            raise _KeyIsNoScalar(place)
        first = parent.key_lines.setdefault(node.text, place.line)
        if node.text in parent.entries:
            raise UnreadableError(
                f'{place}: "{node.text}" is given twice, first in line {first}; one of them is not what is meant.'
            )
        return node

    def _check_weight(self, weight: int, place: Place) -> None:
        if weight > MAX_VALUES:
            raise UnreadableError(f"{place}: with its aliases, the file has more than {MAX_VALUES:,} values.")


def _merged(node: Node, place: Place) -> list[Mapping]:
    sources = node.items if isinstance(node, Sequence) else (node,)
    merged = [source for source in sources if isinstance(source, Mapping)]
    if len(merged) < len(sources):
        raise UnreadableError(f'{place}: "<<" should name a mapping, or a list of mappings, to take keys from.')
    return merged


def _with_merged(done: _Open) -> dict[str, Node]:
    """Own keys win over merged ones, and an earlier source over a later one."""
    if not done.merged:
        return done.entries
    entries: dict[str, Node] = {}
    for source in reversed(done.merged):
        entries.update(source.entries)
    entries.update(done.entries)
    return entries
