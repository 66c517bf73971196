"""Field and target syntax shared by every engine (RFC 9110 §5, RFC 3986).

Everything here is compiled once and used on whole byte strings, because a loop over bytes in
Python costs more than the rest of a request.
"""

from __future__ import annotations

import re
from typing import TypeVar

TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
"""RFC 9110 §5.6.2 ``token``: field names and methods."""

FIELD_VALUE_FAULT = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
"""What a field value may not hold (RFC 9110 §5.5): every control character but the tab."""

VISIBLE = bytes([9, *range(0x20, 0x7F), *range(0x80, 0x100)])
"""Bytes that may stand inside a line of a head: for ``bytes.translate(None, VISIBLE)``, which leaves the rest."""

SERVED_METHODS = frozenset(
    b"GET HEAD POST PUT DELETE OPTIONS PATCH TRACE "
    b"ACL BIND CHECKOUT COPY LINK LOCK M-SEARCH MERGE MKACTIVITY MKCALENDAR MKCOL MOVE NOTIFY PROPFIND "
    b"PROPPATCH PURGE QUERY REBIND REPORT SEARCH SOURCE SUBSCRIBE UNBIND UNLINK UNLOCK UNSUBSCRIBE".split()
)
"""Methods both head parsers know, but for CONNECT, which is for proxies. Others are answered 501 (RFC 9110 §9.1)."""

CONNECTION_SPECIFIC = frozenset((b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"))
"""Fields that have no meaning in HTTP/2: they make a request malformed and do not go out (RFC 9113 §8.2.2)."""

FORBIDDEN_TRAILERS = frozenset(
    b"transfer-encoding content-length host connection te trailer upgrade expect authorization proxy-authorization "
    b"cookie set-cookie content-encoding content-type content-range cache-control max-forwards range".split()
)
"""Fields that frame, route, authenticate or shape a message may not trail it (RFC 9110 §6.5.1)."""

UNDERSCORE = 0x5F
"""A number, since a search for ``b"_"`` with ``in`` takes 0.3 µs: an exception is made on the way."""

_FORWARDED = (b"x-forwarded", b"x-real-ip")


def is_forwarded_alias(name: bytes) -> bool:
    """Tell whether a lower-case name is one of the X-Forwarded family but for underscores.

    Proxies know and clean ``X-Forwarded-For``. What maps names as CGI does takes ``X_Forwarded_For`` for the same
    field, so that a client could write it past the proxy.
    """
    return UNDERSCORE in name and name.replace(b"_", b"-").startswith(_FORWARDED)


_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|(?:[A-Za-z0-9\-._~!$&'()*+,;=]|%[0-9A-Fa-f]{2})+)(?::[0-9]*)?")
KNOWN_HOSTS: dict[bytes, bool] = {}
"""Host values seen and found valid."""

_REMEMBERED_MAX = 1024
_REMEMBERED_LONGEST = 256

Key = TypeVar("Key")
Value = TypeVar("Value")


def remember(memo: dict[Key, Value], key: Key, value: Value, size: int) -> None:
    """Keep what was found out about a field of ``size`` bytes, since most were seen before, word for word.

    At most 1024 of at most 256 bytes. All are forgotten when there are more, so that nobody can fill
    the memo with what never comes again and keep the common ones out.
    """
    if size <= _REMEMBERED_LONGEST:
        if len(memo) >= _REMEMBERED_MAX:
            memo.clear()
        memo[key] = value


def is_valid_host(value: bytes) -> bool:
    """Tell whether ``value`` is ``uri-host [":" port]`` (RFC 9110 §7.2): no user info, no path, not empty."""
    if value in KNOWN_HOSTS:
        return True
    if len(value) > 512 or _HOST.fullmatch(value) is None:
        return False
    remember(KNOWN_HOSTS, value, True, len(value))
    return True


def list_tokens(value: bytes) -> list[bytes]:
    """Split a comma-separated list (RFC 9110 §5.6.1) into lower-case members, empty ones left out."""
    return [member for part in value.lower().split(b",") if (member := part.strip(b" \t"))]
