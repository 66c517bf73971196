"""ASGI's WebSocket messages, in both directions, whatever carries them."""

from __future__ import annotations

import zlib
from typing import Any

import pytest

from keepserve.wire.engine import ResponseError
from tests.support.harness import Receive, Scope, Send, in_loop, turns
from tests.websocket.frames import BINARY, PING, PONG, TEXT, Frame, closing, frame, text
from tests.websocket.sockets import ACCEPT, ACCEPTING, HTTP1, WAYS, Recorder, Socket, connected, echo, ended, worker

pytestmark = pytest.mark.parametrize("way", WAYS)


# The handshake.


@in_loop
async def test_the_scope_says_what_was_asked_for(way: str) -> None:
    app = Recorder(ACCEPTING)
    socket = Socket(worker(way, app), way, b"/a%20b?c=d", (b"x-own", b"1"), (b"sec-websocket-protocol", b"x, y"))
    await socket.turn()
    scope = app.scope
    assert (scope["type"], scope["scheme"]) == ("websocket", "ws")
    assert (scope["path"], scope["raw_path"], scope["query_string"]) == ("/a b", b"/a%20b", b"c=d")
    assert scope["http_version"] == ("1.1" if way in HTTP1 else "2")
    assert scope["subprotocols"] == ["x", "y"]
    assert (b"x-own", b"1") in scope["headers"]
    assert {"websocket.http.response", "keepserve"} <= scope["extensions"].keys()
    assert not [name for name in scope["extensions"] if name.startswith("http.")]
    assert "method" not in scope
    assert (scope["client"], scope["root_path"]) == (("192.0.2.1", 40000), "")
    assert app.got == [{"type": "websocket.connect"}]
    socket.leave()


@in_loop
async def test_an_accepted_websocket_is_answered_as_its_protocol_has_it(way: str) -> None:
    socket = await connected(way, echo)
    assert socket.open
    if way in HTTP1:
        assert socket.status == 101
        assert (socket.fields[b"upgrade"], socket.fields[b"connection"]) == (b"websocket", b"Upgrade")
        assert socket.fields[b"sec-websocket-accept"] == ACCEPT
    else:
        assert socket.status == 200
        assert not {b"upgrade", b"connection", b"sec-websocket-accept"} & socket.fields.keys()
    assert b"sec-websocket-protocol" not in socket.fields
    assert b"content-length" not in socket.fields
    assert b"transfer-encoding" not in socket.fields
    socket.leave()


@in_loop
async def test_an_acceptance_may_name_a_subprotocol_and_carry_fields(way: str) -> None:
    fields = [(b"Set-Cookie", b"a=1"), (b"X-Own", b"2"), (b"Content-Length", b"5"), (b"Connection", b"close")]
    app = Recorder({"type": "websocket.accept", "subprotocol": "y", "headers": fields})
    socket = await connected(way, app, (b"sec-websocket-protocol", b"x, y"))
    assert socket.fields[b"sec-websocket-protocol"] == b"y"
    assert (socket.fields[b"set-cookie"], socket.fields[b"x-own"]) == (b"a=1", b"2")
    assert b"content-length" not in socket.fields
    assert socket.open, "Connection is the server's to say"
    socket.leave()


WRONG_ACCEPTANCES = {
    "a subprotocol that was not offered": ({"subprotocol": "z"}, "one the client offers .x, y., not 'z'"),
    "a subprotocol among the fields": ({"headers": [(b"Sec-WebSocket-Protocol", b"x")]}, "not by a field"),
    "a field that splits": ({"headers": [(b"a", b"b\r\nc: d")]}, "could split"),
    "a field that is text": ({"headers": [("a", "b")]}, "must be bytes"),
}


