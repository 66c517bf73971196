"""Rows of the table whose weapon is the head of a request: its compression, its size, the number of its frames.

A head must not cost more than it brings: what is too much is noticed while it is read.
"""

from __future__ import annotations

import time

import pytest

from keepserve.telemetry.reasons import CloseReason
from keepserve.wire.engine import Ending, Request
from tests.hostile.attack import (
    KIB,
    assert_ended_for,
    assert_goes_on,
    assert_rejected,
    assert_reset,
    bare,
    flood,
    in_frames,
    measured,
    read_all,
)
from tests.hostile.conftest import Connect
from tests.http2.frames import (
    FIRST_STORED,
    GET,
    Code,
    continuation,
    get,
    headers,
    literal,
    request_block,
    stored,
    wire,
)
from tests.http2.peer import EARLY

WAIT = b"/wait"
LIST_LIMIT = 32 * KIB
"""Bytes of a field list; beyond four times as many the connection ends."""
FIELDS = 100
CRUMBS = 256
"""Fields, cookie crumbs included."""


# Row 6: fields without a name.


@pytest.mark.parametrize("field", ["00 00 00", "00 80 80", "40 00 00", "10 80 00"])
def test_row_06_a_field_without_a_name_is_malformed(connect: Connect, field: str) -> None:
    peer = connect()
    peer.feed(headers(1, request_block() + wire(field), end=True))
    assert_reset(peer, 1)


@pytest.mark.parametrize("field", ["00 00 00", "00 80 80"])
def test_row_06_ten_thousand_of_them_are_stopped_while_they_are_read(connect: Connect, field: str) -> None:
    peer = connect()
    peer.feed(in_frames(1, request_block() + wire(field) * 10_000))
    assert_ended_for(peer, Code.ENHANCE_YOUR_CALM)


def test_row_06_each_counts_32_octets_and_none_is_kept(engine: str) -> None:
    made = bare(engine)
    block_of = request_block() + wire("00 00 00") * 900
    read_all(made, in_frames(1, block_of))
    with measured() as growth:
        read_all(made, b"".join(in_frames(number, block_of) for number in range(3, 23, 2)))
    assert growth.left < 4 * KIB
    assert growth.peak < (256 if engine == "native" else 2048) * KIB
    assert made.ending == Ending.OPEN


# Row 12: blocks that do not end.


def test_row_12_a_ninth_continuation_ends_the_connection(connect: Connect) -> None:
    peer = connect()
    peer.feed(headers(1, GET, end=True, whole=False), *[continuation(1, b"", whole=False)] * 8)
    assert_goes_on(peer)
    peer.feed(continuation(1, b"", whole=False))
    assert_ended_for(peer, Code.ENHANCE_YOUR_CALM)
    assert peer.events == []


def test_row_12_eight_continuations_are_a_request(connect: Connect) -> None:
    peer = connect()
    peer.feed(headers(1, GET, end=True, whole=False), *[continuation(1, b"", whole=False)] * 7)
    peer.request(continuation(1, b""))


LARGE = {
    "octets": bytes(16_384),
    # A literal whose value is coded in 5 bits for each "a"; its length is 2^28 and more, so that it never ends.
    "Huffman": wire("00 01 78 ff 81 ff ff ff 07") + wire("18 c6 31 8c 63") * 3275,
}


@pytest.mark.parametrize("name", LARGE)
def test_row_12_a_block_of_more_than_64_kib_ends_the_connection_before_it_is_decoded(
    connect: Connect, name: str
) -> None:
    peer = connect()
    piece = LARGE[name][:16_384]
    frames = [headers(1, GET, end=True, whole=False)] + [continuation(1, piece, whole=False)] * 8
    assert flood(peer, frames) == 1 + 2 * LIST_LIMIT // len(piece)
    assert_ended_for(peer, Code.ENHANCE_YOUR_CALM)


@pytest.mark.parametrize("name", LARGE)
def test_row_12_no_more_than_64_kib_are_kept(engine: str, name: str) -> None:
    made = bare(engine)
    piece = LARGE[name][:16_384]
    with measured() as growth:
        made.receive(headers(1, piece, end=True, whole=False), 0.0)
        for _ in range(3):
            made.receive(continuation(1, piece, whole=False), 0.0)
    assert made.ending == Ending.OPEN
    # The library is handed the frames as they came, so they are kept beside the block.
    assert growth.left < (1 if engine == "native" else 2) * 64 * KIB + 2 * KIB
    made.receive(continuation(1, b"12345678901234567890", whole=False), 0.0)
    assert made.close_reason is CloseReason.FLOOD
    made.out.clear()
    with measured() as growth:
        read_all(made, continuation(1, piece) * 8)
    assert growth.left < KIB


