"""The rules of HPACK (RFC 7541), one by one, and what a decoded block tells the engine."""

from __future__ import annotations

import hpack
import pytest
from hpack.table import HeaderTable

from keepserve.http2.hpack import CompressionFault, Decoder, Field, ListTooLarge, Vocabulary
from tests.http2.blocks import ENOUGH, SECRET, classify, new, plain, pseudo_of, size_of

# --- integers (§5.1, C.1) ---


def test_integer_examples_as_table_sizes() -> None:
    """C.1.1 and C.1.2: 10 fits the five bits of a table size update, 1337 takes two octets more."""
    decoder = new(1337)
    decoder.decode(bytes.fromhex("3f9a0a") + plain(b"a", b"b"), ENOUGH)
    assert decoder.dynamic == [(b"a", b"b")]
    with pytest.raises(CompressionFault, match="have 1336 octets at most, and was to have 1337"):
        new(1336).decode(bytes.fromhex("3f9a0a"), ENOUGH)
    with pytest.raises(CompressionFault, match="have 9 octets at most, and was to have 10"):
        new(9).decode(bytes.fromhex("2a"), ENOUGH)


def test_every_index_of_every_length_names_its_field() -> None:
    """Indices below and above what the prefix holds: one octet, two and three, in all representations."""
    names = [b"n%d" % at for at in range(400)]
    decoder = new(1 << 16)
    decoder.decode(b"".join(plain(name, b"") for name in reversed(names)), ENOUGH)

    def integer(first: int, prefix: int, value: int) -> bytes:
        if value < prefix:
            return bytes([first | value])
        octets = bytearray([first | prefix])
        value -= prefix
        while value > 127:
            octets.append(value & 127 | 128)
            value >>= 7
        octets.append(value)
        return bytes(octets)

    for at, name in enumerate(names):
        block = integer(0x80, 0x7F, 62 + at) + b"".join(
            integer(first, 0x0F, 62 + at) + b"\x01v" for first in (0x00, 0x10)
        )
        assert decoder.decode(block, ENOUGH).fields == [(name, b""), (name, b"v"), (name, b"v")]
    for at in range(0, 400, 7):  # each of these pushes the names up by one
        index = 62 + at + at // 7
        assert decoder.decode(integer(0x40, 0x3F, index) + b"\x01v", ENOUGH).fields == [(names[at], b"v")]


def test_an_integer_has_up_to_five_octets_behind_its_prefix() -> None:
    assert new().decode(b"\x3f\x80\x80\x80\x80\x00\x82", ENOUGH).size == 42
    assert new(2**31).decode(b"\x3f\xe1\xff\xff\xff\x07\x82", ENOUGH).size == 42  # 2**31
    with pytest.raises(CompressionFault, match="2147483648 at most"):
        new(2**32).decode(b"\x3f\xe2\xff\xff\xff\x07\x82", ENOUGH)
    for block in (
        b"\x3f\x80\x80\x80\x80\x80\x00",  # one octet too many, value 31
        b"\xff" + b"\x80" * 30 + b"\x01",
        b"\x7f\x80\x80\x80\x80\x80\x00\x00",
        b"\x0f\x80\x80\x80\x80\x80\x00\x00",
        b"\x00\x7f\x80\x80\x80\x80\x80\x00",
        b"\x00\x00\x7f\x80\x80\x80\x80\x80\x00",
        b"\xff\xff\xff\xff\xff\x0f",  # 2**32 + 126
    ):
        with pytest.raises(CompressionFault, match="five octets behind its prefix and be 2147483648 at most"):
            new().decode(block, ENOUGH)


def test_long_strings_have_lengths_of_several_octets() -> None:
    for length in (126, 127, 128, 254, 255, 300, 20000):
        fields = [(b"n" * length, b"v" * length)]
        for huffman in (False, True):
            assert new().decode(hpack.Encoder().encode(fields, huffman), ENOUGH).fields == fields


# --- tables (§2.3, §4) ---


def test_the_static_table_is_that_of_the_library() -> None:
    decoder = new()
    assert len(HeaderTable.STATIC_TABLE) == 61
    for index, field in enumerate(HeaderTable.STATIC_TABLE, 1):
        decoded = decoder.decode(bytes([0x80 + index]), ENOUGH)
        meaning = classify(*field)
        assert decoded.fields == ([] if meaning < 0 else [field])
        assert pseudo_of(decoded) == ([field] if meaning < 0 else [])
        assert decoded.meanings == (meaning if meaning > 0 else 0)
        assert decoded.size == size_of([field])


