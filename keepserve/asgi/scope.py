"""Building the ASGI connection scope of a request."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote_to_bytes

from keepserve.asgi.types import ASGI_VERSION, SPEC_VERSION
from keepserve.proxy.forwarded import Forwarded
from keepserve.wire.engine import Request

Address = tuple[str, int | None]

# The same few dozen methods all day: a dictionary hit instead of a decode and a new string.
METHOD_NAMES: dict[bytes, str] = {
    name: name.decode() for name in (b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS")
}


def decode_path(raw: bytes) -> str:
    """Percent-decode a path to text; bytes that are not UTF-8 become U+FFFD."""
    return unquote_to_bytes(raw).decode("utf-8", "replace")


_ASGI = {"version": ASGI_VERSION, "spec_version": SPEC_VERSION}


def connection_scope(
    http_version: str,
    scheme: str,
    client: Address | None,
    server: Address | None,
    root_path: str,
    extensions: dict[str, Any],
) -> dict[str, Any]:
    """Return what the scopes of all requests of a connection have in common, for ``request_scope`` to copy.

    Copying a dictionary and setting what differs costs half of building it anew.
    """
    return {
        "type": "http",
        "asgi": _ASGI,
        "http_version": http_version,
        "server": server,
        "client": client,
        "scheme": scheme,
        "method": "GET",
        "root_path": root_path,
        "path": "/",
        "raw_path": b"/",
        "query_string": b"",
        "headers": [],
        "state": {},
        "extensions": extensions,
    }


def request_scope(common: dict[str, Any], request: Request, state: dict[str, Any]) -> dict[str, Any]:
    """Return the scope of a request (ASGI HTTP specification, "HTTP Connection Scope").

    ``root_path`` stands in front of ``path`` and ``raw_path``, as the specification has it and
    uvicorn does it.
    """
    scope = common.copy()
    raw_path, _, query = request.target.partition(b"?")
    method = request.method
    scope["method"] = METHOD_NAMES.get(method) or method.decode("ascii")
    scope["path"] = raw_path.decode("ascii") if raw_path.find(b"%") < 0 else decode_path(raw_path)
    scope["raw_path"] = raw_path
    scope["query_string"] = query
    scope["headers"] = request.fields
    # Mappings of its own for each request: applications do write to them.
    scope["asgi"] = _ASGI.copy()
    scope["state"] = state
    root_path = scope["root_path"]
    if root_path:
        scope["path"] = root_path + scope["path"]
        scope["raw_path"] = root_path.encode() + raw_path
    version = request.http_version
    if version != scope["http_version"]:
        scope["http_version"] = version
    if request.takes_trailers and version != "2":  # on HTTP/2 all requests do, and the common part says it
        scope["extensions"] = {**scope["extensions"], "http.response.trailers": {}}
    return scope


def forwarded_scope(scope: dict[str, Any], said: Forwarded) -> None:
    """Put what a trusted proxy says of the client in the place of what the connection says.

    The ``host`` field is replaced only if the proxy was to be asked for it; all other fields stay as they came.
    """
    if said.client is not None:
        scope["client"] = said.client[:2]
    if said.scheme is not None:
        scope["scheme"] = said.scheme
    if said.host is not None:
        scheme = scope["scheme"]
        scope["server"] = said.server(scheme)
        others = [field for field in scope["headers"] if field[0] != b"host"]
        scope["headers"] = [(b"host", said.host_field(scheme)), *others]
