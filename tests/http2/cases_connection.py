"""Cases of RFC 9113 §6.5, §6.8, §6.9 and §6.10: SETTINGS, GOAWAY, WINDOW_UPDATE and flow control, CONTINUATION."""

from __future__ import annotations

from tests.http2.case import Answer, Do, Got, case
from tests.http2.frames import (
    FIRST_STORED,
    POST,
    data,
    get,
    headers,
    post,
    request_block,
    rst,
    settings,
    stored,
    window_update,
)

WAIT = b"/wait"
ACKNOWLEDGED = "000000 04 01 00000000"
PROTOCOL_ERROR_0 = "000008 07 00 00000000 00000000 00000001"
PROTOCOL_ERROR_1 = "000008 07 00 00000000 00000001 00000001"
FLOW_ERROR_0 = "000008 07 00 00000000 00000000 00000003"
SIZE_ERROR_0 = "000008 07 00 00000000 00000000 00000006"
"""GOAWAY, with the last stream in the name."""


def _settings_form() -> None:
    case(
        "SETTINGS with ACK and a payload",
        "6.5-ack-length 4.2-size-connection",
        ["000006 04 01 00000000 0003 00000064"],
        [SIZE_ERROR_0],
    )
    case("SETTINGS on an idle stream", "6.5-stream", ["000000 04 00 00000001"], [PROTOCOL_ERROR_0])
    case(
        "SETTINGS on an open stream",
        "6.5-stream",
        [post(1, WAIT), "000006 04 00 00000001 0003 00000064"],
        [PROTOCOL_ERROR_1],
        begun=[1],
    )
    for size in (1, 5, 7, 11):
        case(
            f"SETTINGS of {size} octets",
            "6.5-length 4.2-size 4.2-size-connection",
            [f"{size:06x} 04 00 00000000" + "000400010000000400010000"[: 2 * size]],
            [SIZE_ERROR_0],
        )
    case("SETTINGS with ACK that nobody waits for", "6.5-unsolicited", [ACKNOWLEDGED, get(1)], [PROTOCOL_ERROR_0])
    case(
        "32 settings in one frame",
        "6.5-many",
        ["0000c0 04 00 00000000" + "0003 00000064" * 32, get(1)],
        [ACKNOWLEDGED],
        served=[1],
    )
    case(
        "33 settings in one frame",
        "6.5-many",
        ["0000c6 04 00 00000000" + "0003 00000064" * 33, get(1)],
        ["000008 07 00 00000000 00000000 0000000b"],
    )


def _settings_values() -> None:
    for name, value, code, shows in (
        ("ENABLE_PUSH of 2", "0002 00000002", 1, "6.5.2-push-value 6.5-malformed"),
        ("ENABLE_PUSH of 2^32-1", "0002 ffffffff", 1, "6.5.2-push-value 6.5-malformed"),
        ("INITIAL_WINDOW_SIZE of 2^31", "0004 80000000", 3, "6.5.2-window"),
        ("INITIAL_WINDOW_SIZE of 2^32-1", "0004 ffffffff", 3, "6.5.2-window"),
        ("MAX_FRAME_SIZE of 16,383", "0005 00003fff", 1, "6.5.2-frame-size 6.5-malformed"),
        ("MAX_FRAME_SIZE of 0", "0005 00000000", 1, "6.5.2-frame-size 6.5-malformed"),
        ("MAX_FRAME_SIZE of 2^24", "0005 01000000", 1, "6.5.2-frame-size 6.5-malformed"),
    ):
        case(
            f"SETTINGS with {name}",
            shows,
            [f"000006 04 00 00000000 {value}", get(1)],
            [f"000008 07 00 00000000 00000000 {code:08x}"],
        )
        good = {"0002": "00000000", "0004": "00010000", "0005": "00004000"}[value[:4]]
        case(
            f"SETTINGS with {name} before a good value",
            f"{shows} 6.5.3-order",
            [f"00000c 04 00 00000000 {value} {value[:4]} {good}"],
            [f"000008 07 00 00000000 00000000 {code:08x}"],
        )
    case(
        "every setting at its limits",
        "6.5-all 6.5.3-acknowledged",
        [
            settings((1, 0), (2, 0), (3, 0), (4, 0), (5, 2**14), (6, 0)),
            settings((1, 2**32 - 1), (2, 1), (3, 2**32 - 1), (4, 2**31 - 1), (5, 2**24 - 1), (6, 2**32 - 1)),
            get(1),
        ],
        [ACKNOWLEDGED, ACKNOWLEDGED],
        served=[1],
    )
    case(
        "a setting holds for the request right behind it",
        "6.5.3-applied 6.9.1-space 5.2.1-limits",
        ["000006 04 00 00000000 0004 000007d0", get(1, b"/bytes/5000")],
        [ACKNOWLEDGED],
        served=[Got(1, path=b"/bytes/5000")],
        answers={1: Answer(body=2000, whole=False)},
    )
    case(
        "the last value of a setting holds",
        "6.5.3-order",
        ["000012 04 00 00000000 0004 00000000 0004 00010000 0004 000007d0", get(1, b"/bytes/5000")],
        [ACKNOWLEDGED],
        served=[Got(1, path=b"/bytes/5000")],
        answers={1: Answer(body=2000, whole=False)},
    )
    case(
        "a request without fields is served to a client that takes none back",
        "6.5-all",
        [settings((3, 0), (6, 1)), get(1)],
        [ACKNOWLEDGED],
        served=[1],
    )
    big = stored(b"x", b"v" * 3000)
    for name, fields, status in (
        ("few fields of 36,000 octets", big + FIRST_STORED * 11, 431),
        ("few fields of 30,000 octets", big + FIRST_STORED * 9, 200),
        ("120 fields", stored(b"x", b"y") + FIRST_STORED * 119, 431),
        ("90 fields", stored(b"x", b"y") + FIRST_STORED * 89, 200),
        ("150 crumbs of a cookie", stored(b"cookie", b"a=b") + FIRST_STORED * 149, 200),
    ):
        case(
            f"a request with {name}",
            "6.5.2-list-size",
            [headers(1, request_block() + fields, end=True), headers(3, request_block() + FIRST_STORED, end=True)],
            served=[1, 3] if status == 200 else [3],
            answers={} if status == 200 else {1: Answer(status)},
        )


