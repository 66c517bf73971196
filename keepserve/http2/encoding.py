"""HPACK encoding without a dynamic table (RFC 7541 §6.1, §6.2): a field's bytes depend on nothing but the field.

So they can be remembered, and a response's head is a join of what is remembered. The price is that a peer gets
the same field in full each time; a field with a name of the static table still shrinks by its name, and without
a table there is nothing to keep in step and nothing for a peer to make us hold (its table size, of whatever
value, stays unused).
"""

from __future__ import annotations

from keepserve.http2.static_table import STATIC_FIELDS
from keepserve.wire.fields import remember
from keepserve.wire.response import DATE, DROPPED, SERVER, CommonFields, Field, judge_field

EncodedField = tuple[bytes, int, int]
"""A field's bytes, what it means to us, and the number a Content-Length is."""

ENCODED: dict[Field, EncodedField] = {}
"""Fields sent before and found good."""

TABLE_EMPTIED = b"\x20"
"""Dynamic table size update to 0 (RFC 7541 §6.3): what a block starts with after the peer has shrunk the table."""

_INDEXED: dict[Field, bytes] = {}
_NAMES: dict[bytes, int] = {}
for _index, _field in enumerate(STATIC_FIELDS, 1):
    _INDEXED.setdefault(_field, bytes([0x80 | _index]))
    _NAMES.setdefault(_field[0], _index)

SECRET = frozenset((b"set-cookie", b"authorization", b"proxy-authenticate", b"www-authenticate"))
"""Fields that whoever relays them must not put into a table either (RFC 7541 §7.1.3: never indexed)."""


def _integer(value: int, prefix: int, pattern: int) -> bytes:
    """Encode an integer behind the pattern of its first octet (RFC 7541 §5.1)."""
    most = (1 << prefix) - 1
    if value < most:
        return bytes([pattern | value])
    octets = [pattern | most]
    value -= most
    while value >= 128:
        octets.append(value & 127 | 128)
        value >>= 7
    octets.append(value)
    return bytes(octets)


def encode_pair(name: bytes, value: bytes) -> bytes:
    """Encode one field whose name is lower-case."""
    known = _INDEXED.get((name, value))
    if known is not None:
        return known
    pattern = 0x10 if name in SECRET else 0x00
    index = _NAMES.get(name, 0)
    start = _integer(index, 4, pattern)
    if not index:
        start += _integer(len(name), 7, 0) + name
    return start + _integer(len(value), 7, 0) + value


def judge_http2_field(name: bytes, value: bytes) -> tuple[int, int]:
    """As ``judge_field``; an application's Upgrade has no place in HTTP/2 (RFC 9113 §8.2.2)."""
    if name.lower() == b"upgrade":
        return DROPPED, 0
    return judge_field(name, value)


def encode_field(name: bytes, value: bytes) -> EncodedField:
    """Check and encode a response field, and remember it. Raises ``ResponseError``."""
    meaning, number = judge_http2_field(name, value)
    encoded = encode_pair(name.lower(), value.strip(b" \t"))
    field = (encoded, meaning, number)
    remember(ENCODED, (name, value), field, len(encoded))
    return field


class EncodedFields(CommonFields):
    """The fields every response of a worker carries, encoded behind the status; anew once a second."""

    def _render(self) -> None:
        self.openings: dict[int, bytes] = {}
        """By status: ``:status`` and the common fields."""

    def opening(self, status: int, own: int = 0) -> bytes:
        """Return the encoded status and common fields; ``own`` are those the application sends itself."""
        opening = encode_status(status) + b"".join(encode_pair(*field) for field in self.beside(own))
        if not own and 100 <= status < 600:
            self.openings[status] = opening
        return opening

    def beside(self, own: int) -> list[Field]:
        """Return the common fields, names in lower case, without ``own``, which the application sends itself."""
        fields = (() if own & DATE else self.date) + (() if own & SERVER else self.server) + self.extra
        return [(name.lower(), value) for name, value in fields]


def encode_status(status: int) -> bytes:
    """Encode ``:status``."""
    return encode_pair(b":status", b"%d" % status)
