"""The TLS context, built from the ``ssl_*`` settings before anything is bound and before the workers fork.

Before the fork, because session tickets are encrypted with keys of the context: with one context per worker
a client that comes back to another worker could not resume its session.
"""

from __future__ import annotations

import logging
import os
import ssl
import stat
import time
from collections.abc import Callable
from pathlib import Path

from keepserve.config.problems import ConfigError, Problem
from keepserve.config.settings import Settings
from keepserve.server.tlsfacts import ServerContext
from keepserve.server.validity import certificate_in, validity_of

logger = logging.getLogger("keepserve")

EXPIRES_SOON = 14
"""Days before the end of a certificate from which a start warns of it. Renewal by ACME is long overdue by then."""

_DAY = 86400

_CERT_REQS = {"none": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}


def build_context(settings: Settings, *, wall: Callable[[], float] = time.time) -> ServerContext | None:
    """The server's TLS context, or None when no ``ssl_certfile`` is set.

    TLS 1.2 and newer, ALPN ``h2`` and ``http/1.1``, no renegotiation. Raises `ConfigError` with a sentence when a
    file is missing, unreadable or not what it should be, when key and certificate do not belong together, when the
    key's password is missing or wrong, when the certificate has expired, or when the settings make no sense together.
    ``wall`` is seconds since the epoch.
    """
    _check_combination(settings)
    if settings.ssl_certfile is None:
        return None
    context = ServerContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # Renegotiation (TLS 1.2) lets a client make the server do handshakes for nothing; no HTTP client needs it.
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"] if settings.http2 == "off" else ["h2", "http/1.1"])
    _load_certificate(context, settings, settings.ssl_certfile)
    _check_key_file(settings.ssl_keyfile or settings.ssl_certfile)
    _note_validity(context, settings.ssl_certfile, wall())
    if settings.ssl_ca_certs is not None:
        _load_authorities(context, settings.ssl_ca_certs)
        if settings.ssl_cert_reqs == "none":
            logger.warning(
                "--ssl-ca-certs is set, but --ssl-cert-reqs is none: no client is asked for a certificate. "
                "Set --ssl-cert-reqs required (or optional) to verify clients."
            )
    context.verify_mode = _CERT_REQS[settings.ssl_cert_reqs]
    if settings.ssl_ciphers is not None:
        try:
            context.set_ciphers(settings.ssl_ciphers)
        except ssl.SSLError:
            raise _problem(
                f'--ssl-ciphers "{settings.ssl_ciphers}" selects no cipher this OpenSSL knows: '
                "write a list in OpenSSL's notation, such as ECDHE+AESGCM:ECDHE+CHACHA20.",
                "ssl_ciphers",
            ) from None
    return context


def _check_combination(settings: Settings) -> None:
    if settings.ssl_certfile is None:
        for name in ("ssl_keyfile", "ssl_ca_certs"):
            if getattr(settings, name) is not None:
                flag = "--" + name.replace("_", "-")
                raise _problem(f"{flag} is set without a certificate: add --ssl-certfile, or leave {flag} out.", name)
    if settings.ssl_cert_reqs != "none" and (settings.ssl_certfile is None or settings.ssl_ca_certs is None):
        missing = "--ssl-certfile" if settings.ssl_certfile is None else "--ssl-ca-certs"
        raise _problem(
            f"--ssl-cert-reqs {settings.ssl_cert_reqs} needs {missing}: clients' certificates are verified "
            "over TLS, against the authorities in that file.",
            "ssl_cert_reqs",
        )


