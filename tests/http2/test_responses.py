"""Responses as HTTP/2 renders them: heads, common fields, bodies and the lengths they promise."""

from __future__ import annotations

import http
from collections.abc import Callable
from functools import partial

import pytest

from keepserve.http2.encoding import EncodedFields
from keepserve.telemetry.reasons import CloseReason
from keepserve.wire.engine import Ending, ResponseError
from tests.http2.frames import (
    END_HEADERS,
    END_STREAM,
    Code,
    Frame,
    Kind,
    get,
    headers,
    request_block,
    rst,
    window_update,
)
from tests.http2.peer import ENGINE_NAMES, Peer, one

Connect = Callable[..., Peer]


@pytest.fixture(params=ENGINE_NAMES)
def connect(request: pytest.FixtureRequest) -> Connect:
    return partial(Peer, request.param)


def names(frames: list[Frame]) -> list[tuple[str, int, int]]:
    """Kind, flags and length of each."""
    return [(Kind(frame.kind).name, frame.flags, len(frame.payload)) for frame in frames]


# Heads and bodies.


def test_a_short_response_is_two_frames(connect: Connect) -> None:
    peer = one(connect)
    peer.answer(1, b"hello")
    head, body = peer.fresh()
    assert (head.kind, head.flags) == (Kind.HEADERS, END_HEADERS)
    assert (body.kind, body.flags, body.payload) == (Kind.DATA, END_STREAM, b"hello")


def test_a_response_without_a_body_is_one_frame(connect: Connect) -> None:
    peer = one(connect)
    peer.answer(1, b"", 404)
    (head,) = peer.fresh()
    assert (head.kind, head.flags) == (Kind.HEADERS, END_HEADERS | END_STREAM)
    assert peer.response(1).status == 404


def test_a_whole_response_tells_its_length_though_it_need_not(connect: Connect) -> None:
    peer = one(connect)
    peer.answer(1, b"hello")
    assert peer.response(1).fields == [(b"content-length", b"5")]


def test_a_streamed_response_promises_nothing(connect: Connect) -> None:
    peer = one(connect)
    peer.begin(1, b"one", b"two")
    peer.engine.send_body(1, b"", True)
    peer.flush()
    assert peer.response(1).fields == []
    assert peer.body(1) == b"onetwo"
    assert peer.came(Kind.DATA)[-1].payload == b""


def test_the_last_piece_of_a_body_ends_the_stream(connect: Connect) -> None:
    peer = one(connect)
    peer.begin(1, b"one")
    peer.fresh()
    peer.engine.send_body(1, b"two", True)
    peer.flush()
    assert names(peer.fresh()) == [("DATA", END_STREAM, 3)]


@pytest.mark.parametrize("status", [200, 299, 418, 599, 999, http.HTTPStatus.NOT_FOUND])
def test_any_final_status_is_sent(connect: Connect, status: int) -> None:
    peer = one(connect)
    peer.answer(1, b"x", status)
    assert peer.response(1).status == int(status)


@pytest.mark.parametrize("status", [100, 199, 99, 1000, -1, "200", 200.0, None])
def test_no_other_status_is(connect: Connect, status: int) -> None:
    peer = one(connect)
    with pytest.raises(ResponseError, match="status must be"):
        peer.engine.respond(1, status, [], b"x", True)
    peer.answer(1, b"sorry", 500)
    assert peer.response(1).status == 500
    assert peer.body(1) == b"sorry"


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ((b"a b", b"c"), "field name"),
        ((b"", b"c"), "field name"),
        ((b"a", b"b\r\nc: d"), "control character"),
        ((b"a", b"b\0"), "control character"),
        ((b":status", b"200"), "field name"),
        ((b"content-length", b"-1"), "Content-Length"),
        (("a", b"b"), "must be bytes"),
        ((b"a",), "pairs"),
    ],
)
def test_a_field_that_cannot_be_sent_is_the_applications_fault(connect: Connect, field: object, words: str) -> None:
    peer = one(connect)
    with pytest.raises(ResponseError, match=words):
        peer.engine.respond(1, 200, [(b"x", b"y"), field], b"x", True)  # type: ignore[list-item]
    assert peer.fresh() == []
    peer.answer(1, b"sorry", 500)
    assert peer.response(1).fields == [(b"content-length", b"5")]


