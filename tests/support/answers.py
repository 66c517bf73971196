"""A strict reader of HTTP/1.1 responses: what a client would make of the bytes a server sent."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_STATUS_LINE = re.compile(rb"HTTP/1\.1 ([1-9][0-9]{2}) ([ -~]*)")
_FIELD_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+): ?([\t -~\x80-\xff]*)")


@dataclass
class Answer:
    """One response. ``framing`` is ``none``, ``length``, ``chunked`` or ``close``."""

    status: int
    reason: str
    fields: list[tuple[bytes, bytes]]
    body: bytes
    framing: str
    whole: bool
    trailers: list[tuple[bytes, bytes]]

    def all(self, name: bytes) -> list[bytes]:
        """The values of every field of this name."""
        return [value for key, value in self.fields if key.lower() == name]

    def get(self, name: bytes) -> bytes | None:
        """The value of a field that stands once, or ``None``."""
        values = self.all(name)
        assert len(values) <= 1, f"{name!r} stands {len(values)} times in {self.fields}"
        return values[0] if values else None

    @property
    def closes(self) -> bool:
        """Whether it says ``Connection: close``."""
        return b"close" in [
            option.strip() for value in self.all(b"connection") for option in value.lower().split(b",")
        ]

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode()


def read_answers(raw: bytes, methods: Sequence[bytes] = (), *, closed: bool = False) -> list[Answer]:
    """Split what a server sent into responses, interim ones included, and refuse anything out of form.

    ``methods`` are those of the requests in order (GET from where they end), since a response to
    HEAD has no body; ``closed`` tells that the server has closed, which ends a body without a length.
    A response that is cut off comes last and has ``whole`` false.
    """
    answers: list[Answer] = []
    pending = list(methods)
    while raw:
        head, found, rest = raw.partition(b"\r\n\r\n")
        assert found, f"a head that does not end: {raw[:200]!r}"
        line, *field_lines = head.split(b"\r\n")
        match = _STATUS_LINE.fullmatch(line)
        assert match is not None, f"not a status line: {line!r}"
        answer = Answer(int(match[1]), match[2].decode(), _fields(field_lines), b"", "none", True, [])
        answers.append(answer)
        if answer.status < 200:
            raw = rest
            continue
        method = pending.pop(0) if pending else b"GET"
        raw = _read_body(answer, method, rest, closed)
    return answers


def _fields(lines: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
    fields = []
    for line in lines:
        match = _FIELD_LINE.fullmatch(line)
        assert match is not None, f"not a field line: {line!r}"
        fields.append((match[1].lower(), match[2]))
    return fields


def _read_body(answer: Answer, method: bytes, rest: bytes, closed: bool) -> bytes:
    length, coding = answer.get(b"content-length"), answer.get(b"transfer-encoding")
    assert length is None or coding is None, "Content-Length and Transfer-Encoding in one response"
    if method == b"HEAD" or answer.status in (204, 304):
        assert answer.status != 204 or (length is None and coding is None), "a 204 with framing"
        return rest
    if coding is not None:
        assert coding == b"chunked"
        answer.framing = "chunked"
        return _read_chunks(answer, rest)
    if length is not None:
        answer.framing = "length"
        size = int(length)
        answer.body = rest[:size]
        answer.whole = len(rest) >= size
        return rest[size:]
    assert answer.closes, "a body without a length on a connection that is not announced to close"
    answer.framing = "close"
    answer.body = rest
    answer.whole = closed
    return b""


def _read_chunks(answer: Answer, rest: bytes) -> bytes:
    while True:
        line, found, rest = rest.partition(b"\r\n")
        if not found:
            assert re.fullmatch(rb"[0-9a-f]*\r?", line), f"not a chunk size: {line!r}"
            answer.whole = False
            return b""
        size = int(line, 16)
        if size == 0:
            block, found, rest = (b"\r\n" + rest).partition(b"\r\n\r\n")
            answer.whole = bool(found)
            answer.trailers = _fields([entry for entry in block.split(b"\r\n") if entry])
            return rest
        if len(rest) < size + 2:
            answer.body += rest[:size]
            answer.whole = False
            return b""
        assert rest[size : size + 2] == b"\r\n", "a chunk that does not end where its size says"
        answer.body += rest[:size]
        rest = rest[size + 2 :]