@pytest.mark.parametrize(
    "block",
    [
        pytest.param("80", id="index 0"),
        pytest.param("bf", id="one beyond the table"),
        pytest.param("fe", id="the largest in one octet"),
        pytest.param("ff00", id="two octets"),
        pytest.param("ffffffff07", id="four more octets"),
        pytest.param("7f0001 76", id="the name of a literal to index"),
        pytest.param("0f3001 76", id="the name of a literal"),
        pytest.param("1f3001 76", id="the name of a secret"),
    ],
)
def test_an_index_that_is_in_no_table_is_a_fault(block: str) -> None:
    decoder = new()
    decoder.decode(plain(b"a", b"b"), ENOUGH)
    assert decoder.decode(b"\xbe", ENOUGH).fields == [(b"a", b"b")]
    with pytest.raises(CompressionFault, match="index from 1 up" if block == "80" else "index up to 62,"):
        decoder.decode(bytes.fromhex(block), ENOUGH)


def test_an_entry_larger_than_the_table_empties_it() -> None:
    decoder = new(100)
    decoder.decode(plain(b"a", b"b") + plain(b"c", b"d"), ENOUGH)
    assert decoder.dynamic == [(b"c", b"d"), (b"a", b"b")]
    assert decoder.decode(plain(b"e", b"f" * 68), ENOUGH).fields == [(b"e", b"f" * 68)]
    assert decoder.dynamic == []
    decoder.decode(plain(b"e", b"f" * 67), ENOUGH)  # just as large as the table
    assert decoder.dynamic == [(b"e", b"f" * 67)]


def test_a_name_may_come_from_the_entry_that_has_to_go_for_it() -> None:
    decoder = new(40)
    decoder.decode(plain(b"name", b"1"), ENOUGH)
    assert decoder.decode(b"\x7e\x012", ENOUGH).fields == [(b"name", b"2")]
    assert decoder.dynamic == [(b"name", b"2")]
    assert decoder.decode(b"\x7e\x09too large", ENOUGH).fields == [(b"name", b"too large")]
    assert decoder.dynamic == []


def test_table_size_updates_evict_and_make_room_again() -> None:
    decoder = new(4096)
    decoder.decode(plain(b"a", b"b") + plain(b"c", b"d") + plain(b"e", b"f"), ENOUGH)
    decoder.decode(b"\x3f\x25", ENOUGH)  # 68: just two of the three
    assert decoder.dynamic == [(b"e", b"f"), (b"c", b"d")]
    decoder.decode(plain(b"g", b"h"), ENOUGH)
    assert decoder.dynamic == [(b"g", b"h"), (b"e", b"f")]
    assert decoder.decode(b"\x20\x3f\xe1\x1f" + plain(b"i", b"j"), ENOUGH).fields == [(b"i", b"j")]  # 0, then 4096
    assert decoder.dynamic == [(b"i", b"j")]
    decoder.decode(b"\x20" + plain(b"k", b"l"), ENOUGH)
    assert decoder.dynamic == []


@pytest.mark.parametrize(
    "block",
    [
        pytest.param(b"\x82\x20", id="behind an indexed field"),
        pytest.param(plain(b"a", b"b") + b"\x20", id="behind a literal"),
        pytest.param(b"\x20\x20\x20", id="three"),
        pytest.param(b"\x20\x82\x20", id="one in front, one behind"),
    ],
)
def test_table_size_updates_elsewhere_or_more_often_are_faults(block: bytes) -> None:
    with pytest.raises(CompressionFault, match="up to twice, and in front of all fields"):
        new().decode(block, ENOUGH)


def test_a_table_size_above_ours_is_a_fault() -> None:
    assert new().decode(b"\x3f\xe1\x1f", ENOUGH).size == 0
    with pytest.raises(CompressionFault, match="4096 octets at most, and was to have 4097"):
        new().decode(b"\x3f\xe2\x1f", ENOUGH)


# --- blocks that are no blocks ---


