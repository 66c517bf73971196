"""What a connection tells the access log."""

from __future__ import annotations

from typing import Any

import pytest

from keepserve.config.logformats import FIELDS
from keepserve.telemetry.formats import FormattedLines
from keepserve.telemetry.jsonlines import JSONLines
from tests.support.accesslog import Log
from tests.support.harness import Receive, Scope, Send, Worker, body, get, in_loop, post, start, turns


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


def form(*fields: str) -> FormattedLines:
    return FormattedLines(" ".join(f"{{{field}}}" for field in fields))


@in_loop
async def test_a_response_that_closes_its_connection_says_why() -> None:
    log = Log(form("close_reason"))
    client = Worker(access=log).connect()
    client.send(get() + get(b"/", b"Connection: close"))
    await turns()
    assert log.texts == ["-\n", "client_asked\n"]


@in_loop
async def test_the_last_response_a_connection_may_have_says_so() -> None:
    log = Log(form("connection_requests", "close_reason"))
    client = Worker(access=log, max_connection_requests=2).connect()
    client.send(get() + get())
    await turns()
    assert log.texts == ["1 -\n", "2 max_requests\n"]


@pytest.mark.parametrize(("reset", "reason"), [(False, "peer_left"), (True, "peer_reset")])
@in_loop
async def test_a_request_whose_client_leaves_says_how_it_left(reset: bool, reason: str) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await receive()

    log = Log(form("status", "close_reason"))
    client = Worker(app, access=log).connect()
    client.send(get())
    await turns()
    client.transport.lose(ConnectionResetError() if reset else None)
    await turns()
    assert log.texts == [f"499 {reason}\n"]


@in_loop
async def test_the_first_byte_is_that_of_the_head() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        worker.clock.advance(0.25)
        await send(start())
        if scope["path"] == "/paused":
            await turns(3)  # the head goes without waiting for the body
        elif scope["path"] == "/pieces":
            await send(body(b"a", more=True))
        worker.clock.advance(2.0)
        await send(body(b"b"))

    log = Log(form("path", "first_byte_ms", "duration_ms"))
    worker = Worker(app, access=log)
    for path in (b"/whole", b"/pieces", b"/paused"):
        client = worker.connect()
        client.send(get(path))
        await turns(20)
    assert log.texts == ["/whole 2250.0 2250.0\n", "/pieces 250.0 2250.0\n", "/paused 250.0 2250.0\n"]


@in_loop
async def test_a_line_has_the_whole_way_from_the_client_to_us() -> None:
    log = Log(form("client", "peer", "proxy_source", "forwarded_for", "scheme"))
    networks = ("203.0.113.0/24",)
    worker = Worker(
        access=log,
        proxy_protocol="require",
        proxy_protocol_from=("192.0.2.0/24",),
        forwarded_allow_ips=networks,
    )
    client = worker.connect()
    client.send(b"PROXY TCP4 203.0.113.7 192.0.2.80 4711 443\r\n")
    client.send(get(b"/", b"X-Forwarded-For: 6.6.6.6, 198.51.100.4", b"X-Forwarded-Proto: https"))
    client.send(get())
    await turns()
    source = "203.0.113.7:4711"
    assert log.texts == [
        f"198.51.100.4 192.0.2.1:40000 {source} 6.6.6.6, 198.51.100.4 https\n",
        f"{source} 192.0.2.1:40000 {source} - http\n",
    ]


@in_loop
async def test_connections_are_told_apart_by_their_numbers() -> None:
    log = Log(form("connection_id", "connection_requests"))
    worker = Worker(access=log)
    for client in (worker.connect(), worker.connect()):
        client.send(get())
        await turns()
        client.send(get())
        await turns()
    assert log.texts == ["1 1\n", "1 2\n", "2 1\n", "2 2\n"]


@in_loop
async def test_a_refused_request_is_shown_in_every_format() -> None:
    for some in (form(*FIELDS), JSONLines()):
        log = Log(some)
        client = Worker(access=log).connect()
        client.send(b"GET /x HTTP/9.9\r\nHost: x\r\n\r\n")
        await turns()
        assert len(log.texts) == 1
        assert "505" in log.texts[0]
