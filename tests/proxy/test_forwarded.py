"""Who the client is when proxies say so, and when liars do (RFC 7239 §8.1)."""

from __future__ import annotations

import pytest

from keepserve.proxy.forwarded import MOST_HOPS, Family, Forwarded, read_forwarded
from keepserve.proxy.peers import TrustedPeers

PRIVATE = TrustedPeers(["10.0.0.0/8", "fd00::/8", "127.0.0.1"])


def fields(*values: str, proto: tuple[str, ...] = ()) -> list[tuple[bytes, bytes]]:
    """Fields with these X-Forwarded-For values and X-Forwarded-Proto values."""
    return [
        (b"host", b"x"),
        *((b"x-forwarded-for", value.encode("latin-1")) for value in values),
        *((b"x-forwarded-proto", value.encode("latin-1")) for value in proto),
    ]


def said(
    lines: list[tuple[bytes, bytes]], family: Family = "x-forwarded", trusted: TrustedPeers = PRIVATE
) -> Forwarded:
    """What these fields say to somebody who asks for all of it."""
    return read_forwarded(lines, trusted, family, True) or Forwarded()


def client_of(*values: str, trusted: TrustedPeers = PRIVATE) -> str | None:
    """The client by these X-Forwarded-For fields."""
    client = said(fields(*values), trusted=trusted).client
    return client.host if client is not None else None


@pytest.mark.parametrize(
    ("values", "client"),
    [
        ((), None),
        (("203.0.113.7",), "203.0.113.7"),
        # What stands left of the first address we do not trust was written by somebody we do not know.
        (("1.1.1.1, 203.0.113.7",), "203.0.113.7"),
        (("127.0.0.1, 203.0.113.7",), "203.0.113.7"),
        (("1.1.1.1, 203.0.113.7, 10.0.0.5",), "203.0.113.7"),
        (("1.1.1.1, 203.0.113.7, 10.0.0.5, 10.0.0.6",), "203.0.113.7"),
        # All of them trusted: the one furthest away.
        (("10.0.0.4, 10.0.0.5",), "10.0.0.4"),
        # Several fields are one list (RFC 9110 §5.3).
        (("1.1.1.1", "203.0.113.7"), "203.0.113.7"),
        (("203.0.113.7", "10.0.0.5"), "203.0.113.7"),
        (("1.1.1.1, 203.0.113.7", "10.0.0.5, 10.0.0.6"), "203.0.113.7"),
        # Ports, brackets, quotes, zones.
        (("203.0.113.7:4711",), "203.0.113.7"),
        (("[2001:db8::1]:4711",), "2001:db8::1"),
        (("[2001:db8::1]",), "2001:db8::1"),
        (("2001:db8::1",), "2001:db8::1"),
        (('"[2001:db8::1]:4711"',), "2001:db8::1"),
        (("2001:DB8:0:0::0001",), "2001:db8::1"),
        (("fe80::1%eth0",), "fe80::1"),
        (("1.1.1.1, fd00::1",), "1.1.1.1"),
        (("::ffff:203.0.113.7",), "203.0.113.7"),
        (("1.1.1.1, ::ffff:10.0.0.5",), "1.1.1.1"),
        (("  203.0.113.7\t",), "203.0.113.7"),
        # What cannot be read ends the walk: the last address before it stands, or the socket's own.
        (("unknown",), None),
        (("_hidden",), None),
        (("",), None),
        ((",",), None),
        (("203.0.113.7,",), None),
        (("1.1.1.1, unknown",), None),
        (("1.1.1.1, unknown, 10.0.0.5",), "10.0.0.5"),
        (("1.1.1.1,, 10.0.0.5",), "10.0.0.5"),
        (("203.0.113.7 203.0.113.8",), None),
        (("203.0.113",), None),
        (("203.0.113.256",), None),
        (("0313.0.113.7",), None),
        (("0x7f000001",), None),
        (("2130706433",), None),
        (("[203.0.113.7",), None),
        (("[2001:db8::1",), None),
        (("[2001:db8::1]x",), None),
        (("203.0.113.7:port",), None),
        (("203.0.113.7:",), None),
        (("203.0.113.7:99999999",), None),
        (("example.com",), None),
        (("<script>",), None),
        (("203.0.113.7\xa0",), None),
        (("\xb2\xb3.0.0.1",), None),
        (("1.1.1.1;2.2.2.2",), None),
        (("for=1.1.1.1",), None),
    ],
)
def test_the_client_is_the_right_most_address_that_is_not_trusted(
    values: tuple[str, ...], client: str | None
) -> None:
    assert client_of(*values) == client


