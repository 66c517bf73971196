"""Rows of the table whose weapon is form: requests and trailers that no server may pass on, and CONNECT."""

from __future__ import annotations

import pytest

from tests.hostile.attack import (
    RESETS,
    assert_ended_for,
    assert_ended_for_a_flood,
    assert_goes_on,
    assert_rejected,
    assert_reset,
    assert_warned_before,
    flood,
    in_frames,
    numbers,
)
from tests.hostile.conftest import Connect
from tests.http2.frames import (
    FIRST_STORED,
    POST,
    Code,
    block,
    continuation,
    data,
    get,
    headers,
    literal,
    post,
    stored,
)

WAIT = b"/wait"


# Rows 31, 32, 33: malformed, and not for us.


def pseudo(method: bytes = b"GET", scheme: bytes = b"https", path: bytes = b"/", authority: bytes = b"a") -> bytes:
    """The four pseudo-fields."""
    return block((b":method", method), (b":scheme", scheme), (b":path", path), (b":authority", authority))


MALFORMED = {
    ":method twice": pseudo() + literal(b":method", b"GET"),
    ":path twice": pseudo() + literal(b":path", b"/"),
    ":scheme twice": pseudo() + literal(b":scheme", b"https"),
    ":authority twice": pseudo() + literal(b":authority", b"a"),
    "no :method": block((b":scheme", b"https"), (b":path", b"/"), (b":authority", b"a")),
    "no :scheme": block((b":method", b"GET"), (b":path", b"/"), (b":authority", b"a")),
    "no :path": block((b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"a")),
    "nothing": b"",
    "a pseudo-field behind a field": pseudo()[: -len(literal(b":authority", b"a"))]
    + block((b"x", b"y"), (b":authority", b"a")),
    "an unknown pseudo-field": pseudo() + literal(b":colour", b"red"),
    ":status": pseudo() + literal(b":status", b"200"),
    "an empty :path": pseudo(path=b""),
    "a :path with a space": pseudo(path=b"/a b"),
    "a :path with a control": pseudo(path=b"/a\x01"),
    "a :path with a line end": pseudo(path=b"/a\r\nx: y"),
    "a :path without a slash": pseudo(path=b"a"),
    "a name in upper case": pseudo() + literal(b"X-Name", b"y"),
    "connection": pseudo() + literal(b"connection", b"close"),
    "keep-alive": pseudo() + literal(b"keep-alive", b"1"),
    "proxy-connection": pseudo() + literal(b"proxy-connection", b"close"),
    "transfer-encoding": pseudo() + literal(b"transfer-encoding", b"chunked"),
    "upgrade": pseudo() + literal(b"upgrade", b"h2c"),
    "te of anything but trailers": pseudo() + literal(b"te", b"gzip"),
    "host twice": pseudo() + block((b"host", b"a"), (b"host", b"b")),
    "host that differs from :authority": pseudo() + literal(b"host", b"b"),
    "an :authority with user info": pseudo(authority=b"me@a"),
    "CR in a value": pseudo() + literal(b"x", b"a\rb"),
    "LF in a value": pseudo() + literal(b"x", b"a\nb"),
    "NUL in a value": pseudo() + literal(b"x", b"a\x00b"),
    "a space in front of a value": pseudo() + literal(b"x", b" y"),
    "a tab behind a value": pseudo() + literal(b"x", b"y\t"),
    "a space in a name": pseudo() + literal(b"x y", b"z"),
    "a colon in a name": pseudo() + literal(b"x:y", b"z"),
    "a name of 8-bit octets": pseudo() + literal(b"x\xe9", b"z"),
    "content-length above 0 and no body": pseudo() + literal(b"content-length", b"5"),
    "content-length twice": pseudo() + block((b"content-length", b"0"), (b"content-length", b"0")),
    "content-length that differs": pseudo() + block((b"content-length", b"1"), (b"content-length", b"2")),
    "content-length that is no number": pseudo() + literal(b"content-length", b"+1"),
    "content-length of two": pseudo() + literal(b"content-length", b"1, 1"),
    ":protocol, which was not announced": block((b":method", b"CONNECT"), (b":protocol", b"websocket"))
    + block((b":scheme", b"https"), (b":path", b"/"), (b":authority", b"a")),
    "CONNECT with a :path": pseudo(b"CONNECT"),
    "CONNECT without an :authority": block((b":method", b"CONNECT")),
}
"""Requests that no server may pass on (RFC 9113 §8.1.1)."""


