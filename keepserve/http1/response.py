"""Rendering of HTTP/1.1 response heads: status lines, field lines, default fields.

The head of a response is the hottest piece of string work in the server. So fields are looked up in
a bounded memo (checked and rendered once, then a dictionary hit), and ``Date``, ``Server`` and the
connection fields are rendered once a second for everybody.
"""

from __future__ import annotations

import http
from collections.abc import Iterable, Sequence

from keepserve.wire.fields import remember
from keepserve.wire.response import CommonFields, judge_field, plain_status, refuse_bad_fields


def _status_line(status: int, reason: str) -> bytes:
    return b"HTTP/1.1 %d %b\r\n" % (status, reason.encode())


_PHRASES = {
    # RFC 9110 renamed these; Python's table of 3.11 and 3.12 still has the old names.
    413: "Content Too Large",
    414: "URI Too Long",
    416: "Range Not Satisfiable",
    422: "Unprocessable Content",
}
STATUS_LINES = {
    status.value: _status_line(status.value, _PHRASES.get(status.value, status.phrase)) for status in http.HTTPStatus
}


def status_line(status: int) -> bytes:
    """Return the status line for a final or interim status; the phrase of an unknown one is left empty.

    Raises:
        ResponseError: the status is out of range.
    """
    line = STATUS_LINES.get(status)
    if line is not None:
        return line
    return _status_line(plain_status(status), "")


FieldLine = tuple[bytes, int, int]
"""A rendered field: the CRLF before it and the line, what it means to us, and the number a Content-Length is."""

FIELD_LINES: dict[tuple[bytes, bytes], FieldLine] = {}
"""Fields sent before and found good. Applications send the same few in most responses."""


def render_field(name: bytes, value: bytes) -> FieldLine:
    """Check and render one field, and remember it. Raises ``ResponseError``."""
    meaning, number = judge_field(name, value)
    line = b"\r\n" + name + b": " + value
    rendered = (line, meaning, number)
    remember(FIELD_LINES, (name, value), rendered, len(line))
    return rendered


class DefaultFields(CommonFields):
    """The fields every response of a worker carries, as lines.

    ``advertise`` is the whole number of seconds for ``Keep-Alive: timeout=`` (0: not sent), a hint
    that a client's pool obeys by closing first. The rest is as in ``CommonFields``.
    """

    def __init__(
        self,
        *,
        server: bool = True,
        date: bool = True,
        advertise: int = 0,
        extra: Sequence[tuple[bytes, bytes]] = (),
    ) -> None:
        # RFC 9112 §9.3 makes HTTP/1.1 persistent without a word; the pair is for clients that read the hint
        # (Connection must name the hop-by-hop Keep-Alive) and for HTTP/1.0 clients, which need the word.
        self.keep_alive = b"connection: keep-alive\r\n"
        if advertise > 0:
            self.keep_alive += b"keep-alive: timeout=%d\r\n" % advertise
        self.close = b"connection: close\r\n"
        self.persistent = b""
        self.closing = b""
        self.openings: dict[int, bytes] = {}
        """By status: status line and fields of a response that keeps the connection, without the last CRLF."""
        super().__init__(server=server, date=date, extra=extra)

    def _render(self) -> None:
        common = _lines(self.date + self.server + self.extra)
        self.persistent = common + self.keep_alive
        self.closing = common + self.close
        self.openings.clear()

    def opening(self, status: int, close: bool) -> bytes:
        """Return the status line and the fields, without the last CRLF, and remember the usual case."""
        if close:
            return (status_line(status) + self.closing)[:-2]
        opening = self.openings[status] = (status_line(status) + self.persistent)[:-2]
        return opening

    def without(self, *, date: int, server: int, close: bool) -> bytes:
        """Return the lines without those the application sends itself."""
        common = (() if date else self.date) + (() if server else self.server) + self.extra
        return _lines(common) + (self.close if close else self.keep_alive)


def _lines(fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    return b"".join(b"%b: %b\r\n" % field for field in fields)


def render_interim(status: int, fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Render a 1xx response. Raises ``ResponseError`` for a bad field."""
    fields = list(fields)
    refuse_bad_fields(fields)
    return status_line(status) + _lines(fields) + b"\r\n"


def render_switch(fields: Iterable[tuple[bytes, bytes]], defaults: DefaultFields) -> bytes:
    """Render the 101 that ends HTTP on a connection (RFC 9110 §15.2.2). Raises ``ResponseError`` for a bad field."""
    fields = list(fields)
    refuse_bad_fields(fields)
    common = _lines(defaults.date + defaults.server + defaults.extra)
    return status_line(101) + common + b"connection: Upgrade\r\n" + _lines(fields) + b"\r\n"


def render_text(
    status: int, text: str, defaults: DefaultFields, *, close: bool, body: bool = True, extra: bytes = b""
) -> bytes:
    """Render one of the server's own answers: a short plain text that says what was wrong; ``extra`` are lines."""
    content = text.encode() + b"\n"
    head = b"%b%b%bcontent-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\n\r\n" % (
        status_line(status),
        defaults.closing if close else defaults.persistent,
        extra,
        len(content),
    )
    return head + content if body else head
