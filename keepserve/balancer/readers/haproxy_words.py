"""HAProxy's configuration as lines of words, and the values in them: its manual, sections 2.2 to 2.5.

A line is split at blanks. A backslash protects the next character; double quotes protect blanks, ``'`` and ``#``;
single quotes protect everything; ``#`` outside of quotes begins a comment. Environment variables are left as
they are written, since the environment HAProxy will have is not known here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from keepserve.balancer.facts import Place, UnreadableError

_ESCAPED = {"n": "\n", "r": "\r", "t": "\t"}
_LITERAL = " \\#'\""
_HEX = re.compile(r"[0-9A-Fa-f]{2}", re.ASCII)
_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_TIME = re.compile(r"(\d+)(us|ms|s|m|h|d)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Line:
    """The words of one line that has any."""

    words: tuple[str, ...]
    place: Place

    def __str__(self) -> str:
        return " ".join(self.words)


def lines_of(path: str, text: str) -> Iterator[Line]:
    """The lines that say something. Raises UnreadableError for an open quote and for a cut last line."""
    for number, raw in enumerate(text.splitlines(), 1):
        words = _split(raw, Place(path, number))
        if words:
            yield Line(tuple(words), Place(path, number))
    if not text.endswith(("\n", "\r")):
        # HAProxy refuses such a file for the same reason.
        last = text.count("\n") + 1
        raise UnreadableError(f"{path}:{last}: the last line has no line end, so the file may have been cut off.")


def _split(raw: str, place: Place) -> list[str]:
    words: list[str] = []
    word: list[str] | None = None  # None: between words; quotes make a word even when they are empty
    quote = ""
    position = 0
    while position < len(raw):
        char = raw[position]
        if quote == "'":
            if char == "'":
                quote = ""
            else:
                word = [*(word or []), char]
        elif char == "\\":
            piece, position = _escape(raw, position, place)
            word = [*(word or []), piece]
            continue
        elif char == quote:
            quote = ""
        elif not quote and char in "'\"":
            quote = char
            word = word or []
        elif not quote and char == "#":
            break
        elif not quote and char in " \t":
            if word is not None:
                words.append("".join(word))
            word = None
        else:
            word = [*(word or []), char]
        position += 1
    if quote:
        raise UnreadableError(f"{place}: a {quote} is opened in this line and not closed.")
    if word is not None:
        words.append("".join(word))
    return words


def _escape(raw: str, position: int, place: Place) -> tuple[str, int]:
    """What a backslash makes of the characters behind it, and where to go on."""
    char = raw[position + 1 : position + 2]
    if char in _ESCAPED:
        return _ESCAPED[char], position + 2
    if char == "x":
        digits = raw[position + 2 : position + 4]
        if not _HEX.fullmatch(digits):
            raise UnreadableError(f"{place}: \\x must be followed by two hexadecimal digits.")
        return chr(int(digits, 16)), position + 4
    if char and (char in _LITERAL or char == "$"):
        return char, position + 2
    return "\\" + char, position + 1 + len(char)


def seconds(text: str, place: Place) -> float:
    """A time; without a unit it is milliseconds. Raises UnreadableError."""
    match = _TIME.fullmatch(text)
    if match is None:
        raise UnreadableError(f'{place}: "{text}" is not a time. {_expected(text, "30s or 30000 (milliseconds)")}')
    return int(match[1]) * _UNITS[match[2] or "ms"]


def number(text: str, place: Place) -> int:
    """A whole number, perhaps negative. Raises UnreadableError."""
    try:
        return int(text)
    except ValueError:
        raise UnreadableError(f'{place}: "{text}" is not a number. {_expected(text, "a whole number")}') from None


def _expected(text: str, what: str) -> str:
    if "$" in text:
        return f"Environment variables cannot be looked up here; write {what} in the copy that is checked."
    return f"HAProxy takes {what}."
