"""Request bodies: counting down a Content-Length, decoding chunks (RFC 9112 §7.1), strictly and within bounds."""

from __future__ import annotations

import re

from keepserve.wire.fields import FIELD_VALUE_FAULT, TOKEN

OVERHEAD_ALLOWANCE = 16 * 1024
"""Bytes of chunk framing allowed on top of one byte per byte of payload (Node and Go: 16 KiB)."""

_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})(?:;[\t !-~\x80-\xff]*)?")
_STRAY = re.compile(rb"(?<!\r)\n|\r(?=[^\n])")

FORBIDDEN_TRAILERS = frozenset(
    b"transfer-encoding content-length host connection te trailer upgrade expect authorization proxy-authorization "
    b"cookie set-cookie content-encoding content-type content-range cache-control max-forwards range".split()
)
"""Fields that frame, route, authenticate or shape a message may not trail it (RFC 9110 §6.5.1)."""


class BodyFault(Exception):
    """A body that cannot be read on: ``status`` to answer, ``detail`` to tell the client."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(status, detail)
        self.status = status
        self.detail = detail


class LengthDecoder:
    """A body of ``length`` bytes."""

    __slots__ = ("remaining",)

    def __init__(self, length: int) -> None:
        self.remaining = length

    def feed(self, data: bytes) -> tuple[bytes, bool, bytes]:
        """Return the payload in ``data``, whether the body ends there, and the bytes behind its end."""
        size = len(data)
        if size < self.remaining:
            self.remaining -= size
            return data, False, b""
        if size == self.remaining:
            self.remaining = 0
            return data, True, b""
        end, self.remaining = self.remaining, 0
        return data[:end], True, data[end:]


class ChunkedDecoder:
    """A body in chunks. Trailer fields are checked and dropped: they never become header fields.

    Holds at most one unfinished size or trailer line. Framing may take no more bytes than the
    payload plus 16 KiB, so that neither endless extensions nor one-byte chunks are free
    (CVE-2024-22019, CVE-2023-39326).
    """

    __slots__ = (
        "_limit",
        "_line",
        "_overhead",
        "_payload",
        "_remaining",
        "_state",
        "_trailers",
        "_trailers_max",
    )

    _SIZE, _DATA, _DATA_END, _TRAILER = range(4)

    def __init__(self, limit: int = 0, max_trailers: int = 100) -> None:
        self._state = self._SIZE
        self._line = b""
        self._remaining = 0
        self._overhead = 0
        self._payload = 0
        self._limit = limit
        self._trailers = 0
        self._trailers_max = max_trailers

    @property
    def remaining(self) -> None:
        """Unknown by nature."""
        return None

    def feed(self, data: bytes) -> tuple[bytes, bool, bytes]:
        """Return the payload in ``data``, whether the body ends there, and the bytes behind its end.

        Raises:
            BodyFault: 400 for broken framing, 413 for too much payload or too much framing.
        """
        payload: list[bytes] = []
        position = 0
        end = len(data)
        while position < end:
            if self._state == self._DATA:
                piece = data[position : position + self._remaining]
                position += len(piece)
                self._remaining -= len(piece)
                self._payload += len(piece)
                payload.append(piece)
                if self._remaining == 0:
                    self._state = self._DATA_END
                continue
            line, position = self._take_line(data, position)
            if line is None:
                break
            if self._state == self._SIZE:
                self._begin_chunk(line)
            elif self._state == self._DATA_END:
                if line:
                    raise BodyFault(400, "A chunk is longer than its size line said.")
                self._state = self._SIZE
            elif line:
                self._check_trailer(line)
            else:
                return b"".join(payload), True, data[position:]
        return b"".join(payload), False, b""

    def _take_line(self, data: bytes, position: int) -> tuple[bytes | None, int]:
        """Take one line ending in CRLF; without its end yet, keep what is there and return ``None``."""
        if self._line.endswith(b"\r") and data[position : position + 1] == b"\n":
            line, after = self._line[:-1], position + 1
            self._line = b""
            self._count(1)
        else:
            found = data.find(b"\r\n", position)
            after = len(data) if found < 0 else found + 2
            line = self._line + data[position : after if found < 0 else found]
            self._count(after - position)
            self._line = line if found < 0 else b""
            if found < 0:
                self._check_partial(line)
                return None, after
        if _STRAY.search(line) is not None or line.endswith(b"\r"):
            raise BodyFault(400, "The chunk framing holds a bare CR or LF; its lines end with CRLF.")
        return line, after

    def _count(self, size: int) -> None:
        self._overhead += size
        if self._overhead > OVERHEAD_ALLOWANCE + self._payload:
            raise BodyFault(413, "The chunk framing takes more bytes than its payload plus 16 KiB.")

    def _check_partial(self, line: bytes) -> None:
        """Refuse at once what no further byte can mend, so that a faulty peer need not be waited for."""
        if _STRAY.search(line) is not None:
            raise BodyFault(400, "The chunk framing holds a bare CR or LF; its lines end with CRLF.")
        if self._state == self._DATA_END and line not in (b"", b"\r"):
            raise BodyFault(400, "A chunk is longer than its size line said.")
        if self._state == self._SIZE:
            start = line.removesuffix(b"\r")
            if start and _SIZE_LINE.fullmatch(start) is None:
                raise BodyFault(400, "A chunk size is not 1 to 16 hexadecimal digits.")

    def _begin_chunk(self, line: bytes) -> None:
        match = _SIZE_LINE.fullmatch(line)
        if match is None:
            raise BodyFault(400, "A chunk size is not 1 to 16 hexadecimal digits.")
        self._remaining = int(match[1], 16)
        if self._limit and self._payload + self._remaining > self._limit:
            raise BodyFault(413, f"The request body is larger than {self._limit} bytes.")
        self._state = self._DATA if self._remaining else self._TRAILER

    def _check_trailer(self, line: bytes) -> None:
        name, colon, value = line.partition(b":")
        if not colon or TOKEN.fullmatch(name) is None or FIELD_VALUE_FAULT.search(value) is not None:
            raise BodyFault(400, "A trailer line is not 'name: value'.")
        if name.lower() in FORBIDDEN_TRAILERS:
            raise BodyFault(400, f"The field {name.decode()[:40]} may not be a trailer.")
        self._trailers += 1
        if self._trailers > self._trailers_max:
            raise BodyFault(431, f"The request has more than {self._trailers_max} trailer fields.")
