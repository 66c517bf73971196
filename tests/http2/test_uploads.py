"""Request bodies: windows that open only as applications read, what is discarded, answers that come early."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from keepserve.http2.lifetime import EARLY_ANSWER_LINGER
from keepserve.http2.streams import CONNECTION_WINDOW, STREAM_WINDOW
from keepserve.telemetry.reasons import CloseReason
from keepserve.wire.engine import Body, Ending, Request
from tests.http2.frames import Code, Kind, data, get, headers, post, request_block, rst, window_update
from tests.http2.peer import EARLY, ENGINE_NAMES, Peer

Connect = Callable[..., Peer]

FRAME = b"x" * 16_384
FULL = STREAM_WINDOW // len(FRAME)
"""Frames that fill a stream's window."""


@pytest.fixture(params=ENGINE_NAMES)
def connect(request: pytest.FixtureRequest) -> Connect:
    return partial(Peer, request.param)


def take(peer: Peer, stream: int, amount: int) -> None:
    """The application reads so many bytes."""
    peer.engine.taken(stream, amount, peer.now)
    peer.flush()


def upload(peer: Peer, stream: int, frames: int = FULL) -> None:
    """Begin an upload and send so many frames of it."""
    peer.feed(post(stream), *[data(stream, FRAME)] * frames)


# Windows.


