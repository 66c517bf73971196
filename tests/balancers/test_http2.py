"""Real balancers that speak HTTP/2 without TLS to the server."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.balancers.h2c import envoy, haproxy, nghttpx
from tests.balancers.reports import report_of
from tests.support.serving import eventually, serving

APP = "tests.balancers.app:app"

Balancer = Callable[[Path, int], contextlib.AbstractContextManager[int]]


@contextlib.contextmanager
def _envoy(directory: Path, backend: int) -> Iterator[int]:
    with envoy(directory, backend) as running:
        yield running.port


@pytest.mark.parametrize(
    ("name", "balancer"),
    [("HAProxy", haproxy), ("nghttpx", nghttpx), ("Envoy", _envoy)],
    ids=["haproxy", "nghttpx", "envoy"],
)
def test_mixed_load_through_h2c_gets_nothing_but_whole_200s(
    tmp_path: Path, summary: Callable[[str], None], name: str, balancer: Balancer
) -> None:
    with (
        serving(APP, "--no-access-log", directory=tmp_path / "keepserve", workers=2) as server,
        balancer(tmp_path / "balancer", server.port) as port,
    ):
        report = report_of("load", port, clients=100, seconds=5)
        log = server.stderr
    requests, backends = sum(report["kinds"].values()), report["backends"]
    ratio = requests / len(backends)
    failures = report["failures"]
    summary(
        f"{name}, h2c: {requests} mixed GET/POST from 100 clients in 5 s: {sum(failures.values())} failures; "
        f"{ratio:.1f} requests per backend connection ({len(backends)} connections, {_workers(backends)} workers)"
    )
    assert failures == {}, log
    assert "ERROR" not in log
    assert report["versions"] == {"2": requests}
    assert sum(backends.values()) == requests > 100 * 5
    assert len(report["kinds"]) == 5
    assert ratio > 20


def test_a_goaway_at_sigterm_loses_nothing_behind_envoy(tmp_path: Path, summary: Callable[[str], None]) -> None:
    """One of two servers is stopped in the middle of the load; Envoy repeats only what is safe to repeat."""
    with (
        serving(APP, directory=tmp_path / "leaving") as leaving,
        serving(APP, "--no-access-log", directory=tmp_path / "staying") as staying,
        envoy(tmp_path / "envoy", leaving.port, staying.port) as balancer,
        ThreadPoolExecutor(1) as pool,
    ):
        load = pool.submit(report_of, "load", balancer.port, clients=100, seconds=6, pause=(0.0, 0.1))
        eventually(lambda: leaving.stdout.count("\n") > 500, "the server that is to leave is busy")
        assert balancer.counters("cluster.app.")["upstream_cx_close_notify"] == 0
        leaving.send_signal(signal.SIGTERM)
        assert leaving.ended() == 0
        assert not load.done(), "the load was over before the server was"
        report = load.result()
        counters = balancer.counters("cluster.app.")
        left = leaving.stderr
    failures, requests = report["failures"], sum(report["kinds"].values())
    told, moved = counters["upstream_cx_close_notify"], counters["upstream_rq_retry"]
    summary(
        f"Envoy, h2c, one of two servers stopped under load: {requests} requests, {sum(failures.values())} failures, "
        f"{told} connections told by GOAWAY, {moved} requests given to the other server"
    )
    assert failures == {}, left
    assert report["versions"] == {"2": requests}
    assert told > 0, "Envoy was not told by GOAWAY"
    assert _workers(report["backends"]) == 2


def _workers(backends: dict[str, Any]) -> int:
    return len({connection.partition(".")[0] for connection in backends})
