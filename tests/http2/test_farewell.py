"""How an HTTP/2 connection ends in peace: two GOAWAYs, what crosses them, the streams, the close (RFC 9113 §6.8)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from keepserve.telemetry.reasons import CloseReason
from keepserve.wire.engine import NEVER, Ending
from tests.http2.frames import (
    PREFACE,
    Code,
    Kind,
    data,
    get,
    goaway,
    headers,
    ping,
    post,
    request_block,
    rst,
    settings,
    window_update,
)
from tests.http2.peer import EARLY, ENGINE_NAMES, NO_LIMIT, Peer

Connect = Callable[..., Peer]

ANNOUNCED = (NO_LIMIT, Code.NO_ERROR)


@pytest.fixture(params=ENGINE_NAMES)
def connect(request: pytest.FixtureRequest) -> Connect:
    return partial(Peer, request.param)


def stop(peer: Peer) -> None:
    """Tell the engine that the server is stopping."""
    peer.engine.drain(peer.now, 0.0)
    peer.flush()


# The two GOAWAYs.


def test_the_end_is_announced_before_anything_is_refused(connect: Connect) -> None:
    """D4: at once, and not when the last stream is done."""
    peer = connect()
    peer.feed(get(1))
    stop(peer)
    told, asked = peer.fresh()
    assert (told.kind, asked.kind) == (Kind.GOAWAY, Kind.PING)
    assert peer.goaways == [ANNOUNCED]
    assert (peer.reason, peer.ending) == (CloseReason.DRAINING, Ending.OPEN)


def test_what_the_client_sends_before_it_has_heard_is_served(connect: Connect) -> None:
    """D3."""
    peer = connect()
    peer.feed(get(1))
    stop(peer)
    peer.feed(get(3), post(5))
    peer.feed(data(5, b"abc", end=True))
    for number in (1, 3, 5):
        peer.answer(number)
    assert [peer.response(number).status for number in (1, 3, 5)] == [200, 200, 200]
    assert peer.ending == Ending.OPEN, "the client has not heard yet"


def test_the_answer_to_the_ping_names_the_last_stream(connect: Connect) -> None:
    """D5: the true one."""
    peer = connect()
    peer.feed(get(1))
    stop(peer)
    peer.feed(get(3))
    peer.pong()
    assert peer.goaways == [ANNOUNCED, (3, Code.NO_ERROR)]
    assert peer.deadline == NEVER
    peer.at(100.0)
    assert len(peer.goaways) == 2


def test_without_that_answer_the_last_stream_is_named_after_a_second(connect: Connect) -> None:
    peer = connect(now=50.0)
    peer.feed(get(1))
    stop(peer)
    peer.feed(get(3))
    assert peer.deadline == 51.0
    peer.at(51.0 - EARLY)
    assert peer.goaways == [ANNOUNCED]
    peer.at(51.0)
    assert peer.goaways == [ANNOUNCED, (3, Code.NO_ERROR)]


def test_that_second_passes_also_while_nothing_is_read(connect: Connect) -> None:
    """The answer may lie in our socket, behind a client that takes nothing; waiting for it would gain nothing."""
    peer = connect()
    peer.feed(get(1))
    peer.engine.hold(True, 0.0)
    stop(peer)
    peer.at(1.0)
    assert peer.goaways == [ANNOUNCED, (1, Code.NO_ERROR)]


def test_a_ping_of_the_clients_own_is_no_answer(connect: Connect) -> None:
    peer = connect()
    peer.feed(get(1))
    stop(peer)
    peer.feed(ping(ack=True), ping())
    assert peer.goaways == [ANNOUNCED]


def test_a_late_answer_to_the_ping_changes_nothing(connect: Connect) -> None:
    peer = connect()
    peer.feed(get(1))
    stop(peer)
    peer.at(1.0)
    peer.pong()
    assert peer.goaways == [ANNOUNCED, (1, Code.NO_ERROR)]


def test_the_announcement_keeps_other_pings_apart(connect: Connect) -> None:
    """A PING that asks whether the peer is alive is under way when the end is announced."""
    peer = connect(ping_interval=10.0, ping_timeout=20.0)
    peer.feed(get(1))
    peer.at(10.0)
    (alive,) = peer.came(Kind.PING)
    stop(peer)
    peer.feed(ping(alive.payload, ack=True))
    assert peer.goaways == [ANNOUNCED]
    peer.pong()
    assert peer.goaways == [ANNOUNCED, (1, Code.NO_ERROR)]


def test_streams_above_the_last_are_refused_so_that_they_can_be_sent_again(connect: Connect) -> None:
    """D6: REFUSED_STREAM, and no application has seen them."""
    peer = connect()
    peer.feed(get(1))
    stop(peer)
    peer.pong()
    assert peer.feed(get(3), post(5)) == []
    assert [peer.reset_code(number) for number in (3, 5)] == [Code.REFUSED_STREAM] * 2
    assert peer.goaways[-1] == (1, Code.NO_ERROR)
    peer.feed(data(5, b"on its way"))
    peer.answer(1)
    assert peer.response(1).whole
    assert peer.ending == Ending.LINGER


def test_a_busy_balancer_that_has_not_heard_in_time_is_no_attacker(connect: Connect) -> None:
    """It may have as many requests under way as it may have open; all of them are refused, and the rest goes on."""
    peer = connect(streams=500)
    peer.feed(get(1))
    stop(peer)
    peer.at(1.0)
    for number in range(3, 1003, 2):
        peer.feed(get(number))
    assert len(peer.came(Kind.RST_STREAM)) == 500
    assert peer.ending == Ending.OPEN
    peer.answer(1)
    assert peer.response(1).whole


def test_a_stream_refused_for_want_of_room_is_not_the_last_one_served(connect: Connect) -> None:
    peer = connect(streams=1)
    peer.feed(get(1), get(3))
    assert peer.reset_code(3) == Code.REFUSED_STREAM
    stop(peer)
    peer.pong()
    assert peer.goaways[-1] == (1, Code.NO_ERROR)


def test_a_stream_that_the_engine_answered_counts_as_served(connect: Connect) -> None:
    peer = connect()
    peer.feed(headers(1, request_block(b"BREW"), end=True))
    stop(peer)
    peer.pong()
    assert peer.goaways[-1] == (1, Code.NO_ERROR)


def test_all_of_a_long_batch_is_served_or_refused(connect: Connect) -> None:
    """The last stream may be named while requests wait for their slice of work; then they are refused."""
    peer = connect(streams=1000)
    batch = b"".join(get(number) for number in range(1, 1001, 2))
    peer.client.sends(batch)
    peer.events += peer.engine.receive(batch, 0.0)
    assert peer.engine.backlog
    peer.engine.drain(0.0, 0.0)
    peer.at(1.0)
    while peer.engine.backlog:
        peer.events += peer.engine.proceed(1.0)
    peer.flush()
    seen = {event.stream for event in peer.events}
    last = peer.goaways[-1][0]
    assert seen == set(range(1, last + 1, 2))
    refused = {frame.stream for frame in peer.came(Kind.RST_STREAM) if frame.number == Code.REFUSED_STREAM}
    assert refused == set(range(last + 2, 1001, 2))


# The close.


def test_an_idle_connection_ends_when_the_client_has_heard(connect: Connect) -> None:
    """D12: without waiting for anything else."""
    peer = connect()
    stop(peer)
    assert peer.ending == Ending.OPEN
    peer.pong()
    assert peer.goaways == [ANNOUNCED, (0, Code.NO_ERROR)]
    assert peer.ending == Ending.LINGER


def test_an_idle_connection_whose_client_says_nothing_ends_after_a_second(connect: Connect) -> None:
    peer = connect()
    stop(peer)
    peer.at(1.0)
    assert peer.ending == Ending.LINGER
    peer.flush()
    peer.at(2.0)
    assert peer.ending == Ending.CLOSE


def test_the_connection_ends_with_its_last_stream(connect: Connect) -> None:
    peer = connect()
    peer.feed(get(1), get(3), get(5))
    stop(peer)
    peer.pong()
    for number in (5, 1):
        peer.answer(number)
        assert peer.ending == Ending.OPEN
    peer.at(1000.0)
    peer.answer(3)
    assert peer.ending == Ending.LINGER
    assert all(peer.response(number).whole for number in (1, 3, 5))


def test_a_response_that_waits_for_a_window_is_delivered_to_the_last_byte(connect: Connect) -> None:
    """D1."""
    peer = connect()
    peer.feed(get(1))
    peer.answer(1, b"x" * 400_000)
    stop(peer)
    peer.pong()
    assert (len(peer.body(1)), peer.ending) == (65_535, Ending.OPEN)
    while not peer.response(1).whole:
        assert peer.ending == Ending.OPEN
        peer.at(peer.now + 1.0)
        peer.feed(window_update(0, 2000), window_update(1, 2000))
        peer.flush()
    assert peer.body(1) == b"x" * 400_000
    assert peer.ending == Ending.LINGER


@pytest.mark.parametrize("end", [rst(1), data(1, b"x", end=True)], ids=["reset", "end of its request"])
def test_a_stream_that_the_client_ends_is_waited_for_no_longer(connect: Connect, end: bytes) -> None:
    peer = connect()
    peer.feed(post(1))
    stop(peer)
    peer.pong()
    if end != rst(1):
        peer.answer(1)
    assert peer.ending == Ending.OPEN
    peer.feed(end)
    assert peer.ending == Ending.LINGER


def test_a_stream_whose_application_failed_is_waited_for_no_longer(connect: Connect) -> None:
    peer = connect()
    peer.feed(get(1))
    peer.begin(1, b"some")
    stop(peer)
    peer.pong()
    peer.engine.abandon(1, CloseReason.APP_FAILED)
    peer.flush()
    assert peer.reset_code(1) == Code.INTERNAL_ERROR
    assert peer.ending == Ending.LINGER


def test_a_client_that_closes_meanwhile_is_not_waited_for(connect: Connect) -> None:
    peer = connect()
    stop(peer)
    peer.engine.receive_eof(0.1)
    assert peer.ending == Ending.CLOSE


def test_being_told_twice_to_stop_is_being_told_once(connect: Connect) -> None:
    peer = connect()
    peer.feed(get(1))
    stop(peer)
    stop(peer)
    peer.pong()
    stop(peer)
    assert peer.goaways == [ANNOUNCED, (1, Code.NO_ERROR)]


def test_a_stop_before_the_preface_lets_the_client_come_in(connect: Connect) -> None:
    """D7: the connection was accepted when the stop had begun, or a moment before."""
    peer = connect(greeted=False)
    stop(peer)
    assert [frame.kind for frame in peer.client.frames][:1] == [Kind.SETTINGS]
    assert peer.goaways == [ANNOUNCED]
    peer.feed(PREFACE, settings(), settings(ack=True), get(1))
    peer.pong()
    peer.answer(1)
    assert peer.response(1).whole
    assert peer.goaways == [ANNOUNCED, (1, Code.NO_ERROR)]
    assert peer.ending == Ending.LINGER


def test_an_announced_close_leaves_a_connection_alone_until_the_drain(connect: Connect) -> None:
    """A client that is told to go while the server accepts would only come back."""
    peer = connect()
    peer.feed(get(1))
    peer.engine.announce(CloseReason.DRAINING)
    peer.flush()
    assert (peer.goaways, peer.reason, peer.ending) == ([], None, Ending.OPEN)
    peer.answer(1)
    peer.feed(get(3))
    peer.answer(3)
    assert all(peer.response(number).whole for number in (1, 3))
    assert (peer.goaways, peer.reason) == ([], None)
    stop(peer)
    assert (peer.goaways, peer.reason) == ([ANNOUNCED], CloseReason.DRAINING)


# Other reasons.


def test_the_last_request_of_a_connection_is_announced_and_served(connect: Connect) -> None:
    """K8: all that is under way is finished."""
    peer = connect(max_requests=2)
    peer.feed(*(get(number) for number in (1, 3, 5, 7)))
    assert peer.goaways == [ANNOUNCED]
    assert peer.reason is CloseReason.MAX_REQUESTS
    for number in (1, 3, 5, 7):
        peer.answer(number)
    peer.pong()
    assert all(peer.response(number).whole for number in (1, 3, 5, 7))
    assert peer.goaways == [ANNOUNCED, (7, Code.NO_ERROR)]
    assert peer.ending == Ending.LINGER


def test_no_request_is_the_last_one_without_a_limit(connect: Connect) -> None:
    peer = connect(max_requests=0)
    for number in range(1, 2001, 2):
        peer.feed(get(number))
        peer.answer(number)
    assert peer.goaways == []


def test_an_application_may_ask_for_the_end(connect: Connect) -> None:
    peer = connect()
    peer.feed(get(1), get(3))
    peer.engine.respond(1, 200, [(b"connection", b"close")], b"bye", True)
    peer.flush()
    assert peer.goaways == [ANNOUNCED]
    assert peer.reason is CloseReason.APP_ASKED
    peer.pong()
    peer.answer(3)
    assert [peer.body(number) for number in (1, 3)] == [b"bye", b"ok"]
    assert peer.ending == Ending.LINGER


def test_the_second_after_an_applications_wish_begins_when_it_is_sent(connect: Connect) -> None:
    """The client has been silent for minutes, and so the engine has not seen a clock."""
    peer = connect()
    peer.feed(get(1), get(3))
    peer.now = 300.0
    peer.engine.respond(1, 200, [(b"connection", b"close")], b"bye", True)
    peer.flush()
    assert peer.deadline == 301.0
    peer.at(301.0 - EARLY)
    assert peer.goaways == [ANNOUNCED]
    peer.at(301.0)
    assert peer.goaways == [ANNOUNCED, (3, Code.NO_ERROR)]


def test_the_first_reason_is_the_one_that_counts(connect: Connect) -> None:
    peer = connect(max_age=10.0)
    peer.feed(get(1))
    peer.at(10.0)
    peer.engine.drain(10.5, 0.0)
    assert peer.reason is CloseReason.MAX_AGE


# The client's own farewell.


def test_a_client_that_says_goaway_gets_its_answers(connect: Connect) -> None:
    peer = connect()
    peer.feed(get(1), get(3), goaway(0))
    assert (peer.goaways, peer.ending) == ([], Ending.OPEN)
    peer.answer(1)
    peer.answer(3)
    assert peer.goaways == [(3, Code.NO_ERROR)]
    assert (peer.ending, peer.reason) == (Ending.LINGER, CloseReason.CLIENT_ASKED)


def test_an_idle_client_that_says_goaway_is_let_go_at_once(connect: Connect) -> None:
    peer = connect()
    peer.feed(goaway(0))
    assert peer.goaways == [(0, Code.NO_ERROR)]
    assert (peer.ending, peer.reason) == (Ending.LINGER, CloseReason.CLIENT_ASKED)


def test_both_may_say_goaway(connect: Connect) -> None:
    peer = connect()
    peer.feed(get(1))
    stop(peer)
    peer.feed(goaway(0))
    peer.answer(1)
    assert peer.goaways == [ANNOUNCED, (1, Code.NO_ERROR)]
    assert (peer.ending, peer.reason) == (Ending.LINGER, CloseReason.DRAINING)


def test_a_client_that_sends_no_more_still_gets_its_answers(connect: Connect) -> None:
    peer = connect()
    peer.feed(get(1), post(3))
    events = peer.engine.receive_eof(1.0)
    assert [event.stream for event in events] == [3], "its body will never be whole"
    assert (peer.ending, peer.reason) == (Ending.OPEN, CloseReason.PEER_LEFT)
    peer.answer(1)
    assert peer.response(1).whole
    assert peer.ending == Ending.CLOSE


def test_an_idle_client_that_sends_no_more_is_let_go(connect: Connect) -> None:
    peer = connect()
    assert peer.engine.receive_eof(1.0) == []
    assert (peer.ending, peer.reason, peer.deadline) == (Ending.CLOSE, CloseReason.PEER_CLOSED, NEVER)
