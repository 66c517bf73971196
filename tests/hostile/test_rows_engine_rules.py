"""Rows of the table that break one rule, or that do nothing for too long: each ends the connection, or its stream."""

from __future__ import annotations

import pytest

from keepserve.http2.incoming import Incoming
from keepserve.telemetry.reasons import CloseReason
from keepserve.wire.engine import Body, Ending, Request
from tests.hostile.attack import KIB, assert_ended_for, assert_goes_on, bare, measured
from tests.hostile.conftest import Connect
from tests.http2.frames import (
    GET,
    PREFACE,
    Code,
    Kind,
    continuation,
    data,
    get,
    goaway,
    headers,
    ping,
    post,
    priority,
    push_promise,
    rst,
    settings,
    unknown,
    window_update,
    wire,
)
from tests.http2.peer import NO_LIMIT, Peer, nothing_before

WAIT = b"/wait"
FULL = bytes(16_384)
STREAM_WINDOW = 256 * KIB
CONNECTION_WINDOW = 1024 * KIB


def resets(peer: Peer) -> list[tuple[int, int]]:
    """Streams that were reset, and the codes."""
    return [(frame.stream, frame.number) for frame in peer.came(Kind.RST_STREAM)]


# Row 20: windows of the client's that are too large, or do not grow.


def test_row_20_the_connections_window_beyond_2_31_ends_it(connect: Connect) -> None:
    peer = connect()
    peer.feed(window_update(0, 2**31 - 1 - 65_535))
    assert_goes_on(peer)
    peer.feed(window_update(0, 1))
    assert_ended_for(peer, Code.FLOW_CONTROL_ERROR)


@pytest.mark.parametrize("stream", [0, 1])
def test_row_20_an_increment_of_nothing_ends_the_connection(connect: Connect, stream: int) -> None:
    peer = connect()
    peer.request(get(1, WAIT))
    peer.feed(window_update(stream, 0))
    assert_ended_for(peer, Code.PROTOCOL_ERROR)


def test_row_20_a_streams_window_beyond_2_31_resets_that_stream(connect: Connect) -> None:
    peer = connect()
    peer.feed(get(1, WAIT), get(3, WAIT), window_update(1, 2**31 - 1))
    assert resets(peer) == [(1, Code.FLOW_CONTROL_ERROR)]
    assert peer.given_up == [(1, 0)]
    peer.answer(3)
    assert peer.response(3).whole
    assert_goes_on(peer)


# Row 23, 24: uploads that nobody reads, and uploads that are too large.


def test_row_23_a_client_gets_no_room_for_what_no_application_has_read(connect: Connect) -> None:
    peer = connect(body_timeout=0, body_min_rate=0)
    numbers = range(1, 200, 2)
    peer.feed(*(post(number, WAIT) for number in numbers))
    share = CONNECTION_WINDOW // len(numbers)
    for number in numbers:
        peer.feed(data(number, bytes(share)))
    peer.feed(data(1, bytes(CONNECTION_WINDOW - share * len(numbers))))
    assert (peer.credit(0), peer.credit(1)) == (0, 0)
    assert sum(len(event.data) for event in peer.events if isinstance(event, Body)) == CONNECTION_WINDOW
    assert_goes_on(peer)
    peer.feed(data(1, b"x"))
    assert_ended_for(peer, Code.FLOW_CONTROL_ERROR)


def test_row_23_what_comes_behind_an_early_answer_is_dropped_and_its_stream_ended(connect: Connect) -> None:
    peer = connect()
    for number in range(1, 200, 2):
        peer.feed(post(number, WAIT))
        peer.answer(number, b"no", 401)
        events = len(peer.events)
        peer.feed(*[data(number, FULL)] * 16)
        assert len(peer.events) == events
    assert 100 * STREAM_WINDOW - peer.credit(0) < CONNECTION_WINDOW, "dropped bytes free the connection's window"
    assert all(peer.credit(number) == 0 for number in range(1, 200, 2)), "and not the stream's"
    assert resets(peer) == []
    peer.at(0.25)
    assert resets(peer) == [(number, Code.NO_ERROR) for number in range(1, 200, 2)]
    assert peer.engine.idle
    assert_goes_on(peer)


