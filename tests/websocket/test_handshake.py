"""Requests that ask for a WebSocket: which get one, which are refused, which are served as what they are."""

from __future__ import annotations

import pytest

from keepserve.telemetry.reasons import CloseReason
from keepserve.wire.engine import Ending
from tests.http2.frames import Code, Kind, Setting, block, headers, read_settings, request_block
from tests.support.harness import Client, Receive, Scope, Send, Worker, get, hello, in_loop, post, turns
from tests.support.http2 import Http2Client
from tests.websocket.frames import text
from tests.websocket.sockets import (
    ACCEPT,
    HTTP1,
    HTTP2,
    KEY,
    Socket,
    connect_block,
    connected,
    echo,
    handshake,
    worker,
)

CONNECTION, UPGRADE = b"Connection: Upgrade", b"Upgrade: websocket"
VERSION, WITH_KEY = b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Key: " + KEY


async def asked(data: bytes, way: str = "httptools", **settings: object) -> Client:
    """A connection that has sent this, to an application that says hello to requests."""
    client = worker(way, hello, **settings).connect()
    client.send(data)
    await turns()
    return client


# HTTP/1.1 (RFC 6455 §4.2).

AS_IT_IS = {
    "no Connection": get(b"/x", UPGRADE, VERSION, WITH_KEY),
    "no Upgrade": get(b"/x", CONNECTION, VERSION, WITH_KEY),
    "another protocol": get(b"/x", CONNECTION, b"Upgrade: foo", VERSION, WITH_KEY),
    "h2c": get(b"/x", CONNECTION, b"Upgrade: h2c", VERSION, WITH_KEY),
    "a choice of protocols": get(b"/x", CONNECTION, b"Upgrade: h2c, websocket", VERSION, WITH_KEY),
    "Upgrade twice": get(b"/x", CONNECTION, UPGRADE, b"Upgrade: h2c", VERSION, WITH_KEY),
    "a POST": post(b"", CONNECTION, UPGRADE, VERSION, WITH_KEY, target=b"/x"),
    "a POST with a body": post(b"GET / HTTP/1.1", CONNECTION, UPGRADE, VERSION, WITH_KEY, target=b"/x"),
    "a GET with a body": get(b"/x", CONNECTION, UPGRADE, VERSION, WITH_KEY, b"Content-Length: 3") + b"abc",
    "HTTP/1.0": get(b"/x", CONNECTION, UPGRADE, VERSION, WITH_KEY).replace(b"HTTP/1.1", b"HTTP/1.0"),
    "a close": get(b"/x", b"Connection: Upgrade, close", UPGRADE, VERSION, WITH_KEY),
}


@pytest.mark.parametrize("way", HTTP1)
@pytest.mark.parametrize("name", AS_IT_IS)
@in_loop
async def test_anything_else_with_an_upgrade_is_served_as_what_it_is(name: str, way: str) -> None:
    client = await asked(AS_IT_IS[name], way)
    (answer,) = client.answers()
    assert (answer.status, answer.body) == (200, b"/x")
    if not client.transport.lost:
        client.transport.lose()


@pytest.mark.parametrize("way", HTTP1)
@in_loop
async def test_without_websocket_an_upgrade_to_it_is_ignored(way: str) -> None:
    client = await asked(handshake(b"/x") + get(b"/y"), way, websocket=False)
    assert [answer.body for answer in client.answers()] == [b"/x", b"/y"]
    client.transport.lose()


@pytest.mark.parametrize("way", HTTP1)
@pytest.mark.parametrize("lines", [(), (b"Sec-WebSocket-Version: 8",), (VERSION, VERSION)])
@in_loop
async def test_another_version_is_426_which_names_ours(lines: tuple[bytes, ...], way: str) -> None:
    client = await asked(get(b"/x", CONNECTION, UPGRADE, WITH_KEY, *lines), way)
    (answer,) = client.answers()
    assert (answer.status, answer.get(b"sec-websocket-version")) == (426, b"13")
    assert (answer.get(b"upgrade"), answer.closes) == (b"websocket", True)
    client.transport.lose()


BAD_KEYS: dict[str, tuple[bytes, ...]] = {
    "none": (),
    "two": (WITH_KEY, WITH_KEY),
    "15 bytes": (b"Sec-WebSocket-Key: AAECAwQFBgcICQoLDA0O",),
    "no base64": (b"Sec-WebSocket-Key: " + b"?" * 24,),
    "empty": (b"Sec-WebSocket-Key: ",),
}


@pytest.mark.parametrize("way", HTTP1)
@pytest.mark.parametrize("name", BAD_KEYS)
@in_loop
async def test_a_faulty_key_is_400(name: str, way: str) -> None:
    client = await asked(get(b"/x", CONNECTION, UPGRADE, VERSION, *BAD_KEYS[name]), way)
    (answer,) = client.answers()
    assert answer.status == 400
    assert b"Sec-WebSocket-Key" in answer.body
    assert client.connection.engine.close_reason is CloseReason.BAD_REQUEST
    client.transport.lose()


@pytest.mark.parametrize("value", [b"a, a", b"a b", b'"a"', b"a;b"])
@in_loop
async def test_a_faulty_list_of_subprotocols_is_400(value: bytes) -> None:
    client = await asked(handshake(b"/", (b"Sec-WebSocket-Protocol", value)))
    assert client.statuses == [400]
    client.transport.lose()


