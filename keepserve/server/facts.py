"""What a connection tells the application about itself."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from keepserve.server.hosting import Hosting

_NAMES = (
    "connection_id",
    "request_number",
    "connection_age",
    "worker_pid",
    "draining",
    "until_draining",
    "proxy_protocol",
)


class ConnectionFacts(Mapping[str, Any]):
    """``scope["extensions"]["keepserve"]``: what the connection knows of itself, read at the time of asking.

    ``connection_id`` counts this worker's connections from 1, ``request_number`` the requests this
    connection has carried so far, ``connection_age`` is in seconds, ``worker_pid`` is the process.
    ``draining`` is true when the worker has stopped accepting and waits for its requests to end;
    ``until_draining`` is a coroutine function that returns then (`keepserve.asgi.farewell`).
    ``proxy_protocol`` is what the balancer said in its PROXY protocol header
    (`keepserve.proxy.protocol.ProxyHeader.facts`), None without one.
    """

    __slots__ = ("_connection",)

    def __init__(self, connection: Hosting) -> None:
        self._connection = connection

    def __getitem__(self, key: str) -> Any:
        connection = self._connection
        if key == "connection_id":
            return connection.number
        if key == "request_number":
            return connection.engine.requests
        if key == "connection_age":
            return connection.state.clock() - connection.accepted_at
        if key == "worker_pid":
            return os.getpid()
        if key == "draining":
            return connection.state.farewell.given
        if key == "until_draining":
            return connection.state.farewell.wait
        if key == "proxy_protocol":
            return connection.header.facts() if connection.header is not None else None
        raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        return iter(_NAMES)

    def __len__(self) -> int:
        return len(_NAMES)
