"""Fixtures for more than one part of the suite."""

from __future__ import annotations

import pytest

from keepserve.server import connection


@pytest.fixture(params=["eager", "lazy"] if connection.EAGER else ["lazy"])
def start_of_tasks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Applications start inside the read callback (Python 3.12 on), or in the next turn of the loop: test both."""
    monkeypatch.setattr(connection, "EAGER", request.param == "eager")