def test_fields_go_out_as_the_application_gave_them_in_lower_case(connect: Connect) -> None:
    peer = one(connect)
    given = [(b"Content-Type", b"text/plain"), (b"Set-Cookie", b"a=1"), (b"set-cookie", b"b=2"), (b"X", b" \ty z\t ")]
    peer.engine.respond(1, 200, given, b"", True)
    peer.flush()
    assert peer.response(1).fields == [
        (b"content-type", b"text/plain"),
        (b"set-cookie", b"a=1"),
        (b"set-cookie", b"b=2"),
        (b"x", b"y z"),
    ]


def test_fields_of_the_connection_are_not_the_applications_to_send(connect: Connect) -> None:
    peer = one(connect)
    given = [(b"connection", b"keep-alive"), (b"keep-alive", b"timeout=5"), (b"transfer-encoding", b"chunked")]
    peer.engine.respond(1, 200, [*given, (b"proxy-connection", b"close"), (b"a", b"b")], b"", True)
    peer.flush()
    assert peer.response(1).fields == [(b"a", b"b")]
    assert peer.goaways == []


# Fields every response carries.


def defaults(**more: object) -> EncodedFields:
    """Server, Date of a Sunday in 1994, and one of the operator's."""
    fields = EncodedFields(extra=[(b"X-Served-By", b"me")], **more)  # type: ignore[arg-type]
    fields.refresh(784111777.0)
    return fields


SUNDAY = b"Sun, 06 Nov 1994 08:49:37 GMT"


def test_common_fields_stand_in_front(connect: Connect) -> None:
    peer = one(connect, defaults=defaults())
    peer.engine.respond(1, 200, [(b"a", b"b")], b"", True)
    peer.flush()
    assert peer.response(1).fields == [
        (b"date", SUNDAY),
        (b"server", b"keepserve"),
        (b"x-served-by", b"me"),
        (b"a", b"b"),
    ]


@pytest.mark.parametrize("own", [(b"Date", b"today"), (b"Server", b"other")])
def test_an_application_may_send_its_own_instead(connect: Connect, own: tuple[bytes, bytes]) -> None:
    peer = one(connect, get(1) + get(3), defaults=defaults())
    peer.engine.respond(1, 200, [own], b"", True)
    peer.answer(3, b"")
    fields = peer.response(1).fields
    assert [value for name, value in fields if name == own[0].lower()] == [own[1]]
    assert len(fields) == 3
    assert len(peer.response(3).fields) == 3, "the next one has them all again"


def test_common_fields_may_be_left_out(connect: Connect) -> None:
    peer = one(connect, defaults=defaults(date=False, server=False))
    peer.answer(1, b"")
    assert peer.response(1).fields == [(b"x-served-by", b"me")]


def test_the_date_moves_on(connect: Connect) -> None:
    fields = defaults(server=False)
    peer = one(connect, get(1) + get(3), defaults=fields)
    peer.answer(1, b"")
    fields.refresh(784111778.0)
    peer.answer(3, b"")
    assert [peer.response(number).fields[0][1] for number in (1, 3)] == [SUNDAY, SUNDAY.replace(b":37", b":38")]


def test_answers_of_the_engine_itself_carry_them(connect: Connect) -> None:
    peer = one(connect, headers(1, request_block(b"BREW"), end=True), defaults=defaults())
    peer.flush()
    assert [name for name, _ in peer.response(1).fields] == [
        b"date",
        b"server",
        b"x-served-by",
        b"content-type",
        b"content-length",
    ]


# Responses that have no body.


@pytest.mark.parametrize("status", [204, 304])
@pytest.mark.parametrize("complete", [True, False])
def test_a_204_and_a_304_have_no_body(connect: Connect, status: int, complete: bool) -> None:
    peer = one(connect)
    peer.engine.respond(1, status, [], b"no", complete)
    if not complete:
        peer.engine.send_body(1, b"body", True)
    peer.flush()
    assert (peer.response(1).status, peer.body(1), peer.response(1).whole) == (status, b"", True)
    assert peer.response(1).fields == []


def test_a_304_may_tell_a_length_and_a_204_may_not(connect: Connect) -> None:
    """RFC 9110 §8.6."""
    peer = one(connect, get(1) + get(3))
    for number, status in ((1, 304), (3, 204)):
        peer.engine.respond(number, status, [(b"content-length", b"1000")], b"", True)
    peer.flush()
    assert peer.response(1).fields == [(b"content-length", b"1000")]
    assert peer.response(3).fields == []


@pytest.mark.parametrize("own", [[], [(b"content-length", b"5")]])
def test_the_response_to_head_has_the_fields_of_a_get_and_no_body(
    connect: Connect, own: list[tuple[bytes, bytes]]
) -> None:
    peer = one(connect, headers(1, request_block(b"HEAD"), end=True))
    peer.engine.respond(1, 200, own, b"hello", True)
    peer.flush()
    assert peer.response(1).fields == [(b"content-length", b"5")]
    assert (peer.body(1), peer.response(1).whole) == (b"", True)


