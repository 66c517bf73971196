"""Sizes as text: ``8192``, ``8k``, ``64KiB``, ``1MiB``. In memory they are int bytes."""

from __future__ import annotations

import re

EXPECTED = "write bytes (8192), or a number with a unit KiB, MiB, GiB (64KiB, 8k, 1MiB; k is 1024)"

_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(?:([kmg])(?:i?b)?|b)?", re.ASCII)
_POWER = {None: 0, "k": 1, "m": 2, "g": 3}


def parse_size(text: str) -> int:
    """Read a size and return bytes. ``k``, ``KB`` and ``KiB`` all mean 1024, as in nginx.

    Raises ValueError with a sentence when the text is no size or not a whole number of bytes.
    """
    match = _SIZE.fullmatch(text.strip().lower())
    if match is None:
        raise ValueError(f'"{text}" is not a size: {EXPECTED}')
    size = float(match[1]) * 1024 ** _POWER[match[2]]
    if not size.is_integer():
        raise ValueError(f'"{text}" is not a whole number of bytes: {EXPECTED}')
    return int(size)


def format_size(size: int) -> str:
    """Write bytes for a person, exactly: ``8 KiB``, ``8 MiB``, ``500 B``."""
    for unit, factor in (("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024)):
        if size and size % factor == 0:
            return f"{size // factor} {unit}"
    return f"{size} B"


def about(size: int) -> str:
    """Write bytes for a person in three digits or so: ``812 MiB``, ``1.4 GiB``."""
    value, unit = float(size), "B"
    for larger in ("KiB", "MiB", "GiB"):
        if value < 1000:
            break
        value, unit = value / 1024, larger
    return f"{value:.0f} {unit}" if value >= 10 or unit == "B" else f"{value:.1f} {unit}"
