"""SIGHUP in the middle of POSTs that never pause: other processes, the same answers, none lost, nothing left over."""

from __future__ import annotations

import os
import random
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.balancers.reports import going
from tests.support.processes import children, descriptors, resident_memory
from tests.support.serving import ServerProcess, eventually, serving

APP = "tests.balancers.app:app"

ROUNDS = int(os.environ.get("KEEPSERVE_DRAIN_ROUNDS", "2"))
RELOADS = int(os.environ.get("KEEPSERVE_RELOADS", "3"))

LEAK = 1024 * 1024
"""Bytes the supervisor may grow between the second reload and the last: room for an allocator's moods."""


def wait_reloaded(server: ServerProcess, number: int) -> None:
    """Wait until the ``number``-th reload is done, as the log says."""
    eventually(lambda: len(re.findall("Reloaded in", server.stderr)) >= number, f"reload {number} is done")


def reload(server: ServerProcess, number: int, workers: int) -> set[int]:
    """The ``number``-th SIGHUP; the workers when the log says that it is done and the old ones are gone."""
    before = children(server.pid)
    server.send_signal(signal.SIGHUP)
    try:
        wait_reloaded(server, number)

        def only_new() -> set[int]:
            now = children(server.pid)
            return now if len(now) == workers and not now & before else set()

        # Old workers leave when their connections have been used once more: within a period of the load.
        found: set[int] = eventually(only_new, f"{workers} new workers and no old one")
    except AssertionError as error:
        error.add_note(f"the workers: {before} before, {children(server.pid)} now; the log:\n{server.stderr[-5000:]}")
        raise
    return found


@pytest.mark.timeout(60 + 10 * RELOADS)
@pytest.mark.parametrize("workers", [1, 2, 4])
def test_no_post_is_lost_by_reloads(tmp_path: Path, summary: Callable[[str], None], workers: int) -> None:
    """Each reload begins when the one before is done: 200 lanes, POST every 50 ms, a tenth on new connections."""
    reloads = RELOADS if workers == 2 else max(3, RELOADS // 10)
    seen: set[int] = set()
    with (
        serving(APP, "--no-access-log", directory=tmp_path, workers=workers) as server,
        going("lanes", server.port) as load,
    ):
        seen |= children(server.pid)
        for number in range(1, reloads + 1):
            seen |= reload(server, number, workers)
            assert not load.over
            if number == 2:
                # By now everything has been done once that is done only once.
                held, memory = descriptors(server.pid), resident_memory(server.pid)
        report = load.report()
        left, grown = descriptors(server.pid), resident_memory(server.pid) - memory
        log = server.stderr
    summary(
        f"stand-in, SIGHUP, {workers} worker(s), {reloads} reloads: {sum(report['lost'].values())} lost of "
        f"{report['requests']} POST ({report['reused']} on a reused connection, {report['told']} answered with "
        f"Connection: close), slowest answer {report['slowest'] * 1000:.0f} ms; {len(report['workers'])} processes "
        f"served; the supervisor grew by {grown // 1024} KiB"
    )
    assert report["lost"] == {}, f"{report}; the log:\n{log[-5000:]}"
    assert report["refused"] == 0, "the listening socket was closed, or full"
    assert report["answered"] == report["requests"]
    assert report["closed_idle"] == 0, "a lane comes back before --roll-idle is over"
    assert len(seen) == workers * (reloads + 1), "a worker did not change, or ended in between"
    assert {int(pid) for pid in report["workers"]} <= seen
    assert len(report["workers"]) > reloads, "the load did not meet the new workers"
    # Fewer is well: when we counted first, a worker that left may not have been forgotten yet.
    assert all(count <= held.get(kind, 0) for kind, count in left.items()), (left, held)
    assert grown < LEAK


def test_no_post_is_lost_when_workers_are_recycled(tmp_path: Path, summary: Callable[[str], None]) -> None:
    """--max-requests: the replacement first, then the old one leaves, one at a time."""
    options = ("--no-access-log", "--max-requests", "1000")
    with (
        serving(APP, *options, directory=tmp_path, workers=2) as server,
        going("lanes", server.port) as load,
    ):
        eventually(lambda: server.stderr.count("serves in its place") >= 6, "six workers have been replaced")
        report = load.report()
        log = server.stderr
    summary(
        f"stand-in, --max-requests 1000, 2 workers: {sum(report['lost'].values())} lost of {report['requests']} "
        f"POST, {len(report['workers'])} processes served"
    )
    assert report["lost"] == {}, f"{report}; the log:\n{log[-5000:]}"
    assert report["refused"] == report["closed_idle"] == 0, report
    assert "ERROR" not in log, log


def test_no_post_is_lost_when_a_worker_is_told_to_end_by_itself(tmp_path: Path) -> None:
    """SIGTERM to a worker and not to the supervisor, as some tools do: the others have its accept queue."""
    with (
        serving(APP, "--no-access-log", directory=tmp_path, workers=2) as server,
        going("lanes", server.port) as load,
    ):
        for _ in range(3):
            before = children(server.pid)
            os.kill(min(before), signal.SIGTERM)

            def replaced(before: set[int] = before) -> bool:
                now = children(server.pid)
                return len(now) == 2 and min(before) not in now

            eventually(replaced, "another one is there in its place")
        report = load.report()
        log = server.stderr
    assert report["lost"] == {}, f"{report}; the log:\n{log[-5000:]}"
    assert report["refused"] == 0, report


@pytest.mark.timeout(60 + 10 * ROUNDS)
def test_no_post_is_lost_by_a_stop_in_the_middle_of_a_reload(tmp_path: Path, summary: Callable[[str], None]) -> None:
    """Old workers that leave, new ones that have just begun, some that have not: all are stopped."""
    requests = told = 0
    for number in range(ROUNDS):
        with (
            serving(
                APP, "--no-access-log", "--drain-idle", "1", directory=tmp_path / str(number), workers=2
            ) as server,
            going("lanes", server.port, seed=number) as load,
        ):
            server.send_signal(signal.SIGHUP)
            time.sleep(random.Random(number).uniform(0.0, 0.5))
            server.send_signal(signal.SIGTERM)
            assert server.ended() == 0, server.stderr
            report = load.report()
            assert report["lost"] == {}, f"round {number}: {report}; the log:\n{server.stderr[-5000:]}"
            assert report["refused"] + report["unheard"] > 0, "the load was over before the server"
            requests += report["requests"]
            told += report["told"]
    summary(
        f"stand-in, SIGTERM within a reload, 2 workers, {ROUNDS} times: 0 lost of {requests} POST "
        f"({told} answered with Connection: close)"
    )
