"""Raw requests and what must become of them: the HTTP/1.1 table of hostile input, and ordinary life beside it.

Each case is input as bytes and everything that can be seen from outside; ``test_cases`` runs it over
both head parsers and splits the bytes in every way. Statuses follow RFC 9110 §15 and RFC 6585 §5.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

HOST = b"Host: example.com\r\n"
NEXT = b"GET /next HTTP/1.1\r\n" + HOST + b"\r\n"
"""A request behind the one under test: served only if that one was framed as we say."""
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"


@dataclass(frozen=True)
class Case:
    """``served`` are method, target and body of the requests an application sees, ``fate`` what the
    connection comes to (``kept``, ``waiting`` or a close reason), ``says`` a part of the last answer's text,
    ``fields`` the fields of the first request, when they matter."""

    name: str
    raw: bytes
    served: tuple[tuple[bytes, bytes, bytes], ...] = ()
    refused: int = 0
    fate: str = "kept"
    says: str = ""
    fields: tuple[tuple[bytes, bytes], ...] | None = None
    versions: tuple[str, ...] | None = None
    limits: dict[str, Any] = field(default_factory=dict)


CASES: list[Case] = []


def served(name: str, raw: bytes, *requests: tuple[bytes, ...], fate: str = "kept", **more: Any) -> None:
    """Add a case whose requests are all served; a body left out is empty."""
    full = tuple((entry[0], entry[1], entry[2] if len(entry) > 2 else b"") for entry in requests)
    CASES.append(Case(name, raw, full, fate=fate, **more))


def refused(name: str, raw: bytes, status: int, says: str, *before: tuple[bytes, ...], **more: Any) -> None:
    """Add a case that ends with an answer of the server's own and the close."""
    full = tuple((entry[0], entry[1], entry[2] if len(entry) > 2 else b"") for entry in before)
    CASES.append(Case(name, raw, full, status, more.pop("fate", "bad_request"), says, **more))


def get(*lines: bytes, target: bytes = b"/", version: bytes = b"HTTP/1.1", host: bytes = HOST) -> bytes:
    """A GET with these field lines."""
    return b"GET " + target + b" " + version + b"\r\n" + host + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


def post(*lines: bytes, body: bytes = b"", target: bytes = b"/", version: bytes = b"HTTP/1.1") -> bytes:
    """A POST with these field lines and this body as it stands."""
    head = b"POST " + target + b" " + version + b"\r\n" + HOST + b"".join(line + b"\r\n" for line in lines)
    return head + b"\r\n" + body


def chunked(body: bytes, *lines: bytes) -> bytes:
    """A chunked POST with this framing as it stands."""
    return post(b"Transfer-Encoding: chunked", *lines, body=body)


