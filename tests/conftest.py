"""What the whole suite shares: which tests may run side by side."""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parent

GROUPS = {
    "load": ("balancers", "bench", "deploy", "hostile"),
    "processes": ("apps", "clients", "grpc", "process", "system"),
}
"""Tests with processes, balancers and clocks that really run: those of a group come one after the other, in one of
xdist's processes. The others, thousands that only compute, are spread over whoever has time.
"""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Name the groups; begin with them, since they take longest."""
    group_of = {folder: group for group, folders in GROUPS.items() for folder in folders}
    grouped: list[pytest.Item] = []
    others: list[pytest.Item] = []
    for item in items:
        group = group_of.get(item.path.relative_to(HERE).parts[0])
        if group is None:
            others.append(item)
            continue
        grouped.append(item)
        if config.pluginmanager.hasplugin("xdist"):
            item.add_marker(pytest.mark.xdist_group(group))
    items[:] = grouped + others
