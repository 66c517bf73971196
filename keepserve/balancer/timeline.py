"""The timers as a drawing: who waits how long, and who gives up first.

Two pictures on one scale each: an idle connection (balancer against our three clocks) and a stop (the
drain phases against the orchestrator's patience). Text only, Unicode or ASCII.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from keepserve.config.conflicts import Origins
from keepserve.config.durations import format_duration
from keepserve.config.problems import DEFAULT_ORIGIN
from keepserve.config.settings import Settings

WIDTH = 40
"""Columns of the longest bar."""

_LABEL_WIDTH = 11


@dataclass(frozen=True, slots=True)
class Bar:
    """One line of a drawing: from ``start`` to ``end`` seconds, and what it is."""

    label: str
    start: float
    end: float
    text: str


@dataclass(frozen=True, slots=True)
class Glyphs:
    """The characters of a drawing."""

    left: str
    line: str
    right: str
    good: str
    bad: str


UNICODE = Glyphs("├", "─", "┤", "✓", "✗")
ASCII = Glyphs("|", "-", "|", "ok:", "!!")


def draw_timeline(settings: Settings, origins: Origins, *, unicode: bool = True) -> str:
    """Draw both pictures for these settings. Returns lines joined by newlines, without a last one."""
    glyphs = UNICODE if unicode else ASCII
    return "\n".join([*_idle_picture(settings, origins, glyphs), "", *_stop_picture(settings, origins, glyphs)])


def _idle_picture(settings: Settings, origins: Origins, glyphs: Glyphs) -> list[str]:
    s = settings
    bars = [
        Bar("idle", 0, s.keep_alive_timeout, _text("keep_alive_timeout", settings, origins)),
        Bar(
            "head",
            s.keep_alive_timeout,
            s.keep_alive_timeout + s.request_head_timeout,
            _text("request_head_timeout", settings, origins) + ", from the first byte",
        ),
        Bar("envelope", 0, s.headers_timeout, _text("headers_timeout", settings, origins)),
    ]
    if s.lb_idle_timeout:
        bars.insert(0, Bar("balancer", 0, s.lb_idle_timeout, _text("lb_idle_timeout", settings, origins)))
    return [
        "An idle connection, in seconds since its last response (or since it was accepted)",
        *draw_bars(bars, glyphs),
        "  " + _race(settings, glyphs),
        "  " + _advertised(settings),
    ]


def _race(settings: Settings, glyphs: Glyphs) -> str:
    if settings.lb_idle_timeout == 0:
        return f"{glyphs.good} no balancer to outlast"
    gap = settings.keep_alive_timeout - settings.lb_idle_timeout
    if gap > 0:
        return f"{glyphs.good} the balancer gives up first, {format_duration(gap)} before we would"
    if gap == 0:
        return f"{glyphs.bad} the balancer and we give up at the same moment: requests will be lost"
    return f"{glyphs.bad} we give up {format_duration(-gap)} before the balancer does: requests will be lost"


def _advertised(settings: Settings) -> str:
    seconds = settings.advertised_keep_alive
    if seconds:
        return f"Clients are told Keep-Alive: timeout={seconds}, so that those that read it close first."
    return "No Keep-Alive: timeout is sent: there is less than a second between the clock and its margin."


def _stop_picture(settings: Settings, origins: Origins, glyphs: Glyphs) -> list[str]:
    s = settings
    closing = s.drain_delay
    limit = closing + s.drain_timeout
    cancelled = limit + s.drain_cancel
    bars = [
        Bar("idle", closing, closing + s.drain_idle, _text("drain_idle", settings, origins)),
        Bar("requests", closing, limit, _text("drain_timeout", settings, origins)),
        Bar("cancelled", limit, cancelled, _text("drain_cancel", settings, origins)),
        Bar("shutdown", cancelled, s.stop_budget, _text("shutdown_timeout", settings, origins)),
    ]
    if s.drain_delay:
        bars.insert(0, Bar("lame duck", 0, closing, _text("drain_delay", settings, origins)))
    budget = format_duration(s.stop_budget)
    if s.stop_grace is None:
        verdict = f"ends after {budget} at the latest; give the orchestrator's patience as --stop-grace to compare"
    else:
        bars.append(Bar("killed", 0, s.stop_grace, _text("stop_grace", settings, origins)))
        spare = s.stop_grace - s.stop_budget
        if spare >= 0:
            verdict = f"{glyphs.good} ends after {budget} at the latest, {format_duration(spare)} before the kill"
        else:
            verdict = f"{glyphs.bad} may need {budget}, but is killed {format_duration(-spare)} before that"
    return ["A stop, in seconds since the signal", *draw_bars(bars, glyphs), "  " + verdict]


def draw_bars(bars: Sequence[Bar], glyphs: Glyphs) -> list[str]:
    """Draw bars on one linear scale. Different times get different columns, however close they are."""
    columns = _columns(sorted({0.0, *(bar.start for bar in bars), *(bar.end for bar in bars)}))
    lines = []
    for bar in bars:
        start, end = columns[bar.start], columns[bar.end]
        if end > start:
            drawn = " " * start + glyphs.left + glyphs.line * (end - start - 1) + glyphs.right
        else:
            drawn = " " * start + glyphs.right
        length = format_duration(bar.end - bar.start)
        lines.append(f"  {bar.label:<{_LABEL_WIDTH}}{drawn:<{WIDTH + 1}} {length:>8}  {bar.text}")
    return lines


def _columns(times: list[float]) -> dict[float, int]:
    """The column of each time: proportional, then spread so that neighbours differ by at least 2."""
    longest = times[-1] or 1.0
    places = [round(time / longest * WIDTH) for time in times]
    for index in range(1, len(places)):
        places[index] = max(places[index], places[index - 1] + 2)
    # Spreading pushed to the right; pull back what left the picture, keeping the distances.
    places[-1] = min(places[-1], WIDTH)
    for right, left in pairwise(range(len(places) - 1, -1, -1)):
        places[left] = min(places[left], places[right] - 2)
    return dict(zip(times, places, strict=True))


def _text(name: str, settings: Settings, origins: Origins) -> str:
    return f"{name} ({origins.get(name, DEFAULT_ORIGIN)})"
