"""Balancers' files against our settings: everything read, everything found, and what that amounts to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from keepserve.balancer.facts import Pool, Reading, UnreadableError
from keepserve.balancer.readers import read_aws, read_balancer
from keepserve.balancer.resolution import Resolution
from keepserve.balancer.rules import Finding, Level, judge_pool, worst
from keepserve.config import exitcodes


@dataclass(frozen=True, slots=True)
class Comparison:
    """The outcome of `compare`. ``unread``: a sentence for each file that told nothing."""

    resolution: Resolution
    readings: list[Reading] = field(default_factory=list)
    judged: list[tuple[Reading, Pool, list[Finding]]] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)

    @property
    def findings(self) -> list[Finding]:
        """Every finding, in the order of the files."""
        return [finding for _, _, findings in self.judged for finding in findings]

    @property
    def complaints(self) -> list[str]:
        """What prevents a verdict: unusable settings, unreadable files."""
        return [*(str(problem) for problem in self.resolution.problems), *self.unread]

    @property
    def verdict(self) -> Level:
        """The worst of all."""
        if self.complaints:
            return Level.PROBLEM
        found = worst(self.findings)
        return Level.WARNING if found is Level.OK and self.resolution.warnings else found

    def exit_code(self, *, strict: bool) -> int:
        """0: all is well; 1: there are warnings and ``strict``; 2: problems, or something could not be read."""
        if self.verdict is Level.PROBLEM:
            return exitcodes.SETTINGS
        return exitcodes.WARNINGS if strict and self.verdict is Level.WARNING else exitcodes.OK


def compare(
    resolution: Resolution,
    paths: Sequence[str],
    *,
    kind: str | None = None,
    version: tuple[int, ...] | None = None,
    arns: Sequence[str] = (),
) -> Comparison:
    """Read files, and ask AWS about ``arns``; judge every pool found.

    ``kind`` and ``version`` are as for `read_balancer`. Never raises for a file: what cannot be read is told in
    ``unread``.
    """
    result = Comparison(resolution)
    sources = [partial(read_balancer, path, kind, version) for path in dict.fromkeys(paths)]
    for source in (*sources, *(partial(read_aws, arn) for arn in dict.fromkeys(arns))):
        try:
            reading = source()
        except UnreadableError as error:
            result.unread.append(str(error))
            continue
        result.readings.append(reading)
        if not reading.pools:
            told = " ".join(reading.notes)
            result.unread.append(
                f"{reading.path}: nothing in it sends requests to servers, so nothing was compared. {told}".strip()
            )
    pools = [(reading, pool) for reading in result.readings for pool in reading.pools]
    kinds = {pool.kind for _, pool in pools}
    for reading, pool in pools:
        findings = judge_pool(pool, kinds, resolution.settings, resolution.origins)
        result.judged.append((reading, pool, findings))
    return result
