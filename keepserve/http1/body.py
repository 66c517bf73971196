"""Request bodies: counting down a Content-Length, decoding chunks (RFC 9112 §7.1), strictly and within bounds."""

from __future__ import annotations

import re

from keepserve.wire.fields import FIELD_VALUE_FAULT, FORBIDDEN_TRAILERS, TOKEN

OVERHEAD_ALLOWANCE = 16 * 1024
"""Bytes of chunk framing allowed on top of one byte per byte of payload (Node and Go: 16 KiB)."""

MAX_LINE = 8 * 1024
"""Longest line of chunk framing in bytes: a size with its extensions, or a trailer."""

_SIZE_LINE = re.compile(
    rb"([0-9A-Fa-f]{1,16})"
    # Extensions are ignored, but a quoted string must end: who reads on to its end sees other chunks than we do.
    rb'(?:;(?:[\t !#-~\x80-\xff]|"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*")*)?'
)
_SIZE_LINE_START = re.compile(rb"[0-9A-Fa-f]{1,16}(?:;[\t !-~\x80-\xff]*)?")
_STRAY = re.compile(rb"(?<!\r)\n|\r(?=[^\n])")


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
                    self._refuse_early(line + b"\r")
                self._state = self._SIZE
            elif line:
                self._check_trailer(line)
            else:
                return b"".join(payload), True, data[position:]
        return b"".join(payload), False, b""

    def _take_line(self, data: bytes, position: int) -> tuple[bytes | None, int]:
        """Take one line ending in CRLF; without its end yet, keep what is there and return ``None``."""
        start = self._line
        if start.endswith(b"\r") and data[position : position + 1] == b"\n":
            self._line = b""
            self._count(start, 0, 1)
            return start[:-1], position + 1
        found = data.find(b"\r\n", position)
        if found >= 0:
            line = start + data[position:found]
            self._line = b""
            self._count(line, len(start), found + 2 - position)
            return line, found + 2
        self._line = line = start + data[position:]
        self._count(line, len(start), len(data) - position)
        self._refuse_early(line)
        return None, len(data)

    def _count(self, line: bytes, before: int, size: int) -> None:
        """Count ``size`` bytes of framing that brought ``line`` from ``before`` bytes to where it is."""
        allowed = OVERHEAD_ALLOWANCE + self._payload - self._overhead
        self._overhead += size
        if size > allowed:
            self._refuse_early(line[: before + allowed])
            raise BodyFault(413, "The chunk framing takes more bytes than its payload plus 16 KiB.")
        if len(line) > MAX_LINE and len(line.removesuffix(b"\r")) > MAX_LINE:
            self._refuse_early(line[:MAX_LINE])
            raise BodyFault(413, f"A line of the chunk framing is longer than {MAX_LINE} bytes.")

    def _refuse_early(self, line: bytes) -> None:
        """Refuse what no further byte can mend: a faulty peer need not be waited for, and however
        the bytes were split, the fault that stands first is the one that is told."""
        if not line:
            return
        stray = _STRAY.search(line)
        if stray is not None:
            line = line[: stray.start()]
        if self._state == self._DATA_END and line not in (b"", b"\r"):
            raise BodyFault(400, "A chunk is longer than its size line said.")
        if self._state == self._SIZE and _SIZE_LINE_START.fullmatch(line.removesuffix(b"\r")) is None:
            raise BodyFault(400, "A chunk size is not 1 to 16 hexadecimal digits.")
        if stray is not None:
            raise BodyFault(400, "The chunk framing holds a bare CR or LF; its lines end with CRLF.")

    def _begin_chunk(self, line: bytes) -> None:
        match = _SIZE_LINE.fullmatch(line)
        if match is None:
            self._refuse_early(line + b"\r")
            raise BodyFault(400, "A chunk extension's quoted string does not end on its line.")
        self._remaining = int(match[1], 16)
        if self._limit and self._payload + self._remaining > self._limit:
            raise BodyFault(413, f"The request body is larger than {self._limit} bytes.")
        self._state = self._DATA if self._remaining else self._TRAILER

    def _check_trailer(self, line: bytes) -> None:
        name, colon, value = line.partition(b":")
        if not colon or TOKEN.fullmatch(name) is None or FIELD_VALUE_FAULT.search(value) is not None:
            self._refuse_early(line + b"\r")
            raise BodyFault(400, "A trailer line is not 'name: value'.")
        if name.lower() in FORBIDDEN_TRAILERS:
            raise BodyFault(400, f"The field {name.decode()[:40]} may not be a trailer.")
        self._trailers += 1
        if self._trailers > self._trailers_max:
            raise BodyFault(431, f"The request has more than {self._trailers_max} trailer fields.")
