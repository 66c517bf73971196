"""Cases of RFC 9113 §5: stream states, stream numbers, concurrency, errors."""

from __future__ import annotations

from tests.http2.case import Answer, Do, Got, Part, case
from tests.http2.frames import (
    FIRST_STORED,
    GET,
    POST,
    Code,
    continuation,
    data,
    get,
    headers,
    ping,
    post,
    priority,
    request_block,
    rst,
    settings,
    stored,
    window_update,
)

WAIT = b"/wait"
MALFORMED = request_block(b"POST", b"")
"""A request whose :path is empty: its stream is reset with PROTOCOL_ERROR."""
TRAILERS = b"\x00\x01x\x01y"


def _idle() -> None:
    for name, frame in {
        "DATA": "000001 00 00 00000003 78",
        "DATA with END_STREAM": "000000 00 01 00000003",
        "RST_STREAM": "000004 03 00 00000003 00000008",
        "WINDOW_UPDATE": "000004 08 00 00000003 00000001",
        "CONTINUATION": "000006 09 04 00000003 82 87 84 41 01 61",
    }.items():
        case(
            f"{name} on an idle stream",
            "5.1-idle",
            [get(1), Do.NEXT, frame, get(5)],
            ["000008 07 00 00000000 00000001 00000001"],
            served=[1],
        )
    for name, frame in {
        "HEADERS": "000006 01 05 00000002 82 87 84 41 01 61",
        "DATA": "000001 00 00 00000002 78",
        "RST_STREAM": "000004 03 00 00000002 00000008",
        "WINDOW_UPDATE": "000004 08 00 00000002 00000001",
    }.items():
        case(
            f"{name} on a stream with an even number",
            "5.1-idle-ours 5.1.1-odd 5.1.1-unexpected" if name == "HEADERS" else "5.1-idle",
            [frame, get(3)],
            ["000008 07 00 00000000 00000000 00000001"],
        )
    case(
        "PRIORITY on an idle stream leaves it idle, and opens or closes no other",
        "6.3-any-state",
        ["000005 02 00 00000005 00000000 0f", get(3), Do.NEXT, get(5)],
        served=[3, 5],
    )


def _half_closed() -> None:
    frames: dict[str, Part] = {
        "DATA": "000001 00 00 00000001 78",
        "DATA with END_STREAM": "000001 00 01 00000001 78",
        "DATA without an octet": "000000 00 01 00000001",
        "HEADERS": headers(1, TRAILERS, end=True),
        "HEADERS and CONTINUATION": headers(1, TRAILERS, end=True, whole=False) + continuation(1, b""),
    }
    for name, frame in frames.items():
        case(
            f"{name} after END_STREAM",
            "5.1-half-closed" + (" 6.1-closed" if "DATA" in name else ""),
            [get(1, WAIT), frame, get(3)],
            ["000004 03 00 00000001 00000005"],
            served=[Got(1, path=WAIT), 3],
        )
    case(
        "DATA after the trailers",
        "5.1-half-closed 6.1-closed",
        [post(1, WAIT), headers(1, TRAILERS, end=True), "000001 00 00 00000001 78", get(3)],
        ["000004 03 00 00000001 00000005"],
        served=[Got(1, b"POST", WAIT), 3],
    )
    case(
        "WINDOW_UPDATE, PRIORITY and RST_STREAM after END_STREAM",
        "5.1-half-closed 6.9-closed 6.3-any-state",
        [
            get(1, WAIT),
            "000004 08 00 00000001 00000001",
            "000005 02 00 00000001 00000000 0f",
            Do.NEXT,
            "000004 03 00 00000001 00000008",
            get(3),
        ],
        served=[Got(1, path=WAIT), 3],
    )
    case(
        "a stream is reset once, however much follows",
        "5.4.2-prepared 5.1-reset-discards 6.4-on-stream 6.4-idle-never",
        [get(1, WAIT), *["000001 00 00 00000001 78"] * 5, get(3)],
        ["000004 03 00 00000001 00000005"],
        served=[Got(1, path=WAIT), 3],
    )


