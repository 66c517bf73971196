"""The server finds out how long the balancer in front keeps idle connections, from those it has seen closed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.balancers.fronts import FRONTS, HEALTH, HOST, IDLE
from tests.balancers.reports import report_of
from tests.support.serving import serving

APP = "tests.balancers.app:app"

NAMES = ("nginx-h1", "envoy-h1", "alb-h1")

INFERRED = (
    r"idle timeout of the peers looks like ([0-9.]+) s \(\d+ of (?:[2-9]\d\d|\d{4,}) idle closes over HTTP/1\.1"
)
"""What the log says at the level of debug when 200 of them have been seen."""


@pytest.fixture(scope="module")
def inferred(tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    """Seconds, by balancer; all of them at once. Its clients come in waves with more than an idle timeout between."""
    directory = tmp_path_factory.mktemp("inference")
    options = (
        *("--lb-idle-timeout", f"{2 * IDLE:g}"),
        *("--keep-alive-timeout", f"{3 * IDLE:g}"),
        *("--health-path", HEALTH),
        *("--forwarded-allow-ips", HOST),
        *("--log-level", "debug"),
        "--no-access-log",
    )
    with contextlib.ExitStack() as stack:
        servers, ports = {}, {}
        for name in NAMES:
            front = next(front for front in FRONTS if front.name == name)
            servers[name] = stack.enter_context(serving(APP, *options, directory=directory / "keepserve" / name))
            backend = servers[name].port
            ports[name] = stack.enter_context(front.start(directory / name, (backend, backend)))
        with ThreadPoolExecutor(len(NAMES)) as pool:
            plan = {"clients": 100, "edge": 1.3 * IDLE, "rounds": 4}
            loads = [pool.submit(report_of, "load", port, **plan) for port in ports.values()]
            for load in loads:
                assert load.result()["failures"] == {}
        return {name: float(server.said(INFERRED)) for name, server in servers.items()}


@pytest.mark.parametrize("name", NAMES)
def test_the_idle_timeout_is_inferred_within_a_tenth(
    inferred: dict[str, float], summary: Callable[[str], None], name: str
) -> None:
    summary(f"{name}: idle timeout {IDLE:g} s, inferred {inferred[name]:g} s")
    assert inferred[name] == pytest.approx(IDLE, rel=0.1)