@pytest.mark.parametrize(
    "block",
    [
        pytest.param(plain(b"name", b"value"), id="plain"),
        pytest.param(hpack.Encoder().encode([(b"name", b"value")]), id="Huffman"),
        pytest.param(b"\x04\x05/path", id="static name"),
        pytest.param(b"\x1f\x05\x05value", id="static name of two octets"),
        pytest.param(b"\x40\x7f\x00" + b"n" * 127 + b"\x7f\x01" + b"v" * 128, id="long"),
        pytest.param(b"\x3f\xe1\x1f", id="table size"),
        pytest.param(b"\xff\x80\x00", id="index"),
    ],
)
def test_a_block_cut_within_a_field_is_a_fault(block: bytes) -> None:
    decoder = new()
    decoder.decode(b"".join(plain(b"%d" % at, b"") for at in range(70)), ENOUGH)
    assert decoder.decode(block, ENOUGH)
    for length in range(1, len(block)):
        with pytest.raises(CompressionFault, match="a field ends within its block"):
            new().decode(block[:length], ENOUGH)


def test_faults_of_huffman_strings_are_faults_of_the_block() -> None:
    for block in (b"\x00\x81\xff\x01v", b"\x00\x01n\x81\xff", b"\x04\x81\xff"):
        with pytest.raises(CompressionFault, match="padding"):
            new().decode(block, ENOUGH)


# --- what a decoded block says ---


def test_the_empty_block_has_nothing() -> None:
    decoded = new().decode(b"", ENOUGH)
    assert (decoded.fields, decoded.meanings, decoded.size, decoded.late) == ([], 0, 0, False)
    assert (pseudo_of(decoded), decoded.odd, decoded.has_pseudo) == ([], None, False)
    assert repr(decoded) == "<Decoded [None, None, None, None, None] [] 0 None 0 False>"


def test_pseudo_fields_are_put_apart_and_what_others_mean_is_added_up() -> None:
    method, cookie, other = (b":method", b"GET"), (b"cookie", b"a=b"), (b"x-a", b"")
    for first in (0x40, 0x00):
        decoder = new()
        block = b"\x82" + plain(*other, first) + plain(*cookie, first) + plain(*other, first)
        for again in (block, block, b"\x82\xbe\xbf\xc0" if first else block):
            decoded = decoder.decode(again, ENOUGH)
            assert decoded.fields == [other, cookie, other]
            assert pseudo_of(decoded) == [method]
            assert decoded.meanings == SECRET
            assert decoded.size == 42 + 35 + 41 + 35
            assert not decoded.late


@pytest.mark.parametrize(
    ("block", "late"),
    [
        (b"\x82\x84", False),
        (b"\x82\x90", False),
        (b"\x90\x82", True),
        (b"\x82\x90\x84\x90", True),
        (plain(b"cookie", b"c") + b"\x82", True),
        (b"\x90" + plain(b":path", b"/"), True),
    ],
)
def test_pseudo_fields_behind_others_are_late(block: bytes, late: bool) -> None:
    assert new().decode(block, ENOUGH).late is late


@pytest.mark.parametrize(
    ("block", "odd"),
    [
        pytest.param(b"\x82\x84\x83", (b":method", b"POST"), id="a second one"),
        pytest.param(b"\x82\x82\x83", (b":method", b"GET"), id="the same again, and again"),
        pytest.param(b"\x82" + plain(b":unknown", b""), (b":unknown", b""), id="none that has a place"),
        pytest.param(plain(b":unknown", b"") + b"\x82", (b":unknown", b""), id="the first of all"),
        pytest.param(b"\x82\x84\x87", None, id="one of each"),
    ],
)
def test_the_first_pseudo_field_out_of_place_is_told(block: bytes, odd: Field | None) -> None:
    decoded = new().decode(block, ENOUGH)
    assert decoded.odd == odd
    assert pseudo_of(decoded)[0] == (b":method", b"GET")
    assert decoded.has_pseudo


def test_a_field_is_judged_once_for_the_table_and_once_for_each_new_literal() -> None:
    asked: list[Field] = []

    def judge(name: bytes, value: bytes) -> int:
        asked.append((name, value))
        return 0

    vocabulary = Vocabulary(judge)
    assert len(asked) == 61
    asked.clear()
    first, second = Decoder(vocabulary), Decoder(vocabulary)
    first.decode(plain(b"a", b"b") + b"\xbe\xbe\x82", ENOUGH)
    second.decode(plain(b"a", b"b"), ENOUGH)
    assert asked == [(b"a", b"b")]
    first.decode(b"\x7e\x01c\x7e\x01c", ENOUGH)  # names from the dynamic table: never remembered
    assert asked == [(b"a", b"b"), (b"a", b"c"), (b"a", b"c")]


# --- limits ---


