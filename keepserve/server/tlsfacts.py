"""What an application is told about TLS: the ASGI ``tls`` extension, version 0.2."""

from __future__ import annotations

import ssl
from typing import Any

_VERSIONS = {"TLSv1.2": 0x0303, "TLSv1.3": 0x0304}

# RFC 4514 §3; what has no short name there is written with its long one.
_SHORT = {
    "commonName": "CN",
    "localityName": "L",
    "stateOrProvinceName": "ST",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "countryName": "C",
    "streetAddress": "STREET",
    "domainComponent": "DC",
    "userId": "UID",
}

_NUMBERS: dict[str, int] = {}
"""Cipher suites by name; OpenSSL takes longer to list them than a request takes."""

_ESCAPED = frozenset('",+;<>\\')


class ServerContext(ssl.SSLContext):
    """A context that knows what the extension is to say of its server, and until when it is good."""

    certificate: str | None = None
    """The server's own certificate, PEM."""
    valid_from: float | None = None
    """Seconds since the epoch."""
    valid_until: float | None = None
    """Seconds since the epoch: to be exported, so that somebody is woken in time."""


def tls_extension(tls: ssl.SSLObject) -> dict[str, Any]:
    """Return ``scope["extensions"]["tls"]`` for a connection whose handshake is done."""
    agreed = tls.cipher()
    subject = (tls.getpeercert() or {}).get("subject")
    return {
        "server_cert": getattr(tls.context, "certificate", None),
        "client_cert_chain": _chain(tls),
        "client_cert_name": distinguished_name(subject) if subject else None,
        # A certificate that cannot be verified ends the handshake: no request comes from such a client.
        "client_cert_error": None,
        "tls_version": _VERSIONS.get(tls.version() or ""),
        "cipher_suite": _cipher_number(tls.context, agreed[0]) if agreed is not None else None,
    }


def distinguished_name(subject: Any) -> str:
    """Return a subject as ``ssl`` gives it in the notation of RFC 4514: ``CN=client,O=Example``."""
    return ",".join(
        "+".join(f"{_SHORT.get(name, name)}={_escape(value)}" for name, value in relative)
        for relative in reversed(subject)
    )


def _escape(value: str) -> str:
    """Escape a value (RFC 4514 §2.4)."""
    text = "".join("\\" + char if char in _ESCAPED else "\\00" if char == "\0" else char for char in value)
    if text[:1] in (" ", "#"):
        text = "\\" + text
    if text.endswith(" ") and len(value) > 1:
        text = text[:-1] + "\\ "
    return text


def _chain(tls: ssl.SSLObject) -> list[str]:
    """The client's certificates, its own first; before Python 3.13 there is no way to the others."""
    own = tls.getpeercert(binary_form=True)
    if own is None:
        return []  # asked for a chain now, Python 3.13 trips over what is not there
    chain = tls.get_unverified_chain() if hasattr(tls, "get_unverified_chain") else []
    if not chain:
        chain = [own]  # a resumed session remembers no more
    return [ssl.DER_cert_to_PEM_cert(certificate) for certificate in chain]


def _cipher_number(context: ssl.SSLContext, name: str) -> int | None:
    """The number of a cipher suite: OpenSSL's without the upper half, which says where it stems from."""
    if name not in _NUMBERS:
        _NUMBERS.update((cipher["name"], int(cipher["id"]) & 0xFFFF) for cipher in context.get_ciphers())
    return _NUMBERS.get(name)
