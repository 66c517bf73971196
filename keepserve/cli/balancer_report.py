"""What ``keepserve check --balancer`` prints: for people, and as JSON."""

from __future__ import annotations

import dataclasses
import json
import math
import textwrap
from collections.abc import Iterator
from typing import Any

import click

from keepserve._version import __version__
from keepserve.balancer.comparison import Comparison
from keepserve.balancer.facts import Fact, Place, Pool
from keepserve.balancer.presets import PRESETS
from keepserve.balancer.rules import Finding, Level
from keepserve.balancer.timeline import ASCII, UNICODE, Bar, Glyphs, draw_bars
from keepserve.config.durations import format_duration
from keepserve.config.problems import DEFAULT_ORIGIN
from keepserve.config.settings import FIELDS_BY_NAME

JSON_FORMAT = 1
"""The number in ``format``: changed when a key is renamed or removed, not when one is added."""

_COMPARED = (
    *("lb", "lb_idle_timeout", "keep_alive_timeout", "headers_timeout", "max_connection_requests"),
    *("max_connection_age", "http2", "h2c", "ssl_certfile", "health_path", "drain_delay", "drain_timeout"),
    *("drain_cancel", "shutdown_timeout", "stop_grace"),
)
_SECONDS = (
    *("idle_timeout", "max_age", "response_timeout", "health_interval", "drain_time", "kill_after", "pre_stop"),
)
_COLOURS = {Level.OK: "green", Level.WARNING: "yellow", Level.PROBLEM: "red"}
_WIDTH = 110


def text_report(comparison: Comparison, *, unicode: bool) -> str:
    """Each file and pool: what was read, the clocks as a drawing, the verdicts; then the sum of it."""
    glyphs = UNICODE if unicode else ASCII
    lines: list[str] = []
    for reading in comparison.readings:
        lines.append(click.style(f"{reading.path} ({reading.kind})", underline=True))
        lines += _wrapped([f"note: {note}" for note in reading.notes], "  ")
        lines.append("")
        for other, pool, findings in comparison.judged:
            if other is reading:
                lines += _pool_lines(comparison, pool, findings, glyphs)
    warnings = [f"warning: {warning}" for warning in comparison.resolution.warnings]
    if warnings:
        lines += [*_wrapped(warnings, ""), ""]
    lines.append(_sum(comparison))
    return "\n".join(lines)


def _pool_lines(comparison: Comparison, pool: Pool, findings: list[Finding], glyphs: Glyphs) -> Iterator[str]:
    yield click.style(f"{pool.name} ({pool.place})", bold=True)
    for name, fact in _facts(pool):
        yield f"  {name.replace('_', ' '):<18}{_shown(name, fact.value):<12}{fact}"
    yield from _wrapped([f"note: {note}" for note in pool.notes], "  ")
    yield ""
    for drawing in (_idle_picture(comparison, pool, glyphs), _stop_picture(comparison, pool, glyphs)):
        if drawing:
            yield from (*drawing, "")
    for finding in findings:
        yield from _finding_lines(finding, pool, glyphs)
    yield ""


def _facts(pool: Pool) -> Iterator[tuple[str, Fact[Any]]]:
    for one in dataclasses.fields(pool):
        value = getattr(pool, one.name)
        if isinstance(value, Fact):
            yield one.name, value


