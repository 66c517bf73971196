"""Cases of RFC 9113 §6.1 to §6.4, §6.6 and §6.7: DATA, HEADERS, PRIORITY, RST_STREAM, PUSH_PROMISE, PING."""

from __future__ import annotations

from tests.http2.case import Do, Got, Part, case
from tests.http2.frames import (
    Code,
    data,
    get,
    ping,
    post,
    push_promise,
    rst,
    settings,
)

WAIT = b"/wait"
PROTOCOL_ERROR_0 = "000008 07 00 00000000 00000000 00000001"
PROTOCOL_ERROR_1 = "000008 07 00 00000000 00000001 00000001"
SIZE_ERROR_0 = "000008 07 00 00000000 00000000 00000006"
SIZE_ERROR_1 = "000008 07 00 00000000 00000001 00000006"
"""GOAWAY, with the last stream in the name."""


def _data() -> None:
    case("DATA on stream 0", "6.1-stream-zero 6.1-on-stream", ["000001 00 00 00000000 78"], [PROTOCOL_ERROR_0])
    case(
        "DATA on stream 0 while another is open",
        "6.1-stream-zero",
        [post(1), "000001 00 01 00000000 78", data(1, b"x", end=True)],
        [PROTOCOL_ERROR_1],
        begun=[1],
    )
    case(
        "padding of DATA is no part of the body",
        "6.1-padding-length",
        [
            post(1),
            "000005 00 08 00000001 03 78 000000",  # one octet between
            "000002 00 08 00000001 00 79",  # the octet that counts nothing
            "000003 00 08 00000001 02 0000",  # nothing but padding
            data(1, b"z", end=True, padding=255),
        ],
        served=[Got(1, b"POST", b"/", b"xyz")],
    )
    for name, frame in {
        "as long as the payload": "000001 00 08 00000001 01",
        "as long as the payload, and there is data": "000004 00 08 00000001 04 787878",
        "longer than the payload": "000004 00 09 00000001 ff 787878",
    }.items():
        case(
            f"padding of DATA {name}",
            "6.1-padding-length",
            [post(1), frame, get(3)],
            [PROTOCOL_ERROR_1],
            begun=[1],
        )
    case(
        "a body in many pieces, some empty",
        "6.1-on-stream",
        [
            post(1),
            data(1, b"a"),
            data(1),
            data(1, b"bc"),
            data(1),
            post(3),
            data(3, b"d", end=True),
            data(1, end=True),
        ],
        served=[Got(1, b"POST", b"/", b"abc"), Got(3, b"POST", b"/", b"d")],
    )


def _headers() -> None:
    case(
        "HEADERS on stream 0",
        "6.2-stream-zero 6.2-on-stream",
        ["000006 01 05 00000000 82 87 84 41 01 61"],
        [PROTOCOL_ERROR_0],
    )
    case(
        "HEADERS with padding, with a priority part, with both",
        "6.2-padding-length 6.2-priority",
        [
            "00000a 01 0d 00000001 03 82 87 84 41 01 61 000000",
            "00000b 01 25 00000003 80000001 ff 82 87 84 41 01 61",
            "00000f 01 2d 00000005 03 00000003 00 82 87 84 41 01 61 000000",
            "000007 01 0d 00000007 00 82 87 84 41 01 61",
            "000003 01 09 00000009 02 0000",  # the block begins in the CONTINUATION
            "000006 09 04 00000009 82 87 84 41 01 61",
        ],
        served=[1, 3, 5, 7, 9],
    )
    for name, frame in {
        "as long as the payload": "000001 01 0d 00000001 01",
        "as long as the payload, and there is a block": "000007 01 0d 00000001 07 82 87 84 41 01 61",
        "longer than the payload": "000007 01 0d 00000001 ff 82 87 84 41 01 61",
        "as long as the block and the priority part": "00000c 01 2d 00000001 0c 00000000 0f 82 87 84 41 01 61",
    }.items():
        case(f"padding of HEADERS {name}", "6.2-padding-length", [frame, get(3)], [PROTOCOL_ERROR_1])
    case(
        "END_STREAM stands on HEADERS that CONTINUATION follows",
        "6.2-continued",
        ["000003 01 01 00000001 82 87 84", "000003 09 04 00000001 41 01 61", get(3)],
        served=[1, 3],
    )


