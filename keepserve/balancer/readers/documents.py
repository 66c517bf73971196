"""YAML and JSON files with places.

``load`` gives the documents of a file as a small tree (see ``tree``) in which every value knows its line. Nothing in
a file is executed or resolved: no tags, no templates, no includes. Anchors, aliases and merge keys (``<<``) are
followed; nesting and the number of values are bounded, so a file cannot grow in memory.
"""

from __future__ import annotations

from functools import lru_cache

from keepserve.balancer.facts import UnreadableError
from keepserve.balancer.readers.json_places import load_json
from keepserve.balancer.readers.tree import Mapping, Node, Scalar, Sequence, wrong_shape
from keepserve.balancer.readers.yaml_places import load_yaml

__all__ = ["Mapping", "Node", "Scalar", "Sequence", "load", "load_mappings", "try_load"]

MAX_CHARACTERS = 8_000_000
"""Longer than any balancer's configuration; more is another kind of file."""


def load(path: str, text: str, *, functions: bool = False) -> tuple[Node, ...]:
    """The documents of a YAML or JSON file (or of JSON values one after the other), empty ones left out.

    ``functions``: YAML tags are CloudFormation's functions (see ``load_yaml``). Raises UnreadableError: broken or
    half a file, a template, a key that is given twice, too deep or too large.
    """
    return _load(path, text, functions)


def try_load(path: str, text: str, *, functions: bool = False) -> tuple[Node, ...]:
    """As ``load``, but an unreadable file has no documents. For telling kinds apart."""
    try:
        return _load(path, text, functions)
    except UnreadableError:
        return ()


def load_mappings(path: str, text: str) -> tuple[Mapping, ...]:
    """As ``load``, for kinds whose documents are all mappings."""
    documents = load(path, text)
    for document in documents:
        if not isinstance(document, Mapping):
            raise wrong_shape(document, "", "a mapping (keys with values)")
    return tuple(document for document in documents if isinstance(document, Mapping))


# Each reader looks at the same file before one of them reads it.
@lru_cache(maxsize=4)
def _load(path: str, text: str, functions: bool) -> tuple[Node, ...]:
    if len(text) > MAX_CHARACTERS:
        raise UnreadableError(
            f"{path}: the file is longer than {MAX_CHARACTERS:,} characters; give only its own part."
        )
    text = text.removeprefix("\ufeff")
    if not text.strip():
        raise UnreadableError(f"{path}: the file is empty.")
    documents = _parsed(path, text, functions)
    if not documents:
        raise UnreadableError(f"{path}: there is nothing in the file but comments or empty documents.")
    return documents


def _parsed(path: str, text: str, functions: bool) -> tuple[Node, ...]:
    if path.endswith(".json"):
        return load_json(path, text)
    if text.lstrip()[0] not in "{[":
        return load_yaml(path, text, functions=functions)
    try:
        return load_json(path, text)
    except UnreadableError as not_json:
        # A YAML file may begin with a brace, too; what is neither gets JSON's error.
        try:
            return load_yaml(path, text, functions=functions)
        except UnreadableError:
            raise not_json from None
