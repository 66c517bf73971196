"""Responses that share a connection: turns, both levels of windows, and when an application has to wait."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from functools import partial

import pytest

from keepserve.http2.incoming import SLICE
from keepserve.http2.outgoing import PUMP_BYTES
from keepserve.http2.streams import SEND_HIGH_WATER, SEND_LOW_WATER
from keepserve.telemetry.reasons import CloseReason
from keepserve.wire.engine import Ending
from tests.http2.frames import Code, Kind, get, rst, settings, window_update
from tests.http2.peer import ENGINE_NAMES, Peer

Connect = Callable[..., Peer]

FRAME = 16_384
WIDE = 10_000_000
"""More than anything here uses."""


@pytest.fixture(params=ENGINE_NAMES)
def connect(request: pytest.FixtureRequest) -> Connect:
    return partial(Peer, request.param)


def open_wide(connect: Connect, *streams: int) -> Peer:
    """A connection without any bound of its client's, and these requests."""
    peer = connect(own_settings=[(4, WIDE)])
    peer.feed(window_update(0, WIDE), *(get(number) for number in streams))
    return peer


def respond(peer: Peer, stream: int, size: int, complete: bool = True) -> None:
    """Hand over a response of so many bytes, and put nothing out."""
    peer.engine.respond(stream, 200, [], b"x" * size, complete)


def order(peer: Peer) -> list[int]:
    """The streams of the DATA frames since the last look."""
    return [frame.stream for frame in peer.fresh() if frame.kind == Kind.DATA]


# Turns.


def test_streams_take_turns_frame_by_frame(connect: Connect) -> None:
    peer = open_wide(connect, 1, 3, 5)
    for number in (1, 3, 5):
        respond(peer, number, 10 * FRAME)
    peer.flush()
    assert order(peer) == [1, 3, 5] * 10
    assert all(peer.body(number) == b"x" * 10 * FRAME for number in (1, 3, 5))


def test_a_stream_that_comes_later_has_its_turn_at_once(connect: Connect) -> None:
    peer = open_wide(connect, 1, 3)
    respond(peer, 1, 100 * FRAME)
    peer.pump(3)
    order(peer)
    respond(peer, 3, 3 * FRAME)
    peer.pump(2)
    assert order(peer) == [1, 3, 1, 3, 1, 3, 1, 1]


def test_a_small_response_does_not_wait_for_a_large_one(connect: Connect) -> None:
    """It goes out in front of all that waits, without a turn."""
    peer = open_wide(connect, 1, *range(3, 23, 2))
    respond(peer, 1, 1000 * FRAME)
    for number in range(3, 23, 2):
        peer.pump()
        peer.fresh()
        respond(peer, number, 10_000)
        peer.pump()
        assert order(peer)[0] == number
        assert peer.response(number).whole


def test_many_small_responses_do_not_keep_a_large_one_from_its_turn(connect: Connect) -> None:
    """What jumps the queue in one turn is bounded like a write; the rest queues up behind it."""
    numbers = range(3, 201, 2)
    peer = open_wide(connect, 1, *numbers)
    respond(peer, 1, 10 * FRAME)
    for number in numbers:
        respond(peer, number, 2000)
    peer.pump()
    taken = order(peer)
    assert taken.count(1) >= 1
    assert taken.index(1) * 2000 <= PUMP_BYTES + 2000


def test_one_write_holds_a_bounded_part_of_the_bodies(connect: Connect) -> None:
    peer = open_wide(connect, 1, 3)
    respond(peer, 1, 100 * FRAME)
    respond(peer, 3, 100 * FRAME)
    before = len(peer.body(1) + peer.body(3))
    for _ in range(10):
        peer.pump()
        after = len(peer.body(1) + peer.body(3))
        assert 0 < after - before <= PUMP_BYTES + FRAME
        before = after


def test_nothing_of_a_body_goes_out_while_the_client_does_not_take_it(connect: Connect) -> None:
    peer = open_wide(connect, 1, 3)
    peer.engine.hold_output(True)
    respond(peer, 1, 100)
    respond(peer, 3, 0)
    peer.engine.flushed(0.0)
    peer.pump(0)
    assert peer.body(1) == b""
    assert peer.response(3).whole, "a head holds nothing up"
    peer.engine.hold_output(False)
    peer.flush()
    assert peer.body(1) == b"x" * 100


# Both windows.


def test_the_connections_window_is_shared_in_turns(connect: Connect) -> None:
    peer = connect(own_settings=[(4, WIDE)])
    peer.feed(get(1), get(3), get(5))
    for number in (1, 3, 5):
        respond(peer, number, 40_000)
    peer.flush()
    first = [len(peer.body(number)) for number in (1, 3, 5)]
    assert sum(first) == 65_535
    assert max(first) - min(first) <= FRAME
    for _ in range(20):
        peer.feed(window_update(0, 5000))
        peer.flush()
    assert [len(peer.body(number)) for number in (1, 3, 5)] == [40_000] * 3


