"""The idle timeout a worker infers from how its balancer closes, against the one that is really set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.balancers.nginx import nginx
from tests.balancers.reports import report_of
from tests.support.serving import ServerProcess, serving

APP = "tests.balancers.app:app"

CLOCKS = ("--lb-idle-timeout", "2", "--keep-alive-timeout", "3", "--no-access-log", "--log-level", "debug")

INFERRED = (
    r"idle timeout of the peers looks like ([0-9.]+) s \((?:\d+) of (?:[2-9]\d\d|\d{4,}) idle closes over HTTP/1\.1"
)
"""What the worker says when it has seen 200 idle closes."""


def inferred(server: ServerProcess) -> float:
    """The number, when it is sure."""
    return float(server.said(INFERRED))


def test_nginx_shows_its_upstream_keepalive_timeout(tmp_path: Path, summary: Callable[[str], None]) -> None:
    with (
        serving(APP, *CLOCKS, directory=tmp_path / "keepserve") as server,
        nginx(tmp_path / "nginx", server.port, idle="1s") as port,
    ):
        # All at once, so that each needs a connection; then all of them idle until NGINX lets go of them. What is
        # more than its pool holds it closes at once, which is no idle close.
        report = report_of("load", port, clients=100, edge=1.4, rounds=4)
        seconds = inferred(server)
    summary(f"NGINX, keepalive_timeout 1 s: the worker infers {seconds:.3g} s after 200 idle closes")
    assert report["failures"] == {}
    assert seconds == pytest.approx(1.0, rel=0.1)
    assert "balancer did" not in server.stderr


def test_the_stand_in_shows_its_idle_timeout(tmp_path: Path, summary: Callable[[str], None]) -> None:
    with serving(APP, *CLOCKS, directory=tmp_path) as server:
        report = report_of(
            "standin", server.port, connections=150, idle=1.0, jitter=0.02, idle_timeout=1.0, seconds=5
        )
        seconds = inferred(server)
    summary(f"stand-in, idle timeout 1 s: the worker infers {seconds:.3g} s after 200 idle closes")
    assert report["failures"] == 0, report
    assert report["dropped"] >= 200, report
    assert seconds == pytest.approx(1.0, rel=0.1)
    assert "balancer did" not in server.stderr


def test_nginx_that_waits_longer_than_we_do_is_warned_of(tmp_path: Path, summary: Callable[[str], None]) -> None:
    clocks = ("--lb-idle-timeout", "0.5", "--keep-alive-timeout", "0.7", "--no-access-log")
    with (
        serving(APP, *clocks, directory=tmp_path / "keepserve") as server,
        nginx(tmp_path / "nginx", server.port, idle="1500ms") as port,
    ):
        report_of("load", port, clients=60, edge=1.6, rounds=4)
        said = server.said(r"before the balancer did; its idle timeout looks like (\S+ \S+),")
    summary(f"NGINX, keepalive_timeout 1.5 s, ours 0.7 s: the worker says that it looks like {said}")
    assert float(said.split(" ")[0]) == pytest.approx(1.5, rel=0.1)
