"""Clients that do not make room for their response, and clients that make very little of it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from keepserve.wire.engine import NEVER, Ending
from tests.http2.frames import Code, Kind, get, settings, window_update
from tests.http2.peer import EARLY, ENGINE_NAMES, Peer, nothing_before

Connect = Callable[..., Peer]

WIDE = 10_000_000
"""More of the connection's window than anything here uses."""


@pytest.fixture(params=ENGINE_NAMES)
def connect(request: pytest.FixtureRequest) -> Connect:
    return partial(Peer, request.param)


def downloading(connect: Connect, size: int = 100_000, **limits: float) -> Peer:
    """Stream 1 has taken 2,000 of so many bytes and has no window left."""
    peer = connect(own_settings=[(4, 2000)], **limits)
    peer.feed(window_update(0, WIDE), get(1))
    peer.answer(1, b"x" * size)
    assert len(peer.body(1)) == 2000
    return peer


def check_stalls(peer: Peer, deadline: float, stream: int = 1) -> None:
    """Nothing happens before ``deadline``; then this stream is cancelled, and nothing else."""
    nothing_before(peer, deadline)
    peer.fresh()
    peer.at(deadline)
    assert [repr(frame) for frame in peer.fresh()] == [f"<RST_STREAM {stream} CANCEL>"]
    assert peer.given_up == [(stream, 0)]
    assert peer.ending == Ending.OPEN


# The stall clock.


def test_a_response_for_which_no_room_is_made_is_given_up(connect: Connect) -> None:
    check_stalls(downloading(connect, write_timeout=60.0, write_min_rate=0), 60.0)


def test_other_streams_do_not_suffer(connect: Connect) -> None:
    peer = downloading(connect)
    peer.feed(get(3), get(5))
    peer.answer(3)
    check_stalls(peer, 30.0)
    peer.answer(5)
    assert [peer.response(number).whole for number in (3, 5)] == [True, True]


def test_progress_is_bytes_that_leave(connect: Connect) -> None:
    peer = downloading(connect, write_timeout=60.0, write_min_rate=0)
    peer.at(59.0)
    peer.feed(window_update(1, 5000))
    peer.flush()
    assert len(peer.body(1)) == 7000
    check_stalls(peer, 119.0)


@pytest.mark.parametrize(
    "octets",
    [window_update(0, 1000), settings((4, 1999)), settings((4, 0)), window_update(3, 1000)],
    ids=["connection", "smaller", "none", "another stream"],
)
def test_words_are_no_progress(connect: Connect, octets: bytes) -> None:
    """A window that grows and is still shut, or grows elsewhere, lets nothing pass."""
    peer = downloading(connect, write_timeout=60.0, write_min_rate=0)
    peer.feed(get(3))
    for second in range(10, 60, 10):
        peer.at(float(second))
        peer.feed(octets)
        peer.flush()
    check_stalls(peer, 60.0)


def test_a_client_that_makes_room_byte_by_byte_is_too_slow(connect: Connect) -> None:
    """WINDOW_UPDATE alone moves no clock: what counts is what it lets pass, and how fast."""
    peer = downloading(connect, write_timeout=60.0, write_min_rate=500.0, write_rate_grace=30.0)
    for second in range(1, 30):
        peer.at(float(second))
        peer.feed(window_update(1, 1))
        peer.flush()
    peer.at(29.5)
    peer.flush()
    assert len(peer.body(1)) == 2029
    check_stalls(peer, 30.0)


def test_a_client_that_is_fast_enough_is_served_for_as_long_as_it_takes(connect: Connect) -> None:
    peer = downloading(connect, write_min_rate=500.0, write_rate_grace=30.0)
    while not peer.response(1).whole:
        peer.at(peer.now + 3.0)
        peer.feed(window_update(1, 2000))
        peer.flush()
    assert peer.body(1) == b"x" * 100_000
    assert peer.given_up == []
    assert peer.deadline == peer.now + 80.0