@pytest.mark.parametrize("name", WRONG_ACCEPTANCES)
@in_loop
async def test_an_acceptance_that_cannot_be_sent_is_an_error_and_then_500(
    way: str, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    answer, sentence = WRONG_ACCEPTANCES[name]
    app = Recorder({"type": "websocket.accept", **answer})
    socket = await connected(way, app, (b"sec-websocket-protocol", b"x, y"))
    assert isinstance(app.error, ResponseError)
    with pytest.raises(ResponseError, match=sentence):
        raise app.error
    assert socket.status == 500
    socket.leave()


@in_loop
async def test_a_refusal_is_403(way: str) -> None:
    app = Recorder({"type": "websocket.close", "code": 4000})
    socket = await connected(way, app)
    assert (socket.status, socket.body) == (403, b"The application has refused the WebSocket.\n")
    assert app.end == ended(1006)
    assert not socket.transport.is_closing(), "the connection is as good as before"
    socket.leave()


@in_loop
async def test_a_refusal_may_be_any_response(way: str) -> None:
    app = Recorder(
        {"type": "websocket.http.response.start", "status": 401, "headers": [(b"www-authenticate", b"Basic")]},
        {"type": "websocket.http.response.body", "body": b"who ", "more_body": True},
        {"type": "websocket.http.response.body", "body": b"are you?"},
    )
    socket = await connected(way, app)
    assert (socket.status, socket.body) == (401, b"who are you?")
    assert socket.fields[b"www-authenticate"] == b"Basic"
    socket.leave()


@in_loop
async def test_an_application_that_fails_before_it_accepts_is_500(way: str, caplog: pytest.LogCaptureFixture) -> None:
    async def failing(scope: Scope, receive: Receive, send: Send) -> None:
        raise ValueError("no")

    socket = await connected(way, failing)
    assert socket.status == 500
    assert "ValueError: no" in caplog.text
    socket.leave()


@in_loop
async def test_an_application_that_just_returns_is_500(way: str, caplog: pytest.LogCaptureFixture) -> None:
    async def silent(scope: Scope, receive: Receive, send: Send) -> None:
        return

    socket = await connected(way, silent)
    assert socket.status == 500
    assert "without accepting or refusing the WebSocket" in caplog.text
    socket.leave()


@in_loop
async def test_a_client_that_leaves_before_it_is_accepted_is_told(way: str) -> None:
    app = Recorder()
    socket = await connected(way, app)
    socket.transport.lose()
    await turns()
    assert app.got == [{"type": "websocket.connect"}, ended(1006)]


@in_loop
async def test_what_comes_before_the_acceptance_is_received_after_it(way: str) -> None:
    app = Recorder(ACCEPTING)
    socket = await Socket(worker(way, app), way, early=text("early")).turn()
    assert app.got[1:] == [{"type": "websocket.receive", "text": "early"}]
    socket.leave()


# Messages.


@in_loop
async def test_messages_come_and_go(way: str) -> None:
    socket = await connected(way, echo)
    socket.send(text("héllo"), frame(BINARY, b"\x00\x01"), text(""))
    await socket.turn()
    assert socket.frames == [Frame(TEXT, "héllo".encode()), Frame(BINARY, b"\x00\x01"), Frame(TEXT, b"")]
    socket.leave()


@in_loop
async def test_messages_come_byte_by_byte(way: str) -> None:
    socket = await connected(way, echo)
    for byte in text("slowly") + frame(PING, b"p"):
        socket.send(bytes([byte]))
    await socket.turn()
    assert sorted(socket.frames) == [Frame(TEXT, b"slowly"), Frame(PONG, b"p")]
    socket.leave()


@in_loop
async def test_a_message_has_one_key_for_what_it_carries(way: str) -> None:
    app = Recorder(ACCEPTING)
    socket = await connected(way, app)
    socket.send(text("a"), frame(BINARY, b"b"))
    await socket.turn()
    assert app.got[1:] == [{"type": "websocket.receive", "text": "a"}, {"type": "websocket.receive", "bytes": b"b"}]
    socket.leave()


@pytest.mark.parametrize("data", [bytearray(b"x"), memoryview(b"x"), b"x"])
@in_loop
async def test_bytes_may_be_anything_that_holds_bytes(way: str, data: Any) -> None:
    app = Recorder(ACCEPTING, {"type": "websocket.send", "bytes": data, "text": None})
    socket = await connected(way, app)
    assert socket.frames == [Frame(BINARY, b"x")]
    socket.leave()


WRONG_MESSAGES = {
    "nothing in it": ({"type": "websocket.send"}, ResponseError, "either 'text'"),
    "both in it": ({"type": "websocket.send", "text": "a", "bytes": b"b"}, ResponseError, "either 'text'"),
    "text as bytes": ({"type": "websocket.send", "text": b"a"}, ResponseError, "either 'text'"),
    "bytes as text": ({"type": "websocket.send", "bytes": "a"}, ResponseError, "either 'text'"),
    "a second acceptance": (ACCEPTING, RuntimeError, "sent 'websocket.accept'; the server expected 'websocket.send'"),
    "a response": ({"type": "http.response.start", "status": 200}, RuntimeError, "expected 'websocket.send'"),
    "an unknown type": ({"type": "websocket.ping"}, RuntimeError, "sent 'websocket.ping'"),
    "a code that may not be sent": ({"type": "websocket.close", "code": 1006}, ResponseError, "code of a close"),
    "a reason that is too long": ({"type": "websocket.close", "reason": "x" * 124}, ResponseError, "123 bytes"),
}


@pytest.mark.parametrize("name", WRONG_MESSAGES)
@in_loop
async def test_a_wrong_message_is_an_error_and_then_1011(
    way: str, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    message, kind, sentence = WRONG_MESSAGES[name]
    app = Recorder(ACCEPTING, message)
    socket = await connected(way, app)
    assert app.error is not None
    with pytest.raises(kind, match=sentence):
        raise app.error
    assert socket.frames == [closing(1011)]
    assert "The application failed on" in caplog.text
    socket.leave()


@pytest.mark.parametrize("kind", ["websocket.send", "websocket.http.response.body", "http.response.start"])
@in_loop
async def test_a_message_before_the_acceptance_is_an_error(
    way: str, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = Recorder({"type": kind, "text": "x"})
    socket = await connected(way, app)
    assert "the server expected 'websocket.accept', 'websocket.close' or" in str(app.error)
    assert socket.status == 500
    socket.leave()


@in_loop
async def test_a_message_after_the_refusal_is_an_error(way: str, caplog: pytest.LogCaptureFixture) -> None:
    app = Recorder({"type": "websocket.close"}, ACCEPTING)
    socket = await connected(way, app)
    assert "expected nothing more, since the WebSocket is refused" in str(app.error)
    assert socket.status == 403
    socket.leave()


# Compression.

OFFER = (b"sec-websocket-extensions", b"permessage-deflate; client_max_window_bits")


@in_loop
async def test_compression_is_off_by_default(way: str) -> None:
    socket = await connected(way, echo, OFFER)
    assert b"sec-websocket-extensions" not in socket.fields
    socket.leave()


@in_loop
async def test_compression_is_agreed_on_with_small_windows(way: str) -> None:
    socket = await connected(way, echo, OFFER, ws_deflate=True)
    agreed = socket.fields[b"sec-websocket-extensions"]
    assert agreed == b"permessage-deflate; server_max_window_bits=12; client_max_window_bits=12"
    squeezer = zlib.compressobj(wbits=-12)
    squeezed = (squeezer.compress(b"again " * 99) + squeezer.flush(zlib.Z_SYNC_FLUSH))[:-4]
    socket.send(frame(TEXT, squeezed, rsv=4))
    await socket.turn()
    (answer,) = socket.frames
    assert (answer.opcode, answer.rsv) == (TEXT, 4)
    assert zlib.decompressobj(wbits=-12).decompress(answer.payload + b"\x00\x00\xff\xff") == b"again " * 99
    socket.leave()


@pytest.mark.parametrize("offer", [b"x-own", b"permessage-deflate; what=1", b"permessage-deflate;;", b"=\xff="])
@in_loop
async def test_an_offer_that_cannot_be_met_is_not_taken(way: str, offer: bytes) -> None:
    socket = await connected(way, echo, (b"sec-websocket-extensions", offer), ws_deflate=True)
    assert socket.open
    assert b"sec-websocket-extensions" not in socket.fields
    socket.leave()
