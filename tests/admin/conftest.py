"""What the tests of the live page share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.admin.browser import Browser, chromium


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One Chromium for all; every test has a context of its own in it."""
    with chromium(tmp_path_factory.mktemp("chromium") / "profile") as running:
        yield running
