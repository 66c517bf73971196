"""Numbers worth reading, for the end of the test run."""

from __future__ import annotations

from collections.abc import Callable

import pytest

LINES = pytest.StashKey[list[str]]()


@pytest.fixture
def summary(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Say a line in the summary of the run."""
    return request.config.stash.setdefault(LINES, []).append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print what the tests behind balancers measured."""
    lines = config.stash.get(LINES, [])
    if lines:
        terminalreporter.section("behind balancers")
        for line in lines:
            terminalreporter.write_line(line)