def _closed() -> None:
    for name, frame in {
        "DATA": "000001 00 00 00000001 78",
        "DATA without an octet": "000000 00 01 00000001",
        "HEADERS": "000006 01 05 00000001 82 87 84 41 01 61",
    }.items():
        case(
            f"{name} on a stream closed by both sides",
            "5.1-closed-error" + (" 6.1-closed" if "DATA" in name else " 5.1.1-greater"),
            [get(1), Do.NEXT, frame, get(3)],
            ["000008 07 00 00000000 00000001 00000005"],
            served=[1],
        )
        case(
            f"{name} on a stream the client has reset",
            "5.1-closed-error" + (" 6.1-closed" if "DATA" in name else ""),
            [post(1, WAIT), rst(1), Do.NEXT, frame, get(3)],
            ["000008 07 00 00000000 00000001 00000005"],
            begun=[1],
        )
    case(
        "DATA on a stream that was skipped",
        "5.1-closed-error",
        [get(5), Do.NEXT, "000001 00 00 00000003 78"],
        ["000008 07 00 00000000 00000005 00000005"],
        served=[5],
    )
    case(
        "WINDOW_UPDATE, RST_STREAM and PRIORITY on a stream closed by both sides",
        "5.1-closed-allowed 6.9-closed 6.3-any-state",
        [
            get(1),
            Do.NEXT,
            "000004 08 00 00000001 00000001",
            "000004 03 00 00000001 00000008",
            "000005 02 00 00000001 00000000 0f",
            get(3),
        ],
        served=[1, 3],
    )
    case(
        "nothing is sent on a stream the client has reset",
        "5.1-closed-silent 6.4-silent",
        [get(1, WAIT), rst(1), Do.ANSWER, get(3)],
        served=[Got(1, path=WAIT), 3],
    )
    case(
        "a body that waits for the window is dropped when the client resets its stream",
        "5.1-closed-silent 6.4-silent",
        [get(1, b"/bytes/70000"), Do.NEXT, rst(1), window_update(0, 100_000), get(3)],
        served=[Got(1, path=b"/bytes/70000"), 3],
        answers={1: Answer(body=65_535, whole=False)},
    )
    case(
        "what comes on a stream we have reset is discarded, and counts",
        "5.1-reset-discards 5.4.2-prepared 6.4-prepared",
        [
            headers(1, MALFORMED),
            data(1, b"x" * 100),
            window_update(1, 100),
            priority(1),
            Do.NEXT,
            data(1, b"x"),
            headers(1, stored(b"x", b"1"), end=True),
            headers(3, request_block() + FIRST_STORED, end=True),
        ],
        ["000004 03 00 00000001 00000001"],
        served=[Got(3, fields=((b"host", b"a"), (b"x", b"1")))],
    )
    case(
        "RST_STREAM on a stream we have reset is not answered",
        "5.4.2-no-loop 5.1-closed-allowed 6.4-prepared",
        [headers(1, MALFORMED), rst(1), Do.NEXT, rst(1), get(3)],
        ["000004 03 00 00000001 00000001"],
        served=[3],
    )
    case(
        "RST_STREAM on an open stream is not answered",
        "5.4.2-no-loop",
        [post(1, WAIT), rst(1), get(3, WAIT), rst(3), get(5)],
        served=[Got(3, path=WAIT), 5],
        begun=[1],
    )


