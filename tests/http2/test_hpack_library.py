"""HPACK against the ``hpack`` library: what it encodes, and what it makes of damaged blocks."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

import hpack
import pytest
from hpack.exceptions import HPACKDecodingError

from keepserve.http2.hpack import CompressionFault
from tests.http2.blocks import ENOUGH, new, pseudo_of, size_of, sort_out


def random_lists(chance: random.Random, count: int) -> Iterator[list[tuple[bytes, bytes, bool]]]:
    """Lists of fields as they come: some always, some often, some never again, some secret."""
    often = [(b"x-%d" % at, b"value %d" % (at * at)) for at in range(60)]
    for _ in range(count):
        fields = [(b":method", chance.choice([b"GET", b"POST"])), (b":path", b"/%d" % chance.randrange(50))]
        fields += chance.choices(often, k=chance.randrange(8))
        if chance.random() < 0.5:
            fields.append((b"x-request-id", b"%032x" % chance.getrandbits(128)))
        if chance.random() < 0.2:
            fields.append((b"x-bytes", chance.randbytes(chance.randrange(200))))
        if chance.random() < 0.02:
            fields.append((chance.randbytes(chance.randrange(1, 9)), b"long " * chance.randrange(1000)))
        yield [(name, value, chance.random() < 0.1) for name, value in fields]


def test_what_the_library_encodes_is_decoded_on_one_connection() -> None:
    """Two thousand blocks, with and without Huffman, table sizes changing, tables compared after each."""
    chance = random.Random(7541)
    encoder, decoder = hpack.Encoder(), new()
    for fields in random_lists(chance, 2000):
        if chance.random() < 0.05:
            for table_size in chance.sample([0, 100, 1000, 4096], k=chance.randrange(1, 3)):
                encoder.header_table_size = table_size
        decoded = decoder.decode(encoder.encode(fields, huffman=chance.random() < 0.7), ENOUGH)
        expected = [(name, value) for name, value, _ in fields]
        assert decoded.fields == [field for field in expected if not field[0].startswith(b":")]
        assert (pseudo_of(decoded), decoded.odd) == sort_out(expected)
        assert decoded.size == size_of(expected)
        assert decoder.dynamic == list(encoder.header_table.dynamic_entries)


def mutate(chance: random.Random, block: bytes) -> bytes:
    octets = bytearray(block)
    for _ in range(chance.choice([1, 1, 1, 2, 3])):
        at = chance.randrange(len(octets) + 1)
        what = chance.randrange(5)
        if what == 0:
            octets[at : at + 1] = chance.randbytes(1)
        elif what == 1:
            octets[at:at] = chance.randbytes(chance.randrange(1, 4))
        elif what == 2:
            del octets[at : at + chance.randrange(1, 4)]
        elif what == 3 and at < len(octets):
            octets[at] ^= 1 << chance.randrange(8)
        else:
            octets[at:at] = chance.choice([b"\xff", b"\x7f", b"\x0f", b"\x80", b"\x3f\xe1\x1f", b"\x20"])
    return bytes(octets)


def begins_with_three_updates(block: bytes) -> bool:
    """Tell whether the block begins with three table size updates."""
    return re.match(rb"(?:[\x20-\x3e]|\x3f[\x80-\xff]*[\x00-\x7f]){3}", block) is not None


def test_the_library_takes_more_table_size_updates_than_an_encoder_may_send() -> None:
    """The one difference allowed below: RFC 7541 §4.2 names two at most in front of a block."""
    assert begins_with_three_updates(b"\x20\x3f\xe1\x1f\x20\x82")
    assert dict(hpack.Decoder().decode(b"\x20\x3f\xe1\x1f\x20\x82", raw=True)) == {b":method": b"GET"}
    with pytest.raises(CompressionFault, match="up to twice"):
        new().decode(b"\x20\x3f\xe1\x1f\x20\x82", ENOUGH)


def test_damaged_blocks_are_judged_as_the_library_judges_them() -> None:
    """Same fields and tables, or a fault from both, and then still in step; but for more than two size updates."""
    chance = random.Random(7541)
    accepted = faults = 0
    lists = list(random_lists(chance, 1200))
    for at in range(0, len(lists), 2):
        encoder, library, ours = hpack.Encoder(), hpack.Decoder(ENOUGH), new()
        huffman = chance.random() < 0.5
        first, second = (encoder.encode(fields, huffman) for fields in lists[at : at + 2])
        damaged = mutate(chance, second)
        for block in (first, damaged, second):
            try:
                expected = [(bytes(name), bytes(value)) for name, value in library.decode(block, raw=True)]
            except HPACKDecodingError:
                with pytest.raises(CompressionFault):
                    ours.decode(block, ENOUGH)
                faults += 1
                break
            if begins_with_three_updates(block):
                with pytest.raises(CompressionFault, match="up to twice"):
                    ours.decode(block, ENOUGH)
                break
            decoded = ours.decode(block, ENOUGH)
            assert decoded.fields == [field for field in expected if not field[0].startswith(b":")]
            assert (pseudo_of(decoded), decoded.odd) == sort_out(expected)
            assert decoded.size == size_of(expected)
            assert ours.dynamic == list(library.header_table.dynamic_entries)
            accepted += block is damaged
    assert accepted > 100
    assert faults > 100
