"""PROXY protocol headers, good and bad, whole and in pieces. Bytes as in the specification's sections 2.1 and 2.2."""

from __future__ import annotations

from typing import Any

import pytest

from keepserve.proxy.protocol import ProxyHeader, read_header
from keepserve.proxy.tlvs import ProxyFault, crc32c
from tests.proxy.headers import (
    LOCAL,
    SIGNATURE,
    TCP6,
    UDP4,
    UNIX,
    checked,
    ends,
    tls,
    tlv,
    unix,
    v1,
    v2,
)

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"

CLIENT, SERVER = ("203.0.113.7", 4711), ("192.0.2.80", 443)

GOOD: dict[str, tuple[bytes, Any, Any]] = {
    "v1, IPv4": (v1(), CLIENT, SERVER),
    "v1, IPv6": (v1("2001:DB8:0::7", 1, "2001:db8::80", 65535), ("2001:db8::7", 1), ("2001:db8::80", 65535)),
    "v1, IPv4 in IPv6": (v1("::ffff:203.0.113.7", 1, "::1", 0), ("203.0.113.7", 1), ("::1", 0)),
    "v1, unknown": (b"PROXY UNKNOWN\r\n", None, None),
    "v1, unknown with addresses to be ignored": (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", None, None),
    "v1, the longest unknown": (b"PROXY UNKNOWN " + b"f" * 91 + b"\r\n", None, None),
    "v2, IPv4": (v2(), CLIENT, SERVER),
    "v2, IPv6": (
        v2(family=TCP6, block=ends("2001:db8::7", 1, "2001:db8::80", 2)),
        ("2001:db8::7", 1),
        ("2001:db8::80", 2),
    ),
    "v2, IPv4 in IPv6": (
        v2(family=TCP6, block=ends("::ffff:203.0.113.7", 1, "::1", 2)),
        ("203.0.113.7", 1),
        ("::1", 2),
    ),
    "v2, a client of HTTP/3": (v2(family=UDP4), CLIENT, SERVER),
    "v2, Unix": (v2(family=UNIX, block=unix()), ("/run/client", None), ("/run/server", None)),
    "v2, Unix without a path": (v2(family=UNIX, block=unix(b"")), None, ("/run/server", None)),
    "v2, unspecified": (v2(family=0, block=b""), None, None),
    "v2, unspecified with something to be ignored": (v2(family=0, block=b"\xff" * 50), None, None),
    "v2, local": (v2(command=LOCAL, family=0, block=b""), None, None),
    "v2, local with a family and values to be ignored": (
        v2(command=LOCAL, family=0x77, block=b"\xff" * 9),
        None,
        None,
    ),
    "v2, local with addresses to be ignored": (v2(command=LOCAL), None, None),
    "v2, of 4096 bytes": (v2(tlv(0x04, b"x" * (4096 - 16 - 12 - 3))), CLIENT, SERVER),
    "v2, with a checksum": (checked(), CLIENT, SERVER),
    "v2, with a checksum between others": (checked(tlv(0x05, b"id")) + b"", CLIENT, SERVER),
}

V1_LINE = b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2"

BAD: dict[str, tuple[bytes, str]] = {
    # No header at all.
    "HTTP/1.1": (REQUEST, "begins with b'GET / HTTP/1', not with"),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "not with a PROXY protocol header"),
    "TLS": (b"\x16\x03\x01\x02\x00\x01", "not with a PROXY protocol header"),
    "one wrong byte": (b"X", "not with a PROXY protocol header"),
    "an empty line": (b"\r\nGET", "not with a PROXY protocol header"),
    "white space in front": (b" " + v1(), "not with"),
    "lower case": (v1().lower(), "not with"),
    "a signature with its last byte wrong": (SIGNATURE[:-1] + b"\r" + v2()[12:], "not with"),
    # Version 1.
    "a line of 108 bytes": (b"PROXY UNKNOWN " + b"f" * 92 + b"\r\n", "longer than 107 bytes"),
    "a line without an end": (b"PROXY TCP4 " + b"1" * 200, "longer than 107 bytes"),
    "a bare LF": (V1_LINE + b"\n", "does not end with CR LF"),
    "only the keyword": (b"PROXY \r\n", "is not 'PROXY TCP4"),
    "UDP in version 1": (V1_LINE.replace(b"TCP", b"UDP") + b"\r\n", "is not 'PROXY TCP4"),
    "UNKNOWN with a letter more": (b"PROXY UNKNOWNS\r\n", "is not 'PROXY TCP4"),
    "two spaces": (V1_LINE.replace(b" 1 ", b"  1 ") + b"\r\n", "is not 'PROXY TCP4"),
    "a space at the end": (V1_LINE + b" \r\n", "is not 'PROXY TCP4"),
    "a port too few": (V1_LINE[:-2] + b"\r\n", "is not 'PROXY TCP4"),
    "a port too many": (V1_LINE + b" 3\r\n", "is not 'PROXY TCP4"),
    "a port of six digits": (V1_LINE + b"65536\r\n", "is not 'PROXY TCP4"),
    "a port of 65536": (v1(at=65536), "a port above 65535"),
    "a port with a zero in front": (b"PROXY TCP4 1.1.1.1 2.2.2.2 01 2\r\n", "is not 'PROXY TCP4"),
    "a negative port": (b"PROXY TCP4 1.1.1.1 2.2.2.2 -1 2\r\n", "is not 'PROXY TCP4"),
    "an IPv6 address as IPv4": (b"PROXY TCP4 ::1 2.2.2.2 1 2\r\n", "none of its kind"),
    "an IPv4 address as IPv6": (b"PROXY TCP6 1.1.1.1 ::1 1 2\r\n", "none of its kind"),
    "an address with a zero in front": (b"PROXY TCP4 01.1.1.1 2.2.2.2 1 2\r\n", "none of its kind"),
    "an address with 256": (b"PROXY TCP4 1.1.1.256 2.2.2.2 1 2\r\n", "none of its kind"),
    "a name": (b"PROXY TCP4 localhost 2.2.2.2 1 2\r\n", "is not 'PROXY TCP4"),
    "a zone": (b"PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n", "is not 'PROXY TCP4"),
    "a NUL": (b"PROXY TCP4 1.1.1.1\0 2.2.2.2 1 2\r\n", "is not 'PROXY TCP4"),
    # Version 2.
    "version 1 in binary": (v2(command=0x11), "version and command are 0x11"),
    "version 3": (v2(command=0x31), "version and command are 0x31"),
    "an unknown command": (v2(command=0x22), "version and command are 0x22"),
    "an unknown family": (v2(family=0x41), "address family and transport are 0x41"),
    "an unknown transport": (v2(family=0x13), "address family and transport are 0x13"),
    "a family without a transport": (v2(family=0x10), "address family and transport are 0x10"),
    "no room for the addresses": (v2(block=ends()[:-1]), "no room for the two ipv4 addresses"),
    "IPv4 addresses as IPv6": (v2(family=TCP6), "no room for the two ipv6 addresses"),
    "Unix without room": (v2(family=UNIX, block=b"x" * 215), "no room for the two unix addresses"),
    "4097 bytes": (v2(tlv(0x04, b"x" * (4097 - 16 - 12 - 3))), "4097 bytes long; at most 4096"),
    "64 KiB announced": (v2(length=65535), "65551 bytes long; at most 4096"),
    "64 KiB announced by LOCAL": (v2(command=LOCAL, length=65535), "65551 bytes long; at most 4096"),
    # What follows the addresses.
    "a type alone": (v2(b"\x01"), "longer than what is left"),
    "a length cut off": (v2(b"\x01\0"), "longer than what is left"),
    "a value cut off": (v2(b"\x01\0\x05h2"), "type 0x01 is longer than what is left"),
    "a value that reaches behind the header": (v2(b"\x04\xff\xff"), "type 0x04 is longer than what is left"),
    "a wrong checksum": (checked()[:-1] + bytes([checked()[-1] ^ 1]), "checksum is wrong"),
    "a checksum of zeros": (v2(tlv(0x03, b"\0\0\0\0")), "checksum is wrong"),
    "a flipped bit under a checksum": (checked().replace(b"\xcb\0\x71\x07", b"\xcb\0\x71\x06"), "checksum is wrong"),
    "a short checksum": (v2(tlv(0x03, b"\0\0\0")), "the checksum has 3 bytes"),
    "two ids": (v2(tlv(0x05, b"a"), tlv(0x05, b"b")), "type 0x05 stands twice"),
    "two names": (v2(tlv(0x02, b"a"), tlv(0x02, b"a")), "type 0x02 stands twice"),
    "a long id": (v2(tlv(0x05, b"x" * 129)), "longer than 128 bytes"),
    "a name that is not UTF-8": (v2(tlv(0x02, b"\xff")), "authority is not UTF-8"),
    "an endpoint that is not UTF-8": (v2(tlv(0xEA, b"\x01\xff")), "VPC endpoint id is not UTF-8"),
    "TLS without its flags": (v2(tlv(0x20, b"\x01\0\0\0")), "shorter than 5 bytes"),
    "TLS with a value cut off": (v2(tlv(0x20, b"\x01\0\0\0\0\x21\0\x09TLS")), "longer than what is left"),
}


