"""PROXY protocol headers, made piece by piece so that each piece can be wrong."""

from __future__ import annotations

import socket
import struct

from keepserve.proxy.tlvs import crc32c

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
LOCAL, PROXY = 0x20, 0x21
TCP4, UDP4, TCP6, UNIX = 0x11, 0x12, 0x21, 0x31


def v1(source: str = "203.0.113.7", port: int = 4711, destination: str = "192.0.2.80", at: int = 443) -> bytes:
    """A line of version 1."""
    family = 6 if ":" in source else 4
    return f"PROXY TCP{family} {source} {destination} {port} {at}\r\n".encode()


def ends(source: str = "203.0.113.7", port: int = 4711, destination: str = "192.0.2.80", at: int = 443) -> bytes:
    """The addresses of a header of version 2."""
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    hosts = socket.inet_pton(family, source) + socket.inet_pton(family, destination)
    return hosts + struct.pack("!HH", port, at)


def unix(source: bytes = b"/run/client", destination: bytes = b"/run/server") -> bytes:
    """The same for Unix sockets."""
    return source.ljust(108, b"\0") + destination.ljust(108, b"\0")


def tlv(kind: int, value: bytes) -> bytes:
    """Type, length and value."""
    return struct.pack("!BH", kind, len(value)) + value


def v2(
    *tlvs: bytes, command: int = PROXY, family: int = TCP4, block: bytes | None = None, length: int | None = None
) -> bytes:
    """A header of version 2."""
    payload = (ends() if block is None else block) + b"".join(tlvs)
    size = len(payload) if length is None else length
    return SIGNATURE + struct.pack("!BBH", command, family, size) + payload


def checked(*tlvs: bytes, block: bytes | None = None) -> bytes:
    """A header of version 2 whose last value is its checksum."""
    whole = v2(*tlvs, tlv(0x03, b"\0\0\0\0"), block=block)
    return whole[:-4] + struct.pack("!I", crc32c(whole))


def tls(flags: int = 0x01, verify: int = 0, *inner: bytes) -> bytes:
    """The value that tells of the client's TLS."""
    return tlv(0x20, struct.pack("!BI", flags, verify) + b"".join(inner))
