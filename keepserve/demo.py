"""A demonstration application: what a kept-alive connection looks like from inside.

``keepserve keepserve.demo:app``, then open http://127.0.0.1:8000/ in a browser, or
``curl http://127.0.0.1:8000/json http://127.0.0.1:8000/json`` and see the second request on the same
connection. An ordinary ASGI 3 application without dependencies: it also runs under other servers, which do
not tell it about its connection; it says so then.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Final
from urllib.parse import parse_qs

from keepserve.demo_live import LIVE_PATH, live, told_to_go
from keepserve.demo_page import render_page

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

SLOW_LIMIT: Final = 30.0
"""Seconds that /slow and /stream take at most."""
CHUNK_LIMIT: Final = 1000
"""Chunks that /stream sends at most."""

_TEXT: Final = "text/plain; charset=utf-8"
_JSON: Final = "application/json"
_HTML: Final = "text/html; charset=utf-8"
_PAGE_POLICY: Final = (
    b"default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; "
    b"img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

_PATHS: Final = {
    "/": "this page for browsers, the same as JSON or text for others",
    "/json": "the facts of this connection as JSON",
    "/hello": "a small plain text",
    "/stream?chunks=10&delay=0.1": f"lines as chunks; at most {CHUNK_LIMIT} chunks and {SLOW_LIMIT:.0f} s",
    "/slow?seconds=1": f"an answer after some seconds, at most {SLOW_LIMIT:.0f}",
    "/echo": "POST a body and get it back while it is still being sent",
    "/headers": "the fields of your request",
    LIVE_PATH: "a WebSocket: a tick each second, an echo, and a word before the server goes",
}

_UNTOLD: Final = (
    "The server running this application does not tell it about the connection; keepserve does, in "
    'scope["extensions"]["keepserve"].'
)


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Serve the demonstration (ASGI 3: http, websocket and lifespan)."""
    kind = scope["type"]
    if kind == "http":
        try:
            await _http(scope, receive, send)
        except OSError:
            # The client left while it was being answered (ASGI HTTP specification, 2.4).
            return
    elif kind == "lifespan":
        await _lifespan(receive, send)
    elif kind == "websocket":
        await live(scope, receive, send)
    else:
        raise ValueError(f"Expected the scope type http, lifespan or websocket, found {kind!r}.")


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def _http(scope: Scope, receive: Receive, send: Send) -> None:
    path = scope["path"].removeprefix(scope.get("root_path", "")) or "/"
    if path not in _ROUTES:
        known = " ".join(_ROUTES)
        await _respond(scope, send, 404, _TEXT, f"There is nothing at this path. Try one of {known}\n".encode())
        return
    methods, handler = _ROUTES[path]
    if scope["method"] not in methods:
        allow = ", ".join(methods)
        body = f"{path} answers {allow} only.\n".encode()
        await _respond(scope, send, 405, _TEXT, body, [(b"allow", allow.encode())])
        return
    await handler(scope, receive, send)


async def _respond(
    scope: Scope,
    send: Send,
    status: int,
    content_type: str,
    body: bytes,
    fields: list[tuple[bytes, bytes]] | None = None,
) -> None:
    head = [
        (b"content-type", content_type.encode()),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
        *(fields or []),
    ]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


# The connection's facts.


def facts(scope: Mapping[str, Any]) -> dict[str, Any]:
    """What this request knows of its worker and connection; ``connection`` is None when the server is silent.

    ``age_seconds`` is the connection's age, ``handshakes_avoided`` its requests but for the first.
    """
    told = (scope.get("extensions") or {}).get("keepserve")
    found: dict[str, Any] = {
        "worker_pid": os.getpid(),
        "http_version": scope.get("http_version"),
        "scheme": scope.get("scheme", "http"),
        "connection": None,
        "explanation": _UNTOLD,
    }
    if told is None:
        return found
    requests = int(told["request_number"])
    avoided = requests - 1
    found["connection"] = {
        "id": told["connection_id"],
        "requests": requests,
        "age_seconds": round(told["connection_age"], 3),
        "handshakes_avoided": avoided,
    }
    found["explanation"] = _explain(avoided, found["scheme"])
    return found


def _explain(avoided: int, scheme: str) -> str:
    handshake = "TCP and TLS handshake" if scheme == "https" else "TCP handshake"
    if avoided == 0:
        return (
            f"The first request on this connection: it paid for the {handshake}. "
            "Send another on the same connection and it will not."
        )
    count = "1 request" if avoided == 1 else f"{avoided} requests"
    return (
        f"{count} came without a {handshake} of their own, because the connection was kept. How long a handshake "
        "takes depends on the network between you and here: at least one round trip"
        + (", and one or two more for TLS." if scheme == "https" else ".")
        + " Behind a load balancer, this is the balancer's connection and its requests are everybody's."
    )


def _as_text(found: Mapping[str, Any]) -> str:
    lines = [f"worker        pid {found['worker_pid']}"]
    if connection := found["connection"]:
        lines += [
            f"connection    #{connection['id']}, open for {connection['age_seconds']} s",
            f"requests      {connection['requests']} on this connection",
            f"saved         {connection['handshakes_avoided']} handshakes",
        ]
    return "\n".join([*lines, "", found["explanation"], ""])


# Handlers.