@pytest.mark.parametrize(
    ("proto", "scheme"),
    [
        ((), None),
        (("https",), "https"),
        (("http",), "http"),
        (("HTTPS",), "https"),
        ((" https ",), "https"),
        # The nearest proxy wrote the last one.
        (("http, https",), "https"),
        (("https, http",), "http"),
        (("http", "https"), "https"),
        (("ftp",), None),
        (("",), None),
        (("https,",), None),
        (("wss",), "https"),
        (("ws",), "http"),
        (("javascript",), None),
        (("https\xa0",), None),
    ],
)
def test_the_scheme_is_what_the_nearest_proxy_says(proto: tuple[str, ...], scheme: str | None) -> None:
    assert said(fields(proto=proto)).scheme == scheme


def test_everybody_trusted_means_the_left_most() -> None:
    trusted = TrustedPeers(["*"])
    assert client_of("1.1.1.1, 203.0.113.7", trusted=trusted) == "1.1.1.1"


def test_a_very_long_list_is_walked_from_the_right_only_as_far_as_needed() -> None:
    values = ", ".join(["1.1.1.1"] * 5000 + ["203.0.113.7"])
    assert client_of(values) == "203.0.113.7"


def test_nothing_said_is_nothing() -> None:
    assert read_forwarded([(b"host", b"x"), (b"x-forwarded-port", b"443")], PRIVATE, "x-forwarded", True) is None
    assert read_forwarded([(b"host", b"x")], PRIVATE, "forwarded", True) is None


def test_a_port_is_told_if_the_proxy_told_it() -> None:
    assert said(fields("203.0.113.7:4711")).client == ("203.0.113.7", 4711, False)
    assert said(fields("203.0.113.7")).client == ("203.0.113.7", 0, False)


def test_where_everybody_is_trusted_the_walk_has_an_end_all_the_same() -> None:
    hops = [f"10.0.{number // 256}.{number % 256}" for number in range(3 * MOST_HOPS)]
    assert client_of(", ".join(hops), trusted=TrustedPeers(["*"])) == hops[-MOST_HOPS]
    assert client_of(*hops, trusted=TrustedPeers(["*"])) == hops[-MOST_HOPS]


@pytest.mark.parametrize(
    ("host", "port", "proto", "field", "server"),
    [
        (b"a.example", None, "https", b"a.example", ("a.example", 443)),
        (b"a.example", None, "http", b"a.example", ("a.example", 80)),
        (b"a.example:8443", None, "https", b"a.example:8443", ("a.example", 8443)),
        (b"a.example", b"443", "https", b"a.example", ("a.example", 443)),
        (b"a.example", b"8443", "https", b"a.example:8443", ("a.example", 8443)),
        (b"a.example:8443", b"443", "https", b"a.example:8443", ("a.example", 8443)),
        (b"a.example", b"80, 8443", "https", b"a.example:8443", ("a.example", 8443)),
        (b"evil.example, a.example", None, "https", b"a.example", ("a.example", 443)),
        (b"[2001:db8::1]", None, "https", b"[2001:db8::1]", ("2001:db8::1", 443)),
        (b"[2001:db8::1]:81", None, "https", b"[2001:db8::1]:81", ("2001:db8::1", 81)),
        (b"a.example", b"0", "https", b"a.example", ("a.example", 443)),
        (b"a.example", b"65536", "https", b"a.example", ("a.example", 443)),
        (b"a.example", b"+81", "https", b"a.example", ("a.example", 443)),
        (b"a.example", b"\xb2", "https", b"a.example", ("a.example", 443)),
        (b"a.example", b"", "https", b"a.example", ("a.example", 443)),
    ],
)
def test_the_host_and_port_that_the_client_asked_for(
    host: bytes, port: bytes | None, proto: str, field: bytes, server: tuple[str, int]
) -> None:
    lines = [(b"x-forwarded-host", host), *([(b"x-forwarded-port", port)] if port is not None else [])]
    told = said(lines)
    assert (told.host_field(proto), told.server(proto)) == (field, server)


@pytest.mark.parametrize(
    "host", [b"", b"a.example, ", b"a/b", b"user@a", b"a b", b"a:99999", b"a:0", b"a\xff", b"a'\"", b"[::1", b"<a>"]
)
def test_a_host_that_none_has_is_not_believed(host: bytes) -> None:
    assert said([(b"x-forwarded-host", host)]).host is None
    assert said([(b"forwarded", b'host="' + host + b'"')], "forwarded").host is None


def test_a_host_is_believed_only_on_demand() -> None:
    for family, line in (("x-forwarded", (b"x-forwarded-host", b"a")), ("forwarded", (b"forwarded", b"host=a"))):
        told = read_forwarded([line], PRIVATE, family, False)  # type: ignore[arg-type]  # a literal, from a tuple
        assert told is None or told.host is None
