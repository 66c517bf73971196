"""Whom to believe: addresses as proxies write them, and the networks that are trusted."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable
from typing import NamedTuple

from keepserve.wire.fields import remember

_NODE = re.compile(r'("?)(?:\[([^\]]+)\](?::([0-9]{1,5}))?|([^:"\[\]]+):([0-9]{1,5})|([^"\[\]]+))\1')
"""An address in brackets with or without port, one without colons and a port, or one alone; perhaps in quotes."""

_MAPPED = b"\0" * 10 + b"\xff\xff"


class Node(NamedTuple):
    """Somebody on the way of a request, as a forwarding field names them."""

    host: str
    """The address in its usual form; an IPv4 address in an IPv6 one is the IPv4 address."""
    port: int
    """0: not told."""
    trusted: bool
    """What this one says of others is believed."""


class TrustedPeers:
    """The peers that are believed.

    Entries are addresses, CIDR networks, ``*`` (everybody) and ``unix`` (peers on Unix sockets,
    which have no address).

    Raises:
        ValueError: an entry is none of these.
    """

    def __init__(self, entries: Iterable[str]) -> None:
        self._everybody = False
        self._unix = False
        self._networks: list[tuple[int, int, int]] = []
        """Length of the address in bytes, mask, and what remains of an address under it."""
        self._nodes: dict[str, Node] = {}
        for entry in entries:
            if entry == "*":
                self._everybody = True
            elif entry == "unix":
                self._unix = True
            else:
                network = ipaddress.ip_network(entry, strict=False)
                size = 4 if network.version == 4 else 16
                self._networks.append((size, int(network.netmask), int(network.network_address)))

    def __bool__(self) -> bool:
        return self._everybody or self._unix or bool(self._networks)

    def __contains__(self, host: object) -> bool:
        """Whether a peer is trusted: its address as text, or ``None`` for a Unix socket."""
        if self._everybody:
            return True
        if host is None:
            return self._unix
        packed = _pack(str(host))
        return packed is not None and self._covers(packed)

    def node(self, text: str) -> Node | None:
        """Read an address as forwarding fields carry it, with or without port and brackets; ``None``: it is none.

        Clients send many requests, so the last thousand answers are remembered.
        """
        node = self._nodes.get(text)
        if node is None:
            node = self._read(text)
            if node is not None:
                remember(self._nodes, text, node, len(text))
        return node

    def _read(self, text: str) -> Node | None:
        match = _NODE.fullmatch(text.strip(" \t"))
        if match is None:
            return None
        packed = _pack(match[2] or match[4] or match[6])
        port = int(match[3] or match[5] or 0)
        if packed is None or port > 0xFFFF:
            return None
        host = socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed)
        return Node(host, port, self._everybody or self._covers(packed))

    def _covers(self, packed: bytes) -> bool:
        size, number = len(packed), int.from_bytes(packed, "big")
        return any(size == length and number & mask == network for length, mask, network in self._networks)


def parse_address(text: str) -> str | None:
    """Read an address as forwarding fields carry it, and return it in its usual form; ``None``: it is none."""
    node = _NOBODY.node(text)
    return None if node is None else node.host


_NOBODY = TrustedPeers(())


def _pack(host: str) -> bytes | None:
    """The 4 or 16 bytes of an address, without the zone of a link-local one; ``None``: it is none.

    The C library's reader is strict (no ``0x7f.1``, no leading zeros) and four times as fast as `ipaddress`.
    """
    try:
        if ":" not in host:
            return socket.inet_pton(socket.AF_INET, host)
        packed = socket.inet_pton(socket.AF_INET6, host.partition("%")[0])
    except (OSError, ValueError):
        return None
    return packed[12:] if packed[:12] == _MAPPED else packed
