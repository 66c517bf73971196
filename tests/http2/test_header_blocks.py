"""Trailers, interim responses, blocks that need several frames, the client's table, cookies."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import hpack
import pytest

from keepserve.http2.encoding import EncodedFields
from keepserve.wire.engine import ResponseError
from tests.http2.frames import (
    END_HEADERS,
    END_STREAM,
    Kind,
    block,
    get,
    headers,
    post,
    request_block,
    settings,
    window_update,
)
from tests.http2.peer import ENGINE_NAMES, Peer, one

Connect = Callable[..., Peer]


@pytest.fixture(params=ENGINE_NAMES)
def connect(request: pytest.FixtureRequest) -> Connect:
    return partial(Peer, request.param)


# Trailers.


def test_trailers_follow_what_is_queued(connect: Connect) -> None:
    peer = one(connect, own_settings=[(4, 2000)])
    peer.begin(1, b"x" * 5000)
    peer.engine.send_trailers(1, [(b"Grpc-Status", b"0"), (b"grpc-message", b"")])
    peer.flush()
    assert (len(peer.body(1)), peer.response(1).trailers) == (2000, None)
    peer.feed(window_update(1, 3000))
    peer.flush()
    assert len(peer.body(1)) == 5000
    assert peer.response(1).trailers == [(b"grpc-status", b"0"), (b"grpc-message", b"")]
    assert [frame.flags & END_STREAM for frame in peer.came(Kind.DATA)] == [0] * len(peer.came(Kind.DATA))


@pytest.mark.parametrize("queued", [0, 5000])
def test_trailers_without_a_field_are_no_trailers(connect: Connect, queued: int) -> None:
    peer = one(connect, own_settings=[(4, 2000)])
    peer.begin(1, b"x" * queued) if queued else peer.begin(1)
    peer.engine.send_trailers(1, [])
    peer.feed(window_update(1, 5000))
    peer.flush()
    assert (peer.response(1).whole, peer.response(1).trailers, len(peer.body(1))) == (True, None, queued)


def test_trailers_that_cannot_be_sent_are_the_applications_fault(connect: Connect) -> None:
    peer = one(connect)
    peer.begin(1, b"x")
    peer.fresh()
    with pytest.raises(ResponseError, match="control character"):
        peer.engine.send_trailers(1, [(b"a", b"b\n")])
    assert peer.fresh() == []


# Interim responses.


def test_interim_responses_come_before_the_final_one(connect: Connect) -> None:
    peer = one(connect, get(1) + get(3), defaults=EncodedFields(extra=[(b"x", b"y")]))
    peer.engine.inform(1, 103, [(b"Link", b"</a.css>")])
    peer.engine.inform(1, 103, [])
    peer.flush()
    frames = peer.fresh()
    assert [(frame.kind, frame.flags) for frame in frames] == [(Kind.HEADERS, END_HEADERS)] * 2
    assert peer.response(1).interim == (103, 103)
    peer.answer(1)
    assert peer.response(1).whole


def test_an_interim_response_that_cannot_be_sent_is_the_applications_fault(connect: Connect) -> None:
    peer = one(connect)
    with pytest.raises(ResponseError, match="control character"):
        peer.engine.inform(1, 103, [(b"link", b"</a.css>\r\nset-cookie: a=b")])
    assert peer.fresh() == []
    peer.answer(1)
    assert (peer.response(1).interim, peer.response(1).whole) == ((), True)


def test_an_interim_response_comes_too_late_once_the_final_one_has_begun(connect: Connect) -> None:
    peer = one(connect)
    peer.begin(1)
    peer.fresh()
    peer.engine.inform(1, 103, [(b"link", b"</a.css>")])
    peer.flush()
    assert peer.fresh() == []


# Large header blocks, and the client's table.


@pytest.mark.parametrize("size", [16_384, 40_000])
def test_a_large_head_is_continued_in_frames_of_the_clients_size(connect: Connect, size: int) -> None:
    peer = one(connect, own_settings=[(5, size)])
    fields = [(b"x-%d" % number, bytes([33 + number]) * 10_000) for number in range(20)]
    peer.engine.respond(1, 200, fields, b"body", True)
    peer.flush()
    frames = peer.came(Kind.HEADERS, Kind.CONTINUATION)
    assert frames[0].kind == Kind.HEADERS
    assert len(frames) > 1
    assert {frame.kind for frame in frames[1:]} == {Kind.CONTINUATION}
    assert [len(frame.payload) for frame in frames[:-1]] == [size] * (len(frames) - 1)
    assert [frame.has(END_HEADERS) for frame in frames] == [False] * (len(frames) - 1) + [True]
    assert [pair for pair in peer.response(1).fields if pair[0] != b"content-length"] == fields
    assert peer.body(1) == b"body"


def test_large_trailers_promises_and_interim_heads_are_continued_too(connect: Connect) -> None:
    peer = connect()
    parent = peer.request(get(1))
    large = [(b"x-%d" % number, bytes([48 + number]) * 20_000) for number in range(3)]
    pushed = peer.engine.push(parent, b"https", b"/x", large)
    peer.engine.inform(1, 103, large)
    peer.begin(1, b"body")
    peer.engine.send_trailers(1, large)
    peer.flush()
    assert pushed is not None
    assert peer.client.promises[2][4:] == large
    assert peer.response(1).interim == (103,)
    assert peer.response(1).trailers == large
    assert max(len(frame.payload) for frame in peer.client.frames) == 16_384


def test_bodies_are_not_cut_to_the_clients_frame_size_but_to_ours(connect: Connect) -> None:
    """Turns are to be short, however long a frame the client would take."""
    peer = one(connect, own_settings=[(5, 1_000_000), (4, 1_000_000)])
    peer.feed(window_update(0, 1_000_000))
    peer.answer(1, b"x" * 100_000)
    assert max(len(frame.payload) for frame in peer.came(Kind.DATA)) == 16_384


@pytest.mark.parametrize("changes", [[0], [100], [0, 4096], [8192, 50], [4095]])
def test_a_smaller_table_of_the_clients_is_acknowledged_in_the_next_block(
    connect: Connect, changes: list[int]
) -> None:
    """RFC 9113 §4.3.1: the block after the acknowledgement begins with the change; the client's decoder insists."""
    peer = connect()
    peer.feed(*(get(number) for number in (1, 3, 5)))
    peer.engine.respond(1, 200, [(b"a", b"b")], b"", True)
    peer.flush()
    peer.feed(*(settings((1, size)) for size in changes))
    peer.fresh()
    peer.engine.inform(3, 103, [(b"a", b"b")])
    peer.engine.respond(3, 200, [(b"a", b"b")], b"", True)
    peer.engine.respond(5, 200, [(b"a", b"b")], b"", True)
    peer.flush()
    first, *others = peer.fresh()
    assert first.payload[0] >> 5 == 1, "a change of the table's size (RFC 7541 §6.3)"
    for head in others:
        assert head.payload[0] >> 5 != 1
    assert [peer.response(number).fields for number in (1, 3, 5)] == [[(b"a", b"b")]] * 3


