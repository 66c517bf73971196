"""What a connection tells the access log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keepserve.asgi.scope import Address
from keepserve.proxy.protocol import ProxyHeader
from keepserve.server.sockets import in_words
from keepserve.server.state import WorkerState

if TYPE_CHECKING:
    import ssl


class Logged:
    """The part of ``Hosting`` that lines of the access log are made of."""

    __slots__ = ()

    state: WorkerState
    header: ProxyHeader | None
    client_text: str
    """The client as the connection has it; a trusted proxy may tell another for each request."""
    _peer: Address | None
    _tls: bool

    def _tls_object(self) -> ssl.SSLObject | None:
        raise NotImplementedError

    @property
    def secure(self) -> bool:
        """The client's connection is encrypted, to us or to the balancer that says so."""
        return self._tls or (self.header is not None and self.header.details.tls is not None)

    @property
    def scheme(self) -> str:
        """``http`` or ``https``; a trusted proxy may tell another for each request."""
        return "https" if self.secure else "http"

    @property
    def tls_version(self) -> str | None:
        """How it is encrypted, as far as that is known: ``TLSv1.3``."""
        if self._tls:
            tls = self._tls_object()
            return tls.version() if tls is not None else None
        details = self.header.details.tls if self.header is not None else None
        return details.version if details is not None else None

    @property
    def peer_text(self) -> str:
        """Who is connected to us."""
        return in_words(self._peer) if self.header is not None else self.client_text

    @property
    def proxy_source(self) -> str | None:
        """Who the client is by the PROXY protocol's header, if there was one that tells."""
        header = self.header
        return in_words(header.source) if header is not None and header.told else None