def _ordinary() -> None:
    served("get", get(), (b"GET", b"/"), fields=((b"host", b"example.com"),), versions=("1.1",))
    served("two pipelined", get(target=b"/1") + NEXT, (b"GET", b"/1"), (b"GET", b"/next"))
    served("query", get(target=b"/a%20b?c=d&e"), (b"GET", b"/a%20b?c=d&e"))
    served("odd but legal target", get(target=b"/\"<>\\^`{|}~'"), (b"GET", b"/\"<>\\^`{|}~'"))
    served("target that looks like an authority", get(target=b"//evil/path"), (b"GET", b"//evil/path"))
    served(
        "body by length",
        post(b"Content-Length: 5", body=b"hello") + NEXT,
        (b"POST", b"/", b"hello"),
        (b"GET", b"/next"),
    )
    served("length zero", post(b"Content-Length: 0") + NEXT, (b"POST", b"/"), (b"GET", b"/next"))
    served("no length means no body", post() + NEXT, (b"POST", b"/"), (b"GET", b"/next"))
    served(
        "body in chunks",
        chunked(b"5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n") + NEXT,
        (b"POST", b"/", b"hello!"),
        (b"GET", b"/next"),
    )
    served(
        "chunked is case-insensitive",
        post(b"Transfer-Encoding: ChUnKeD", body=b"0\r\n\r\n") + NEXT,
        (b"POST", b"/"),
        (b"GET", b"/next"),
    )
    served("empty chunked body", chunked(b"0\r\n\r\n"), (b"POST", b"/"))
    served(
        "values are stripped, names lower-cased, order and repetition kept",
        get(b"X-B: \t two  words \t", b"x-a:1", b"X-B:", b"X-b:   ", b"X-C: \xe9\xff"),
        (b"GET", b"/"),
        fields=(
            (b"host", b"example.com"),
            (b"x-b", b"two  words"),
            (b"x-a", b"1"),
            (b"x-b", b""),
            (b"x-b", b""),
            (b"x-c", b"\xe9\xff"),
        ),
    )
    served(
        "every byte a value may hold",
        get(b"X: " + bytes([9, *range(0x21, 0x7F), *range(0x80, 0x100)]) + b"."),
        (b"GET", b"/"),
    )
    served("every byte a name may hold", get(b"!#$%&'*+-.^_`|~09AZaz: 1"), (b"GET", b"/"))
    served("empty lines before a request", b"\r\n\r\n" + get() + b"\r\n" + NEXT, (b"GET", b"/"), (b"GET", b"/next"))
    served("half an empty line", get() + b"\r", (b"GET", b"/"))
    served("close", get(b"Connection: close"), (b"GET", b"/"), fate="client_asked")
    served("close in capitals", get(b"Connection: CLOSE"), (b"GET", b"/"), fate="client_asked")
    served(
        "close among others", get(b"Connection: foo", b"Connection: bar , Close"), (b"GET", b"/"), fate="client_asked"
    )
    served("a word that holds close is not close", get(b"Connection: not-close, closed"), (b"GET", b"/"))
    served("close beside keep-alive", get(b"Connection: keep-alive, close"), (b"GET", b"/"), fate="client_asked")
    served(
        "proxy-connection means nothing", get(b"Proxy-Connection: close") + NEXT, (b"GET", b"/"), (b"GET", b"/next")
    )
    served("1.0 closes", get(version=b"HTTP/1.0"), (b"GET", b"/"), fate="client_asked", versions=("1.0",))
    served("1.0 needs no Host", get(version=b"HTTP/1.0", host=b""), (b"GET", b"/"), fate="client_asked")
    served(
        "1.0 kept alive",
        get(b"Connection: Keep-Alive", version=b"HTTP/1.0") + NEXT,
        (b"GET", b"/"),
        (b"GET", b"/next"),
        versions=("1.0", "1.1"),
    )
    served(
        "1.0 with a body",
        post(b"Content-Length: 2", b"Connection: keep-alive", body=b"hi", version=b"HTTP/1.0") + NEXT,
        (b"POST", b"/", b"hi"),
        (b"GET", b"/next"),
    )
    served("unfinished head", b"GET / HTTP/1.1\r\nHost: x\r\n", fate="waiting")
    served("unfinished body", post(b"Content-Length: 5", body=b"hell"), fate="waiting")
    served("unfinished chunk", chunked(b"5\r\nhell"), fate="waiting")
    served("unfinished last chunk", chunked(b"5\r\nhello\r\n0\r\n"), fate="waiting")
    for method in (
        b"HEAD",
        b"PUT",
        b"DELETE",
        b"OPTIONS",
        b"PATCH",
        b"TRACE",
        b"QUERY",
        b"PROPFIND",
        b"M-SEARCH",
        b"REPORT",
    ):
        served(f"method {method.decode()}", method + get()[3:] + NEXT, (method, b"/"), (b"GET", b"/next"))


def _row_4_sizes() -> None:
    small = {"request_line": 40, "request_head": 100, "request_fields": 4}
    served(
        "row 4: line just short enough",
        get(target=b"/" + b"a" * 26, host=b"Host:x\r\n"),
        (b"GET", b"/" + b"a" * 26),
        limits=small,
    )
    refused("row 4: line one too long", get(target=b"/" + b"a" * 27), 414, "longer than 40 bytes", limits=small)
    refused("row 4: line without end", b"GET /" + b"a" * 60, 414, "longer than 40 bytes", limits=small)
    refused("row 4: line far too long", get(target=b"/" + b"a" * 200), 414, "longer than 40 bytes", limits=small)
    refused("row 4: control character inside a line too long", b"GET /\x01" + b"a" * 60, 400, "0x01", limits=small)
    refused(
        "row 4: control character behind a line too long", b"GET /" + b"a" * 60 + b"\x01", 414, "longer", limits=small
    )
    refused(
        "row 4: CR at the very end of the line allowed", b"GET /" + b"a" * 36 + b"\rx", 414, "longer", limits=small
    )
    head = get(b"A: " + b"b" * 58)
    served("row 4: head just small enough", head, (b"GET", b"/"), limits={"request_head": len(head)})
    refused("row 4: head one too large", head, 431, "larger than", limits={"request_head": len(head) - 1})
    refused("row 4: head without end", get(b"A: " + b"b" * 200)[:-4], 431, "larger than 100 bytes", limits=small)
    refused(
        "row 4: control character behind a head too large",
        get(b"A: " + b"b" * 90 + b"\x02"),
        431,
        "larger",
        limits=small,
    )
    refused(
        "row 4: control character before the head is too large",
        get(b"A: \x02" + b"b" * 90),
        400,
        "0x02",
        limits=small,
    )
    served("row 4: as many fields as allowed", get(b"a:1", b"b:2", b"c:3"), (b"GET", b"/"), limits=small)
    refused(
        "row 4: one field too many",
        get(b"a:1", b"b:2", b"c:3", b"d:4"),
        431,
        "more than 4 header fields",
        limits=small,
    )
    refused("row 4: many fields without end", get(*[b"a:1"] * 7)[:-2], 431, "more than 4 header fields", limits=small)
    refused(
        "row 4: bare LF in a field too many", get(b"a:1", b"b:2", b"c:3", b"d\n4"), 431, "more than 4", limits=small
    )
    refused(
        "row 4: bare LF before the field too many",
        get(b"a:1", b"b:2", b"c\n3", b"d:4"),
        400,
        "bare CR or LF",
        limits=small,
    )
    served(
        "body at its limit",
        post(b"Content-Length: 5", body=b"hello"),
        (b"POST", b"/", b"hello"),
        limits={"request_body": 5},
    )
    refused(
        "length above its limit",
        post(b"Content-Length: 6", body=b"hello!"),
        413,
        "larger than 5 bytes",
        limits={"request_body": 5},
    )
    served(
        "chunks at the limit",
        chunked(b"3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"),
        (b"POST", b"/", b"hello"),
        limits={"request_body": 5},
    )
    refused(
        "chunks above the limit",
        chunked(b"3\r\nhel\r\n3\r\nlo!\r\n0\r\n\r\n"),
        413,
        "larger than 5 bytes",
        limits={"request_body": 5},
    )


