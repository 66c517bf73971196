"""The shapes of ASGI 3 (https://asgi.readthedocs.io/en/latest/specs/main.html)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

ASGI_VERSION = "3.0"
SPEC_VERSION = "2.5"
"""Of the HTTP and WebSocket specification: pathsend, OSError from ``send()``, ``state``."""
LIFESPAN_SPEC_VERSION = "2.0"
