"""systemd service units: how long a service has to stop."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from math import inf

from keepserve.balancer.facts import Fact, Place, Pool, Reading, UnreadableError
from keepserve.balancer.readers.tree import Scalar

KIND = "systemd"
TITLE = "systemd"

_DOCS = "https://www.freedesktop.org/software/systemd/man/latest/systemd.service.html#TimeoutStopSec="
_STOP = Fact(90.0, "TimeoutStopSec", source=_DOCS)
_SECTION = re.compile(r"\[([^\[\]]+)\]")
_PART = re.compile(r"\s*([0-9]{1,12}(?:\.[0-9]{1,9})?)\s*([a-zA-Z]*)\s*", re.ASCII)
_UNITS = {
    **dict.fromkeys(("", "s", "sec", "second", "seconds"), 1.0),
    **dict.fromkeys(("ms", "msec"), 0.001),
    **dict.fromkeys(("us", "usec"), 0.000001),
    **dict.fromkeys(("m", "min", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hr", "hour", "hours"), 3600.0),
    **dict.fromkeys(("d", "day", "days"), 86_400.0),
}
_EXPECTED = "a time of systemd's, such as 90, 90s, 1min 30s or infinity"


def looks_like(path: str, text: str) -> bool:
    """Whether the file is a unit with a service in it."""
    try:
        return any(section == "Service" for section, _ in _settings(path, text))
    except UnreadableError:
        return False


def read(path: str, text: str) -> Reading:
    """One pool for the service. Raises UnreadableError."""
    service = [setting for section, setting in _settings(path, text) if section == "Service"]
    if not service:
        raise UnreadableError(f"{path}: this is not a systemd service: it has no [Service] section with settings.")
    stop: Fact[float] = _STOP
    notes: list[str] = []
    own: list[str] = []
    for setting in service:
        if setting.name in ("TimeoutStopSec", "TimeoutSec") and setting.text:
            stop = setting.fact(setting.seconds(seconds, _EXPECTED) or inf)
        elif setting.name == "ExecStart":
            own += _options(setting)
        elif setting.name == "Environment":
            own += [f"{word} ({setting.place})" for word in _words(setting) if word.startswith("KEEPSERVE_")]
        elif setting.name == "EnvironmentFile":
            notes.append(f"{setting.words} ({setting.place}): the settings in that file are not read.")
    if own:
        notes.insert(0, f"The unit has its own settings, so check with the same ones: {', '.join(own)}.")
    pool = Pool(kind=KIND, name="service", place=service[0].place, kill_after=stop, notes=tuple(notes))
    return Reading(path, KIND, (pool,))


def seconds(text: str) -> float:
    """systemd's notation of a time span: numbers with units, added up; a bare number is seconds. 0 is no limit."""
    if text == "infinity":
        return inf
    position, total = 0, 0.0
    while position < len(text):
        part = _PART.match(text, position)
        if part is None or part[2] not in _UNITS:
            raise ValueError(text)
        total += float(part[1]) * _UNITS[part[2]]
        position = part.end()
    if not text.strip():
        raise ValueError(text)
    return total


def _settings(path: str, text: str) -> Iterator[tuple[str, Scalar]]:
    """(section, setting) in order. A line that ends with a backslash goes on in the next one, past comments."""
    section, start, logical = "", 0, ""
    for number, line in enumerate(text.split("\n"), 1):
        stripped = line.strip()
        if stripped.startswith(("#", ";")) or (not stripped and not logical):
            continue
        start = start or number
        if stripped.endswith("\\"):
            logical += stripped[:-1].rstrip() + " "
            continue
        logical, whole, place, start = "", (logical + stripped).strip(), Place(path, start), 0
        header = _SECTION.fullmatch(whole)
        key, equals, value = whole.partition("=")
        if header is not None:
            section = header[1]
        elif equals and section:
            yield section, Scalar(place, value.strip(), plain=False, name=key.strip())
        else:
            raise UnreadableError(f"{place}: this is not a systemd unit: [Section] or Key=value should stand here.")
    if logical:
        raise UnreadableError(f"{Place(path, start)}: this is half a file: the line goes on, but the file ends.")


def _words(setting: Scalar) -> list[str]:
    try:
        return shlex.split(setting.text)
    except ValueError:
        raise setting.wrong("words with their quotes closed") from None


def _options(setting: Scalar) -> list[str]:
    """The options of the command line, when it is keepserve's."""
    words = _words(setting)
    if not any("keepserve" in word for word in words):
        return []
    found = []
    for word, following in zip(words, [*words[1:], "-"], strict=True):
        if word.startswith("--"):
            apart = "=" not in word and not following.startswith("-")
            found.append(f"{word} {following} ({setting.place})" if apart else f"{word} ({setting.place})")
    return found