def test_row_12_a_block_has_ten_seconds_from_its_first_frame_whatever_comes_meanwhile(connect: Connect) -> None:
    peer = connect()
    peer.feed(headers(1, GET, end=True, whole=False))
    for second in range(1, 6):
        peer.now = float(second)
        peer.feed(continuation(1, b"", whole=False))
    peer.at(10.0 - EARLY)
    assert_goes_on(peer)
    peer.at(10.0)
    assert_ended_for(peer, Code.ENHANCE_YOUR_CALM)
    assert peer.events == []


# Rows 13, 14, 18: small on the wire, large when decoded.


def bomb(stream: int, value: bytes, references: int, name: bytes = b"a") -> bytes:
    """A request that puts a field into the table and then names it again and again, for an octet each."""
    return in_frames(stream, request_block(b"GET", WAIT) + stored(name, value) + FIRST_STORED * references)


def test_row_13_a_large_field_repeated_is_stopped_at_four_times_the_limit(connect: Connect) -> None:
    peer = connect()
    peer.feed(bomb(1, b"v" * 4000, 16_000))
    assert_ended_for(peer, Code.ENHANCE_YOUR_CALM)
    assert peer.events == []


def test_row_13_a_list_up_to_four_times_the_limit_is_answered_431(connect: Connect) -> None:
    peer = connect()
    peer.feed(bomb(1, b"v" * 4000, 8))
    assert_rejected(peer, 1, 431)
    peer = connect()
    peer.feed(bomb(1, b"v" * 4000, 30))
    assert_rejected(peer, 1, 431)
    peer = connect()
    peer.feed(bomb(1, b"v" * 4000, 32))
    assert_ended_for(peer, Code.ENHANCE_YOUR_CALM)


def test_row_13_nothing_is_kept_beyond_the_limit(engine: str) -> None:
    made = bare(engine)
    read_all(made, bomb(1, b"v" * 4000, 25))
    with measured() as growth:
        read_all(made, b"".join(bomb(number, b"v" * 4000, 25) for number in range(3, 43, 2)))
    assert growth.left < 16 * KIB, "the field lives in the table, and nowhere else"
    assert made.ending == Ending.OPEN


def test_row_14_many_small_fields_are_431_although_they_are_few_octets(connect: Connect) -> None:
    peer = connect()
    peer.request(bomb(1, b"", FIELDS - 2))
    peer = connect()
    peer.feed(bomb(1, b"", FIELDS))
    assert_rejected(peer, 1, 431)


def test_row_14_cookie_crumbs_have_a_count_of_their_own_and_become_one_field(connect: Connect) -> None:
    peer = connect()
    request = peer.request(bomb(1, b"", CRUMBS - 2, b"cookie"))
    assert request.fields == [(b"host", b"a"), (b"cookie", b"; " * (CRUMBS - 2))]
    peer = connect()
    peer.feed(bomb(1, b"", CRUMBS + 1, b"cookie"))
    assert_rejected(peer, 1, 431)


def test_row_14_the_crumbs_of_a_browser_are_served(connect: Connect) -> None:
    peer = connect()
    crumbs = [(b"cookie", b"%d=%d" % (number, number)) for number in range(180)]
    others = [(b"x-%d" % number, b"y") for number in range(40)]
    assert len(peer.request(get(1, WAIT, *crumbs, *others)).fields) == 42


