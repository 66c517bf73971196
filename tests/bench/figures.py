"""Figures and what they say: medians with their spread, ratios round by round, ranks, and goals."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

OURS = "keepserve"
LIMITS = ("bare",)
"""What is no server: measured, but nobody is compared with it unless a goal says so."""
VARIANTS = ("keepserve-h2",)
"""Ourselves with another part: no peer either."""
FASTEST = "fastest peer"


@dataclass(frozen=True)
class Spread:
    """A median, and the least and the most."""

    median: float
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    """The spread of at least one value."""
    return Spread(statistics.median(values), min(values), max(values))


@dataclass(frozen=True)
class Goal:
    """What is to be reached: ``bound`` times as good as ``against``, a server or ``FASTEST``.

    With an empty ``against`` it is a bound on the figure itself.
    """

    bound: float
    against: str = FASTEST


@dataclass
class Entry:
    """A server in a table: its figures round by round, how busy it was (CPUs), or why it has no rank.

    ``problem`` is set by an error or a wrong answer, ``absent`` when there was nothing to measure.
    """

    server: str
    values: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)
    problem: str = ""
    absent: str = ""

    @property
    def ranked(self) -> bool:
        """Whether its figures count."""
        return bool(self.values) and not self.problem and not self.absent


@dataclass
class Table:
    """What a scenario found. ``more``: a greater figure is better. ``family`` and ``point`` place it on a curve."""

    name: str
    title: str
    unit: str
    more: bool = True
    goals: tuple[Goal, ...] = ()
    family: str = ""
    point: float = 0.0
    entries: list[Entry] = field(default_factory=list)

    def entry(self, server: str) -> Entry | None:
        """The entry of a server, if it is ranked."""
        return next((entry for entry in self.entries if entry.server == server and entry.ranked), None)

    @property
    def ranking(self) -> list[Entry]:
        """The best first; who erred is not among them."""
        ranked = [entry for entry in self.entries if entry.ranked]
        return sorted(ranked, key=lambda entry: spread(entry.values).median, reverse=self.more)

    @property
    def fastest_peer(self) -> Entry | None:
        """The best that is neither ours nor a limit."""
        others = (OURS, *LIMITS, *VARIANTS)
        return next((entry for entry in self.ranking if entry.server not in others), None)

    def ours_to(self, other: Entry) -> Spread | None:
        """How many times as good as another we are, round by round."""
        ours = self.entry(OURS)
        return None if ours is None else spread(ratios(ours.values, other.values, more=self.more))


def ratios(ours: Sequence[float], theirs: Sequence[float], *, more: bool) -> list[float]:
    """How many times as good ours are, round by round: above 1 is better, whichever direction better is.

    A figure of nothing (idle for the clock's resolution) counts as the smallest that can be told from it.
    """
    pairs = [(max(our, 1e-9), max(their, 1e-9)) for our, their in zip(ours, theirs, strict=False)]
    return [our / their if more else their / our for our, their in pairs]


def per_cpu(entry: Entry) -> list[float]:
    """Figures for each second of the server's own CPU time: what neighbours on the machine disturb least."""
    return [value / busy for value, busy in zip(entry.values, entry.busy, strict=True) if busy > 0] or [0.0]


@dataclass(frozen=True)
class Verdict:
    """A goal and what was found. ``reached`` is by the median; ``against`` names the server it was compared with."""

    goal: Goal
    found: Spread
    reached: bool
    against: str


def judge_goals(table: Table) -> list[Verdict]:
    """Compare a table with its goals; those that nothing was measured for are left out."""
    verdicts = []
    ours = table.entry(OURS)
    for goal in table.goals:
        if ours is None:
            continue
        if not goal.against:
            found = spread(ours.values)
            reached = found.median >= goal.bound if table.more else found.median <= goal.bound
            verdicts.append(Verdict(goal, found, reached, ""))
            continue
        other = table.fastest_peer if goal.against == FASTEST else table.entry(goal.against)
        if other is not None:
            found = spread(ratios(ours.values, other.values, more=table.more))
            verdicts.append(Verdict(goal, found, found.median >= goal.bound, other.server))
    return verdicts


def growth(tables: Sequence[Table], server: str) -> float | None:
    """How many times its first figure the last one of a family is, or ``None`` if either is missing."""
    ordered = sorted(tables, key=lambda table: table.point)
    first, last = ordered[0].entry(server), ordered[-1].entry(server)
    if first is None or last is None:
        return None
    start = spread(first.values).median
    return spread(last.values).median / start if start else None


def shown(value: float) -> str:
    """A figure with as many digits as it can bear."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
