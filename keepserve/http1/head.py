"""The strict checks of a request head that stand once, in front of both head parsers.

httptools (llhttp) lacks every limit, and both take versions, targets, Host fields and framing that
must be refused. So a head is judged here, and what a parser alone refuses is explained here, so
that the answer does not depend on the parser.

Order of judgement, so that a head arriving whole, in two parts or byte by byte gets the same
answer: the fault that stands first in the bytes wins.
"""

from __future__ import annotations

import re

from keepserve.wire.engine import Fields, Limits
from keepserve.wire.fields import (
    SERVED_METHODS,
    TOKEN,
    UNDERSCORE,
    is_forwarded_alias,
    is_valid_host,
    list_tokens,
    remember,
)

_REQUEST_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) ([!-~]+) HTTP/([0-9]\.[0-9])\r\n")
# The request line of nearly every request: nothing in it needs a second look but the method.
_PLAIN_LINE = re.compile(rb"([A-Z]+) (/[!\"$-~]*) HTTP/1\.1")
_STRAY = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|(?<!\r)\n|\r(?=[^\n])")
_ABSOLUTE = re.compile(rb"https?://([^/?]*)(.*)", re.IGNORECASE | re.DOTALL)
_DIGITS = re.compile(rb"[0-9]{1,18}")


