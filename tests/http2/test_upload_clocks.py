"""How fast a request body must come, with time as a number: checked just before and at the deadline."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from keepserve.http2.lifetime import EARLY_ANSWER_LINGER
from keepserve.wire.engine import NEVER, Ending
from tests.http2.frames import Code, data, get, post, rst
from tests.http2.peer import EARLY, ENGINE_NAMES, Peer, nothing_before

Connect = Callable[..., Peer]

FRAME = b"x" * 16_384
"""A sixteenth of a stream's window."""


@pytest.fixture(params=ENGINE_NAMES)
def connect(request: pytest.FixtureRequest) -> Connect:
    return partial(Peer, request.param)


def check_upload_stalls(peer: Peer, deadline: float) -> None:
    """Nothing happens before ``deadline``; then stream 1 is answered 408, and only that."""
    nothing_before(peer, deadline)
    peer.at(deadline)
    peer.flush()
    assert peer.response(1).status == 408
    assert b"did not arrive in time" in peer.body(1)
    assert peer.given_up == [(1, 408)]
    assert peer.reset_code(1) is None
    peer.at(deadline + EARLY_ANSWER_LINGER)
    assert peer.reset_code(1) == Code.NO_ERROR
    assert (peer.ending, peer.goaways) == (Ending.OPEN, [])


def test_an_upload_that_stops_is_answered(connect: Connect) -> None:
    peer = connect(body_timeout=30.0, body_min_rate=0)
    peer.feed(post(1))
    peer.now = 5.0
    peer.feed(data(1, b"x" * 10_000))
    check_upload_stalls(peer, 35.0)


def test_an_upload_that_never_begins_is_answered(connect: Connect) -> None:
    peer = connect(now=7.0, body_timeout=30.0, body_min_rate=0)
    peer.feed(post(1))
    check_upload_stalls(peer, 37.0)


def test_an_upload_that_drips_is_answered(connect: Connect) -> None:
    """15,000 bytes at 500 a second make 30 s, though no pause was long."""
    peer = connect(body_timeout=30.0, body_min_rate=500.0, body_rate_grace=20.0)
    peer.feed(post(1))
    for second in range(1, 24):
        peer.at(float(second))
        peer.feed(data(1, b"x" * 600))
    peer.feed(data(1, b"x" * 1200))
    check_upload_stalls(peer, 30.0)


def test_an_upload_that_is_slow_at_first_has_a_grace(connect: Connect) -> None:
    peer = connect(body_timeout=30.0, body_min_rate=500.0, body_rate_grace=20.0)
    peer.feed(post(1), data(1, b"x"))
    check_upload_stalls(peer, 20.0)


def test_an_upload_may_last_longer_than_a_connection_may_idle(connect: Connect) -> None:
    """K10."""
    peer = connect(keep_alive_timeout=80.0)
    peer.feed(post(1))
    for step in range(1, 40):
        peer.at(step * 10.0)
        peer.feed(data(1, FRAME[:6000]))
        peer.engine.taken(1, 6000, peer.now)
    peer.feed(data(1, b"", end=True))
    peer.answer(1)
    assert (peer.goaways, peer.response(1).whole) == ([], True)


def test_one_slow_upload_is_no_fault_of_the_others(connect: Connect) -> None:
    peer = connect()
    peer.feed(post(1), post(3), get(5))
    peer.now = 19.0
    peer.feed(data(3, FRAME))
    check_upload_stalls(peer, 20.0)
    peer.feed(data(3, b"y", end=True))
    peer.answer(3)
    peer.answer(5)
    assert peer.uploaded(3) == FRAME + b"y"
    assert [peer.response(number).status for number in (3, 5)] == [200, 200]


def test_what_still_comes_of_an_answered_upload_is_dropped(connect: Connect) -> None:
    peer = connect()
    peer.feed(post(1))
    peer.at(30.0)
    peer.feed(*[data(1, FRAME)] * 40, data(1, end=True), get(3))
    peer.answer(3)
    assert peer.response(3).whole
    assert peer.credit(0) > 40 * len(FRAME) - 512 * 1024
    assert peer.ending == Ending.OPEN


def test_a_stalled_upload_whose_response_has_begun_is_not_cut(connect: Connect) -> None:
    """Two sides that converse have their own pace (gRPC, server-sent answers to a stream of events)."""
    peer = connect()
    peer.feed(post(1))
    peer.now = 29.0
    peer.begin(1, b"hello")
    assert peer.deadline == NEVER
    peer.at(1e6)
    peer.feed(data(1, b"still here", end=True))
    assert peer.uploaded(1) == b"still here"


def test_an_interim_response_is_no_beginning(connect: Connect) -> None:
    peer = connect(body_min_rate=0)
    peer.feed(post(1))
    peer.engine.inform(1, 103, [(b"link", b"</style.css>")])
    check_upload_stalls(peer, 30.0)


