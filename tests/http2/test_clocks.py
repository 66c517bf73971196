"""The clocks of an HTTP/2 connection, with time as a number: each is checked just before and at its deadline.

How a connection ends in peace is in ``test_farewell``, what clients must not be late with in ``test_late_clients``,
``test_upload_clocks`` and ``test_stalls``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from keepserve.telemetry.reasons import CloseReason
from keepserve.wire.engine import NEVER, Ending
from tests.http2.frames import (
    GET,
    Code,
    continuation,
    data,
    get,
    goaway,
    headers,
    ping,
    post,
    priority,
    request_block,
    rst,
    settings,
    unknown,
    window_update,
)
from tests.http2.peer import EARLY, ENGINE_NAMES, NO_LIMIT, Peer, check_announced

Connect = Callable[..., Peer]

FRAME = b"x" * 16_384


@pytest.fixture(params=ENGINE_NAMES)
def connect(request: pytest.FixtureRequest) -> Connect:
    return partial(Peer, request.param)


# The idle clock.


def test_a_new_connection_runs_on_the_idle_clock_from_its_start(connect: Connect) -> None:
    check_announced(connect(now=100.0, keep_alive_timeout=80.0), 180.0, CloseReason.IDLE_TIMEOUT)


def test_the_idle_clock_starts_when_the_answer_was_flushed_not_when_it_was_given(connect: Connect) -> None:
    peer = connect(keep_alive_timeout=80.0)
    peer.now = 10.0
    peer.request(get(1))
    assert peer.deadline == NEVER
    peer.engine.respond(1, 200, [], b"ok", True)
    assert peer.deadline == NEVER
    peer.now = 25.0
    peer.flush()
    check_announced(peer, 105.0, CloseReason.IDLE_TIMEOUT)


def test_a_second_look_at_an_empty_buffer_does_not_move_the_idle_clock(connect: Connect) -> None:
    peer = connect()
    peer.now = 30.0
    peer.flush()
    check_announced(peer, 80.0, CloseReason.IDLE_TIMEOUT)


def test_no_clock_runs_while_the_application_works(connect: Connect) -> None:
    peer = connect()
    peer.request(get(1))
    assert peer.deadline == NEVER
    peer.at(1e9)
    peer.answer(1)
    assert peer.response(1).whole
    check_announced(peer, 1e9 + 80.0, CloseReason.IDLE_TIMEOUT)


def test_the_idle_clock_waits_for_the_last_of_many_streams(connect: Connect) -> None:
    peer = connect()
    peer.feed(get(1), get(3))
    peer.answer(3)
    assert peer.deadline == NEVER
    peer.now = 500.0
    peer.answer(1)
    check_announced(peer, 580.0, CloseReason.IDLE_TIMEOUT)


def test_the_idle_clock_waits_for_a_response_that_the_client_has_yet_to_take(connect: Connect) -> None:
    """D1: all of the response was handed over, but some of it waits for a window."""
    peer = connect(own_settings=[(4, 1000)], write_timeout=1e6, write_min_rate=0)
    peer.request(get(1))
    peer.answer(1, b"x" * 5000)
    peer.at(1000.0)
    assert peer.goaways == []
    peer.feed(window_update(1, 4000))
    peer.flush()
    assert peer.body(1) == b"x" * 5000
    check_announced(peer, 1080.0, CloseReason.IDLE_TIMEOUT)


@pytest.mark.parametrize(
    "octets",
    [
        ping(),
        settings(),
        settings((4, 100_000)),
        window_update(0, 1000),
        window_update(1, 1000),
        priority(5),
        rst(1),
        unknown(),
        # Half a request, which may be followed by half an hour of silence.
        get(3)[:-1],
    ],
)
def test_only_a_request_is_activity(connect: Connect, octets: bytes) -> None:
    peer = connect()
    peer.feed(get(1))
    peer.answer(1)
    peer.now = 70.0
    peer.engine.receive(octets, 70.0)
    peer.flush()
    assert peer.deadline == 80.0
    peer.at(80.0 - EARLY)
    assert peer.goaways == []
    peer.at(80.0)
    assert (peer.goaways, peer.reason) == ([(NO_LIMIT, Code.NO_ERROR)], CloseReason.IDLE_TIMEOUT)


def test_a_header_block_that_has_not_ended_is_no_activity(connect: Connect) -> None:
    peer = connect(keep_alive_timeout=5.0)
    peer.now = 4.0
    peer.feed(headers(1, GET[:3], end=True, whole=False))
    check_announced(peer, 5.0, CloseReason.IDLE_TIMEOUT)
    peer.feed(continuation(1, GET[3:]))
    peer.answer(1)
    assert peer.response(1).whole


def test_each_answer_starts_the_idle_clock_anew(connect: Connect) -> None:
    peer = connect()
    for number, now in ((1, 0.0), (3, 79.0), (5, 158.0)):
        peer.now = now
        peer.request(get(number))
        peer.answer(number)
    check_announced(peer, 238.0, CloseReason.IDLE_TIMEOUT)


def test_a_request_that_the_engine_answers_by_itself_is_activity(connect: Connect) -> None:
    peer = connect()
    peer.now = 50.0
    peer.feed(headers(1, request_block(b"BREW"), end=True))
    peer.flush()
    assert peer.response(1).status == 501
    check_announced(peer, 130.0, CloseReason.IDLE_TIMEOUT)


def test_a_long_keep_alive_is_honoured(connect: Connect) -> None:
    """K3: an hour and more, whatever the other clocks are set to."""
    peer = connect(keep_alive_timeout=3660.0, request_head_timeout=10.0, headers_timeout=90.0)
    check_announced(peer, 3660.0, CloseReason.IDLE_TIMEOUT)


def test_a_request_that_crosses_the_idle_announcement_is_served(connect: Connect) -> None:
    """K5, K6: what is in the socket when the idle clock ends, or sent before GOAWAY arrives, is not lost."""
    peer = connect()
    peer.at(80.0)
    peer.feed(get(1), post(3), data(3, b"abc", end=True))
    peer.answer(1)
    peer.answer(3)
    assert [peer.response(number).status for number in (1, 3)] == [200, 200]
    assert peer.uploaded(3) == b"abc"
    peer.pong()
    assert peer.goaways == [(NO_LIMIT, 0), (3, 0)]
    assert (peer.ending, peer.reason) == (Ending.LINGER, CloseReason.IDLE_TIMEOUT)


# Age.


def test_an_idle_connection_of_age_is_told_and_not_just_closed(connect: Connect) -> None:
    check_announced(connect(now=50.0, max_age=30.0), 80.0, CloseReason.MAX_AGE)


def test_age_comes_to_a_busy_connection_too(connect: Connect) -> None:
    peer = connect(max_age=3600.0)
    peer.feed(get(1))
    check_announced(peer, 3600.0, CloseReason.MAX_AGE)
    peer.feed(get(3))
    peer.pong()
    assert peer.goaways[1:] == [(3, 0)]
    peer.feed(get(5))
    assert peer.reset_code(5) == Code.REFUSED_STREAM
    for number in (1, 3):
        assert peer.ending == Ending.OPEN
        peer.answer(number)
    assert (peer.ending, peer.reason) == (Ending.LINGER, CloseReason.MAX_AGE)


def test_age_is_announced_once(connect: Connect) -> None:
    peer = connect(max_age=30.0, keep_alive_timeout=31.0)
    peer.at(30.0)
    peer.at(30.9)
    assert peer.goaways == [(NO_LIMIT, 0)]
    peer.at(31.0)
    assert peer.goaways == [(NO_LIMIT, 0), (0, 0)]


def test_no_age_is_no_age(connect: Connect) -> None:
    peer = connect(max_age=0.0, keep_alive_timeout=1e6)
    assert peer.deadline == 1e6


# Lingering.


def ended(connect: Connect) -> Peer:
    """A connection that has said all it will say, and has flushed that at second 100."""
    peer = connect(now=100.0)
    peer.feed(goaway(0))
    assert peer.ending == Ending.LINGER
    peer.flush()
    return peer


def test_the_peer_has_a_second_to_close(connect: Connect) -> None:
    peer = ended(connect)
    assert peer.deadline == 101.0
    peer.at(101.0 - EARLY)
    assert peer.ending == Ending.LINGER
    peer.at(101.0)
    assert peer.ending == Ending.CLOSE


def test_the_peers_own_close_ends_the_wait(connect: Connect) -> None:
    peer = ended(connect)
    peer.engine.receive_eof(100.2)
    assert peer.ending == Ending.CLOSE


def test_the_wait_begins_when_everything_has_left(connect: Connect) -> None:
    peer = connect()
    peer.feed(goaway(0))
    peer.at(500.0)
    assert (peer.deadline, peer.ending) == (NEVER, Ending.LINGER)
    peer.flush()
    assert peer.deadline == 501.0


def test_what_comes_meanwhile_is_dropped_and_prolongs_nothing(connect: Connect) -> None:
    peer = ended(connect)
    frames = len(peer.client.frames)
    peer.now = 100.9
    assert peer.engine.receive(get(1) + ping() + b"\0" * 100, 100.9) == ()
    peer.flush()
    assert len(peer.client.frames) == frames
    peer.at(101.0)
    assert peer.ending == Ending.CLOSE


def test_a_peer_that_sends_without_end_is_reset(connect: Connect) -> None:
    peer = ended(connect)
    for _ in range(64):
        peer.engine.receive(FRAME, 100.5)
        assert peer.ending == Ending.LINGER
    peer.engine.receive(b"x", 100.5)
    assert peer.ending == Ending.RESET
