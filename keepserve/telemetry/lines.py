r"""One request as one line of text or JSON: the formats of the access log.

A line is printable ASCII (but for the colours on a terminal) and shorter than 4096 bytes, so that a pipe
takes it in one piece. The target is the one the client sent, undecoded, with everything below 0x20, 0x7f
and above, ``"`` and ``\`` as ``\xNN``: what a client sends can neither end a line nor move a cursor
(log injection, CVE-2020-7694).

Renderers run on the event loop once per request and are written for speed: they put bytes together with
``%``, which costs less than an f-string whose target must be decoded first and encoded afterwards.
`tests/telemetry` holds them to the rules above.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Final

Renderer = Callable[[float, str, str, bytes, str, int, int, float, int], bytes]
"""(wall clock s, client, method, raw target, version, status, body bytes, duration s, request number) -> line
with its newline."""

MAX_TARGET: Final = 2048
"""Characters of the escaped target that a line keeps; more are cut and marked by ``...``."""
MAX_WORD: Final = 256
"""The same for the client's name, the method and the version."""

_QUOTE, _BACKSLASH = 0x22, 0x5C
_SAFE: Final = bytes(code for code in range(0x20, 0x7F) if code not in (_QUOTE, _BACKSLASH))
_ESCAPES: Final = tuple(b"%c" % code if code in _SAFE else b"\\x%02x" % code for code in range(256))

# Turning a float into "1.3" costs as much as the rest of the line; durations under 100 ms are looked up.
_TENTHS: Final = tuple(b"%d.%d" % divmod(tenths, 10) for tenths in range(1000))
_KNOWN_WORDS_LIMIT: Final = 4096
_KNOWN_WORD_LENGTH: Final = 64

_DIM, _RESET = b"\x1b[2m", b"\x1b[0m"
_STATUS_COLORS: Final = (b"\x1b[0m", b"\x1b[36m", b"\x1b[32m", b"\x1b[36m", b"\x1b[33m", b"\x1b[1;31m")


def escape(raw: bytes, limit: int = MAX_TARGET) -> bytes:
    r"""Render ``raw`` as printable ASCII, at most ``limit`` characters and ``...`` when it was cut.

    >>> escape(b'/a"b\x1b')
    b'/a\\x22b\\x1b'
    """
    if len(raw) <= limit and not raw.translate(None, _SAFE):
        return raw
    pieces: list[bytes] = []
    room = limit
    for code in raw:
        piece = _ESCAPES[code]
        room -= len(piece)
        if room < 0:
            pieces.append(b"...")
            break
        pieces.append(piece)
    return b"".join(pieces)


def _escape_for_json(raw: bytes, limit: int = MAX_TARGET) -> bytes:
    """`escape`, with its backslashes doubled; it leaves nothing else that JSON would escape."""
    return escape(raw, limit).replace(b"\\", b"\\\\")


class _Words(dict[str, bytes]):
    """Escaped forms of clients, methods and versions: few values, seen in each request of a connection."""

    def __init__(self, escaped: Callable[[bytes, int], bytes]) -> None:
        super().__init__()
        self._escaped = escaped

    def __missing__(self, word: str) -> bytes:
        # A proxy may have put anything into the client's name, so it is escaped like the target.
        clean = self._escaped(word.encode("utf-8", "backslashreplace"), MAX_WORD) or b"-"
        if len(word) <= _KNOWN_WORD_LENGTH:  # a rejected request may have kilobytes for a method
            if len(self) >= _KNOWN_WORDS_LIMIT:
                self.clear()
            self[word] = clean
        return clean


class _Outcomes(dict[int, bytes]):
    """``HTTP/1.1" 200`` by status, for one version: the fixed middle of the text line in one piece."""

    def __init__(self, http_version: bytes) -> None:
        super().__init__()
        self._http_version = http_version

    def __missing__(self, status: int) -> bytes:
        outcome = b'HTTP/%b" %d' % (self._http_version, status)
        # Only ASGI's three-digit codes are remembered, so that the table cannot grow without bound.
        if 100 <= status < 600:
            self[status] = outcome
        return outcome


