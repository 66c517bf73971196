"""The service in both HTTP/2 engines, and channels to it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest

from tests.support.serving import ServerProcess, serving

APP = "tests.grpc.app:app"
SERVICE = "/keepserve.test/"

PATIENCE = 10.0
"""Seconds; only a test that fails uses them up."""

BODY_TIMEOUT = 0.4
"""Seconds that an ordinary request body may pause."""


@pytest.fixture(scope="package", params=["native", "h2"])
def engine(request: pytest.FixtureRequest) -> str:
    """The HTTP/2 engine."""
    return str(request.param)


@pytest.fixture(scope="package")
def server(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """The service."""
    options = ("--http2", engine, "--body-timeout", str(BODY_TIMEOUT))
    with serving(APP, *options, directory=tmp_path_factory.mktemp(engine)) as running:
        yield running


def dial(port: int) -> grpc.Channel:
    """A channel with a connection of its own, which it does not share with other channels."""
    options = [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
    return grpc.insecure_channel(f"127.0.0.1:{port}", options=options)


@pytest.fixture
def channel(server: ServerProcess) -> Iterator[grpc.Channel]:
    """A channel to it."""
    with dial(server.port) as channel:
        yield channel


@pytest.fixture
def ask(channel: grpc.Channel) -> Callable[[str, bytes], bytes]:
    """A call with one message each way."""
    return lambda method, message: channel.unary_unary(SERVICE + method)(message, timeout=PATIENCE)


@pytest.fixture
def seen(ask: Callable[[str, bytes], bytes]) -> Callable[[str], dict[str, Any]]:
    """What the application says of the calls of a name; asked on the same connection."""
    return lambda name: json.loads(ask("Seen", name.encode()))
