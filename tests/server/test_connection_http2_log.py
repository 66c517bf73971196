"""What an HTTP/2 connection tells the access log, and what a trusted proxy tells of each request's client."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.http2.frames import data, get, headers, post, request_block, rst, settings
from tests.support.accesslog import Log
from tests.support.applications import Slow
from tests.support.harness import Receive, Scope, Send, Worker, answer, body, in_loop
from tests.support.http2 import Http2Client


@in_loop
async def test_each_request_is_a_line() -> None:
    log = Log()
    client = Http2Client(Worker(access=log))
    client.send(get(1, b"/a%0ab?c"), post(3, b"/two"), data(3, b"x", end=True))
    await client.turn()
    assert log.lines == [
        ("192.0.2.1:40000", "GET", b"/a%0ab?c", "2", 200, len(b"/a\nb"), 0.0, 2),
        ("192.0.2.1:40000", "POST", b"/two", "2", 200, 4, 0.0, 2),
    ]


@in_loop
async def test_a_line_has_the_time_its_own_request_took() -> None:
    app, log = Slow(), Log()
    worker = Worker(app, access=log)
    client = Http2Client(worker)
    client.send(get(1, b"/1"), get(3, b"/3"))
    await client.turn()
    for path in ("/3", "/1"):
        worker.clock.advance(1.5)
        app.open(path)
        await client.turn()
    assert [(line[2], line[6]) for line in log.lines] == [(b"/3", 1.5), (b"/1", 3.0)]


@pytest.mark.parametrize(
    ("block", "line"),
    [
        (request_block(b"BREW", b"/pot"), ("BREW", b"/pot", "2", 501)),
        (request_block(b"GET", b"/x", (b"large", b"x" * 40_000)), ("GET", b"/x", "2", 431)),
        (request_block(b"POST", b"/y", (b"content-length", b"1001")), ("POST", b"/y", "2", 413)),
        (request_block(b"POST", b"/z", (b"expect", b"a miracle")), ("POST", b"/z", "2", 417)),
    ],
)
@in_loop
async def test_a_request_the_server_refuses_is_a_line_too(block: bytes, line: tuple[Any, ...]) -> None:
    log = Log()
    client = Http2Client(Worker(access=log, limit_request_body=1000))
    if len(block) > 16_384:
        pieces = [block[at : at + 16_384] for at in range(0, len(block), 16_384)]
        client.send(headers(1, pieces[0], whole=False))
        for piece in pieces[1:-1]:
            client.send(b"".join([len(piece).to_bytes(3, "big"), b"\x09\x00", (1).to_bytes(4, "big"), piece]))
        client.send(b"".join([len(pieces[-1]).to_bytes(3, "big"), b"\x09\x04", (1).to_bytes(4, "big"), pieces[-1]]))
    else:
        client.send(headers(1, block))
    await client.turn()
    assert [entry[1:5] for entry in log.lines] == [line]
    assert client.response(1).status == line[3]


@in_loop
async def test_clients_that_leave_are_lines_too() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        if scope["path"] == "/begun":
            await send({"type": "http.response.start", "status": 200})
            await send(body(b"abc", more=True))
        while (await receive())["type"] != "http.disconnect":
            pass

    log = Log()
    client = Http2Client(Worker(app, access=log))
    client.send(*(get(number, path) for number, path in ((1, b"/begun"), (3, b"/not"), (5, b"/begun"), (7, b"/not"))))
    await client.turn()
    client.send(rst(1), rst(3), get(9, b"/never"), rst(9))
    await client.turn()
    client.transport.lose()
    await client.turn()
    assert [line[2:6] for line in log.lines] == [
        (b"/begun", "2", 200, 3),
        (b"/not", "2", 499, 0),
        (b"/never", "2", 499, 0),
        (b"/begun", "2", 200, 3),
        (b"/not", "2", 499, 0),
    ]


@in_loop
async def test_an_upload_that_is_too_slow_is_a_line_with_its_answer() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    log = Log()
    worker = Worker(app, access=log)
    client = Http2Client(worker)
    client.send(post(1, b"/slow"))
    await client.turn()
    worker.live(31.0)
    await client.turn()
    assert client.response(1).status == 408
    assert [line[1:5] for line in log.lines] == [("POST", b"/slow", "2", 408)]


@in_loop
async def test_clients_that_share_a_proxys_connection_are_told_apart() -> None:
    clients: dict[str, tuple[Any, str]] = {}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        clients[scope["path"]] = (scope["client"], scope["scheme"])
        await asyncio.sleep(0)
        await answer(send)

    log = Log()
    client = Http2Client(Worker(app, access=log, forwarded_allow_ips=("192.0.2.0/24",)))
    client.send(
        get(1, b"/1", (b"x-forwarded-for", b"203.0.113.7"), (b"x-forwarded-proto", b"https")),
        get(3, b"/3"),
        get(5, b"/5", (b"x-forwarded-for", b"203.0.113.8")),
    )
    await client.turn()
    assert clients == {
        "/1": (("203.0.113.7", 0), "https"),
        "/3": (("192.0.2.1", 40000), "http"),
        "/5": (("203.0.113.8", 0), "http"),
    }
    assert [line[0] for line in log.lines] == ["203.0.113.7", "192.0.2.1:40000", "203.0.113.8"]


@in_loop
async def test_a_stranger_may_say_nothing_about_its_address() -> None:
    """L8."""
    seen: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["client"])
        await answer(send)

    client = Http2Client(Worker(app))
    client.send(settings(), get(1, b"/", (b"x-forwarded-for", b"203.0.113.7")))
    await client.turn()
    assert seen == [("192.0.2.1", 40000)]
