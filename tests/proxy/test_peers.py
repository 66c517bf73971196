"""Whom a worker believes: networks, Unix sockets, everybody, and addresses as proxies write them."""

from __future__ import annotations

import pytest

from keepserve.proxy.peers import Node, TrustedPeers, parse_address


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


@pytest.mark.parametrize(
    ("text", "node"),
    [
        ("203.0.113.7", Node("203.0.113.7", 0, False)),
        ("203.0.113.7:4711", Node("203.0.113.7", 4711, False)),
        ("203.0.113.7:65535", Node("203.0.113.7", 65535, False)),
        ("203.0.113.7:65536", None),
        ("[2001:db8::1]:4711", Node("2001:db8::1", 4711, False)),
        ('"[2001:db8::1]:4711"', Node("2001:db8::1", 4711, False)),
        ("10.0.0.5:80", Node("10.0.0.5", 80, True)),
        ("::ffff:10.0.0.5", Node("10.0.0.5", 0, True)),
        ("[fd00::5]", Node("fd00::5", 0, True)),
        ("FD00:0::5%eth0", Node("fd00::5", 0, True)),
    ],
)
def test_an_address_is_read_with_its_port_and_whether_it_is_trusted(text: str, node: Node | None) -> None:
    peers = TrustedPeers(["10.0.0.0/8", "fd00::/8"])
    assert peers.node(text) == node
    assert peers.node(text) == node, "also when it is remembered"


def test_an_ipv4_network_does_not_cover_the_ipv6_addresses_with_the_same_bits() -> None:
    peers = TrustedPeers(["0.0.0.0/0"])
    assert "203.0.113.7" in peers
    assert "::a00:1" not in peers
    assert "10.0.0.1" not in TrustedPeers(["::/0"])


@pytest.mark.parametrize("text", ["", " ", ":", "[]", "[", "]", "%", "1.1.1.1:1:1", "::::"])
def test_nonsense_is_no_address(text: str) -> None:
    assert parse_address(text) is None
