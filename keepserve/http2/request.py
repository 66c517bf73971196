"""From decoded fields to a request: the rules of RFC 9113 §8 that no HPACK decoder knows, once for both engines.

Each field is classified when it is first decoded, and the result stays with it in the tables it is
remembered in. So what a client sends again, by an index or word for word, costs no second look.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from keepserve.http2.hpack import PSEUDO_FIELDS, Decoded, Field, Vocabulary
from keepserve.http2.protocol import ErrorCode, StreamFault
from keepserve.websocket.handshake import VERSION, HandshakeFault, read_handshake
from keepserve.wire.engine import Request, WebSocketRequest
from keepserve.wire.fields import (
    CONNECTION_SPECIFIC,
    FIELD_VALUE_FAULT,
    SERVED_METHODS,
    is_forwarded_alias,
    is_valid_host,
    remember,
)

# Meanings of pseudo-fields are negative, so that the decoder can put them apart (RFC 9113 §8.3).
METHOD, PATH, SCHEME, AUTHORITY, PROTOCOL = -1, -2, -3, -4, -5
BAD_PSEUDO = -1 - PSEUDO_FIELDS
"""A pseudo-field that no request has, or whose value it must not have."""

# Meanings of ordinary fields are bits, so that those of a whole request add up.
HOST, CONTENT_LENGTH, COOKIE, TRAILERS, EXPECT, GRPC, BAD, ALIAS = 1, 2, 4, 8, 16, 32, 64, 128

_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_TARGET = re.compile(rb"/[!\"$-~]*|\*")  # no fragment, no space, no 8-bit byte: as for HTTP/1.1
_SCHEME = re.compile(rb"[A-Za-z][A-Za-z0-9+\-.]*")
_DIGITS = re.compile(rb"[0-9]{1,18}")

_BY_NAME = {
    b"host": HOST,
    b"content-length": CONTENT_LENGTH,
    b"cookie": COOKIE,
    b"expect": EXPECT,
}


class Unserved(Exception):
    """A well-formed request that the server answers itself: ``status``, ``fields``, the sentence ``detail``."""

    def __init__(self, status: int, detail: str, fields: Iterable[Field] = ()) -> None:
        super().__init__(status, detail)
        self.status = status
        self.detail = detail
        self.fields = fields


def classify(name: bytes, value: bytes) -> int:
    """Tell what a field of a request means, or that it must not be there."""
    if name[:1] == b":":
        return _classify_pseudo(name, value)
    if _NAME.fullmatch(name) is None or name in CONNECTION_SPECIFIC:
        return BAD
    # RFC 9113 §8.2.1 forbids NUL, CR, LF and surrounding white space; other controls are refused as in HTTP/1.1.
    if FIELD_VALUE_FAULT.search(value) is not None or value[:1] in (b" ", b"\t") or value[-1:] in (b" ", b"\t"):
        return BAD
    if name == b"te":
        return TRAILERS if value.lower() == b"trailers" else BAD
    if name == b"content-type":
        return GRPC if value[:16] == b"application/grpc" else 0
    if name == b"content-length":
        return CONTENT_LENGTH if _DIGITS.fullmatch(value) is not None else BAD
    if name == b"host":
        return HOST if is_valid_host(value) else BAD
    if is_forwarded_alias(name):
        return ALIAS
    return _BY_NAME.get(name, 0)


def _classify_pseudo(name: bytes, value: bytes) -> int:
    if name == b":method":
        return METHOD if _TOKEN.fullmatch(value) is not None else BAD_PSEUDO
    if name == b":path":
        return PATH if _TARGET.fullmatch(value) is not None else BAD_PSEUDO
    if name == b":scheme":
        return SCHEME if _SCHEME.fullmatch(value) is not None else BAD_PSEUDO
    if name == b":authority":
        return AUTHORITY if is_valid_host(value) else BAD_PSEUDO
    if name == b":protocol":
        return PROTOCOL if _TOKEN.fullmatch(value) is not None else BAD_PSEUDO
    return BAD_PSEUDO


VOCABULARY = Vocabulary(classify)
"""Shared by all connections of a process: what one client's fields mean, another's mean as well."""

_hosts: dict[bytes, Field] = {}


def read_request(stream: int, decoded: Decoded, complete: bool, *, extended_connect: bool = False) -> Request:
    """Build the request a header section stands for.

    ``:authority`` becomes the ``host`` field in front of all others, as ASGI has it; cookie crumbs are
    joined (RFC 9113 §8.2.3).

    Raises:
        StreamFault: the request is malformed (RFC 9113 §8.1.1).
        Unserved: it is well-formed, and not for this server.
    """
    _, protocol, authority, scheme, path, method = decoded.pseudo
    special = decoded.meanings
    if special & BAD or decoded.late or decoded.odd is not None:
        raise _malformed(_fault_among(decoded))
    if method is None:
        raise _malformed("there is no :method")
    if method not in SERVED_METHODS or protocol is not None:
        path = _check_unusual(method, path, scheme, authority, protocol, extended_connect)
    elif path is None or scheme is None:
        raise _malformed("a request needs :method, :scheme and :path")
    elif path == b"*" and method != b"OPTIONS":
        raise _malformed("the :path '*' is only for OPTIONS")
    fields = decoded.fields
    if authority is None:
        if not special & HOST:
            raise _malformed("there is neither :authority nor host")
    else:
        if special & HOST:
            fields = _without_host(authority, fields)
        fields.insert(0, _hosts.get(authority) or _host_field(authority))
    if protocol is not None:
        return _read_websocket(stream, method, path, protocol, fields, complete)
    request = Request(stream, method, path, "2", fields, complete)
    request.takes_trailers = True  # they cost nothing here, and who does not want them ignores them
    if not complete:
        request.content_length = -1
        request.converses = special & GRPC != 0
    if special & ~(TRAILERS | GRPC):
        _heed(request, special)
    return request


def _read_websocket(
    stream: int, method: bytes, path: bytes, protocol: bytes, fields: list[Field], complete: bool
) -> WebSocketRequest:
    """Build the request of an extended CONNECT (RFC 8441 §4)."""
    if protocol.lower() != b"websocket":
        raise Unserved(501, f"The protocol {protocol.decode()[:32]} is not known to this server; 'websocket' is.")
    if complete:
        raise _malformed("an extended CONNECT ends with its head, and leaves nothing to talk with")
    try:
        key, subprotocols = read_handshake(fields, keyed=False)
    except HandshakeFault as fault:
        raise Unserved(fault.status, fault.detail, [(b"sec-websocket-version", VERSION)]) from None
    request = WebSocketRequest(stream, method, path, "2", _join_cookies(fields), complete)
    request.key, request.subprotocols = key, subprotocols
    request.takes_trailers = True
    request.content_length = -1
    request.converses = True
    return request


def _without_host(authority: bytes, fields: list[Field]) -> list[Field]:
    """Take out Host, which stands once and names no other server than :authority (RFC 9113 §8.3.1)."""
    hosts = [value.lower() for name, value in fields if name == b"host"]
    if hosts != [authority.lower()]:
        raise _malformed("host and :authority differ, or the field host stands more than once")
    return [field for field in fields if field[0] != b"host"]


def _host_field(authority: bytes) -> Field:
    host = (b"host", authority)
    remember(_hosts, authority, host, len(authority))
    return host


def _heed(request: Request, special: int) -> None:
    """Obey the fields that make a request anything but the plain case."""
    fields = request.fields
    if special & HOST and sum(name == b"host" for name, _ in fields) > 1:
        raise _malformed("the field host stands more than once")
    if special & CONTENT_LENGTH:
        lengths = [value for name, value in fields if name == b"content-length"]
        if len(lengths) > 1:
            raise _malformed("the field content-length stands more than once")
        request.content_length = int(lengths[0])
        if request.complete and request.content_length:
            raise _malformed(f"content-length is {request.content_length}, and there is no body")
    if special & ALIAS:
        fields = request.fields = [field for field in fields if not is_forwarded_alias(field[0])]
    if special & COOKIE:
        request.fields = _join_cookies(fields)
    if special & EXPECT and not request.complete:
        expectations = [value.lower() for name, value in fields if name == b"expect"]
        if expectations != [b"100-continue"]:
            raise Unserved(417, "The only expectation understood here is '100-continue'.")
        request.expect_continue = True


def _join_cookies(fields: list[Field]) -> list[Field]:
    """Join cookie crumbs into one field at the place of the first (RFC 9113 §8.2.3)."""
    crumbs = [value for name, value in fields if name == b"cookie"]
    if len(crumbs) < 2:
        return fields
    joined: list[Field] = []
    for field in fields:
        if field[0] != b"cookie":
            joined.append(field)
        elif crumbs:
            joined.append((b"cookie", b"; ".join(crumbs)))
            crumbs = []
    return joined


def _check_unusual(
    method: bytes,
    path: bytes | None,
    scheme: bytes | None,
    authority: bytes | None,
    protocol: bytes | None,
    extended_connect: bool,
) -> bytes:
    """Judge what is neither served nor plainly wrong, and return the path of what is served all the same.

    CONNECT is for proxies (RFC 9113 §8.5), extended CONNECT for WebSocket (RFC 8441 §4), where that is served.
    """
    if protocol is not None:
        if not extended_connect or method != b"CONNECT":
            raise _malformed(":protocol is for extended CONNECT, which this connection has not announced")
        if path is None or scheme is None or authority is None:
            raise _malformed("an extended CONNECT needs :scheme, :path and :authority")
        return path
    if method != b"CONNECT":
        if path is None or scheme is None:
            raise _malformed("a request needs :method, :scheme and :path")
        raise Unserved(501, f"The method {method.decode()[:32]} is not known to this server.")
    if path is not None or scheme is not None or authority is None:
        raise _malformed("a CONNECT has :authority, and neither :scheme nor :path")
    raise Unserved(501, "CONNECT is not supported: this server is not a proxy.")


def check_trailers(decoded: Decoded, forbidden: frozenset[bytes]) -> None:
    """Judge a request's trailer section (RFC 9113 §8.1). Raises ``StreamFault`` when it is malformed."""
    if decoded.has_pseudo:
        raise _malformed("a trailer section holds a pseudo-field")
    if decoded.meanings & BAD:
        raise _malformed(f"the trailer {_shown(_bad_among(decoded))} is not allowed")
    for name, _ in decoded.fields:
        if name in forbidden:
            raise _malformed(f"the field {name.decode()[:40]} may not be a trailer")


def crumbs_in(decoded: Decoded) -> int:
    """How many of the fields are cookies, of which browsers and balancers send one for each pair."""
    return sum(1 for name, _ in decoded.fields if name == b"cookie")


def start_of(decoded: Decoded) -> tuple[bytes, bytes]:
    """Method and path of a request that will not be served, as far as they can be read, for the log."""
    return decoded.pseudo[METHOD] or b"-", decoded.pseudo[PATH] or b"-"


def _fault_among(decoded: Decoded) -> str:
    if decoded.odd is not None:
        return f"the pseudo-field {_shown(decoded.odd)} is unknown, repeated or has no valid value"
    if decoded.late:
        return "a pseudo-field stands behind ordinary fields"
    return f"the field {_shown(_bad_among(decoded))} is not allowed in HTTP/2, or not well formed"


def _bad_among(decoded: Decoded) -> Field:
    """The field that must not be there: asked again, because only what all fields mean together is kept."""
    return next(field for field in decoded.fields if classify(*field) & BAD)


def _shown(field: Field) -> str:
    return ascii(field[0][:40].decode("latin-1"))


def _malformed(detail: str) -> StreamFault:
    return StreamFault(ErrorCode.PROTOCOL_ERROR, f"The request is malformed: {detail}.")
