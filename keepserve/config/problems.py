"""What can be wrong with settings, and where a value came from: the words of every settings message."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class OriginKind(StrEnum):
    """The kinds of places a value can come from, weakest first."""

    DEFAULT = "default"
    DERIVED = "derived"
    PRESET = "preset"
    FILE = "file"
    ENV = "env"
    FLAG = "flag"
    ARGUMENT = "argument"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where one setting's value came from.

    ``detail`` is what a person would look for: the preset's name, the variable, ``path:line``, the flag,
    or for a derived value the sum it was computed by. ``str()`` gives ``env KEEPSERVE_PORT``.
    ``argument`` is the application on the command line, or a keyword argument in Python.
    """

    kind: OriginKind
    detail: str = ""

    def __str__(self) -> str:
        if self.kind is OriginKind.DERIVED:
            return f"= {self.detail}"
        return f"{self.kind} {self.detail}" if self.detail else str(self.kind)

    @property
    def chosen(self) -> bool:
        """True when a person set this value, rather than keepserve or a preset."""
        return self.kind not in (OriginKind.DEFAULT, OriginKind.DERIVED, OriginKind.PRESET)


DEFAULT_ORIGIN = Origin(OriginKind.DEFAULT)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong (or, as a warning, doubtful) with the settings.

    ``message`` is a whole sentence or several: what was expected, what was found, what to set.
    ``settings`` names the fields of ``Settings`` it is about, so that tools can point at them.
    """

    message: str
    settings: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.message


class ConfigError(Exception):
    """The settings cannot be used. Carries every problem found; ``str()`` is one printable message.

    Raised for bad values, a broken ordering law and unusable certificates; the command ends with exit
    code 2 (`exitcodes.SETTINGS`) and has bound nothing. Accepts a sentence or a sequence of problems.
    """

    problems: tuple[Problem, ...]

    def __init__(self, problems: str | Problem | Sequence[Problem]) -> None:
        if isinstance(problems, str):
            problems = (Problem(problems),)
        elif isinstance(problems, Problem):
            problems = (problems,)
        self.problems = tuple(problems)
        super().__init__(self.problems)

    def __str__(self) -> str:
        if len(self.problems) == 1:
            return self.problems[0].message
        lines = [f"{len(self.problems)} settings problems:"]
        for number, problem in enumerate(self.problems, 1):
            lines.append(f"  {number}. " + problem.message.replace("\n", "\n     "))
        return "\n".join(lines)
