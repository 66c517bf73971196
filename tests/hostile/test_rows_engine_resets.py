"""Rows of the table whose weapon is streams: given up as soon as they are open, reset for a fault, too many at once.

Each is sent until the engine ends the connection, with the clock standing still: how many it took is exact.
Then what must not end it: as many as a real client may have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from keepserve.wire.engine import Request
from tests.hostile.attack import (
    GLITCHES,
    RESETS,
    again,
    assert_ended_for,
    assert_ended_for_a_flood,
    assert_goes_on,
    assert_warned_before,
    flood,
    numbers,
)
from tests.hostile.conftest import Connect
from tests.http2.frames import (
    FIRST_STORED,
    GET,
    POST,
    Code,
    Kind,
    data,
    get,
    headers,
    priority,
    request_block,
    rst,
    stored,
    window_update,
    wire,
)

WAIT = b"/wait"


# Row 4, 10, 11: streams that are given up.


HALF_CLOSED: dict[str, Callable[[int], bytes]] = {
    "HEADERS": lambda number: headers(number, GET, end=True),
    "DATA": lambda number: data(number, b"x"),
}
MADE_RESETS: dict[str, Callable[[int], bytes]] = {
    **HALF_CLOSED,
    "a window beyond 2^31-1": lambda number: window_update(number, 2**31 - 1),
    "PRIORITY of 4 octets": lambda number: wire("000004 02 00", number.to_bytes(4, "big"), bytes(4)),
}
WORSE: dict[str, Callable[[int], bytes]] = {
    "WINDOW_UPDATE of 0": lambda number: window_update(number, 0),
    "PRIORITY on itself": lambda number: priority(number, number),
    "HEADERS that depend on themselves": lambda number: headers(
        number + 2, GET, end=True, priority=(number + 2).to_bytes(4, "big") + b"\x0f"
    ),
}


@pytest.mark.parametrize("name", HALF_CLOSED)
def test_row_04_a_stream_is_reset_once_and_two_hundred_end_the_connection(connect: Connect, name: str) -> None:
    peer = connect()
    frame = HALF_CLOSED[name]
    sent = flood(peer, (get(number, WAIT) + frame(number) * 3 for number in numbers()))
    assert sent == RESETS
    assert_ended_for_a_flood(peer)
    assert_warned_before(peer)
    resets = peer.came(Kind.RST_STREAM)
    assert [frame.stream for frame in resets] == list(range(1, 2 * RESETS, 2))
    assert {frame.number for frame in resets} == {Code.STREAM_CLOSED}


@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("HEADERS", GLITCHES + 1),
        ("PRIORITY of 4 octets", GLITCHES + 1),
        ("DATA", 4 * GLITCHES + 1),
        ("DATA of 16 KiB", 4 * GLITCHES + 1),
    ],
)
def test_row_04_frames_on_one_stream_that_was_reset_are_counted(connect: Connect, name: str, most: int) -> None:
    peer = connect()
    peer.request(get(1, WAIT))
    frame = data(1, bytes(16_384)) if name == "DATA of 16 KiB" else MADE_RESETS[name](1)
    assert flood(peer, again(frame)) == most
    assert_ended_for_a_flood(peer)
    assert len(peer.came(Kind.RST_STREAM)) == 1


def test_row_04_an_upload_that_was_on_its_way_when_its_stream_was_reset_is_no_flood(connect: Connect) -> None:
    peer = connect()
    bad_length = request_block(b"POST", WAIT, (b"content-length", b"1"))
    for number in range(1, 100, 2):  # 256 KiB each, as many as the window of a stream lets through
        peer.feed(headers(number, bad_length), *[data(number, bytes(16_384))] * 16)
    assert_goes_on(peer)
    assert len(peer.came(Kind.RST_STREAM)) == 50


def test_row_10_rapid_reset_ends_with_the_two_hundredth_stream(connect: Connect) -> None:
    peer = connect()
    sent = flood(peer, (headers(number, GET, end=True) + rst(number) for number in numbers()))
    assert sent == RESETS
    assert_ended_for_a_flood(peer)
    assert_warned_before(peer)
    assert sum(type(event) is Request for event in peer.events) == RESETS
    assert len(peer.given_up) == RESETS


def test_row_10_twenty_resets_a_second_are_no_flood(connect: Connect) -> None:
    peer = connect()
    fresh = numbers()
    for tenth in range(600):
        peer.now = tenth / 10
        peer.feed(*(get(number, WAIT) + rst(number) for number in (next(fresh), next(fresh))))
    assert_goes_on(peer)
    for tenth in range(600, 1600):
        peer.now = tenth / 10
        flood(peer, (get(number, WAIT) + rst(number) for number in (next(fresh), next(fresh), next(fresh))))
    assert_ended_for_a_flood(peer)


def test_row_10_streams_that_end_well_make_room_for_a_quarter_as_many_resets(connect: Connect) -> None:
    peer = connect()
    fresh = numbers()
    for _ in range(300):
        for _ in range(4):
            number = peer.request(get(next(fresh), WAIT)).stream
            peer.answer(number)
        peer.feed(get(number := next(fresh), WAIT), rst(number))
    assert_goes_on(peer)


def test_row_10_a_reset_for_what_is_over_is_a_glitch(connect: Connect) -> None:
    peer = connect()
    peer.request(get(1))
    peer.answer(1)
    assert flood(peer, again(rst(1))) == GLITCHES
    assert_ended_for_a_flood(peer)


@pytest.mark.parametrize("name", MADE_RESETS)
def test_row_11_resets_the_client_makes_us_send_fill_the_same_bucket(connect: Connect, name: str) -> None:
    peer = connect()
    bad = MADE_RESETS[name]
    fresh = numbers()

    def mixed() -> Iterator[bytes]:
        for number in fresh:
            yield get(number, WAIT) + bad(number)
            yield get(number := next(fresh), WAIT) + rst(number)

    assert flood(peer, mixed()) == RESETS
    assert_ended_for_a_flood(peer)
    assert_warned_before(peer)
    assert len(peer.came(Kind.RST_STREAM)) == RESETS // 2
    assert len(peer.given_up) == RESETS


@pytest.mark.parametrize("name", WORSE)
def test_row_11_frames_that_are_after_our_state_end_the_connection(connect: Connect, name: str) -> None:
    peer = connect()
    peer.request(get(1, WAIT))
    peer.feed(WORSE[name](1))
    assert_ended_for(peer, Code.PROTOCOL_ERROR)
    assert peer.given_up == [(1, 0)]


# Row 19: more streams than may be open.


def test_row_19_streams_above_the_limit_are_refused_and_the_connection_goes_on(connect: Connect) -> None:
    peer = connect()
    peer.feed(*(headers(number, POST) for number in range(1, 2 * 101, 2)))
    assert [(frame.stream, frame.number) for frame in peer.came(Kind.RST_STREAM)] == [(201, Code.REFUSED_STREAM)]
    assert sum(type(event) is Request for event in peer.events) == 100
    peer.answer(1)
    peer.feed(data(1, end=True))
    assert type(peer.feed(get(203))[-1]) is Request
    assert_goes_on(peer)


def test_row_19_a_refused_block_is_decoded_because_the_next_may_build_on_it(connect: Connect) -> None:
    peer = connect()
    peer.feed(*(headers(number, POST) for number in range(1, 2 * 100, 2)))
    peer.feed(headers(201, request_block() + stored(b"x-kept", b"yes"), end=True))
    peer.answer(1)
    peer.feed(data(1, end=True))
    assert (b"x-kept", b"yes") in peer.request(headers(203, request_block() + FIRST_STORED, end=True)).fields


@pytest.mark.parametrize(("parting", "most"), [(False, GLITCHES), (True, 4 * GLITCHES)])
def test_row_19_a_thousand_refused_streams_end_the_connection(connect: Connect, parting: bool, most: int) -> None:
    peer = connect()
    peer.feed(*(headers(number, POST) for number in range(1, 2 * 100, 2)))
    if parting:  # streams above the one that the last GOAWAY names are refused as well
        peer.engine.drain(peer.now, 0.0)
        peer.at(1.0)
        assert [last for last, _ in peer.goaways][1:] == [199]
    assert flood(peer, (get(number, WAIT) for number in range(201, 100_000, 2))) == most
    assert_ended_for_a_flood(peer)
    assert {frame.number for frame in peer.came(Kind.RST_STREAM)} == {Code.REFUSED_STREAM}
    assert len(peer.came(Kind.RST_STREAM)) == most
