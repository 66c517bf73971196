"""Rows of the table that turn our own answers against us: small windows, none at all, and windows that move."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import cycle

import hpack
import pytest

from keepserve.http2.outgoing import PUMP_BYTES
from keepserve.http2.session import Session
from keepserve.http2.streams import SEND_HIGH_WATER
from keepserve.wire.engine import Ending
from tests.hostile.attack import (
    GLITCHES,
    KIB,
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
    Code,
    Kind,
    Setting,
    get,
    headers,
    request_block,
    settings,
    split_frames,
    stored,
    window_update,
)
from tests.http2.peer import EARLY, Peer

WAIT = b"/wait"
LARGEST = 2**31 - 1
STREAMS = range(1, 200, 2)
MESSAGE = b"x" * (16 * KIB)
RST_CANCEL = [(number, Code.CANCEL) for number in STREAMS]


def window(size: int) -> tuple[int, int]:
    """The setting that gives each stream a window of so many bytes."""
    return Setting.INITIAL_WINDOW_SIZE, size


def downloads(connect: Connect, size: int) -> Peer:
    """A hundred large responses have begun; each stream's window is of this size, the connection's is wide."""
    peer = connect(own_settings=[window(size)])
    peer.feed(window_update(0, LARGEST - 65_535))
    for number in STREAMS:
        peer.request(get(number, WAIT))
        peer.engine.respond(number, 200, [(b"content-length", b"1048576")], MESSAGE, False)
        while not peer.engine.blocked(number):
            peer.engine.send_body(number, MESSAGE, False)
    peer.flush()
    return peer


def resets(peer: Peer) -> list[tuple[int, int]]:
    """Streams that were reset, and the codes."""
    return [(frame.stream, frame.number) for frame in peer.came(Kind.RST_STREAM)]


# Row 1: windows that grow by a byte.


def test_row_01_windows_that_grow_by_a_byte_end_the_connection(connect: Connect) -> None:
    peer = downloads(connect, 1)
    budget = 5 + 2 * len(STREAMS) - 1  # the one that opened the connection's window counts, too
    assert flood(peer, (window_update(number, 1) for number in cycle(STREAMS))) == budget + 1
    assert_ended_for(peer, Code.ENHANCE_YOUR_CALM)
    assert not peer.came(Kind.DATA), "a byte is not worth a frame"


@pytest.mark.parametrize("pace", [0.0001, 0.00005])
def test_row_01_at_any_pace_that_is_a_flood_it_takes_less_than_two_seconds(connect: Connect, pace: float) -> None:
    peer = downloads(connect, 1)
    for number in cycle(STREAMS):
        peer.now += pace
        peer.feed(window_update(number, 1))
        if peer.deadline <= peer.now:
            peer.at(peer.now)
        peer.flush()
        if peer.ending or peer.now > 3.0:
            break
    assert peer.now < 2.0
    assert_ended_for(peer, Code.ENHANCE_YOUR_CALM)
    assert len(peer.came(Kind.DATA)) <= 100 * (1 + int(peer.now / 0.2))


def test_row_01_below_that_a_stream_gets_five_frames_a_second_and_no_more_than_30_seconds(connect: Connect) -> None:
    peer = downloads(connect, 1)
    for tick in range(1, 300):
        peer.at(tick / 10 - EARLY)
        peer.feed(*(window_update(number, 1) for number in STREAMS))
        peer.flush()
    assert_goes_on(peer)
    assert len(peer.came(Kind.DATA)) <= 100 * 5 * 30
    assert resets(peer) == []
    peer.at(31.0)
    assert resets(peer) == RST_CANCEL
    assert_goes_on(peer)


def test_row_01_a_clock_that_is_looked_at_late_lets_no_storm_through(connect: Connect) -> None:
    """Small windows are used by the clock, once for each stream, not whenever a WINDOW_UPDATE comes behind time."""
    peer = downloads(connect, 1)
    for late in range(10):
        peer.now = 0.2 + late / 100
        peer.feed(*(window_update(number, 1) for number in STREAMS[:15]))
        peer.flush()
    assert not peer.came(Kind.DATA)
    peer.at(0.3)
    peer.flush()
    assert sorted(frame.stream for frame in peer.came(Kind.DATA)) == list(STREAMS)


def test_row_01_what_waits_is_bounded(connect: Connect) -> None:
    peer = downloads(connect, 1)
    streams = peer.engine._streams.values()
    assert all(SEND_HIGH_WATER < stream.queued <= SEND_HIGH_WATER + len(MESSAGE) for stream in streams)
    assert all(peer.engine.blocked(number) for number in STREAMS)


def test_row_01_a_client_may_widen_both_windows_for_each_frame_it_reads(connect: Connect) -> None:
    peer = connect()
    peer.request(get(1, WAIT))
    peer.begin(1)
    for _ in range(300):
        peer.engine.send_body(1, b"x", False)
        peer.flush()
        peer.feed(window_update(0, 1), window_update(1, 1))
    assert_goes_on(peer)


# Row 7: everything may be sent, and nothing is read.


def test_row_07_a_body_goes_out_64_kib_at_a_time_and_not_at_all_while_the_transport_is_full(engine: str) -> None:
    made = bare(engine, window(LARGEST))
    read_all(made, window_update(0, LARGEST - 65_535) + b"".join(get(number, WAIT) for number in STREAMS))
    for number in STREAMS:
        made.respond(number, 200, [], MESSAGE, False)
        while not made.blocked(number):
            made.send_body(number, MESSAGE, False)
    assert sum(map(len, made.out)) < PUMP_BYTES + len(MESSAGE) + 100 * 200
    made.out.clear()
    made.pump(0.0)
    assert PUMP_BYTES <= sum(map(len, made.out)) < PUMP_BYTES + len(MESSAGE) + 9 * 10
    made.out.clear()
    queued = sum(stream.queued for stream in made._streams.values())
    assert queued <= 100 * (SEND_HIGH_WATER + len(MESSAGE))
    made.hold_output(True)
    for number in list(made.relieved):
        made.send_body(number, MESSAGE, False)
    assert made.out == []


# Row 14, the hold; row 22: no window at all.


def held(connect: Connect) -> Peer:
    """A hundred streams wait for a window that their client does not give."""
    return downloads(connect, 0)


def test_row_22_streams_without_a_window_are_given_up_after_30_seconds(connect: Connect) -> None:
    peer = held(connect)
    assert peer.deadline == 30.0
    peer.at(30.0 - EARLY)
    assert resets(peer) == []
    peer.at(30.0)
    assert resets(peer) == RST_CANCEL
    assert peer.given_up == [(number, 0) for number in STREAMS]
    assert_goes_on(peer)
    assert peer.engine.idle
    assert not peer.engine.pending


def test_row_22_window_updates_do_not_hold_a_stream(connect: Connect) -> None:
    peer = held(connect)
    for step in range(1, 9):
        peer.at(step * 10.0 - 5.0)
        if peer.engine.idle:
            break
        peer.feed(*(window_update(number, 1) for number in STREAMS))
        peer.flush()
    assert peer.now < 90.0
    assert resets(peer) == RST_CANCEL


def test_row_22_five_hundred_bytes_a_second_are_enough(connect: Connect) -> None:
    peer = connect(own_settings=[window(0)])
    peer.request(get(1, WAIT))
    peer.engine.respond(1, 200, [], b"x" * 60_000, True)
    peer.flush()
    for second in range(1, 60):
        peer.at(float(second))
        peer.feed(window_update(1, 1024))
        peer.flush()
        peer.feed(window_update(0, 1024))
    peer.at(60.0)
    peer.feed(window_update(1, 1024))
    peer.flush()
    assert peer.response(1).whole
    assert resets(peer) == []


def test_row_14_answers_to_bombs_are_not_held_by_a_window_of_nothing(connect: Connect) -> None:
    """The server's own 431 has a body, too: what its client does not take is given up like any other."""
    peer = connect(own_settings=[window(0)])
    for number in STREAMS:
        peer.feed(headers(number, request_block() + stored(b"a", b"") + FIRST_STORED * 900, end=True))
    peer.flush()
    assert peer.given_up == [(number, 431) for number in STREAMS]
    assert len(peer.engine._streams) == len(STREAMS)
    peer.at(30.0 - EARLY)
    assert resets(peer) == []
    peer.at(30.0)
    assert resets(peer) == RST_CANCEL
    assert not peer.engine._streams
    assert_goes_on(peer)


