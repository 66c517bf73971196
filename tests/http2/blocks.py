"""What the tests of HPACK share: a decoder with few meanings, and blocks written by hand."""

from __future__ import annotations

from keepserve.http2.hpack import Decoded, Decoder, Field, Vocabulary

ENOUGH = 1 << 20
SECRET = 7


def classify(name: bytes, value: bytes) -> int:
    """Mark pseudo-fields and cookies."""
    return -1 if name.startswith(b":") else SECRET if name == b"cookie" else 0


def new(max_table_size: int = 4096) -> Decoder:
    return Decoder(Vocabulary(classify), max_table_size)


def all_fields(decoded: Decoded) -> list[Field]:
    """Everything in the block: in these tests pseudo-fields come first."""
    assert not decoded.late
    return [field for field, _, meaning in decoded.marked if meaning < 0] + decoded.fields


def size_of(fields: list[Field]) -> int:
    return sum(len(name) + len(value) + 32 for name, value in fields)


def plain(name: bytes, value: bytes, first: int = 0x40) -> bytes:
    """A literal with a literal name, without Huffman: 0x40 goes into the table, 0x00 and 0x10 do not."""
    assert max(len(name), len(value)) < 127
    return bytes([first, len(name)]) + name + bytes([len(value)]) + value
