"""Fixtures for more than one part of the suite."""

from __future__ import annotations

import pytest

from keepserve.server import running


@pytest.fixture(params=["eager", "lazy"] if running.EAGER else ["lazy"])
def start_of_tasks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Applications start inside the read callback (Python 3.12 on), or in the next turn of the loop: test both."""
    monkeypatch.setattr(running, "EAGER", request.param == "eager")
