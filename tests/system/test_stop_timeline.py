"""What ``keepserve check`` draws of a stop is what a stop does, and what the log says of it is what was measured."""

from __future__ import annotations

import contextlib
import datetime
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from keepserve.config.durations import parse_duration
from tests.support.serving import ROOT, ServerProcess, clean_environment, eventually, serving
from tests.system.client import RawClient

APP = "tests.system.stubborn:app"

PHASES = {
    "--drain-delay": 0.4,
    "--drain-idle": 0.2,
    "--drain-timeout": 0.6,
    "--drain-cancel": 0.3,
    "--shutdown-timeout": 0.3,
}
OPTIONS = [word for option, seconds in PHASES.items() for word in (option, str(seconds))]

LATE = 0.35
"""Seconds a phase may begin late on a loaded machine: one timer of an event loop with nothing to do."""

EARLY = 0.003
"""The log's clock has milliseconds, and the two processes that write it cut them off."""


def drawn(*options: str) -> tuple[dict[str, float], float]:
    """What ``keepserve check`` says of a stop: the length of each bar by its label, and the latest end."""
    done = subprocess.run(
        [sys.executable, "-m", "keepserve", "check", APP, *options],
        cwd=ROOT,
        env=clean_environment(PYTHONIOENCODING="utf-8"),
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=True,
        timeout=20,
    )
    picture = done.stdout.partition("A stop, in seconds since the signal\n")[2]
    bars = re.findall(r"^  (\w[\w ]*?) +├─*┤ +([\d.]+ m?s)  ", picture, re.MULTILINE)
    latest = re.search(r"ends after ([\d.]+ m?s) at the latest", picture)
    assert latest, picture
    return {label: parse_duration(length) for label, length in bars}, parse_duration(latest[1])


def moment(log: str, pattern: str) -> float:
    """When the log said this, in seconds of the wall clock."""
    found = re.search(rf"^(\S+ \S+) \w+ +\[\d+\] {pattern}", log, re.MULTILINE)
    assert found, f"{pattern} is not in the log:\n{log}"
    return datetime.datetime.fromisoformat(found[1]).timestamp()


def fits(measured: float, expected: float, what: str) -> None:
    """Never early, and hardly late."""
    assert expected - EARLY <= measured < expected + LATE, f"{what}: {measured:.3f} s instead of {expected:g} s"


@contextlib.contextmanager
def with_a_request_that_never_ends(directory: Path) -> Iterator[ServerProcess]:
    """A server with the times above and this one request."""
    with serving(APP, *OPTIONS, "--no-access-log", directory=directory) as server, RawClient(server.port) as client:
        client.get("/never")
        eventually(lambda: "begun" in server.stdout, "the request runs")
        yield server


def test_the_timeline_names_every_phase_and_their_sum() -> None:
    bars, latest = drawn(*OPTIONS)
    assert bars == {"lame duck": 0.4, "idle": 0.2, "requests": 0.6, "cancelled": 0.3, "shutdown": 0.3}
    assert latest == pytest.approx(1.6)


def test_each_phase_begins_when_the_timeline_says(tmp_path: Path) -> None:
    bars, latest = drawn(*OPTIONS)
    with with_a_request_that_never_ends(tmp_path) as server:
        began = time.monotonic()
        server.send_signal(signal.SIGTERM)
        code = server.ended()
        lasted = time.monotonic() - began
    log = server.stderr
    signalled = moment(log, "SIGTERM: stopping gracefully, within 1.6 s")
    lame = moment(log, "Stopping: lame duck for 400 ms")
    closing = moment(log, "Stopping: .* closing, 600 ms at most")
    limit = moment(log, "Stopping: limit; 1 requests still run, and have 300 ms to clean up")
    stopped = moment(log, "Stopped in ")
    hangs = moment(log, "The application's lifespan shutdown took longer than 0.3 s")
    # Each against the one before, so that a late one is counted once.
    fits(lame - signalled, 0.0, "from the signal to the lame duck")
    fits(closing - lame, bars["lame duck"], "the lame duck")
    fits(limit - closing, bars["requests"], "the time for requests")
    fits(stopped - limit, bars["cancelled"], "the time to clean up")
    fits(hangs - stopped, bars["shutdown"], "the application's shutdown")
    assert server.stdout.startswith("begun\ncancelled\n")
    # Once more for the end of the processes themselves.
    assert latest - EARLY <= lasted < latest + LATE, f"{lasted:.3f} s instead of {latest:g} s; the log:\n{log}"
    assert code == 0, log


def test_the_sentence_says_what_became_of_everybody(tmp_path: Path) -> None:
    """One leaves by itself, one asks once more, one is idle to the end of its grace, one is never answered."""
    bars, _ = drawn(*OPTIONS)
    with (
        with_a_request_that_never_ends(tmp_path) as server,
        RawClient(server.port) as leaves,
        RawClient(server.port) as asks,
        RawClient(server.port) as idle,
    ):
        for client in (leaves, asks, idle):
            assert client.asks("/").status == 200
        server.send_signal(signal.SIGTERM)
        server.said("lame duck")
        leaves.sock.close()
        assert asks.asks("/").fields["connection"] == "close"
        assert asks.at_end()
        asks.sock.close()
        assert idle.at_end()
        at_end = time.time()
        idle.sock.close()
        assert server.ended() == 0
    log = server.stderr
    fits(at_end - moment(log, "Stopping: .* closing"), bars["idle"], "the grace of an idle connection")
    seconds, finished, cut, by_peer, by_us = re.findall(
        r"Stopped in (.+) s: (\d+) requests finished, (\d+) cut; (\d+) connections closed by the peer, (\d+) by us",
        log,
    )[0]
    assert (finished, cut, by_peer, by_us) == ("1", "1", "1", "3"), log
    assert float(seconds) == pytest.approx(moment(log, "Stopped in ") - moment(log, "Stopping: lame duck"), abs=0.06)


def test_without_anything_to_wait_for_only_the_lame_duck_and_the_shutdown_take_time(tmp_path: Path) -> None:
    """The timeline is about the latest end; it ends early as soon as nothing is left."""
    with serving("tests.system.app:app", *OPTIONS, directory=tmp_path) as server:
        began = time.monotonic()
        server.send_signal(signal.SIGTERM)
        server.said("lame duck")
        # It still accepts, and says goodbye.
        with RawClient(server.port) as client:
            assert client.asks("/number/-").fields["connection"] == "close"
        assert server.ended() == 0
        lasted = time.monotonic() - began
    assert PHASES["--drain-delay"] <= lasted < PHASES["--drain-delay"] + 2 * LATE
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port), timeout=5).close()
