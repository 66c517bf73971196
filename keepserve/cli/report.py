"""What ``keepserve check`` and ``keepserve presets`` print."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator

import click

from keepserve.balancer import Preset, Resolution
from keepserve.balancer.timeline import draw_timeline
from keepserve.config.durations import format_duration
from keepserve.config.problems import DEFAULT_ORIGIN
from keepserve.config.settings import DEFAULT_KEEP_ALIVE_MARGIN, DEFAULT_LB_IDLE_TIMEOUT, FIELDS_BY_NAME, GROUPS


def settings_report(resolution: Resolution, *, unicode: bool) -> str:
    """Effective settings with origins by subject, then the timer drawings. What is not default is bold."""
    rows = [
        (info.group, info.name, _show(resolution, info.name), str(resolution.origins[info.name]))
        for info in FIELDS_BY_NAME.values()
    ]
    name_width = max(len(name) for _, name, _, _ in rows)
    # One long value must not push every origin out of sight.
    value_width = min(32, max(len(value) for _, _, value, _ in rows))
    lines: list[str] = []
    for group in GROUPS:
        lines.append(click.style(group, underline=True))
        for _, name, value, origin in (row for row in rows if row[0] == group):
            line = f"  {name:<{name_width}}  {value:<{value_width}}  {origin}"
            lines.append(line if resolution.origins[name] == DEFAULT_ORIGIN else click.style(line, bold=True))
        lines.append("")
    lines.append(draw_timeline(resolution.settings, resolution.origins, unicode=unicode))
    return "\n".join(lines)


def _show(resolution: Resolution, name: str) -> str:
    info = FIELDS_BY_NAME[name]
    value = getattr(resolution.settings, name)
    if value is None or value in ((), ""):
        return info.unset or "-"
    return info.show(value)


def presets_report(presets: Iterable[Preset]) -> str:
    """The presets as a table: idle timeout, our keep-alive, confirmed or not; below each its source."""
    lines = [f"{'PRESET':<18}{'IDLE':<10}{'KEEP-ALIVE':<12}{'CONFIRMED':<11}BALANCER"]
    for preset in presets:
        lines += _preset_lines(preset)
    lines.append("")
    lines.append(
        f"KEEP-ALIVE is IDLE plus --keep-alive-margin ({format_duration(DEFAULT_KEEP_ALIVE_MARGIN)} unless set). "
        f'IDLE "-": no number to outlast;\nthe clocks are those for a {format_duration(DEFAULT_LB_IDLE_TIMEOUT)} '
        "balancer. Changed it on your balancer? Give it as --lb-idle-timeout."
    )
    return "\n".join(lines)


def _preset_lines(preset: Preset) -> Iterator[str]:
    idle = format_duration(preset.idle) if preset.idle else "-"
    keep_alive = format_duration((preset.idle or DEFAULT_LB_IDLE_TIMEOUT) + DEFAULT_KEEP_ALIVE_MARGIN)
    confirmed = "yes" if preset.confirmed else "no"
    name = click.style(f"{preset.name:<18}", bold=True)
    yield f"{name}{idle:<10}{keep_alive:<12}{confirmed:<11}{preset.title}"
    if preset.setting:
        yield f"{'':<18}set by {preset.setting}"
    elif preset.fixed:
        yield f"{'':<18}cannot be changed on the balancer"
    if preset.drain_delay:
        yield f"{'':<18}a stop begins with a lame duck of {format_duration(preset.drain_delay)} (drain_delay)"
    if preset.note:
        yield textwrap.fill(preset.note.rstrip(".") + ".", 110, initial_indent=" " * 18, subsequent_indent=" " * 18)
    yield f"{'':<18}{preset.source}"