def _shown(name: str, value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name in _SECONDS and isinstance(value, int | float):
        return "no limit" if math.isinf(value) else format_duration(value)
    return str(value)


def _idle_picture(comparison: Comparison, pool: Pool, glyphs: Glyphs) -> list[str]:
    fact = pool.idle_timeout
    if fact is None:
        return []
    s = comparison.resolution.settings
    bars = [
        Bar("keepserve", 0, s.keep_alive_timeout, _named(comparison, "keep_alive_timeout")),
        Bar("envelope", 0, s.headers_timeout, _named(comparison, "headers_timeout")),
    ]
    title = "An idle connection, in seconds since its last response"
    if math.isinf(fact.value):
        return [title, f"  {'balancer':<11}no limit: {fact}", *draw_bars(bars, glyphs)]
    return [title, *draw_bars([Bar("balancer", 0, fact.value, str(fact)), *bars], glyphs)]


def _stop_picture(comparison: Comparison, pool: Pool, glyphs: Glyphs) -> list[str]:
    outer = [("killed", pool.kill_after), ("balancer", pool.drain_time)]
    known = [Bar(label, 0, fact.value, str(fact)) for label, fact in outer if fact and not math.isinf(fact.value)]
    if not known:
        return []
    s = comparison.resolution.settings
    begin = pool.pre_stop.value if pool.pre_stop is not None else 0.0
    bars = [Bar("before", 0, begin, str(pool.pre_stop))] if begin else []
    for label, name in (
        ("announced", "drain_delay"),
        ("requests", "drain_timeout"),
        ("cancelled", "drain_cancel"),
        ("shutdown", "shutdown_timeout"),
    ):
        length = getattr(s, name)
        if length:
            bars.append(Bar(label, begin, begin + length, _named(comparison, name)))
            begin += length
    return ["A stop, in seconds since it was decided", *draw_bars([*bars, *known], glyphs)]


def _named(comparison: Comparison, name: str) -> str:
    return f"{name} ({comparison.resolution.origins.get(name, DEFAULT_ORIGIN)})"


def _finding_lines(finding: Finding, pool: Pool, glyphs: Glyphs) -> Iterator[str]:
    mark = {Level.OK: glyphs.good, Level.WARNING: "!", Level.PROBLEM: glyphs.bad}[finding.level]
    head = f"  {mark:<4}{finding.rule:<18}"
    text = textwrap.wrap(finding.sentence, _WIDTH - len(head), break_long_words=False, break_on_hyphens=False)
    yield click.style(head, fg=_COLOURS[finding.level]) + text[0]
    yield from (" " * len(head) + line for line in text[1:])
    title = PRESETS[pool.kind].title if pool.kind in PRESETS else pool.kind
    for side, line in (("keepserve", finding.ours), (title, finding.theirs)):
        if line:
            at = f"  ({finding.place})" if side == title and finding.place is not None else ""
            yield " " * len(head) + click.style(f"{side}: {line}", bold=True) + at


def _wrapped(paragraphs: list[str], indent: str) -> Iterator[str]:
    for paragraph in paragraphs:
        yield from textwrap.wrap(
            paragraph,
            _WIDTH,
            initial_indent=indent,
            subsequent_indent=indent + "  ",
            break_long_words=False,
            break_on_hyphens=False,
        )


def _sum(comparison: Comparison) -> str:
    counts = {level: sum(finding.level is level for finding in comparison.findings) for level in Level}
    problems = counts[Level.PROBLEM] + len(comparison.complaints)
    warnings = counts[Level.WARNING] + len(comparison.resolution.warnings)
    words = ", ".join(
        f"{number} {word}{'' if number == 1 else 's'}"
        for number, word in ((problems, "problem"), (warnings, "warning"))
        if number
    )
    if words:
        return click.style(f"The two sides do not agree: {words}." if problems else f"{words}.", bold=True)
    return click.style("The balancer and these settings agree.", fg="green")


def json_report(comparison: Comparison, code: int) -> str:
    """The comparison as a JSON object.

    ``format``, ``keepserve`` (the version), ``verdict`` (ok, warning, problem) and ``exit_code``; ``errors`` and
    ``warnings``, sentences about unreadable files and our settings; ``settings``: name to ``value`` and ``origin``;
    ``files``: ``path``, ``kind``, ``notes`` and ``pools``, each with ``name``, ``kind``, ``path``, ``line``,
    ``facts``, ``notes`` and ``findings``. A fact has ``value`` (null: no limit), ``words``, ``written``, ``path``
    and ``line`` (null: a default), ``source``. A finding has ``rule``, ``level``, ``sentence``, ``ours``,
    ``theirs``, ``path`` and ``line``. Durations are seconds.
    """
    resolution = comparison.resolution
    report = {
        "format": JSON_FORMAT,
        "keepserve": __version__,
        "verdict": comparison.verdict,
        "exit_code": code,
        "errors": comparison.complaints,
        "warnings": [str(warning) for warning in resolution.warnings],
        "settings": {
            name: {
                "value": None if FIELDS_BY_NAME[name].secret else getattr(resolution.settings, name),
                "origin": str(resolution.origins.get(name, DEFAULT_ORIGIN)),
            }
            for name in _COMPARED
        },
        "files": [
            {
                "path": reading.path,
                "kind": reading.kind,
                "notes": reading.notes,
                "pools": [_pool_json(pool, found) for other, pool, found in comparison.judged if other is reading],
            }
            for reading in comparison.readings
        ],
    }
    return json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False)


def _pool_json(pool: Pool, findings: list[Finding]) -> dict[str, object]:
    return {
        "name": pool.name,
        "kind": pool.kind,
        **_place_json(pool.place),
        "facts": {
            name: {
                "value": None if isinstance(fact.value, float) and math.isinf(fact.value) else fact.value,
                "words": fact.words,
                "written": fact.written,
                **_place_json(fact.place),
                "source": fact.source,
            }
            for name, fact in _facts(pool)
        },
        "notes": pool.notes,
        "findings": [
            {
                "rule": finding.rule,
                "level": finding.level,
                "sentence": finding.sentence,
                "ours": finding.ours,
                "theirs": finding.theirs,
                **_place_json(finding.place),
            }
            for finding in findings
        ],
    }


def _place_json(place: Place | None) -> dict[str, object]:
    return {"path": place.path if place else None, "line": place.line if place else None}
