"""The ``keepserve`` command: serve (also without its name), check, presets, status."""

from __future__ import annotations

import os
import platform
import sys
from difflib import get_close_matches
from functools import partial
from typing import Any, NoReturn

import click

from keepserve._version import __version__
from keepserve.balancer import PRESETS, Resolution, find_preset, load
from keepserve.balancer.readers import kinds, parse_version
from keepserve.cli.options import OwnOption, SettingOption, settings_command
from keepserve.cli.report import presets_report, settings_report
from keepserve.cli.status import status_command
from keepserve.config import exitcodes
from keepserve.config.problems import ConfigError, Problem
from keepserve.config.settings import FIELDS_BY_NAME

MISSING_APP = Problem(
    "No application was given. Name it as module:attribute, for example keepserve main:app, or set KEEPSERVE_APP; "
    "keepserve --help says more, and keepserve keepserve.demo:app shows a demo.",
    ("app",),
)

COMMON = ("bind", "workers", "lb", "keep_alive_timeout", "env_file", "reload", "forwarded_allow_ips", "log_level")
"""Settings shown by ``keepserve --help``; ``keepserve serve --help`` shows all."""

SERVE_HELP = """Serve an ASGI application.

APP is module:attribute, such as main:app. It is imported in the worker processes only."""

CHECK_HELP = """Print the effective settings, where each came from, and the timers as a drawing.

Takes the same options, environment and env-file as serve. Binds nothing and does not import APP.
With --balancer it reads a balancer's own configuration instead, and holds the two against each other.
Exit code 0: the settings can be used, and the balancer agrees; 1: with --strict, there are warnings; 2: they
cannot, it does not, or its file cannot be read."""


_BALANCER_FILES = "Checking a balancer's own configuration"

CHECK_OPTIONS = (
    OwnOption(
        _BALANCER_FILES,
        "--balancer",
        multiple=True,
        metavar="FILE",
        type=click.Path(),
        help="Read this configuration file of the balancer and compare; may be given several times.",
    ),
    OwnOption(
        _BALANCER_FILES,
        "--balancer-kind",
        metavar="KIND",
        help="What kind of file it is, where that cannot be told from its text: " + ", ".join(kinds()) + ".",
    ),
    OwnOption(
        _BALANCER_FILES,
        "--balancer-version",
        metavar="VERSION",
        help="The balancer's version, such as 1.28.0, where its defaults depend on it (NGINX).",
    ),
    OwnOption(
        _BALANCER_FILES,
        "--aws-load-balancer",
        multiple=True,
        metavar="ARN",
        help="Ask AWS about this load balancer and its target groups (needs boto3); may be given several times.",
    ),
    OwnOption(_BALANCER_FILES, "--strict", is_flag=True, help="Exit with 1 when there are warnings."),
    OwnOption(_BALANCER_FILES, "--json", "as_json", is_flag=True, help="Print the comparison as JSON."),
)