def test_row_14_nor_are_requests_that_pass_the_limits_and_a_drip_keeps_nothing_alive(connect: Connect) -> None:
    peer = connect(own_settings=[window(0)])
    for number in STREAMS:
        peer.request(headers(number, request_block() + stored(b"a", b"") + FIRST_STORED * 90, end=True))
        peer.answer(number, MESSAGE)
    for step in range(1, 7):
        peer.at(step * 5.0)
        peer.feed(*(window_update(number, 1) for number in STREAMS[:30]))
        peer.flush()
    assert peer.now == 30.0
    assert resets(peer) == RST_CANCEL
    assert not peer.engine._streams
    assert_goes_on(peer)


# Row 17: the encoder's table.


def test_row_17_the_largest_of_tables_makes_us_keep_nothing(engine: str) -> None:
    made = bare(engine, (Setting.HEADER_TABLE_SIZE, 2**32 - 1))
    decoder = hpack.Decoder()
    decoder.max_allowed_table_size = 2**32 - 1

    def serve(turns: range) -> None:
        for turn in turns:
            made.receive(get(2 * turn + 1, WAIT), 0.0)
            made.respond(2 * turn + 1, 200, [(b"x-%d" % turn, b"v" * 300)], b"", True)
            for frame in split_frames(b"".join(made.out))[0]:
                if frame.kind == Kind.HEADERS:
                    assert [*decoder.decode(frame.payload, raw=True)][-1] == (b"x-%d" % turn, b"v" * 300)
            made.out.clear()

    serve(range(50))
    with measured() as growth:
        serve(range(50, 350))
    assert decoder.header_table.maxsize <= 4096
    # The decoder of this test grows as well, and by no more than a full table does.
    assert growth.left < 16 * KIB


