"""Zero resets with the clocks in order, and resets without: the promise of the project, and its proof."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.balancers.reports import report_of
from tests.support.serving import serving

APP = "tests.balancers.app:app"


def test_a_balancer_that_reuses_at_its_very_limit_sees_no_reset(
    tmp_path: Path, summary: Callable[[str], None]
) -> None:
    clocks = ("--lb", "alb", "--lb-idle-timeout", "1", "--keep-alive-timeout", "1.5")
    with serving(APP, *clocks, "--no-access-log", directory=tmp_path) as server:
        assert "only 500 ms longer than lb_idle_timeout" in server.stderr  # a margin this thin is a warning
        report = report_of(
            "standin", server.port, connections=400, idle=1.0, jitter=0.004, idle_timeout=1.0, seconds=8
        )
    summary(
        f"stand-in: {report['requests']} POST on 400 connections after 1.0 s ± 4 ms for 8 s: {report['failures']} "
        f"failures ({report['reused']} reused, {report['dropped']} dropped by the balancer, "
        f"{report['closed_in_time']} closed by the server first)"
    )
    assert report["failures"] == 0, report
    assert report["closed_in_time"] == 0, f"keepserve closed before the balancer did: {report}"
    assert report["answered"] == report["requests"] > 400 * 5
    assert report["reused"] > 400, f"too few connections were reused to prove anything: {report}"
    assert report["dropped"] > 400, f"the balancer has to drop connections, too: {report}"


def test_the_same_balancer_sees_resets_when_the_server_closes_first(
    tmp_path: Path, summary: Callable[[str], None]
) -> None:
    """The test above can fail. The law refuses such clocks, so the server is told of another balancer.

    It closes 0.8 to 1.0 s after the last response: a tick decides when. So connections are reused at every
    moment of that time, not at the end of it only.
    """
    clocks = ("--lb-idle-timeout", "0.5", "--keep-alive-timeout", "0.8")
    with serving(APP, *clocks, "--no-access-log", directory=tmp_path) as server:
        report = report_of(
            "standin", server.port, connections=400, idle=0.9, jitter=0.1, idle_timeout=1.0, seconds=15, enough=3
        )
    summary(f"stand-in, keep-alive below the balancer's: {report['failures']} of {report['requests']} failed")
    assert report["failures"] > 0, report
    assert report["wrong_body"] == report["not_200"] == 0, report