@pytest.mark.parametrize("kind", [b"application/grpc", b"application/grpc+proto", b"application/grpc;x=y"])
def test_a_grpc_call_may_be_silent_for_as_long_as_it_likes(connect: Connect, kind: bytes) -> None:
    peer = connect()
    peer.feed(post(1, b"/s/m", (b"content-type", kind), (b"te", b"trailers")))
    assert peer.deadline == NEVER
    peer.at(1e6)
    peer.feed(data(1, b"x"))
    assert peer.deadline == NEVER
    assert peer.given_up == []


def test_the_clock_of_an_upload_ends_with_it(connect: Connect) -> None:
    peer = connect()
    peer.feed(post(1), data(1, b"x", end=True))
    assert peer.deadline == NEVER
    peer.feed(post(3), rst(3))
    assert peer.deadline == NEVER


# Uploads that may not go on, which is no fault of their clients.


def fill(peer: Peer, stream: int) -> None:
    """Use up a stream's window."""
    peer.feed(*[data(stream, FRAME)] * 16)


def test_an_upload_whose_window_is_shut_is_not_slow(connect: Connect) -> None:
    peer = connect(body_min_rate=0)
    peer.feed(post(1))
    fill(peer, 1)
    peer.at(1000.0)
    assert peer.given_up == []
    peer.now = 1000.0
    peer.engine.taken(1, 16 * len(FRAME), 1000.0)
    check_upload_stalls(peer, 1030.0)


def test_the_time_of_a_shut_window_counts_for_no_rate(connect: Connect) -> None:
    peer = connect(body_timeout=1e6)
    peer.feed(post(1))
    peer.now = 10.0
    fill(peer, 1)
    peer.now = 1010.0
    peer.engine.taken(1, 16 * len(FRAME), 1010.0)
    # 256 KiB at 500 bytes a second, and the thousand seconds that were not the client's.
    check_upload_stalls(peer, 1000.0 + 16 * len(FRAME) / 500)


def test_an_upload_is_not_slow_because_others_have_used_up_the_connections_window(connect: Connect) -> None:
    peer = connect()
    peer.feed(*(post(number) for number in (1, 3, 5, 7, 9)))
    for number in (3, 5, 7, 9):
        fill(peer, number)
    peer.at(1000.0)
    assert peer.given_up == []
    peer.engine.taken(3, 16 * len(FRAME), 1000.0)
    peer.at(1000.0 + 20.0 - EARLY)
    assert peer.given_up == []
    peer.at(1000.0 + 20.0)
    assert peer.given_up == [(1, 408)]


def test_a_client_that_waits_for_100_continue_is_not_slow(connect: Connect) -> None:
    peer = connect(body_min_rate=0)
    peer.feed(post(1, b"/", (b"expect", b"100-continue")))
    assert peer.deadline == NEVER
    peer.at(500.0)
    peer.engine.go_on(1, 500.0)
    peer.flush()
    assert peer.response(1).interim == (100,)
    check_upload_stalls(peer, 530.0)


def test_a_client_that_does_not_wait_for_100_continue_is_timed(connect: Connect) -> None:
    peer = connect(body_min_rate=0)
    peer.feed(post(1, b"/", (b"expect", b"100-continue")))
    peer.now = 3.0
    peer.feed(data(1, b"x"))
    peer.engine.go_on(1, 3.0)
    peer.flush()
    assert peer.response(1).interim == ()
    check_upload_stalls(peer, 33.0)


def test_100_continue_is_said_once(connect: Connect) -> None:
    peer = connect()
    peer.feed(post(1, b"/", (b"expect", b"100-continue")))
    for _ in range(3):
        peer.engine.go_on(1, 0.0)
    peer.flush()
    assert peer.response(1).interim == (100,)


def test_an_upload_is_not_slow_while_nobody_reads(connect: Connect) -> None:
    peer = connect(body_min_rate=0)
    peer.feed(post(1))
    peer.now = 10.0
    peer.engine.hold(True, 10.0)
    peer.at(500.0)
    assert peer.given_up == []
    peer.engine.hold(False, 500.0)
    check_upload_stalls(peer, 520.0)


def test_an_upload_that_begins_while_nobody_reads_is_not_slow(connect: Connect) -> None:
    """Its HEADERS were among what had been read already."""
    peer = connect(body_min_rate=0)
    peer.engine.hold(True, 0.0)
    peer.feed(post(1))
    peer.at(500.0)
    assert peer.given_up == []
    peer.engine.hold(False, 500.0)
    check_upload_stalls(peer, 530.0)


def test_padding_is_no_progress(connect: Connect) -> None:
    peer = connect(body_timeout=30.0, body_min_rate=500.0)
    peer.feed(post(1))
    for second in range(1, 20):
        peer.now = float(second)
        peer.feed(*[data(1, b"", padding=255)] * 4)
    check_upload_stalls(peer, 20.0)


def test_what_counts_is_what_came_however_it_was_cut(connect: Connect) -> None:
    peer = connect(body_timeout=1e6)
    peer.feed(post(1))
    raw = data(1, b"x" * 16_000)
    for second, part in enumerate((raw[:5], raw[5:5000], raw[5000:])):
        peer.engine.receive(part, float(second))
    assert peer.deadline == 16_000 / 500
