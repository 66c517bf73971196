"""The idle timeout a worker infers from how its balancer closes, against the one that is really set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.balancers.nginx import nginx
from tests.balancers.reports import report_of
from tests.support.serving import serving

APP = "tests.balancers.app:app"


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
