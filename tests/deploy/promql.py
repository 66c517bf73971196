"""The names in a PromQL expression: metrics, labels, values, functions. No parser, just enough to find what is wrong.

``promtool`` is the one that knows the grammar; it does not know which metrics there are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

TARGET = ("job", "instance")
"""Labels that Prometheus itself gives every series."""

_TOKEN = re.compile(
    r"""
      (?P<space> \s+ | \#[^\n]* )
    | (?P<text> "(?:\\.|[^"\\])*" | '(?:\\.|[^'\\])*' )
    | (?P<window> \[[^\]]*\] )
    | (?P<variable> \$\{?\w+\}? )
    | (?P<name> [A-Za-z_:][\w:]* )
    | (?P<number> \d[\w.]* )
    | (?P<sign> =~ | !~ | != | == | <= | >= | [-+*/%^<>=(){},@] )
    """,
    re.VERBOSE,
)
_GROUPING = {"by", "without", "on", "ignoring", "group_left", "group_right"}
_WORDS = {"and", "or", "unless", "bool", "offset", "inf", "nan"}
_FUNCTIONS = {
    "sum", "min", "max", "avg", "count", "topk", "bottomk", "quantile", "rate", "irate", "increase", "changes",
    "delta", "histogram_quantile", "clamp_min", "clamp_max", "time", "label_values", "absent", "round", "vector",
}  # fmt: skip


@dataclass
class Names:
    """What an expression mentions. ``matchers`` are (metric, label, sign, value)."""

    metrics: list[str] = field(default_factory=list)
    matchers: list[tuple[str, str, str, str]] = field(default_factory=list)
    grouped: list[str] = field(default_factory=list)
    aggregates: bool = False


def tokens(expression: str) -> list[tuple[str, str]]:
    """Pairs of a kind and a text; ValueError at what is none."""
    found, position = [], 0
    while position < len(expression):
        match = _TOKEN.match(expression, position)
        if match is None:
            raise ValueError(f"Nothing that PromQL knows begins here: {expression[position : position + 20]!r}")
        if match.lastgroup != "space":
            found.append((str(match.lastgroup), match.group()))
        position = match.end()
    return found


def names(expression: str) -> Names:
    """All names in an expression; ValueError for a function that is not known."""
    found, known, place = Names(), tokens(expression), 0
    while place < len(known):
        kind, text = known[place]
        after = known[place + 1][1] if place + 1 < len(known) else ""
        place += 1
        if kind != "name":
            continue
        if text in _GROUPING:
            found.aggregates |= text in ("by", "without")
            if after == "(":
                end = known.index(("sign", ")"), place)
                found.grouped += [one for what, one in known[place:end] if what == "name"]
                place = end + 1
        elif after == "(" or (text in _FUNCTIONS and after in _GROUPING):
            if text not in _FUNCTIONS:
                raise ValueError(f"{text} is no function that is known here; if it is one, add it to the list.")
            found.aggregates |= text in ("sum", "min", "max", "avg", "count")
            if text == "label_values":  # Grafana's own; its last argument is a label
                found.grouped.append(known.pop(known.index(("sign", ")"), place) - 1)[1])
        elif text.lower() not in _WORDS:
            found.metrics.append(text)
            if after == "{":
                end = known.index(("sign", "}"), place)
                found.matchers += _matchers(text, known[place + 1 : end])
                place = end + 1
    return found


def _matchers(metric: str, inside: list[tuple[str, str]]) -> Iterator[tuple[str, str, str, str]]:
    parts = [one for one in inside if one != ("sign", ",")]
    if len(parts) % 3:
        raise ValueError(f"The matchers of {metric} are not name, sign and text.")
    for (_, label), (_, sign), (_, value) in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
        yield metric, label, sign, value[1:-1]


Exported = Mapping[str, Mapping[str, set[str]]]
"""By the name of a series: its labels, and the values they have."""


def complaints(expression: str, exported: Exported, used: tuple[str, ...] = ()) -> Iterator[str]:
    """What does not exist of an expression; ``used`` are labels that somebody wants its result to have."""
    found = names(expression)
    if not found.metrics:
        yield f"{expression}: no metric"
    there = set(TARGET)
    for metric in found.metrics:
        if metric not in exported:
            yield f"{metric}: no such metric"
        there |= set(exported.get(metric, ()))
    for metric, label, sign, value in found.matchers:
        if label in TARGET or metric not in exported:
            continue
        labels = exported[metric]
        if label not in labels:
            yield f"{metric}: no label {label}"
        elif sign in ("=", "!="):
            if value not in labels[label]:
                yield f"{metric}: {label} is never {value}"
        elif any(not any(re.fullmatch(part, one) for one in labels[label]) for part in value.split("|")):
            yield f"{metric}: {label} is never {value}"
    if all(metric in exported for metric in found.metrics):
        yield from (f"{label}: no label of these metrics" for label in found.grouped if label not in there)
    left = set(found.grouped) if found.aggregates else there
    yield from (f"{label}: no label of the result" for label in used if label not in left)
