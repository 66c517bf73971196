"""The systemd unit and the Compose file: in order as they are, and not with a mistake planted in them."""

from __future__ import annotations

import pytest

from tests.deploy.faults import compose_faults, service_faults
from tests.deploy.pieces import COMPOSE, COMPOSE_NGINX, SERVICE, SOCKET, unit


def planted(text: str, old: str, new: str) -> str:
    assert old in text, "the planted mistake has nothing to grow on"
    return text.replace(old, new)


def test_the_service_is_in_order() -> None:
    assert service_faults(SERVICE.read_text()) == []


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("STOP_GRACE=45", "STOP_GRACE=40", "KEEPSERVE_STOP_GRACE is 40"),
        ("TimeoutStartSec=90", "TimeoutStartSec=30", "TimeoutStartSec=30"),
        ("Type=notify\n", "Type=exec\n", "Type="),
        ("-HUP $MAINPID", "-USR1 $MAINPID", "ExecReload="),
        ("KillMode=mixed", "KillMode=control-group", "KillMode="),
        ("WatchdogSec=30\n", "", "WatchdogSec="),
        ("ExitStatus=2", "ExitStatus=1", "RestartPreventExitStatus="),
        ("KEEPSERVE_WORKERS", "KEEPSERVE_WORKER", "KEEPSERVE_WORKER ("),
    ],
)
def test_a_mistake_in_the_service_is_named(old: str, new: str, named: str) -> None:
    faults = service_faults(planted(SERVICE.read_text(), old, new))
    assert any(fault.startswith(named) for fault in faults), faults


def test_the_socket_belongs_to_the_service() -> None:
    service = unit(SERVICE.read_text())
    assert SOCKET.stem == SERVICE.stem
    assert service["Requires"] == [SOCKET.name]
    assert SOCKET.name in service["After"][0].split()
    assert unit(SOCKET.read_text())["ListenStream"]


def test_the_compose_file_is_in_order() -> None:
    assert compose_faults(COMPOSE.read_text(), COMPOSE_NGINX.read_text()) == []


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("STOP_GRACE: 45s", "STOP_GRACE: 40s", "KEEPSERVE_STOP_GRACE is 40"),
        ("10.213.0.12 }", "10.213.0.13 }", "nginx.conf sends to other addresses"),
        ("ALLOW_IPS: 10.213.0.10", "ALLOW_IPS: 10.213.0.1", "KEEPSERVE_FORWARDED_ALLOW_IPS"),
        ("app2: { condition: service_healthy }", "app2: { condition: service_started }", "depends_on: nginx starts"),
        ("      app2: { condition: service_healthy }\n", "", "depends_on: nginx does not wait"),
        ("KEEPSERVE_WORKERS", "KEEPSERVE_WORKER", "KEEPSERVE_WORKER ("),
    ],
)
def test_a_mistake_in_the_compose_file_is_named(old: str, new: str, named: str) -> None:
    faults = compose_faults(planted(COMPOSE.read_text(), old, new), COMPOSE_NGINX.read_text())
    assert any(fault.startswith(named) for fault in faults), faults


def test_a_third_server_in_nginx_conf_is_named() -> None:
    text = planted(
        COMPOSE_NGINX.read_text(),
        "        server 10.213.0.12",
        "        server 10.213.0.13:8000;\n        server 10.213.0.12",
    )
    assert compose_faults(COMPOSE.read_text(), text)
