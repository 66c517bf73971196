"""HTTP/2 between a fake socket and a fake clock: how it is detected, what runs beside what, what is written when."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from keepserve.http2.incoming import SLICE
from keepserve.wire.engine import Ending
from tests.http2.frames import (
    PREFACE,
    Code,
    Kind,
    get,
    headers,
    request_block,
    settings,
    window_update,
)
from tests.support.harness import Client, Receive, Scope, Send, Worker, answer, in_loop, turns
from tests.support.harness import get as get1
from tests.support.http2 import Http2Client, echo
from tests.support.transport import FakeTransport

OPENING = PREFACE + settings() + settings(ack=True)


# Which protocol it is.


@in_loop
async def test_the_preface_changes_a_connection_to_http2() -> None:
    client = Http2Client(Worker(echo))
    client.send(get(1, b"/x"))
    await client.turn()
    assert client.body(1) == b"2 GET /x "
    first, second = client.came(Kind.SETTINGS)
    assert not first.flags, "the server's own settings come first"
    assert second.flags


@in_loop
async def test_the_preface_may_come_in_two_pieces_cut_anywhere() -> None:
    worker = Worker(echo)
    whole = OPENING + get(1, b"/x")
    for cut in range(1, len(whole)):
        client = Http2Client(worker, greeted=False)
        client.send(whole[:cut])
        await turns(3)
        client.send(whole[cut:])
        await client.turn(6)
        assert client.body(1) == b"2 GET /x ", f"cut at {cut}"
        client.transport.lose()


@in_loop
async def test_the_preface_may_come_byte_by_byte() -> None:
    client = Http2Client(Worker(echo), greeted=False)
    for byte in OPENING + get(1, b"/x"):
        client.send(bytes([byte]))
    await client.turn()
    assert client.body(1) == b"2 GET /x "


@pytest.mark.parametrize("method", [b"POST", b"PUT", b"PATCH", b"PROPFIND"])
@in_loop
async def test_methods_that_begin_like_the_preface_are_http11(method: bytes) -> None:
    worker = Worker(echo)
    whole = method + b" /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
    for cut in range(len(whole)):
        client = worker.connect()
        for piece in (whole[:cut], whole[cut:]):
            if piece:
                client.send(piece)
        await turns(6)
        (got,) = client.answers()
        assert (got.status, got.body) == (200, b"1.1 %b /x abc" % method), f"cut at {cut}"
        client.transport.lose()


@in_loop
async def test_both_protocols_live_on_one_listener() -> None:
    worker = Worker(echo)
    old, new = worker.connect(), Http2Client(worker)
    for number in (1, 3, 5):
        old.send(get1(b"/old"))
        new.send(get(number, b"/new"))
        await new.turn()
        assert new.body(number) == b"2 GET /new "
    assert [got.body for got in old.answers()] == [b"1.1 GET /old "] * 3


@pytest.mark.parametrize("options", [{"http2": "off"}, {"h2c": False}])
@pytest.mark.parametrize("bytewise", [False, True])
@in_loop
async def test_where_it_is_switched_off_the_preface_is_a_version_we_do_not_speak(
    options: dict[str, Any], bytewise: bool
) -> None:
    client = Worker(echo, **options).connect()
    for piece in [bytes([byte]) for byte in OPENING] if bytewise else [OPENING]:
        if client.ending == Ending.OPEN:
            client.send(piece)
    await turns()
    assert client.statuses == [505]
    assert client.transport.events == ["eof"]


@in_loop
async def test_a_connection_that_has_spoken_http11_stays_with_it() -> None:
    client = Worker(echo).connect()
    client.send(get1(b"/x"))
    await turns()
    client.send(OPENING)
    await turns()
    assert client.statuses == [200, 505]


@in_loop
async def test_a_preface_that_goes_on_otherwise_is_refused_in_http2() -> None:
    client = Http2Client(Worker(echo), greeted=False)
    client.client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\r")
    await client.turn()
    assert client.goaways == [(0, Code.PROTOCOL_ERROR)]
    assert client.transport.events == ["eof"]


@pytest.mark.parametrize("upgrade", [b"h2c", b"H2C", b"h2c, websocket"])
@in_loop
async def test_an_upgrade_to_h2c_is_never_honoured(upgrade: bytes) -> None:
    """The request is served as what it is (RFC 9113 §3.1 has no Upgrade any more)."""
    client = Worker(echo).connect()
    lines = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: " + upgrade, b"HTTP2-Settings: AAMAAABkAAQAAP__")
    client.send(get1(b"/x", *lines))
    await turns()
    (got,) = client.answers()
    assert (got.status, got.body) == (200, b"1.1 GET /x ")
    assert got.get(b"upgrade") is None
    client.send(get1(b"/y"))
    await turns()
    assert client.answers()[1].body == b"1.1 GET /y "


@in_loop
async def test_the_body_of_a_request_with_an_upgrade_is_a_body() -> None:
    """L10: not even when it looks like the beginning of what was asked for."""
    client = Worker(echo).connect()
    length = b"Content-Length: %d" % len(OPENING)
    client.send(
        b"POST /x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n" + length + b"\r\n\r\n" + OPENING
    )
    await turns()
    (got,) = client.answers()
    assert (got.status, got.body) == (200, b"1.1 POST /x " + OPENING)


@pytest.mark.parametrize(("agreed", "speaks"), [("h2", True), ("http/1.1", False)])
@in_loop
async def test_tls_says_which_protocol_it_is(agreed: str, speaks: bool) -> None:
    """By ALPN; with HTTP/1.1 agreed on, the preface is no way around it."""

    class Tls:
        def selected_alpn_protocol(self) -> str:
            return agreed

    transport = FakeTransport()
    transport._extra["ssl_object"] = Tls()
    client = Client(Worker(echo), transport, tls=True)
    assert bool(transport.sent) == speaks, "a server's settings need not wait for the client's"
    client.send(OPENING)
    await turns()
    assert transport.sent.startswith(b"HTTP/1.1 505") == (not speaks)


# What the application sees.


@in_loop
async def test_the_scope_tells_of_http2() -> None:
    scopes: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(scope)
        await answer(send)

    worker = Worker(app, root_path="/app")
    client = Http2Client(worker)
    client.send(headers(1, request_block(b"GET", b"/a%20b?c=d", (b"x", b"y"), authority=b"host:81"), end=True))
    await client.turn()
    Http2Client(worker, own_settings=[(2, 0)]).send(get(1))
    await turns()
    first, second = scopes
    assert first["http_version"] == "2"
    assert (first["scheme"], first["method"], first["query_string"]) == ("http", "GET", b"c=d")
    assert (first["path"], first["raw_path"]) == ("/app/a b", b"/app/a%20b")
    assert first["headers"] == [(b"host", b"host:81"), (b"x", b"y")]
    assert (first["client"], first["server"]) == (("192.0.2.1", 40000), ("192.0.2.2", 80))
    assert {"http.response.trailers", "http.response.push", "http.response.early_hint"} <= first["extensions"].keys()
    assert "http.response.push" not in second["extensions"]


@in_loop
async def test_a_pushed_response_is_made_by_the_application() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/page":
            headers = [(b"accept", b"text/css")]
            await send({"type": "http.response.push", "path": "/style", "headers": headers})
        await answer(send, scope["path"].encode() + dict(scope["headers"]).get(b"accept", b""))

    client = Http2Client(Worker(app))
    client.send(get(1, b"/page"))
    await client.turn()
    assert client.body(1) == b"/page"
    assert client.body(2) == b"/styletext/css"
    promised = [frame.stream for frame in client.peer.frames].index(2)
    assert client.peer.frames.index(client.came(Kind.PUSH_PROMISE)[0]) < promised


# What is written when.


@in_loop
async def test_one_read_makes_one_write() -> None:
    client = Http2Client(Worker())
    await client.turn()
    before = len(client.transport.writes)
    client.send(*(get(number, b"/%d" % number) for number in range(1, 101, 2)))
    await client.turn()
    assert len(client.transport.writes) == before + 1
    assert client.whole(*range(1, 101, 2))


@in_loop
async def test_the_greeting_and_the_first_answers_are_one_write_as_well() -> None:
    client = Http2Client(Worker(), greeted=False)
    client.send(OPENING, get(1), get(3))
    await client.turn()
    assert len(client.transport.writes) == 1
    assert client.whole(1, 3)


@in_loop
async def test_answers_of_one_turn_are_one_write() -> None:
    gate = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await gate.wait()
        await answer(send, b"x")

    client = Http2Client(Worker(app))
    client.send(*(get(number) for number in range(1, 41, 2)))
    await client.turn()
    before = len(client.transport.writes)
    gate.set()
    await client.turn()
    assert len(client.transport.writes) == before + 1
    assert client.whole(*range(1, 41, 2))


@in_loop
async def test_acknowledgements_are_written_though_nothing_else_is() -> None:
    client = Http2Client(Worker())
    client.send(settings((4, 100)))
    await client.turn()
    assert [frame.flags for frame in client.came(Kind.SETTINGS)] == [0, 1, 1]


@in_loop
async def test_a_large_download_is_written_in_turns_with_others() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"x" * (2_000_000 if scope["path"] == "/large" else 10))

    client = Http2Client(Worker(app), own_settings=[(4, 10_000_000)])
    client.send(window_update(0, 10_000_000), get(1, b"/large"))
    await turns(3)
    client.send(get(3, b"/small"))
    await turns(3)
    client.look()
    assert client.whole(3)
    assert len(client.body(1)) < 1_000_000
    await client.turn(100)
    assert len(client.body(1)) == 2_000_000
    assert max(map(len, client.transport.writes)) < 100_000


@in_loop
async def test_a_burst_is_served_in_slices_between_which_others_have_their_turn() -> None:
    seen: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["path"])
        await answer(send)

    worker = Worker(app, http2_max_streams=1000)
    client, other = Http2Client(worker), worker.connect()
    await turns()
    before = len(client.transport.writes)
    client.send(*(get(number, b"/burst") for number in range(1, 1001, 2)))
    assert len(seen) <= SLICE / 2
    assert not client.transport.reading, "what has been read is enough for now"
    other.send(get1(b"/other"))
    await client.turn(20)
    assert len(seen) == 501
    assert seen.index("/other") < 400
    assert client.whole(*range(1, 1001, 2))
    assert client.transport.events == ["pause", "resume"]
    assert 500 * 2 / SLICE <= len(client.transport.writes) - before <= 10