def test_row_17_a_table_of_nothing_is_obeyed(connect: Connect) -> None:
    peer = connect(own_settings=[(Setting.HEADER_TABLE_SIZE, 0)])
    for number in STREAMS:
        peer.request(get(number, WAIT))
        peer.engine.respond(number, 200, [(b"x-%d" % number, b"y")], b"", True)
        peer.flush()
        assert peer.response(number).fields[-1] == (b"x-%d" % number, b"y")


# Row 21: SETTINGS that move all windows at once.


def test_row_21_windows_that_go_up_and_down_fill_the_bucket(connect: Connect) -> None:
    peer = downloads(connect, 0)
    churn = cycle((settings(window(0)), settings(window(1000))))
    sent = flood(peer, churn)
    assert sent == -(-GLITCHES * 8 // 9)  # an entry makes a frame weigh 1 1/8
    assert_ended_for_a_flood(peer)
    assert_warned_before(peer)


def test_row_21_a_negative_window_is_legal_and_waits_until_it_is_positive(connect: Connect) -> None:
    peer = connect(own_settings=[window(20_000)])
    peer.request(get(1, WAIT))
    peer.answer(1, b"x" * 30_000)
    assert len(peer.body(1)) == 20_000
    peer.feed(settings(window(0)))
    assert peer.engine._base_window + peer.engine._streams[1].delta == -20_000
    peer.feed(window_update(1, 20_000))
    peer.flush()
    assert len(peer.body(1)) == 20_000
    peer.feed(window_update(1, 10_000))
    peer.flush()
    assert peer.response(1).whole


def test_row_21_a_window_taken_beyond_2_31_by_settings_ends_the_connection(connect: Connect) -> None:
    peer = downloads(connect, 0)
    peer.feed(window_update(1, LARGEST))
    assert_goes_on(peer)
    peer.feed(settings(window(1)))
    assert_ended_for(peer, Code.FLOW_CONTROL_ERROR)


@pytest.mark.parametrize("large", [1000, LARGEST])
def test_row_21_a_change_of_all_windows_costs_the_same_for_one_stream_and_for_a_hundred(large: int) -> None:
    frames = (settings(window(0)) + settings(window(large))) * 400

    def made_with(streams: int) -> Session:
        made = bare("native", window(0))
        for number in range(1, 2 * streams, 2):
            made.receive(get(number, WAIT), 0.0)
            made.respond(number, 200, [], MESSAGE, True)
            made.pump(0.0)
        made.out.clear()
        return made

    def costs(streams: int) -> Iterator[float]:
        for _ in range(7):
            made = made_with(streams)
            start = time.thread_time()
            read_all(made, frames)
            yield time.thread_time() - start
            assert made.ending == Ending.OPEN

    assert min(costs(100)) < 3 * min(costs(1))
