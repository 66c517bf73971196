"""More of the table: Host, versions, targets, methods, upgrades, chunks, trailers, expectations (rows 15 to 38)."""

from __future__ import annotations

from tests.http1.cases import HOST, NEXT, SMUGGLED, chunked, get, post, refused, served


def _row_15_host() -> None:
    refused("row 15: no Host", get(host=b""), 400, "needs a Host field")
    for second in (b"Host: example.com\r\n", b"Host: other\r\n", b"HOST: example.com\r\n", b"Host:\r\n"):
        refused(f"row 15: two, {second!r}", get(host=HOST + second), 400, "host stands more than once")
        refused(f"row 15: two, {second!r}, 1.0", get(host=HOST + second, version=b"HTTP/1.0"), 400, "more than once")
    for value in (
        b"user@example.com",
        b"user:pass@example.com",
        b"example.com/path",
        b"/",
        b"",
        b"http://example.com",
        b"example.com?q",
        b"example.com#f",
        b"a b",
        b"a,b\\c",
        b"example.com:80:80",
        b"example.com:http",
        b":80",
        b"[::1",
        b"::1",
        b"[::1]x",
        b"\xe9.example",
        b"%zz",
        b"<script>",
        b"a" * 600,
    ):
        refused(f"row 15: {value[:30]!r}", get(host=b"Host: " + value + b"\r\n"), 400, "not a plain host and port")
    for value in (
        b"a",
        b"example.com:8080",
        b"[::1]:80",
        b"[2001:db8::1]",
        b"127.0.0.1",
        b"a_b.c",
        b"a%41",
        b"example.com:",
    ):
        served(
            f"row 15: good, {value!r}",
            get(host=b"Host: " + value + b"\r\n") + NEXT,
            (b"GET", b"/"),
            (b"GET", b"/next"),
        )