def test_a_client_that_has_caught_up_and_stalls_again_has_its_time_again(connect: Connect) -> None:
    peer = connect(own_settings=[(4, 2000)], write_timeout=60.0, write_min_rate=0)
    peer.feed(get(1))
    peer.begin(1, b"x" * 5000)
    peer.at(50.0)
    peer.feed(window_update(1, 3000))
    peer.flush()
    assert len(peer.body(1)) == 5000
    assert peer.deadline == NEVER
    peer.now = 70.0
    peer.engine.send_body(1, b"y" * 5000, False)
    peer.flush()
    check_stalls(peer, 130.0)


def test_time_in_which_nothing_waited_does_not_count(connect: Connect) -> None:
    """The application writes now and then; the client's window was shut only for what came last."""
    peer = connect(own_settings=[(4, 2000)], write_timeout=60.0, write_min_rate=0)
    peer.feed(get(1))
    peer.begin(1, b"x" * 2000)
    assert peer.deadline == NEVER
    peer.now = 1000.0
    peer.engine.send_body(1, b"y", False)
    peer.flush()
    check_stalls(peer, 1060.0)


def test_progress_that_a_slow_connection_makes_is_counted_when_it_is_made(connect: Connect) -> None:
    """The client has made room at once; its connection takes the bytes slowly, and it says nothing more."""
    peer = downloading(connect, 300_000, write_timeout=60.0, write_min_rate=0)
    peer.feed(window_update(1, 150_000))
    peer.engine.hold_output(True)
    for second in (50.0, 100.0, 150.0):
        peer.at(second)
        peer.engine.hold_output(False)
        peer.pump()
        peer.engine.hold_output(True)
    assert len(peer.body(1)) == 152_000
    check_stalls(peer, 210.0)


def test_a_stream_whose_window_updates_nobody_reads_is_not_stalled(connect: Connect) -> None:
    peer = downloading(connect, write_timeout=60.0, write_min_rate=0)
    peer.engine.hold(True, 10.0)
    peer.at(500.0)
    assert peer.given_up == []
    peer.engine.hold(False, 500.0)
    check_stalls(peer, 550.0)


def test_a_stream_that_stalls_while_nobody_reads_has_its_time_afterwards(connect: Connect) -> None:
    peer = connect(own_settings=[(4, 2000)], write_timeout=60.0, write_min_rate=0)
    peer.feed(get(1))
    peer.engine.hold(True, 0.0)
    peer.answer(1, b"x" * 5000)
    peer.at(500.0)
    assert peer.given_up == []
    peer.engine.hold(False, 500.0)
    check_stalls(peer, 560.0)


def test_a_response_that_waits_for_the_connections_window_stalls_as_well(connect: Connect) -> None:
    peer = connect(own_settings=[(4, WIDE)], write_timeout=60.0, write_min_rate=0)
    peer.feed(get(1))
    peer.answer(1, b"x" * 100_000)
    assert len(peer.body(1)) == 65_535
    peer.at(50.0)
    peer.feed(window_update(0, 10_000))
    peer.flush()
    assert len(peer.body(1)) == 75_535
    check_stalls(peer, 110.0)


def test_all_stalled_streams_are_given_up_each_in_its_time(connect: Connect) -> None:
    peer = connect(own_settings=[(4, 2000)], write_timeout=60.0, write_min_rate=0)
    peer.feed(window_update(0, WIDE))
    for number in (1, 3, 5):
        peer.now = float(number)
        peer.feed(get(number))
        peer.answer(number, b"x" * 5000)
    for number in (1, 3, 5):
        peer.at(60.0 + number)
    assert peer.given_up == [(1, 0), (3, 0), (5, 0)]
    assert [peer.reset_code(number) for number in (1, 3, 5)] == [Code.CANCEL] * 3
    assert peer.deadline > 65.0


def test_without_a_limit_nobody_is_too_slow(connect: Connect) -> None:
    peer = downloading(connect, write_timeout=0.0, write_min_rate=0)
    assert peer.deadline == NEVER


# Small windows (CVE-2019-9511).


def small(connect: Connect, window: int, size: int = 5000) -> Peer:
    """A response of ``size`` bytes, and a window of ``window``."""
    peer = connect(own_settings=[(4, window)])
    peer.feed(get(1))
    peer.answer(1, b"x" * size)
    return peer


def test_a_window_of_a_kilobyte_is_used_at_once(connect: Connect) -> None:
    assert len(small(connect, 1024).body(1)) == 1024


