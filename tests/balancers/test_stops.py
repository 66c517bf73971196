"""SIGTERM in the middle of POSTs that never pause: none is lost."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.balancers.reports import going
from tests.support.serving import serving

APP = "tests.balancers.app:app"

ROUNDS = int(os.environ.get("KEEPSERVE_DRAIN_ROUNDS", "2"))

OPTIONS = ("--no-access-log", "--drain-idle", "1", "--stop-grace", "60")


def stop_under_load(directory: Path, seed: int, workers: int, *options: str, **plan: Any) -> dict[str, Any]:
    """Stop a server at some moment of the load; what became of the requests, and the ``seconds`` the stop took."""
    with (
        serving(APP, *OPTIONS, *options, directory=directory, workers=workers) as server,
        going("lanes", server.port, seed=seed, **plan) as load,
    ):
        time.sleep(random.Random(seed).uniform(0.1, 0.4))
        server.send_signal(signal.SIGTERM)
        began = time.monotonic()
        assert server.ended() == 0, server.stderr
        seconds = time.monotonic() - began
        report = load.report()
        assert report["lost"] == {}, f"run {seed}: {report}; the log:\n{server.stderr}"
        assert report["answered"] == report["requests"], report
        assert "ERROR" not in server.stderr, server.stderr
    return report | {"seconds": seconds}


def total(reports: list[dict[str, Any]]) -> Counter[str]:
    """The numbers of all runs together."""
    names = ("requests", "reused", "connections", "told", "refused", "unheard", "closed_idle")
    return Counter({name: sum(report[name] for report in reports) for name in names})


@pytest.mark.timeout(60 + 10 * ROUNDS)
@pytest.mark.parametrize("workers", [1, 2, 4])
def test_no_post_is_lost_when_the_server_is_told_to_stop(
    tmp_path: Path, summary: Callable[[str], None], workers: int
) -> None:
    """200 lanes that POST every 50 ms; one in ten connections is new at the moment of the signal."""
    reports = [stop_under_load(tmp_path / str(number), number, workers) for number in range(ROUNDS)]
    sums = total(reports)
    summary(
        f"stand-in, SIGTERM, {workers} worker(s), {ROUNDS} stops: 0 lost of {sums['requests']} POST "
        f"({sums['reused']} on a reused connection, {sums['told']} answered with Connection: close, "
        f"{sums['refused'] + sums['unheard']} connects refused or not heard, {sums['closed_idle']} idle closed); "
        f"slowest stop {max(report['seconds'] for report in reports):.2f} s"
    )
    for report in reports:
        assert report["reused"] > 200, f"the load had hardly begun: {report}"
        assert report["told"] > 50, f"the stop met no load: {report}"
        assert report["refused"] + report["unheard"] > 0, f"the load ended before the server: {report}"
        assert report["seconds"] < 4, "nothing is left to wait for"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can stop connects before the queue is emptied")
@pytest.mark.timeout(60 + 10 * ROUNDS)
@pytest.mark.parametrize("workers", [1, 2, 4])
def test_no_connection_is_reset_that_came_about_while_the_listener_closes(
    tmp_path: Path, summary: Callable[[str], None], workers: int
) -> None:
    """Every request on a connection of its own: thousands of connects a second, at every moment of the close."""
    reports = [
        stop_under_load(tmp_path / str(number), 1000 + number, workers, renew=1.0, period=0.03)
        for number in range(ROUNDS)
    ]
    sums = total(reports)
    summary(
        f"stand-in, SIGTERM, {workers} worker(s), {ROUNDS} stops, a connection per POST: 0 lost of "
        f"{sums['requests']} ({sums['told']} accepted while the listener closed, "
        f"{sums['refused'] + sums['unheard']} connects refused or not heard)"
    )
    for report in reports:
        assert report["connections"] == report["requests"] > 500, report
        assert report["refused"] + report["unheard"] > 0, f"the load ended before the server: {report}"
        # The signal is noticed however many connections wait, and no more than these are taken (D18).
        assert report["seconds"] < 2, report


def test_a_lame_duck_says_close_to_everybody_and_loses_nothing(
    tmp_path: Path, summary: Callable[[str], None]
) -> None:
    """It still accepts for --drain-delay: every lane comes back, again and again, until connects are refused."""
    report = stop_under_load(tmp_path, 1, 2, "--drain-delay", "500ms")
    summary(
        f"stand-in, SIGTERM, 2 workers, --drain-delay 500ms: 0 lost of {report['requests']} POST "
        f"({report['told']} answered with Connection: close)"
    )
    assert report["seconds"] > 0.5
    # Ten periods long, and not the one of a stop without the delay.
    assert report["told"] > 200 * 4, report
    assert report["refused"] + report["unheard"] > 0, report
