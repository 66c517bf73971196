"""The ASGI application of the admin listener: the live page, the status document, and the metrics."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterable
from typing import Any

from keepserve.admin.document import status
from keepserve.admin.observer import SAMPLE_INTERVAL, Observer
from keepserve.admin.page import page
from keepserve.asgi.types import Receive, Scope, Send
from keepserve.server.addresses import is_loopback

_HOST = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[^\[\]:@/\s]+))(?::[0-9]*)?", re.ASCII)
_TEXT = "text/plain; charset=utf-8"
_ALLOWED = ("GET", "HEAD")

_SAFE = [
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
]
"""On every response."""

_NOTHING = "default-src 'none'; frame-ancestors 'none'"
"""The content security policy of everything but the page: a browser that shows it is to do nothing else."""


class Answer(Exception):
    """A response: status, text or bytes, content type, further fields."""

    def __init__(
        self, status: int, body: str | bytes, kind: str = _TEXT, fields: Iterable[tuple[bytes, bytes]] = ()
    ) -> None:
        super().__init__(status)
        self.status = status
        self.body = body if isinstance(body, bytes) else body.encode()
        self.kind = kind
        self.fields = list(fields)


class Admin:
    """Answers ``/``, ``/status`` and ``/metrics`` from an observer's readings.

    With ``local``, only requests that name this machine in their ``Host`` are answered. A browser does that for a
    page that somebody here asked for; a page from elsewhere, whose name has been made to mean 127.0.0.1 (DNS
    rebinding), has its own name there.
    """

    def __init__(self, observer: Observer, *, local: bool) -> None:
        self._observer = observer
        self._local = local

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection of ASGI; WebSockets are refused."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            try:
                answer = self._answer(scope)
            except Answer as other:
                answer = other
            await _send(send, answer, head=scope["method"] == "HEAD")
        else:
            await receive()
            await send({"type": "websocket.close"})

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        sampling = asyncio.ensure_future(self._sample())
        await send({"type": "lifespan.startup.complete"})
        await receive()
        sampling.cancel()
        await send({"type": "lifespan.shutdown.complete"})

    async def _sample(self) -> None:
        while True:
            self._observer.remember()
            await asyncio.sleep(SAMPLE_INTERVAL)

    def _answer(self, scope: Scope) -> Answer:
        self._check_host(scope)
        path, method = scope["path"], scope["method"]
        answer = {"/": self._page, "/status": self._status, "/metrics": self._metrics}.get(path)
        if answer is None:
            raise Answer(
                404,
                f"There is nothing at {path}: / is a page, /status the same as JSON, /metrics is for Prometheus.\n",
            )
        if method not in _ALLOWED:
            message = f"{path} can only be looked at: GET or HEAD were expected, {method} was found.\n"
            raise Answer(405, message, fields=[(b"allow", ", ".join(_ALLOWED).encode())])
        return answer(scope)

    def _check_host(self, scope: Scope) -> None:
        if not self._local:
            return
        names = _fields(scope, b"host")
        for name in names:
            match = _HOST.fullmatch(name)
            if match is None or not is_loopback(match["v6"] or match["name"]):
                raise Answer(
                    421,
                    f"The request names {name} as its host; here only this machine is answered, by localhost or its "
                    "loopback address. A proxy in front has to send such a Host, or use a Unix socket (--admin "
                    "unix:path).\n",
                )

    def _page(self, scope: Scope) -> Answer:
        body, policy = page()
        return Answer(200, body, "text/html; charset=utf-8", [(b"content-security-policy", policy.encode())])

    def _status(self, scope: Scope) -> Answer:
        document = json.dumps(status(self._observer.read()), ensure_ascii=False, separators=(",", ":"))
        return Answer(200, document + "\n", "application/json")

    def _metrics(self, scope: Scope) -> Answer:
        try:
            from keepserve.admin.metrics import render
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] != "prometheus_client":
                raise
            raise Answer(
                501, "/metrics needs prometheus_client, which is not installed: pip install prometheus-client.\n"
            ) from None
        body, kind = render(self._observer.read(), ", ".join(_fields(scope, b"accept")))
        return Answer(200, body, kind)


def _fields(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in scope["headers"] if key == name]


async def _send(send: Send, answer: Answer, *, head: bool) -> None:
    fields: list[tuple[bytes, bytes]] = [
        (b"content-type", answer.kind.encode()),
        (b"content-length", str(len(answer.body)).encode()),
        *_SAFE,
        *answer.fields,
    ]
    if not any(name == b"content-security-policy" for name, _ in answer.fields):
        fields.append((b"content-security-policy", _NOTHING.encode()))
    start: dict[str, Any] = {"type": "http.response.start", "status": answer.status, "headers": fields}
    await send(start)
    await send({"type": "http.response.body", "body": b"" if head else answer.body})