@pytest.mark.parametrize("way", HTTP1)
@in_loop
async def test_a_refused_websocket_leaves_the_connection_to_requests(way: str) -> None:
    async def refusing(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close"})
        else:
            await hello(scope, receive, send)

    client = worker(way, refusing).connect()
    client.send(handshake())
    await turns()
    client.send(get(b"/next"))
    await turns()
    assert client.statuses == [403, 200]
    client.transport.lose()


@pytest.mark.parametrize("way", HTTP1)
@in_loop
async def test_what_was_meant_for_a_refused_websocket_is_never_taken_for_a_request(way: str) -> None:
    """A client that does not wait for the answer could otherwise have a request served that a proxy has not seen."""
    paths: list[str] = []

    async def refusing(scope: Scope, receive: Receive, send: Send) -> None:
        paths.append(scope["path"])
        await receive()
        await turns(3)
        await send({"type": "websocket.close"})

    client = worker(way, refusing).connect()
    client.send(handshake(b"/socket"))
    await turns(1)
    client.send(get(b"/smuggled"))
    await turns(20)
    (answer,) = client.answers()
    assert (answer.status, answer.closes, client.ending) == (403, True, Ending.LINGER)
    assert paths == ["/socket"]
    client.transport.lose()


# HTTP/2 (RFC 8441).


@pytest.mark.parametrize("way", HTTP2)
@pytest.mark.parametrize("served", [True, False])
@in_loop
async def test_the_settings_say_whether_extended_connect_is_served(way: str, served: bool) -> None:
    client = Http2Client(worker(way, hello, websocket=served))
    await client.turn()
    greeting = read_settings(client.came(Kind.SETTINGS)[0].payload)
    assert ((Setting.ENABLE_CONNECT_PROTOCOL, 1) in greeting) is served
    client.transport.lose()


def _connect(*pseudo: tuple[bytes, bytes], version: bytes = b"13") -> bytes:
    return block(*pseudo, (b"sec-websocket-version", version))


WHOLE = ((b":method", b"CONNECT"), (b":protocol", b"websocket"), (b":scheme", b"https"), (b":path", b"/"))
AUTHORITY = (b":authority", b"a")

MALFORMED = {
    "no :path": _connect(*WHOLE[:3], AUTHORITY),
    "no :scheme": _connect(*WHOLE[:2], WHOLE[3], AUTHORITY),
    "no :authority": _connect(*WHOLE),
    ":protocol twice": _connect(*WHOLE, AUTHORITY, (b":protocol", b"websocket")),
    ":protocol without CONNECT": _connect((b":method", b"GET"), *WHOLE[1:], AUTHORITY),
}


@pytest.mark.parametrize("way", HTTP2)
@pytest.mark.parametrize("name", MALFORMED)
@in_loop
async def test_a_malformed_extended_connect_resets_its_stream(name: str, way: str) -> None:
    client = Http2Client(worker(way, hello))
    client.send(headers(1, MALFORMED[name]))
    await client.turn()
    assert client.reset_code(1) == Code.PROTOCOL_ERROR
    client.transport.lose()


@pytest.mark.parametrize("way", HTTP2)
@in_loop
async def test_an_extended_connect_that_ends_at_once_is_malformed(way: str) -> None:
    client = Http2Client(worker(way, hello))
    client.send(headers(1, connect_block(), end=True))
    await client.turn()
    assert client.reset_code(1) == Code.PROTOCOL_ERROR
    client.transport.lose()


@pytest.mark.parametrize("way", HTTP2)
@in_loop
async def test_another_protocol_is_501(way: str) -> None:
    client = Http2Client(worker(way, hello))
    client.send(headers(1, block((b":protocol", b"connect-udp")) + request_block(b"CONNECT", b"/")))
    await client.turn()
    assert client.response(1).status == 501
    client.transport.lose()


@pytest.mark.parametrize("way", HTTP2)
@in_loop
async def test_another_version_is_426_on_http2_too(way: str) -> None:
    client = Http2Client(worker(way, hello))
    client.send(headers(1, _connect(*WHOLE, AUTHORITY, version=b"8")))
    await client.turn()
    assert client.response(1).status == 426
    assert (b"sec-websocket-version", b"13") in client.response(1).fields
    client.transport.lose()


@pytest.mark.parametrize("way", HTTP2)
@pytest.mark.parametrize(("key", "answered"), [(KEY, True), (b"no key", False)])
@in_loop
async def test_a_key_is_not_needed_on_http2_and_answered_if_there_is_one(
    way: str, key: bytes, answered: bool
) -> None:
    """Envoy passes on what its HTTP/1.1 client has sent, and back what we answer."""
    socket = await connected(way, echo, (b"sec-websocket-key", key))
    assert socket.status == 200
    assert socket.fields.get(b"sec-websocket-accept") == (ACCEPT if answered else None)
    socket.leave()


@pytest.mark.parametrize("way", HTTP2)
@in_loop
async def test_without_websocket_an_extended_connect_is_malformed(way: str) -> None:
    client = Http2Client(worker(way, hello, websocket=False))
    client.send(headers(1, connect_block()))
    await client.turn()
    assert client.reset_code(1) == Code.PROTOCOL_ERROR
    client.transport.lose()


@pytest.mark.parametrize("way", HTTP2)
@in_loop
async def test_websockets_and_requests_share_a_connection(way: str) -> None:
    async def both(scope: Scope, receive: Receive, send: Send) -> None:
        await (echo if scope["type"] == "websocket" else hello)(scope, receive, send)

    first = Socket(worker(way, both), way)
    second = Socket(Worker(both), way, beside=first)
    http2 = first.http2
    assert http2 is not None
    http2.send(headers(5, request_block(b"GET", b"/between"), end=True))
    first.send(text("one"))
    second.send(text("two"))
    await first.turn()
    assert [frame.payload for frame in first.frames] == [b"one"]
    assert [frame.payload for frame in second.frames] == [b"two"]
    assert http2.body(5) == b"/between"
    first.leave()
