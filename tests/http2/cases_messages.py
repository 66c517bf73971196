"""Cases of RFC 9113 §8.1 and §8.2: how a message is framed, when it is malformed, what its fields may be."""

from __future__ import annotations

from tests.http2.case import Answer, Do, Got, case
from tests.http2.frames import (
    POST,
    block,
    continuation,
    data,
    get,
    headers,
    literal,
    post,
    request_block,
)

RESET_1 = "000004 03 00 00000001 00000001"
"""Stream 1 is reset with PROTOCOL_ERROR: what becomes of a malformed request."""
WAIT = b"/wait"


def malformed(name: str, shows: str, *fields: tuple[bytes, bytes]) -> None:
    """A GET with these fields is reset, and the next request is served."""
    case(
        name,
        f"8.1.1-stream-error {shows}",
        [headers(1, request_block(b"GET", b"/", *fields), end=True), get(3)],
        [RESET_1],
        served=[3],
    )


def accepted(name: str, shows: str, *fields: tuple[bytes, bytes]) -> None:
    """A GET with these fields is served."""
    case(name, shows, [get(1, b"/", *fields), get(3)], served=[Got(1, fields=((b"host", b"a"), *fields)), 3])


def _framing() -> None:
    trailers = block((b"x-sum", b"1"))
    case(
        "a request with trailers, which never become header fields",
        "8.1-trailers-pseudo 8.1-second-headers",
        [post(1, b"/", (b"x", b"y")), data(1, b"ab"), headers(1, trailers, end=True), get(3)],
        served=[Got(1, b"POST", b"/", b"ab", ((b"host", b"a"), (b"x", b"y"))), 3],
    )
    case(
        "trailers in two frames behind no body",
        "8.1-second-headers",
        [post(1), headers(1, trailers[:3], end=True, whole=False), continuation(1, trailers[3:])],
        served=[Got(1, b"POST")],
    )
    case(
        "trailers without a field",
        "8.1-second-headers",
        [post(1), data(1, b"x"), "000000 01 05 00000001"],
        served=[Got(1, b"POST", b"/", b"x")],
    )
    case(
        "a second HEADERS without END_STREAM",
        "8.1-second-headers 8.1.1-stream-error",
        [post(1), data(1, b"x"), headers(1, trailers), data(1, b"y", end=True), get(3)],
        [RESET_1],
        served=[3],
        begun=[1],
    )
    case(
        "the same head twice",
        "8.1-second-headers 8.1.1-stream-error",
        [headers(1, POST), headers(1, POST), get(3)],
        [RESET_1],
        served=[3],
        begun=[1],
    )
    for name, fields in {
        ":path": ((b":path", b"/other"),),
        ":status": ((b"x", b"y"), (b":status", b"200")),
        "an unknown pseudo-header field": ((b":x", b"y"),),
        "an upper-case name": ((b"X-Sum", b"1"),),
        "a line feed": ((b"x", b"a\nb"),),
        "transfer-encoding": ((b"transfer-encoding", b"chunked"),),
    }.items():
        pseudo = fields[-1][0].startswith(b":")
        case(
            f"trailers with {name}",
            "8.1.1-stream-error " + ("8.1-trailers-pseudo 8.3-not-in-trailers" if pseudo else "8.2.1-malformed"),
            [post(1), data(1, b"x"), headers(1, block(*fields), end=True), get(3)],
            [RESET_1],
            served=[3],
            begun=[1],
        )
    case(
        "a response may come before the request is whole, and what is left of it after",
        "8.1-early",
        [post(1, b"/early"), Do.NEXT, data(1, b"x"), data(1, b"y", end=True), Do.LATER, get(3)],
        served=[3],
        begun=[1],
        answers={1: Answer(body=b"POST /early 0")},
    )
    case(
        "a client that goes on sending after the response is told to stop, without an error",
        "8.1-early 5.1-reset-discards",
        [post(1, b"/early"), Do.NEXT, data(1, b"x"), Do.LATER, data(1, b"y"), headers(1, trailers, end=True), get(3)],
        ["000004 03 00 00000001 00000000"],
        served=[3],
        begun=[1],
        answers={1: Answer(body=b"POST /early 0")},
    )


