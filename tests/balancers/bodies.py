"""Bodies whose every byte is known to both ends, and that differ from one size to the next."""

from __future__ import annotations

import functools


@functools.lru_cache(maxsize=64)
def pattern(size: int) -> bytes:
    """``size`` bytes: a body cut short, shifted or taken from another request cannot look the same."""
    unit = b"%d:" % size
    return b"".join(b"%s%d|" % (unit, position) for position in range(0, size + 1, len(unit) + 1))[:size]
