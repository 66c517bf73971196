r"""One request as one line of the text format, the access log's default; and what all its formats share.

A line is printable ASCII (but for the colours on a terminal, and tabs that the user's format has) and shorter than
4096 bytes, so that a pipe takes it in one piece. The target is the one the client sent, undecoded, with everything
below 0x20, 0x7f and above, ``"`` and ``\`` as ``\xNN``: what a client sends can neither end a line nor move a
cursor (log injection, CVE-2020-7694).

This is written for speed. Beside a request that has just been served, rendering its line takes more than twice the
time it takes beside other lines, because the processor has to fetch the code and the tables for it anew. So on the
way of a request a line is only noted, and sixty-four are rendered together; and their targets are looked at
together, too.
`tests/telemetry` holds the result to the rules above.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from keepserve.asgi.exchange import Exchange
    from keepserve.server.hosting import Hosting

MAX_TARGET = 2048
"""Characters of the escaped target that a line keeps; more are cut and marked by ``...``."""
MAX_WORD = 256
"""The same for the client's name, the method and the version."""
MAX_VALUE = 512
"""The same for a header field's value."""
LONGEST_LINE = 4095
"""Bytes of a line with its newline: a pipe takes it in one piece."""

_SAFE = bytes(code for code in range(0x20, 0x7F) if code not in b'"\\')
_SAFE_LINES = _SAFE + b"\n"
_UNSAFE = re.compile(r"[^ !#-\[\]-~]").search
_ESCAPES = tuple(chr(code) if code in _SAFE else f"\\x{code:02x}" for code in range(256))

# Turning a float into "1.3" costs as much as the rest of the line; durations under 100 ms are looked up.
_TENTHS = tuple(f"{tenths // 10}.{tenths % 10}" for tenths in range(1000))
_KNOWN_WORDS_LIMIT = 4096
_KNOWN_WORD_LENGTH = 64
_KNOWN_VALUES_LIMIT = 1024
_KNOWN_VALUE_LENGTH = 256

_DIM, _RESET = "\x1b[2m", "\x1b[0m"
_STATUS_COLORS = ("\x1b[0m", "\x1b[36m", "\x1b[32m", "\x1b[36m", "\x1b[33m", "\x1b[1;31m")


class Form(Protocol):
    """A format of access lines.

    ``note`` takes what the line needs while the request is at hand: the status sent and the monotonic time of the
    end. ``lines`` makes lines of what ``note`` returned; ``offset`` is what the wall clock is ahead of the
    monotonic one, in seconds.
    """

    def note(self, connection: Hosting, exchange: Exchange, status: int, ended: float) -> Any:
        """Take what the line needs."""

    def lines(self, notes: list[Any], offset: float) -> str:
        """Render lines, each with its newline."""


def escape(raw: bytes, limit: int = MAX_TARGET) -> str:
    r"""Render ``raw`` as printable ASCII, at most ``limit`` characters and ``...`` when it was cut.

    >>> escape(b'/a"b\x1b')
    '/a\\x22b\\x1b'
    """
    if len(raw) <= limit and not raw.translate(None, _SAFE):
        return raw.decode("ascii")
    return escape_text(raw.decode("latin-1"), limit)


def escape_text(text: str, limit: int) -> str:
    """`escape` for text, of which only characters up to U+00FF are escaped by their numbers, others by UTF-8's."""
    if len(text) <= limit and not _UNSAFE(text):
        return text
    try:
        raw = text[: limit + 1].encode("latin-1")
    except UnicodeEncodeError:
        raw = text[: limit + 1].encode("utf-8", "backslashreplace")
    pieces: list[str] = []
    room = limit
    for code in raw:
        piece = _ESCAPES[code]
        room -= len(piece)
        if room < 0:
            pieces.append("...")
            break
        pieces.append(piece)
    return "".join(pieces)


def escape_targets(raw: list[bytes]) -> list[str]:
    """`escape` for many at once, which mostly have nothing to be escaped."""
    joined = b"\n".join(raw)
    if joined.translate(None, _SAFE_LINES) or joined.count(b"\n") >= len(raw) or max(map(len, raw)) > MAX_TARGET:
        return [escape(one) for one in raw]
    return joined.decode("ascii").split("\n")


def milliseconds(duration: float) -> str:
    """Seconds as milliseconds with one decimal: ``1.3``."""
    tenths = int(duration * 10_000 + 1e-6)
    return _TENTHS[tenths] if 0 <= tenths < 1000 else f"{duration * 1000:.1f}"


class Values(dict[bytes, str]):
    """Escaped forms of header fields that many requests have in common: hosts, browsers."""

    def __init__(self, escaped: Callable[[bytes], str]) -> None:
        super().__init__()
        self._escaped = escaped

    def __missing__(self, value: bytes) -> str:
        clean = self._escaped(value)
        if len(value) <= _KNOWN_VALUE_LENGTH:
            if len(self) >= _KNOWN_VALUES_LIMIT:
                self.clear()
            self[value] = clean
        return clean


