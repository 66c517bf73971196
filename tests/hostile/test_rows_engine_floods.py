"""Rows of the table whose weapon is number: frames that carry nothing, and frames that carry next to nothing.

Each is sent until the engine ends the connection, with the clock standing still: how many it took is exact.
Then what must not end it: as many as a real client may send.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from keepserve.http2.incoming import SLICE
from keepserve.wire.engine import Body, Ending, Event, Request
from tests.hostile.attack import (
    GLITCHES,
    KIB,
    again,
    assert_ended_for,
    assert_ended_for_a_flood,
    assert_goes_on,
    assert_warned_before,
    bare,
    flood,
    measured,
    read_all,
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
    goaway,
    headers,
    post,
    priority,
    request_block,
    rst,
    settings,
    stored,
    unknown,
    wire,
)

PING = wire("000008 06 00 00000000", bytes(8))
EMPTY_SETTINGS = wire("000000 04 00 00000000")
UNKNOWN = wire("000000 42 00 00000000")
GOAWAY = goaway(0)
WAIT = b"/wait"


# Rows 2, 3, 5, 25: frames that carry nothing.


def test_row_02_a_thousand_pings_at_once_end_the_connection(connect: Connect) -> None:
    peer = connect()
    assert flood(peer, again(PING)) == GLITCHES
    assert_ended_for_a_flood(peer)
    assert_warned_before(peer)
    assert len([frame for frame in peer.came(Kind.PING) if frame.flags]) == GLITCHES


def test_row_02_what_waits_for_a_client_that_never_reads_is_bounded(engine: str) -> None:
    made = bare(engine)
    with measured() as growth:
        for _ in range(100_000 // 500):
            made.receive(PING * 500, 0.0)
            while made.backlog:
                made.proceed(0.0)
    assert sum(map(len, made.out)) < GLITCHES * len(PING) + 500
    assert growth.peak < 256 * KIB


def test_row_02_as_many_pings_as_are_no_flood_go_on_for_ever(connect: Connect) -> None:
    peer = connect(keep_alive_timeout=1e9)
    for second in range(60):
        peer.now = float(second)
        peer.feed(PING * 99)
    assert_goes_on(peer)
    for second in range(60, 180):
        peer.now = float(second)
        flood(peer, [PING] * 110)
    assert_ended_for_a_flood(peer)


def test_row_03_a_thousand_priorities_end_the_connection_and_nothing_is_kept_of_them(connect: Connect) -> None:
    peer = connect()
    peer.feed(*(get(number, WAIT) for number in range(1, 200, 2)))
    shuffles = (
        priority(2 * (turn % 100) + 1, 2 * ((turn * 37 + 5) % 100) + 1, turn % 256)
        for turn in range(100_000)
        if (turn * 37 + 5 - turn) % 100
    )
    assert flood(peer, shuffles) == GLITCHES
    assert_ended_for_a_flood(peer)


def test_row_03_priorities_cost_no_memory(engine: str) -> None:
    made = bare(engine)
    read_all(made, b"".join(get(number, WAIT) for number in range(1, 200, 2)))
    frames = [priority(2 * turn + 1, 2 * ((turn + 7) % 300) + 1, turn % 256) for turn in range(300)]
    read_all(made, b"".join(frames))
    with measured() as growth:
        read_all(made, b"".join(frames))
    assert growth.left < 2 * KIB
    assert made.ending == Ending.OPEN


def test_row_03_priorities_for_more_streams_than_were_opened_have_a_bound_of_their_own(connect: Connect) -> None:
    peer = connect(keep_alive_timeout=1e9)
    for second in range(101):  # slowly enough for the bucket
        peer.now = float(second)
        if peer.feed(*[priority(1, 0, 7)] * 10) or peer.ending:
            break
    assert peer.now == 10.0
    assert_ended_for_a_flood(peer)


def test_row_05_settings_weigh_one_each_and_an_eighth_for_each_entry(connect: Connect) -> None:
    peer = connect()
    assert flood(peer, again(EMPTY_SETTINGS)) == GLITCHES
    assert_ended_for_a_flood(peer)
    assert_warned_before(peer)
    acknowledged = [frame for frame in peer.came(Kind.SETTINGS) if frame.flags]
    assert len(acknowledged) == GLITCHES  # all but the last one, and the greeting's

    peer = connect()
    assert flood(peer, again(settings(*[(0x4, 65_535)] * 32))) == GLITCHES // 5
    assert_ended_for_a_flood(peer)


@pytest.mark.parametrize("entries", [33, 2000])
def test_row_05_more_than_32_entries_end_the_connection_at_once(connect: Connect, entries: int) -> None:
    peer = connect()
    peer.feed(settings(*[(0x4, 65_535)] * entries))
    assert_ended_for(peer, Code.ENHANCE_YOUR_CALM)
    peer = connect()
    peer.feed(settings(*[(0x4, 65_535)] * 32))
    assert_goes_on(peer)


@pytest.mark.parametrize("frame", [UNKNOWN, unknown(0xFA, 0xFF, 0, bytes(16_384)), unknown(0x0A, 0, 7)])
def test_row_25_a_thousand_unknown_frames_end_the_connection(connect: Connect, frame: bytes) -> None:
    peer = connect()
    assert flood(peer, again(frame)) == GLITCHES
    assert_ended_for_a_flood(peer)
    assert_warned_before(peer)


def test_row_25_a_goaway_ends_an_idle_connection_and_a_thousand_any_other(connect: Connect) -> None:
    peer = connect()
    peer.feed(GOAWAY)
    assert_ended_for(peer, Code.NO_ERROR)

    peer = connect()
    peer.request(get(1, WAIT))
    assert flood(peer, again(GOAWAY)) == GLITCHES
    assert_ended_for_a_flood(peer)
    assert_warned_before(peer)


def test_row_02_and_its_kin_share_one_bucket(connect: Connect) -> None:
    peer = connect()
    peer.request(get(1, WAIT))
    mixed = (frame for _ in range(1000) for frame in (PING, EMPTY_SETTINGS, UNKNOWN, priority(1), GOAWAY))
    assert flood(peer, mixed) == GLITCHES
    assert_ended_for_a_flood(peer)


# Rows 8, 9: small DATA.


EMPTY_DATA = {
    "DATA": data(1),
    "DATA with an empty padding": data(1, padding=0),
    "DATA with 255 octets of padding": wire("000100 00 08 00000001 ff", bytes(255)),
}


@pytest.mark.parametrize("name", EMPTY_DATA)
def test_row_08_a_hundred_empty_frames_are_ignored_and_one_more_ends_the_connection(
    connect: Connect, name: str
) -> None:
    peer = connect()
    peer.request(post(1))
    assert flood(peer, again(EMPTY_DATA[name])) == 101
    assert_ended_for(peer, Code.ENHANCE_YOUR_CALM)
    assert not any(isinstance(event, Body) for event in peer.events)


def test_row_08_empty_frames_are_counted_over_all_streams_and_time(connect: Connect) -> None:
    peer = connect(body_timeout=0, body_min_rate=0)
    peer.feed(*(post(number) for number in range(1, 41, 2)))
    for number in range(1, 41, 2):
        peer.now += 10.0
        peer.feed(*[data(number)] * 5)
    assert_goes_on(peer)
    peer.feed(data(1))
    assert_ended_for(peer, Code.ENHANCE_YOUR_CALM)


def test_row_08_the_padding_of_empty_frames_is_given_back(connect: Connect) -> None:
    peer = connect()
    peer.request(post(1))
    frame = data(1, b"x", padding=255)
    for _ in range(5000):
        peer.feed(frame)
    padded = 5000 * 256
    assert 0 <= padded - peer.credit(1) < 128 * KIB
    assert 0 <= padded - peer.credit(0) < 512 * KIB
    assert peer.uploaded(1) == b"x" * 5000


def test_row_08_an_empty_frame_that_ends_a_body_is_no_attack(connect: Connect) -> None:
    peer = connect()
    for number in range(1, 601, 2):
        peer.feed(post(number), data(number, end=True))
        peer.answer(number)
    assert_goes_on(peer)


def test_row_09_the_smallest_frames_become_a_few_events(engine: str) -> None:
    made = bare(engine)
    made.receive(post(1), 0.0)
    frames = data(1, b"x") * 65_535
    events: list[Event] = []
    for start in range(0, len(frames), 64 * KIB):
        events += made.receive(frames[start : start + 64 * KIB], 0.0)
        while made.backlog:
            events += made.proceed(0.0)
    assert sum(len(event.data) for event in events if isinstance(event, Body)) == 65_535
    assert len(events) <= 65_535 // SLICE + len(frames) // (64 * KIB) + 2
    assert made.ending == Ending.OPEN


def test_row_09_small_frames_that_are_taken_never_add_up_to_an_attack(engine: str) -> None:
    made = bare(engine)
    made.receive(post(1), 0.0)
    message = data(1, b"x") * 100
    for _ in range(300):
        for event in made.receive(message, 0.0):
            assert isinstance(event, Body)
            made.taken(1, len(event.data), 0.0)
    assert made.ending == Ending.OPEN
    assert b"".join(made.out) == b""


# Row 34: everything at once.

BURST = 256 * KIB


def bursts() -> dict[str, Callable[[], bytes]]:
    """256 KiB each, which is what a loop may hand over in one piece."""
    many = list(range(1, 2 * BURST // 9, 2))
    return {
        "PING": lambda: PING * (BURST // len(PING)),
        "HEADERS": lambda: b"".join(headers(number, GET, end=True) for number in many)[:BURST],
        "HEADERS and RST_STREAM": lambda: b"".join(get(number) + rst(number) for number in many)[:BURST],
        "HEADERS of many fields": lambda: (
            headers(1, request_block() + stored(b"a", b""), end=True)
            + b"".join(headers(number, GET + FIRST_STORED * 900, end=True) for number in many[1:300])
        ),
        "DATA": lambda: headers(1, POST) + data(1, b"x") * (BURST // 10),
    }


@pytest.mark.parametrize("name", bursts())
def test_row_34_a_burst_is_worked_off_in_slices(engine: str, name: str) -> None:
    made = bare(engine)
    burst = bursts()[name]()
    events = made.receive(burst, 0.0)
    slices = 0
    size = len(burst)
    while made.backlog:
        read = size - len(made.backlog)
        assert 0 < read <= 16 * KIB + 9 * SLICE, "more than a slice of work, or none"
        assert len(events) <= SLICE, "more than a slice of work"
        assert len(made.out) <= 2 * SLICE, "more than a slice of answers"
        for event in events:
            if isinstance(event, Request):
                made.respond(event.stream, 200, [], b"", True)
        made.out.clear()
        slices += 1
        size = len(made.backlog)
        events = made.proceed(0.0)
    assert slices >= 2


def test_row_34_what_comes_while_a_backlog_waits_is_read_behind_it(engine: str) -> None:
    made = bare(engine)
    events = list(made.receive(PING * 300 + get(1), 0.0))
    assert made.backlog
    events += made.receive(get(3), 0.0)
    events += made.receive(get(5)[:7], 0.0)
    assert events == []
    events += made.proceed(0.0)
    assert not made.backlog
    events += made.receive(get(5)[7:], 0.0)
    assert [event.stream for event in events if isinstance(event, Request)] == [1, 3, 5]
