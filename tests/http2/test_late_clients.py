"""What a client owes the connection, and by when: its greeting, the end of a header block, an answer to a PING."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from keepserve.telemetry.reasons import CloseReason
from keepserve.wire.engine import NEVER, Ending
from tests.http2.frames import (
    GET,
    PREFACE,
    Code,
    Kind,
    continuation,
    get,
    headers,
    ping,
    post,
    settings,
    window_update,
)
from tests.http2.peer import ENGINE_NAMES, NO_LIMIT, Peer, check_announced, check_failed, nothing_before

Connect = Callable[..., Peer]


@pytest.fixture(params=ENGINE_NAMES)
def connect(request: pytest.FixtureRequest) -> Connect:
    return partial(Peer, request.param)


# What a client owes in the beginning.


@pytest.mark.parametrize(
    "sent",
    [b"", PREFACE[:1], PREFACE[:-1], PREFACE, PREFACE + settings((4, 100))[:-1]],
    ids=["nothing", "an octet", "most of the preface", "no settings", "most of the settings"],
)
def test_a_client_must_greet_in_time(connect: Connect, sent: bytes) -> None:
    peer = connect(now=100.0, greeted=False, request_head_timeout=5.0)
    peer.now = 104.0
    peer.engine.receive(sent, 104.0)
    check_failed(peer, 105.0, CloseReason.HEAD_TIMEOUT, Code.SETTINGS_TIMEOUT)
    assert peer.goaways == [(0, Code.SETTINGS_TIMEOUT)]


def test_a_client_that_has_greeted_may_take_its_time(connect: Connect) -> None:
    peer = connect(greeted=False, keep_alive_timeout=80.0)
    peer.now = 9.9
    peer.feed(PREFACE, settings(), settings(ack=True))
    peer.flush()
    check_announced(peer, 80.0, CloseReason.IDLE_TIMEOUT)


def test_settings_must_be_acknowledged_in_time(connect: Connect) -> None:
    peer = connect(now=100.0, greeted=False)
    peer.feed(PREFACE, settings(), get(1))
    peer.now = 105.0
    peer.feed(ping())
    peer.answer(1)
    check_failed(peer, 110.0, CloseReason.SETTINGS_TIMEOUT, Code.SETTINGS_TIMEOUT)
    assert peer.goaways == [(1, Code.SETTINGS_TIMEOUT)]


def test_streams_are_given_up_when_settings_are_not_acknowledged(connect: Connect) -> None:
    peer = connect(greeted=False)
    peer.feed(PREFACE, settings(), get(1), post(3))
    peer.at(10.0)
    assert sorted(peer.given_up) == [(1, 0), (3, 0)]


def test_a_patient_preface_is_not_ended_by_the_clock_of_the_acknowledgement(connect: Connect) -> None:
    """Who has 30 s for the preface cannot have acknowledged anything after 10."""
    peer = connect(greeted=False, request_head_timeout=30.0)
    peer.at(29.0)
    assert peer.ending == Ending.OPEN
    peer.feed(PREFACE, settings())
    peer.now = 30.0
    peer.feed(settings(ack=True), get(1))
    peer.answer(1)
    assert peer.response(1).whole


def test_an_acknowledgement_that_nobody_reads_is_not_late(connect: Connect) -> None:
    """A client that reads slowly makes us read nothing either: its ACK may lie in our socket for long."""
    peer = connect(greeted=False)
    peer.feed(PREFACE, settings(), get(1))
    peer.now = 1.0
    peer.engine.hold(True, 1.0)
    peer.at(60.0)
    assert peer.ending == Ending.OPEN
    peer.engine.hold(False, 60.0)
    check_failed(peer, 69.0, CloseReason.SETTINGS_TIMEOUT, Code.SETTINGS_TIMEOUT)


# Header blocks.


def test_a_header_block_must_end_in_time(connect: Connect) -> None:
    peer = connect(request_head_timeout=10.0)
    peer.now = 50.0
    peer.feed(headers(1, GET[:1], end=True, whole=False))
    for second in range(51, 58):
        peer.now = float(second)
        peer.feed(continuation(1, b"", whole=False))
    check_failed(peer, 60.0, CloseReason.HEAD_TIMEOUT, Code.ENHANCE_YOUR_CALM)


def test_a_header_block_that_ends_in_time_leaves_no_clock_behind(connect: Connect) -> None:
    peer = connect()
    peer.feed(headers(1, GET[:1], end=True, whole=False))
    peer.now = 9.9
    peer.feed(continuation(1, GET[1:]))
    assert peer.deadline == NEVER
    peer.answer(1)
    assert peer.response(1).whole


def test_a_header_block_whose_end_nobody_reads_is_not_late(connect: Connect) -> None:
    peer = connect()
    peer.feed(get(1), headers(3, GET[:1], end=True, whole=False))
    peer.engine.hold(True, 5.0)
    peer.at(60.0)
    assert peer.ending == Ending.OPEN
    peer.engine.hold(False, 60.0)
    check_failed(peer, 65.0, CloseReason.HEAD_TIMEOUT, Code.ENHANCE_YOUR_CALM)


# Server PINGs.


def test_a_silent_peer_is_asked_and_stays_if_it_answers(connect: Connect) -> None:
    peer = connect(ping_interval=10.0, ping_timeout=20.0)
    for start in (0.0, 15.0):
        nothing_before(peer, start + 10.0)
        peer.fresh()
        peer.at(start + 10.0)
        assert [(frame.kind, frame.flags) for frame in peer.fresh()] == [(Kind.PING, 0)]
        peer.now = start + 15.0
        peer.pong()


def test_a_peer_that_does_not_answer_is_given_up(connect: Connect) -> None:
    peer = connect(ping_interval=10.0, ping_timeout=20.0)
    peer.feed(get(1))
    peer.at(10.0)
    check_failed(peer, 30.0, CloseReason.PING_TIMEOUT, Code.NO_ERROR)
    assert peer.given_up == [(1, 0)]


def test_a_peer_that_is_heard_is_not_asked(connect: Connect) -> None:
    peer = connect(ping_interval=10.0)
    for second in range(1, 30):
        peer.now = float(second)
        peer.feed(window_update(0, 1))
        peer.at(second + 0.9)
    assert not peer.came(Kind.PING)


def test_asking_is_no_activity(connect: Connect) -> None:
    peer = connect(ping_interval=10.0, keep_alive_timeout=80.0)
    for second in range(10, 80, 10):
        peer.at(float(second))
        peer.pong()
    peer.at(80.0)
    assert (peer.goaways, peer.reason) == ([(NO_LIMIT, 0)], CloseReason.IDLE_TIMEOUT)


def test_a_peer_whose_answer_nobody_reads_is_not_given_up(connect: Connect) -> None:
    peer = connect(ping_interval=10.0, ping_timeout=20.0)
    peer.feed(get(1))
    peer.at(10.0)
    peer.engine.hold(True, 11.0)
    peer.at(500.0)
    assert peer.ending == Ending.OPEN
    peer.engine.hold(False, 500.0)
    peer.at(500.1)
    assert peer.ending == Ending.OPEN
    peer.pong()
    peer.at(509.0)
    assert peer.ending == Ending.OPEN


def test_silence_in_which_nobody_listens_is_no_silence(connect: Connect) -> None:
    peer = connect(ping_interval=10.0)
    peer.feed(get(1))
    peer.engine.hold(True, 5.0)
    peer.at(500.0)
    assert not peer.came(Kind.PING)
    peer.engine.hold(False, 500.0)
    nothing_before(peer, 510.0)
    peer.at(510.0)
    assert len(peer.came(Kind.PING)) == 1


def test_nobody_is_asked_unless_it_is_wished(connect: Connect) -> None:
    peer = connect()
    peer.feed(get(1))
    peer.at(1e6)
    assert not peer.came(Kind.PING)
