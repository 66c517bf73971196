"""An NGINX configuration as a tree of directives, each with its file and line; included files are in their places.

The parsing is crossplane's. Here its findings are checked to be whole, and given types.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from keepserve.balancer.facts import Place, UnreadableError

try:
    import crossplane
    from crossplane import analyzer
except ImportError:  # the extra "check" is not installed
    crossplane = None
else:
    # Newer than crossplane's table: since NGINX 1.29.7 "keepalive 32 local" has a second word.
    analyzer.DIRECTIVES["keepalive"] = [mask | analyzer.NGX_CONF_TAKE2 for mask in analyzer.DIRECTIVES["keepalive"]]


@dataclass(frozen=True, slots=True)
class Directive:
    """One directive. ``block`` is None for one that ends with a semicolon."""

    name: str
    args: tuple[str, ...]
    place: Place
    block: tuple[Directive, ...] | None = None

    @property
    def words(self) -> str:
        """The directive as it may be written, without what its block holds."""
        return " ".join((self.name, *(_quoted(arg) for arg in self.args)))

    def all(self, name: str) -> Iterator[Directive]:
        """The directives of that name directly inside."""
        return (one for one in self.block or () if one.name == name)


def _quoted(arg: str) -> str:
    return arg if arg and not set(arg) & set(" \t\n;{}\"'") else f'"{arg}"'


def parse(path: str, read_by_us: Sequence[str]) -> tuple[Directive, ...]:
    """The directives of a main configuration file. ``read_by_us``: names whose misspelling must not go unnoticed.

    Raises UnreadableError for anything NGINX would not start with, as far as it can be told, and for a missing
    crossplane.
    """
    if crossplane is None:
        raise UnreadableError(
            f"{path}: reading NGINX's files needs crossplane, which is not installed: pip install 'keepserve[check]'."
        )
    payload = crossplane.parse(path, catch_errors=True, comments=False, strict=False)
    if payload["errors"]:
        raise UnreadableError(_complaint(payload["errors"][0]))
    return _Tree(payload["config"], frozenset(read_by_us)).expand(0, ())


def _complaint(error: dict[str, Any]) -> str:
    file, line = error["file"], error["line"]
    place = Place(file, line or 0)
    text = str(error["error"])
    if not text:
        return f"{place}: the file ends in the middle of a directive; the rest of it is missing."
    # crossplane's own messages end with the place, which stands in front here.
    text = text.removesuffix(f" in {file}:{line}").removesuffix(f" in {file}")
    if text.startswith("[Errno"):
        return (
            f"{place}: a file that is included here cannot be read ({text.partition('] ')[2]}). Run the check where "
            "the whole configuration is: what is missing may say the opposite."
        )
    return f"{place}: {text}. NGINX would not start with it either (nginx -t)."


class _Tree:
    def __init__(self, files: list[dict[str, Any]], read_by_us: frozenset[str]) -> None:
        self.files = files
        self.read_by_us = read_by_us

    def expand(self, index: int, within: tuple[int, ...]) -> tuple[Directive, ...]:
        file = self.files[index]
        if index in within:
            raise UnreadableError(f"{file['file']}: this file includes itself.")
        return tuple(self._directives(file["parsed"], file["file"], (*within, index)))

    def _directives(self, parsed: list[dict[str, Any]], path: str, within: tuple[int, ...]) -> Iterator[Directive]:
        for statement in parsed:
            place = Place(path, statement["line"])
            if "includes" in statement:
                for index in statement["includes"]:
                    yield from self.expand(index, within)
                continue
            name = statement["directive"]
            self._refuse_misspelt(name, place)
            block = statement.get("block")
            inner = tuple(self._directives(block, path, within)) if block is not None else None
            yield Directive(name, tuple(statement["args"]), place, inner)

    def _refuse_misspelt(self, name: str, place: Place) -> None:
        # Unknown directives are common (modules), but one letter off a known one would silently hide a value.
        if name in analyzer.DIRECTIVES or name in self.read_by_us:
            return
        near = get_close_matches(name, self.read_by_us, 1, cutoff=0.95)
        if near:
            raise UnreadableError(f'{place}: there is no directive "{name}"; did you mean "{near[0]}"?')