def test_row_24_more_than_a_streams_window_resets_the_stream(connect: Connect) -> None:
    peer = connect()
    peer.feed(post(1, WAIT), *[data(1, FULL)] * 16)
    assert resets(peer) == []
    peer.feed(data(1, b"x"))
    assert resets(peer) == [(1, Code.FLOW_CONTROL_ERROR)]
    assert_goes_on(peer)


def test_row_24_the_window_holds_although_the_answer_was_early(connect: Connect) -> None:
    peer = connect()
    peer.feed(post(1, WAIT))
    peer.answer(1, b"no", 401)
    peer.feed(*[data(1, FULL)] * 16)
    assert resets(peer) == []
    peer.feed(data(1, b"x"))
    assert resets(peer) == [(1, Code.FLOW_CONTROL_ERROR)]
    assert_goes_on(peer)


def test_row_24_more_than_the_connections_window_ends_the_connection(connect: Connect) -> None:
    peer = connect()
    for number in (1, 3, 5, 7):
        peer.feed(post(number, WAIT), *[data(number, FULL)] * 16)
    peer.feed(post(9, WAIT))
    assert_goes_on(peer)
    peer.feed(data(9, b"x"))
    assert_ended_for(peer, Code.FLOW_CONTROL_ERROR)


# Rows 26, 27, 28: saying nothing, or nothing of use.


@pytest.mark.parametrize(
    "said",
    [b"", PREFACE[:23], PREFACE, PREFACE + settings()[:8]],
    ids=["nothing", "23 of 24 octets", "no SETTINGS", "half of SETTINGS"],
)
def test_row_26_the_greeting_has_ten_seconds(connect: Connect, said: bytes) -> None:
    peer = connect(greeted=False)
    for octet in said:
        peer.now += 0.1  # as slowly as it may come, the deadline stands
        peer.feed(bytes([octet]))
    nothing_before(peer, 10.0)
    peer.at(10.0)
    assert_ended_for(peer, Code.SETTINGS_TIMEOUT)
    assert peer.reason is CloseReason.HEAD_TIMEOUT


@pytest.mark.parametrize(
    "frame",
    [ping(), get(1), settings(ack=True), window_update(0, 1), priority(1), unknown(), goaway(0), rst(1)],
    ids=["PING", "HEADERS", "SETTINGS ACK", "WINDOW_UPDATE", "PRIORITY", "unknown", "GOAWAY", "RST_STREAM"],
)
def test_row_26_the_first_frame_must_be_settings(connect: Connect, frame: bytes) -> None:
    peer = connect(greeted=False)
    peer.feed(PREFACE + frame + settings())
    assert_ended_for(peer, Code.PROTOCOL_ERROR)
    assert peer.events == []


def test_row_26_anything_but_the_preface_ends_the_connection(connect: Connect) -> None:
    peer = connect(greeted=False)
    peer.feed(PREFACE[:20] + b"?")
    assert_ended_for(peer, Code.PROTOCOL_ERROR)


def test_row_27_our_settings_must_be_acknowledged_within_ten_seconds(connect: Connect) -> None:
    peer = connect(greeted=False)
    peer.feed(PREFACE + settings())
    peer.flush()
    for second in range(1, 10):
        peer.at(float(second))
        peer.feed(get(2 * second - 1))
        peer.answer(2 * second - 1)
    nothing_before(peer, 10.0)
    peer.at(10.0)
    assert_ended_for(peer, Code.SETTINGS_TIMEOUT)
    assert peer.reason is CloseReason.SETTINGS_TIMEOUT


def test_row_27_an_acknowledgement_of_nothing_ends_the_connection(connect: Connect) -> None:
    peer = connect()
    peer.feed(settings(ack=True))
    assert_ended_for(peer, Code.PROTOCOL_ERROR)


