"""Servers for the clients: both HTTP/2 engines, with and without TLS."""

from __future__ import annotations

import dataclasses
import ssl
from collections.abc import Iterator

import pytest
import trustme

from tests.support.serving import serving

APP = "tests.clients.app:app"


@dataclasses.dataclass(frozen=True)
class Secure:
    """A server with TLS: where it is, and whom to trust."""

    base: str
    trust: tuple[str, str]
    """What makes curl trust it."""
    certificate: bytes
    """The server's own, PEM."""
    context: ssl.SSLContext


@pytest.fixture(scope="package", params=["native", "h2"])
def engine(request: pytest.FixtureRequest) -> str:
    """The HTTP/2 engine."""
    return str(request.param)


@pytest.fixture(scope="package")
def base(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a server without TLS."""
    with serving(APP, "--http2", engine, directory=tmp_path_factory.mktemp(engine)) as running:
        yield f"http://127.0.0.1:{running.port}"
        assert "Traceback" not in running.stderr


@pytest.fixture(scope="package")
def secure(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    """A server with TLS."""
    directory = tmp_path_factory.mktemp(f"{engine}-tls")
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    trusted, cert, key = directory / "ca.pem", directory / "cert.pem", directory / "key.pem"
    authority.cert_pem.write_to_path(str(trusted))
    issued.cert_chain_pems[0].write_to_path(str(cert))
    issued.private_key_pem.write_to_path(str(key))
    context = ssl.create_default_context()
    authority.configure_trust(context)
    options = ("--http2", engine, "--ssl-certfile", str(cert), "--ssl-keyfile", str(key))
    with serving(APP, *options, directory=directory / "log") as running:
        trust = ("--cacert", str(trusted))
        yield Secure(f"https://127.0.0.1:{running.port}", trust, issued.cert_chain_pems[0].bytes(), context)
        assert "Traceback" not in running.stderr
