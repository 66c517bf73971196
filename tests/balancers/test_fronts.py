"""Every balancer in front of two servers: floods of mixed requests around its idle timeout, and a rolling restart.

All of them share the two servers, and one process is the clients of all. What one balancer gets is told apart by the
port, and by the addresses of its clients, which the application has to see.

``KEEPSERVE_BALANCER_SECONDS`` is how long the floods go on before the restart; ``KEEPSERVE_WRITE_RESULTS=1`` writes
the table in ``deploy/README.md``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.balancers.fronts import DELAY, FRONTS, H2, HEALTH, HOST, IDLE, Front
from tests.balancers.pairs import Instance, instances
from tests.balancers.reports import going
from tests.balancers.results import Result, write
from tests.support.serving import eventually

APP = "tests.balancers.app:app"

SECONDS = float(os.environ.get("KEEPSERVE_BALANCER_SECONDS", "3"))

OPTIONS = (
    *("--lb-idle-timeout", f"{IDLE:g}"),
    *("--keep-alive-timeout", f"{IDLE + 0.5:g}"),
    *("--health-path", HEALTH),
    *("--drain-delay", f"{DELAY:g}"),
    *("--forwarded-allow-ips", HOST),
    "--no-access-log",
)

pytestmark = pytest.mark.timeout(90 + 2 * SECONDS)


@dataclasses.dataclass
class Run:
    """What the floods through one balancer came to; ``trouble`` is why there were none, or how it ended."""

    report: dict[str, Any] = dataclasses.field(default_factory=dict)
    trouble: BaseException | None = None


@dataclasses.dataclass
class Runs:
    """All of them, by name, and what the servers' own end was: None, or what was wrong with it."""

    by_name: dict[str, Run]
    complaint: AssertionError | None = None
    seconds: float = 0.0
    """From the first flood to the last."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """All balancers at once: started, flooded, with both servers replaced, and ended."""
    directory = tmp_path_factory.mktemp("fronts")
    runs = Runs({front.name: Run() for front in FRONTS})
    try:
        with instances(APP, *OPTIONS, directory=directory / "keepserve", workers=1) as pair:
            _flood(pair, directory, runs)
    except AssertionError as complaint:
        if not any(run.report for run in runs.by_name.values()):
            raise
        runs.complaint = complaint
    if os.environ.get("KEEPSERVE_WRITE_RESULTS") == "1":
        found = [(front, runs.by_name[front.name].report) for front in FRONTS if runs.by_name[front.name].report]
        write([Result.of(front, report) for front, report in found], runs.seconds)
    return runs


def _flood(pair: tuple[Instance, Instance], directory: Path, runs: Runs) -> None:
    with (
        _started(directory, tuple(instance.port for instance in pair), runs.by_name) as ports,
        going("tides", ports=ports, idle=IDLE) as load,
    ):
        began = time.monotonic()
        time.sleep(SECONDS)
        try:
            for instance in pair:
                instance.restart()
                _wait_used(instance, set(ports))
        finally:
            for name, report in load.report().items():
                runs.by_name[name].report = report
            runs.seconds = time.monotonic() - began


@contextlib.contextmanager
def _started(directory: Path, backends: tuple[int, ...], runs: dict[str, Run]) -> Iterator[dict[str, int]]:
    """Ports by name. A balancer that is not there, or that complains at its end, is not the trouble of the others."""
    stacks = {front.name: contextlib.ExitStack() for front in FRONTS}
    ports: dict[str, int] = {}

    def start(front: Front) -> None:
        try:
            ports[front.name] = stacks[front.name].enter_context(front.start(directory / front.name, backends))
        except (pytest.skip.Exception, pytest.fail.Exception, AssertionError) as trouble:
            runs[front.name].trouble = trouble

    def end(name: str) -> None:
        try:
            stacks[name].close()
        except AssertionError as complaint:
            runs[name].trouble = complaint

    with ThreadPoolExecutor(len(FRONTS)) as pool:
        try:
            list(pool.map(start, FRONTS))
            yield {front.name: ports[front.name] for front in FRONTS if front.name in ports}
        finally:
            list(pool.map(end, stacks))


def _wait_used(instance: Instance, names: set[str]) -> None:
    """Wait until each balancer has found out that the new server is there."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def missing() -> set[str]:
        with opener.open(f"http://{HOST}:{instance.port}/seen", timeout=5) as answer:
            seen = json.load(answer)
        return {name for name in names if seen.get(name, 0) < 3}

    try:
        eventually(lambda: not missing(), "the new server is in use")
    except AssertionError as error:
        error.add_note(f"not by {', '.join(sorted(missing()))}")
        raise


def test_the_servers_have_nothing_to_complain_about(runs: Runs) -> None:
    if runs.complaint is not None:
        raise runs.complaint


@pytest.mark.parametrize("front", FRONTS, ids=lambda front: front.name)
def test_floods_at_the_idle_limit_and_a_rolling_restart_lose_nothing(
    runs: Runs, summary: Callable[[str], None], front: Front
) -> None:
    run = runs.by_name[front.name]
    if not run.report and run.trouble is not None:
        raise run.trouble
    result = Result.of(front, run.report)
    summary(
        f"{front.title}, {front.protocol}, rolling restart: {result.failures} failures in {result.requests} "
        f"requests, {result.ratio:.1f} for each of {result.connections} connections"
    )
    assert run.report["failures"] == {}
    if run.trouble is not None:
        raise run.trouble
    assert len(run.report["kinds"]) == 6
    assert set(run.report["versions"]) == ({"2"} if front.protocol == H2 else {"1.1"})
    # Two servers, both replaced.
    assert len({connection.partition(".")[0] for connection in run.report["backends"]}) == 4
    assert result.requests > 16 * SECONDS
    assert result.ratio > 1.5
