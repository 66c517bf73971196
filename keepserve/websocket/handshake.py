"""The opening handshake as far as it stands in header fields (RFC 6455 §4.2, RFC 8441 §5).

Without the ``websockets`` package: a worker loads that with its first WebSocket, and engines read every request.
"""

from __future__ import annotations

import base64
import binascii
import hashlib

from keepserve.wire.engine import Fields
from keepserve.wire.fields import TOKEN

VERSION = b"13"
"""The only version there is (RFC 6455 §4.1)."""

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class HandshakeFault(Exception):
    """A request that asks for a WebSocket in a way that cannot be granted.

    ``status`` is the answer: 400, or 426 with the version that is spoken (RFC 6455 §4.4); ``detail`` says why.
    """

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(status, detail)
        self.status = status
        self.detail = detail


def asks_for_websocket(fields: Fields) -> bool:
    """Whether Upgrade names WebSocket and nothing else, as all clients do; other protocols are not switched to."""
    return [value.lower() for name, value in fields if name == b"upgrade"] == [b"websocket"]


def read_handshake(fields: Fields, *, keyed: bool) -> tuple[bytes, tuple[str, ...]]:
    """Judge the fields of a handshake; return the key and the subprotocols offered. ``keyed``: it needs a key.

    HTTP/2 needs none: there the stream itself cannot be mistaken for anything else. But Envoy, whose client speaks
    HTTP/1.1, passes the key on, and leaves it to the server to answer it.

    Raises:
        HandshakeFault: 426 for another version, 400 for a faulty key or list of subprotocols.
    """
    versions = [value for name, value in fields if name == b"sec-websocket-version"]
    if versions != [VERSION]:
        found = "none was named" if not versions else "another was asked for"
        raise HandshakeFault(426, f"The WebSocket version spoken here is 13, and {found}.")
    keys = [value for name, value in fields if name == b"sec-websocket-key"]
    key = keys[0] if len(keys) == 1 and _is_key(keys[0]) else b""
    if keyed and not key:
        raise HandshakeFault(400, "A WebSocket handshake needs one Sec-WebSocket-Key: 16 bytes in base64.")
    offered: dict[str, None] = {}
    for name, value in fields:
        if name == b"sec-websocket-protocol":
            for member in value.split(b","):
                member = member.strip(b" \t")
                if not member:
                    continue
                if TOKEN.fullmatch(member) is None or member.decode() in offered:
                    raise HandshakeFault(400, "Sec-WebSocket-Protocol is no list of different names.")
                offered[member.decode()] = None
    return key, tuple(offered)


def accept_key(key: bytes) -> bytes:
    """Return what proves that a server has understood a client's key (RFC 6455 §4.2.2)."""
    return base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())


def _is_key(value: bytes) -> bool:
    try:
        return len(base64.b64decode(value, validate=True)) == 16
    except binascii.Error:
        return False
