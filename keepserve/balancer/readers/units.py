"""Durations as balancers write them. In memory they are float seconds; every parser raises ValueError."""

from __future__ import annotations

import re

GO_EXPECTED = "a duration such as 90s, 1m30s or 500ms"
PROTO_EXPECTED = "seconds with an s, such as 3600s or 0.5s"
SECONDS_EXPECTED = "a number of seconds"

_GO_PART = re.compile(r"([0-9]{1,18}(?:\.[0-9]{0,18})?|\.[0-9]{1,18})(ns|us|µs|μs|ms|s|m|h|d)")
_NANOSECONDS = {
    "ns": 1.0,
    "us": 1e3,
    "µs": 1e3,
    "μs": 1e3,
    "ms": 1e6,
    "s": 1e9,
    "m": 60e9,
    "h": 3600e9,
    "d": 86_400e9,
}
_PROTO = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,9})?)s", re.ASCII)
_NUMBER = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,9})?", re.ASCII)

_LONGEST = 2**63 / 1e9
"""What Go can hold: 292 years in nanoseconds. More is a slip, and would read as infinity."""


def go_seconds(text: str) -> float:
    """Go's notation (time.ParseDuration, and Caddy's ``d``): numbers with units, added up. A bare 0 is 0."""
    if text == "0":
        return 0.0
    position, total = 0, 0.0
    while position < len(text):
        part = _GO_PART.match(text, position)
        if part is None:
            raise ValueError(text)
        total += float(part[1]) * _NANOSECONDS[part[2]]
        position = part.end()
    if not text or total / 1e9 > _LONGEST:
        raise ValueError(text)
    return total / 1e9


def go_or_plain_seconds(text: str) -> float:
    """Go's notation, or a bare number of seconds, as Traefik takes it."""
    return plain_seconds(text) if _NUMBER.fullmatch(text) else go_seconds(text)


def go_or_nanoseconds(text: str) -> float:
    """Go's notation, or a bare number of nanoseconds, as Caddy's JSON takes it."""
    return int(text) / 1e9 if re.fullmatch(r"[0-9]{1,18}", text, re.ASCII) else go_seconds(text)


def proto_seconds(text: str) -> float:
    """The JSON form of a protobuf Duration: seconds with up to nine decimals and an ``s``."""
    match = _PROTO.fullmatch(text)
    if match is None:
        raise ValueError(text)
    return float(match[1])


def plain_seconds(text: str) -> float:
    """A bare number of seconds."""
    if not _NUMBER.fullmatch(text):
        raise ValueError(text)
    return float(text)


def nginx_seconds(text: str) -> float:
    """NGINX's notation: ``60``, ``60s``, ``1h 30m``, ``500ms``, larger units first; a bare number is seconds."""
    position, total, rank = 0, 0.0, len(_NGINX_UNITS)
    for part in _NGINX_PART.finditer(text):
        unit = part[2] or "s"
        if part.start() != position or _NGINX_UNITS.index(unit) >= rank:
            raise ValueError(text)
        rank = _NGINX_UNITS.index(unit)
        total += int(part[1]) * _NGINX_SECONDS[unit]
        position = part.end()
    if not text.strip() or position != len(text):
        raise ValueError(text)
    return total


_NGINX_PART = re.compile(r"([0-9]{1,12})(ms|[smhdwMy])? *", re.ASCII)
_NGINX_UNITS = ["ms", "s", "m", "h", "d", "w", "M", "y"]
_NGINX_SECONDS = {
    "ms": 0.001,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
    "d": 86_400.0,
    "w": 604_800.0,
    "M": 2_592_000.0,
    "y": 31_536_000.0,
}
