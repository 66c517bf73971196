"""What an application learns of TLS, and how it is written."""

from __future__ import annotations

import ssl

import pytest

from keepserve.server.tlsfacts import ServerContext, distinguished_name, tls_extension
from keepserve.server.tlslayer import TlsSession
from tests.support.tls import TlsClient, contexts


@pytest.mark.parametrize(
    ("version", "number", "suites"),
    [
        (ssl.TLSVersion.TLSv1_2, 0x0303, range(0xC000, 0xD000)),
        (ssl.TLSVersion.TLSv1_3, 0x0304, range(0x1301, 0x1304)),
    ],
)
def test_version_and_cipher_are_the_numbers_of_the_standard(
    version: ssl.TLSVersion, number: int, suites: range
) -> None:
    both = contexts(version)
    server = TlsSession(both.server, 0.0, 10.0)
    TlsClient(both.client).meet(server)
    told = tls_extension(server.tls)
    assert told["tls_version"] == number
    assert told["cipher_suite"] in suites
    assert told["server_cert"] is None  # a context made by somebody else does not know it
    assert (told["client_cert_chain"], told["client_cert_name"], told["client_cert_error"]) == ([], None, None)


def test_both_certificates_are_shown() -> None:
    both = contexts()
    server = ServerContext(ssl.PROTOCOL_TLS_SERVER)
    own = both.authority.issue_cert("localhost")
    own.configure_cert(server)
    server.certificate = own.cert_chain_pems[0].bytes().decode()
    server.verify_mode = ssl.CERT_REQUIRED
    both.authority.configure_trust(server)
    theirs = both.authority.issue_cert("client.example", common_name="Client, a good one")
    theirs.configure_cert(both.client)
    session = TlsSession(server, 0.0, 10.0)
    TlsClient(both.client).meet(session)
    told = tls_extension(session.tls)
    assert told["server_cert"] == server.certificate
    shown = theirs.cert_chain_pems[0].bytes().decode()
    assert ssl.PEM_cert_to_DER_cert(told["client_cert_chain"][0]) == ssl.PEM_cert_to_DER_cert(shown)
    assert all(one.startswith("-----BEGIN CERTIFICATE-----\n") for one in told["client_cert_chain"])
    assert told["client_cert_name"].startswith(r"CN=Client\, a good one,")


def _subject(*relative: str) -> tuple[tuple[tuple[str, str], ...], ...]:
    """A subject as ``ssl`` gives it: the most general part first, each of one or more names and values."""
    return tuple(
        tuple((pair.partition("=")[0], pair.partition("=")[2]) for pair in one.split("&")) for one in relative
    )


@pytest.mark.parametrize(
    ("subject", "written"),
    [
        # RFC 4514 §4: the most particular first.
        (_subject("domainComponent=net", "domainComponent=example", "userId=jsmith"), "UID=jsmith,DC=example,DC=net"),
        (_subject("organizationalUnitName=Sales&commonName=J.  Smith"), "OU=Sales+CN=J.  Smith"),
        (_subject('commonName=James "Jim" Smith, III'), r"CN=James \"Jim\" Smith\, III"),
        (_subject("commonName=#first"), r"CN=\#first"),
        (_subject("commonName= both "), r"CN=\ both\ "),
        (_subject("commonName= "), r"CN=\ "),
        (_subject("commonName=a+b;c<d>e\\f\0g"), r"CN=a\+b\;c\<d\>e\\f\00g"),
        (_subject("emailAddress=a@example"), "emailAddress=a@example"),
    ],
)
def test_names_are_written_as_rfc_4514_has_it(subject: object, written: str) -> None:
    assert distinguished_name(subject) == written