def test_windows_are_refilled_only_as_the_application_reads(connect: Connect) -> None:
    peer = connect()
    upload(peer, 1)
    assert (peer.credit(0), peer.credit(1)) == (0, 0)
    take(peer, 1, STREAM_WINDOW // 2)
    assert peer.credit(1) == STREAM_WINDOW // 2
    take(peer, 1, STREAM_WINDOW // 2)
    assert peer.credit(1) == STREAM_WINDOW


def test_windows_are_refilled_by_halves(connect: Connect) -> None:
    """One WINDOW_UPDATE for eight frames of a stream, and for 32 of the connection."""
    peer = connect()
    peer.feed(post(1))
    for _ in range(64):
        peer.feed(data(1, FRAME))
        take(peer, 1, len(FRAME))
    updates = [(frame.stream, frame.number) for frame in peer.fresh()]
    assert [number for stream, number in updates if stream == 1] == [STREAM_WINDOW // 2] * 8
    assert [number for stream, number in updates if stream == 0] == [CONNECTION_WINDOW // 2] * 2


def test_an_upload_of_any_length_goes_through(connect: Connect) -> None:
    peer = connect()
    peer.feed(post(1))
    for _ in range(10):
        peer.feed(*[data(1, FRAME)] * FULL)
        take(peer, 1, STREAM_WINDOW)
    peer.feed(data(1, b"", end=True))
    assert len(peer.uploaded(1)) == 10 * STREAM_WINDOW
    peer.answer(1)
    assert peer.response(1).whole


def test_an_upload_that_nobody_reads_stops_no_other(connect: Connect) -> None:
    """L5: the connection's window is larger than a stream's, and is given back as the others are read."""
    peer = connect()
    upload(peer, 1)
    peer.feed(post(3))
    for _ in range(20):
        peer.feed(*[data(3, FRAME)] * (FULL // 2))
        take(peer, 3, STREAM_WINDOW // 2)
    peer.feed(data(3, b"", end=True), get(5))
    peer.answer(3)
    peer.answer(5)
    assert len(peer.uploaded(3)) == 10 * STREAM_WINDOW
    assert [peer.response(number).whole for number in (3, 5)] == [True, True]


def test_three_uploads_that_nobody_reads_stop_no_other(connect: Connect) -> None:
    """They hold three quarters of the connection's window, so that never half of it can be owed."""
    peer = connect()
    for number in (1, 3, 5):
        upload(peer, number)
    peer.feed(post(7))
    sent = 0
    for _ in range(100):
        room = min(CONNECTION_WINDOW - 3 * STREAM_WINDOW + peer.credit(0), STREAM_WINDOW + peer.credit(7)) - sent
        assert room >= len(FRAME), f"after {sent} bytes the client may send nothing more"
        peer.feed(data(7, FRAME))
        take(peer, 7, len(FRAME))
        sent += len(FRAME)


def test_a_window_that_is_used_up_opens_with_the_first_byte_that_is_read(connect: Connect) -> None:
    peer = connect()
    for number in (1, 3, 5, 7):
        upload(peer, number)
    take(peer, 1, 1000)
    assert peer.credit(0) == 1000
    take(peer, 1, 500)
    assert peer.credit(0) == 1000, "as much as is owed can still be sent"
    take(peer, 1, 500)
    assert peer.credit(0) == 2000


def test_padding_is_given_back_at_once(connect: Connect) -> None:
    """No application will ever read it. The octet that counts it is padding, too."""
    peer = connect()
    peer.feed(post(1))
    for _ in range(511):
        peer.feed(data(1, b"y", padding=255))
    assert peer.credit(1) == 0
    peer.feed(data(1, b"y", padding=255))
    assert peer.credit(1) == STREAM_WINDOW // 2
    assert peer.uploaded(1) == b"y" * 512


def test_data_of_the_whole_window_counts_its_padding(connect: Connect) -> None:
    peer = connect()
    peer.feed(post(1))
    peer.feed(*[data(1, FRAME[:16_284], padding=99)] * FULL)
    assert peer.ending == Ending.OPEN
    assert peer.reset_code(1) is None
    # Padding was given back, though it is not told yet; what is held is not.
    peer.feed(data(1, b"y"))
    assert peer.reset_code(1) == Code.FLOW_CONTROL_ERROR


def test_a_request_whose_end_has_come_gets_no_more_room(connect: Connect) -> None:
    peer = connect()
    upload(peer, 1, FULL - 1)
    peer.feed(data(1, b"", end=True))
    take(peer, 1, (FULL - 1) * len(FRAME))
    assert peer.credit(1) == 0


def test_what_an_application_never_read_is_given_back_to_the_connection(connect: Connect) -> None:
    peer = connect()
    for number in (1, 3, 5, 7):
        upload(peer, number, FULL - 1)
        peer.feed(data(number, FRAME, end=True))
    assert peer.credit(0) == 0
    for number in (1, 3):
        peer.answer(number)
    assert peer.credit(0) == 2 * STREAM_WINDOW
    peer.feed(rst(5))
    peer.engine.abandon(7, CloseReason.APP_FAILED)
    peer.flush()
    assert peer.credit(0) == 4 * STREAM_WINDOW


def test_what_was_read_before_the_answer_is_not_given_back_twice(connect: Connect) -> None:
    peer = connect()
    upload(peer, 1)
    take(peer, 1, STREAM_WINDOW)
    peer.answer(1)
    assert peer.credit(0) == 0, "less than half is owed"
    upload(peer, 3)
    take(peer, 3, STREAM_WINDOW)
    assert peer.credit(0) == 2 * STREAM_WINDOW


def test_what_is_read_after_the_answer_is_not_given_back_twice(connect: Connect) -> None:
    peer = connect()
    upload(peer, 1)
    peer.answer(1)
    take(peer, 1, STREAM_WINDOW)
    upload(peer, 3)
    upload(peer, 5)
    upload(peer, 7)
    for number in (3, 5, 7):
        peer.answer(number)
    assert peer.credit(0) == CONNECTION_WINDOW


def test_data_of_a_stream_that_was_reset_counts_for_the_connection_only(connect: Connect) -> None:
    peer = connect()
    peer.feed(headers(1, request_block(b"POST", b"/", (b"Upper", b"case"))))
    assert peer.reset_code(1) == Code.PROTOCOL_ERROR
    peer.feed(*[data(1, FRAME)] * 64, get(3))
    peer.answer(3)
    assert (peer.credit(0), peer.credit(1)) == (CONNECTION_WINDOW, 0)
    assert peer.response(3).whole


def test_data_that_comes_when_none_may_come_is_given_back_as_well(connect: Connect) -> None:
    """Each of these streams is reset for it; the connection goes on, and loses nothing of its window."""
    peer = connect()
    for number in range(1, 129, 2):
        peer.feed(get(number), data(number, FRAME))
        assert peer.reset_code(number) == Code.STREAM_CLOSED
    assert peer.credit(0) == CONNECTION_WINDOW


# How bodies are handed over.


def test_a_body_in_the_same_read_comes_with_its_request(connect: Connect) -> None:
    peer = connect()
    (event,) = peer.feed(post(1) + data(1, b"ab") + data(1, b"cd", end=True))
    assert isinstance(event, Request)
    assert (event.body, event.complete) == (b"abcd", True)


def test_pieces_of_one_read_are_one_event_for_each_stream(connect: Connect) -> None:
    peer = connect()
    peer.feed(post(1), post(3))
    events = peer.feed(data(1, b"a") + data(1, b"b") + data(3, b"c") + data(3, b"", end=True))
    assert [(event.stream, event.data, event.complete) for event in events if isinstance(event, Body)] == [
        (1, b"ab", False),
        (3, b"c", True),
    ]


def test_interleaved_uploads_stay_apart(connect: Connect) -> None:
    peer = connect()
    peer.feed(*(post(number) for number in (1, 3, 5)))
    for step in range(10):
        for number in (5, 1, 3):
            peer.feed(data(number, b"%d-%d " % (number, step), end=step == 9))
    for number in (1, 3, 5):
        assert peer.uploaded(number) == b"".join(b"%d-%d " % (number, step) for step in range(10))


def test_trailers_end_a_body_and_reach_no_application(connect: Connect) -> None:
    """L11."""
    peer = connect()
    peer.feed(post(1), data(1, b"abc"))
    (event,) = peer.feed(headers(1, b"\x00\x05x-sum\x011", end=True))
    assert isinstance(event, Body)
    assert (event.data, event.complete) == (b"", True)


def test_an_application_begins_before_the_body_is_whole(connect: Connect) -> None:
    """L9."""
    request = connect().request(post(1))
    assert (request.complete, request.body) == (False, b"")


# Early answers.


def test_a_client_whose_request_is_answered_early_may_stop_sending(connect: Connect) -> None:
    """RFC 9113 §8.1; the reset leaves the answer time to arrive first."""
    peer = connect(now=100.0)
    upload(peer, 1, 1)
    peer.answer(1, b"no thanks", 403)
    assert peer.response(1).whole
    assert peer.deadline == 100.0 + EARLY_ANSWER_LINGER
    peer.at(100.0 + EARLY_ANSWER_LINGER - EARLY)
    assert peer.reset_code(1) is None
    peer.at(100.0 + EARLY_ANSWER_LINGER)
    assert peer.reset_code(1) == Code.NO_ERROR
    assert (peer.ending, peer.engine.idle) == (Ending.OPEN, True)


def test_the_time_of_an_early_answer_begins_when_it_is_sent(connect: Connect) -> None:
    """The application has thought for a minute, in which the client has sent nothing."""
    peer = connect(body_timeout=1e6, body_min_rate=0)
    upload(peer, 1, 1)
    peer.now = 60.0
    peer.answer(1)
    assert peer.deadline == 60.0 + EARLY_ANSWER_LINGER
    peer.at(60.0)
    assert peer.reset_code(1) is None


def test_a_client_that_ends_its_request_meanwhile_is_not_reset(connect: Connect) -> None:
    peer = connect()
    upload(peer, 1, 1)
    peer.answer(1)
    peer.feed(data(1, b"the rest", end=True))
    peer.at(1000.0)
    assert not peer.came(Kind.RST_STREAM)
    assert peer.engine.idle


def test_what_follows_an_early_answer_is_dropped_and_given_back(connect: Connect) -> None:
    peer = connect()
    upload(peer, 1, 1)
    peer.answer(1)
    events = peer.feed(*[data(1, FRAME)] * 7)
    peer.at(1.0)
    events += peer.feed(*[data(1, FRAME)] * 56, data(1, end=True))
    assert events == []
    assert peer.credit(0) == CONNECTION_WINDOW
    assert peer.ending == Ending.OPEN


def test_an_early_answer_that_waits_for_a_window_is_delivered_first(connect: Connect) -> None:
    peer = connect(own_settings=[(4, 0)])
    upload(peer, 1, 1)
    peer.answer(1, b"x" * 5000)
    peer.at(10.0)
    assert peer.reset_code(1) is None
    peer.feed(window_update(1, 5000))
    peer.flush()
    assert peer.response(1).whole
    peer.at(10.0 + EARLY_ANSWER_LINGER)
    assert peer.reset_code(1) == Code.NO_ERROR


def test_early_answers_are_ended_before_a_farewell_is_over(connect: Connect) -> None:
    peer = connect()
    upload(peer, 1, 1)
    peer.engine.drain(0.0, 0.0)
    peer.answer(1)
    peer.pong()
    assert peer.ending == Ending.OPEN
    peer.at(EARLY_ANSWER_LINGER)
    assert peer.reset_code(1) == Code.NO_ERROR
    assert peer.ending == Ending.LINGER


# Limits.


def test_a_body_that_promises_too_much_is_refused_at_once(connect: Connect) -> None:
    peer = connect(request_body=1000)
    peer.feed(post(1, b"/", (b"content-length", b"1001")))
    peer.flush()
    assert peer.response(1).status == 413
    assert peer.given_up == [(1, 413)]


def test_a_body_that_becomes_too_long_is_refused_then(connect: Connect) -> None:
    peer = connect(request_body=1000)
    peer.feed(post(1), data(1, b"x" * 1000))
    assert peer.given_up == []
    peer.feed(data(1, b"x"))
    peer.flush()
    assert peer.response(1).status == 413
    assert peer.given_up == [(1, 413)]


def test_a_body_that_becomes_too_long_after_its_answer_began_cancels_that(connect: Connect) -> None:
    peer = connect(request_body=1000)
    peer.feed(post(1))
    peer.begin(1, b"well, ")
    peer.feed(data(1, b"x" * 1001))
    assert peer.reset_code(1) == Code.CANCEL
    assert peer.given_up == [(1, 0)]


@pytest.mark.parametrize(
    ("promised", "parts"), [(10, [9]), (10, [11]), (10, [10, 1]), (0, [1]), (10, [4, 4]), (10, [4, 7])]
)
def test_a_body_of_another_length_than_promised_is_malformed(
    connect: Connect, promised: int, parts: list[int]
) -> None:
    peer = connect()
    peer.feed(post(1, b"/", (b"content-length", b"%d" % promised)))
    for size in parts[:-1]:
        peer.feed(data(1, b"x" * size))
        assert peer.given_up == []
    peer.feed(data(1, b"x" * parts[-1], end=sum(parts) < promised))
    assert peer.reset_code(1) == Code.PROTOCOL_ERROR
    assert peer.given_up == [(1, 0)]


@pytest.mark.parametrize("parts", [[10], [4, 6], [10, 0]])
def test_a_body_of_the_promised_length_is_well(connect: Connect, parts: list[int]) -> None:
    peer = connect()
    peer.feed(post(1, b"/", (b"content-length", b"10")))
    for number, size in enumerate(parts, 1):
        peer.feed(data(1, b"x" * size, end=number == len(parts)))
    assert peer.uploaded(1) == b"x" * 10
    assert peer.given_up == []
