"""Clients that say they are somebody else: each row of the table over HTTP/1.1, both parsers of it, and HTTP/2.

A row is: whom the server trusts, what the fields say, and what the application is told. The peer is 192.0.2.1.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.http2.frames import get as get2
from tests.support.accesslog import Log
from tests.support.applications import Seen
from tests.support.harness import Scope, Worker, in_loop, turns
from tests.support.harness import get as get1
from tests.support.http2 import Http2Client

PEER = ("192.0.2.1", 40000)
SERVER = ("192.0.2.2", 80)
BY_PROXY: dict[str, Any] = {"forwarded_allow_ips": ("192.0.2.0/24", "10.0.0.0/8")}
STANDARD: dict[str, Any] = BY_PROXY | {"forwarded_header": "forwarded"}
WITH_HOST: dict[str, Any] = BY_PROXY | {"forwarded_host": True}

XFF, PROTO, HOST, PORT = b"X-Forwarded-For", b"X-Forwarded-Proto", b"X-Forwarded-Host", b"X-Forwarded-Port"
Lines = list[tuple[bytes, bytes]]


@dataclass
class Row:
    """What is sent, and what the application must see."""

    settings: dict[str, Any]
    lines: Lines
    client: tuple[str, int] = PEER
    scheme: str = "http"
    host: bytes = b"x"
    server: tuple[str, int] = SERVER
    dropped: set[bytes] = field(default_factory=set)


ROWS = {
    # Row 32: X-Forwarded-For.
    "by default nobody is believed": Row({}, [(XFF, b"1.1.1.1"), (PROTO, b"https"), (b"Forwarded", b"for=1.1.1.1")]),
    "somebody else is trusted": Row({"forwarded_allow_ips": ("10.0.0.0/8",)}, [(XFF, b"1.1.1.1"), (PROTO, b"https")]),
    "the local machine is no exception": Row({"forwarded_allow_ips": ("unix",)}, [(XFF, b"1.1.1.1")]),
    "switched off": Row(BY_PROXY | {"proxy_headers": False}, [(XFF, b"1.1.1.1"), (PROTO, b"https")]),
    "a trusted proxy": Row(BY_PROXY, [(XFF, b"203.0.113.7"), (PROTO, b"https")], ("203.0.113.7", 0), "https"),
    "with a port": Row(BY_PROXY, [(XFF, b"203.0.113.7:4711")], ("203.0.113.7", 4711)),
    "IPv6": Row(BY_PROXY, [(XFF, b"2001:db8::7")], ("2001:db8::7", 0)),
    "IPv6 with a port": Row(BY_PROXY, [(XFF, b"[2001:db8::7]:4711")], ("2001:db8::7", 4711)),
    "IPv4 in IPv6": Row(BY_PROXY, [(XFF, b"1.1.1.1, ::ffff:203.0.113.7")], ("203.0.113.7", 0)),
    "the client wrote the left end": Row(BY_PROXY, [(XFF, b"1.1.1.1, 203.0.113.7")], ("203.0.113.7", 0)),
    "the client claims to be a trusted one": Row(BY_PROXY, [(XFF, b"10.0.0.1, 203.0.113.7")], ("203.0.113.7", 0)),
    "two proxies": Row(BY_PROXY, [(XFF, b"1.1.1.1, 203.0.113.7, 10.0.0.5")], ("203.0.113.7", 0)),
    "a field of the client's and one of the proxy's": Row(
        BY_PROXY, [(XFF, b"1.1.1.1"), (b"A", b"b"), (XFF, b"203.0.113.7")], ("203.0.113.7", 0)
    ),
    "garbage": Row(BY_PROXY, [(XFF, b"<script>")]),
    "garbage in front": Row(BY_PROXY, [(XFF, b"\xff\xfe, 203.0.113.7")], ("203.0.113.7", 0)),
    "garbage from a trusted proxy": Row(BY_PROXY, [(XFF, b"1.1.1.1, unknown, 10.0.0.5")], ("10.0.0.5", 0)),
    "an empty list": Row(BY_PROXY, [(XFF, b"")]),
    "only the scheme": Row(BY_PROXY, [(PROTO, b"https")], scheme="https"),
    "the client's scheme in front": Row(BY_PROXY, [(PROTO, b"http, https")], scheme="https"),
    "a scheme that is none": Row(BY_PROXY, [(PROTO, b"javascript")]),
    # One family only: a proxy that writes one passes the other on.
    "Forwarded is not read beside X-Forwarded": Row(
        BY_PROXY, [(b"Forwarded", b"for=1.1.1.1;proto=https"), (XFF, b"203.0.113.7")], ("203.0.113.7", 0)
    ),
    "Forwarded alone is not read either": Row(BY_PROXY, [(b"Forwarded", b"for=1.1.1.1;proto=https;host=evil")]),
    "X-Forwarded is not read beside Forwarded": Row(
        STANDARD,
        [(XFF, b"1.1.1.1"), (PROTO, b"https"), (b"Forwarded", b"for=203.0.113.7;proto=http")],
        ("203.0.113.7", 0),
    ),
    "Forwarded": Row(
        STANDARD,
        [(b"Forwarded", b'for=1.1.1.1;proto=http, for="203.0.113.7:4711";proto=https;host=evil')],
        ("203.0.113.7", 4711),
        "https",
    ),
    "Forwarded with an open quote in front": Row(
        STANDARD, [(b"Forwarded", b'for="1.1.1.1, for="[2001:db8::7]"')], ("2001:db8::7", 0)
    ),
    # Hosts.
    "a host is not believed by itself": Row(
        BY_PROXY, [(HOST, b"evil"), (PORT, b"81"), (PROTO, b"https")], scheme="https"
    ),
    "a host on demand": Row(
        WITH_HOST,
        [(HOST, b"a.example"), (PROTO, b"https")],
        scheme="https",
        host=b"a.example",
        server=("a.example", 443),
    ),
    "host and port on demand": Row(
        WITH_HOST, [(HOST, b"a.example"), (PORT, b"8080")], host=b"a.example:8080", server=("a.example", 8080)
    ),
    "a port alone means nothing": Row(WITH_HOST, [(PORT, b"8080")]),
    "a host from somebody else": Row({"forwarded_host": True}, [(HOST, b"evil")]),
    "a host that is none": Row(WITH_HOST, [(HOST, b"evil/path?")]),
    "a host by Forwarded": Row(
        STANDARD | {"forwarded_host": True},
        [(b"Forwarded", b'for=203.0.113.7;host="a.example:81";proto=https')],
        ("203.0.113.7", 0),
        "https",
        b"a.example:81",
        ("a.example", 81),
    ),
    # Row 33: names with underscores.
    "X_Forwarded_For of a client": Row({}, [(b"X_Forwarded_For", b"1.1.1.1")], dropped={b"x_forwarded_for"}),
    "X_Forwarded_For of a proxy": Row(
        BY_PROXY,
        [(b"X_Forwarded_For", b"1.1.1.1"), (XFF, b"203.0.113.7")],
        ("203.0.113.7", 0),
        dropped={b"x_forwarded_for"},
    ),
    "others of the family, mixed": Row(
        {},
        [
            (b"X-Forwarded_For", b"1.1.1.1"),
            (b"x_forwarded-proto", b"https"),
            (b"X_FORWARDED_HOST", b"evil"),
            (b"X_Real_IP", b"1.1.1.1"),
            (b"X_Forwarded_Prefix", b"/evil"),
            (b"X_Request_ID", b"7"),
        ],
        dropped={b"x-forwarded_for", b"x_forwarded-proto", b"x_forwarded_host", b"x_real_ip", b"x_forwarded_prefix"},
    ),
}


def judge(row: Row, scope: Scope) -> None:
    """The application is told what the row says, and all fields that are not to be dropped are there as they came."""
    assert (tuple(scope["client"]), scope["scheme"], tuple(scope["server"])) == (row.client, row.scheme, row.server)
    names = [(name, value) for name, value in scope["headers"] if name != b"host"]
    assert names == [(name.lower(), value) for name, value in row.lines if name.lower() not in row.dropped]
    assert [value for name, value in scope["headers"] if name == b"host"] == [row.host]


@pytest.mark.parametrize("parser", ["httptools", "h11"])
@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
@in_loop
async def test_over_http1(row: Row, parser: str) -> None:
    seen = Seen()
    client = Worker(seen, http1=parser, **row.settings).connect()
    request = get1(b"/", *(name + b": " + value for name, value in row.lines))
    for _ in range(2):  # the second time fields are known
        client.send(request)
        await turns()
        judge(row, seen.scopes[-1])
    assert client.statuses == [200, 200]


@pytest.mark.parametrize("engine", ["native", "h2"])
@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
@in_loop
async def test_over_http2(row: Row, engine: str) -> None:
    seen = Seen()
    client = Http2Client(Worker(seen, http2=engine, **row.settings))
    lines = [(name.lower(), value) for name, value in row.lines]
    for stream in (1, 3):
        client.send(get2(stream, b"/", *lines))
        await client.turn()
        assert client.response(stream).status == 200
        scope = seen.scopes[-1]
        if row.host == b"x":  # what the tests' client asks for
            row.host = next(value for name, value in scope["headers"] if name == b"host")
        judge(row, scope)


@in_loop
async def test_a_body_is_read_though_a_field_is_dropped() -> None:
    seen = Seen()
    client = Worker(seen).connect()
    client.send(b"POST / HTTP/1.1\r\nHost: x\r\nX_Forwarded_For: 1.1.1.1\r\nContent-Length: 2\r\n\r\nab" + get1())
    await turns()
    assert client.statuses == [200, 200]
    assert seen.scopes[0]["headers"] == [(b"host", b"x"), (b"content-length", b"2")]


@in_loop
async def test_two_fields_that_are_dropped_are_no_duplicates() -> None:
    seen = Seen()
    client = Worker(seen).connect()
    client.send(get1(b"/", b"X_Forwarded_For: 1.1.1.1", b"X_Forwarded_Proto: https"))
    await turns()
    assert seen.scopes[0]["headers"] == [(b"host", b"x")]


@in_loop
async def test_the_log_shows_a_port_if_the_proxy_told_it() -> None:
    log = Log()
    client = Worker(access=log, **BY_PROXY).connect()
    for value in (b"203.0.113.7:4711", b"[2001:db8::7]:4711", b"2001:db8::7"):
        client.send(get1(b"/", b"X-Forwarded-For: " + value))
        await turns()
    assert [line[0] for line in log.lines] == ["203.0.113.7:4711", "[2001:db8::7]:4711", "2001:db8::7"]


@pytest.mark.parametrize("sock", [None, socket.AF_INET])
@in_loop
async def test_a_tcp_peer_whose_address_is_gone_is_not_taken_for_one_on_a_unix_socket(sock: int | None) -> None:
    """It has sent its request and left: what it says of itself would be logged, and acted upon."""
    seen = Seen()
    with socket.socket(sock or socket.AF_INET) as real:
        facts: dict[str, Any] = {"peername": None, "sock": real if sock is not None else None}
        client = Worker(seen, forwarded_allow_ips=("unix",)).connect(**facts)
        client.send(get1(b"/", b"X-Forwarded-For: 1.1.1.1"))
        await turns()
        client.transport.lose()
    assert seen.scopes[0]["client"] is None


@in_loop
async def test_a_peer_on_a_unix_socket_is_told_by_the_socket() -> None:
    seen = Seen()
    with socket.socket(socket.AF_UNIX) as real:
        client = Worker(seen, forwarded_allow_ips=("unix",)).connect(peername="", sockname="", sock=real)
        client.send(get1(b"/", b"X-Forwarded-For: 203.0.113.7"))
        await turns()
        client.transport.lose()
    assert seen.scopes[0]["client"] == ("203.0.113.7", 0)
