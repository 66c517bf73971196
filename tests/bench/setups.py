"""What a scenario asks of a server, and what a server that runs for it is."""

from __future__ import annotations

import dataclasses
import ssl
from dataclasses import dataclass
from pathlib import Path

from tests.bench.environment import Environment

HELLO = "tests.bench.hello_app:app"
WORK = "tests.bench.work_app:app"
JSON = "tests.bench.json_app:app"
ECHO = "tests.bench.echo_app:app"

HTTP1, HTTP2, WEBSOCKET = "HTTP/1.1", "HTTP/2", "WebSocket"


@dataclass(frozen=True)
class Setup:
    """How a server is to be started. ``streams`` are to be allowed on an HTTP/2 connection; 0 leaves its default.

    ``patient``: it keeps an idle connection for as long as it can be told to.
    """

    app: str = HELLO
    protocol: str = HTTP1
    tls: bool = False
    access_log: bool = False
    workers: int = 1
    streams: int = 0
    patient: bool = False
    deflate: bool = False

    @property
    def needs(self) -> frozenset[str]:
        """What a server must offer for it, in the words of ``Server.offers``."""
        found = {self.protocol + (" over TLS" if self.tls else "")}
        if self.access_log:
            found.add("access log")
        if self.workers > 1:
            found.add("workers")
        if self.deflate:
            found.add("deflate")
        return frozenset(found)


@dataclass(frozen=True)
class Certificate:
    """Paths of the chain and the key every server uses."""

    chain: str
    key: str


@dataclass(frozen=True)
class Start:
    """All that is needed to write down the command that starts a server."""

    environment: Environment
    setup: Setup
    port: int
    certificate: Certificate
    scratch: Path


@dataclass(frozen=True)
class Target:
    """A server that runs. ``pid`` is what was started; what it started in turn counts with it.

    ``started_in`` are the seconds from the command to the first right answer.
    """

    name: str
    setup: Setup
    port: int
    pid: int
    started_in: float = 0.0

    def url(self, path: str = "/") -> str:
        """Where it answers."""
        return f"{'https' if self.setup.tls else 'http'}://127.0.0.1:{self.port}{path}"

    @property
    def tls(self) -> ssl.SSLContext | None:
        """How to speak TLS to it, if at all."""
        return client_tls(self.setup.protocol) if self.setup.tls else None

    def at(self, port: int) -> Target:
        """The same server by another port: through a balancer."""
        return dataclasses.replace(self, port=port)


def client_tls(protocol: str) -> ssl.SSLContext:
    """A client that offers one protocol, and believes everybody."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2" if protocol == HTTP2 else "http/1.1"])
    return context