def test_a_streamed_response_to_head_ends_when_the_application_does(connect: Connect) -> None:
    peer = one(connect, headers(1, request_block(b"HEAD"), end=True))
    peer.engine.respond(1, 200, [(b"content-length", b"10")], b"hello", False)
    peer.engine.send_body(1, b"world", False)
    peer.flush()
    assert not peer.response(1).whole
    peer.engine.send_body(1, b"", True)
    peer.flush()
    assert (peer.body(1), peer.response(1).whole) == (b"", True)


# Promised lengths.


@pytest.mark.parametrize(("body", "complete"), [(b"1234", True), (b"123456", True), (b"123456", False)])
def test_a_body_of_another_length_than_promised_is_not_begun(connect: Connect, body: bytes, complete: bool) -> None:
    peer = one(connect)
    with pytest.raises(ResponseError, match="Content-Length is 5, but its body has"):
        peer.engine.respond(1, 200, [(b"content-length", b"5")], body, complete)
    assert peer.fresh() == []


@pytest.mark.parametrize(
    ("parts", "words"),
    [([b"123", b"456"], "longer than its Content-Length, by 1 bytes"), ([b"123", b""], "ended 2 bytes short")],
)
def test_a_promise_broken_later_resets_the_stream(connect: Connect, parts: list[bytes], words: str) -> None:
    peer = one(connect, get(1) + get(3))
    peer.engine.respond(1, 200, [(b"content-length", b"5")], parts[0], False)
    with pytest.raises(ResponseError, match=words):
        peer.engine.send_body(1, parts[1], True)
    peer.flush()
    assert peer.reset_code(1) == Code.INTERNAL_ERROR
    assert not peer.response(1).whole
    peer.answer(3)
    assert peer.response(3).whole
    assert peer.ending == Ending.OPEN


def test_trailers_do_not_make_up_for_a_body_that_is_too_short(connect: Connect) -> None:
    peer = one(connect)
    peer.engine.respond(1, 200, [(b"content-length", b"5")], b"123", False)
    with pytest.raises(ResponseError, match="ended 2 bytes short"):
        peer.engine.send_trailers(1, [(b"a", b"b")])
    peer.flush()
    assert peer.reset_code(1) == Code.INTERNAL_ERROR


def test_a_promise_is_kept_over_many_pieces(connect: Connect) -> None:
    peer = one(connect)
    peer.engine.respond(1, 200, [(b"content-length", b"100000")], b"", False)
    for number in range(10):
        peer.engine.send_body(1, b"x" * 10_000, number == 9)
    peer.feed(window_update(0, 100_000), window_update(1, 100_000))
    peer.flush()
    assert (len(peer.body(1)), peer.response(1).whole) == (100_000, True)


# Failures.


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        (CloseReason.APP_FAILED, Code.INTERNAL_ERROR),
        (CloseReason.APP_FRAMING, Code.INTERNAL_ERROR),
        (CloseReason.CUT, Code.CANCEL),
        (CloseReason.WRITE_STALL, Code.CANCEL),
    ],
)
def test_a_response_that_is_given_up_is_reset(connect: Connect, reason: CloseReason, code: Code) -> None:
    peer = one(connect, get(1) + get(3))
    peer.begin(1, b"some")
    peer.engine.abandon(1, reason)
    peer.answer(3)
    assert peer.reset_code(1) == code
    assert peer.response(3).whole


def test_what_waits_of_a_response_that_is_given_up_is_not_sent(connect: Connect) -> None:
    peer = one(connect, own_settings=[(4, 2000)])
    peer.begin(1, b"x" * 5000)
    peer.engine.abandon(1, CloseReason.APP_FAILED)
    peer.feed(window_update(1, 5000))
    peer.flush()
    assert len(peer.body(1)) == 2000


def test_nothing_is_sent_on_a_stream_that_is_gone(connect: Connect) -> None:
    peer = one(connect)
    peer.feed(rst(1))
    engine = peer.engine
    engine.respond(1, 200, [], b"x", False)
    engine.send_body(1, b"y", False)
    engine.send_trailers(1, [(b"a", b"b")])
    engine.inform(1, 103, [])
    engine.go_on(1, 0.0)
    engine.taken(1, 100, 0.0)
    engine.abandon(1, CloseReason.APP_FAILED)
    peer.flush()
    assert peer.fresh() == []
