"""Until when a certificate is valid, read from the certificate itself.

The standard library tells that only of a certificate that a peer has shown and that was verified. These two dates
stand at a place that has not moved since X.509 has versions, and OpenSSL has accepted the file before we look.
"""

from __future__ import annotations

import calendar
import re
import time

_CERTIFICATE = re.compile(r"-----BEGIN (?:TRUSTED |X509 )?CERTIFICATE-----\s.*?-----END [A-Z0-9 ]*-----", re.DOTALL)

_SEQUENCE, _VERSION, _UTC_TIME, _GENERALIZED_TIME = 0x30, 0xA0, 0x17, 0x18


def certificate_in(text: str) -> str | None:
    """Return the first certificate of a PEM file, which is the server's own."""
    match = _CERTIFICATE.search(text)
    if match is None or "BEGIN CERTIFICATE" not in match[0]:
        return None
    return match[0] + "\n"


def validity_of(certificate: bytes) -> tuple[float, float] | None:
    """Return from when to when a certificate (DER) is valid, in seconds since the epoch; None if it cannot be read.

    RFC 5280 §4.1: ``SEQUENCE { SEQUENCE { [0] version, serial, signature, issuer, SEQUENCE { notBefore, notAfter }``.
    """
    try:
        inner = _parts(_parts(certificate)[0][1])
        body = _parts(inner[0][1])
        fields = body[1:] if body[0][0] == _VERSION else body
        tag, validity = fields[3]
        begins, ends = _parts(validity)
        return (_moment(*begins), _moment(*ends)) if tag == _SEQUENCE else None
    except (IndexError, ValueError):
        return None


def _parts(data: bytes) -> list[tuple[int, bytes]]:
    """The values that stand one behind the other in ``data``, each with its tag (X.690 §8.1)."""
    parts = []
    at = 0
    while at < len(data):
        tag, size = data[at], data[at + 1]
        at += 2
        if size >= 0x80:
            octets = size & 0x7F
            size = int.from_bytes(data[at : at + octets], "big")
            at += octets
        parts.append((tag, data[at : at + size]))
        at += size
    return parts


def _moment(tag: int, text: bytes) -> float:
    """A time as RFC 5280 §4.1.2.5 wants it: with seconds, in UTC."""
    digits = text.decode("ascii")
    if tag == _UTC_TIME:
        digits = ("19" if digits[:2] >= "50" else "20") + digits
    elif tag != _GENERALIZED_TIME:
        raise ValueError(tag)
    return float(calendar.timegm(time.strptime(digits, "%Y%m%d%H%M%SZ")))
