"""An access log that remembers, in the place of the one that writes."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

from keepserve.asgi.exchange import Exchange
from keepserve.server.hosting import Hosting
from keepserve.telemetry.access import AccessLog
from keepserve.telemetry.lines import Form
from keepserve.telemetry.reasons import CloseReason


class Log:
    """Remembers of each request: client, method, target, version, status, bytes sent, seconds, and its number.

    With a ``form`` also its line, in ``texts``.
    """

    dropped = 0

    def __init__(self, form: Form | None = None) -> None:
        self.lines: list[tuple[Any, ...]] = []
        self.texts: list[str] = []
        self._form = form

    def log(self, connection: Hosting, exchange: Exchange, status: int, ended: float) -> None:
        """Remember a request."""
        request = exchange.request
        self.lines.append(
            (
                exchange.client or connection.client_text,
                request.method.decode("latin-1"),
                request.target,
                request.http_version,
                status,
                exchange.sent,
                ended - exchange.started,
                connection.engine.requests,
            )
        )
        if self._form is not None:
            self.texts.append(self._form.lines([self._form.note(connection, exchange, status, ended)], 0.0))


def served(
    *,
    client: str = "127.0.0.1:51234",
    method: bytes = b"GET",
    target: bytes = b"/",
    http_version: str = "1.1",
    sent: int = 2,
    duration: float = 0.001,
    connection_requests: int = 1,
    fields: tuple[tuple[bytes, bytes], ...] = (),
    ended: float = 1000.0,
    told_client: str | None = None,
    told_scheme: str | None = None,
    begun: float | None = None,
    stream: int = 1,
    socket: bool = False,
    close_reason: CloseReason | None = None,
    **connection: Any,
) -> tuple[Any, Any]:
    """A connection and an exchange that have what a line can say of them; ``begun`` is in seconds after the start."""
    started = ended - duration
    request = SimpleNamespace(
        method=method, target=target, http_version=http_version, fields=list(fields), stream=stream
    )
    exchange = SimpleNamespace(
        request=request,
        started=started,
        sent=sent,
        client=told_client,
        scheme=told_scheme,
        begun_at=None if begun is None else started + begun,
        socket_accepted=socket,
    )
    facts = {"number": 7, "secure": False, "tls_version": None, "peer_text": client, "proxy_source": None}
    facts["scheme"] = "https" if connection.get("secure") else "http"
    engine = SimpleNamespace(requests=connection_requests, close_reason=close_reason)
    return SimpleNamespace(client_text=client, engine=engine, **{**facts, **connection}), exchange


def log_line(access: AccessLog, target: bytes = b"/", *, status: int = 200, **facts: Any) -> None:
    """Log a request that ends now; ``facts`` are those of `served`."""
    ended = time.monotonic()
    access.log(*served(target=target, ended=ended, **facts), status, ended)