def test_beyond_the_limit_nothing_is_kept_but_the_table_stays_in_step() -> None:
    block = plain(b"a", b"1") + b"\x82" + plain(b"b", b"2") + plain(b"cookie", b"3")
    total = 34 + 42 + 34 + 39
    whole = new().decode(block, total)
    assert (len(whole.fields), whole.meanings, whole.size) == (3, SECRET, total)
    decoder = new()
    decoded = decoder.decode(block, total - 1)
    assert decoded.fields == [(b"a", b"1"), (b"b", b"2")]
    assert pseudo_of(decoded) == [(b":method", b"GET")]
    assert (decoded.meanings, decoded.size) == (0, total)
    decoded = decoder.decode(b"\xbe\xc0", total)
    assert decoded.fields == [(b"cookie", b"3"), (b"a", b"1")]
    decoded = decoder.decode(b"\xc0\x82" + plain(b"c", b"4"), 33)
    assert (decoded.fields, decoded.has_pseudo, decoded.size) == ([], False, 34 + 42 + 34)
    assert decoder.dynamic[0] == (b"c", b"4")


def test_a_small_field_behind_a_large_one_does_not_slip_in() -> None:
    decoded = new().decode(plain(b"a", b"1" * 100) + plain(b"b", b""), 120)
    assert (decoded.fields, decoded.size) == ([], 133 + 33)


def test_at_four_times_the_limit_decoding_stops_at_once() -> None:
    judged = 0

    def judge(name: bytes, value: bytes) -> int:
        nonlocal judged
        judged += 1
        return 0

    vocabulary = Vocabulary(judge)
    judged = 0
    fields = b"".join(plain(b"%04d" % at, b"") for at in range(1000))
    with pytest.raises(ListTooLarge, match="may have 100 octets, and these have 432 and more"):
        Decoder(vocabulary).decode(fields, 100)
    assert judged == 12  # of 36 octets each: the twelfth is past 400
    decoder = Decoder(vocabulary)
    assert decoder.decode(plain(b"a", b"b"), 100).size == 34
    with pytest.raises(ListTooLarge):
        decoder.decode(b"\xbe" * 12 + b"\x80", 100)  # the fault behind it is never seen
    with pytest.raises(CompressionFault):
        Decoder(vocabulary).decode(plain(b"a", b"b") + b"\xbe" * 10 + b"\x80", 100)


def test_a_list_of_just_four_times_the_limit_is_only_too_long() -> None:
    decoded = new().decode(plain(b"a", b"b" * 17) * 8, 100)
    assert (len(decoded.fields), decoded.size) == (2, 400)
    with pytest.raises(ListTooLarge):
        new().decode(plain(b"a", b"b" * 17) * 8 + plain(b"", b""), 100)


# --- remembered literals ---


def test_the_memo_is_bounded_in_number_and_length() -> None:
    vocabulary = Vocabulary(classify)
    decoder = Decoder(vocabulary)
    for at in range(3000):
        assert decoder.decode(plain(b"n%d" % at, b"v"), ENOUGH).fields == [(b"n%d" % at, b"v")]
        assert len(vocabulary.literals) <= 1024
    assert vocabulary.literals
    vocabulary.literals.clear()
    for length, kept in ((257, 0), (256, 1)):
        literal = b"\x00\x01n\x7f" + bytes([length - 5 - 127]) + b"v" * (length - 5)
        assert (len(literal), len(decoder.decode(literal, ENOUGH).fields)) == (length, 1)
        assert len(vocabulary.literals) == kept


def test_a_literal_read_before_is_indexed_or_not_as_it_now_says() -> None:
    vocabulary = Vocabulary(classify)
    for _ in range(2):
        decoder = Decoder(vocabulary)
        for first, kept in ((0x00, 0), (0x10, 0), (0x40, 1), (0x10, 1), (0x40, 2), (0x00, 2)):
            decoded = decoder.decode(plain(b"cookie", b"secret", first), ENOUGH)
            assert decoded.fields == [(b"cookie", b"secret")]
            assert decoded.meanings == SECRET
            assert decoder.dynamic == [(b"cookie", b"secret")] * kept


def test_the_same_octets_mean_another_name_on_another_connection() -> None:
    vocabulary = Vocabulary(classify)
    one, other = Decoder(vocabulary), Decoder(vocabulary)
    one.decode(plain(b"one", b""), ENOUGH)
    other.decode(plain(b"other", b""), ENOUGH)
    for block in (b"\x0f\x2f\x01v", b"\x1f\x2f\x01v", b"\x7e\x01v", b"\x7f\x00\x01v"):
        assert one.decode(block, ENOUGH).fields == [(b"one", b"v")]
        assert other.decode(block, ENOUGH).fields == [(b"other", b"v")]