class HeadFault(Exception):
    """A request head that cannot be served: ``status`` to answer, ``detail`` to tell the client."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(status, detail)
        self.status = status
        self.detail = detail


def read_head(head: bytes, lines: list[bytes], limits: Limits) -> tuple[bytes, bytes, bool, bool]:
    """Judge a whole head but for its fields' meaning; return method, target, "is HTTP/1.1", "target is a path".

    ``head`` runs from the request line through the empty line, ``lines`` is what lies between its CRLFs. Stray
    control characters are left to the parsers, but for where they compete with another fault for the first place.

    Raises:
        HeadFault: 400 for syntax, 414 and 431 for sizes, 501 for the method, 505 for the version.
    """
    size = len(head)
    line = lines[0]
    match = _PLAIN_LINE.fullmatch(line)
    if match is not None and size <= limits.request_line and size <= limits.request_head:
        method, target = match.groups()
        if method in SERVED_METHODS and len(lines) - 3 <= limits.request_fields:
            return method, target, True, True
    method, target, http11 = read_request_line(line, limits)
    if size > limits.request_head or len(lines) - 3 > limits.request_fields:
        raise first_fault(head, len(line), limits) or HeadFault(431, "The request head is too large.")
    return method, target, http11, False


def read_request_line(line: bytes, limits: Limits) -> tuple[bytes, bytes, bool]:
    """Judge a request line alone, without its CRLF; otherwise as ``read_head``."""
    if len(line) > limits.request_line:
        _refuse_controls(line[: limits.request_line + 1])
        raise HeadFault(414, f"The request line is longer than {limits.request_line} bytes.")
    match = _REQUEST_LINE.match(line + b"\r\n")
    if match is None:
        _refuse_controls(line + b"\r\n")
        raise HeadFault(400, "The request line is not 'METHOD target HTTP/1.1' with single spaces.")
    method, target, version = match.groups()
    _judge_line(method, version)
    return method, target, version == b"1.1"


def _judge_line(method: bytes, version: bytes) -> None:
    if version not in (b"1.1", b"1.0"):
        raise HeadFault(505, f"HTTP/{version.decode()} is not spoken here; use HTTP/1.1 or HTTP/1.0.")
    if method == b"CONNECT":
        raise HeadFault(501, "CONNECT is not supported: this server is not a proxy.")
    if method not in SERVED_METHODS:
        raise HeadFault(501, f"The method {method.decode()[:32]} is not known to this server.")


def first_fault(data: bytes, line_end: int, limits: Limits) -> HeadFault | None:
    """Find the fault that stands first in a head, whole or still growing.

    ``line_end`` is where the request line's CRLF begins, or -1 when it has not come yet. A fault's
    place is the number of bytes after which it could be told, so that the judgement does not depend
    on how the bytes were split.
    """
    faults: list[tuple[int, HeadFault]] = []
    stray = _STRAY.search(data)
    if stray is not None:
        byte = data[stray.start()]
        # A bare CR shows itself only by the byte behind it.
        faults.append((stray.start() + (2 if byte == 0x0D else 1), HeadFault(400, _describe(byte))))
    if line_end < 0:
        line = data[:-1] if data.endswith(b"\r") else data
        if len(line) > limits.request_line:
            detail = f"The request line is longer than {limits.request_line} bytes."
            faults.append((limits.request_line + 1, HeadFault(414, detail)))
    else:
        end = line_end
        for _ in range(limits.request_fields):
            end = data.find(b"\r\n", end + 2)
            if end < 0:
                break
        # The line behind the last one allowed may only be the empty one.
        if end >= 0 and end + 2 < len(data) and data[end + 2] != 0x0D:
            detail = f"The request has more than {limits.request_fields} header fields."
            faults.append((end + 3, HeadFault(431, detail)))
    if len(data) > limits.request_head:
        detail = f"The request head is larger than {limits.request_head} bytes."
        faults.append((limits.request_head + 1, HeadFault(431, detail)))
    return min(faults, key=lambda fault: fault[0])[1] if faults else None


def _refuse_controls(line: bytes) -> None:
    stray = _STRAY.search(line)
    if stray is not None:
        raise HeadFault(400, _describe(line[stray.start()]))


def _describe(byte: int) -> str:
    if byte in (0x0A, 0x0D):
        return "The request head holds a bare CR or LF; lines end with CRLF."
    return f"The request head holds the control character 0x{byte:02x}."


DROPPED = b""
"""The name, which no field can have, under which a field is read that is to be dropped."""

_DECISIVE = frozenset((b"connection", b"content-length", b"transfer-encoding", b"expect", b"te", DROPPED))
"""Fields that make a request anything but the plain case."""


# What the fields of a head weigh together tells the plain case: one good Host, and nothing that is decisive.
_NOTHING, _GOOD_HOST, _DECIDES = 0, 1, 1 << 32

_field_lines: dict[bytes, tuple[tuple[bytes, bytes], int]] = {}


def read_fields(lines: list[bytes]) -> tuple[Fields, bool]:
    """Return the fields of a well-formed head, lower-case names and stripped values in wire order.

    And whether they are the plain case of an HTTP/1.1 request, for which `read_framing` has nothing to say. Lines are
    remembered (Host, Accept, User-Agent). What differs from request to request costs a little more for it, what does
    not a third.
    """
    known = _field_lines.get
    fields, weight = [], 0
    for line in lines[1:-2]:
        field, heavy = known(line) or _read_field(line)
        fields.append(field)
        weight += heavy
    return fields, weight == _GOOD_HOST


def _read_field(line: bytes) -> tuple[tuple[bytes, bytes], int]:
    name, _, value = line.partition(b":")
    name, value = name.lower(), value.strip()
    # Looked at here, where a line is seen for the first time: it costs nothing afterwards.
    if UNDERSCORE in name and is_forwarded_alias(name):
        name = DROPPED
    weight = _NOTHING
    if name == b"host" and is_valid_host(value):
        weight = _GOOD_HOST
    elif name == b"host" or name in _DECISIVE:
        weight = _DECIDES
    read = ((name, value), weight)
    remember(_field_lines, line, read, len(line))
    return read


class Framing:
    """What a head says about its body and its connection."""

    __slots__ = ("chunked", "close", "expect_continue", "length", "trailers", "upgrade")

    def __init__(self) -> None:
        self.length = 0
        self.chunked = False
        self.close = False
        self.expect_continue = False
        self.trailers = False
        self.upgrade = False


def read_target(method: bytes, target: bytes, fields: Fields) -> bytes:
    """Turn a request target into path and query (RFC 9112 §3.2); an absolute form replaces Host.

    Raises:
        HeadFault: 400 for a fragment, an authority or asterisk form out of place, a bad authority.
    """
    if b"#" in target:
        raise HeadFault(400, "The request target holds a fragment ('#'), which is never sent to a server.")
    if target[:1] == b"/":
        return target
    if target == b"*":
        if method != b"OPTIONS":
            raise HeadFault(400, "The target '*' is only for OPTIONS.")
        return target
    match = _ABSOLUTE.fullmatch(target)
    if match is None:
        raise HeadFault(400, "The request target is neither a path nor an absolute http URL.")
    authority, rest = match.groups()
    if not is_valid_host(authority):
        raise HeadFault(400, "The request target's authority is not a plain host and port.")
    # RFC 9112 §3.2.2: the authority of an absolute form stands, a Host field that differs is ignored.
    for index, (name, _) in enumerate(fields):
        if name == b"host":
            fields[index] = (b"host", authority)
            break
    else:
        fields.append((b"host", authority))
    if not rest:
        # RFC 9110 §4.2.3 and RFC 9112 §3.2.4: an empty path is "/", and "*" for OPTIONS.
        return b"*" if method == b"OPTIONS" else b"/"
    return rest if rest[:1] == b"/" else b"/" + rest


def read_framing(fields: Fields, http11: bool) -> Framing | None:
    """Judge the fields that decide about framing and the connection; ``None`` is the plain case.

    The plain case, that of most requests, is HTTP/1.1 without a body, kept alive, with one good
    Host and nothing to watch for.

    Raises:
        HeadFault: 400 or 501 (RFC 9112 §6.1, §6.3, §3.2), 417 for an unknown expectation.
    """
    single = dict(fields)
    if DROPPED in single:
        fields[:] = [field for field in fields if field[0] != DROPPED]
    if len(single) != len(fields):
        _refuse_duplicates(fields)
    host = single.get(b"host")
    if host is None:
        if http11:
            raise HeadFault(400, "An HTTP/1.1 request needs a Host field.")
    elif not is_valid_host(host):
        raise HeadFault(400, "The Host field is not a plain host and port.")
    if http11 and single.keys().isdisjoint(_DECISIVE):
        return None
    framing = Framing()
    framing.trailers = http11 and b"trailers" in list_tokens(single.get(b"te", b""))
    # Connection is a list and may rightly stand more than once.
    options = [option for name, value in fields if name == b"connection" for option in list_tokens(value)]
    framing.close = b"close" in options or not (http11 or b"keep-alive" in options)
    framing.upgrade = http11 and b"upgrade" in options and b"upgrade" in single
    coding, length = single.get(b"transfer-encoding"), single.get(b"content-length")
    if coding is not None:
        if length is not None:
            raise HeadFault(400, "Content-Length and Transfer-Encoding stand together; which one frames the body?")
        if not http11:
            raise HeadFault(400, "Transfer-Encoding has no meaning in HTTP/1.0.")
        if coding.lower() != b"chunked":
            raise HeadFault(501, "The only Transfer-Encoding understood here is exactly 'chunked'.")
        framing.chunked = True
    elif length is not None:
        if _DIGITS.fullmatch(length) is None:
            raise HeadFault(400, "The Content-Length is not a plain decimal number.")
        framing.length = int(length)
    expect = single.get(b"expect")
    if expect is not None and http11:
        if expect.lower() != b"100-continue":
            raise HeadFault(417, "The only expectation understood here is '100-continue'.")
        framing.expect_continue = framing.chunked or framing.length > 0
    return framing


def _refuse_duplicates(fields: Fields) -> None:
    names = [name for name, _ in fields]
    for name in (b"host", b"content-length", b"transfer-encoding"):
        if names.count(name) > 1:
            raise HeadFault(400, f"The field {name.decode()} stands more than once.")


def diagnose(head: bytes, method: bytes, target: bytes, http11: bool) -> HeadFault:
    """Say what is wrong with a head a parser refused, the same for every parser."""
    stray = _STRAY.search(head)
    if stray is not None:
        return HeadFault(400, _describe(head[stray.start()]))
    fields: Fields = []
    for line in head.split(b"\r\n")[1:-2]:
        name, colon, value = line.partition(b":")
        if not colon or TOKEN.fullmatch(name) is None:
            return HeadFault(
                400, "A field line is not 'name: value' with a plain name and no space before the colon."
            )
        fields.append((name.lower(), value.strip(b" \t")))
    try:
        read_framing(fields, http11)
        read_target(method, target, fields)
    except HeadFault as fault:
        return fault
    return HeadFault(400, "The request head is malformed.")


class PartialHead:
    """A head that comes in pieces: grows byte by byte without being read again from its start."""

    __slots__ = ("_data", "_limits", "_line_end", "_seen")

    def __init__(self, limits: Limits) -> None:
        self._data = bytearray()
        self._limits = limits
        self._line_end = -1
        self._seen = 0

    @property
    def start(self) -> bytes:
        """The request line so far, for the log."""
        return bytes(self._data[: self._line_end if self._line_end >= 0 else self._limits.request_line])

    @property
    def whole(self) -> bytes:
        """Everything that came so far."""
        return bytes(self._data)

    def feed(self, data: bytes) -> tuple[bytes, bytes] | None:
        """Take more bytes; return the whole head and what follows it, once it is whole.

        Raises:
            HeadFault: no further byte can mend what is there.
        """
        seen, limits = self._seen, self._limits
        self._data += data
        end = self._data.find(b"\r\n\r\n", max(0, seen - 3))
        if self._line_end < 0:
            self._line_end = self._data.find(b"\r\n", max(0, seen - 1))
            if self._line_end >= 0:
                read_request_line(bytes(self._data[: self._line_end]), limits)
        if end >= 0:
            whole = bytes(self._data)
            return whole[: end + 4], whole[end + 4 :]
        self._seen = len(self._data)
        if (
            self._seen > (limits.request_line if self._line_end < 0 else limits.request_head)
            or _STRAY.search(self._data, max(0, seen - 1)) is not None
            or (b"\n" in data and self._data.count(b"\r\n") > limits.request_fields)
        ):
            fault = first_fault(bytes(self._data), self._line_end, limits)
            if fault is not None:
                raise fault
        return None
