"""Cases of RFC 9113 §8.3 to §8.7: pseudo-header fields, CONNECT, what is said of streams that were not processed."""

from __future__ import annotations

from tests.http2.case import Answer, Do, Got, case
from tests.http2.frames import POST, block, data, get, headers, post, request_block, rst

RESET_1 = "000004 03 00 00000001 00000001"
"""Stream 1 is reset with PROTOCOL_ERROR: what becomes of a malformed request."""
METHOD, SCHEME, PATH, AUTHORITY = (
    (b":method", b"GET"),
    (b":scheme", b"https"),
    (b":path", b"/"),
    (b":authority", b"a"),
)
WAIT = b"/wait"
Field = tuple[bytes, bytes]


def malformed(name: str, shows: str, *fields: Field) -> None:
    """A request of exactly these fields is reset, and the next is served."""
    case(
        name,
        f"8.1.1-stream-error {shows}",
        [headers(1, block(*fields), end=True), get(3)],
        [RESET_1],
        served=[3],
    )


def accepted(
    name: str, shows: str, fields: list[Field], *seen: Field, method: bytes = b"GET", path: bytes = b"/"
) -> None:
    """A request of exactly these fields is served; the application sees the fields ``seen``."""
    case(name, shows, [headers(1, block(*fields), end=True), get(3)], served=[Got(1, method, path, b"", seen), 3])


def _pseudo() -> None:
    accepted(
        "pseudo-header fields in any order",
        "8.3-before 8.3.1-mandatory 8.3.1-version",
        [AUTHORITY, PATH, METHOD, SCHEME, (b"x", b"y")],
        (b"host", b"a"),
        (b"x", b"y"),
    )
    for late in (METHOD, SCHEME, PATH, AUTHORITY):
        others = [field for field in (METHOD, SCHEME, PATH, AUTHORITY) if field != late]
        name = late[0].decode()
        malformed(f"{name} behind a regular field", "8.3-after 8.3-before", *others, (b"x", b"y"), late)
        malformed(f"{name} twice", "8.3-repeated 8.3-once", late, *others, late)
        malformed(
            f"{name} twice, behind a regular field", "8.3-repeated 8.3-after", late, *others, (b"x", b"y"), late
        )
    malformed("a second :path that differs", "8.3-repeated", METHOD, SCHEME, PATH, AUTHORITY, (b":path", b"/b"))
    for extra in ((b":status", b"200"), (b":reason", b"OK"), (b":", b"x"), (b":Path", b"/"), (b":version", b"2")):
        malformed(
            f"{extra[0].decode()} in a request",
            "8.3-undefined 8.3-not-in-requests",
            METHOD,
            SCHEME,
            PATH,
            AUTHORITY,
            extra,
        )
    for missing in (METHOD, SCHEME, PATH):
        rest = [field for field in (METHOD, SCHEME, PATH, AUTHORITY) if field != missing]
        malformed(f"no {missing[0].decode()}", "8.3.1-mandatory", *rest)
        malformed(f"an empty {missing[0].decode()}", "8.3.1-mandatory 8.3-undefined", *rest, (missing[0], b""))
    malformed("no field at all", "8.3.1-mandatory")
    malformed("regular fields alone", "8.3.1-mandatory", (b"host", b"a"), (b"x", b"y"))


def _values() -> None:
    for method in (b"G T", b"GET\x00", b"GET ", b"G\xc9T"):
        malformed(
            f"the method {method!r}", "8.3.1-mandatory 8.3-undefined", (b":method", method), SCHEME, PATH, AUTHORITY
        )
    for scheme in (b"ht tp", b"1http", b"https:", b"http\x00"):
        malformed(
            f"the scheme {scheme!r}", "8.3.1-mandatory 8.3-undefined", METHOD, (b":scheme", scheme), PATH, AUTHORITY
        )
    for path in (b"", b"a", b"?q", b"http://a/", b"/a b", b"/a\x00", b"/\r\nx: y", b"/a#b", b"/\xe9", b"/\x7f"):
        malformed(
            f"the path {path!r}",
            "8.3.1-path 8.3.1-mandatory 8.3-undefined" if not path else "8.3.1-mandatory 8.3-undefined",
            METHOD,
            SCHEME,
            (b":path", path),
            AUTHORITY,
        )
    malformed(
        "an empty path of an OPTIONS request",
        "8.3.1-path",
        (b":method", b"OPTIONS"),
        SCHEME,
        (b":path", b""),
        AUTHORITY,
    )
    malformed("the path * of a GET", "8.3.1-asterisk", METHOD, SCHEME, (b":path", b"*"), AUTHORITY)
    accepted(
        "the path * of an OPTIONS request",
        "8.3.1-asterisk",
        [(b":method", b"OPTIONS"), SCHEME, (b":path", b"*"), AUTHORITY],
        (b"host", b"a"),
        method=b"OPTIONS",
        path=b"*",
    )
    for path in (b"/a?b=c&d", b"//a/b", b"/%00?%", b"/a/../b", b"/?", b"/'\"<>\\^`{|}~"):
        accepted(
            f"the path {path!r}",
            "8.3.1-mandatory",
            [METHOD, SCHEME, (b":path", path), AUTHORITY],
            (b"host", b"a"),
            path=path,
        )
    accepted("the scheme http", "8.3.1-mandatory", [METHOD, (b":scheme", b"http"), PATH, AUTHORITY], (b"host", b"a"))