class _Versions(dict[str, _Outcomes]):
    def __missing__(self, http_version: str) -> _Outcomes:
        outcomes = _Outcomes(escape(http_version.encode("utf-8", "backslashreplace"), MAX_WORD))
        if len(self) < 8 and len(http_version) <= _KNOWN_WORD_LENGTH:
            self[http_version] = outcomes
        return outcomes


def text_renderer(*, colors: bool) -> Renderer:
    """Lines like ``2026-11-23 10:15:02 127.0.0.1:51234 - "GET /x HTTP/1.1" 200 1.3ms 12B #4``.

    The time is local. ``#4`` is the number of the request on its connection.
    """
    words = _Words(escape)
    versions = _Versions()
    http11 = versions["1.1"]
    second = -1
    stamp = b""

    def render(
        now: float,
        client: str,
        method: str,
        target: bytes,
        http_version: str,
        status: int,
        sent: int,
        duration: float,
        connection_requests: int,
    ) -> bytes:
        nonlocal second, stamp
        if int(now) != second:
            second = int(now)
            stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(second)).encode()
        if len(target) > MAX_TARGET or target.translate(None, _SAFE):
            target = escape(target)
        tenths = int(duration * 10_000)
        return b'%b %b - "%b %b %b %bms %dB #%d\n' % (
            stamp,
            words[client],
            words[method],
            target,
            (http11 if http_version == "1.1" else versions[http_version])[status],
            _TENTHS[tenths] if 0 <= tenths < 1000 else b"%.1f" % (duration * 1000),
            sent,
            connection_requests,
        )

    def render_in_color(
        now: float,
        client: str,
        method: str,
        target: bytes,
        http_version: str,
        status: int,
        sent: int,
        duration: float,
        connection_requests: int,
    ) -> bytes:
        line = render(now, client, method, target, http_version, status, sent, duration, connection_requests)
        # Every quote inside the request is escaped, so the last one ends it.
        request, _, outcome = line[len(stamp) :].rpartition(b'" ')
        code, _, rest = outcome.partition(b" ")
        color = _STATUS_COLORS[status // 100 if 100 <= status < 600 else 0]
        parts = (_DIM, stamp, _RESET, request, color, code, _RESET, _DIM, rest[:-1], _RESET)
        return b'%b%b%b%b" %b%b%b %b%b%b\n' % parts

    return render_in_color if colors else render


def json_renderer() -> Renderer:
    """One JSON object per line with the fields of the text line; ``time`` is RFC 3339, UTC, milliseconds.

    Durations are milliseconds (``duration_ms``), ``bytes`` is the body as sent. The target is escaped as
    in the text line, before JSON's own escaping: undecoded bytes have no other faithful JSON string.
    """
    words = _Words(_escape_for_json)
    second = -1
    head = b""
    pid = os.getpid()

    def render(
        now: float,
        client: str,
        method: str,
        target: bytes,
        http_version: str,
        status: int,
        sent: int,
        duration: float,
        connection_requests: int,
    ) -> bytes:
        nonlocal second, head
        if int(now) != second:
            second = int(now)
            head = time.strftime('{"time":"%Y-%m-%dT%H:%M:%S.', time.gmtime(second)).encode()
        if len(target) > MAX_TARGET or target.translate(None, _SAFE):
            target = _escape_for_json(target)
        tenths = int(duration * 10_000)
        return (
            b'%b%03dZ","level":"info","logger":"keepserve.access","pid":%d,"client":"%b","method":"%b","target":"%b",'
            b'"http_version":"%b","status":%d,"duration_ms":%b,"bytes":%d,"connection_requests":%d}\n'
        ) % (
            head,
            int(now * 1000) % 1000,
            pid,
            words[client],
            words[method],
            target,
            words[http_version],
            status,
            _TENTHS[tenths] if 0 <= tenths < 1000 else b"%.1f" % (duration * 1000),
            sent,
            connection_requests,
        )

    return render
