"""The one change of protocol that HTTP/1.1 connections make: to WebSocket (RFC 9110 §7.8, RFC 6455 §4.2.1)."""

from __future__ import annotations

from keepserve.websocket.handshake import VERSION, asks_for_websocket, read_handshake
from keepserve.wire.engine import Request, WebSocketRequest

VERSION_LINES = b"upgrade: websocket\r\nsec-websocket-version: " + VERSION + b"\r\n"
"""What a 426 says beside its text (RFC 6455 §4.4)."""


def read_upgrade(request: Request) -> WebSocketRequest | None:
    """Make a WebSocket's request of one with an Upgrade; ``None``: it asks for something else, which is ignored.

    Only for a GET without a body: what follows any other request could be smuggled past a proxy.

    Raises:
        HandshakeFault: it asks for a WebSocket in a way that cannot be granted.
    """
    if request.method != b"GET" or not asks_for_websocket(request.fields):
        return None
    key, subprotocols = read_handshake(request.fields, keyed=True)
    granted = WebSocketRequest(
        request.stream, request.method, request.target, request.http_version, request.fields, False
    )
    granted.takes_trailers = request.takes_trailers
    granted.key, granted.subprotocols = key, subprotocols
    return granted
