"""Huffman-coded strings, against the ``hpack`` library and the rules of RFC 7541 §5.2."""

from __future__ import annotations

import importlib.util
import random
from types import ModuleType

import pytest
from hpack.exceptions import HPACKDecodingError
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hpack.huffman_table import decode_huffman

from keepserve.http2 import huffman

encode = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH).encode


def afresh() -> ModuleType:
    """Load the decoder anew, with no row filled yet."""
    spec = importlib.util.find_spec("keepserve.http2.huffman")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_byte_is_decoded_behind_every_number_of_bits() -> None:
    for byte in range(256):
        text = bytes([byte]) * 8  # codes of 5 to 30 bits: over eight of them, each bit of an octet begins some
        assert huffman.decode(encode(text)) == text
        for lead in (b"", b"0", b"~", b"\\"):
            assert huffman.decode(encode(lead + text[:1])) == lead + text[:1]


def test_random_strings_come_back() -> None:
    chance = random.Random(7541)
    for _ in range(500):
        text = chance.randbytes(chance.randrange(60))
        assert huffman.decode(encode(text)) == text
        text = bytes(chance.choices(b"0123456789abcdef-/.:", k=chance.randrange(60)))
        assert huffman.decode(encode(text)) == text


def test_the_empty_string_needs_no_octet() -> None:
    assert huffman.decode(b"") == b""


@pytest.mark.parametrize("ones", range(8))
def test_padding_is_up_to_seven_ones(ones: int) -> None:
    """The code of ``0`` is five zeros: some number of them leaves room for just so many ones."""
    count = next(count for count in range(1, 9) if (5 * count + ones) % 8 == 0)
    bits = "00000" * count + "1" * ones
    assert huffman.decode(int(bits, 2).to_bytes(len(bits) // 8)) == b"0" * count


@pytest.mark.parametrize(
    "coded",
    [
        pytest.param(b"\xff", id="eight ones and nothing else"),
        pytest.param(encode(b"00000000") + b"\xff", id="eight ones behind whole octets"),
        pytest.param(encode(b"a") + b"\xff", id="eleven ones"),
        pytest.param(b"\x18", id="padding of zeros: a, then 000"),
        pytest.param(b"\x1e", id="padding that ends in a zero: a, then 110"),
        pytest.param(b"\xfe", id="seven ones and a zero: a code cut off"),
        pytest.param(b"\xff\xff\xff\xff", id="EOS and two ones"),
        pytest.param(b"\xff\xff\xff\xfc", id="EOS and two zeros"),
        pytest.param(b"\xff\xff\xff\xfc" + encode(b"0000"), id="EOS with codes behind it"),
        pytest.param(encode(b"www.example.com")[:-1], id="the last octet is missing"),
    ],
)
def test_other_ends_and_eos_are_faults(coded: bytes) -> None:
    with pytest.raises(HPACKDecodingError):
        decode_huffman(coded)
    with pytest.raises(huffman.HuffmanFault, match="seven bits of padding, all ones"):
        huffman.decode(coded)


def test_any_octets_are_judged_as_the_library_judges_them() -> None:
    chance = random.Random(5)
    accepted = 0
    blocks = [bytes([octet]) for octet in range(256)]
    blocks += [chance.randbytes(chance.randrange(2, 9)) for _ in range(3000)]
    for coded in blocks:
        try:
            expected = decode_huffman(coded)
        except HPACKDecodingError:
            with pytest.raises(huffman.HuffmanFault):
                huffman.decode(coded)
        else:
            accepted += 1
            assert huffman.decode(coded) == expected
    assert 100 < accepted < 3000


def test_rows_are_filled_when_they_are_needed_and_all_can_be() -> None:
    module = afresh()

    def filled() -> int:
        return sum(bool(node.row) for node in module._NODES)

    assert filled() == 0
    assert module.decode(encode(b"0")) == b"0"
    assert filled() == 1
    printable = bytes(range(0x20, 0x7F))
    assert module.decode(encode(printable * 8)) == printable * 8
    assert filled() < 100
    chance = random.Random(257)
    for coded in (chance.randbytes(4) for _ in range(4000)):
        try:
            module.decode(coded)
        except module.HuffmanFault:
            pass
    assert module.decode(encode(bytes(range(256)) * 8)) == bytes(range(256)) * 8
    assert len(module._NODES) == 257
    assert all(len(node.row) in (0, 256) for node in module._NODES)