def in_pieces(data: bytes) -> ProxyHeader | str:
    """Read the header byte by byte, as it comes; what follows it is not needed."""
    for size in range(len(data) + 1):
        try:
            found = read_header(data[:size])
        except ProxyFault as fault:
            return str(fault)
        if found is not None:
            assert found[1] == size, "whole with its last byte, not sooner or later"
            return found[0]
    return "more has to come"


@pytest.mark.parametrize(("data", "source", "destination"), GOOD.values(), ids=GOOD)
def test_a_good_header_is_read_and_what_follows_is_left(data: bytes, source: Any, destination: Any) -> None:
    for rest in (b"", b"G", REQUEST, b"\x16\x03\x01", b"\r\n\r\n"):
        found = read_header(data + rest)
        assert found is not None
        header, size = found
        assert (header.source, header.destination, size) == (source, destination, len(data))
        assert header.told is ((source, destination) != (None, None))
        assert header.version == (1 if data.startswith(b"P") else 2)


@pytest.mark.parametrize("data", [data for data, _, _ in GOOD.values()], ids=GOOD)
def test_a_good_header_in_pieces_is_whole_with_its_last_byte(data: bytes) -> None:
    found = read_header(data)
    assert found is not None
    assert in_pieces(data) == found[0]


@pytest.mark.parametrize(("data", "why"), BAD.values(), ids=BAD)
def test_a_bad_header_is_refused_with_a_reason(data: bytes, why: str) -> None:
    with pytest.raises(ProxyFault) as caught:
        read_header(data)
    assert why in str(caught.value)


