"""Rendering of HTTP/1.1 response heads: status lines, default fields, validation of the application's fields.

The head of a response is the hottest piece of string work in the server. So field names are looked
up in a bounded memo (checked once, then a dictionary hit), values are checked all together by one
``translate`` over the joined head, and ``Date``, ``Server`` and the connection fields are rendered
once a second for everybody.
"""

from __future__ import annotations

import email.utils
import http
from collections.abc import Iterable, Sequence

from keepserve.wire.engine import ResponseError
from keepserve.wire.fields import FIELD_VALUE_FAULT, TOKEN, remember


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


def plain_status(status: object) -> int:
    """Return a status as a plain ``int``. Raises ``ResponseError`` when it is no whole number."""
    if isinstance(status, int):
        return int(status)
    raise ResponseError(f"The response status must be a whole number from 100 to 999, not {status!r}.")


def status_line(status: int) -> bytes:
    """Return the status line for a final or interim status; the phrase of an unknown one is left empty.

    Raises:
        ResponseError: the status is out of range.
    """
    line = STATUS_LINES.get(status)
    if line is not None:
        return line
    if not 100 <= status <= 999:
        raise ResponseError(f"The response status must be a whole number from 100 to 999, not {status!r}.")
    return _status_line(status, "")


# What a response field means to us beyond being passed on; bits, so that a head's specials add up.
PLAIN, CONTENT_LENGTH, CONNECTION, DROPPED, DATE, SERVER = 0, 1, 2, 4, 8, 16
OWN_DEFAULT = DATE | SERVER
"""The application sends a field itself that we would have sent."""

_SPECIAL = {
    b"content-length": CONTENT_LENGTH,
    b"connection": CONNECTION,
    # Framing and hop-by-hop fields are the server's to send (RFC 9110 §7.6.1, RFC 9112 §6).
    b"transfer-encoding": DROPPED,
    b"keep-alive": DROPPED,
    b"proxy-connection": DROPPED,
    b"date": DATE,
    b"server": SERVER,
}
FieldLine = tuple[bytes, int, int]
"""A rendered field: the CRLF before it and the line, what it means to us, and the number a Content-Length is."""

FIELD_LINES: dict[tuple[bytes, bytes], FieldLine] = {}
"""Fields sent before and found good. Applications send the same few in most responses."""


def render_field(name: bytes, value: bytes) -> FieldLine:
    """Check and render one field, and remember it.

    Raises:
        ResponseError: the name is not a token (RFC 9110 §5.1), the value holds a control character
            (§5.5), or a Content-Length is no number.
    """
    if TOKEN.fullmatch(name) is None:
        raise ResponseError(f"The response field name {name!r} holds a byte that no field name may hold.")
    if FIELD_VALUE_FAULT.search(value) is not None:
        raise ResponseError(
            f"The value of the response field {name!r} holds a control character, which could split the response."
        )
    line = b"\r\n" + name + b": " + value
    meaning = _SPECIAL.get(name.lower(), PLAIN)
    rendered = (line, meaning, parse_content_length(value) if meaning == CONTENT_LENGTH else 0)
    remember(FIELD_LINES, (name, value), rendered, len(line))
    return rendered


def refuse_bad_fields(fields: Iterable[tuple[bytes, bytes]]) -> None:
    """Raise ``ResponseError`` naming the first field that is no pair of bytes, or whose value could split a head."""
    for field in fields:
        try:
            name, value = field
        except (TypeError, ValueError):
            raise ResponseError(f"Response fields must be pairs of name and value, not {field!r}.") from None
        if not isinstance(name, bytes):
            raise ResponseError(f"A response field's name must be bytes, not {type(name).__name__}: {name!r}.")
        if not isinstance(value, bytes):
            kind = type(value).__name__
            raise ResponseError(f"The value of the response field {name!r} must be bytes, not {kind}: {value!r}.")
        render_field(name, value)


def parse_content_length(value: bytes) -> int:
    """Return an application's Content-Length. Raises ``ResponseError`` when it is no plain number."""
    if type(value) is not bytes or not value.isdigit():
        raise ResponseError(f"The response's Content-Length must be a plain decimal number in bytes, not {value!r}.")
    return int(value)


class DefaultFields:
    """The fields every response of a worker carries, rendered once a second.

    ``advertise`` is the whole number of seconds for ``Keep-Alive: timeout=`` (0: not sent), a hint
    that a client's pool obeys by closing first. ``extra`` are the operator's own fields.
    """

    def __init__(
        self,
        *,
        server: bool = True,
        date: bool = True,
        advertise: int = 0,
        extra: Sequence[tuple[bytes, bytes]] = (),
    ) -> None:
        self._server_line = b"server: keepserve\r\n" if server else b""
        self._with_date = date
        self._extra = b"".join(b"%b: %b\r\n" % field for field in extra)
        # RFC 9112 §9.3 makes HTTP/1.1 persistent without a word; the pair is for clients that read the hint
        # (Connection must name the hop-by-hop Keep-Alive) and for HTTP/1.0 clients, which need the word.
        self.keep_alive = b"connection: keep-alive\r\n"
        if advertise > 0:
            self.keep_alive += b"keep-alive: timeout=%d\r\n" % advertise
        self.close = b"connection: close\r\n"
        self._date_line = b""
        self.persistent = b""
        self.closing = b""
        self._second = -1
        self.openings: dict[int, bytes] = {}
        """By status: status line and fields of a response that keeps the connection, without the last CRLF."""
        self.refresh(0.0)

    def refresh(self, wall_time: float) -> None:
        """Render the lines anew when the wall clock, in seconds since the epoch, shows another second."""
        second = int(wall_time)
        if second == self._second:
            return
        self._second = second
        if self._with_date:
            self._date_line = b"date: %b\r\n" % email.utils.formatdate(second, usegmt=True).encode()
        common = self._date_line + self._server_line + self._extra
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
        lines = (b"" if date else self._date_line) + (b"" if server else self._server_line) + self._extra
        return lines + (self.close if close else self.keep_alive)


def render_interim(status: int, fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Render a 1xx response. Raises ``ResponseError`` for a bad field."""
    fields = list(fields)
    refuse_bad_fields(fields)
    lines = b"".join(b"%b: %b\r\n" % field for field in fields)
    return status_line(status) + lines + b"\r\n"


def render_text(status: int, text: str, defaults: DefaultFields, *, close: bool, body: bool = True) -> bytes:
    """Render one of the server's own answers: a short plain text that says what was wrong."""
    content = text.encode() + b"\n"
    head = b"%b%bcontent-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\n\r\n" % (
        status_line(status),
        defaults.closing if close else defaults.persistent,
        len(content),
    )
    return head + content if body else head
