"""What the whole suite shares: which tests may run side by side."""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parent

ALONE = ("apps", "balancers", "bench", "clients", "deploy", "grpc", "hostile", "process", "system")
"""Tests with processes, balancers and clocks that really run: one after the other, on one of xdist's workers.

The others, thousands that only compute, are spread over what is left.
"""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Name the group of tests that must not run beside each other; begin with them, since they take longest."""
    alone = [item for item in items if item.path.relative_to(HERE).parts[0] in ALONE]
    if config.pluginmanager.hasplugin("xdist"):
        for item in alone:
            item.add_marker(pytest.mark.xdist_group("alone"))
    kept = set(map(id, alone))
    items[:] = alone + [item for item in items if id(item) not in kept]