def test_streams_that_starve_are_served_in_turn(connect: Connect) -> None:
    peer = connect(own_settings=[(4, WIDE)])
    peer.feed(*(get(number) for number in (1, 3, 5, 7)))
    for number in (1, 3, 5, 7):
        respond(peer, number, 200_000)
    peer.flush()
    before = [len(peer.body(number)) for number in (1, 3, 5, 7)]
    for _ in range(40):
        peer.feed(window_update(0, 2000))
        peer.flush()
    after = [len(peer.body(number)) for number in (1, 3, 5, 7)]
    assert [new - old for new, old in zip(after, before, strict=True)] == [20_000] * 4


def test_a_stream_without_a_window_holds_up_nobody(connect: Connect) -> None:
    peer = connect(own_settings=[(4, 1000)])
    peer.feed(window_update(0, WIDE), get(1), get(3), window_update(3, WIDE))
    respond(peer, 1, 50_000)
    respond(peer, 3, 50_000)
    peer.flush()
    # 1,000 bytes are below what is worth a frame.
    assert (len(peer.body(1)), len(peer.body(3))) == (0, 50_000)


def test_a_response_without_a_body_needs_no_window(connect: Connect) -> None:
    peer = connect(own_settings=[(4, 0)])
    peer.feed(get(1), get(3))
    peer.answer(1, b"")
    peer.begin(3)
    peer.engine.send_trailers(3, [(b"a", b"b")])
    peer.flush()
    assert peer.response(1).whole
    assert peer.response(3).trailers == [(b"a", b"b")]


def test_a_window_may_become_negative_and_is_waited_for(connect: Connect) -> None:
    peer = connect(own_settings=[(4, 5000)])
    peer.feed(get(1))
    respond(peer, 1, 20_000)
    peer.flush()
    peer.feed(settings((4, 0)))
    peer.feed(window_update(1, 5000))
    peer.flush()
    assert len(peer.body(1)) == 5000
    peer.feed(window_update(1, 3000))
    peer.flush()
    assert len(peer.body(1)) == 8000


def test_an_initial_window_reaches_streams_that_wait_and_streams_that_come(connect: Connect) -> None:
    peer = connect(own_settings=[(4, 2000)])
    peer.feed(get(1), get(3))
    respond(peer, 1, 9000)
    respond(peer, 3, 100, complete=False)
    peer.flush()
    peer.feed(settings((4, 5000)), get(5))
    respond(peer, 5, 9000)
    peer.engine.send_body(3, b"y" * 9000, True)
    peer.flush()
    assert [len(peer.body(number)) for number in (1, 3, 5)] == [5000] * 3


def test_a_window_that_was_wide_binds_no_longer_when_its_stream_is_gone(connect: Connect) -> None:
    """A larger initial window must not overflow any stream's; but only those that are there count."""
    peer = connect()
    peer.feed(get(1), window_update(1, 2**31 - 1 - 65_535))
    peer.answer(1)
    peer.feed(settings((4, 2**31 - 1)), get(3))
    peer.answer(3)
    assert peer.ending == Ending.OPEN
    assert peer.response(3).whole


def test_a_client_that_gives_back_each_frame_at_once_is_no_attacker(connect: Connect) -> None:
    """Twice for each DATA frame, and a few times more for its sport."""
    peer = connect()
    for number in range(1, 401, 2):
        peer.feed(get(number))
        peer.answer(number, b"x" * 1000)
        peer.feed(window_update(0, 500), window_update(0, 500), *[window_update(number, 100)] * 10)
    assert peer.ending == Ending.OPEN


@pytest.mark.parametrize("seed", range(40))
def test_any_course_of_windows_delivers_everything_and_exceeds_nothing(connect: Connect, seed: int) -> None:
    """The client at the other end keeps accounts of its own, and fails when any window is exceeded."""
    chance = random.Random(seed)
    peer = connect(own_settings=[(4, chance.choice([0, 100, 3000, 65_535]))], write_timeout=0.0, write_min_rate=0)
    bodies: dict[int, bytes] = {}
    opening: dict[int, int] = {}
    numbers = itertools.count(1, 2)
    for step in range(60):
        peer.at(step / 10)
        deed = chance.randrange(6)
        if deed == 0 and len(opening) < 6:
            number = next(numbers)
            peer.feed(get(number))
            peer.engine.respond(number, 200, [], b"", False)
            bodies[number], opening[number] = b"", chance.randrange(1, 5)
        elif deed in (1, 2) and opening:
            number = chance.choice(list(opening))
            opening[number] -= 1
            part = bytes([chance.randrange(256)]) * chance.choice([1, 900, 20_000, 70_000])
            peer.engine.send_body(number, part, not opening[number])
            bodies[number] += part
            if not opening[number]:
                del opening[number]
        elif deed == 3 and bodies:
            peer.feed(window_update(chance.choice([0, *bodies]), chance.randrange(1, 30_000)))
        elif deed == 4:
            peer.feed(
                settings((4, chance.choice([0, 1, 1000, 20_000, 200_000])), (5, chance.choice([16_384, 90_000])))
            )
        else:
            peer.pump(chance.randrange(3))
    for number in opening:
        peer.engine.send_body(number, b"", True)
    peer.feed(settings((4, WIDE)), window_update(0, WIDE))
    peer.flush()
    assert peer.ending == Ending.OPEN
    for number, body in bodies.items():
        assert peer.body(number) == body
        assert peer.response(number).whole


