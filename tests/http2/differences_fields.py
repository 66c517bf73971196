"""Where the native engine and the h2 library may differ about the fields of requests and trailers."""

from __future__ import annotations

import re
from collections.abc import Callable

from hpack.exceptions import HPACKError

from tests.http2.differences import BLOCKS, PROTOCOL, Difference, cause, reset
from tests.http2.frames import GET, POST, Code, block, data, headers
from tests.http2.oracle import Comparison, Field, Seen, Shown, as_application_sees

Fields = list[Field]
Rule = Callable[[Fields, bool], bool]
"""Tells of fields, and of whether the request has no body, that the request is malformed."""

_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HOST = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|([A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+)(:[0-9]*)?")
_METHODS = {b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"TRACE"}
_NO_TRAILERS = {b"content-length", b"host", b"te", b"transfer-encoding", b"authorization", b"cookie", b"expect"}


def _values(fields: Fields, name: bytes) -> list[bytes]:
    return [value for have, value in fields if have == name]


def _controls(fields: Fields) -> bool:
    return any((octet < 0x20 and octet != 9) or octet == 0x7F for _, value in fields for octet in value)


def _no_token(fields: Fields) -> bool:
    return any(_TOKEN.fullmatch(name) is None for name, _ in fields if name[:1] != b":")


def _bad_target(fields: Fields) -> bool:
    (path,) = _values(fields, b":path") or [b"/"]
    if path == b"*":
        return _values(fields, b":method") != [b"OPTIONS"]
    return path[:1] != b"/" or any(not 0x20 < octet < 0x7F or octet == 0x23 for octet in path)


def _bad_host(fields: Fields) -> bool:
    hosts = _values(fields, b":authority") + _values(fields, b"host")
    return any(_HOST.fullmatch(host) is None for host in hosts)


def _resets(rule: Rule) -> Callable[[Shown, Comparison], bool]:
    """The native engine resets a stream whose request the library takes, and the rule says why."""

    def applies(shown: Shown, now: Comparison) -> bool:
        return (
            shown.kind in BLOCKS
            and now.ours == reset(shown.stream, Code.PROTOCOL_ERROR)
            and now.theirs.request is not None
            and rule(now.oracle.headers, now.theirs.ended is not None)
        )

    return applies


def _answers(status: int, rule: Rule) -> Callable[[Shown, Comparison], bool]:
    """The native engine answers a request itself that the library hands on, and the rule says why."""

    def applies(shown: Shown, now: Comparison) -> bool:
        return (
            shown.kind in BLOCKS
            and now.ours == Seen(answered=(shown.stream, status))
            and now.theirs.request is not None
            and rule(now.oracle.headers, now.theirs.ended is not None)
        )

    return applies


def _trails(shown: Shown, now: Comparison) -> bool:
    return (
        shown.kind in BLOCKS
        and shown.stream in now.open
        and now.ours == reset(shown.stream, Code.PROTOCOL_ERROR)
        and now.theirs == Seen(ended=shown.stream)
    )


def _length_missed(shown: Shown, now: Comparison) -> bool:
    length = now.open.get(shown.stream, b"")
    return length.isdigit() and int(length) != now.received.get(shown.stream, 0)


def _differ_in_case(shown: Shown, now: Comparison) -> bool:
    found = re.search(r"mismatched :authority and Host headers: b'(.*)' / b'(.*)'", str(now.oracle.fault))
    return found is not None and found[1] != found[2] and found[1].lower() == found[2].lower()


def _request(*fields: Field, end: bool = True) -> tuple[bytes]:
    return (headers(1, (GET if end else POST) + block(*fields), end=end),)


def _control(**changed: bytes) -> tuple[bytes]:
    """A GET with other pseudo-header fields."""
    control = {b"method": b"GET", b"scheme": b"https", b"path": b"/", b"authority": b"a"}
    control |= {name.encode(): value for name, value in changed.items()}
    return (headers(1, block(*((b":" + name, value) for name, value in control.items())), end=True),)


def _taken(*fields: Field, end: bool = True) -> Seen:
    """The library hands on a request with these fields, or with these pseudo-header fields instead of the usual."""
    usual = [
        (b":method", b"GET" if end else b"POST"),
        (b":scheme", b"https"),
        (b":path", b"/"),
        (b":authority", b"a"),
    ]
    instead = dict(field for field in fields if field[0][:1] == b":")
    control = [(name, instead.get(name, value)) for name, value in usual]
    seen = as_application_sees([*control, *(field for field in fields if field[0][:1] != b":")])
    return Seen(request=(1, *seen), ended=1 if end else None)


RESET = reset(1, Code.PROTOCOL_ERROR)
LONG = b"1" * 19

FIELDS = [
    Difference(
        "a malformed request",
        "RFC 9113 §8.1.1: an error of the stream; h2 ends the connection.",
        lambda shown, now: (
            shown.kind in BLOCKS
            and shown.stream > now.highest
            and (now.ours, now.theirs) == (reset(shown.stream, Code.PROTOCOL_ERROR), PROTOCOL)
            and not isinstance(cause(now), HPACKError)
        ),
        _request((b"connection", b"close")),
        RESET,
        PROTOCOL,
    ),
    Difference(
        "malformed trailers",
        "RFC 9113 §8.1, §8.1.1: an error of the stream; h2 ends the connection.",
        lambda shown, now: (
            shown.kind in BLOCKS
            and shown.stream in now.open
            and (now.ours, now.theirs) == (reset(shown.stream, Code.PROTOCOL_ERROR), PROTOCOL)
            and not isinstance(cause(now), HPACKError)
        ),
        (*_request(end=False), headers(1, block((b"x-sum", b"1")))),
        RESET,
        PROTOCOL,
    ),
    Difference(
        "host and :authority that differ in case",
        "RFC 3986 §3.2.2: hosts are the same in any case, so these do not differ (RFC 9113 §8.3.1).",
        lambda shown, now: now.ours.request is not None and now.theirs == PROTOCOL and _differ_in_case(shown, now),
        _request((b"host", b"A")),
        _taken(),
        PROTOCOL,
    ),
    Difference(
        "a control character in a value",
        "RFC 9110 §5.5: invalid, and dangerous in whatever protocol comes next; h2 refuses NUL, CR and LF (§8.2.1).",
        _resets(lambda fields, end: _controls(fields)),
        _request((b"x", b"a\x01b")),
        RESET,
        _taken((b"x", b"a\x01b")),
    ),
    Difference(
        "a name that is no token",
        "RFC 9110 §5.1: names are tokens; RFC 9113 §8.2.1 lists the least that must be refused.",
        _resets(lambda fields, end: _no_token(fields)),
        _request((b"x(y)", b"1")),
        RESET,
        _taken((b"x(y)", b"1")),
    ),
    Difference(
        "a method that is no token",
        "RFC 9110 §9.1.",
        _resets(lambda fields, end: any(_TOKEN.fullmatch(value) is None for value in _values(fields, b":method"))),
        _control(method=b"G(T"),
        RESET,
        _taken((b":method", b"G(T")),
    ),
    Difference(
        "a :path that is no path and query",
        "RFC 9113 §8.3.1: it begins with '/', or is '*' for OPTIONS; RFC 3986 §3.3 tells what is in it.",
        _resets(lambda fields, end: _bad_target(fields)),
        _control(path=b"/a#b"),
        RESET,
        _taken((b":path", b"/a#b")),
    ),
    Difference(
        "a :scheme that is none",
        "RFC 3986 §3.1.",
        _resets(
            lambda fields, end: any(
                re.fullmatch(rb"[A-Za-z][A-Za-z0-9+.-]*", value) is None for value in _values(fields, b":scheme")
            )
        ),
        _control(scheme=b"4"),
        RESET,
        _taken((b":scheme", b"4")),
    ),
    Difference(
        "an :authority or host that is none",
        "RFC 3986 §3.2; RFC 9113 §8.3.1: without user information.",
        _resets(lambda fields, end: _bad_host(fields)),
        _control(authority=b"me@a"),
        RESET,
        _taken((b":authority", b"me@a")),
    ),
    Difference(
        "an extended CONNECT, which we have not announced",
        "RFC 8441 §3, RFC 9113 §8.3: a pseudo-header field that is not defined here; h2 asks no settings.",
        _resets(lambda fields, end: bool(_values(fields, b":protocol"))),
        (
            headers(
                1,
                block(
                    (b":method", b"CONNECT"),
                    (b":protocol", b"websocket"),
                    (b":scheme", b"https"),
                    (b":path", b"/"),
                    (b":authority", b"a"),
                ),
            ),
        ),
        RESET,
        Seen(request=(1, b"CONNECT", b"/", ((b"host", b"a"),))),
    ),
    Difference(
        "content-length of a request that has no body",
        "RFC 9113 §8.1.1: it does not equal the sum of the DATA, which is 0.",
        _resets(lambda fields, end: end and any(value.strip(b"0") for value in _values(fields, b"content-length"))),
        _request((b"content-length", b"1")),
        RESET,
        _taken((b"content-length", b"1")),
    ),
    Difference(
        "content-length twice",
        "RFC 9110 §8.6: refused or taken as one; whoever reads only the first or the last must not matter.",
        _resets(lambda fields, end: len(_values(fields, b"content-length")) > 1),
        _request((b"content-length", b"0"), (b"content-length", b"0")),
        RESET,
        _taken((b"content-length", b"0"), (b"content-length", b"0")),
    ),
    Difference(
        "content-length of more than 18 digits",
        "RFC 9110 §8.6: a recipient must prevent overflows; nobody has an exbibyte to send.",
        _resets(lambda fields, end: any(len(value) > 18 for value in _values(fields, b"content-length"))),
        _request((b"content-length", LONG), end=False),
        RESET,
        _taken((b"content-length", LONG), end=False),
    ),
    Difference(
        "a method that is not known",
        "RFC 9110 §9.1: 501, as HTTP/1.1 requests are answered here; CONNECT as well, which is for proxies.",
        _answers(501, lambda fields, end: not _METHODS.intersection(_values(fields, b":method"))),
        _control(method=b"BREW"),
        Seen(answered=(1, 501)),
        _taken((b":method", b"BREW")),
    ),
    Difference(
        "a malformed request that is answered for another reason",
        "RFC 9113 §8.1.1: a malformed request may be answered; the method and the size are looked at first.",
        lambda shown, now: (
            shown.kind in BLOCKS
            and now.ours in (Seen(answered=(shown.stream, 501)), Seen(answered=(shown.stream, 431)))
            and now.theirs == PROTOCOL
            and not isinstance(cause(now), HPACKError)
        ),
        (headers(1, block((b":method", b"BREW"), (b":scheme", b"https"), (b":path", b"/")), end=True),),
        Seen(answered=(1, 501)),
        PROTOCOL,
    ),
    Difference(
        "an expectation that is not known",
        "RFC 9110 §10.1.1: 417.",
        _answers(417, lambda fields, end: _values(fields, b"expect") not in ([], [b"100-continue"])),
        _request((b"expect", b"tea"), end=False),
        Seen(answered=(1, 417)),
        _taken((b"expect", b"tea"), end=False),
    ),
    Difference(
        "more fields than the limit",
        "RFC 6585 §5: 431; h2 has a limit for their size only.",
        _answers(431, lambda fields, end: sum(len(name) + len(value) + 32 for name, value in fields) > 3200),
        _request(*((b"x", b"%d" % number) for number in range(101))),
        Seen(answered=(1, 431)),
        _taken(*((b"x", b"%d" % number) for number in range(101))),
    ),
    Difference(
        "trailers that frame, route or authenticate a request, or are not well formed as fields are",
        "RFC 9110 §6.5.1: they may not trail it; RFC 9113 §8.1.1: malformed, an error of the stream.",
        lambda shown, now: (
            _trails(shown, now)
            and (
                not _NO_TRAILERS.isdisjoint(name for name, _ in now.oracle.headers)
                or _controls(now.oracle.headers)
                or _no_token(now.oracle.headers)
            )
        ),
        (*_request(end=False), headers(1, block((b"authorization", b"x")), end=True)),
        RESET,
        Seen(ended=1),
    ),
    Difference(
        "trailers in front of the end that content-length promised",
        "RFC 9113 §8.1.1: the sum of the DATA is not the content-length; h2 compares them in DATA only.",
        lambda shown, now: _trails(shown, now) and _length_missed(shown, now),
        (
            *_request((b"content-length", b"2"), end=False),
            data(1, b"x"),
            headers(1, block((b"x-sum", b"1")), end=True),
        ),
        RESET,
        Seen(ended=1),
    ),
]