def test_a_smaller_window_is_used_only_after_a_fifth_of_a_second(connect: Connect) -> None:
    peer = small(connect, 1023)
    assert peer.body(1) == b""
    nothing_before(peer, 0.2)
    peer.at(0.2)
    peer.flush()
    assert peer.body(1) == b"x" * 1023


def test_a_small_window_is_used_at_once_for_what_fits_it(connect: Connect) -> None:
    peer = small(connect, 10, 10)
    assert peer.body(1) == b"x" * 10
    assert peer.response(1).whole


def test_a_small_window_that_grows_in_time_is_used_at_once(connect: Connect) -> None:
    peer = small(connect, 1000)
    peer.now = 0.1
    peer.feed(window_update(1, 24))
    peer.flush()
    assert peer.body(1) == b"x" * 1024


def test_each_small_window_waits_anew(connect: Connect) -> None:
    """So a client that makes room byte by byte gets five frames a second, and not one for each WINDOW_UPDATE."""
    peer = small(connect, 1)
    for step in range(1, 41):
        peer.at(step / 20)
        peer.feed(window_update(1, 1))
        peer.flush()
    sizes = [len(frame.payload) for frame in peer.came(Kind.DATA)]
    assert len(sizes) <= 10
    assert max(sizes) <= 5
    assert 35 <= sum(sizes) <= 41


def test_small_windows_of_many_streams_share_one_wait(connect: Connect) -> None:
    peer = connect(own_settings=[(4, 100)])
    numbers = (1, 3, 5)
    for number in numbers:
        peer.feed(get(number))
        peer.answer(number, b"x" * 5000)
    assert not peer.came(Kind.DATA)
    peer.at(0.2)
    peer.flush()
    assert [len(peer.body(number)) for number in numbers] == [100] * 3


def test_a_window_of_nothing_is_not_used_however_long_it_lasts(connect: Connect) -> None:
    peer = small(connect, 0)
    assert peer.deadline == 30.0, "the stall clock, and no other"
    peer.at(30.0 - EARLY)
    assert not peer.came(Kind.DATA)


def test_the_rest_of_the_connections_window_is_used_after_a_while_too(connect: Connect) -> None:
    """A client may refill it only when all of it is used up."""
    peer = connect(own_settings=[(4, WIDE)])
    peer.feed(get(1), get(3))
    peer.begin(1, *[b"x" * 13_000] * 5)
    peer.answer(3, b"y" * 2000)
    assert (len(peer.body(1)), len(peer.body(3))) == (65_000, 0)
    peer.at(0.2)
    peer.flush()
    assert len(peer.body(3)) == 535
    peer.feed(window_update(0, 65_535))
    peer.flush()
    assert peer.body(3) == b"y" * 2000


def test_small_rests_of_the_connections_window_go_to_all_streams_in_turn(connect: Connect) -> None:
    peer = connect(own_settings=[(4, WIDE)])
    peer.feed(get(1), get(3), get(5))
    for number in (1, 3, 5):
        peer.engine.respond(number, 200, [], b"x" * 60_000, True)
    peer.flush()
    used = [len(peer.body(number)) for number in (1, 3, 5)]
    assert sum(used) == 65_535
    for step in range(1, 7):
        peer.at(float(step))
        peer.feed(window_update(0, 500))
        peer.flush()
        peer.at(step + 0.2)
        peer.flush()
    assert [len(peer.body(number)) - before for number, before in zip((1, 3, 5), used, strict=True)] == [1000] * 3


def test_a_stream_that_has_nothing_left_to_send_sends_nothing(connect: Connect) -> None:
    """It waited for the connection's window, then for its own; what was left went out in small windows."""
    peer = connect(own_settings=[(4, WIDE)])
    peer.feed(get(1), get(3))
    peer.begin(1, *[b"x" * 13_000] * 5)
    peer.begin(3, b"y" * 1000)
    for step in range(1, 4):
        peer.at(float(step))
        peer.flush()
        peer.feed(window_update(0, 400))
        peer.flush()
    assert peer.body(3) == b"y" * 1000
    assert all(frame.payload for frame in peer.came(Kind.DATA))
