"""The kinds of values settings have, and how each is read from text and written for a person.

A kind is chosen per field in `settings.py`; flags, environment variables, env-files and keyword
arguments all go through the same `Kind.convert`, so a value means the same wherever it was written.
Every reader raises ValueError with a sentence.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Iterable
from difflib import get_close_matches

from keepserve.config.cpus import usable_cpus
from keepserve.config.durations import format_duration, parse_duration
from keepserve.config.sizes import format_size, parse_size

TRUE_WORDS = frozenset({"1", "true", "yes", "on"})
FALSE_WORDS = frozenset({"0", "false", "no", "off"})

# RFC 9110 section 5.1: a field name is a token; section 5.5: a value has no control characters.
_FIELD_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+", re.ASCII)
_FIELD_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


class Kind:
    """One kind of value: the base class, and plain text as it is.

    ``metavar`` stands in the help; ``unit`` is what a bare number counts. A ``repeatable`` kind is given
    several times as a flag. ``choices`` are all the words there are, where there are few.
    """

    metavar = "TEXT"
    unit = ""
    repeatable = False
    choices: tuple[str, ...] = ()

    def convert(self, value: object) -> object:
        """Return the value as `Settings` holds it. Raises ValueError with a sentence."""
        return self.parse(value) if isinstance(value, str) else self.accept(value)

    def parse(self, text: str) -> object:
        """Read the text form."""
        return text

    def accept(self, value: object) -> object:
        """Check and tidy a value given as a Python object other than a string."""
        if isinstance(value, os.PathLike) and isinstance(path := os.fspath(value), str):
            return path
        raise ValueError(f"text was expected, {value!r} was found")

    def show(self, value: object) -> str:
        """Write a value for a person; an unset one is ``-``."""
        return "-" if value is None or value == () else self._show(value)

    def _show(self, value: object) -> str:
        return str(value)


class Text(Kind):
    """Plain text; the metavar says what it names, and lets shells complete FILE and DIRECTORY."""

    def __init__(self, metavar: str) -> None:
        self.metavar = metavar


class AppKind(Kind):
    """``module:attribute``, or the application object itself when called from Python."""

    metavar = "APP"

    def accept(self, value: object) -> object:
        return value


class Flag(Kind):
    """Yes or no."""

    metavar = ""

    def parse(self, text: str) -> bool:
        word = text.strip().lower()
        if word in TRUE_WORDS:
            return True
        if word in FALSE_WORDS:
            return False
        raise ValueError(f'"{text}" is neither yes nor no: write 1, true, yes or on, or 0, false, no or off')

    def accept(self, value: object) -> bool:
        if isinstance(value, bool):
            return value
        raise ValueError(f"True or False was expected, {value!r} was found")

    def _show(self, value: object) -> str:
        return "yes" if value else "no"


class Integer(Kind):
    """A whole number."""

    metavar = "NUMBER"

    def parse(self, text: str) -> int:
        if not re.fullmatch(r"[+-]?[0-9]{1,18}", text.strip(), re.ASCII):
            raise ValueError(f'"{text}" is not a whole number')
        return int(text)

    def accept(self, value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError(f"a whole number was expected, {value!r} was found")
        return value


class Workers(Integer):
    """A number of processes, or ``auto`` for the CPUs this process may use."""

    metavar = "NUMBER|auto"

    def parse(self, text: str) -> int:
        if text.strip().lower() == "auto":
            return usable_cpus()
        try:
            return super().parse(text)
        except ValueError as error:
            raise ValueError(f"{error}, nor is it auto") from None


class Duration(Kind):
    """A length of time, in seconds as float."""

    metavar = "DURATION"
    unit = "seconds"

    def parse(self, text: str) -> float:
        return parse_duration(text)

    def accept(self, value: object) -> float:
        # NaN and infinity fail the comparison as well; neither is a timeout.
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
            raise ValueError(f"seconds of 0 or more were expected, {value!r} was found")
        return float(value)

    def _show(self, value: object) -> str:
        return format_duration(value) if isinstance(value, int | float) else str(value)


class Size(Integer):
    """A number of bytes."""

    metavar = "SIZE"
    unit = "bytes"

    def parse(self, text: str) -> int:
        return parse_size(text)

    def _show(self, value: object) -> str:
        return format_size(value) if isinstance(value, int) else str(value)


class Rate(Size):
    """Bytes per second."""

    unit = "bytes per second"

    def _show(self, value: object) -> str:
        return super()._show(value) + "/s"


class Mode(Integer):
    """A Unix file mode, written in octal."""

    metavar = "OCTAL"

    def parse(self, text: str) -> int:
        if not re.fullmatch(r"(0o)?[0-7]{1,4}", text.strip(), re.ASCII):
            raise ValueError(f'"{text}" is not an octal file mode: write it as for chmod, such as 0660')
        return int(text, 8)

    def _show(self, value: object) -> str:
        return f"{value:04o}" if isinstance(value, int) else str(value)


class Choice(Kind):
    """One of a few words, upper or lower case. ``numbers`` maps the integers some servers use to words."""

    def __init__(self, *choices: str, numbers: dict[int, str] | None = None) -> None:
        self.choices = choices
        self.metavar = "|".join(choices)
        self._numbers = numbers or {}

    def parse(self, text: str) -> str:
        word = text.strip().lower()
        if word in self.choices:
            return word
        if word.isascii() and word.isdigit() and int(word) in self._numbers:
            return self._numbers[int(word)]
        near = get_close_matches(word, self.choices, 1)
        hint = f' (did you mean "{near[0]}"?)' if near else ""
        raise ValueError(f'"{text}" is not one of {", ".join(self.choices)}{hint}')

    def accept(self, value: object) -> str:
        if isinstance(value, int) and not isinstance(value, bool) and value in self._numbers:
            return self._numbers[value]
        raise ValueError(f"one of {', '.join(self.choices)} was expected, {value!r} was found")


class Words(Kind):
    """A tuple of texts: as flags given repeatedly, as text split at ``separator``."""

    def __init__(self, metavar: str, *, separator: str = ",", repeatable: bool = True) -> None:
        self.metavar = metavar
        self.repeatable = repeatable
        self.separator = separator

    def parse(self, text: str) -> tuple[str, ...]:
        return self.accept(text.split(self.separator))

    def accept(self, value: object) -> tuple[str, ...]:
        if not isinstance(value, Iterable):
            raise ValueError(f"a list of texts was expected, {value!r} was found")
        words = []
        for word in value:
            if not isinstance(word, str):
                raise ValueError(f"a list of texts was expected, {word!r} was found in it")
            if word.strip():
                words.append(self.check(word.strip()))
        return tuple(words)

    def check(self, word: str) -> str:
        """Check one element; the place for stricter lists to raise ValueError."""
        return word

    def _show(self, value: object) -> str:
        return ", ".join(value) if isinstance(value, tuple) else str(value)


class Fields(Words):
    """Response fields, ``Name: value`` each; in text one per line, because values may hold commas."""

    def __init__(self) -> None:
        super().__init__("'NAME: VALUE'", separator="\n")

    def accept(self, value: object) -> tuple[str, ...]:
        # Python callers often hold pairs, of str or of bytes, as other servers' `headers=` takes them.
        if isinstance(value, Iterable):
            value = [": ".join(map(_decoded, one)) if isinstance(one, tuple) else one for one in value]
        return super().accept(value)

    def check(self, word: str) -> str:
        name, colon, content = word.partition(":")
        if not colon or not _FIELD_NAME.fullmatch(name):
            raise ValueError(f'"{word}" is not a response field: write "Name: value"')
        if not _FIELD_VALUE.fullmatch(content):
            raise ValueError(f"the value of field {name} has control or non-Latin-1 characters: {content!r}")
        if name.lower() in {"connection", "keep-alive", "transfer-encoding", "content-length", "upgrade"}:
            raise ValueError(f"field {name} frames the message and is keepserve's own to send: leave it out")
        return word


def _decoded(part: object) -> str:
    return part.decode("latin-1") if isinstance(part, bytes) else str(part)


class TrustedPeers(Words):
    """Addresses, CIDR networks, ``unix`` (peers on Unix sockets) or ``*`` (everybody)."""

    def __init__(self) -> None:
        super().__init__("LIST", repeatable=False)

    def check(self, word: str) -> str:
        if word in ("*", "unix"):
            return word
        try:
            ipaddress.ip_network(word)
        except ValueError as error:
            raise ValueError(
                f'"{word}" is not a peer to trust ({error}): write addresses (10.0.0.7), '
                'networks (10.0.0.0/8), unix for peers on Unix sockets, or "*" for everybody'
            ) from None
        return word


FILE = Text("FILE")
DIRECTORY = Text("DIRECTORY")
APP = AppKind()
FLAG = Flag()
INTEGER = Integer()
WORKERS = Workers()
DURATION = Duration()
SIZE = Size()
RATE = Rate()
MODE = Mode()
FIELDS = Fields()
TRUSTED_PEERS = TrustedPeers()