def _goaway() -> None:
    case("GOAWAY on an idle stream", "6.8-stream", ["000008 07 00 00000001 00000000 00000000"], [PROTOCOL_ERROR_0])
    case(
        "GOAWAY on an open stream",
        "6.8-stream",
        [post(1, WAIT), "000008 07 00 00000001 00000000 00000000"],
        [PROTOCOL_ERROR_1],
        begun=[1],
    )
    for name, frame in {
        "without an error": "000008 07 00 00000000 00000000 00000000",
        "with an unknown code": "000008 07 00 00000000 00000000 deadbeef",
        "with debug data": "00000c 07 00 00000000 00000000 00000000 77687921",
    }.items():
        case(
            f"requests under way are answered after the client's GOAWAY {name}",
            "6.8-answered 7-unknown-code 5.5-values",
            [get(1, WAIT), post(3), data(3, b"x"), frame, data(3, b"y", end=True), Do.ANSWER],
            ["000008 07 00 00000000 00000003 00000000"],
            served=[Got(1, path=WAIT), Got(3, b"POST", b"/", b"xy")],
            answers={1: Answer(body=b"GET /wait 0")},
            closes=True,
        )
    for name, before, last in (("before any request", [], 0), ("with nothing under way", [get(1), Do.NEXT], 1)):
        case(
            f"the client's GOAWAY {name}",
            "6.8-answered",
            [*before, "000008 07 00 00000000 00000000 00000000"],
            [f"000008 07 00 00000000 {last:08x} 00000000"],
            served=[1] * last,
            closes=True,
        )
    case(
        "a server that stops waits for the last stream, however it ends",
        "6.8-graceful",
        [get(1, WAIT), Do.STOP, Do.PONG, Do.NEXT, rst(1)],
        [
            "000008 07 00 00000000 7fffffff 00000000",
            "000008 06 00 00000000 0000000000000000",
            "000008 07 00 00000000 00000001 00000000",
        ],
        served=[Got(1, path=WAIT)],
        closes=True,
    )
    case(
        "a server that stops lets a round trip pass before it names its last stream",
        "6.8-graceful 6.8-not-raised 8.7-goaway",
        [get(1), Do.STOP, get(3), post(5), Do.PONG, data(5, b"x", end=True), Do.NEXT],
        [
            "000008 07 00 00000000 7fffffff 00000000",
            "000008 06 00 00000000 0000000000000000",
            "000008 07 00 00000000 00000005 00000000",
        ],
        served=[1, 3, Got(5, b"POST", b"/", b"x")],
        closes=True,
    )
    case(
        "what comes above the last stream is discarded, and counts",
        "6.8-blocks-after 6.8-data-after 6.8-not-raised 8.7-guaranteed",
        [
            post(1),
            Do.STOP,
            Do.PONG,
            headers(3, request_block(b"POST") + stored(b"x", b"1")),
            data(3, b"x" * 1000, end=True),
            headers(1, b"\xbe", end=True),
        ],
        [
            "000008 07 00 00000000 7fffffff 00000000",
            "000008 06 00 00000000 0000000000000000",
            "000008 07 00 00000000 00000001 00000000",
            "000004 03 00 00000003 00000007",
        ],
        served=[Got(1, b"POST")],
        closes=True,
    )
    case(
        "a field block above the last stream that cannot be decoded",
        "6.8-blocks-after",
        [post(1), Do.STOP, Do.PONG, headers(3, b"\x80", end=True)],
        [
            "000008 07 00 00000000 7fffffff 00000000",
            "000008 06 00 00000000 0000000000000000",
            "000008 07 00 00000000 00000001 00000000",
            "000008 07 00 00000000 00000001 00000009",
        ],
        begun=[1],
    )


