"""The rules that hold a balancer's own configuration against our settings.

Pure: pools and settings in, findings out, in the order a person would want to read them. No rule knows a file
format, and no reader knows a rule.
"""

from __future__ import annotations

from collections.abc import Sequence

from keepserve.balancer.facts import Pool
from keepserve.balancer.rules import agreement, connections, stopping
from keepserve.balancer.rules.finding import Case, Finding, Level
from keepserve.config.conflicts import Origins
from keepserve.config.settings import Settings

_RULES = (
    connections.keep_alive_order,
    connections.connections_kept,
    agreement.proxy_protocol,
    agreement.tls,
    agreement.protocol,
    connections.connection_limits,
    agreement.response_timeout,
    agreement.retries,
    stopping.health,
    stopping.drain,
)


def judge(pools: Sequence[Pool], settings: Settings, origins: Origins) -> list[Finding]:
    """Hold every pool against the settings. A rule says nothing about what is not known of a pool.

    ``origins`` is as `keepserve.balancer.resolve` returns it; it decides what is worth advising.
    """
    kinds = {pool.kind for pool in pools}
    return [finding for pool in pools for finding in judge_pool(pool, kinds, settings, origins)]


def judge_pool(pool: Pool, kinds: set[str], settings: Settings, origins: Origins) -> list[Finding]:
    """The findings about one pool; ``kinds``: those of all pools that were read, for the rule about ``--lb``."""
    case = Case(pool, settings, origins)
    connections.same_balancer(case, kinds)
    for rule in _RULES:
        rule(case)
    return case.findings


def worst(findings: Sequence[Finding]) -> Level:
    """The worst level among them; ok for none."""
    levels = {finding.level for finding in findings}
    return next((level for level in (Level.PROBLEM, Level.WARNING) if level in levels), Level.OK)


__all__ = ["Finding", "Level", "judge", "judge_pool", "worst"]
