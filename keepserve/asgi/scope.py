"""Building the ASGI connection scope of a request."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote_to_bytes

from keepserve.asgi.types import ASGI_VERSION, SPEC_VERSION
from keepserve.wire.engine import Request

Address = tuple[str, int | None]

# The same few dozen methods all day: a dictionary hit instead of a decode and a new string.
_METHODS: dict[bytes, str] = {
    name: name.decode() for name in (b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS")
}


def decode_path(raw: bytes) -> str:
    """Percent-decode a path to text; bytes that are not UTF-8 become U+FFFD."""
    return unquote_to_bytes(raw).decode("utf-8", "replace")


def http_scope(
    request: Request,
    *,
    scheme: str,
    client: Address | None,
    server: Address | None,
    root_path: str,
    state: dict[str, Any],
    extensions: dict[str, Any],
) -> dict[str, Any]:
    """Return the scope of an HTTP request (ASGI HTTP specification, "HTTP Connection Scope").

    ``root_path`` stands in front of ``path`` and ``raw_path``, as the specification has it and
    uvicorn does it.
    """
    raw_path, _, query = request.target.partition(b"?")
    method = request.method
    path = raw_path.decode("ascii") if b"%" not in raw_path else decode_path(raw_path)
    if root_path:
        path = root_path + path
        raw_path = root_path.encode() + raw_path
    return {
        "type": "http",
        # A mapping of its own for each request: applications do write to it.
        "asgi": {"version": ASGI_VERSION, "spec_version": SPEC_VERSION},
        "http_version": request.http_version,
        "server": server,
        "client": client,
        "scheme": scheme,
        "method": _METHODS.get(method) or method.decode("ascii"),
        "root_path": root_path,
        "path": path,
        "raw_path": raw_path,
        "query_string": query,
        "headers": request.fields,
        "state": state,
        "extensions": extensions,
    }