@pytest.mark.parametrize("name", [b"a", b"cookie"])
def test_row_14_a_bomb_costs_no_more_time_than_its_octets_as_small_requests(name: bytes) -> None:
    """The library needs 11 ms for such a request; what 1,900 octets of plain requests cost is the measure."""
    bombs = [bomb(number, b"", 1850, name) for number in range(1, 201, 2)]
    small = [headers(number, GET, end=True) for number in range(1, 2 * sum(map(len, bombs)) // 15, 2)]
    plain = [b"".join(small[start : start + 100]) for start in range(0, len(small), 100)]

    def cost(reads: list[bytes]) -> float:
        made = bare("native")
        start = time.thread_time()
        for octets in reads:
            events = made.receive(octets, 0.0)
            assert not made.backlog
            for event in events:
                if isinstance(event, Request):
                    made.respond(event.stream, 200, [], b"", True)
            made.out.clear()
        assert made.ending == Ending.OPEN
        return time.thread_time() - start

    assert min(cost(bombs) for _ in range(3)) < min(cost(plain) for _ in range(3))


def test_row_14_a_bomb_leaves_nothing(engine: str) -> None:
    made = bare(engine)
    read_all(made, bomb(1, b"", 1850))
    with measured() as growth:
        read_all(made, b"".join(bomb(number, b"", 1850) for number in range(3, 43, 2)))
    assert growth.left < 16 * KIB
    assert not made._streams


def test_row_18_too_large_a_list_is_431_and_its_compression_is_kept_in_step(connect: Connect) -> None:
    peer = connect()
    large = [literal(b"x-%d" % number, b"v" * 1000) for number in range(33)]
    peer.feed(in_frames(1, request_block() + stored(b"x-kept", b"yes") + b"".join(large)))
    assert_rejected(peer, 1, 431)
    assert (b"x-kept", b"yes") in peer.request(headers(3, request_block() + FIRST_STORED, end=True)).fields


def test_row_18_four_times_the_limit_ends_the_connection(connect: Connect) -> None:
    peer = connect()
    field = stored(b"x", b"v" * 1000)
    peer.feed(in_frames(1, request_block() + field + FIRST_STORED * (4 * LIST_LIMIT // 1033 + 1)))
    assert_ended_for(peer, Code.ENHANCE_YOUR_CALM)


def test_row_18_a_long_string_in_huffman_code_takes_little_while_it_is_decoded(engine: str) -> None:
    made = bare(engine)
    coded = wire("18 c6 31 8c 63") * 12_800  # the letter "a", in five bits
    head = request_block() + wire("00 01 78 ff 81 f3 03") + coded
    read_all(made, in_frames(1, head))
    with measured() as growth:
        read_all(made, in_frames(3, head))
    assert growth.peak < (1280 if engine == "native" else 4096) * KIB
    assert growth.left < 4 * KIB
    assert made.ending == Ending.OPEN


# Rows 15, 16: octets that are no HPACK.

BAD_COMPRESSION = {
    "an integer that never ends": wire("ff") + b"\x80" * 30 + b"\x01",
    "an integer of six octets": wire("ff 80 80 80 80 80 01"),
    "an integer above 2^31": wire("ff ff ff ff ff 0f"),
    "index 0": wire("80"),
    "an index beyond the tables": wire("bf"),
    "a string longer than its frame": wire("00 7f ff ff ff 07 61"),
    "a string cut short": wire("00 05 61"),
    "Huffman padding of eight ones": wire("00 01 78 82 1f ff"),
    "Huffman padding of zeros": wire("00 01 78 81 18"),
    "EOS in a Huffman string": wire("00 01 78 84 ff ff ff ff"),
    "an integer without its end": wire("ff 80"),
}
BAD_TABLE_SIZES = {
    "a thousand changes": b"\x20" * 1000,
    "three changes": wire("20 3f e1 1f 20"),
    "more than we allow": wire("3f e1 7f"),
    "one more than we allow": wire("3f e2 1f"),
}


@pytest.mark.parametrize("name", BAD_COMPRESSION)
def test_row_15_what_is_no_hpack_ends_the_connection(connect: Connect, name: str) -> None:
    peer = connect()
    peer.feed(headers(1, GET + BAD_COMPRESSION[name], end=True))
    assert_ended_for(peer, Code.COMPRESSION_ERROR)
    assert peer.events == []


@pytest.mark.parametrize("name", BAD_TABLE_SIZES)
def test_row_16_games_with_the_size_of_the_table_end_the_connection(connect: Connect, name: str) -> None:
    peer = connect()
    peer.feed(headers(1, BAD_TABLE_SIZES[name] + GET, end=True))
    assert_ended_for(peer, Code.COMPRESSION_ERROR)


def test_row_16_so_does_a_change_behind_a_field(connect: Connect) -> None:
    peer = connect()
    peer.feed(headers(1, GET[:3] + b"\x20" + GET[3:], end=True))
    assert_ended_for(peer, Code.COMPRESSION_ERROR)


def test_row_16_two_changes_in_front_are_what_the_rfc_allows(connect: Connect) -> None:
    peer = connect()
    peer.request(headers(1, wire("20 3f e1 1f") + GET, end=True))