def _row_16_version() -> None:
    for version in (b"HTTP/1.2", b"HTTP/2.0", b"HTTP/0.9", b"HTTP/3.0", b"HTTP/9.9", b"HTTP/0.0"):
        refused(f"row 16: {version.decode()}", get(version=version), 505, "is not spoken here")
    refused("row 16: HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "HTTP/2.0 is not spoken here")
    for version in (
        b"HTTP/1",
        b"HTTP/1.10",
        b"HTTP/11.1",
        b"HTTP/01.1",
        b"http/1.1",
        b"HTTP/1,1",
        b"HTTP 1.1",
        b"ICE/1.1",
        b"RTSP/1.0",
        b"HTTP/",
        b"HTTP/1.1 x",
    ):
        refused(f"row 16: {version!r}", get(version=version), 400, "METHOD target HTTP/1.1")
    refused("row 16: simple request of HTTP/0.9", b"GET /\r\n", 400, "METHOD target HTTP/1.1")
    refused("a TLS client", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "0x16")
    refused("noise", b"\x00\xff\x10", 400, "0x00")
    refused("one word", b"hello\r\n", 400, "METHOD target HTTP/1.1")


def _row_17_target() -> None:
    for target, path, authority in (
        (b"http://other.example/path?q=1", b"/path?q=1", b"other.example"),
        (b"http://other.example:8080/", b"/", b"other.example:8080"),
        (b"https://other.example/a", b"/a", b"other.example"),
        (b"HTTP://other.example/a", b"/a", b"other.example"),
        (b"http://other.example", b"/", b"other.example"),
        (b"http://other.example?q", b"/?q", b"other.example"),
        (b"http://[::1]:80/x", b"/x", b"[::1]:80"),
        (b"http://other.example//x", b"//x", b"other.example"),
        (b"http://127.0.0.1/http://x/", b"/http://x/", b"127.0.0.1"),
    ):
        served(
            f"row 17: absolute {target.decode()}",
            get(b"A: b", target=target) + NEXT,
            (b"GET", path),
            (b"GET", b"/next"),
            fields=((b"host", authority), (b"a", b"b")),
        )
    served(
        "row 17: absolute on 1.0 without Host",
        get(target=b"http://o/a", host=b"", version=b"HTTP/1.0"),
        (b"GET", b"/a"),
        fields=((b"host", b"o"),),
        fate="client_asked",
    )
    refused("row 17: absolute without Host", get(target=b"http://o/a", host=b""), 400, "needs a Host field")
    served("row 17: OPTIONS *", b"OPTIONS" + get(target=b"*")[3:] + NEXT, (b"OPTIONS", b"*"), (b"GET", b"/next"))
    served("row 17: OPTIONS of a whole server", b"OPTIONS" + get(target=b"http://o")[3:], (b"OPTIONS", b"*"))
    served("row 17: OPTIONS of the root", b"OPTIONS" + get(target=b"http://o/")[3:], (b"OPTIONS", b"/"))
    refused("row 17: GET *", get(target=b"*"), 400, "only for OPTIONS")
    refused("row 17: **", get(target=b"**"), 400, "neither a path nor an absolute")
    for target in (b"/a#b", b"/#", b"#", b"http://o/#f"):
        refused(f"row 17: fragment {target!r}", get(target=target), 400, "fragment")
    for target in (
        b"path",
        b"o:443",
        b"?q",
        b"ftp://o/",
        b"mailto:a",
        b"http:/o",
        b"http:o",
        b"http:",
        b".",
        b"@",
        b"%2f",
        b"ws://o/",
        b"httpx://o/",
    ):
        refused(f"row 17: neither {target!r}", get(target=target), 400, "neither a path nor an absolute")
    for target in (
        b"http:///a",
        b"http://",
        b"http://user@o/",
        b"http://u:p@o/",
        b"http://o:x/",
        b"http://[::1/",
        b"http://a,b\\c/",
    ):
        refused(f"row 17: authority {target!r}", get(target=target), 400, "authority is not a plain host")
    for name, line in {
        "two spaces before the target": b"GET  / HTTP/1.1",
        "two spaces behind the target": b"GET /  HTTP/1.1",
        "space in the target": b"GET /a b HTTP/1.1",
        "tab for a space": b"GET\t/ HTTP/1.1",
        "space before the method": b" GET / HTTP/1.1",
        "space behind the version": b"GET / HTTP/1.1 ",
        "no target": b"GET HTTP/1.1",
        "empty target": b"GET  HTTP/1.1",
        "UTF-8 in the target": b"GET /\xc3\xa9 HTTP/1.1",
        "delimiter in the method": b"GE(T / HTTP/1.1",
        "8-bit method": b"G\xc9T / HTTP/1.1",
    }.items():
        refused(f"row 17: {name}", line + b"\r\n" + HOST + b"\r\n", 400, "METHOD target HTTP/1.1")
    for byte in (0x00, 0x01, 0x1F, 0x7F):
        refused(f"row 17: 0x{byte:02x} in the target", get(target=b"/a" + bytes([byte])), 400, f"0x{byte:02x}")


def _rows_18_to_21_methods_and_upgrades() -> None:
    connect = b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n"
    refused("row 18: CONNECT and bytes behind", connect + SMUGGLED, 501, "not a proxy")
    refused("row 18: CONNECT with a body", connect[:-2] + b"Content-Length: 3\r\n\r\nabc", 501, "not a proxy")
    refused("row 18: CONNECT with a path", b"CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n", 501, "not a proxy")
    for method in (b"get", b"Get", b"FOO", b"GETS", b"BREW", b"PRI", b"A" * 50):
        refused(f"unknown method {method[:8]!r}", method + get()[3:], 501, "is not known")
    for value in (b"h2c", b"foo", b"TLS/1.0", b"foo, bar", b""):
        upgrade = (b"Connection: Upgrade", b"Upgrade: " + value)
        length = b"Content-Length: %d" % len(SMUGGLED)
        served(
            f"row 19: Upgrade {value!r} with a body",
            post(*upgrade, length, body=SMUGGLED) + NEXT,
            (b"POST", b"/", SMUGGLED),
            (b"GET", b"/next"),
        )
        served(
            f"row 19: Upgrade {value!r}, GET with a body",
            get(*upgrade, length) + SMUGGLED + NEXT,
            (b"GET", b"/", SMUGGLED),
            (b"GET", b"/next"),
        )
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED)
        served(
            f"row 19: Upgrade {value!r} with chunks",
            chunked(body, *upgrade) + NEXT,
            (b"POST", b"/", SMUGGLED),
            (b"GET", b"/next"),
        )
        served(f"row 19: Upgrade {value!r} without a body", get(*upgrade) + NEXT, (b"GET", b"/"), (b"GET", b"/next"))
        served(
            f"row 21: Upgrade {value!r} on 1.0",
            post(b"Connection: upgrade, keep-alive", upgrade[1], length, body=SMUGGLED, version=b"HTTP/1.0") + NEXT,
            (b"POST", b"/", SMUGGLED),
            (b"GET", b"/next"),
        )
    served(
        "row 19: Upgrade, and the close",
        get(b"Connection: upgrade, close", b"Upgrade: foo"),
        (b"GET", b"/"),
        fate="client_asked",
    )
    served(
        "row 19: Upgrade beside a field that stands twice",
        get(b"A: 1", b"A: 2", b"Connection: upgrade", b"Upgrade: foo") + NEXT,
        (b"GET", b"/"),
        (b"GET", b"/next"),
    )
    served("row 19: Upgrade without Connection", get(b"Upgrade: h2c") + NEXT, (b"GET", b"/"), (b"GET", b"/next"))
    served(
        "row 19: Connection: Upgrade without Upgrade",
        get(b"Connection: Upgrade") + NEXT,
        (b"GET", b"/"),
        (b"GET", b"/next"),
    )
    served(
        "row 19: Proxy-Connection: Upgrade",
        get(b"Proxy-Connection: Upgrade", b"Upgrade: foo") + NEXT,
        (b"GET", b"/"),
        (b"GET", b"/next"),
    )
    served(
        "row 20: h2c",
        get(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQAAP__") + NEXT,
        (b"GET", b"/"),
        (b"GET", b"/next"),
    )


def _rows_22_to_24_chunks() -> None:
    body = b"5\r\nhello\r\n0\r\n\r\n"
    for extension in (
        b";a",
        b";a=b",
        b";a=b;c",
        b';a="b c"',
        b';a="b\\"c"',
        b"; a = b",
        b";",
        b';a="b;c"',
        b";\xe9",
        b';a="\xe9"',
    ):
        served(
            f"row 22: extension {extension!r}",
            chunked(body.replace(b"5", b"5" + extension, 1)) + NEXT,
            (b"POST", b"/", b"hello"),
            (b"GET", b"/next"),
        )
    served(
        "row 22: extension of the last chunk",
        chunked(b"5\r\nhello\r\n0;a=b\r\n\r\n") + NEXT,
        (b"POST", b"/", b"hello"),
        (b"GET", b"/next"),
    )
    refused("row 22: quote that does not end", chunked(b'5;a="\r\nhello\r\n0\r\n\r\n' + SMUGGLED), 400, "chunk")
    refused("row 22: CR in quotes", chunked(b'5;a="\rb"\r\nhello\r\n0\r\n\r\n'), 400, "bare CR or LF")
    refused("row 22: LF in quotes", chunked(b'5;a="\nb"\r\nhello\r\n0\r\n\r\n'), 400, "bare CR or LF")
    refused("row 22: CRLF in quotes", chunked(b'5;a="\r\nb"\r\nhello\r\n0\r\n\r\n'), 400, "chunk")
    refused("row 22: bare CR in an extension", chunked(b"5;a\rb\r\nhello\r\n0\r\n\r\n"), 400, "bare CR or LF")
    refused("row 22: bare LF in an extension", chunked(b"5;a\nb\r\nhello\r\n0\r\n\r\n"), 400, "bare CR or LF")
    refused(
        "row 22: control character in an extension", chunked(b"5;a\x01\r\nhello\r\n0\r\n\r\n"), 400, "hexadecimal"
    )
    for size in (
        b"0x1",
        b"+1",
        b"-1",
        b" 1",
        b"1 ",
        b"\t1",
        b"g",
        b"",
        b"1,",
        b"1_0",
        b"0" * 40 + b"5",
        b"1" + b"0" * 16,
        b"f" * 17,
        b"1.",
        b"\xb2",
        b"5 ;a",
        b"5x\n",
    ):
        refused(
            f"row 23: size {size!r}", chunked(size + b"\r\nhello\r\n0\r\n\r\n"), 400, "1 to 16 hexadecimal digits"
        )
    for size in (b"05", b"0000000000000005", b"5"):
        served(f"row 23: good size {size!r}", chunked(size + b"\r\nhello\r\n0\r\n\r\n"), (b"POST", b"/", b"hello"))
    served(
        "row 23: capitals and small letters",
        chunked(b"A\r\n0123456789\r\nb\r\n0123456789a\r\n0\r\n\r\n"),
        (b"POST", b"/", b"01234567890123456789a"),
    )
    served("row 23: a huge size waits", chunked(b"ffffffffffffffff\r\nabc"), fate="waiting")
    refused(
        "row 23: chunk longer than its size",
        chunked(b"5\r\nhello!\r\n0\r\n\r\n"),
        400,
        "longer than its size line said",
    )
    refused("row 23: chunk shorter than its size", chunked(b"6\r\nhello\r\n0\r\n\r\n"), 400, "bare CR or LF")
    refused(
        "row 23: size behind an empty line",
        chunked(b"\r\n5\r\nhello\r\n0\r\n\r\n"),
        400,
        "1 to 16 hexadecimal digits",
    )
    for trailer in (b"X-Forwarded-For: 6.6.6.6", b"X-Sum: 1", b"X:", b"X: \xe9"):
        served(
            f"row 24: trailer {trailer!r} is dropped",
            chunked(b"5\r\nhello\r\n0\r\n" + trailer + b"\r\n\r\n") + NEXT,
            (b"POST", b"/", b"hello"),
            (b"GET", b"/next"),
            fields=((b"host", b"example.com"), (b"transfer-encoding", b"chunked")),
        )
    for name in (
        b"Host",
        b"Content-Length",
        b"Transfer-Encoding",
        b"Authorization",
        b"cOOKIE",
        b"Content-Type",
        b"Connection",
        b"TE",
        b"Trailer",
    ):
        refused(
            f"row 24: trailer {name.decode()}",
            chunked(b"0\r\nX-Forwarded-For: 6.6.6.6\r\n" + name + b": evil\r\n\r\n"),
            400,
            "may not be a trailer",
        )
    for line in (b"no colon", b"a b: c", b": c", b" folded", b"A : b", b"A: \x00", b"A\xe9: b"):
        refused(f"row 24: trailer line {line!r}", chunked(b"0\r\n" + line + b"\r\n\r\n"), 400, "trailer line is not")
    refused(
        "row 24: too many trailers",
        chunked(b"0\r\n" + b"a:b\r\n" * 4 + b"\r\n"),
        431,
        "more than 3 trailer fields",
        limits={"request_fields": 3},
    )


def _rows_25_to_38() -> None:
    expect = b"Expect: 100-continue"
    length = b"Content-Length: 5"
    served(
        "row 25: expectation and the body with it",
        post(expect, length, body=b"hello") + NEXT,
        (b"POST", b"/", b"hello"),
        (b"GET", b"/next"),
    )
    served(
        "row 25: expectation in capitals",
        post(b"Expect: 100-CONTINUE", length, body=b"hello"),
        (b"POST", b"/", b"hello"),
    )
    served(
        "row 25: expectation and chunks",
        chunked(b"1\r\na\r\n0\r\n\r\n", expect) + NEXT,
        (b"POST", b"/", b"a"),
        (b"GET", b"/next"),
    )
    served("row 25: expectation without a body", get(expect) + NEXT, (b"GET", b"/"), (b"GET", b"/next"))
    served(
        "row 25: expectation on 1.0",
        post(expect, length, b"Connection: keep-alive", body=b"hello", version=b"HTTP/1.0") + NEXT,
        (b"POST", b"/", b"hello"),
        (b"GET", b"/next"),
    )
    served(
        "row 25: unknown expectation on 1.0",
        get(b"Expect: x", b"Connection: keep-alive", version=b"HTTP/1.0") + NEXT,
        (b"GET", b"/"),
        (b"GET", b"/next"),
    )
    for value in (b"200-ok", b"", b"100-continue, x", b"100"):
        refused(
            f"row 25: expectation {value!r}",
            post(b"Expect: " + value, length, body=b"hello"),
            417,
            "only expectation",
        )
    served(
        "row 28: nothing is read behind the close",
        get(b"Connection: close") + SMUGGLED,
        (b"GET", b"/"),
        fate="client_asked",
    )
    served("row 28: nor noise", get(b"Connection: close") + b"\x00\x01\x02", (b"GET", b"/"), fate="client_asked")
    served(
        "row 28: nor behind a body",
        post(b"Connection: close", length, body=b"hello" + SMUGGLED),
        (b"POST", b"/", b"hello"),
        fate="client_asked",
    )
    served("row 28: nor on 1.0", get(version=b"HTTP/1.0") + SMUGGLED, (b"GET", b"/"), fate="client_asked")
    refused("nothing is read behind a fault", get(host=b"") + NEXT, 400, "Host")
    refused("requests before a fault are answered", NEXT + get(host=b""), 400, "Host", (b"GET", b"/next"))
    for method in (b"HEAD", b"OPTIONS", b"GET", b"DELETE", b"TRACE"):
        body = b"%d" % len(SMUGGLED)
        served(
            f"row 38: {method.decode()} with a body",
            method + get(b"Content-Length: " + body)[3:] + SMUGGLED + NEXT,
            (method, b"/", SMUGGLED),
            (b"GET", b"/next"),
        )
        served(
            f"row 38: {method.decode()} with chunks",
            method + chunked(b"1\r\na\r\n0\r\n\r\n")[4:] + NEXT,
            (method, b"/", b"a"),
            (b"GET", b"/next"),
        )


_row_15_host()
_row_16_version()
_row_17_target()
_rows_18_to_21_methods_and_upgrades()
_rows_22_to_24_chunks()
_rows_25_to_38()
