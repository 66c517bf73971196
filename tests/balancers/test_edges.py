"""Connections used at the moment that one side or the other lets them go, over a wire that takes 0.1 s each way.

A server's FIN is on such a wire for 0.1 s, and so is a request: for 0.2 s a request goes to a connection that is
closed when it arrives. That is as long as the steps in which keepserve looks for connections to close, so that the
moment is not missed.

The same load twice: with keepserve's clocks in order nobody loses anything, and with its keep-alive timeout below the
balancer's idle timeout some requests are lost. So the first of the two can fail.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.balancers.fronts import FRONTS, HEALTH, IDLE
from tests.balancers.nginx import nginx
from tests.balancers.reports import going, report_of
from tests.support.programs import free_port
from tests.support.serving import serving

APP = "tests.balancers.app:app"

CLOCKS = {
    "in order": ("--lb-idle-timeout", f"{IDLE:g}", "--keep-alive-timeout", f"{IDLE + 0.5:g}"),
    # The law refuses such clocks, so the server is told of another balancer. A tick decides when it closes: 0.8 to
    # 1.0 s after the last response.
    "out of order": ("--lb-idle-timeout", "0.5", "--keep-alive-timeout", "0.8"),
}

WIRE = 0.1

LOAD: dict[str, Any] = {"clients": 60, "edge": 0.9, "jitter": 0.12, "rounds": 3}
"""So connections rest for 0.8 s to 1 s: up to the moment the balancer lets them go, and a bit longer."""


@dataclasses.dataclass(frozen=True)
class Case:
    """A balancer and one of the ``CLOCKS``."""

    name: str
    clocks: str


CASES = [Case(name, clocks) for name in ("nginx-h1", "alb-h1") for clocks in CLOCKS]


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[Case, dict[str, Any]]:
    """What each load came to; all of them at once."""
    directory = tmp_path_factory.mktemp("edges")
    with contextlib.ExitStack() as stack:
        wires, ports = {}, {}
        for clocks, options in CLOCKS.items():
            options = (*options, "--health-path", HEALTH, "--no-access-log")
            server = stack.enter_context(serving(APP, *options, directory=directory / clocks))
            wires[clocks] = free_port()
            ports[str(wires[clocks])] = server.port
        stack.enter_context(going("wire", ports=ports, delay=WIRE))
        running = {}
        for case in CASES:
            place = directory / f"{case.name} {case.clocks}".replace(" ", "-")
            running[case] = stack.enter_context(_started(place, case, wires[case.clocks]))
        with ThreadPoolExecutor(len(CASES)) as pool:
            loads = {case: pool.submit(report_of, "load", port, **LOAD) for case, port in running.items()}
            return {case: load.result() for case, load in loads.items()}


def _started(directory: Path, case: Case, backend: int) -> contextlib.AbstractContextManager[int]:
    if case.name == "nginx-h1":
        # What it says of the requests it lost.
        expected = ("prematurely closed", "reset by peer") if case.clocks == "out of order" else ()
        return nginx(directory, backend, idle=f"{IDLE:g}s", expected=expected)
    front = next(front for front in FRONTS if front.name == case.name)
    return front.start(directory, (backend, backend))


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.name} {case.clocks}")
def test_the_edge_is_harmless_exactly_when_the_clocks_are_in_order(
    reports: dict[Case, dict[str, Any]], summary: Callable[[str], None], case: Case
) -> None:
    report = reports[case]
    requests, failures = sum(report["kinds"].values()), sum(report["failures"].values())
    connections = len(report["backends"])
    summary(
        f"{case.name}, {WIRE:g} s away, clocks {case.clocks}: {failures} of {requests} POST at the idle limit "
        f"failed, {connections} connections"
    )
    assert requests == 60 * 3
    # Some were reused, some were not: the limit was met.
    assert 20 < connections < requests
    if case.clocks == "in order":
        assert report["failures"] == {}
    else:
        assert failures > 0
        assert set(report["failures"]) == {"POST slow: status 502"}
