"""Two servers behind a real balancer, replaced one after the other under POSTs that may not be repeated.

The clients keep their connections to the balancer and POST without a pause. Each request has one try: HAProxy is
told ``retries 0``. NGINX has no switch for exactly that: with ``proxy_next_upstream off`` it would also answer 502
when a connect is refused, where nothing was sent and the next server may safely be asked, and as its open-source
version has no active health checks, a refused connect is all that tells it of a server that is being replaced. So it
runs as deployed, with ``proxy_next_upstream error timeout``: a POST of which anything was sent is not repeated by
that (it would take ``non_idempotent``), and its access log has to say so of each request that was passed on.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.balancers.nginx import nginx, passed_on
from tests.balancers.pairs import HEALTH, Instance, haproxy, instances
from tests.balancers.reports import going
from tests.balancers.test_reloads import wait_reloaded
from tests.support.serving import eventually

APP = "tests.balancers.app:app"

ROUNDS = int(os.environ.get("KEEPSERVE_DRAIN_ROUNDS", "2"))
"""Each replaces both servers."""

OPTIONS = ("--drain-idle", "1")

CLIENTS: dict[str, Any] = {"lanes": 100, "renew": 0.0}
"""A balancer's clients keep their connections. There are fewer than the lanes of the stand-in: it works, too."""

pytestmark = pytest.mark.timeout(60 + 20 * ROUNDS)


def nothing_lost(report: dict[str, Any], logs: str) -> None:
    """Every client request was answered with a right 200, and no connection of a client was lost either."""
    assert report["lost"] == {}, f"{report}; the logs:\n{logs}"
    assert report["answered"] == report["requests"] > 1000
    assert report["refused"] == 0


def logs(pair: tuple[Instance, Instance]) -> str:
    """The ends of both logs."""
    return "\n".join(f"--- {instance.port}\n{instance.process.stderr[-3000:]}" for instance in pair)


def say(summary: Callable[[str], None], balancer: str, what: str, report: dict[str, Any], more: str = "") -> None:
    """The line of a test in the summary."""
    lost = sum(report["lost"].values())
    summary(
        f"{balancer}, two servers, {what}: {lost} lost of {report['requests']} POST from 100 clients, "
        f"slowest {report['slowest'] * 1000:.0f} ms, {len(report['workers'])} workers served{more}"
    )


def test_rolling_restarts_behind_haproxy_lose_nothing(tmp_path: Path, summary: Callable[[str], None]) -> None:
    """No second try of anything: the health check has to tell HAProxy before the listeners close."""
    options = ("--no-access-log", "--health-path", HEALTH, "--drain-delay", "1", *OPTIONS)
    with (
        instances(APP, *options, directory=tmp_path / "keepserve") as pair,
        haproxy(tmp_path / "haproxy", *(instance.port for instance in pair)) as balancer,
    ):
        balancer.wait_up()
        with going("lanes", balancer.port, **CLIENTS) as load:
            for _ in range(ROUNDS):
                for instance in pair:
                    instance.restart()
                    balancer.wait_up()
                    already = balancer.sessions()
                    eventually(lambda already=already: _more(already, balancer.sessions()), "both are in use")
            report = load.report()
        say(summary, "HAProxy, retries 0", f"{ROUNDS} rolling restarts", report)
        nothing_lost(report, logs(pair))
    assert len(report["workers"]) == 2 * 2 * (ROUNDS + 1)


def _more(before: dict[str, int], now: dict[str, int]) -> bool:
    return all(now[name] > count + 50 for name, count in before.items())


def test_rolling_reloads_behind_haproxy_lose_nothing(tmp_path: Path, summary: Callable[[str], None]) -> None:
    """The health stays what it is: no server leaves."""
    options = ("--health-path", HEALTH, *OPTIONS)
    with (
        instances(APP, *options, directory=tmp_path / "keepserve") as pair,
        haproxy(tmp_path / "haproxy", *(instance.port for instance in pair)) as balancer,
    ):
        balancer.wait_up()
        with going("lanes", balancer.port, **CLIENTS) as load:
            _reload(pair)
            states = balancer.states()
            report = load.report()
        say(summary, "HAProxy, retries 0", f"{ROUNDS} rolling reloads", report)
        nothing_lost(report, logs(pair))
        told = (tmp_path / "haproxy" / "output").read_text()
    assert set(states.values()) == {"UP"}
    assert "DOWN" not in told, told
    assert len(report["workers"]) > 2 * ROUNDS


def test_rolling_restarts_behind_nginx_lose_nothing(tmp_path: Path, summary: Callable[[str], None]) -> None:
    # NGINX comes back to a server a second after it was refused. Idle connections must not end at that very moment.
    with (
        instances(APP, "--drain-idle", "2.5", "--lb", "nginx", directory=tmp_path / "keepserve") as pair,
        nginx(tmp_path / "nginx", *(instance.port for instance in pair), refusals=True) as port,
        going("lanes", port, **CLIENTS) as load,
    ):
        for _ in range(ROUNDS):
            for instance in pair:
                instance.restart()
                # NGINX tries it again a second after it was refused.
                eventually(lambda one=instance: one.process.stdout.count("\n") > 50, "the new server is in use")
        report = load.report()
        passed, unsafe = passed_on(tmp_path / "nginx")
        say(summary, "NGINX", f"{ROUNDS} rolling restarts", report, f"; {passed} refused connects went elsewhere")
        nothing_lost(report, logs(pair))
    assert unsafe == []
    assert passed > 0, "no connect was refused: NGINX was never told of a restart"
    assert len(report["workers"]) > 2 * ROUNDS


def test_rolling_reloads_behind_nginx_lose_nothing(tmp_path: Path, summary: Callable[[str], None]) -> None:
    with (
        instances(APP, *OPTIONS, "--lb", "nginx", directory=tmp_path / "keepserve") as pair,
        nginx(tmp_path / "nginx", *(instance.port for instance in pair)) as port,
        going("lanes", port, **CLIENTS) as load,
    ):
        _reload(pair)
        report = load.report()
        passed, _ = passed_on(tmp_path / "nginx")
        say(summary, "NGINX", f"{ROUNDS} rolling reloads", report)
        nothing_lost(report, logs(pair))
    assert passed == 0, "a connect was refused, though the sockets stay"
    assert len(report["workers"]) > 2 * ROUNDS


def _reload(pair: tuple[Instance, Instance]) -> None:
    """Both in turns, each when the one before is done and its new workers have served some requests."""
    for number in range(1, ROUNDS + 1):
        for instance in pair:
            process = instance.process
            process.send_signal(signal.SIGHUP)
            wait_reloaded(process, number)
            already = process.stdout.count("\n")
            eventually(
                lambda process=process, already=already: process.stdout.count("\n") > already + 200,
                "the new workers are in use",
            )
