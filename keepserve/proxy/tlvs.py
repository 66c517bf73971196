"""What may follow the addresses of a PROXY protocol header, version 2: type, length and value (section 2.2.1 on)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

ALPN, AUTHORITY, CRC32C, NOOP, UNIQUE_ID, TLS, NETNS = 0x01, 0x02, 0x03, 0x04, 0x05, 0x20, 0x30
AWS = 0xEA
_AWS_VPC_ENDPOINT = 0x01

_TLS_VERSION, _TLS_CLIENT_NAME, _TLS_CIPHER = 0x21, 0x22, 0x23
_OVER_TLS, _CERTIFICATE_ON_CONNECTION, _CERTIFICATE_IN_SESSION = 0x01, 0x02, 0x04

UNIQUE_ID_LONGEST = 128


class ProxyFault(Exception):
    """A connection that has to begin with a PROXY protocol header does not. ``str()`` is a sentence, or its end."""


@dataclass(frozen=True, slots=True)
class TlsDetails:
    """How the client's connection to the balancer was encrypted."""

    version: str | None = None
    """``TLSv1.3``."""
    cipher: str | None = None
    client_name: str | None = None
    """Common name of the client's certificate."""
    certificate: bool = False
    """The client showed a certificate, on this connection or the session it resumes."""
    verified: bool = False
    """It showed one, and the balancer verified it."""


@dataclass(frozen=True, slots=True)
class Details:
    """The values of a header, as far as there are any."""

    alpn: str | None = None
    """The protocol the client and the balancer agreed on."""
    authority: str | None = None
    """The name the client asked for (SNI)."""
    unique_id: bytes | None = None
    aws_vpc_endpoint_id: str | None = None
    """``vpce-...``: which AWS VPC endpoint (PrivateLink) the connection came through."""
    tls: TlsDetails | None = None
    """None: the client's connection to the balancer was not encrypted, or the header does not tell."""
    others: tuple[tuple[int, bytes], ...] = ()
    """Types and values that nothing here understands, in order."""

    def facts(self) -> dict[str, Any]:
        """The same as plain values."""
        tls = self.tls
        return {
            "alpn": self.alpn,
            "authority": self.authority,
            "unique_id": self.unique_id,
            "aws_vpc_endpoint_id": self.aws_vpc_endpoint_id,
            "tls": None
            if tls is None
            else {
                "version": tls.version,
                "cipher": tls.cipher,
                "client_name": tls.client_name,
                "certificate": tls.certificate,
                "verified": tls.verified,
            },
            "tlvs": self.others,
        }


NO_DETAILS = Details()


def read_details(header: bytes, start: int) -> Details:
    """Read the values from ``start`` to the end of a whole header; its checksum is checked if there is one.

    Raises:
        ProxyFault: a value does not fit, is cut off, stands twice, or the checksum is wrong.
    """
    found = NO_DETAILS
    seen: set[int] = set()
    others: list[tuple[int, bytes]] = []
    for kind, value, at in _tlvs(header, start, len(header)):
        if kind == NOOP:
            continue
        if kind in _KNOWN:
            if kind in seen:
                raise ProxyFault(f"the value of type 0x{kind:02x} stands twice in the header")
            seen.add(kind)
        if kind == ALPN:
            found = replace(found, alpn=value.decode("latin-1"))
        elif kind == AUTHORITY:
            found = replace(found, authority=_text(value, "authority"))
        elif kind == CRC32C:
            _check(header, value, at)
        elif kind == UNIQUE_ID:
            if len(value) > UNIQUE_ID_LONGEST:
                raise ProxyFault(f"the unique id is longer than {UNIQUE_ID_LONGEST} bytes")
            found = replace(found, unique_id=value)
        elif kind == TLS:
            found = replace(found, tls=_read_tls(value))
        elif kind == AWS and value[:1] == bytes([_AWS_VPC_ENDPOINT]) and found.aws_vpc_endpoint_id is None:
            found = replace(found, aws_vpc_endpoint_id=_text(value[1:], "VPC endpoint id"))
        else:
            others.append((kind, value))
    return replace(found, others=tuple(others)) if others else found


_KNOWN = frozenset((ALPN, AUTHORITY, CRC32C, UNIQUE_ID, TLS, NETNS))


def _tlvs(data: bytes, start: int, end: int) -> list[tuple[int, bytes, int]]:
    """Types, values, and where each value begins."""
    found = []
    while start < end:
        value = start + 3
        after = value + int.from_bytes(data[start + 1 : value], "big")
        if value > end or after > end:
            raise ProxyFault(f"the value of type 0x{data[start]:02x} is longer than what is left of the header")
        found.append((data[start], data[value:after], value))
        start = after
    return found


def _read_tls(value: bytes) -> TlsDetails | None:
    """One byte of flags, four that are zero if the certificate was verified, then values within the value."""
    if len(value) < 5:
        raise ProxyFault("the value that tells of TLS is shorter than 5 bytes")
    flags, verified = value[0], value[1:5] == b"\0\0\0\0"
    inner = {kind: text for kind, text, _ in _tlvs(value, 5, len(value))}
    if not flags & _OVER_TLS:
        return None
    certificate = bool(flags & (_CERTIFICATE_ON_CONNECTION | _CERTIFICATE_IN_SESSION))

    def text(kind: int) -> str | None:
        return _text(inner[kind], "TLS") if kind in inner else None

    return TlsDetails(
        text(_TLS_VERSION), text(_TLS_CIPHER), text(_TLS_CLIENT_NAME), certificate, certificate and verified
    )


def _text(value: bytes, what: str) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        raise ProxyFault(f"the header's {what} is not UTF-8") from None


def _check(header: bytes, value: bytes, at: int) -> None:
    """The checksum is that of the whole header with zeros in its own place (section 2.2.3)."""
    if len(value) != 4:
        raise ProxyFault(f"the checksum has {len(value)} bytes, not 4")
    if crc32c(header[:at] + b"\0\0\0\0" + header[at + 4 :]) != int.from_bytes(value, "big"):
        raise ProxyFault("the header's checksum is wrong")


def _table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return tuple(table)


_CRC = _table()


def crc32c(data: bytes) -> int:
    """CRC-32C (RFC 4960, Appendix B), which Python's library does not have."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF
