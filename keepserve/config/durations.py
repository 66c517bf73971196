"""Durations as text: ``65``, ``65s``, ``1m``, ``1h30m``, ``500ms``. In memory they are float seconds."""

from __future__ import annotations

import re

EXPECTED = "write seconds (65 or 1.5), or numbers with units ms, s, m, h, d (500ms, 65s, 1m, 1h30m)"

_NUMBER = r"[0-9]+(?:\.[0-9]+)?"
_PLAIN = re.compile(_NUMBER, re.ASCII)
# Each unit at most once, larger ones first: "30s1h" is more likely a slip than a wish.
_UNITS = re.compile(" ?".join(rf"(?:({_NUMBER}) ?{unit})?" for unit in ("d", "h", "m(?:in)?", "s", "ms")), re.ASCII)
_MILLISECONDS = (86_400_000.0, 3_600_000.0, 60_000.0, 1000.0, 1.0)


def parse_duration(text: str) -> float:
    """Read a duration and return seconds.

    A number without a unit is seconds. Units are ``ms s m min h d``, each at most once, larger first.
    Raises ValueError with a sentence that says what was found and how to write it.
    """
    cleaned = text.strip().lower()
    if _PLAIN.fullmatch(cleaned):
        return float(cleaned)
    match = _UNITS.fullmatch(cleaned) if cleaned else None
    if match is None:
        raise ValueError(f'"{text}" is not a duration: {EXPECTED}')
    # Summed in milliseconds, so that "1s500ms" is exactly 1.5.
    parts = zip(match.groups(), _MILLISECONDS, strict=True)
    return sum(float(number) * factor for number, factor in parts if number) / 1000.0


def format_duration(seconds: float) -> str:
    """Write seconds for a person: ``80 s``, ``1.5 s``, ``500 ms``.

    Always seconds (never minutes or hours), because the timers are compared and added by eye.
    """
    if 0 < seconds < 1:
        return f"{plain_seconds(seconds * 1000.0)} ms"
    return f"{plain_seconds(seconds)} s"


def plain_seconds(seconds: float) -> str:
    """Write seconds as one types them after an option: ``80``, ``1.5``, ``0.5``."""
    return f"{seconds:.3f}".rstrip("0").rstrip(".")