class Words(dict[str, str]):
    """Escaped forms of clients, methods and versions: few values, seen in each request of a connection.

    ``form`` is given the word before it is escaped; ``limit`` is in characters.
    """

    def __init__(self, form: Callable[[str], str] = str, limit: int = MAX_WORD) -> None:
        super().__init__()
        self._form = form
        self._limit = limit

    def escaped(self, word: str) -> str:
        """Make the form of a word."""
        # A proxy may have put anything into the client's name, so it is escaped like the target.
        return escape_text(self._form(word), self._limit) or "-"

    def __missing__(self, word: str) -> str:
        clean = self.escaped(word)
        if len(word) <= _KNOWN_WORD_LENGTH:  # a rejected request may have kilobytes for a method
            if len(self) >= _KNOWN_WORDS_LIMIT:
                self.clear()
            self[word] = clean
        return clean


class Methods(dict[bytes, str]):
    """The same for methods, which are bytes."""

    def __missing__(self, method: bytes) -> str:
        clean = escape(method, MAX_WORD) or "-"
        if len(method) <= _KNOWN_WORD_LENGTH and len(self) < _KNOWN_WORDS_LIMIT:
            self[method] = clean
        return clean


class _Outcomes(dict[int, str]):
    """``HTTP/1.1" 200`` by status, for one version: the fixed middle of the text line in one piece."""

    def __init__(self, http_version: str) -> None:
        super().__init__()
        self._http_version = http_version

    def __missing__(self, status: int) -> str:
        outcome = f'HTTP/{self._http_version}" {status}'
        # Only ASGI's three-digit codes are remembered, so that the table cannot grow without bound.
        if 100 <= status < 600:
            self[status] = outcome
        return outcome


class _Versions(dict[str, _Outcomes]):
    def __missing__(self, http_version: str) -> _Outcomes:
        outcomes = _Outcomes(escape_text(http_version, MAX_WORD))
        if len(self) < 8 and len(http_version) <= _KNOWN_WORD_LENGTH:
            self[http_version] = outcomes
        return outcomes


_Note = tuple[str, bytes, bytes, str, int, int, float, float, int]


class TextLines:
    """Lines like ``2026-11-23 10:15:02 127.0.0.1:51234 - "GET /x HTTP/1.1" 200 1.3ms 12B #4``.

    The time is local. ``#4`` is the number of the request on its connection. With ``stamped`` false they begin
    with the client: for loggers that write the time themselves.
    """

    def __init__(self, *, colors: bool, stamped: bool = True) -> None:
        self._colors = colors
        self._stamped = stamped
        self._words = Words()
        self._methods = Methods()
        self._versions = _Versions()
        self._second = -1
        self._stamp = ""

    def note(self, connection: Hosting, exchange: Exchange, status: int, ended: float) -> _Note:
        """Take what the line needs."""
        request = exchange.request
        return (
            exchange.client or connection.client_text,
            request.method,
            request.target,
            request.http_version,
            status,
            exchange.sent,
            exchange.started,
            ended,
            connection.engine.requests,
        )

    def lines(self, notes: list[_Note], offset: float) -> str:
        """Render lines, each with its newline."""
        words, methods, versions = self._words, self._methods, self._versions
        second, stamp = self._second, self._stamp
        lines = []
        targets = escape_targets([note[2] for note in notes])
        for note, target in zip(notes, targets, strict=True):
            client, method, _, version, status, sent, started, ended, number = note
            now = int(ended + offset)
            if now != second:
                second = now
                stamp = time.strftime("%Y-%m-%d %H:%M:%S ", time.localtime(now)) if self._stamped else ""
            lines.append(
                f'{stamp}{words[client]} - "{methods[method]} {target} {versions[version][status]} '
                f"{milliseconds(ended - started)}ms {sent}B #{number}\n"
            )
        self._second, self._stamp = second, stamp
        if self._colors:
            # There is no "\n" within a line, and nothing but the time has a fixed length.
            lines = [_colored(line, len(stamp) - 1, note[4]) for line, note in zip(lines, notes, strict=True)]
        return "".join(lines)


def _colored(line: str, stamp: int, status: int) -> str:
    # Every quote inside the request is escaped, so the last one ends it.
    request, _, outcome = line[stamp:-1].rpartition('" ')
    code, _, rest = outcome.partition(" ")
    color = _STATUS_COLORS[status // 100 if 100 <= status < 600 else 0]
    return f'{_DIM}{line[:stamp]}{_RESET}{request}" {color}{code}{_RESET} {_DIM}{rest}{_RESET}\n'
