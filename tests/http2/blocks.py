"""What the tests of HPACK share: a decoder with few meanings, and blocks written by hand."""

from __future__ import annotations

from keepserve.http2.hpack import Decoded, Decoder, Field, Vocabulary

ENOUGH = 1 << 20
SECRET = 7
PSEUDO = (b":method", b":scheme", b":path", b":authority", b":status")
"""The pseudo-fields that have a place: meanings -1 to -5."""


def classify(name: bytes, value: bytes) -> int:
    """Mark pseudo-fields and cookies."""
    if name.startswith(b":"):
        return -1 - (PSEUDO.index(name) if name in PSEUDO else len(PSEUDO))
    return SECRET if name == b"cookie" else 0


def new(max_table_size: int = 4096) -> Decoder:
    return Decoder(Vocabulary(classify), max_table_size)


def pseudo_of(decoded: Decoded) -> list[Field]:
    """The pseudo-fields that had a place, in the order of ``PSEUDO``."""
    values = ((name, decoded.pseudo[-1 - at]) for at, name in enumerate(PSEUDO))
    return [(name, value) for name, value in values if value is not None]


def sort_out(fields: list[Field]) -> tuple[list[Field], Field | None]:
    """What ``pseudo_of`` and ``Decoded.odd`` are to be for these fields."""
    found: dict[bytes, bytes] = {}
    odd = None
    for name, value in fields:
        if name in PSEUDO and name not in found:
            found[name] = value
        elif name.startswith(b":") and odd is None:
            odd = (name, value)
    return [(name, found[name]) for name in PSEUDO if name in found], odd


def all_fields(decoded: Decoded) -> list[Field]:
    """Everything in the block: in these tests pseudo-fields come first, each once and in the order of ``PSEUDO``."""
    assert not decoded.late
    assert decoded.odd is None
    return pseudo_of(decoded) + decoded.fields


def size_of(fields: list[Field]) -> int:
    return sum(len(name) + len(value) + 32 for name, value in fields)


def plain(name: bytes, value: bytes, first: int = 0x40) -> bytes:
    """A literal with a literal name, without Huffman: 0x40 goes into the table, 0x00 and 0x10 do not."""
    assert max(len(name), len(value)) < 127
    return bytes([first, len(name)]) + name + bytes([len(value)]) + value
