"""Click options made from the settings, and the command class that groups them in its help.

Click parses the command line and completes it in the shell; it neither converts values nor looks at the
environment. Both belong to `keepserve.balancer.load`, so that a value means the same from every source
and its origin is known.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click
from click.shell_completion import CompletionItem

from keepserve.balancer import PRESETS
from keepserve.config.fields import Info
from keepserve.config.foreign import INSTEAD
from keepserve.config.settings import FIELDS_BY_NAME, GROUPS

# Shells complete values of these kinds as paths.
_PATHS = {"FILE": "file", "DIRECTORY": "dir"}

VALUES_HELP = (
    "DURATION is 65, 65s, 1m, 1h30m or 500ms; SIZE is 8192, 8k, 64KiB or 1MiB. An option on the command line "
    "wins over its environment variable, which wins over the env-file, the balancer preset and the default. "
    "In the environment, yes/no options take 1/0, true/false, yes/no or on/off; options that may be given several "
    "times take a list separated by commas (KEEPSERVE_HEADER: one per line)."
)


class SettingType(click.types.StringParamType):
    """The text of one setting, unconverted; knows how a shell completes it."""

    def __init__(self, info: Info) -> None:
        self.info = info

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Complete choices, preset names and paths."""
        if self.info.kind.metavar in _PATHS:
            return [CompletionItem(incomplete, type=_PATHS[self.info.kind.metavar])]
        words = list(PRESETS) if self.info.name == "lb" else list(self.info.kind.choices)
        return [CompletionItem(word) for word in words if word.startswith(incomplete)]


class SettingOption(click.Option):
    """The option of one setting."""

    def __init__(self, info: Info) -> None:
        self.info = info
        flags = f"{info.flag}/{info.negative_flag}" if info.boolean else info.flag
        more: dict[str, Any] = {} if info.boolean else {"type": SettingType(info), "metavar": info.kind.metavar}
        super().__init__(
            [flags, info.name], default=None, multiple=info.kind.repeatable, help=describe_option(info), **more
        )

    @property
    def group(self) -> str:
        """The subject it is listed under."""
        return self.info.group


class OwnOption(click.Option):
    """An option of one command that is no setting, listed under its own subject."""

    def __init__(self, group: str, *names: str, **more: Any) -> None:
        self.group = group
        super().__init__(names, **more)


def describe_option(info: Info) -> str:
    """The help of one option: sentence, unit, default and environment names."""
    facts = [f"default: {info.default_text}"]
    if info.counts:
        facts.insert(0, f"unit: {info.counts}")
    if info.zero and not str(info.default_text).startswith("0 "):
        facts.append(f"0: {info.zero}")
    facts.append("env: " + ", ".join(info.envs))
    return f"{info.doc}  [{'; '.join(facts)}]"


class SettingsCommand(click.Command):
    """A command that takes every setting: options grouped by subject, foreign ones explained."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse as click does; an option of another server gets an answer that helps."""
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            instead = INSTEAD.get(error.option_name)
            if instead is None:
                raise
            message = f"keepserve has no {error.option_name}: {instead}."
            raise click.UsageError(message, ctx) from None

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write one section for each subject, in the settings' order."""
        parameters = self.get_params(ctx)
        own = [parameter.group for parameter in parameters if isinstance(parameter, OwnOption)]
        sections: dict[str, list[tuple[str, str]]] = {group: [] for group in (*own, *GROUPS, "Help")}
        for parameter in parameters:
            if isinstance(parameter, click.Argument):
                info = FIELDS_BY_NAME["app"]
                sections[info.group].insert(0, (info.flag, describe_option(info)))
            elif (record := parameter.get_help_record(ctx)) is not None:
                group = parameter.group if isinstance(parameter, SettingOption | OwnOption) else "Help"
                sections[group].append(record)
        for title, rows in sections.items():
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows, col_max=34)


def settings_command(
    name: str, help_text: str, callback: Callable[..., None], own: Sequence[click.Parameter] = ()
) -> SettingsCommand:
    """A command with APP and every option; the callback gets the settings given, by field name, and ``own``'s."""
    parameters: list[click.Parameter] = [click.Argument(["app"], required=False, metavar="[APP]")]
    parameters += [SettingOption(info) for info in FIELDS_BY_NAME.values() if info.name != "app"]
    parameters += own
    return SettingsCommand(
        name,
        params=parameters,
        callback=callback,
        help=help_text,
        epilog=VALUES_HELP,
        short_help=help_text.splitlines()[0],
    )
