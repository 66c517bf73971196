"""The dates of a certificate, read from its bytes."""

from __future__ import annotations

import datetime
import ssl

import pytest
import trustme

from keepserve.server.validity import certificate_in, validity_of

UTC = datetime.UTC


def issued(**times: datetime.datetime) -> trustme.LeafCert:
    return trustme.CA().issue_cert("localhost", **times)


@pytest.mark.parametrize("year", [2049, 2050, 2120])  # RFC 5280 §4.1.2.5: two digits up to 2049, then four
@pytest.mark.parametrize("key_type", [trustme.KeyType.ECDSA, trustme.KeyType.RSA])
def test_both_dates_are_those_of_the_certificate(year: int, key_type: trustme.KeyType) -> None:
    begins = datetime.datetime(2024, 2, 29, 23, 59, 58, tzinfo=UTC)
    ends = datetime.datetime(year, 12, 31, 12, 34, 56, tzinfo=UTC)
    made = trustme.CA().issue_cert("localhost", not_before=begins, not_after=ends, key_type=key_type)
    pem = certificate_in(made.private_key_and_cert_chain_pem.bytes().decode())
    assert pem is not None
    assert validity_of(ssl.PEM_cert_to_DER_cert(pem)) == (begins.timestamp(), ends.timestamp())


def test_the_first_certificate_of_a_file_is_the_servers() -> None:
    made, other = issued(), issued()
    text = "".join(cert.cert_chain_pems[0].bytes().decode() for cert in (made, other))
    assert certificate_in("some words\n" + text) == made.cert_chain_pems[0].bytes().decode()
    assert certificate_in("nothing") is None


def test_what_cannot_be_read_is_no_date() -> None:
    whole = ssl.PEM_cert_to_DER_cert(issued().cert_chain_pems[0].bytes().decode())
    for damaged in (b"", b"\x30", b"\x30\x03abc", whole[:40], whole[:8], b"\0" * 100, b"\x30\x82" * 50):
        assert validity_of(damaged) is None
