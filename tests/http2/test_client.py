"""The strict client of the suite refuses what it should: otherwise the cases about sending would show nothing."""

from __future__ import annotations

import pytest

from tests.http2.client import Client
from tests.http2.frames import (
    PREFACE,
    SERVER_SETTINGS,
    SERVER_WINDOW,
    Code,
    block,
    continuation,
    data,
    frame,
    get,
    goaway,
    headers,
    ping,
    post,
    priority,
    push_promise,
    request_block,
    rst,
    settings,
    split_frames,
    stored,
    window_update,
    wire,
)

OK = block((b":status", b"200"))
ANSWERED = headers(1, OK, end=True)
PROMISED = push_promise(1, 2, request_block())


def refusal(sent: list[bytes], received: list[bytes]) -> str:
    """Let a client send and receive, and return what it says."""
    client = Client()
    client.sends(PREFACE + b"".join(sent))
    client.settle()
    client.receives(SERVER_SETTINGS + SERVER_WINDOW)
    with pytest.raises(AssertionError) as refused:
        client.receives(b"".join(received))
    return str(refused.value)


@pytest.mark.parametrize(
    ("says", "sent", "received"),
    [
        ("nobody has defined it", [], [frame(0x42, 0, 0)]),
        ("reserved bit", [], [wire("000008 06 01 80000000 0102030405060708")]),
        ("a flag without a meaning", [], [frame(6, 3, 0, bytes(8))]),
        ("more than allowed", [get(1)], [headers(1, OK), data(1, bytes(16_385))]),
        ("belongs on stream 0", [get(1)], [frame(6, 1, 1, bytes(8))]),
        ("belongs on a stream", [], [data(0, b"x")]),
        ("has not ended", [get(1)], [headers(1, OK, whole=False), ping()]),
        ("of another stream has not", [get(1), get(3)], [headers(1, OK, whole=False), continuation(3, b"")]),
        ("no field block to continue", [get(1)], [headers(1, OK), continuation(1, b"")]),
        ("is idle", [get(1)], [headers(3, OK)]),
        ("is idle", [], [rst(1)]),
        ("is idle", [], [window_update(1, 1)]),
        ("is closed", [get(1)], [ANSWERED, data(1, b"x")]),
        ("is closed", [get(1)], [ANSWERED, rst(1)]),
        ("is closed", [get(1)], [rst(1), headers(1, OK)]),
        ("is closed", [get(1), rst(1)], [ANSWERED]),
        ("has reset the stream", [post(1)], [rst(1), window_update(1, 1)]),
        ("has reset the stream", [post(1)], [rst(1), rst(1)]),
        ("both sides", [get(1)], [ANSWERED, rst(1, Code.NO_ERROR)]),
        ("has ended the stream", [get(1)], [window_update(1, 1)]),
        ("an increment of 0", [], [window_update(0, 0)]),
        ("no response has begun", [get(1)], [data(1, b"x")]),
        ("the stream's window is 9", [settings((4, 9)), get(1)], [headers(1, OK), data(1, bytes(10))]),
        ("the stream's window is 0", [get(1), settings((4, 0))], [headers(1, OK), data(1, b"x")]),
        (
            "the connection's window is 16383",
            [settings((4, 2**20)), get(1)],
            [headers(1, OK), *[data(1, bytes(16_384))] * 4],
        ),
        ("padding that is not zero", [get(1)], [headers(1, OK), frame(0, 8, 1, b"\x01x\x01")]),
        ("more padding than payload", [get(1)], [headers(1, OK), frame(0, 8, 1, b"\x02x")]),
        ("no priorities", [get(1)], [headers(1, OK, priority=bytes(5))]),
        ("no priorities", [get(1)], [priority(1)]),
        (":status and no other", [get(1)], [headers(1, block((b"x", b"y")))]),
        (":status and no other", [get(1)], [headers(1, OK + block((b":path", b"/")))]),
        (":status and no other", [get(1)], [headers(1, OK + OK)]),
        ("behind others", [get(1)], [headers(1, block((b"x", b"y")) + OK)]),
        ("no 101", [get(1)], [headers(1, block((b":status", b"101")))]),
        ("interim response that ends", [get(1)], [headers(1, block((b":status", b"103")), end=True)]),
        ("trailers with b':status'", [get(1)], [headers(1, OK), headers(1, OK, end=True)]),
        ("do not end the stream", [get(1)], [headers(1, OK), headers(1, block((b"x", b"y")))]),
        ("name b'X'", [get(1)], [headers(1, OK + block((b"X", b"y")))]),
        ("name b'a:b'", [get(1)], [headers(1, OK + block((b"a:b", b"y")))]),
        ("value b' y'", [get(1)], [headers(1, OK + block((b"x", b" y")))]),
        ("value b'y\\nz'", [get(1)], [headers(1, OK + block((b"x", b"y\nz")))]),
        ("connection-specific b'upgrade'", [get(1)], [headers(1, OK + block((b"upgrade", b"h2c")))]),
        ("an ACK with a payload", [], [frame(4, 1, 0, bytes(6))]),
        ("multiple of six", [], [frame(4, 0, 0, bytes(5))]),
        ("SETTINGS_ENABLE_PUSH is 0", [], [settings((2, 1))]),
        ("SETTINGS_MAX_FRAME_SIZE", [], [settings((5, 16_383))]),
        ("eight octets", [], [ping(b"short")]),
        ("the last stream was 1 before", [get(1)], [goaway(1), goaway(3)]),
        ("switched push off", [settings((2, 0)), get(1)], [PROMISED]),
        ("has said GOAWAY", [get(1), goaway(0)], [PROMISED]),
        ("even numbers", [get(1)], [push_promise(1, 3, request_block())]),
        ("not greater", [get(1)], [PROMISED, PROMISED]),
        ("is closed", [get(1)], [ANSWERED, PROMISED]),
        ("not safe", [get(1)], [push_promise(1, 2, request_block(b"POST"))]),
        ("a promise with", [get(1)], [push_promise(1, 2, block((b":method", b"GET")))]),
        ("more than allowed", [settings((3, 0)), get(1)], [PROMISED, headers(2, OK)]),
    ],
)
def test_the_client_refuses(says: str, sent: list[bytes], received: list[bytes]) -> None:
    assert says in refusal(sent, received)