@pytest.mark.parametrize(("data", "why"), BAD.values(), ids=BAD)
def test_a_bad_header_in_pieces_is_refused_as_well(data: bytes, why: str) -> None:
    told = in_pieces(data)
    assert isinstance(told, str)
    assert told != "more has to come"


@pytest.mark.parametrize("data", [REQUEST, b"\x16\x03\x01", b"X"])
def test_what_is_no_header_is_refused_with_its_first_byte(data: bytes) -> None:
    with pytest.raises(ProxyFault):
        read_header(data[:1])


def test_a_header_too_long_is_refused_by_its_length_before_it_comes() -> None:
    with pytest.raises(ProxyFault):
        read_header(v2(length=4081)[:16])


def test_nothing_yet_is_neither_good_nor_bad() -> None:
    assert read_header(b"") is None


def test_local_and_unknown_are_told_apart() -> None:
    for data, local in ((v2(command=LOCAL), True), (v2(family=0), False), (b"PROXY UNKNOWN\r\n", False)):
        found = read_header(data)
        assert found is not None
        assert (found[0].local, found[0].told) == (local, False)


# -- what follows the addresses


def facts(*tlvs: bytes) -> dict[str, Any]:
    """What a header with these values tells."""
    found = read_header(v2(*tlvs))
    assert found is not None
    return found[0].facts()


NOTHING = {
    "version": 2,
    "local": False,
    "source": CLIENT,
    "destination": SERVER,
    "alpn": None,
    "authority": None,
    "unique_id": None,
    "aws_vpc_endpoint_id": None,
    "tls": None,
    "tlvs": (),
}
TLS = {"version": None, "cipher": None, "client_name": None, "certificate": False, "verified": False}


@pytest.mark.parametrize(
    ("tlvs", "told"),
    [
        ((), {}),
        ((tlv(0x01, b"h2"),), {"alpn": "h2"}),
        ((tlv(0x01, b"\xff\n"),), {"alpn": "\xff\n"}),
        ((tlv(0x02, "\xfc.example".encode()),), {"authority": "\xfc.example"}),
        ((tlv(0x04, b"xyz"), tlv(0x04, b"")), {}),
        ((tlv(0x05, b"\0\xff" * 64),), {"unique_id": b"\0\xff" * 64}),
        ((tlv(0xEA, b"\x01vpce-08d2bf15fac5001c9"),), {"aws_vpc_endpoint_id": "vpce-08d2bf15fac5001c9"}),
        ((tlv(0xEA, b"\x02other"),), {"tlvs": ((0xEA, b"\x02other"),)}),
        ((tlv(0xEA, b""),), {"tlvs": ((0xEA, b""),)}),
        (
            (tlv(0x30, b"blue"), tlv(0xEE, b"\x01"), tlv(0xEE, b"\x02")),
            {"tlvs": ((0x30, b"blue"), (0xEE, b"\x01"), (0xEE, b"\x02"))},
        ),
        ((tls(0x00),), {}),
        ((tls(0x01),), {"tls": TLS}),
        (
            (tls(0x01, 0, tlv(0x21, b"TLSv1.3"), tlv(0x23, b"TLS_AES_128_GCM_SHA256")),),
            {"tls": TLS | {"version": "TLSv1.3", "cipher": "TLS_AES_128_GCM_SHA256"}},
        ),
        (
            (tls(0x05, 0, tlv(0x22, b"alice")),),
            {"tls": TLS | {"client_name": "alice", "certificate": True, "verified": True}},
        ),
        # Zeros where it says whether the certificate was verified mean nothing if there was none.
        ((tls(0x03, 1),), {"tls": TLS | {"certificate": True}}),
        ((tls(0x01, 0),), {"tls": TLS}),
    ],
)
def test_the_values_of_a_header(tlvs: tuple[bytes, ...], told: dict[str, Any]) -> None:
    assert facts(*tlvs) == NOTHING | told


def test_crc32c_is_that_of_the_rfc() -> None:
    # RFC 3720, Appendix B.4, and the check value every catalogue of such sums has.
    assert crc32c(b"\0" * 32) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(b"123456789") == 0xE3069283
