"""What the whole suite shares: the order of its tests, and what stays together when several processes run it."""

from __future__ import annotations

import gc
import signal
from typing import Any

import pytest

from tests.shares import Shares, shares


def pytest_configure() -> None:
    """A shell that starts us in the background has us ignore SIGINT; whatever we start would ignore it, too."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Deal out the tests that compute among those that wait."""
    items[:] = [item for share in shares(items, lambda item: item.nodeid) for item in share]


def pytest_collection_finish() -> None:
    """Spare the collector what stays until the end: all modules and 9,000 tests, at each of its full rounds."""
    gc.collect()
    gc.freeze()


# Groups by mark, --dist loadgroup, are silently lost between pytest 9.2 and xdist 3.8: pytest-dev/pytest-xdist#1386.
@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """With ``-n``: a module whose fixtures start servers is run by one process, whatever ``--dist`` says."""
    config.option.loadscopereorder = False  # it would begin with the shares of the most tests
    return Shares(config, log)
