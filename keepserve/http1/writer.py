"""The response side of an HTTP/1.1 connection: framing one response after another (RFC 9112 §6, RFC 9110 §6.4)."""

from __future__ import annotations

from collections.abc import Iterable

from keepserve.http1.response import FIELD_LINES, DefaultFields, render_field, status_line
from keepserve.telemetry.reasons import CloseReason
from keepserve.wire.response import (
    CLOSE,
    DATE,
    OWN_DEFAULT,
    SERVER,
    check_promise,
    collect_fields,
    final_status,
    plain_status,
    refuse_bad_fields,
    too_long,
    too_short,
)

# Response side of a connection.
NONE, PENDING, OPEN, TRAILERS = range(4)

JOIN_UP_TO = 16 * 1024
"""A body this short is joined with its head: copying it costs less than a second buffer to write."""

# How the body of the response under way is delimited.
_NO_BODY, _LENGTH, _CHUNKED, _UNTIL_CLOSE = range(4)


class ResponseWriter:
    """Renders responses into ``out``. One lives as long as its connection and is reset per request.

    For each request the engine sets ``state`` to PENDING, ``head_only`` (HEAD) and ``http11``. It decides
    the framing and, because the last facts are known only here, the end of the
    decision to close: ``start`` takes the engine's reason and returns the final one.
    """

    __slots__ = ("_defaults", "_framing", "_left", "head_only", "http11", "out", "state")

    def __init__(self, defaults: DefaultFields, out: list[bytes]) -> None:
        self._defaults = defaults
        self.out = out
        self.state = NONE
        self.head_only = False
        self.http11 = True
        self._framing = _NO_BODY
        self._left = 0

    def start(
        self,
        status: int,
        fields: Iterable[tuple[bytes, bytes]],
        body: bytes,
        complete: bool,
        reason: CloseReason | None,
    ) -> CloseReason | None:
        """Send the head with the first part of the body; return why the connection closes after it, if it does.

        Raises:
            ResponseError: a bad status, field or length; nothing has been sent then.
        """
        if type(status) is not int:
            status = plain_status(status)  # http.HTTPStatus, mostly
        parts = [b""]  # for the opening, which is known last
        length, special = collect_fields(fields, status, parts, FIELD_LINES, render_field)
        if reason is None and special & CLOSE:
            reason = CloseReason.APP_ASKED

        size = len(body)
        framing = _LENGTH
        framing_line = b""
        if self.head_only or status in (204, 304):
            framing = _NO_BODY
            if complete and length < 0 and size and status not in (204, 304):
                framing_line = b"\r\ncontent-length: %d" % size
        elif length >= 0:
            check_promise(length, size, complete)
        elif complete:
            length = size
            framing_line = b"\r\ncontent-length: %d" % size
        elif self.http11:
            framing = _CHUNKED
            framing_line = b"\r\ntransfer-encoding: chunked"
        else:
            framing = _UNTIL_CLOSE
            reason = reason or CloseReason.LENGTH_UNKNOWN
        if reason is None and not special & OWN_DEFAULT:
            opening = self._defaults.openings.get(status) or self._open(status, False)
        else:
            opening = self._open(status, reason is not None, special & OWN_DEFAULT)

        parts[0] = opening
        parts.append(framing_line + b"\r\n\r\n" if framing_line else b"\r\n\r\n")
        self._framing = framing
        self._left = length
        self.state = NONE if complete else OPEN
        if framing == _NO_BODY or not size:
            self.out.append(b"".join(parts))
        elif framing == _CHUNKED:
            parts.append(b"%x\r\n%b\r\n" % (size, body))
            self.out.append(b"".join(parts))
        else:
            self._left = length - size
            if size <= JOIN_UP_TO:
                parts.append(body)
                self.out.append(b"".join(parts))
            else:
                self.out += (b"".join(parts), body)
        return reason

    def _open(self, status: int, close: bool, special: int = 0) -> bytes:
        """Return the status line and the server's own fields, without the last CRLF."""
        final_status(status)
        if special:
            own = self._defaults.without(date=special & DATE, server=special & SERVER, close=close)
            return (status_line(status) + own)[:-2]
        return self._defaults.opening(status, close)

    def switch(self, head: bytes) -> None:
        """Send the head that ends HTTP; what follows goes out as it is."""
        self.out.append(head)
        self._framing = _UNTIL_CLOSE
        self.state = OPEN

    def send(self, data: bytes, complete: bool) -> None:
        """Send more of the body.

        Raises:
            ResponseError: more than Content-Length promised (what fits has been sent), or less at the end.
        """
        framing = self._framing
        if framing == _CHUNKED:
            if data:
                self.out.append(b"%x\r\n%b\r\n" % (len(data), data))
            if complete:
                self.out.append(b"0\r\n\r\n")
        elif framing == _LENGTH:
            excess = len(data) - self._left
            if excess > 0:
                self.out.append(data[: self._left])
                self.state = NONE
                raise too_long(excess)
            self._left -= len(data)
            if data:
                self.out.append(data)
            if complete and self._left:
                raise too_short(self._left)
        elif framing == _UNTIL_CLOSE and data:
            self.out.append(data)
        if complete:
            self.state = NONE

    def trailers(self, fields: Iterable[tuple[bytes, bytes]]) -> None:
        """End a chunked body with trailer fields (RFC 9112 §7.1.2); other framings have no place for them."""
        fields = list(fields)
        refuse_bad_fields(fields)
        if self._framing == _LENGTH and self._left:
            raise too_short(self._left)
        if self._framing == _CHUNKED:
            lines = b"".join(b"%b: %b\r\n" % field for field in fields)
            self.out.append(b"0\r\n%b\r\n" % lines)
        self.state = NONE

    @property
    def cut_shows(self) -> bool:
        """Whether a peer can tell that this response was cut short by a plain close."""
        return self._framing in (_CHUNKED, _LENGTH)
