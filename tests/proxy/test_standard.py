"""The ``Forwarded`` field of RFC 7239, and what clients put in front of what proxies append to it."""

from __future__ import annotations

import pytest

from keepserve.proxy.elements import elements_from_right
from keepserve.proxy.forwarded import MOST_HOPS, Forwarded, read_forwarded
from keepserve.proxy.peers import TrustedPeers

PRIVATE = TrustedPeers(["10.0.0.0/8", "fd00::/8"])


def said(*values: str, trusted: TrustedPeers = PRIVATE) -> Forwarded:
    """What these fields say."""
    lines = [(b"forwarded", value.encode("latin-1")) for value in values]
    told = read_forwarded([(b"host", b"x"), (b"x-forwarded-for", b"9.9.9.9"), *lines], trusted, "forwarded", True)
    assert told is not None
    return told


@pytest.mark.parametrize(
    ("values", "client"),
    [
        # RFC 7239 §4, §6, §7.
        (("for=192.0.2.43",), "192.0.2.43"),
        (("For=192.0.2.43",), "192.0.2.43"),
        (('for="192.0.2.43:47011"',), "192.0.2.43"),
        (('For="[2001:db8:cafe::17]:4711"',), "2001:db8:cafe::17"),
        (("for=192.0.2.60;proto=http;by=203.0.113.43",), "192.0.2.60"),
        (("for=192.0.2.43, for=198.51.100.17",), "198.51.100.17"),
        (("for=192.0.2.43,for=198.51.100.17;by=203.0.113.60;proto=http;host=example.com",), "198.51.100.17"),
        (("for=192.0.2.43,FOR=10.0.0.9",), "192.0.2.43"),
        (("for=192.0.2.43", "for=10.0.0.9"), "192.0.2.43"),
        (("for=1.1.1.1, for=192.0.2.43", "for=10.0.0.9;proto=https, for=10.0.0.8"), "192.0.2.43"),
        (('by="a, b; c=d";for=192.0.2.43',), "192.0.2.43"),
        ((" for=192.0.2.43 ; proto=https ,\tfor=10.0.0.9 ",), "192.0.2.43"),
        (("for=10.0.0.8, for=10.0.0.9",), "10.0.0.8"),
        # Not quoted as they should be, and clear all the same.
        (("for=192.0.2.43:47011",), "192.0.2.43"),
        (("for=[2001:db8::17]:4711",), "2001:db8::17"),
        # Nobody who has an address.
        (("for=unknown",), None),
        (("for=_hidden",), None),
        (('for="_SEVKISEK:123"',), None),
        (("for=192.0.2.43, for=unknown",), None),
        (("for=1.1.1.1, for=_gazonk, for=10.0.0.9",), "10.0.0.9"),
        (("proto=https",), None),
        (("for=1.1.1.1, proto=https",), None),
        # What cannot be read ends the walk.
        (("",), None),
        ((",",), None),
        (("for=192.0.2.43,",), None),
        (("for=1.1.1.1,, for=10.0.0.9",), "10.0.0.9"),
        (("for=192.0.2.43;",), None),
        ((";for=192.0.2.43",), None),
        (("for=192.0.2.43;for=1.1.1.1",), None),
        (("for=192.0.2.43;FOR=1.1.1.1",), None),
        (("for",), None),
        (("for=",), None),
        (("=192.0.2.43",), None),
        (("for =192.0.2.43",), None),
        (("for= 192.0.2.43",), None),
        (("for=192.0.2.43 1.1.1.1",), None),
        (("192.0.2.43",), None),
        (('for="192.0.2.43',), None),
        (('for=192.0.2.43"',), None),
        (('for=""',), None),
        (('for="192.0.2\\.43"',), None),
        (("for=\xe9",), None),
        (("for=192.0.2.43;pr\xf6to=https",), None),
    ],
)
def test_the_client_is_the_right_most_that_is_not_trusted(values: tuple[str, ...], client: str | None) -> None:
    told = said(*values).client
    assert (told.host if told is not None else None) == client


@pytest.mark.parametrize("end", ['for="[2001:db8::7]:4711";proto=https', "for=203.0.113.7;proto=https"])
@pytest.mark.parametrize(
    "sent",
    [
        'for="1.1.1.1',
        'for="1.1.1.1\\',
        "for=1.1.1.1;",
        "for=1.1.1.1,",
        '"',
        '";for="1.1.1.1',
        'proto="http;for=1.1.1.1;',
        "for=10.0.0.1;proto=http",
        "for=(1.1.1.1)",
        "\xff\xfe",
        "for=1.1.1.1\t",
    ],
)
def test_nothing_a_client_sends_changes_how_the_proxys_element_is_read(sent: str, end: str) -> None:
    for values in ((f"{sent}, {end}",), (f"{sent},{end}",), (sent, end)):
        told = said(*values)
        assert told.client is not None
        assert told.client.host == ("203.0.113.7" if "203" in end else "2001:db8::7")
        assert told.scheme == "https"


@pytest.mark.parametrize(
    ("value", "scheme", "host"),
    [
        ("for=203.0.113.7;proto=https;host=a.example", "https", b"a.example"),
        ('for=203.0.113.7;PROTO=HTTPS;Host="a.example:81"', "https", b"a.example:81"),
        # The client has spoken to the furthest proxy that is trusted.
        (
            "for=203.0.113.7;proto=https;host=a.example, for=10.0.0.9;proto=http;host=inner",
            "https",
            b"a.example",
        ),
        ("for=203.0.113.7, for=10.0.0.9;proto=https;host=a.example", "https", b"a.example"),
        # Those further away nobody vouches for.
        ("for=1.1.1.1;proto=http;host=evil, for=203.0.113.7", None, None),
        ("for=1.1.1.1;proto=http;host=evil, for=unknown;proto=https", "https", None),
        ("for=1.1.1.1;proto=http;host=evil, for=203.0.113.7;proto=https;host=a.example", "https", b"a.example"),
        ("for=203.0.113.7;proto=ftp", None, None),
        ("for=203.0.113.7;proto=wss", "https", None),
    ],
)
def test_scheme_and_host_are_those_that_the_client_used(value: str, scheme: str | None, host: bytes | None) -> None:
    told = said(value)
    assert (told.scheme, told.host) == (scheme, host)


def test_a_port_is_told_if_the_proxy_told_it() -> None:
    assert said('for="203.0.113.7:4711"').client == ("203.0.113.7", 4711, False)


def test_where_everybody_is_trusted_the_walk_has_an_end_all_the_same() -> None:
    hops = [f"for=10.0.{number // 256}.{number % 256}" for number in range(3 * MOST_HOPS)]
    for values in ((", ".join(hops),), tuple(hops)):
        told = said(*values, trusted=TrustedPeers(["*"]))
        assert told.client is not None
        assert "for=" + told.client.host == hops[-MOST_HOPS]


def test_elements_come_from_the_right_and_only_as_far_as_they_are_wanted() -> None:
    elements = elements_from_right('a="x,;= y";B=c, for="[::1]:1"')
    assert next(elements) == {"for": "[::1]:1"}
    assert next(elements) == {"a": "x,;= y", "b": "c"}
    assert list(elements) == []