@pytest.mark.parametrize(
    "frame",
    [ping(), settings(), priority(1), unknown(), window_update(0, 1), rst(1)],
    ids=["PING", "SETTINGS", "PRIORITY", "unknown", "WINDOW_UPDATE", "RST_STREAM"],
)
def test_row_28_only_requests_keep_an_idle_connection(connect: Connect, frame: bytes) -> None:
    peer = connect(keep_alive_timeout=80.0)
    peer.request(get(1))
    peer.answer(1)
    for step in range(1, 8):
        peer.at(step * 10.0)
        peer.feed(frame)
        peer.flush()
    nothing_before(peer, 80.0)
    assert_goes_on(peer)
    peer.at(80.0)
    assert peer.goaways == [(NO_LIMIT, Code.NO_ERROR)]
    peer.feed(frame)
    peer.at(81.0)
    assert peer.goaways[1:] == [(1, Code.NO_ERROR)]
    assert (peer.ending, peer.reason) == (Ending.LINGER, CloseReason.IDLE_TIMEOUT)


# Row 29: a frame larger than we allow.


@pytest.mark.parametrize("kind", [Kind.DATA, Kind.HEADERS, Kind.SETTINGS, Kind.PING, Kind.CONTINUATION, 0x42])
def test_row_29_a_frame_above_16_kib_is_refused_by_its_head(connect: Connect, kind: int) -> None:
    peer = connect()
    peer.request(post(1, WAIT))
    peer.feed(wire("004001", bytes([kind]), "00 00000001"))
    assert_ended_for(peer, Code.FRAME_SIZE_ERROR)


def test_row_29_no_more_than_a_frame_is_kept_until_it_is_whole(engine: str) -> None:
    made = bare(engine)
    made.receive(post(1, WAIT), 0.0)
    frame = data(1, FULL)
    with measured() as growth:
        for start in range(0, len(frame) - 1, 1000):
            made.receive(frame[start : min(start + 1000, len(frame) - 1)], 0.0)
    assert growth.left < 17 * KIB
    assert isinstance(made, Incoming)
    assert [type(event) for event in made.receive(frame[-1:], 0.0)] == [Body]


# Row 30: numbers of streams.

GAMES = {
    "HEADERS on an even number": get(2, WAIT),
    "HEADERS on stream 0": headers(0, GET, end=True),
    "DATA on stream 0": data(0, b"x"),
    "RST_STREAM on stream 0": rst(0),
    "PRIORITY on stream 0": priority(0, 3),
    "CONTINUATION on stream 0": continuation(0, b""),
    "SETTINGS on a stream": wire("000000 04 00 00000005"),
    "PING on a stream": wire("000008 06 00 00000005", bytes(8)),
    "GOAWAY on a stream": wire("000008 07 00 00000005", bytes(8)),
    "DATA on an idle stream": data(7, b"x"),
    "WINDOW_UPDATE on an idle stream": window_update(7, 1),
    "RST_STREAM on an idle stream": rst(7),
    "DATA on an idle stream of ours": data(2, b"x"),
    "PUSH_PROMISE": push_promise(5, 8),
    "another frame within a block": headers(7, GET, end=True, whole=False) + ping(),
    "CONTINUATION of another stream": headers(7, GET, end=True, whole=False) + continuation(9, b""),
}


@pytest.mark.parametrize("name", GAMES)
def test_row_30_a_frame_where_it_cannot_be_ends_the_connection(connect: Connect, name: str) -> None:
    peer = connect()
    peer.request(get(5, WAIT))
    peer.feed(GAMES[name], get(11))
    assert_ended_for(peer, Code.PROTOCOL_ERROR)
    assert [event.stream for event in peer.events if isinstance(event, Request)] == [5]


@pytest.mark.parametrize("number", [3, 1])
def test_row_30_numbers_that_fall_end_the_connection(connect: Connect, number: int) -> None:
    """A stream below the highest is closed (RFC 9113 §5.1.1), so this is HEADERS on a closed stream (§5.1)."""
    peer = connect()
    peer.request(get(5, WAIT))
    peer.feed(get(number, WAIT))
    assert_ended_for(peer, Code.STREAM_CLOSED)
