"""Two targets of the ALB stand-in, replaced one after the other as ECS does: deregister, stop, start, register.

A target is told to stop while it is still being deregistered, and has no lame duck: the load balancer itself sends it
nothing new. What it has under way, it has to finish.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.balancers.albs import alb
from tests.balancers.fronts import HEALTH
from tests.balancers.pairs import instances
from tests.balancers.reports import going
from tests.support.serving import eventually

APP = "tests.balancers.app:app"


@pytest.mark.parametrize("protocol", ["HTTP1", "HTTP2"])
def test_a_deployment_with_deregistration_loses_nothing(
    tmp_path: Path, summary: Callable[[str], None], protocol: str
) -> None:
    options = ("--lb", "alb", "--drain-idle", "1", "--health-path", HEALTH, "--no-access-log")
    health = {"health_path": HEALTH, "health_interval": 0.1, "healthy_threshold": 2}
    with (
        instances(APP, *options, directory=tmp_path, workers=1) as pair,
        alb(*(one.port for one in pair), protocol=protocol, any_client=True, **health) as balancer,
    ):
        balancer.wait_healthy()
        with going("lanes", balancer.port, lanes=60, renew=0.0) as load:
            for instance in pair:
                name = str(instance.port)
                balancer.deregister(instance.port)
                instance.restart()
                eventually(lambda name=name: balancer.state()[name]["state"] == "unused", "the deregistration")
                balancer.register(instance.port)
                balancer.wait_healthy()
                eventually(lambda name=name: balancer.state()[name]["requests"] > 50, "the new target is in use")
            report = load.report()
        log = "\n".join(one.process.stderr for one in pair)
    summary(
        f"ALB stand-in, {protocol} targets, deregistered and replaced: {sum(report['lost'].values())} lost of "
        f"{report['requests']} POST from 60 clients, {len(report['workers'])} workers served"
    )
    assert report["lost"] == {}, log
    assert report["answered"] == report["requests"] > 500
    assert len(report["workers"]) == 4
