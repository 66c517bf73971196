"""What the tests of processes share."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Where the server under test writes what it says."""
    return tmp_path / "log"


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """Threads for clients that wait for their answers."""
    with ThreadPoolExecutor(4) as pool:
        yield pool
