"""Pushed responses (``http.response.push``, RFC 9113 §8.4): when they are promised, and when not."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from keepserve.wire.engine import Ending, Request, ResponseError
from tests.http2.frames import Code, Kind, get, goaway, post, rst, settings
from tests.http2.peer import ENGINE_NAMES, Peer

Connect = Callable[..., Peer]


@pytest.fixture(params=ENGINE_NAMES)
def connect(request: pytest.FixtureRequest) -> Connect:
    return partial(Peer, request.param)


def push(peer: Peer, parent: Request, target: bytes = b"/style.css") -> Request | None:
    """Promise something, and let the promise go out."""
    pushed = peer.engine.push(parent, b"https", target, [(b"Accept", b"text/css")])
    peer.flush()
    return pushed


def test_a_promise_precedes_the_response_that_leads_to_it(connect: Connect) -> None:
    peer = connect()
    parent = peer.request(get(1))
    pushed = push(peer, parent)
    assert pushed is not None
    assert (pushed.stream, pushed.method, pushed.target, pushed.complete) == (2, b"GET", b"/style.css", True)
    assert pushed.fields == [(b"host", b"a"), (b"accept", b"text/css")]
    assert peer.client.promises == {
        2: [
            (b":method", b"GET"),
            (b":scheme", b"https"),
            (b":authority", b"a"),
            (b":path", b"/style.css"),
            (b"accept", b"text/css"),
        ]
    }
    peer.answer(1, b"page")
    peer.answer(2, b"style")
    assert [peer.body(number) for number in (1, 2)] == [b"page", b"style"]
    assert [frame.stream for frame in peer.came(Kind.PUSH_PROMISE)] == [1]


def test_a_client_may_refuse_to_be_pushed_to(connect: Connect) -> None:
    peer = connect(own_settings=[(2, 0)])
    parent = peer.request(get(1))
    assert not peer.engine.push_allowed
    assert push(peer, parent) is None
    peer.feed(settings((2, 1)))
    assert peer.engine.push_allowed
    assert push(peer, parent) is not None


def test_nothing_is_promised_on_a_stream_that_is_over(connect: Connect) -> None:
    peer = connect()
    first, second = peer.request(get(1)), peer.request(get(3))
    peer.answer(1)
    peer.feed(rst(3))
    peer.fresh()
    assert push(peer, first) is None
    assert push(peer, second) is None
    assert peer.fresh() == []


def test_nothing_is_promised_on_a_stream_that_has_been_answered_and_whose_request_has_not_ended(
    connect: Connect,
) -> None:
    peer = connect()
    parent = peer.request(post(1))
    peer.answer(1)
    assert push(peer, parent) is None


def test_nothing_is_promised_on_a_pushed_stream(connect: Connect) -> None:
    peer = connect()
    pushed = push(peer, peer.request(get(1)))
    assert pushed is not None
    assert push(peer, pushed) is None


@pytest.mark.parametrize(("own_settings", "streams", "most"), [([(3, 2)], 100, 2), ([], 3, 3), ([(3, 0)], 100, 0)])
def test_no_more_is_promised_than_client_and_server_allow_at_once(
    connect: Connect, own_settings: list[tuple[int, int]], streams: int, most: int
) -> None:
    peer = connect(own_settings=own_settings, streams=streams)
    parent = peer.request(get(1))
    assert [push(peer, parent) is not None for _ in range(5)] == [number < most for number in range(5)]
    if most:
        peer.answer(2)
        assert push(peer, parent) is not None, "there is room again"


@pytest.mark.parametrize("how", ["drain", "goaway"])
def test_nothing_is_promised_on_a_connection_that_ends(connect: Connect, how: str) -> None:
    peer = connect()
    parent = peer.request(get(1))
    if how == "drain":
        peer.engine.drain(0.0, 0.0)
    else:
        peer.feed(goaway(0))
    assert push(peer, parent) is None


def test_a_connection_waits_for_its_pushed_streams(connect: Connect) -> None:
    peer = connect()
    push(peer, peer.request(get(1)))
    peer.engine.drain(0.0, 0.0)
    peer.pong()
    peer.answer(1)
    assert (peer.ending, peer.goaways[-1]) == (Ending.OPEN, (1, Code.NO_ERROR))
    peer.answer(2)
    assert peer.response(2).whole
    assert peer.ending == Ending.LINGER


def test_a_client_may_reset_what_it_was_promised(connect: Connect) -> None:
    peer = connect()
    push(peer, peer.request(get(1)))
    events = peer.feed(rst(2))
    assert [event.stream for event in events] == [2]
    peer.answer(2)
    peer.answer(1)
    assert (peer.response(2).status, peer.response(1).whole) == (0, True)


def test_pushed_streams_are_not_counted_among_the_clients(connect: Connect) -> None:
    peer = connect(streams=2)
    parent = peer.request(get(1))
    push(peer, parent)
    push(peer, parent)
    peer.feed(get(3))
    assert peer.reset_code(3) is None
    peer.feed(get(5))
    assert peer.reset_code(5) == Code.REFUSED_STREAM


@pytest.mark.parametrize("target", [b"style.css", b"", b"/a\r\nb", b"https://a/b"])
def test_a_path_that_is_none_is_the_applications_fault(connect: Connect, target: bytes) -> None:
    peer = connect()
    parent = peer.request(get(1))
    peer.fresh()
    with pytest.raises(ResponseError, match="must begin with '/'"):
        push(peer, parent, target)
    assert peer.fresh() == []