def _load_certificate(context: ssl.SSLContext, settings: Settings, certfile: str) -> None:
    keyfile = settings.ssl_keyfile or certfile
    _require_pem(certfile, "ssl_certfile", b"CERTIFICATE-----", "certificate")
    if settings.ssl_keyfile is None:
        hint = "; the key is in another file? Name it with --ssl-keyfile"
        _require_pem(certfile, "ssl_certfile", b"PRIVATE KEY-----", "private key", hint)
    else:
        _require_pem(keyfile, "ssl_keyfile", b"PRIVATE KEY-----", "private key")
    asked = False

    def password() -> str:
        # Without a callback OpenSSL would ask on the terminal, and a service would hang there.
        nonlocal asked
        asked = True
        return settings.ssl_keyfile_password or ""

    try:
        context.load_cert_chain(certfile, keyfile, password)
    except (ssl.SSLError, OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or ""
        if "MISMATCH" in reason:
            raise _problem(
                f"The private key in {keyfile} does not belong to the certificate in {certfile}: "
                "the first certificate in the file must be the server's own.",
                "ssl_keyfile",
            ) from None
        if asked and not settings.ssl_keyfile_password:
            raise _problem(
                f"The private key in {keyfile} is encrypted: give its password with --ssl-keyfile-password.",
                "ssl_keyfile_password",
            ) from None
        if asked:
            raise _problem(
                f"The password does not open the private key in {keyfile} (--ssl-keyfile-password).",
                "ssl_keyfile_password",
            ) from None
        raise _problem(
            f"OpenSSL cannot use {certfile} with {keyfile} ({reason or error}): one of them is damaged, "
            "or weaker than OpenSSL's security level allows.",
            "ssl_certfile",
        ) from None


def _check_key_file(path: str) -> None:
    """Warn of a private key that every user of the machine can read."""
    try:
        readable = os.stat(path).st_mode & stat.S_IROTH
    except OSError:
        return
    if readable:
        logger.warning(
            "The private key in %s can be read by every user of this machine: chmod o-r %s (in Kubernetes, "
            "defaultMode: 0400 of the secret's volume).",
            path,
            path,
        )


def _note_validity(context: ServerContext, path: str, now: float) -> None:
    """Say how long the certificate is good. One that has expired is refused: no client that looks would take it."""
    context.certificate = pem = certificate_in(Path(path).read_text(encoding="ascii", errors="replace"))
    try:
        period = validity_of(ssl.PEM_cert_to_DER_cert(pem)) if pem is not None else None
    except ValueError:  # base64 with something between that OpenSSL skips
        period = None
    if period is None:
        return  # OpenSSL has accepted it: what we cannot read is no reason to refuse it
    context.valid_from, context.valid_until = period
    begins, ends = (time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(moment)) for moment in period)
    days = int((period[1] - now) // _DAY)
    if now > period[1]:
        raise _problem(
            f"The certificate in {path} has expired at {ends}: renew it, or correct the clock.", "ssl_certfile"
        )
    if now < period[0]:
        # It heals by itself, and may well be our clock.
        logger.warning("The certificate in %s is not valid before %s: clients refuse it until then.", path, begins)
    elif days < EXPIRES_SOON:
        logger.warning(
            "The certificate in %s expires in %d days, at %s: renew it, and send SIGHUP to have it loaded.",
            path,
            days,
            ends,
        )
    else:
        logger.info("The certificate in %s is valid for %d more days, until %s", path, days, ends)


def _load_authorities(context: ssl.SSLContext, path: str) -> None:
    _require_pem(path, "ssl_ca_certs", b"CERTIFICATE-----", "certificate")
    try:
        context.load_verify_locations(path)
    except (ssl.SSLError, OSError) as error:
        reason = getattr(error, "reason", None) or error
        raise _problem(
            f"OpenSSL cannot read the certificates in {path} ({reason}): the file is damaged.", "ssl_ca_certs"
        ) from None


def _require_pem(path: str, setting: str, marker: bytes, what: str, hint: str = "") -> None:
    """Read a PEM file and look for the kind of block it should have: OpenSSL's own errors name neither."""
    flag = "--" + setting.replace("_", "-")
    try:
        content = Path(path).read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise _problem(f"{flag} {path} cannot be read: {reason}.", setting) from None
    if b"-----BEGIN " not in content or marker not in content:
        raise _problem(f"{flag} {path} holds no {what} in PEM form{hint}.", setting)


def _problem(message: str, setting: str) -> ConfigError:
    return ConfigError(Problem(message, (setting,)))
