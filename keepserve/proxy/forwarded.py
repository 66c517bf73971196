"""Who the client is, and what it asked for, when a trusted proxy says so.

Two families of fields say it: ``X-Forwarded-For`` with its sisters, and ``Forwarded`` (RFC 7239). One of them is
read, the one the proxy is known to write: a proxy that writes one passes the other on as the client sent it.

Nothing is believed by default. Fields are read only from a trusted peer; the client is the right-most address that
is not trusted, because everything further left was written by somebody we do not know (RFC 7239 §8.1). What cannot
be read ends the walk just as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from keepserve.proxy.elements import elements_from_right
from keepserve.proxy.peers import Node, TrustedPeers
from keepserve.wire.engine import Fields
from keepserve.wire.fields import is_valid_host

Family = Literal["x-forwarded", "forwarded"]

MOST_HOPS = 100
"""Proxies in a row that are looked at. More are an attempt to keep us busy, where everybody is trusted."""

# Some proxies name the scheme of a WebSocket (Traefik); what it says of encryption is the same.
_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
_SCHEME_VALUES = {scheme.encode(): meaning for scheme, meaning in _SCHEMES.items()}
_PORTS = {"http": 80, "https": 443}

_FOR, _PROTO, _HOST, _PORT = b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-forwarded-port"


class Forwarded:
    """What the fields of one request say. Each part is None when they do not say it, or unreadably."""

    __slots__ = ("client", "host", "port", "scheme")

    def __init__(self) -> None:
        self.client: Node | None = None
        self.scheme: str | None = None
        """``http`` or ``https``."""
        self.host: bytes | None = None
        """What the client asked for, as the Host field has it. Only if asked to read it."""
        self.port: int | None = None
        """``X-Forwarded-Port``, likewise."""

    def server(self, scheme: str) -> tuple[str, int]:
        """Name and port that the client asked for; ``host`` must not be None."""
        assert self.host is not None
        name, port = _split_port(self.host)
        return name.decode("ascii").strip("[]"), port or self.port or _PORTS[scheme]

    def host_field(self, scheme: str) -> bytes:
        """The Host field as the client must have sent it: with a port told apart, unless it is the usual one."""
        assert self.host is not None
        if self.port is None or self.port == _PORTS[scheme] or _split_port(self.host)[1]:
            return self.host
        return b"%b:%d" % (self.host, self.port)


def read_forwarded(fields: Fields, trusted: TrustedPeers, family: Family, with_host: bool) -> Forwarded | None:
    """Read what a trusted peer's fields say; None when there are none.

    ``with_host``: also the host and the port the client asked for, which are believed only on demand: many proxies
    pass on what a client sends as ``X-Forwarded-Host``.
    """
    if family == "forwarded":
        return _read_standard(fields, trusted, with_host)
    hops: list[bytes] | None = None
    scheme: bytes | None = None
    host: bytes | None = None
    port: bytes | None = None
    for name, value in fields:
        if name[:12] != b"x-forwarded-":
            continue
        if name == _FOR:
            hops = [value] if hops is None else [*hops, value]
        elif name == _PROTO:
            scheme = value
        elif name == _HOST:
            host = value
        elif name == _PORT:
            port = value
    if hops is None and scheme is None and host is None:
        return None
    said = Forwarded()
    if hops is not None:
        said.client = _walk(hops, trusted)
    if scheme is not None:
        said.scheme = _SCHEME_VALUES.get(scheme) or _SCHEME_VALUES.get(_nearest(scheme).lower())
    if with_host and host is not None:
        host = _nearest(host)
        if _is_host(host):
            said.host = host
            said.port = _read_port(_nearest(port)) if port is not None else None
    return said


def _nearest(value: bytes) -> bytes:
    """The last member of a list: the nearest proxy wrote it."""
    return value.rpartition(b",")[2].strip(b" \t")


def _walk(values: list[bytes], trusted: TrustedPeers) -> Node | None:
    """The right-most address that is not trusted, the left-most one if all are; several fields are one list."""
    client: Node | None = None
    for hop in _hops(values):
        node = trusted.node(hop)
        if node is None:
            break
        client = node
        if not node.trusted:
            break
    return client


def _hops(values: list[bytes]) -> Iterator[str]:
    """The members of the list from the right, as few as are needed: clients may have sent thousands."""
    left = MOST_HOPS
    for value in reversed(values):
        text = value.decode("latin-1")
        end = len(text)
        while end >= 0:
            if not left:
                return
            left -= 1
            comma = text.rfind(",", 0, end)
            yield text[comma + 1 : end]
            end = comma


def _read_standard(fields: Fields, trusted: TrustedPeers, with_host: bool) -> Forwarded | None:
    """``Forwarded`` (RFC 7239 §4): each element tells of one hop, the last one of the nearest.

    An element is believed if whoever wrote it is trusted, which its right neighbour says, or the socket. Scheme and
    host are those of the furthest element believed that has them: what the client itself said.
    """
    values = [value for name, value in fields if name == b"forwarded"]
    if not values:
        return None
    said = Forwarded()
    left = MOST_HOPS
    for value in reversed(values):
        for element in elements_from_right(value.decode("latin-1")):
            left -= 1
            if element is None or left < 0:
                return said
            scheme = _SCHEMES.get(element.get("proto", "").lower())
            said.scheme = scheme or said.scheme
            host = element.get("host", "").encode("latin-1")
            if with_host and host and _is_host(host):
                said.host = host
            node = trusted.node(element.get("for", ""))
            if node is None:
                return said  # nobody, "unknown" or "_hidden": who wrote the next element cannot be known
            said.client = node
            if not node.trusted:
                return said
    return said


def _is_host(value: bytes) -> bool:
    """What may stand in Host, less what no name has: it ends up in links that applications make."""
    return is_valid_host(value) and _split_port(value)[1] is not None


def _split_port(host: bytes) -> tuple[bytes, int | None]:
    """Name and port; 0: none is given, None: it is none."""
    name, colon, digits = host.rpartition(b":")
    if not colon or host.endswith(b"]"):
        return host, 0
    return name, (_read_port(digits) if digits else 0)


def _read_port(digits: bytes) -> int | None:
    if digits.isdigit() and len(digits) <= 5 and 0 < int(digits) <= 0xFFFF:
        return int(digits)
    return None