def _length() -> None:
    length = b"content-length"
    for name, value, bodies in (
        ("in one frame", b"3", [data(1, b"xyz", end=True)]),
        ("in three, one of them empty", b"3", [data(1, b"x"), data(1), data(1, b"yz", end=True)]),
        ("with padding", b"3", [data(1, b"xyz", padding=9), data(1, padding=3, end=True)]),
        ("with trailers behind", b"3", [data(1, b"xyz"), headers(1, block((b"x", b"y")), end=True)]),
        ("with leading zeros", b"0003", [data(1, b"xyz", end=True)]),
    ):
        case(
            f"a body of its content-length, {name}",
            "8.1.1-length",
            [post(1, b"/", (length, value)), *bodies],
            served=[Got(1, b"POST", b"/", b"xyz", ((b"host", b"a"), (length, value)))],
        )
    accepted("no body and a content-length of 0", "8.1.1-length", (length, b"0"))
    for name, value, bodies in (
        ("shorter than its content-length", b"3", [data(1, b"xy", end=True)]),
        ("longer than its content-length", b"3", [data(1, b"xyz"), data(1, b"z", end=True)]),
        ("longer than its content-length at once", b"3", [data(1, b"xyzz")]),
        ("shorter, but for its padding", b"3", [data(1, b"xy", padding=1, end=True)]),
        ("shorter, with trailers", b"3", [data(1, b"xy"), headers(1, block((b"x", b"y")), end=True)]),
        ("missing, and trailers in its place", b"3", [headers(1, block((b"x", b"y")), end=True)]),
        ("of some octets where 0 were promised", b"0", [data(1, b"x", end=True)]),
        ("that ends without an octet", b"1", [data(1, end=True)]),
        ("of 2^64 octets that does not come", b"18446744073709551616", [data(1, b"x", end=True)]),
    ):
        case(
            f"a body {name}",
            "8.1.1-length 8.1.1-stream-error",
            [post(1, b"/", (length, value)), *bodies, get(3)],
            [RESET_1],
            served=[3],
            begun=[1],
        )
    malformed("a content-length and no body", "8.1.1-length", (length, b"3"))
    for value in (b"", b"+3", b"-1", b"0x3", b"3, 3", b"3 3", b"three"):
        case(
            f"a content-length that is no number: {value!r}",
            "8.1.1-length",
            [post(1, b"/", (length, value)), data(1, b"xyz", end=True), get(3)],
            [RESET_1],
            served=[3],
        )
    case(
        "two content-lengths that differ",
        "8.1.1-length",
        [post(1, b"/", (length, b"3"), (length, b"4")), data(1, b"xyz", end=True), get(3)],
        [RESET_1],
        served=[3],
    )


def _names() -> None:
    for octet in (0x00, 0x01, 0x09, 0x0A, 0x0D, 0x20, ord("A"), ord("Z"), 0x7F, 0x80, 0xC3, 0xFF):
        name = b"x" + bytes([octet]) + b"y"
        malformed(f"0x{octet:02x} in a name", "8.2.1-name 8.2.1-validated 8.2.1-malformed", (name, b"1"))
    malformed("an upper-case name", "8.2.1-name 8.2.1-malformed", (b"Accept", b"*/*"))
    malformed("a name that ends with a space", "8.2.1-name", (b"x ", b"1"))
    malformed("a colon within a name", "8.2.1-name-colon 8.2.1-malformed", (b"x:y", b"1"))
    malformed("a colon at the end of a name", "8.2.1-name-colon", (b"host:", b"1"))
    malformed("a name without a letter", "8.2.1-strict", (b"", b"1"))
    for octet in b'"(),/;<=>?@[\\]{}':
        malformed(f"{chr(octet)} in a name", "8.2.1-strict", (b"x" + bytes([octet]), b"1"))
    accepted("every octet a name may hold", "8.2.1-validated", (b"!#$%&'*+-.^_`|~09az", b"1"))
    case(
        "an upper-case name that comes from the table",
        "8.2.1-name 8.2.1-malformed",
        [
            headers(1, request_block() + b"\x40\x01X\x011", end=True),
            headers(3, request_block() + b"\xbe", end=True),
            headers(5, request_block(), end=True),
        ],
        [RESET_1, "000004 03 00 00000003 00000001"],
        served=[5],
    )