def _rows_6_to_10_framing() -> None:
    for name, lines in {
        "length first": (b"Content-Length: 4", b"Transfer-Encoding: chunked"),
        "coding first": (b"Transfer-Encoding: chunked", b"Content-Length: 4"),
        "length zero": (b"Content-Length: 0", b"Transfer-Encoding: chunked"),
        "apart": (b"Content-Length: 4", b"X: y", b"transfer-encoding:chunked"),
        "unknown coding": (b"Content-Length: 4", b"Transfer-Encoding: identity"),
    }.items():
        refused(
            f"row 6: length and coding, {name}", post(*lines, body=b"0\r\n\r\n" + SMUGGLED), 400, "stand together"
        )
    for value in (
        b"4, 4",
        b"+4",
        b"-1",
        b"0x4",
        b"1_0",
        b"",
        b"18446744073709551616",
        b"1" * 30,
        b"4.0",
        b"4 4",
        b"4;",
        b"\xb2",
        b"0 4",
        b"4,",
        b",4",
    ):
        refused(
            f"row 7: length {value!r}",
            post(b"Content-Length: " + value, body=b"abcd" + SMUGGLED),
            400,
            "not a plain decimal number",
        )
    for name, second in {"identical": b"4", "different": b"5", "by another case": b"4"}.items():
        key = b"CONTENT-LENGTH: " if "case" in name else b"Content-Length: "
        refused(
            f"row 7: two lengths, {name}",
            post(b"Content-Length: 4", key + second, body=b"abcd" + SMUGGLED),
            400,
            "stands more than once",
        )
    served(
        "row 7: leading zeros are decimal digits",
        post(b"Content-Length: 0005", body=b"hello") + NEXT,
        (b"POST", b"/", b"hello"),
        (b"GET", b"/next"),
    )
    for value in (
        b"chunked, identity",
        b"identity",
        b"xchunked",
        b"chunkedx",
        b"chunked;q=1",
        b"chunked,",
        b",chunked",
        b"chunked chunked",
        b'"chunked"',
        b"",
    ):
        refused(
            f"row 8: coding {value!r}",
            post(b"Transfer-Encoding: " + value, body=b"0\r\n\r\n"),
            501,
            "exactly 'chunked'",
        )
    refused(
        "row 8: coding twice",
        post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
        400,
        "stands more than once",
    )
    refused(
        "row 8: coding twice, one of them empty",
        post(b"Transfer-Encoding:", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
        400,
        "stands more than once",
    )
    refused(
        "row 8: vertical tab before chunked", post(b"Transfer-Encoding: \x0bchunked", body=b"0\r\n\r\n"), 400, "0x0b"
    )
    refused(
        "row 8: space before the colon",
        post(b"Transfer-Encoding : chunked", body=b"0\r\n\r\n"),
        400,
        "no space before the colon",
    )
    refused("row 8: tab behind chunked", post(b"Transfer-Encoding: chunked\t", body=b"0\r\n\r\n"), 400, "malformed")
    served(
        "row 8: white space around chunked",
        post(b"Transfer-Encoding:\t chunked ", body=b"0\r\n\r\n") + NEXT,
        (b"POST", b"/"),
        (b"GET", b"/next"),
    )
    for value in (b"gzip, chunked", b"gzip", b"deflate,chunked", b"chunked, gzip", b"chunked, chunked"):
        refused(
            f"row 9: coding {value!r}",
            post(b"Transfer-Encoding: " + value, body=b"0\r\n\r\n"),
            501,
            "exactly 'chunked'",
        )
    for more in ((), (b"Connection: keep-alive",)):
        raw = post(b"Transfer-Encoding: chunked", *more, body=b"0\r\n\r\n", version=b"HTTP/1.0")
        refused(f"row 10: coding on 1.0 {more!r}", raw, 400, "no meaning in HTTP/1.0")


def _rows_11_to_14_lines() -> None:
    refused("row 11: bare LF everywhere", get().replace(b"\r\n", b"\n"), 400, "bare CR or LF")
    refused("row 11: bare LF after the request line", b"GET / HTTP/1.1\nHost: x\r\n\r\n", 400, "bare CR or LF")
    refused("row 11: bare LF after a field", b"GET / HTTP/1.1\r\nHost: x\nA: b\r\n\r\n", 400, "bare CR or LF")
    refused("row 11: bare LF before the empty line", b"GET / HTTP/1.1\r\nHost: x\n\r\n", 400, "bare CR or LF")
    refused("row 11: bare LF as the empty line", b"GET / HTTP/1.1\r\nHost: x\r\n\n", 400, "bare CR or LF")
    refused("row 11: bare LF before a request", b"\n" + get(), 400, "bare CR or LF")
    refused("row 11: bare CR everywhere", get().replace(b"\r\n", b"\r"), 400, "bare CR or LF")
    refused("row 11: bare CR in a value", get(b"A: b\rC: d"), 400, "bare CR or LF")
    refused("row 11: bare CR before the line end", b"GET / HTTP/1.1\r\r\nHost: x\r\n\r\n", 400, "bare CR or LF")
    refused("row 11: bare CR before a request", b"\r" + get(), 400, "bare CR or LF")
    refused("row 11: bare CR in the target", get(target=b"/a\rb"), 400, "bare CR or LF")
    refused("row 11: LF ends a chunk size", chunked(b"5\nhello\r\n0\r\n\r\n"), 400, "bare CR or LF")
    refused("row 11: LF ends a chunk", chunked(b"5\r\nhello\n0\r\n\r\n"), 400, "bare CR or LF")
    refused("row 11: CR ends a chunk size", chunked(b"5\rhello\r\n0\r\n\r\n"), 400, "bare CR or LF")
    refused("row 11: CR ends a chunk", chunked(b"5\r\nhello\r0\r\n\r\n"), 400, "bare CR or LF")
    refused("row 11: two CR end a chunk size", chunked(b"5\r\r\nhello\r\n0\r\n\r\n"), 400, "bare CR or LF")
    refused("row 11: LF ends the last chunk", chunked(b"0\n\n"), 400, "bare CR or LF")
    refused("row 11: LF ends the trailers", chunked(b"0\r\nA: b\n\r\n"), 400, "bare CR or LF")
    for fold in (b" ", b"\t", b"  \t"):
        refused(f"row 12: folded field, {fold!r}", get(b"A: b", fold + b"c"), 400, "")
        refused(
            f"row 12: folded coding, {fold!r}",
            post(b"Transfer-Encoding:", fold + b"chunked", body=b"0\r\n\r\n"),
            400,
            "",
        )
    refused("row 12: fold without anything", get(b"A: b", b" "), 400, "")
    for name, line in {
        "space before the colon": b"A : b",
        "tab before the colon": b"A\t: b",
        "empty name": b": b",
        "8-bit name": b"A\xe9: b",
        "no colon": b"A",
        "space in the name": b"A B: c",
        "delimiter in the name": b"A(B): c",
        "quote in the name": b'"A": c',
        "comma in the name": b"A,B: c",
    }.items():
        refused(f"row 13: {name}", get(line), 400, "")
        refused(f"row 13: {name}, and no good Host either", get(line, host=b"Host: a b\r\n"), 400, "")
    refused("row 13: control character in the name", get(b"A\x01: b"), 400, "0x01")
    refused("row 13: white space before the first field", b"GET / HTTP/1.1\r\n A: b\r\nHost: x\r\n\r\n", 400, "")
    for byte in (0x00, 0x01, 0x08, 0x0B, 0x0C, 0x0E, 0x1B, 0x1F, 0x7F):
        refused(f"row 14: 0x{byte:02x} in a value", get(b"A: b" + bytes([byte]) + b"c"), 400, f"0x{byte:02x}")
        refused(f"row 14: 0x{byte:02x} as a value", get(b"A: " + bytes([byte])), 400, f"0x{byte:02x}")


_ordinary()
_row_4_sizes()
_rows_6_to_10_framing()
_rows_11_to_14_lines()