def _window_update() -> None:
    case("WINDOW_UPDATE of 0 on the connection", "6.9-zero-connection", [window_update(0, 0)], [PROTOCOL_ERROR_0])
    case(
        "WINDOW_UPDATE of 0 on a stream",
        "6.9-zero",
        [get(1, WAIT), "000004 08 00 00000001 00000000", get(3)],
        [PROTOCOL_ERROR_1],
        served=[Got(1, path=WAIT)],
    )
    case(
        "WINDOW_UPDATE of 0 but for the reserved bit",
        "6.9-zero 4.1-reserved-ignored",
        [get(1, WAIT), "000004 08 00 00000001 80000000", get(3)],
        [PROTOCOL_ERROR_1],
        served=[Got(1, path=WAIT)],
    )
    for size, payload in {0: "", 3: "000001", 5: "00000001 00"}.items():
        case(
            f"WINDOW_UPDATE of {size} octets on the connection",
            "6.9-length 4.2-size",
            [f"{size:06x} 08 00 00000000 {payload}"],
            [SIZE_ERROR_0],
        )
        case(
            f"WINDOW_UPDATE of {size} octets on a stream",
            "6.9-length 4.2-size",
            [get(1, WAIT), f"{size:06x} 08 00 00000001 {payload}"],
            ["000008 07 00 00000000 00000001 00000006"],
            served=[Got(1, path=WAIT)],
        )
    case(
        "the connection's window at its limit",
        "6.9.1-maximum",
        ["000004 08 00 00000000 7fff0000", get(1)],
        served=[1],
    )
    case(
        "the connection's window beyond its limit",
        "6.9.1-overflow 6.9.1-maximum 6.9-zero-connection",
        ["000004 08 00 00000000 7fff0001", get(1)],
        [FLOW_ERROR_0],
    )
    case(
        "the connection's window beyond its limit in two steps",
        "6.9.1-overflow 6.9.1-maximum",
        ["000004 08 00 00000000 7fff0000", "000004 08 00 00000000 00000001"],
        [FLOW_ERROR_0],
    )
    case(
        "a stream's window at its limit and beyond",
        "6.9.1-overflow 6.9.1-maximum",
        [get(1, WAIT), "000004 08 00 00000001 7fff0000", get(3, WAIT), "000004 08 00 00000003 7fff0001", Do.ANSWER],
        ["000004 03 00 00000003 00000003"],
        served=[Got(1, path=WAIT), Got(3, path=WAIT)],
        answers={1: Answer(body=b"GET /wait 0")},
    )


def _continuation() -> None:
    case(
        "CONTINUATION on stream 0",
        "6.10-stream-zero 6.10-on-stream",
        ["000006 09 04 00000000 82 87 84 41 01 61"],
        [PROTOCOL_ERROR_0],
    )
    case(
        "CONTINUATION on stream 0 amid a field block",
        "6.10-stream-zero 6.10-interrupted",
        ["000003 01 01 00000001 82 87 84", "000003 09 04 00000000 41 01 61"],
        [PROTOCOL_ERROR_1],
    )
    case("CONTINUATION before all else", "6.10-unpreceded", ["000001 09 04 00000001 82"], [PROTOCOL_ERROR_0])
    ended: dict[str, list[bytes | str]] = {
        "HEADERS that have ended": [headers(1, POST)],
        "CONTINUATION that has ended": ["000006 01 00 00000001 83 87 84 41 01 61", "000000 09 04 00000001"],
        "DATA": [headers(1, POST), "000001 00 00 00000001 78"],
    }
    for name, frames in ended.items():
        case(
            f"CONTINUATION behind {name}",
            "6.10-unpreceded 6.10-preceded",
            [*frames, "000000 09 04 00000001", rst(1)],
            [PROTOCOL_ERROR_1],
            begun=[1],
        )
    case(
        "a field block in eight frames",
        "6.10-continued",
        [
            "000001 01 01 00000001 82",
            *["000000 09 00 00000001"] * 5,
            "000004 09 00 00000001 87 84 41 01",
            "000001 09 04 00000001 61",
        ],
        served=[1],
    )


_settings_form()
_settings_values()
_goaway()
_window_update()
_continuation()
