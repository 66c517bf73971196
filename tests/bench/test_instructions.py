"""The core paths cost no more instructions than they did: counted, not timed."""

from __future__ import annotations

import platform

import pytest

from tests.bench.instructions import PATHS, SLACK, VERSION, count, regressions, stored
from tests.support.tools import find_tool

KEPT = stored()


def test_there_are_figures_for_every_path_and_version() -> None:
    assert {version.rpartition(".")[0] for version in KEPT} == {"3.11", "3.12", "3.13"}
    assert all(set(figures) == set(PATHS) for figures in KEPT.values())


def test_a_path_that_has_become_dearer_is_named() -> None:
    kept = dict.fromkeys(PATHS, 2.0)
    name = next(iter(PATHS))
    assert regressions(kept, kept) == []
    assert regressions(kept | {name: 2.0 * (1 + SLACK) - 0.001}, kept) == []
    (sentence,) = regressions(kept | {name: 2.2}, kept)
    assert sentence.startswith(f"{name}: 2.200 instead of 2.000, +10.0%.")


@pytest.mark.timeout(300)
@pytest.mark.skipif(VERSION not in KEPT, reason=f"no figures are kept for CPython {VERSION}")
@pytest.mark.skipif(platform.machine() != "x86_64", reason="the figures are of x86-64")
def test_no_path_has_become_dearer() -> None:
    find_tool("valgrind", "valgrind")
    assert not regressions(count(), KEPT[VERSION])
