"""What is wrong with a systemd unit, and with a Compose file, beyond what ``keepserve check`` looks at.

Each fault is a sentence that names the directive, so that planted mistakes can be told apart.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

from keepserve.balancer import load
from keepserve.config import exitcodes
from keepserve.config.durations import parse_duration
from tests.deploy.pieces import unit, unit_environment


def service_faults(text: str) -> list[str]:
    """Faults of the service unit."""
    return list(_service_faults(text))


def _service_faults(text: str) -> Iterator[str]:
    directives = {name: values[-1] for name, values in unit(text).items()}
    resolution = load({}, unit_environment(text))
    yield from map(str, (*resolution.problems, *resolution.warnings))
    settings = resolution.settings

    stop = parse_duration(directives.get("TimeoutStopSec", "90"))
    if settings.stop_grace != stop:
        yield f"KEEPSERVE_STOP_GRACE is {settings.stop_grace} and TimeoutStopSec={stop:g}"
    start = parse_duration(directives.get("TimeoutStartSec", "90"))
    if start <= settings.startup_timeout:
        yield f"TimeoutStartSec={start:g} ends a startup that may take {settings.startup_timeout:g} s"
    if directives.get("Type") != "notify":
        yield "Type= is not notify: the service would count as started before it listens"
    if directives.get("ExecReload") != "/bin/kill -HUP $MAINPID":
        yield "ExecReload= does not send SIGHUP"
    if directives.get("KillMode") != "mixed":
        yield "KillMode= is not mixed: the stop signal would go to the workers as well"
    if directives.get("RestartPreventExitStatus") != str(exitcodes.SETTINGS):
        yield "RestartPreventExitStatus= is not the exit code for settings that cannot be used"
    if not 0 < parse_duration(directives.get("WatchdogSec", "0")) <= settings.worker_timeout:
        yield "WatchdogSec= is off, or lets the supervisor hang for longer than a worker may"


def compose_faults(text: str, nginx: str) -> list[str]:
    """Faults of the Compose file, and of what its NGINX configuration says about the same addresses."""
    return list(_compose_faults(yaml.safe_load(text), nginx))


def _compose_faults(document: dict[str, Any], nginx: str) -> Iterator[str]:
    services = document["services"]
    instances = [service for name, service in services.items() if name.startswith("app")]
    addresses = [service["networks"]["inside"]["ipv4_address"] for service in instances]
    proxy = services["nginx"]
    if sorted(re.findall(r"^ +server ([0-9.]+):", nginx, re.M)) != sorted(addresses):
        yield f"nginx.conf sends to other addresses than {', '.join(addresses)}"
    if any(condition.get("condition") != "service_healthy" for condition in proxy["depends_on"].values()):
        yield "depends_on: nginx starts before the instances answer"
    if set(proxy["depends_on"]) != set(services) - {"nginx"}:
        yield "depends_on: nginx does not wait for every instance"
    for service in instances:
        environment = {name: str(value) for name, value in service["environment"].items()}
        resolution = load({}, environment)
        yield from map(str, (*resolution.problems, *resolution.warnings))
        settings = resolution.settings
        # Docker kills after 10 s unless it is told otherwise.
        grace = parse_duration(service.get("stop_grace_period", "10s"))
        if settings.stop_grace != grace:
            yield f"KEEPSERVE_STOP_GRACE is {settings.stop_grace} and stop_grace_period {grace:g} s"
        if environment.get("KEEPSERVE_FORWARDED_ALLOW_IPS") != proxy["networks"]["inside"]["ipv4_address"]:
            yield "KEEPSERVE_FORWARDED_ALLOW_IPS is not the address of nginx"
