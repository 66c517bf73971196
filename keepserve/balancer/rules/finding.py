"""A verdict of one rule about one pool, and what the rules share to reach and word it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from keepserve.balancer.facts import Fact, Place, Pool
from keepserve.balancer.remedies import remedy
from keepserve.config.conflicts import Origins, told
from keepserve.config.durations import plain_seconds
from keepserve.config.problems import DEFAULT_ORIGIN
from keepserve.config.settings import FIELDS_BY_NAME, Settings


class Level(StrEnum):
    """How bad it is. A problem loses requests; a warning costs something, or may lose some; ok is for the record."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one rule says about one pool.

    ``sentence`` is for a person. ``ours`` is the option to give keepserve, ``theirs`` the line to write on the
    balancer; either alone cures it, unless the sentence says otherwise, and both are empty when nothing has to
    change. ``place`` is the line on the balancer's side that the verdict rests on.
    """

    rule: str
    level: Level
    pool: str
    sentence: str
    ours: str = ""
    theirs: str = ""
    place: Place | None = None


class Case:
    """One pool held against one set of settings. The rules are functions of it and add to ``findings``."""

    def __init__(self, pool: Pool, settings: Settings, origins: Origins) -> None:
        self.pool = pool
        self.settings = settings
        self.origins = origins
        self.findings: list[Finding] = []

    def add(
        self,
        rule: str,
        level: Level,
        sentence: str,
        fact: Fact[object] | None = None,
        *,
        ours: str = "",
        theirs: str = "",
    ) -> None:
        """Note a verdict; its place is the fact's, or the pool's where the fact is a default."""
        place = fact.place if fact is not None and fact.place is not None else self.pool.place
        self.findings.append(Finding(rule, level, self.pool.name, sentence, ours, theirs, place))

    def ok(self, rule: str, sentence: str, fact: Fact[object] | None = None, *, ours: str = "") -> None:
        """Note that all is well; ``ours`` may still be a shorter or clearer way to say it."""
        self.add(rule, Level.OK, sentence, fact, ours=ours)

    def told(self, name: str) -> str:
        """One of our settings as messages name it: value and origin."""
        return told(name, self.settings, self.origins)

    def chosen(self, name: str) -> bool:
        """Whether a person set it, rather than keepserve or a preset."""
        return self.origins.get(name, DEFAULT_ORIGIN).chosen

    def theirs(self, what: str, fact: Fact[object] | None = None, **values: object) -> str:
        """The line to write on the balancer; the reader's own advice goes first."""
        if fact is not None and fact.remedy:
            return fact.remedy
        return remedy(self.pool.kind, what, fact, **values)


def ask(name: str, value: float | str) -> str:
    """One of our options as typed: ``--keep-alive-timeout 95``."""
    text = value if isinstance(value, str) else plain_seconds(value)
    return f"{FIELDS_BY_NAME[name].flag} {text}"
