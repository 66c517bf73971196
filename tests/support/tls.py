"""TLS without sockets: a client in memory, and certificates for both ends."""

from __future__ import annotations

import datetime
import functools
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trustme

from keepserve.server.tlslayer import TlsSession


@dataclass(frozen=True)
class Contexts:
    """Of a server, and of a client that trusts it and has a certificate of its own."""

    authority: trustme.CA
    server: ssl.SSLContext
    client: ssl.SSLContext


@functools.cache
def authority() -> trustme.CA:
    """One for all tests of a process."""
    return trustme.CA()


def contexts(version: ssl.TLSVersion | None = None, *protocols: str) -> Contexts:
    """Make contexts; the client speaks only this version, and offers these protocols."""
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority().issue_cert("localhost").configure_cert(server)
    authority().configure_trust(client)
    server.options |= ssl.OP_NO_RENEGOTIATION
    server.set_alpn_protocols(["h2", "http/1.1"])
    if version is not None:
        client.maximum_version = client.minimum_version = version
    if protocols:
        client.set_alpn_protocols(protocols)
    return Contexts(authority(), server, client)


def certificate_files(directory: Path, *names: str, expires_in: float | None = None) -> tuple[str, str]:
    """Write chain and key of a certificate for these names (or localhost); their paths.

    ``expires_in`` are days, from now.
    """
    more: dict[str, Any] = {}
    if expires_in is not None:
        more["not_after"] = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=expires_in)
    made = authority().issue_cert(*(names or ("localhost", "127.0.0.1")), **more)
    chain, key = directory / "chain.pem", directory / "key.pem"
    chain.write_bytes(b"".join(pem.bytes() for pem in made.cert_chain_pems))
    made.private_key_pem.write_to_path(str(key))
    key.chmod(0o600)
    return str(chain), str(key)


class TlsClient:
    """The client's end, in memory."""

    def __init__(self, context: ssl.SSLContext, session: ssl.SSLSession | None = None) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname="localhost", session=session)
        self.ready = False

    def shake(self, data: bytes = b"") -> bytes:
        """Go on with the handshake; what is to be sent."""
        self._incoming.write(data)
        try:
            self.tls.do_handshake()
            self.ready = True
        except ssl.SSLWantReadError:
            pass
        return self._outgoing.read()

    def meet(self, server: TlsSession) -> None:
        """Shake hands; what the server says behind that has been read."""
        said = b""
        while not (self.ready and server.ready):
            if spoken := self.shake(said):
                server.shake(spoken)
            assert server.failure is None, server.failure
            said = server.take()
        self.hear(said)
        server.receive(b"")

    def say(self, data: bytes) -> bytes:
        """Encrypt, as one record."""
        self.tls.write(data)
        return self._outgoing.read()

    def goodbye(self) -> bytes:
        """Say close_notify."""
        try:
            self.tls.unwrap()
        except ssl.SSLWantReadError:
            pass
        return self._outgoing.read()

    def hear(self, data: bytes) -> bytes:
        """Decrypt; raises what an alert is. ``b""`` is also the end: see ``heard_the_end``."""
        self._incoming.write(data)
        heard = b""
        try:
            while piece := self.tls.read(65536):
                heard += piece
        except ssl.SSLWantReadError:
            return heard
        except ssl.SSLZeroReturnError:
            pass  # and had said it before
        self.heard_the_end = True
        return heard

    heard_the_end = False