def _authority() -> None:
    example = (b":authority", b"example.com:8080")
    accepted(
        ":authority becomes host, before all other fields",
        "8.3.1-forward-host 8.3.1-authority-rules",
        [METHOD, SCHEME, PATH, example, (b"x", b"y")],
        (b"host", b"example.com:8080"),
        (b"x", b"y"),
    )
    accepted(
        "a host equal to :authority gives one host",
        "8.3.1-forward-host 8.3.1-host-differs",
        [METHOD, SCHEME, PATH, example, (b"x", b"y"), (b"host", b"example.com:8080")],
        (b"host", b"example.com:8080"),
        (b"x", b"y"),
    )
    accepted(
        "host alone",
        "8.3.1-no-authority",
        [METHOD, SCHEME, PATH, (b"x", b"y"), (b"host", b"b")],
        (b"x", b"y"),
        (b"host", b"b"),
    )
    for host in (b"b", b"a:80", b"a.b", b""):
        malformed(
            f"host {host!r} and another :authority",
            "8.3.1-host-differs 8.3.1-authority-rules",
            METHOD,
            SCHEME,
            PATH,
            AUTHORITY,
            (b"host", host),
        )
    malformed("neither :authority nor host", "8.3.1-no-authority", METHOD, SCHEME, PATH, (b"x", b"y"))
    malformed("two hosts", "8.3.1-no-authority", METHOD, SCHEME, PATH, (b"host", b"a"), (b"host", b"b"))
    for value in (b"user@a", b"user:word@a", b"@a"):
        malformed(
            f"user information in :authority {value!r}",
            "8.3.1-userinfo",
            METHOD,
            SCHEME,
            PATH,
            (b":authority", value),
        )
    for value in (b"", b"a b", b"a/b", b"a\x00", b"a,b\\c", b"a?b"):
        malformed(f":authority {value!r}", "8.3-undefined", METHOD, SCHEME, PATH, (b":authority", value))
    accepted(
        ":authority with an address",
        "8.3.1-forward-host",
        [METHOD, SCHEME, PATH, (b":authority", b"[::1]:8000")],
        (b"host", b"[::1]:8000"),
    )


def _connect() -> None:
    connect = (b":method", b"CONNECT")
    case(
        "CONNECT is answered by the server itself",
        "8.5-refused 8.5-omitted",
        [headers(1, block(connect, (b":authority", b"a:443")), end=True), get(3)],
        served=[3],
        answers={1: Answer(501)},
    )
    case(
        "CONNECT that goes on to send is told to stop",
        "8.5-refused",
        [headers(1, block(connect, (b":authority", b"a:443"))), Do.LATER, data(1, b"hello"), get(3)],
        ["000004 03 00 00000001 00000000"],
        served=[3],
        answers={1: Answer(501)},
    )
    for name, fields in {
        "with :scheme and :path": (connect, SCHEME, PATH, AUTHORITY),
        "with :path": (connect, PATH, AUTHORITY),
        "with :scheme": (connect, SCHEME, AUTHORITY),
        "without :authority": (connect,),
        "with host in place of :authority": (connect, (b"host", b"a:443")),
    }.items():
        malformed(f"CONNECT {name}", "8.5-omitted", *fields)
    malformed(
        "extended CONNECT that was not offered",
        "8.5-refused 8.3-undefined",
        connect,
        (b":protocol", b"websocket"),
        SCHEME,
        PATH,
        AUTHORITY,
    )
    malformed(":protocol of a GET", "8.3-undefined", METHOD, (b":protocol", b"websocket"), SCHEME, PATH, AUTHORITY)


def _reliability() -> None:
    case(
        "GOAWAY names the streams the application has seen",
        "8.7-goaway 8.7-guaranteed",
        [get(1), get(3, WAIT), post(5, WAIT), Do.NEXT, "000000 00 00 00000000"],
        ["000008 07 00 00000000 00000005 00000001"],
        served=[1, Got(3, path=WAIT)],
        begun=[5],
    )
    case(
        "a malformed stream the application has seen is not called refused",
        "8.7-refused 8.7-guaranteed",
        [headers(1, POST), data(1, b"x"), Do.NEXT, headers(1, request_block()), get(3)],
        [RESET_1],
        served=[3],
        begun=[1],
    )
    case(
        "streams refused and reset leave the connection to the others",
        "8.7-guaranteed",
        [*[get(number, WAIT) for number in range(1, 201, 2)], get(201), get(203), rst(201), Do.ANSWER, get(205)],
        ["000004 03 00 000000c9 00000007", "000004 03 00 000000cb 00000007"],
        served=[*[Got(number, path=WAIT) for number in range(1, 201, 2)], 205],
        answers={number: Answer(body=b"GET /wait 0") for number in range(1, 201, 2)},
    )


_pseudo()
_values()
_authority()
_connect()
_reliability()