@pytest.mark.parametrize("name", MALFORMED)
def test_row_31_a_malformed_request_ends_its_stream_and_nothing_else(connect: Connect, name: str) -> None:
    peer = connect()
    peer.request(get(1, WAIT))
    peer.feed(headers(3, MALFORMED[name], end=True))
    assert_reset(peer, 3)
    peer.answer(1)
    assert peer.response(1).status == 200


@pytest.mark.parametrize("sizes", [[4], [6], [3, 3], [5, 1], [0]])
def test_row_31_a_body_must_be_as_long_as_its_content_length(connect: Connect, sizes: list[int]) -> None:
    peer = connect()
    peer.request(post(1, WAIT, (b"content-length", b"5")))
    for index, size in enumerate(sizes):
        peer.feed(data(1, bytes(size), end=index == len(sizes) - 1))
    assert_reset(peer, 1)
    assert peer.given_up == [(1, 0)]


def test_row_31_malformed_requests_fill_the_bucket_of_resets(connect: Connect) -> None:
    peer = connect()
    shapes = [shape for name, shape in MALFORMED.items() if "CONNECT" not in name]
    attack = (headers(number, shapes[number // 2 % len(shapes)], end=True) for number in numbers())
    assert flood(peer, attack) == RESETS
    assert_ended_for_a_flood(peer)
    assert_warned_before(peer)


BAD_TRAILERS = {
    "a second head that does not end the stream": headers(1, block((b"x", b"y"))),
    "a pseudo-field among them": headers(1, block((b":path", b"/other")), end=True),
    "a field that frames": headers(1, block((b"content-length", b"0")), end=True),
    "a field that routes": headers(1, block((b"host", b"other")), end=True),
    "a name in upper case": headers(1, block((b"X", b"y")), end=True),
    "more than a head may have": in_frames(1, block(*[(b"x", b"v" * 1000)] * 33)),
}


@pytest.mark.parametrize("name", BAD_TRAILERS)
def test_row_32_bad_trailers_end_their_stream(connect: Connect, name: str) -> None:
    peer = connect()
    request = peer.request(post(1, WAIT))
    before = list(request.fields)
    peer.feed(data(1, b"x"), BAD_TRAILERS[name])
    assert_reset(peer, 1)
    assert request.fields == before


def test_row_32_good_trailers_end_the_body_and_never_reach_the_head(connect: Connect) -> None:
    peer = connect()
    request = peer.request(post(1, WAIT))
    before = list(request.fields)
    peer.feed(data(1, b"x"), headers(1, block((b"x-forwarded-for", b"6.6.6.6")), end=True))
    assert request.fields == before
    assert peer.uploaded(1) == b"x"
    peer.answer(1)
    assert peer.response(1).whole
    assert_goes_on(peer)


def test_row_32_trailers_without_end_are_stopped_as_heads_are(connect: Connect) -> None:
    peer = connect()
    peer.request(post(1, WAIT))
    peer.feed(headers(1, b"", end=True, whole=False))
    assert flood(peer, [continuation(1, b"", whole=False)] * 20) == 9
    assert_ended_for(peer, Code.ENHANCE_YOUR_CALM)

    peer = connect()
    peer.request(headers(1, POST + stored(b"x", b"v" * 4000)))
    peer.feed(headers(1, FIRST_STORED * 40, end=True))
    assert_ended_for(peer, Code.ENHANCE_YOUR_CALM)


def test_row_33_connect_is_answered_501_and_the_connection_goes_on(connect: Connect) -> None:
    peer = connect()
    peer.feed(headers(1, block((b":method", b"CONNECT"), (b":authority", b"a:443")), end=True))
    assert_rejected(peer, 1, 501)
    peer.request(get(3))


def test_row_33_a_tunnel_that_is_not_granted_swallows_what_is_sent_through_it(connect: Connect) -> None:
    peer = connect()
    peer.feed(headers(1, block((b":method", b"CONNECT"), (b":authority", b"a:443"))), data(1, b"GET / HTTP/1.1\r\n"))
    peer.flush()
    assert_rejected(peer, 1, 501)
    peer.at(0.25)
    assert peer.reset_code(1) == Code.NO_ERROR
    peer.request(get(3))