async def _index(scope: Scope, receive: Receive, send: Send) -> None:
    found = facts(scope)
    accept = b",".join(value for name, value in scope["headers"] if name == b"accept").decode("latin-1")
    media_type = preferred_type(accept)
    fields = [(b"vary", b"accept")]
    if media_type == "text/html":
        fields.append((b"content-security-policy", _PAGE_POLICY))
        await _respond(scope, send, 200, _HTML, render_page(found, _PATHS).encode(), fields)
    elif media_type == "text/plain":
        await _respond(scope, send, 200, _TEXT, _as_text(found).encode(), fields)
    else:
        await _respond(scope, send, 200, _JSON, _dump({**found, "paths": _PATHS}), fields)


async def _json(scope: Scope, receive: Receive, send: Send) -> None:
    await _respond(scope, send, 200, _JSON, _dump(facts(scope)))


async def _hello(scope: Scope, receive: Receive, send: Send) -> None:
    await _respond(scope, send, 200, _TEXT, b"Hello\n")


async def _headers(scope: Scope, receive: Receive, send: Send) -> None:
    pairs = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in scope["headers"]]
    await _respond(scope, send, 200, _JSON, _dump(pairs))


async def _stream(scope: Scope, receive: Receive, send: Send) -> None:
    chunks = _number(scope, "chunks", 10, CHUNK_LIMIT)
    delay = _number(scope, "delay", 0.1, SLOW_LIMIT)
    if chunks is None or delay is None:
        await _respond(scope, send, 400, _TEXT, b"chunks and delay are numbers from 0, as in /stream?chunks=10\n")
        return
    count = int(chunks)
    delay = min(delay, SLOW_LIMIT / count) if count else 0.0
    head = [(b"content-type", _TEXT.encode()), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    if scope["method"] != "HEAD":
        for number in range(1, count + 1):
            line = b"chunk %d of %d\n" % (number, count)
            await send({"type": "http.response.body", "body": line, "more_body": True})
            if number < count and await told_to_go(scope, delay):
                line = b"The server is stopping. Goodbye, and ask again: another will answer.\n"
                await send({"type": "http.response.body", "body": line, "more_body": True})
                break
    await send({"type": "http.response.body", "body": b""})


async def _slow(scope: Scope, receive: Receive, send: Send) -> None:
    seconds = _number(scope, "seconds", 1, SLOW_LIMIT)
    if seconds is None:
        await _respond(scope, send, 400, _TEXT, b"seconds is a number from 0, as in /slow?seconds=1\n")
        return
    # Stop waiting when nobody waits for us.
    gone = asyncio.ensure_future(_until_disconnect(receive))
    try:
        await asyncio.wait({gone}, timeout=seconds)
        if gone.done():
            await gone
            return
    finally:
        gone.cancel()
    await _respond(scope, send, 200, _TEXT, f"Answered after {seconds:g} s.\n".encode())


async def _until_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _echo(scope: Scope, receive: Receive, send: Send) -> None:
    # Not the type the client claims: a page sent here must not come back as a page of this site.
    head = [(b"content-type", b"application/octet-stream"), (b"x-content-type-options", b"nosniff")]
    head += [(name, value) for name, value in scope["headers"] if name == b"content-length"]
    started = False
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        if not started:
            await send({"type": "http.response.start", "status": 200, "headers": head})
            started = True
        more = message.get("more_body", False)
        await send({"type": "http.response.body", "body": message.get("body", b""), "more_body": more})
        if not more:
            return


_ROUTES: Final[dict[str, tuple[tuple[str, ...], Callable[[Scope, Receive, Send], Awaitable[None]]]]] = {
    "/": (("GET", "HEAD"), _index),
    "/json": (("GET", "HEAD"), _json),
    "/hello": (("GET", "HEAD"), _hello),
    "/stream": (("GET", "HEAD"), _stream),
    "/slow": (("GET", "HEAD"), _slow),
    "/echo": (("POST",), _echo),
    "/headers": (("GET", "HEAD"), _headers),
}


def _dump(value: object) -> bytes:
    return json.dumps(value, indent=2).encode() + b"\n"


def _number(scope: Scope, name: str, default: float, limit: float) -> float | None:
    """The query parameter ``name``, at most ``limit``; None when it is no number from 0 up."""
    values = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True).get(name)
    try:
        number = float(values[-1]) if values else float(default)
    except ValueError:
        return None
    return min(number, limit) if math.isfinite(number) and number >= 0 else None


def preferred_type(accept: str) -> str:
    """The type to answer ``/`` with, of application/json, text/plain and text/html (RFC 9110 section 12.5.1).

    JSON when the client does not care, as curl does not; browsers name text/html.
    """
    best, best_quality = "application/json", 0.0
    for offered in ("application/json", "text/html", "text/plain"):
        quality = _quality(accept or "*/*", offered)
        if quality > best_quality:
            best, best_quality = offered, quality
    return best


def _quality(accept: str, offered: str) -> float:
    """How much ``accept`` wants ``offered``: the weight of the most specific range that covers it."""
    found = (-1, 0.0)
    for element in accept.lower().split(","):
        media_range, *parameters = (part.strip() for part in element.split(";"))
        ranges = ("*/*", f"{offered.partition('/')[0]}/*", offered)
        if media_range not in ranges:
            continue
        quality = 1.0
        for parameter in parameters:
            name, _, value = parameter.partition("=")
            if name.strip() == "q":
                try:
                    quality = min(max(float(value), 0.0), 1.0)
                except ValueError:
                    quality = 0.0
        found = max(found, (ranges.index(media_range), quality))
    return found[1]