def test_settings_come_first() -> None:
    with pytest.raises(AssertionError, match="SETTINGS comes first"):
        Client().receives(SERVER_WINDOW)


def test_a_table_that_did_not_shrink_is_refused() -> None:
    client = Client()
    client.receives(SERVER_SETTINGS)
    client.sends(PREFACE + settings((1, 0)) + get(1) + get(3))
    client.settle()
    client.receives(headers(1, b"\x20" + OK, end=True))
    with pytest.raises(Exception, match="table size"):
        client.receives(headers(3, b"\x3f\xe1\x1f" + OK + stored(b"x", b"y"), end=True))


def test_what_was_taken_back_holds_only_when_it_was_processed() -> None:
    client = Client()
    client.receives(SERVER_SETTINGS)
    client.sends(PREFACE + get(1) + settings((4, 0)) + rst(1))
    client.receives(headers(1, OK) + data(1, bytes(1000)))
    client.settle()
    with pytest.raises(AssertionError, match="closed"):
        client.receives(data(1, b"x"))


def test_a_whole_exchange_is_recorded() -> None:
    client = Client()
    client.receives(SERVER_SETTINGS + SERVER_WINDOW)
    client.sends(PREFACE + get(1))
    hints = headers(1, block((b":status", b"103"), (b"link", b"</>")))
    client.receives(hints + headers(1, OK + block((b"x", b"y"))) + data(1, b"ab") + data(1, b"c", padding=3))
    client.receives(PROMISED + headers(1, block((b"z", b"1")), end=True) + headers(2, OK, end=True))
    response = client.streams[1].response
    assert (response.status, response.interim, response.fields) == (200, (103,), [(b"x", b"y")])
    assert (response.body, response.trailers, response.whole) == (b"abc", [(b"z", b"1")], True)
    assert client.streams[2].response.whole
    assert client.credit == {0: 1024 * 1024 - 65_535}


def test_frames_read_well() -> None:
    raw = (
        headers(1, b"abc", end=True, padding=2)
        + goaway(5, Code.STREAM_CLOSED)
        + window_update(0, 9)
        + frame(0x42, 0, 0)
    )
    frames, rest = split_frames(raw + b"\0")
    assert rest == b"\0"
    assert b"".join(map(bytes, frames)) == raw
    assert [repr(item) for item in frames] == [
        "<HEADERS 1 END_STREAM END_HEADERS PADDED 6 octets>",
        "<GOAWAY last=5 STREAM_CLOSED>",
        "<WINDOW_UPDATE 0 +9>",
        "<0x42 0 octets>",
    ]
    assert frames[2].hex == "000004 08 00 00000000 00000009"
    assert repr(split_frames(rst(1, Code.PROTOCOL_ERROR))[0][0]) == "<RST_STREAM 1 PROTOCOL_ERROR>"
