"""Cases of RFC 9113 §3 and §4: the connection preface, the form of frames, field blocks."""

from __future__ import annotations

from tests.http2.case import Do, Got, Part, case
from tests.http2.frames import (
    FIRST_STORED,
    GET,
    POST,
    SERVER_SETTINGS,
    SERVER_WINDOW,
    Code,
    continuation,
    data,
    get,
    headers,
    post,
    request_block,
    rst,
    settings,
    stored,
)

MAGIC = "505249202a20485454502f322e300d0a0d0a534d0d0a0d0a"
EMPTY_SETTINGS = "000000 04 00 00000000"
OPENING = (SERVER_SETTINGS, SERVER_WINDOW)


def _preface() -> None:
    case(
        "the server opens with its settings and its window, then acknowledges the client's",
        "3.2-preface 3.3-preface 3.4-settings-first 3.4-acknowledged 6.5-start 6.5-on-zero 6.5-ack-empty"
        " 6.5.2-push-never-one 6.5.2-push-only-zero 6.5.2-frame-size-sent 4.1-reserved-unset 4.1-unused-flags-unset",
        [MAGIC, EMPTY_SETTINGS],
        [
            "000018 04 00 00000000 0003 00000064 0004 00040000 0006 00008000 0009 00000001",
            "000004 08 00 00000000 000f0001",
            "000000 04 01 00000000",
        ],
        raw=True,
        exact=True,
    )
    case(
        "settings in the client's preface are acknowledged",
        "3.4-settings-follow 3.4-acknowledged 6.5-all",
        [MAGIC, "00001e 04 00 00000000 0001 00001000 0002 00000000 0003 00000064 0004 00010000 0005 00004000"],
        [*OPENING, "000000 04 01 00000000"],
        raw=True,
        exact=True,
    )
    case(
        "a request right behind the preface is served",
        "3.4-settings-follow",
        [MAGIC, EMPTY_SETTINGS, "000006 01 05 00000001 82 87 84 41 01 61", "000000 04 01 00000000"],
        [*OPENING, "000000 04 01 00000000"],
        served=[1],
        raw=True,
    )
    for name, frame in {
        "HEADERS": "000006 01 05 00000001 82 87 84 41 01 61",
        "DATA": "000000 00 01 00000001",
        "PING": "000008 06 00 00000000 0102030405060708",
        "WINDOW_UPDATE": "000004 08 00 00000000 00000001",
        "PRIORITY": "000005 02 00 00000001 00000000 0f",
        "an unknown type": "000000 42 00 00000000",
        "an ACK of settings": "000000 04 01 00000000",
    }.items():
        case(
            f"the preface is followed by {name} in place of SETTINGS",
            "3.4-settings-follow 3.4-invalid",
            [MAGIC, frame, EMPTY_SETTINGS],
            [*OPENING, "000008 07 00 00000000 00000000 00000001"],
            raw=True,
            may_be_silent=True,
        )
    for name, octets in {
        "its last octet wrong": MAGIC[:-2] + "0b" + EMPTY_SETTINGS,
        "its first octet wrong": "51" + MAGIC[2:] + EMPTY_SETTINGS,
        "another version in it": MAGIC.replace("322e30", "332e30") + EMPTY_SETTINGS,
        "an HTTP/1.1 request in its place": (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").hex(),
        "the preface missing": EMPTY_SETTINGS + "000006 01 05 00000001 82 87 84 41 01 61",
    }.items():
        case(
            f"the preface is invalid: {name}",
            "3.4-invalid",
            [octets],
            [*OPENING, "000008 07 00 00000000 00000000 00000001"],
            raw=True,
            may_be_silent=True,
        )


def _form() -> None:
    for name, frame in {
        "on stream 0": "000004 42 00 00000000 01020304",
        "without a payload": "000000 ff 00 00000000",
        "with every flag": "000001 0b ff 00000000 00",
        "on a stream that is idle": "000001 42 00 00000005 00",
        "on a stream of the server's": "000001 42 00 00000002 00",
        "on a stream with END_STREAM's flag": "000001 42 01 00000001 00",
        "of the largest size": "004000 42 00 00000001" + "00" * 16384,
        "of an extension (ALTSVC)": "000002 0a 00 00000000 0000",
        "of an extension (PRIORITY_UPDATE)": "000007 10 00 00000000 00000001 753d30",
    }.items():
        case(
            f"an unknown frame {name} is ignored",
            "4.1-unknown-type 5.5-types",
            [post(1), frame, "000001 00 01 00000001 78", frame, "000006 01 05 00000003 82 87 84 41 01 61"],
            served=[Got(1, b"POST", b"/", b"x"), 3],
        )
    case(
        "an unknown frame on a closed stream is ignored",
        "4.1-unknown-type 5.5-types",
        [get(1), Do.NEXT, "000001 42 00 00000001 00", get(3)],
        served=[1, 3],
    )
    case(
        "flags without a meaning are ignored",
        "4.1-unused-flags",
        [
            "000006 04 fe 00000000 0002 00000000",
            "000008 06 fe 00000000 0102030405060708",
            "000005 01 d2 00000001 82 87 84 41 01",
            "000001 09 fe 00000001 61",
            "000001 00 f7 00000001 78",
            "000004 08 ff 00000000 00000001",
            "000005 02 ff 00000003 00000000 0f",
            "000006 01 d7 00000003 82 87 84 41 01 61",
        ],
        ["000000 04 01 00000000", "000008 06 01 00000000 0102030405060708"],
        served=[Got(1, b"GET", b"/", b"x"), 3],
    )
    case(
        "flags without a meaning on RST_STREAM and GOAWAY are ignored",
        "4.1-unused-flags",
        [post(1), "000004 03 ff 00000001 00000008", get(3), "000008 07 ff 00000000 00000000 00000000"],
        ["000008 07 00 00000000 00000003 00000000"],
        served=[3],
        begun=[1],
        closes=True,
    )
    case(
        "the reserved bit is ignored",
        "4.1-reserved-ignored",
        [
            "000000 04 00 80000000",
            "000008 06 00 80000000 0102030405060708",
            "000005 01 00 80000001 83 87 84 41 01",
            "000001 09 04 80000001 61",
            "000005 02 00 80000001 00000000 0f",
            "000004 08 00 80000001 80000001",
            "000004 08 00 80000000 80000001",
            "000001 42 00 80000000 00",
            "000001 00 01 80000001 78",
            "000006 01 04 80000003 83 87 84 41 01 61",
            "000004 03 00 80000003 00000008",
        ],
        ["000000 04 01 00000000", "000008 06 01 00000000 0102030405060708"],
        served=[Got(1, b"POST", b"/", b"x")],
        begun=[3],
    )


def _size() -> None:
    short = len(request_block(b"GET", b"/", (b"x", b"v" * 16_000)))
    largest = request_block(b"GET", b"/", (b"x", b"v" * (16_000 + 16_384 - short)))
    case(
        "frames of 16,384 octets are processed",
        "4.2-minimum",
        [headers(1, POST), "004000 00 01 00000001" + "78" * 16384, headers(3, largest, end=True)],
        served=[Got(1, b"POST", b"/", b"x" * 16384), 3],
    )
    too_large: dict[str, list[Part]] = {
        "DATA": [post(1), "004001 00 00 00000001" + "78" * 16385],
        "HEADERS": ["004001 01 05 00000001" + "82" * 16385],
        "CONTINUATION": [headers(1, GET, whole=False), "004001 09 04 00000001" + "82" * 16385],
        "SETTINGS": ["004002 04 00 00000000" + "000400010000" * 2731],
        "an unknown type": ["004001 42 00 00000000" + "00" * 16385],
    }
    for name, frames in too_large.items():
        begun = [1] if name == "DATA" else []
        last = "00000000" if name in ("SETTINGS", "an unknown type") else "00000001"
        case(
            f"a frame of 16,385 octets: {name}",
            "4.2-size 4.2-size-connection",
            frames,
            [f"000008 07 00 00000000 {last} 00000006"],
            begun=begun,
        )
    too_short: dict[str, list[Part]] = {
        "HEADERS with a priority part of 4 octets": ["000004 01 25 00000001 00000000"],
        "HEADERS with PADDED and nothing": ["000000 01 0d 00000001"],
        "DATA with PADDED and nothing": [headers(1, POST), "000000 00 09 00000001"],
        "GOAWAY of 7 octets": ["000007 07 00 00000000 00000000 000000"],
        "GOAWAY without a payload": ["000000 07 00 00000000"],
    }
    for name, frames in too_short.items():
        case(
            f"a frame too short for what it must hold: {name}",
            "4.2-size 4.2-size-connection",
            frames,
            [f"000008 07 00 00000000 {'00000000' if 'GOAWAY' in name else '00000001'} 00000006"],
            begun=[1] if "DATA" in name else [],
            or_code=Code.PROTOCOL_ERROR if "PADDED" in name else None,  # §6.1: the padding exceeds the payload, too
        )


def _blocks() -> None:
    case(
        "a field block in four frames, two of them empty",
        "4.3-contiguous",
        [
            "000003 01 01 00000001 82 87 84",
            "000000 09 00 00000001",
            "000003 09 00 00000001 41 01 61",
            "000000 09 04 00000001",
        ],
        served=[Got(1, fields=((b"host", b"a"),))],
    )
    case(
        "a field block cut within a string",
        "4.3-contiguous",
        ["000004 01 00 00000001 83 87 84 41", "000002 09 04 00000001 01 61", "000001 00 01 00000001 78"],
        served=[Got(1, b"POST", b"/", b"x")],
    )
    case(
        "every form a field can have",
        "4.3-decoding",
        ["000017 01 05 00000001 82 84 87 41 81 1f 10 01 78 01 79 40 01 78 01 7a be 0f 2f 01 77 50 00"],
        served=[
            Got(
                1,
                fields=(
                    (b"host", b"a"),
                    (b"x", b"y"),
                    (b"x", b"z"),
                    (b"x", b"z"),
                    (b"x", b"w"),
                    (b"accept-encoding", b""),
                ),
            )
        ],
    )
    case(
        "size updates at the start of a block",
        "4.3.1-size-updates",
        [
            headers(1, request_block() + stored(b"x", b"1"), end=True),
            headers(3, b"\x20\x3f\xe1\x1f" + request_block() + stored(b"x", b"2") + FIRST_STORED, end=True),
        ],
        served=[
            Got(1, fields=((b"host", b"a"), (b"x", b"1"))),
            Got(3, fields=((b"host", b"a"), (b"x", b"2"), (b"x", b"2"))),
        ],
    )
    bad_blocks = {
        "index 0": "80",
        "an index beyond the table": "82 84 87 be",
        "an index beyond any table": "82 84 87 ff ff ff ff 7f",
        "an index without end": "82 84 87 ff" + "80" * 12 + "01",
        "an index cut short": "82 84 87 ff 80",
        "a name beyond the table": "82 84 87 7f 80 01 01 61",
        "a value that is cut short": "82 84 87 41 02 61",
        "a name that is cut short": "82 84 87 00 05 61 62",
        "a name without a value": "82 84 87 00 01 61",
        "a field that is its first octet": "82 84 87 40",
        "a string longer than any block": "82 84 87 41 7f ff ff ff 7f 61",
        "Huffman padding that is not ones": "82 84 87 41 81 1e",
        "Huffman padding of eight bits": "82 84 87 41 82 1f ff",
        "the Huffman code for the end": "82 84 87 41 84 ff ff ff ff",
        "a size update amid the block": "82 20 84 87 41 01 61",
        "a size update at the end of the block": "82 84 87 41 01 61 20",
        "a size update above 4,096": "3f e2 1f 82 84 87 41 01 61",
        "a size update cut short": "3f",
    }
    for name, octets in bad_blocks.items():
        case(
            f"a field block that cannot be decoded: {name}",
            "4.3-decoding 4.3-decompressed",
            [headers(1, bytes.fromhex(octets), end=True), get(3)],
            ["000008 07 00 00000000 00000001 00000009"],
        )
    case(
        "an entry that a size update threw out",
        "4.3-decoding",
        [
            headers(1, request_block() + stored(b"x", b"1"), end=True),
            Do.NEXT,
            headers(3, b"\x20" + GET[:3] + b"\xbe", end=True),
        ],
        ["000008 07 00 00000000 00000003 00000009"],
        served=[1],
    )
    case(
        "trailers that cannot be decoded",
        "4.3-decoding",
        [post(1), headers(1, b"\x80", end=True)],
        ["000008 07 00 00000000 00000001 00000009"],
        begun=[1],
    )
    case(
        "a block on a stream we reset that cannot be decoded",
        "4.3-decoding 4.3-decompressed",
        [headers(1, request_block(b"POST", b"")), headers(1, b"\x80", end=True)],
        ["000004 03 00 00000001 00000001", "000008 07 00 00000000 00000001 00000009"],
    )
    case(
        "a block that ends in its CONTINUATION cannot be decoded",
        "4.3-decoding",
        [headers(1, GET, end=True, whole=False), continuation(1, b"\x80")],
        ["000008 07 00 00000000 00000001 00000009"],
    )
    case(
        "a malformed request's block still counts for the next",
        "4.3-decompressed",
        [
            headers(1, request_block(b"GET", b"") + stored(b"x", b"1"), end=True),
            headers(3, request_block() + b"\xbe", end=True),
        ],
        ["000004 03 00 00000001 00000001"],
        served=[Got(3, fields=((b"host", b"a"), (b"x", b"1")))],
    )
    for size in (0, 100):
        case(
            f"the client's table shrinks to {size}: the next response says so first",
            "4.3.1-shrunk 6.5-all",
            [get(1), Do.NEXT, settings((1, size)), Do.NEXT, get(3), Do.NEXT, get(5)],
            ["000000 04 01 00000000"],
            served=[1, 3, 5],
        )
    case(
        "the client's table shrinks in its preface",
        "4.3.1-shrunk",
        [MAGIC, "000006 04 00 00000000 0001 00000000", Do.NEXT, get(1)],
        [*OPENING, "000000 04 01 00000000"],
        served=[1],
        raw=True,
    )
    case(
        "the client's table grows: responses can still be decoded",
        "6.5-all",
        [settings((1, 2**32 - 1)), get(1), Do.NEXT, settings((1, 0)), Do.NEXT, get(3)],
        ["000000 04 01 00000000", "000000 04 01 00000000"],
        served=[1, 3],
    )


def _interrupted() -> None:
    """§4.3, §6.2, §6.10: nothing stands between the frames of a field block."""
    others: dict[str, Part] = {
        "DATA": "000001 00 00 00000001 78",
        "HEADERS": headers(1, b"", end=True),
        "HEADERS of another stream": "000006 01 05 00000003 82 87 84 41 01 61",
        "PRIORITY": "000005 02 00 00000001 00000000 0f",
        "RST_STREAM": rst(1),
        "SETTINGS": "000000 04 00 00000000",
        "PING": "000008 06 00 00000000 0102030405060708",
        "GOAWAY": "000008 07 00 00000000 00000000 00000000",
        "WINDOW_UPDATE": "000004 08 00 00000000 00000001",
        "CONTINUATION of another stream": "000000 09 04 00000003",
        "an unknown type": "000000 42 00 00000001",
        "an unknown type on stream 0": "000000 42 00 00000000",
    }
    for name, frame in others.items():
        also = " 5.5-in-block" if "unknown" in name else ""
        case(
            f"HEADERS that have not ended are followed by {name}",
            f"4.3-contiguous 6.2-interrupted 8.1-nothing-between{also}",
            ["000003 01 01 00000001 82 87 84", frame, "000003 09 04 00000001 41 01 61"],
            ["000008 07 00 00000000 00000001 00000001"],
        )
        case(
            f"CONTINUATION that has not ended is followed by {name}",
            f"6.10-interrupted 8.1-nothing-between{also}",
            ["000003 01 01 00000001 82 87 84", "000002 09 00 00000001 41 01", frame, "000001 09 04 00000001 61"],
            ["000008 07 00 00000000 00000001 00000001"],
        )
    case(
        "trailers that have not ended are followed by DATA",
        "4.3-contiguous 6.2-interrupted",
        [post(1), headers(1, b"\x00\x01x", end=True, whole=False), data(1, b"x"), continuation(1, b"\x01y")],
        ["000008 07 00 00000000 00000001 00000001"],
        begun=[1],
    )


_preface()
_form()
_size()
_blocks()
_interrupted()