def _priority() -> None:
    case("PRIORITY on stream 0", "6.3-stream-zero", ["000005 02 00 00000000 00000001 0f", get(1)], [PROTOCOL_ERROR_0])
    for size, payload in {0: "", 4: "00000000", 6: "00000000 0f00"}.items():
        case(
            f"PRIORITY of {size} octets on an open stream",
            "6.3-length",
            [post(1, WAIT), f"{size:06x} 02 00 00000001 {payload}", get(3)],
            ["000004 03 00 00000001 00000006"],
            served=[3],
            begun=[1],
        )
    # A stream error is told by RST_STREAM, which must not be sent on an idle stream (§6.4), nor on one that is
    # closed (§5.1): what is left is the connection error any stream error may be treated as (§5.4.1).
    case(
        "PRIORITY of 4 octets on an idle stream",
        "6.3-length 6.4-idle-never",
        ["000004 02 00 00000001 00000000", get(1)],
        [SIZE_ERROR_0],
        or_code=Code.PROTOCOL_ERROR,
    )
    case(
        "PRIORITY of 4 octets on a closed stream",
        "6.3-length 5.1-closed-silent",
        [get(1), Do.NEXT, "000004 02 00 00000001 00000000", get(3)],
        [SIZE_ERROR_1],
        served=[1],
        or_code=Code.PROTOCOL_ERROR,
    )
    case(
        "PRIORITY of 4 octets on a stream that was reset for it",
        "6.3-length 5.1-closed-silent 5.1-reset-discards",
        [get(1, WAIT), *["000004 02 00 00000001 00000000"] * 3, get(3)],
        ["000004 03 00 00000001 00000006"],
        served=[Got(1, path=WAIT), 3],
    )
    case(
        "PRIORITY on streams in any state changes nothing",
        "6.3-any-state",
        [
            "000005 02 00 00000003 80000005 ff",
            post(1),
            "000005 02 00 00000001 00000000 0f",
            data(1, b"x", end=True),
            "000005 02 00 00000001 80000000 00",
            Do.NEXT,
            "000005 02 00 00000001 00000003 0f",
            "000005 02 00 00000002 00000001 0f",
            get(3),
        ],
        served=[Got(1, b"POST", b"/", b"x"), 3],
    )
    for name, before in {"an idle": b"", "an open": post(1, WAIT)}.items():
        case(
            f"PRIORITY makes {name} stream depend on itself",
            "6.3-self",
            [before, "000005 02 00 00000001 00000001 0f", get(3)],
            [PROTOCOL_ERROR_1 if before else PROTOCOL_ERROR_0],
            begun=[1] if before else [],
        )
    case(
        "HEADERS make their stream depend on itself",
        "6.3-self",
        ["00000b 01 25 00000001 00000001 0f 82 87 84 41 01 61", get(3)],
        [PROTOCOL_ERROR_1],
    )


def _rst_stream() -> None:
    case("RST_STREAM on stream 0", "6.4-stream-zero", ["000004 03 00 00000000 00000008"], [PROTOCOL_ERROR_0])
    case("RST_STREAM before any HEADERS", "6.4-idle", ["000004 03 00 00000001 00000008"], [PROTOCOL_ERROR_0])
    for size, payload in {0: "", 3: "000000", 5: "00000008 00"}.items():
        case(
            f"RST_STREAM of {size} octets",
            "6.4-length 4.2-size",
            [post(1, WAIT), f"{size:06x} 03 00 00000001 {payload}"],
            [SIZE_ERROR_1],
            begun=[1],
        )
    case(
        "RST_STREAM of 3 octets on stream 0",
        "6.4-length 4.2-size-connection",
        ["000003 03 00 00000000 000000"],
        [SIZE_ERROR_0],
        or_code=Code.PROTOCOL_ERROR,  # wrong in both ways
    )
    for code in (0x0, 0x8, 0x2, 0xE, 0xFFFFFFFF):
        case(
            f"RST_STREAM with code 0x{code:x} ends the stream and nothing else",
            "6.4-silent 7-unknown-code",
            [get(1, WAIT), rst(1, code), Do.ANSWER, get(3)],
            served=[Got(1, path=WAIT), 3],
        )
    case(
        "RST_STREAM amid an upload",
        "6.4-silent",
        [post(1), data(1, b"x" * 10), rst(1), get(3)],
        served=[3],
        begun=[1],
    )