class MainGroup(click.Group):
    """A group whose default command is serve: ``keepserve APP`` is ``keepserve serve APP``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put ``serve`` in front of anything that is neither a command nor an option of the group itself."""
        if ctx.resilient_parsing and not args:
            return super().parse_args(ctx, args)  # a shell asks what may come first: the commands
        own = {name for parameter in self.get_params(ctx) for name in parameter.opts}
        if not args or (args[0] not in own and args[0] not in self.commands):
            if args:
                self._refuse_mistyped_command(ctx, args[0])
            args = ["serve", *args]
        return super().parse_args(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Show the options most people need as well; all of them are serve's."""
        with formatter.section("Common options"):
            options = (SettingOption(FIELDS_BY_NAME[name]) for name in COMMON)
            formatter.write_dl([record for one in options if (record := one.get_help_record(ctx))], col_max=34)
        super().format_options(ctx, formatter)

    def _refuse_mistyped_command(self, ctx: click.Context, word: str) -> None:
        # An application is written module:attribute, so a lone word that looks like a command is one.
        if ":" in word or "." in word or word.startswith("-"):
            return
        near = get_close_matches(word, self.commands, 1, cutoff=0.7)
        if near:
            raise click.UsageError(
                f'There is no command "{word}"; did you mean "{near[0]}"? (An application is module:attribute.)', ctx
            )


def _show_version(ctx: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        python = f"{platform.python_implementation()} {platform.python_version()}"
        click.echo(f"keepserve {__version__} ({python}, {platform.system()})")
        ctx.exit()


@click.group(
    cls=MainGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 118},
    epilog="keepserve APP is short for keepserve serve APP; keepserve serve --help lists every option.",
)
@click.option(
    "--version", is_flag=True, expose_value=False, is_eager=True, callback=_show_version, help="Print the version."
)
def main() -> None:
    """Serve ASGI applications, and never close a connection before the load balancer does.

    \b
    keepserve main:app                       serve on 127.0.0.1:8000
    keepserve main:app --lb alb --bind 0.0.0.0:80 --workers auto
    keepserve check --lb alb                 what would be used, and why
    keepserve presets                        the balancers known by name
    keepserve status --admin :9090           how a server is that runs with --admin :9090
    """
    refusal = unsupported(sys.platform)
    if refusal:
        _fail(refusal)


def unsupported(system: str) -> str:
    """Why keepserve does not run on a system (``sys.platform``); empty where it does."""
    if system == "win32":
        return "keepserve runs on Linux and macOS; on Windows, use it inside WSL or a container."
    return ""


def _serve(**options: Any) -> None:
    resolution = _resolve(options)
    if resolution.settings.app is None:
        resolution.problems.insert(0, MISSING_APP)
    try:
        settings = resolution.require()
    except ConfigError as error:
        _fail(str(error))
    before = dict(os.environ)  # without the env-file: what a reload reads that file on top of
    os.environ.update(resolution.app_environment)
    # Imported late: check and presets need no server, and must work where one cannot be loaded.
    from keepserve.process import run_supervised
    from keepserve.process.generations import read_again

    warnings = [str(warning) for warning in resolution.warnings]
    sys.exit(run_supervised(settings, warnings, reread=partial(read_again, options, before)))


def _check(**options: Any) -> None:
    own = {option.name: options.pop(option.name) for option in CHECK_OPTIONS if option.name}
    compared = own["balancer"] or own["aws_load_balancer"]
    if not compared:
        _refuse_without_balancer(own)
    resolution = _resolve(options)
    if compared:
        _check_balancers(resolution, own)
    click.echo(settings_report(resolution, unicode=_can_draw()))
    click.echo()
    problems = resolution.problems or _look_at_files(resolution)
    for warning in resolution.warnings:
        click.echo(click.style("warning: ", fg="yellow") + str(warning), err=True)
    if problems:
        _fail(str(ConfigError(problems)))
    click.echo(click.style("These settings can be used.", fg="green"))
    if own["strict"] and resolution.warnings:
        sys.exit(exitcodes.WARNINGS)


def _refuse_without_balancer(own: dict[str, Any]) -> None:
    for name in ("balancer_kind", "balancer_version", "as_json"):
        if own[name]:
            flag = next(option.opts[0] for option in CHECK_OPTIONS if option.name == name)
            raise click.UsageError(f"{flag} needs --balancer FILE: it is about that file.")


def _check_balancers(resolution: Resolution, own: dict[str, Any]) -> NoReturn:
    # Imported late: serving needs none of it.
    from keepserve.balancer.comparison import compare
    from keepserve.cli.balancer_report import json_report, text_report

    try:
        version = parse_version(own["balancer_version"]) if own["balancer_version"] else None
    except ValueError as error:
        _fail(f"Bad value for --balancer-version: {error}.")
    resolution.problems.extend([] if resolution.problems else _look_at_files(resolution))
    comparison = compare(
        resolution, own["balancer"], kind=own["balancer_kind"], version=version, arns=own["aws_load_balancer"]
    )
    code = comparison.exit_code(strict=own["strict"])
    if own["as_json"]:
        click.echo(json_report(comparison, code))
    else:
        click.echo(text_report(comparison, unicode=_can_draw()))
        for complaint in comparison.complaints:
            click.echo(click.style("keepserve: ", fg="red") + complaint, err=True)
    sys.exit(code)


def _look_at_files(resolution: Resolution) -> list[Problem]:
    """Problems that only show when addresses are parsed and certificates read; binds nothing."""
    from keepserve.server.addresses import addresses, admin_address
    from keepserve.server.tls import build_context

    problems: list[Problem] = []
    for look in (addresses, admin_address, build_context):
        try:
            look(resolution.settings)
        except ConfigError as error:
            problems += error.problems
    return problems


def _presets(names: tuple[str, ...]) -> None:
    try:
        chosen = [find_preset(name) for name in names] or list(PRESETS.values())
    except ValueError as error:
        message = str(error)
        _fail(message[0].upper() + message[1:] + ".")
    click.echo(presets_report(chosen))


def _resolve(options: dict[str, Any]) -> Resolution:
    try:
        return load(options, os.environ)
    except ConfigError as error:
        _fail(str(error))


def _can_draw() -> bool:
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    try:
        "├─┤✓✗".encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _fail(message: str) -> NoReturn:
    click.echo(click.style("keepserve: ", fg="red") + message, err=True)
    sys.exit(exitcodes.SETTINGS)


main.add_command(settings_command("serve", SERVE_HELP, _serve))
main.add_command(status_command())
main.add_command(settings_command("check", CHECK_HELP, _check, CHECK_OPTIONS))
main.add_command(
    click.Command(
        "presets",
        params=[click.Argument(["names"], nargs=-1, metavar="[NAME]...")],
        callback=_presets,
        help="Print the balancers known to --lb: idle timeout, where to change it, and its source.",
        short_help="Print the balancers known to --lb, with sources.",
    )
)
