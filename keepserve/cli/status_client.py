"""Asking the admin listener of a running server how it is, once or again and again."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Callable
from typing import Any

from keepserve.config import exitcodes
from keepserve.config.problems import ConfigError
from keepserve.server.addresses import BindAddress, on_loopback, parse_bind

TIMEOUT = 5.0
"""Seconds an answer may take."""

_CLEAR, _HOME, _END_OF_LINE, _BELOW = "\x1b[2J", "\x1b[H", "\x1b[K", "\x1b[J"

Fetch = Callable[[], dict[str, Any]]


class Unreachable(Exception):
    """The admin listener gave no status document. ``str()`` is a sentence."""


def read_address(text: str) -> BindAddress:
    """The address of an admin listener, as it is given to ``--admin`` or shown by the server. Raises ConfigError."""
    address = parse_bind(text.removeprefix("http://").rstrip("/") if text.startswith("http://") else text)
    if address.kind == "fd":
        raise ConfigError(f'"{text}" is not an address to connect to: write 127.0.0.1:9090, :9090 or unix:path.')
    return on_loopback(address)


def fetch(address: BindAddress, timeout: float = TIMEOUT) -> dict[str, Any]:
    """The status document. Raises Unreachable."""
    connection = _UnixConnection(address.path, timeout) if address.kind == "unix" else _tcp(address, timeout)
    try:
        connection.request("GET", "/status", headers={"Accept": "application/json", "Connection": "close"})
        response = connection.getresponse()
        body = response.read()
    except (OSError, http.client.HTTPException) as error:
        raise Unreachable(
            f"Nobody answers at {address} ({getattr(error, 'strerror', None) or error or type(error).__name__}): "
            "is the server running, and was it started with this --admin?"
        ) from None
    finally:
        connection.close()
    if response.status != http.HTTPStatus.OK:
        said = body[:300].decode(errors="replace").strip()
        raise Unreachable(f"{address} answered {response.status} instead of a status: {said}")
    try:
        document = json.loads(body)
        if "workers" not in document:
            raise ValueError
    except (ValueError, TypeError):
        raise Unreachable(f"What answers at {address} is no admin listener of keepserve: is --admin right?") from None
    found: dict[str, Any] = document
    return found


def verdict(document: dict[str, Any], *, strict: bool) -> int:
    """The exit code for a server in this state."""
    fine = document["state"] == "serving" and not (strict and document["warnings"])
    return exitcodes.OK if fine else exitcodes.NOT_SERVING


def watch(
    ask: Fetch,
    say: Callable[[str], None],
    *,
    interval: float,
    terminal: bool,
    draw: Callable[[dict[str, Any], dict[str, Any] | None], str],
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Say how the server is, every ``interval`` seconds until interrupted; on a terminal always in the same place.

    Raises Unreachable if it cannot even be asked once; later it may come back.
    """
    document: dict[str, Any] | None = ask()
    before: dict[str, Any] | None = None
    trouble = ""
    due = clock()
    if terminal:
        say(_CLEAR)
    while True:
        text = draw(document, before) if document is not None else trouble
        say(_in_place(text) if terminal else text + "\n")
        before = document or before
        due = max(due + interval, clock())
        sleep(max(0.0, due - clock()))
        try:
            document = ask()
        except Unreachable as error:
            document, trouble = None, str(error)


def _in_place(text: str) -> str:
    return _HOME + "".join(f"{one}{_END_OF_LINE}\n" for one in text.splitlines()) + _BELOW


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _tcp(address: BindAddress, timeout: float) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(address.host, address.port, timeout=timeout)
