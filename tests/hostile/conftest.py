"""Both engines for every test that asks for one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from tests.http2.peer import ENGINE_NAMES, Peer

Connect = Callable[..., Peer]
"""Makes a connection; its arguments are those of ``Peer`` behind the engine's name."""


@pytest.fixture(params=ENGINE_NAMES)
def engine(request: pytest.FixtureRequest) -> str:
    """The name of an engine."""
    return str(request.param)


@pytest.fixture
def connect(engine: str) -> Connect:
    """A client's end of a new connection."""
    return partial(Peer, engine)
