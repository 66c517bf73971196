"""Env-files: ``KEY=VALUE`` lines, for keepserve's settings and for the application's environment.

What is understood, and nothing else: empty lines and ``#`` comments; an ``export`` prefix; unquoted values
(trimmed, ending at a ``#`` that follows a space); ``'single'`` quotes, literal; ``"double"`` quotes with
``\\n \\r \\t \\" \\\\ \\$``. Quoted values may span lines. Nothing is expanded: ``$HOME`` stays ``$HOME``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from keepserve.config.problems import ConfigError, Problem

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*", re.ASCII)
_SPACE = re.compile(r"[ \t]*")
_DOUBLE_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_SINGLE_QUOTED = re.compile(r"'([^']*)'")
_REST_OF_LINE = re.compile(r"[^\n]*")
_COMMENT = re.compile(r"(?:^|(?<=[ \t]))#.*")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}


@dataclass(frozen=True, slots=True)
class EnvEntry:
    """One assignment of an env-file and the line (from 1) it starts on."""

    value: str
    line: int


@dataclass(frozen=True, slots=True)
class EnvFile:
    """A parsed env-file. The last assignment of a name wins, as in a shell."""

    path: str
    entries: Mapping[str, EnvEntry]

    def additions(self, environ: Mapping[str, str]) -> dict[str, str]:
        """What to add to the application's environment: names ``environ`` does not have yet."""
        return {name: entry.value for name, entry in self.entries.items() if name not in environ}


def read_env_file(path: str) -> EnvFile:
    """Read and parse an env-file (UTF-8).

    Raises ConfigError with a sentence when it cannot be read, or with one ``path:line`` problem for each
    bad line. Values are never quoted in messages: they are often secrets.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ConfigError(
            Problem(f"The env-file {path} cannot be read: {reason}. Check --env-file.", ("env_file",))
        ) from None
    except UnicodeDecodeError:
        raise ConfigError(
            Problem(f"The env-file {path} is not UTF-8 text. Save it as UTF-8.", ("env_file",))
        ) from None
    return parse_env_file(text, path)


def parse_env_file(text: str, path: str) -> EnvFile:
    """Parse an env-file's text; ``path`` is for the messages. Raises ConfigError with every bad line."""
    # read_text already turned \r\n into \n, but text may come from elsewhere.
    text = text.replace("\r\n", "\n")
    entries: dict[str, EnvEntry] = {}
    problems: list[Problem] = []
    position, line = 0, 1
    while position < len(text):
        start = position
        try:
            position, name, value = _statement(text, position)
        except _BadLineError as error:
            problems.append(Problem(f"{path}:{line}: {error}", ("env_file",)))
            position = _end_of_line(text, start)
        else:
            if name:
                entries[name] = EnvEntry(value, line)
        line += text.count("\n", start, position)
    if problems:
        raise ConfigError(problems)
    return EnvFile(path, entries)


class _BadLineError(Exception):
    """What is wrong with the statement that starts on this line."""


def _statement(text: str, position: int) -> tuple[int, str, str]:
    """Read one line (or a quoted value over several): the position after it, name and value.

    The name is empty for lines that assign nothing.
    """
    position = _skip(_SPACE, text, position)
    if position == len(text) or text[position] in "#\n":
        return _end_of_line(text, position), "", ""
    if text.startswith(("export ", "export\t"), position):
        position = _skip(_SPACE, text, position + len("export"))
    match = _NAME.match(text, position)
    if match is None:
        raise _BadLineError("expected KEY=VALUE, where KEY starts with a letter or _.")
    name = match[0]
    position = _skip(_SPACE, text, match.end())
    if not text.startswith("=", position):
        raise _BadLineError(f'expected "=" after {name}; write {name}=VALUE.')
    position = _skip(_SPACE, text, position + 1)
    position, value = _value(text, position, name)
    if "\0" in value:
        raise _BadLineError(f"the value of {name} has a NUL byte, which no environment can hold.")
    return position, name, value


def _value(text: str, position: int, name: str) -> tuple[int, str]:
    quote = text[position : position + 1]
    if quote not in ('"', "'"):
        rest = _REST_OF_LINE.match(text, position)
        assert rest is not None  # the pattern matches the empty string
        return _end_of_line(text, position), _COMMENT.sub("", rest[0]).strip()
    match = (_DOUBLE_QUOTED if quote == '"' else _SINGLE_QUOTED).match(text, position)
    if match is None:
        raise _BadLineError(f"the value of {name} opens with {quote} and never closes.")
    after = _skip(_SPACE, text, match.end())
    if after < len(text) and text[after] not in "#\n":
        raise _BadLineError(f"unexpected text after the closing {quote} of {name}.")
    value = _ESCAPE.sub(_unescape, match[1]) if quote == '"' else match[1]
    return _end_of_line(text, after), value


def _unescape(match: re.Match[str]) -> str:
    letter = match[1]
    if letter in _ESCAPES:
        return _ESCAPES[letter]
    # An escape we do not know stays as written, as in a shell: Windows paths, regular expressions.
    return letter if letter in '"\\$' else match[0]


def _skip(pattern: re.Pattern[str], text: str, position: int) -> int:
    match = pattern.match(text, position)
    return match.end() if match else position


def _end_of_line(text: str, position: int) -> int:
    newline = text.find("\n", position)
    return len(text) if newline < 0 else newline + 1
