"""Numbers worth reading, for the end of the test run."""

from __future__ import annotations

from collections.abc import Callable

import pytest

LINE = "summary line"


@pytest.fixture
def summary(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Say a line in the summary of the run, also from one of several test processes."""
    return lambda line: request.node.user_properties.append((LINE, line))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what the tests behind balancers measured."""
    lines = [
        str(value)
        for reports in terminalreporter.stats.values()
        for report in reports
        if isinstance(report, pytest.TestReport) and report.when == "call"
        for name, value in report.user_properties
        if name == LINE
    ]
    if lines:
        terminalreporter.section("behind balancers")
        for line in lines:
            terminalreporter.write_line(line)
