"""Real NGINX in front, with the configuration people are told to deploy."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.balancers.nginx import adapted, arguments, nginx
from tests.balancers.reports import report_of
from tests.support.serving import serving
from tests.support.tools import find_tool

APP = "tests.balancers.app:app"


def test_mixed_load_through_nginx_gets_nothing_but_whole_200s(tmp_path: Path, summary: Callable[[str], None]) -> None:
    with (
        serving(APP, "--lb", "nginx", "--no-access-log", directory=tmp_path / "keepserve", workers=2) as server,
        nginx(tmp_path / "nginx", server.port) as port,
    ):
        report = report_of("load", port, clients=200, seconds=5)
    requests, backends = sum(report["kinds"].values()), report["backends"]
    workers = {name.partition(".")[0] for name in backends}
    ratio = requests / len(backends)
    summary(
        f"NGINX: {requests} mixed GET/POST from 200 clients in 5 s: {sum(report['failures'].values())} failures; "
        f"{ratio:.1f} requests per backend connection ({len(backends)} connections, {len(workers)} workers)"
    )
    assert report["failures"] == {}
    assert sum(backends.values()) == requests > 200 * 5
    assert len(report["kinds"]) == 5
    assert "none" not in backends
    # What the configuration is for: without its three lines it is 1. Clients of a busy machine come in bursts, and at
    # times more connections are idle than NGINX keeps; otherwise it is far above 20.
    assert ratio > 5


def test_nginx_that_reuses_connections_at_its_idle_limit_answers_no_502(
    tmp_path: Path, summary: Callable[[str], None]
) -> None:
    clocks = ("--lb", "nginx", "--lb-idle-timeout", "1", "--keep-alive-timeout", "1.5")
    with (
        serving(APP, *clocks, "--no-access-log", directory=tmp_path / "keepserve") as server,
        nginx(tmp_path / "nginx", server.port, idle="1s") as port,
    ):
        report = report_of("load", port, clients=60, edge=1.0, rounds=4)
    requests, backends = sum(report["kinds"].values()), report["backends"]
    summary(
        f"NGINX, idle limit 1 s, POST after 1.0 s: {requests} requests, {sum(report['failures'].values())} failures, "
        f"{len(backends)} backend connections"
    )
    assert report["failures"] == {}
    assert sum(backends.values()) == requests == 240
    # Not all were reused, not all were new: the limit was met.
    assert 60 < len(backends) < 240


def test_the_deployed_configuration_is_complete(tmp_path: Path) -> None:
    (tmp_path / "nginx.conf").write_text(adapted(tmp_path, 1, 2))
    done = subprocess.run(
        [*arguments(find_tool("nginx", "nginx-light"), tmp_path), "-t"],
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "[warn]" not in done.stderr


def test_without_a_program_its_tests_are_skipped_or_fail_where_required(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("shutil.which", lambda name, path=None: None)
    monkeypatch.delenv("KEEPSERVE_REQUIRE_BALANCERS", raising=False)
    with pytest.raises(pytest.skip.Exception, match="nginx-light"):
        find_tool("nginx", "nginx-light")
    monkeypatch.setenv("KEEPSERVE_REQUIRE_BALANCERS", "1")
    with pytest.raises(pytest.fail.Exception, match="nginx-light"):
        find_tool("nginx", "nginx-light")
