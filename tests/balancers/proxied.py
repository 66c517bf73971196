"""The application behind balancers that send the PROXY protocol: it says who it takes the client for."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any


async def app(
    scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
) -> None:
    """One JSON object for any request."""
    if scope["type"] != "http":
        return
    told = scope["extensions"]["keepserve"]
    header = told["proxy_protocol"]
    if header is not None and header["unique_id"] is not None:
        header["unique_id"] = header["unique_id"].decode()
    said = {name: scope[name] for name in ("client", "server", "scheme", "http_version")}
    said |= {"header": header, "connection": told["connection_id"]}
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": json.dumps(said, default=repr).encode()})
