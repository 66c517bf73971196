"""Field syntax shared by the engines."""

from __future__ import annotations

import pytest

from keepserve.wire import fields
from keepserve.wire.fields import TOKEN, is_valid_host, list_tokens


@pytest.mark.parametrize(
    ("value", "members"),
    [
        (b"", []),
        (b"close", [b"close"]),
        (b" Keep-Alive ,\tX , ,", [b"keep-alive", b"x"]),
        (b",,", []),
        (b"a b", [b"a b"]),
    ],
)
def test_a_list_is_split_into_lower_case_members(value: bytes, members: list[bytes]) -> None:
    assert list_tokens(value) == members


def test_a_token_is_what_the_rfc_says() -> None:
    for byte in range(256):
        legal = chr(byte).isascii() and (chr(byte).isalnum() or chr(byte) in "!#$%&'*+-.^_`|~")
        assert (TOKEN.fullmatch(bytes([byte])) is not None) is legal


def test_names_of_hosts_are_remembered_but_not_without_end() -> None:
    for number in range(3000):
        assert is_valid_host(b"host-%d.example" % number)
        assert not is_valid_host(b"host %d.example" % number)
    assert len(fields.KNOWN_HOSTS) <= 1024
    assert is_valid_host(b"one-more.example")