def _push_promise() -> None:
    """§6.6, §8.4: whatever it says, a client may not send it."""
    shows = "8.4-from-client 8.4.1-never-client 6.6-push-off-received"
    upload, request = post(1, WAIT), get(1, WAIT)
    rows: list[tuple[str, str, list[Part], str]] = [
        ("on an open stream", "", [upload, push_promise(1, 2)], PROTOCOL_ERROR_1),
        ("on a half-closed stream", "6.6-receiver-state", [request, push_promise(1, 2)], PROTOCOL_ERROR_1),
        ("on a stream that was reset", "6.6-receiver-state", [upload, rst(1), push_promise(1, 2)], PROTOCOL_ERROR_1),
        ("on an idle stream", "6.6-receiver-state 5.1-idle", [push_promise(1, 2)], PROTOCOL_ERROR_0),
        ("on stream 0", "6.6-stream-zero", [push_promise(0, 2)], PROTOCOL_ERROR_0),
        ("of a stream that is not idle", "6.6-illegal-number", [upload, push_promise(1, 1)], PROTOCOL_ERROR_1),
        ("of stream 0", "6.6-illegal-number", [upload, push_promise(1, 0)], PROTOCOL_ERROR_1),
        (
            "that has not ended, before PING",
            "6.6-interrupted",
            [upload, push_promise(1, 2, whole=False), ping()],
            PROTOCOL_ERROR_1,
        ),
        (
            "with padding as long as its payload",
            "6.6-padding-length",
            [upload, "00000b 05 0c 00000001 0b 00000002 82 87 84 41 01 61"],
            PROTOCOL_ERROR_1,
        ),
    ]
    for name, also, frames, goaway in rows:
        case(
            f"PUSH_PROMISE from the client {name}",
            f"{shows} {also}",
            frames,
            [goaway],
            served=[Got(1, path=WAIT)] if request in frames else [],
            begun=[1] if upload in frames else [],
        )


def _ping() -> None:
    case(
        "PING is answered with its own octets",
        "6.7-answered 6.7-ack-set 6.7-eight-sent",
        ["000008 06 00 00000000 0102030405060708", "000008 06 00 00000000 fffefdfcfbfaf9f8"],
        ["000008 06 01 00000000 0102030405060708", "000008 06 01 00000000 fffefdfcfbfaf9f8"],
    )
    case(
        "PING and SETTINGS are acknowledged in their order",
        "6.7-answered 6.5.3-acknowledged",
        [ping(b"11111111"), settings(), settings((4, 100_000)), ping(b"22222222"), settings()],
        [ping(b"11111111", ack=True), *[settings(ack=True)] * 2, ping(b"22222222", ack=True), settings(ack=True)],
    )
    case(
        "PING is answered amid a request's body",
        "6.7-answered",
        [post(1), data(1, b"x"), ping(), data(1, b"y", end=True)],
        [ping(ack=True)],
        served=[Got(1, b"POST", b"/", b"xy")],
    )
    case(
        "PING with ACK is not answered",
        "6.7-ack-unanswered",
        ["000008 06 01 00000000 0102030405060708", get(1)],
        served=[1],
    )
    pings: dict[str, list[Part]] = {
        "an idle stream": ["000008 06 00 00000001 0102030405060708"],
        "an open stream": [post(1, WAIT), "000008 06 00 00000001 0102030405060708"],
        "a stream, with ACK": ["000008 06 01 00000003 0102030405060708"],
    }
    for name, frames in pings.items():
        case(
            f"PING on {name}",
            "6.7-stream",
            frames,
            [PROTOCOL_ERROR_1 if "open" in name else PROTOCOL_ERROR_0],
            begun=[1] if "open" in name else [],
        )
    for size in (0, 7, 9):
        case(
            f"PING of {size} octets",
            "6.7-length 4.2-size 4.2-size-connection",
            [f"{size:06x} 06 00 00000000" + "00" * size, get(1)],
            [SIZE_ERROR_0],
        )
    case("PING with ACK of 7 octets", "6.7-length", ["000007 06 01 00000000 01020304050607"], [SIZE_ERROR_0])


_data()
_headers()
_priority()
_rst_stream()
_push_promise()
_ping()
