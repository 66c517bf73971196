"""Who the client is when proxies say so, and when liars do (RFC 7239 §8.1)."""

from __future__ import annotations

import pytest

from keepserve.proxy.forwarded import TrustedPeers, forwarded_client, parse_address

PRIVATE = TrustedPeers(["10.0.0.0/8", "fd00::/8", "127.0.0.1"])


def fields(*values: str, proto: tuple[str, ...] = ()) -> list[tuple[bytes, bytes]]:
    """Fields with these X-Forwarded-For values and X-Forwarded-Proto values."""
    return [
        (b"host", b"x"),
        *((b"x-forwarded-for", value.encode("latin-1")) for value in values),
        *((b"x-forwarded-proto", value.encode("latin-1")) for value in proto),
    ]


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
    assert forwarded_client(fields(*values), PRIVATE)[0] == client


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
        (("javascript",), None),
        (("https\xa0",), None),
    ],
)
def test_the_scheme_is_what_the_nearest_proxy_says(proto: tuple[str, ...], scheme: str | None) -> None:
    assert forwarded_client(fields(proto=proto), PRIVATE)[1] == scheme


def test_everybody_trusted_means_the_left_most() -> None:
    trusted = TrustedPeers(["*"])
    assert forwarded_client(fields("1.1.1.1, 203.0.113.7"), trusted)[0] == "1.1.1.1"


def test_a_very_long_list_is_walked_from_the_right_only_as_far_as_needed() -> None:
    values = ", ".join(["1.1.1.1"] * 5000 + ["203.0.113.7"])
    assert forwarded_client(fields(values), PRIVATE)[0] == "203.0.113.7"


@pytest.mark.parametrize(
    ("entries", "host", "trusted"),
    [
        ([], "127.0.0.1", False),
        ([], None, False),
        (["127.0.0.1"], "127.0.0.1", True),
        (["127.0.0.1"], "127.0.0.2", False),
        (["127.0.0.0/8"], "127.9.9.9", True),
        (["10.1.2.3/8"], "10.9.9.9", True),
        (["10.0.0.0/8"], "::ffff:10.0.0.1", True),
        (["2001:db8::/32"], "2001:db8::5", True),
        (["2001:db8::/32"], "2001:db9::5", False),
        (["fe80::/10"], "fe80::1%eth0", True),
        (["10.0.0.0/8"], "not an address", False),
        (["10.0.0.0/8"], None, False),
        (["unix"], None, True),
        (["unix"], "127.0.0.1", False),
        (["*"], "203.0.113.7", True),
        (["*"], None, True),
    ],
)
def test_who_is_trusted(entries: list[str], host: str | None, trusted: bool) -> None:
    peers = TrustedPeers(entries)
    assert (host in peers) is trusted
    assert bool(peers) is bool(entries)


@pytest.mark.parametrize("entry", ["", "10.0.0.0/99", "example.com", "10.0.0", "**"])
def test_an_entry_that_is_none_is_refused(entry: str) -> None:
    with pytest.raises(ValueError, match="does not appear to be"):
        TrustedPeers([entry])


@pytest.mark.parametrize("text", ["", " ", ":", "[]", "[", "]", "%", "1.1.1.1:1:1", "::::"])
def test_nonsense_is_no_address(text: str) -> None:
    assert parse_address(text) is None