def _values() -> None:
    for octet in (0x00, 0x0A, 0x0D):
        for place, value in {"at the start of": b"%cab", "within": b"a%cb", "at the end of": b"ab%c"}.items():
            malformed(
                f"0x{octet:02x} {place} a value",
                "8.2.1-value 8.2.1-validated 8.2.1-malformed",
                (b"x", value % octet),
            )
    malformed("a value that would split a request", "8.2.1-value", (b"x", b"y\r\nhost: b"))
    for value in (b" a", b"a ", b"\ta", b"a\t", b" ", b"\t"):
        malformed(f"white space around a value: {value!r}", "8.2.1-value-edges 8.2.1-malformed", (b"x", value))
    for octet in (0x01, 0x08, 0x0B, 0x0C, 0x1F, 0x7F):
        malformed(f"0x{octet:02x} in a value", "8.2.1-strict", (b"x", b"a%cb" % octet))
    accepted(
        "every octet a value may hold",
        "8.2.1-validated",
        (b"x", bytes([*range(0x21, 0x7F), 9, 0x20, *range(0x80, 0x100)])),
        (b"empty", b""),
    )


def _connection_specific() -> None:
    for name, value in (
        (b"connection", b"close"),
        (b"connection", b"keep-alive"),
        (b"proxy-connection", b"keep-alive"),
        (b"keep-alive", b"timeout=5"),
        (b"transfer-encoding", b"chunked"),
        (b"transfer-encoding", b"identity"),
        (b"upgrade", b"h2c"),
        (b"upgrade", b"websocket"),
    ):
        malformed(f"{name.decode()}: {value.decode()}", "8.2.2-malformed", (name, value))
    for value in (b"gzip", b"trailers, gzip", b"gzip, trailers", b"trailers;q=1", b"chunked", b""):
        malformed(f"te: {value.decode()}", "8.2.2-te 8.2.2-malformed", (b"te", value))
    accepted("te: trailers", "8.2.2-te", (b"te", b"trailers"))
    accepted("http2-settings means nothing here", "8.2.2-malformed", (b"http2-settings", b"AAMAAABk"))


def _cookies() -> None:
    case(
        "cookie fields are joined at the place of the first",
        "8.2.3-cookie",
        [
            get(
                1,
                b"/",
                (b"x", b"1"),
                (b"cookie", b"a=b"),
                (b"y", b"2"),
                (b"cookie", b"c=d; e=f"),
                (b"cookie", b"g=h"),
            )
        ],
        served=[Got(1, fields=((b"host", b"a"), (b"x", b"1"), (b"cookie", b"a=b; c=d; e=f; g=h"), (b"y", b"2")))],
    )
    accepted("one cookie field stays as it is", "8.2.3-cookie", (b"cookie", b"a=b; c=d"))
    case(
        "a cookie with a value in front of another's crumbs cannot smuggle a field",
        "8.2.3-cookie 8.2.1-value",
        [
            headers(1, request_block() + literal(b"cookie", b"a=b") + literal(b"cookie", b"c\r\nx: y"), end=True),
            get(3),
        ],
        [RESET_1],
        served=[3],
    )


_framing()
_length()
_names()
_values()
_connection_specific()
_cookies()