def test_a_change_of_the_table_is_said_in_a_pushed_promise_as_well(connect: Connect) -> None:
    peer = connect()
    parent = peer.request(get(1))
    peer.feed(settings((1, 0)))
    peer.engine.push(parent, b"https", b"/x", [])
    peer.flush()
    (promise,) = peer.came(Kind.PUSH_PROMISE)
    assert promise.payload[4] >> 5 == 1
    peer.answer(1)
    assert peer.response(1).whole


def test_secrets_are_marked_as_not_to_be_kept(connect: Connect) -> None:
    """RFC 7541 §7.1.3."""
    peer = one(connect)
    peer.engine.respond(1, 200, [(b"set-cookie", b"id=1"), (b"x", b"y")], b"", True)
    peer.flush()
    (head,) = peer.came(Kind.HEADERS)
    fields = hpack.Decoder().decode(head.payload, raw=True)
    assert [bytes(field[0]) for field in fields if not field.indexable] == [b"set-cookie"]


# Cookies in requests.


def test_cookie_crumbs_are_one_field(connect: Connect) -> None:
    """RFC 9113 §8.2.3."""
    peer = connect()
    crumbs = [(b"cookie", b"a=1"), (b"x", b"y"), (b"cookie", b"b=2; c=3"), (b"cookie", b"d=4")]
    request = peer.request(headers(1, request_block(b"GET", b"/", *crumbs), end=True))
    assert request.fields == [(b"host", b"a"), (b"cookie", b"a=1; b=2; c=3; d=4"), (b"x", b"y")]


def test_a_single_cookie_stays_as_it_is(connect: Connect) -> None:
    request = connect().request(get(1, b"/", (b"cookie", b"a=1; b=2")))
    assert request.fields == [(b"host", b"a"), (b"cookie", b"a=1; b=2")]


def test_many_crumbs_are_not_too_many_fields(connect: Connect) -> None:
    crumbs = block(*[(b"cookie", b"c%d=1" % number) for number in range(200)])
    request = connect().request(headers(1, request_block() + crumbs, end=True))
    assert dict(request.fields)[b"cookie"].count(b"; ") == 199


def test_as_many_fields_as_allowed_are_allowed(connect: Connect) -> None:
    """Cookies are one field, however many there are, and the pseudo-fields are none."""
    peer = connect(request_fields=50)
    crumbs = [(b"cookie", b"a=1")] * 100
    for number, count in ((1, 50), (3, 51)):
        peer.feed(headers(number, request_block(b"GET", b"/", *[(b"x", b"y")] * count, *crumbs), end=True))
    peer.flush()
    assert [peer.response(number).status for number in (1, 3)] == [0, 431]


def test_other_repeated_fields_stay_apart(connect: Connect) -> None:
    request = connect().request(post(1, b"/", (b"accept", b"a"), (b"accept", b"b")))
    assert request.fields == [(b"host", b"a"), (b"accept", b"a"), (b"accept", b"b")]
