"""Who the client is, when a trusted proxy says so: X-Forwarded-For and X-Forwarded-Proto.

Nothing is believed by default. A field is read only from a peer in the trusted networks; the
address is the right-most one that is not trusted, because everything further left was written by
somebody we do not know (RFC 7239 §8.1).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

from keepserve.wire.engine import Fields

_NODE = re.compile(r'("?)(?:\[([^\]]+)\](?::[0-9]{1,5})?|([^:"\[\]]+):[0-9]{1,5}|([^"\[\]]+))\1')
"""An address in brackets with or without port, one without colons and a port, or one alone; perhaps in quotes."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class TrustedPeers:
    """The peers whose forwarding fields are believed.

    Entries are addresses, CIDR networks, ``*`` (everybody) and ``unix`` (peers on Unix sockets,
    which have no address).

    Raises:
        ValueError: an entry is none of these.
    """

    def __init__(self, entries: Iterable[str]) -> None:
        self._everybody = False
        self._unix = False
        self._networks: list[Network] = []
        for entry in entries:
            if entry == "*":
                self._everybody = True
            elif entry == "unix":
                self._unix = True
            else:
                self._networks.append(ipaddress.ip_network(entry, strict=False))

    def __bool__(self) -> bool:
        return self._everybody or self._unix or bool(self._networks)

    def __contains__(self, host: object) -> bool:
        """Whether a peer is trusted: its address as text, or ``None`` for a Unix socket."""
        if self._everybody:
            return True
        if host is None:
            return self._unix
        address = parse_address(str(host))
        return address is not None and any(address in network for network in self._networks)


def parse_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Read an address as forwarding fields carry it, with or without port and brackets; ``None``: it is none."""
    match = _NODE.fullmatch(text.strip(" \t"))
    if match is None:
        return None
    text = match[2] or match[3] or match[4]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def forwarded_client(fields: Fields, trusted: TrustedPeers) -> tuple[str | None, str | None]:
    """Return the client's address and scheme (``http`` or ``https``) as a trusted peer reported them.

    Either is ``None`` when the fields do not say, or say something unreadable: then what the socket
    says stands.
    """
    hops = [hop for name, value in fields if name == b"x-forwarded-for" for hop in value.decode("latin-1").split(",")]
    client: str | None = None
    for hop in reversed(hops):
        address = parse_address(hop)
        if address is None:
            break
        client = str(address)
        if client not in trusted:
            break
    schemes = [value for name, value in fields if name == b"x-forwarded-proto"]
    scheme = schemes[-1].rpartition(b",")[2].strip().lower().decode("latin-1") if schemes else None
    return client, scheme if scheme in ("http", "https") else None
