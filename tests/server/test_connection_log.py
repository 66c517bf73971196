"""What a connection tells the access log."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.harness import Receive, Scope, Send, Worker, get, in_loop, post, turns


class Log:
    """An access log that remembers."""

    def __init__(self) -> None:
        self.lines: list[tuple[Any, ...]] = []

    def log(self, *line: Any) -> None:
        self.lines.append(line)


@in_loop
async def test_each_request_is_one_line() -> None:
    log = Log()
    client = Worker(access=log).connect()
    client.send(get(b'/a%0ab?c="d"'))
    await turns()
    client.send(post(b"x" * 10, target=b"/two"))
    await turns()
    first, second = log.lines
    # The target is logged as it was sent: decoded, it could hold a line end (CVE-2020-7694).
    assert first == ("192.0.2.1:40000", "GET", b'/a%0ab?c="d"', "1.1", 200, len(b"/a\nb"), 0.0, 1)
    assert second[1:6] == ("POST", b"/two", "1.1", 200, 4)
    assert second[7] == 2


@pytest.mark.parametrize(
    ("raw", "line"),
    [
        (b"GET /x HTTP/1.1\r\n\r\n", ("GET", b"/x", "1.1", 400)),
        (b"GET /x HTTP/9.9\r\nHost: x\r\n\r\n", ("GET", b"/x", "1.1", 505)),
        (b"\x16\x03\x01", ("\x16\x03\x01", b"-", "1.1", 400)),
        (post(b"", b"Transfer-Encoding: chunked", target=b"/y"), ("POST", b"/y", "1.1", 400)),
        (b"POST /z HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nnonsense", ("POST", b"/z", "1.1", 400)),
    ],
)
@pytest.mark.parametrize("apart", [False, True])
@in_loop
async def test_a_refused_request_is_a_line_too(raw: bytes, line: tuple[Any, ...], apart: bool) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body"):
            pass

    log = Log()
    client = Worker(app, access=log).connect()
    if apart and b"\r\n\r\n" in raw:
        head, _, rest = raw.partition(b"\r\n\r\n")
        client.send(head + b"\r\n\r\n")
        if rest:
            client.send(rest)
    else:
        client.send(raw)
    await turns()
    assert [entry[1:5] for entry in log.lines] == [line]


@pytest.mark.parametrize(
    ("peername", "words"),
    [(("192.0.2.1", 40000), "192.0.2.1:40000"), (("2001:db8::1", 40000, 0, 0), "[2001:db8::1]:40000"), ("", "unix")],
)
@in_loop
async def test_the_client_is_shown_by_its_address(peername: Any, words: str) -> None:
    log = Log()
    client = Worker(access=log).connect(peername=peername)
    client.send(get())
    await turns()
    assert log.lines[0][0] == words


@in_loop
async def test_clients_that_share_a_proxys_connection_are_told_apart() -> None:
    log = Log()
    client = Worker(access=log, forwarded_allow_ips=("192.0.2.0/24",)).connect()
    for line in (b"X-Forwarded-For: 203.0.113.7", b"A: b", b"X-Forwarded-For: 203.0.113.8"):
        client.send(get(b"/", line))
        await turns()
    client.send(b"nonsense\r\n")
    await turns()
    assert [line[0] for line in log.lines] == ["203.0.113.7", "192.0.2.1:40000", "203.0.113.8", "192.0.2.1:40000"]


@in_loop
async def test_a_client_that_leaves_before_its_answer_is_a_line_too() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        if scope["path"] == "/begun":
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body", "body": b"abc", "more_body": True})
        while (await receive())["type"] != "http.disconnect":
            pass

    log = Log()
    for target in (b"/begun", b"/not"):
        client = Worker(app, access=log).connect()
        client.send(get(target))
        await turns()
        client.transport.lose()
        await turns()
    assert [(line[2], line[4], line[5]) for line in log.lines] == [(b"/begun", 200, 3), (b"/not", 499, 0)]
