"""``keepserve status``: the command."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from typing import Any

import click

from keepserve.config import exitcodes
from keepserve.config.durations import parse_duration
from keepserve.config.problems import ConfigError
from keepserve.config.settings import FIELDS_BY_NAME

STATUS_HELP = """Show how a running server is: workers, connections, reuse, latency, what closed.

The server has to have been started with --admin ADDRESS; the same address is given here.
Exit code 0: it serves; 1: it is starting or draining, or with --strict it has something to warn of; 2: the options
are wrong; 4: nobody answers there."""

SHORTEST_INTERVAL = 0.1


def _status(admin: str | None, watching: bool, interval: str, as_json: bool, strict: bool) -> None:
    text = admin or os.environ.get(FIELDS_BY_NAME["admin"].env)
    if not text:
        raise click.UsageError(
            "Whom to ask? Give --admin ADDRESS, or set KEEPSERVE_ADMIN, to what the server was started with: "
            "keepserve main:app --admin 127.0.0.1:9090."
        )
    # Here and not above: whoever serves has no use for an HTTP client.
    from keepserve.cli.status_client import Unreachable, fetch, read_address, verdict, watch
    from keepserve.cli.status_view import line, screen

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
