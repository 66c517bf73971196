"""``keepserve status``: asking the admin listener of a running server, once or again and again."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

import click

from keepserve.cli.status_view import line, screen
from keepserve.config import exitcodes
from keepserve.config.durations import parse_duration
from keepserve.config.problems import ConfigError
from keepserve.config.settings import FIELDS_BY_NAME
from keepserve.server.addresses import BindAddress, parse_bind

STATUS_HELP = """Show how a running server is: workers, connections, reuse, latency, what closed.

The server has to have been started with --admin ADDRESS; the same address is given here.
Exit code 0: it serves; 1: it is starting or draining, or with --strict it has something to warn of; 2: the options
are wrong; 4: nobody answers there."""

TIMEOUT = 5.0
"""Seconds an answer may take."""

SHORTEST_INTERVAL = 0.1

_CLEAR, _HOME, _END_OF_LINE, _BELOW = "\x1b[2J", "\x1b[H", "\x1b[K", "\x1b[J"

Fetch = Callable[[], dict[str, Any]]


class Unreachable(Exception):
    """The admin listener gave no status document. ``str()`` is a sentence."""


def read_address(text: str) -> BindAddress:
    """The address of an admin listener, as it is given to ``--admin`` or shown by the server. Raises ConfigError."""
    address = parse_bind(text.removeprefix("http://").rstrip("/") if text.startswith("http://") else text)
    if address.kind == "fd":
        raise ConfigError(f'"{text}" is not an address to connect to: write 127.0.0.1:9090, :9090 or unix:path.')
    if address.kind == "tcp" and not address.host:
        return BindAddress("tcp", host="127.0.0.1", port=address.port)
    return address


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


def _status(admin: str | None, watching: bool, interval: str, as_json: bool, strict: bool) -> None:
    text = admin or os.environ.get(FIELDS_BY_NAME["admin"].env)
    if not text:
        raise click.UsageError(
            "Whom to ask? Give --admin ADDRESS, or set KEEPSERVE_ADMIN, to what the server was started with: "
            "keepserve main:app --admin 127.0.0.1:9090."
        )
    try:
        address = read_address(text)
    except ConfigError as error:
        raise click.BadParameter(str(error), param_hint="--admin") from None
    try:
        seconds = parse_duration(interval)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--interval") from None
    if seconds < SHORTEST_INTERVAL:
        raise click.BadParameter("at least 100ms was expected", param_hint="--interval")
    terminal = sys.stdout.isatty()

    def draw(document: dict[str, Any], before: dict[str, Any] | None) -> str:
        if as_json:
            return json.dumps(document, ensure_ascii=False)
        if watching and not terminal:
            return f"{time.strftime('%H:%M:%S', time.localtime(document['now']))}  {line(document, before)}"
        return screen(document, before, width=shutil.get_terminal_size((100, 30)).columns, unicode=_can_draw())

    try:
        if watching:
            watch(
                lambda: fetch(address),
                lambda text: click.echo(text, nl=False),
                interval=seconds,
                terminal=terminal and not as_json,
                draw=draw,
            )
        document = fetch(address)
    except Unreachable as error:
        click.echo(click.style("keepserve: ", fg="red") + str(error), err=True)
        sys.exit(exitcodes.UNREACHABLE)
    except KeyboardInterrupt:
        sys.exit(exitcodes.OK)
    click.echo(draw(document, None))
    sys.exit(verdict(document, strict=strict))


def _can_draw() -> bool:
    try:
        "▁█░".encode(getattr(sys.stdout, "encoding", None) or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def status_command() -> click.Command:
    """The command."""
    return click.Command(
        "status",
        params=[
            click.Option(
                ["--admin"],
                metavar="ADDRESS",
                help="The running server's --admin: 127.0.0.1:9090, :9090 or unix:path.  [env: KEEPSERVE_ADMIN]",
            ),
            click.Option(
                ["--watch", "watching"], is_flag=True, help="Show it again and again, with rates, until Ctrl-C."
            ),
            click.Option(
                ["--interval"],
                metavar="DURATION",
                default="1s",
                help="Time between two looks with --watch.  [default: 1s]",
            ),
            click.Option(["--json", "as_json"], is_flag=True, help="Print the status document as it is."),
            click.Option(
                ["--strict"], is_flag=True, help="Exit with 1 also when the server has something to warn of."
            ),
        ],
        callback=_status,
        help=STATUS_HELP,
        short_help="Show how a running server is (started with --admin).",
    )