@pytest.mark.parametrize("shut", ["stream", "connection", "neither"])
@pytest.mark.parametrize("how", ["reset", "abandoned"])
def test_a_stream_that_is_gone_takes_no_more_part(connect: Connect, how: str, shut: str) -> None:
    peer = connect(own_settings=[(4, 1000 if shut == "stream" else WIDE)])
    peer.feed(get(1), get(3))
    respond(peer, 1, 100_000)
    respond(peer, 3, 100_000)
    if shut != "neither":
        peer.flush()
    before = [len(peer.body(number)) for number in (1, 3)]
    if how == "reset":
        peer.feed(rst(1))
    else:
        peer.engine.abandon(1, CloseReason.CUT)
    peer.feed(window_update(0, WIDE), settings((4, WIDE)))
    peer.at(1.0)
    peer.flush()
    assert (len(peer.body(1)), len(peer.body(3))) == (before[0], 100_000)


# When an application has to wait.


def test_an_application_waits_above_the_high_mark_and_goes_on_at_the_low_one(connect: Connect) -> None:
    peer = connect(own_settings=[(4, 10_000)])
    peer.feed(get(1))
    peer.begin(1, b"x" * (10_000 + SEND_HIGH_WATER))
    assert not peer.engine.blocked(1)
    peer.engine.send_body(1, b"x", False)
    peer.flush()
    assert peer.engine.blocked(1)
    assert peer.engine.relieved == []
    peer.feed(window_update(0, WIDE), window_update(1, SEND_HIGH_WATER - SEND_LOW_WATER))
    peer.flush()
    assert peer.engine.relieved == [], "one byte above the low mark"
    peer.feed(window_update(1, 1024))
    peer.flush()
    assert peer.engine.relieved == [1]
    assert not peer.engine.blocked(1)


def test_an_application_that_sends_much_at_once_waits_for_that_only(connect: Connect) -> None:
    peer = open_wide(connect, 1)
    peer.engine.respond(1, 200, [], b"", False)
    peer.engine.send_body(1, b"x" * 1_000_000, False)
    assert peer.engine.blocked(1)
    peer.flush()
    assert peer.engine.relieved == [1]


def test_streams_are_blocked_each_by_itself(connect: Connect) -> None:
    peer = connect(own_settings=[(4, 0)])
    peer.feed(window_update(0, WIDE), get(1), get(3), window_update(3, WIDE))
    for number in (1, 3):
        peer.begin(number, b"x" * 100_000)
    assert peer.engine.blocked(1)
    assert not peer.engine.blocked(3)
    assert not peer.engine.blocked(5), "a stream there is not"


@pytest.mark.parametrize("how", ["reset", "stalled", "abandoned", "goaway"])
def test_an_application_waits_for_no_stream_that_is_gone(connect: Connect, how: str) -> None:
    peer = connect(own_settings=[(4, 0)])
    peer.feed(get(1))
    peer.begin(1, b"x" * 100_000)
    assert peer.engine.blocked(1)
    if how == "reset":
        peer.feed(rst(1))
    elif how == "stalled":
        peer.at(30.0)
    elif how == "abandoned":
        peer.engine.abandon(1, CloseReason.CUT)
    else:
        peer.feed(window_update(0, 2**31 - 1))
        assert peer.goaways[-1][1] == Code.FLOW_CONTROL_ERROR
    assert 1 in peer.engine.relieved
    assert not peer.engine.blocked(1)


# Slices of work.


def test_what_comes_while_a_burst_is_worked_off_comes_behind_it(connect: Connect) -> None:
    peer = connect(streams=1000)
    raw = b"".join(get(number) for number in range(1, 1201, 2))
    peer.client.sends(raw)
    peer.events += peer.engine.receive(raw[:-5000], 0.0)
    assert peer.engine.backlog
    for start in range(len(raw) - 5000, len(raw), 7):
        peer.events += peer.engine.receive(raw[start : start + 7], 0.0)
    slices = 0
    while peer.engine.backlog:
        before = len(peer.events)
        peer.events += peer.engine.proceed(0.0)
        slices += 1
        assert len(peer.events) - before <= SLICE / 2
    assert [event.stream for event in peer.events] == list(range(1, 1201, 2))
    assert slices >= 4
