"""What the tests of logs share."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _untouched_logging() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in ("", "keepserve", "keepserve.access")]
    before = [(one, one.level, one.propagate, one.handlers[:], one.disabled) for one in loggers]
    yield
    for one, level, propagate, handlers, disabled in before:
        for handler in one.handlers:
            if handler not in handlers:
                handler.close()
        one.setLevel(level)
        one.propagate, one.handlers[:], one.disabled = propagate, handlers, disabled
