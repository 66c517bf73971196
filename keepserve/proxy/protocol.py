"""The PROXY protocol, versions 1 and 2: what a balancer says in front of everything else about its client.

Specification: https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt. A header is read whole or not at all,
and whoever has to send one and sends something else is refused: there is no guessing ("MUST NOT guess", section 4).
"""

from __future__ import annotations

import ipaddress
import re
import struct
from dataclasses import dataclass
from typing import Any

from keepserve.proxy.tlvs import NO_DETAILS, Details, ProxyFault, read_details

Address = tuple[str, int | None]
"""Host and port, or the path of a Unix socket and None, as ASGI has it."""

V1_LONGEST = 107
"""Bytes of a version 1 line, its CRLF included (section 2.1)."""
V2_LONGEST = 4096
"""Bytes of a version 2 header in all that we take. Real ones have 28 to about 500."""

_V1_START = b"PROXY "
_V2_START = b"\r\n\r\n\0\r\nQUIT\n"
_V2_FIXED = 16
_LOCAL, _PROXY = 0x20, 0x21
_V1_LINE = re.compile(rb"PROXY TCP([46]) ([0-9A-Fa-f.:]+) ([0-9A-Fa-f.:]+) (0|[1-9][0-9]{0,4}) (0|[1-9][0-9]{0,4})")

# The high half of the byte is the address family, the low one says stream or datagram: how the client came to the
# balancer, which may have been HTTP/3. Sizes are those of both addresses together.
_FAMILIES = {0x11: "ipv4", 0x12: "ipv4", 0x21: "ipv6", 0x22: "ipv6", 0x31: "unix", 0x32: "unix"}
_SIZES = {"ipv4": 12, "ipv6": 36, "unix": 216}
_UNSPECIFIED = 0x00


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """A header that was accepted.

    ``source`` and ``destination`` are the two ends of the client's connection to the balancer, if ``told``. Either
    may be None even so: a Unix socket without a path. What is not told (LOCAL, UNKNOWN) leaves the ends of our own
    connection in force.
    """

    version: int
    local: bool = False
    """The balancer speaks for itself: a health check."""
    told: bool = False
    source: Address | None = None
    destination: Address | None = None
    details: Details = NO_DETAILS

    def facts(self) -> dict[str, Any]:
        """What applications are shown of it, as plain values (README, "PROXY protocol")."""
        return {
            "version": self.version,
            "local": self.local,
            "source": self.source,
            "destination": self.destination,
            **self.details.facts(),
        }


def read_header(data: bytes) -> tuple[ProxyHeader, int] | None:
    """Read the header that ``data`` begins with; return it and its length, or None while more has to come.

    ``data`` is everything since the start of the connection. What no further byte can mend is refused at once.

    Raises:
        ProxyFault: this is no header, or not a good one. ``str()`` is a sentence.
    """
    if data[:1] == b"\r":
        if data[:12] != _V2_START[: len(data)]:
            raise _no_header(data)
        return _read_v2(data)
    if data[:6] != _V1_START[: len(data)]:
        raise _no_header(data)
    return _read_v1(data)


def _no_header(data: bytes) -> ProxyFault:
    return ProxyFault(f"the connection begins with {data[:12]!r}, not with a PROXY protocol header")


def _read_v1(data: bytes) -> tuple[ProxyHeader, int] | None:
    end = data.find(b"\n", 0, V1_LONGEST)
    if end < 0:
        if len(data) >= V1_LONGEST:
            raise ProxyFault(f"the PROXY line is longer than {V1_LONGEST} bytes")
        return None
    line = data[: end - 1]
    if data[end - 1 : end] != b"\r":
        raise ProxyFault("the PROXY line does not end with CR LF")
    if line == b"PROXY UNKNOWN" or line.startswith(b"PROXY UNKNOWN "):
        return ProxyHeader(1), end + 1
    match = _V1_LINE.fullmatch(line)
    if match is None:
        raise ProxyFault(f"{line!r} is not 'PROXY TCP4|TCP6 source destination port port', nor PROXY UNKNOWN")
    read = ipaddress.IPv4Address if match[1] == b"4" else ipaddress.IPv6Address
    ends = []
    for address, port in ((match[2], match[4]), (match[3], match[5])):
        try:
            host = read(address.decode("ascii"))
        except ValueError:
            raise ProxyFault(f"{line!r} has an address that is none of its kind") from None
        if int(port) > 0xFFFF:
            raise ProxyFault(f"{line!r} has a port above 65535")
        ends.append((_text(host), int(port)))
    return ProxyHeader(1, told=True, source=ends[0], destination=ends[1]), end + 1


def _read_v2(data: bytes) -> tuple[ProxyHeader, int] | None:
    have = len(data)
    if have > 12 and data[12] not in (_LOCAL, _PROXY):
        raise ProxyFault(f"version and command are 0x{data[12]:02x}; 0x20 (LOCAL) and 0x21 (PROXY) are known")
    # LOCAL: "the receiver MUST ... discard the protocol block including the family" (section 2.2).
    speaks = have > 12 and data[12] == _PROXY
    if speaks and have > 13 and data[13] != _UNSPECIFIED and data[13] not in _FAMILIES:
        raise ProxyFault(f"the address family and transport are 0x{data[13]:02x}, which is none")
    if have < _V2_FIXED:
        return None
    end = _V2_FIXED + int.from_bytes(data[14:16], "big")
    if end > V2_LONGEST:
        raise ProxyFault(f"the header is {end} bytes long; at most {V2_LONGEST} are taken")
    family = _FAMILIES.get(data[13]) if speaks else None
    if family is not None and end < _V2_FIXED + _SIZES[family]:
        raise ProxyFault(f"the header has no room for the two {family} addresses it announces")
    if have < end:
        return None
    if family is None:
        return ProxyHeader(2, local=not speaks), end
    first_tlv = _V2_FIXED + _SIZES[family]
    source, destination = _ends(family, data[_V2_FIXED:first_tlv])
    details = read_details(data[:end], first_tlv) if end > first_tlv else NO_DETAILS
    return ProxyHeader(2, told=True, source=source, destination=destination, details=details), end


def _ends(family: str, block: bytes) -> tuple[Address | None, Address | None]:
    if family == "unix":
        return _path(block[:108]), _path(block[108:])
    if family == "ipv4":
        source, destination, source_port, destination_port = struct.unpack("!4s4sHH", block)
        return (_text(ipaddress.IPv4Address(source)), source_port), (
            _text(ipaddress.IPv4Address(destination)),
            destination_port,
        )
    source, destination, source_port, destination_port = struct.unpack("!16s16sHH", block)
    return (_text(ipaddress.IPv6Address(source)), source_port), (
        _text(ipaddress.IPv6Address(destination)),
        destination_port,
    )


def _path(raw: bytes) -> Address | None:
    """A Unix socket's path up to its NUL; most clients' sockets have none."""
    path = raw.partition(b"\0")[0]
    return (path.decode("utf-8", "replace"), None) if path else None


def _text(host: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    """An address in its one usual form; an IPv4 address in an IPv6 one is the IPv4 address, as everywhere here."""
    mapped = host.ipv4_mapped if isinstance(host, ipaddress.IPv6Address) else None
    return str(mapped or host)