def _numbers() -> None:
    case(
        "a new stream with a lower number than one before",
        "5.1.1-greater 5.1.1-unexpected",
        [get(5), Do.NEXT, get(3)],
        ["000008 07 00 00000000 00000005 00000001"],
        served=[5],
        or_code=Code.STREAM_CLOSED,  # §5.1.1: streams that are skipped are closed, and frames on closed streams that
    )
    case(
        "a new stream with a lower number while the other is open",
        "5.1.1-greater 5.1.1-unexpected",
        [post(5, WAIT), get(3)],
        ["000008 07 00 00000000 00000005 00000001"],
        begun=[5],
        or_code=Code.STREAM_CLOSED,
    )
    case("numbers may be skipped", "5.1.1-greater", [get(1), get(101), get(2**31 - 1)], served=[1, 101, 2**31 - 1])
    case(
        "the 101st stream is refused, and there is room again when one has ended",
        "5.1.2-exceeded 4.3-decompressed 8.7-refused",
        [
            *[get(number, WAIT) for number in range(1, 201, 2)],
            headers(201, request_block() + stored(b"x", b"1"), end=True),
            Do.ANSWER,
            headers(203, request_block() + FIRST_STORED, end=True),
        ],
        ["000004 03 00 000000c9 00000007"],
        served=[
            *[Got(number, path=WAIT) for number in range(1, 201, 2)],
            Got(203, fields=((b"host", b"a"), (b"x", b"1"))),
        ],
        answers={number: Answer(body=b"GET /wait 0") for number in range(1, 201, 2)},
    )
    case(
        "streams whose request is not whole count as well",
        "5.1.2-exceeded",
        [*[headers(number, POST) for number in range(1, 201, 2)], get(201)],
        ["000004 03 00 000000c9 00000007"],
        begun=range(1, 201, 2),
    )


def _errors() -> None:
    case(
        "WINDOW_UPDATE is obeyed while an upload waits for its application",
        "5.2.2-read",
        [
            post(1, WAIT),
            data(1, b"x" * 1000),
            get(3, b"/bytes/70000"),
            Do.NEXT,
            window_update(0, 10_000),
            window_update(3, 10_000),
        ],
        served=[Got(3, path=b"/bytes/70000")],
        begun=[1],
    )
    case(
        "DATA that breaks the rules of its stream and those of its padding",
        "5.4-reported",
        [get(1, WAIT), "000002 00 08 00000001 ff 78"],
        ["000008 07 00 00000000 00000001 00000001"],
        served=[Got(1, path=WAIT)],
    )
    case(
        "HEADERS after END_STREAM that cannot be decoded",
        "5.4-reported",
        [get(1, WAIT), "000001 01 05 00000001 80"],
        ["000008 07 00 00000000 00000001 00000009"],
        served=[Got(1, path=WAIT)],
    )
    case(
        "a malformed request that cannot be decoded to its end",
        "5.4-reported",
        ["000004 01 05 00000001 82 82 82 80"],
        ["000008 07 00 00000000 00000001 00000009"],
    )
    case(
        "nothing is done after a connection error",
        "5.4.1-closed",
        [get(1), Do.NEXT, "000008 06 00 00000001 0102030405060708", get(3), ping(), Do.NEXT, get(5), "00"],
        ["000008 07 00 00000000 00000001 00000001"],
        served=[1],
    )
    case(
        "no response is sent after a connection error",
        "5.4.1-closed",
        [get(1, WAIT), "000008 06 00 00000001 0102030405060708", Do.ANSWER],
        ["000008 07 00 00000000 00000001 00000001"],
        served=[Got(1, path=WAIT)],
    )
    case(
        "unknown settings, codes and frame types are ignored",
        "5.5-values 5.5-types 7-unknown-code 6.5.2-unknown 6.5.3-unsupported",
        [
            "000012 04 00 00000000 000a ffffffff 0000 00000001 ffff 00000000",
            post(1, WAIT),
            "000004 03 00 00000001 deadbeef",
            "000001 f0 00 00000003 00",
            get(3),
        ],
        ["000000 04 01 00000000"],
        served=[3],
        begun=[1],
    )
    case(
        "settings of extensions are ignored",
        "5.5-values 6.5.2-unknown",
        [settings((8, 1), (9, 1), (9, 0), (16, 1)), headers(1, GET, end=True)],
        ["000000 04 01 00000000"],
        served=[1],
    )


_idle()
_half_closed()
_closed()
_numbers()
_errors()
