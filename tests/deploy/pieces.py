"""The pieces of deploy/: their files, and the settings keepserve runs with behind each.

The settings are read where people read them: for a balancer's file the options in the table of deploy/README.md, for
files that start keepserve themselves the environment they give it.
"""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from click.testing import CliRunner, Result

from keepserve.balancer import load
from keepserve.balancer.facts import Pool
from keepserve.balancer.readers import read_balancer
from keepserve.cli import main
from keepserve.config.settings import FIELDS_BY_NAME, Settings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
README = DEPLOY / "README.md"

NGINX = DEPLOY / "nginx" / "nginx.conf"
HAPROXY = DEPLOY / "haproxy" / "haproxy.cfg"
ENVOY = DEPLOY / "envoy" / "envoy.yaml"
TRAEFIK = DEPLOY / "traefik" / "dynamic" / "keepserve.yaml"
CADDY = DEPLOY / "caddy" / "Caddyfile"
AWS = DEPLOY / "aws" / "keepserve.yaml"
KUBERNETES = DEPLOY / "kubernetes" / "keepserve.yaml"
COMPOSE = DEPLOY / "compose" / "compose.yaml"
COMPOSE_NGINX = DEPLOY / "compose" / "nginx.conf"
SERVICE = DEPLOY / "systemd" / "app.service"
SOCKET = DEPLOY / "systemd" / "app.socket"

CHECKED = (NGINX, HAPROXY, ENVOY, TRAEFIK, CADDY, AWS, KUBERNETES, COMPOSE, COMPOSE_NGINX, SERVICE)
"""What ``keepserve check --balancer`` reads."""

FLAGS = {field.flag: name for name, field in FIELDS_BY_NAME.items()}
"""Settings by their option."""


@dataclass(frozen=True, slots=True)
class Setup:
    """How keepserve is started behind a file: options typed, or variables set."""

    options: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()

    @property
    def variables(self) -> dict[str, str]:
        """Both as an environment."""
        pairs = dict(zip(self.options[::2], self.options[1::2], strict=True))
        return {**{variable(flag): value for flag, value in pairs.items()}, **dict(self.environment)}

    @property
    def settings(self) -> Settings:
        """What keepserve makes of it; it must be usable without a warning."""
        resolution = load({}, self.variables)
        assert not resolution.problems, [str(one) for one in resolution.problems]
        assert not resolution.warnings, [str(one) for one in resolution.warnings]
        return resolution.settings


def variable(flag: str) -> str:
    """The environment variable of an option; it must be one of keepserve's."""
    return f"KEEPSERVE_{FLAGS[flag].upper()}"


def table() -> dict[str, tuple[str, ...]]:
    """The options in the README's first table, by the file they are for (relative to deploy/)."""
    found = {}
    for line in README.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        link = re.search(r"\]\(([^)]+)\)", cells[1]) if line.startswith("| ") and len(cells) == 3 else None
        if link is not None and cells[2].startswith("`--"):
            found[link[1]] = tuple(shlex.split(cells[2].strip("`")))
    return found


def setup(file: Path, text: str | None = None) -> Setup:
    """How keepserve is started behind ``file``; ``text`` stands for a changed copy of it."""
    if file == AWS:
        return Setup(environment=pairs(template_environment(text or file.read_text())))
    if file == KUBERNETES:
        return Setup(environment=pairs(pod_environment(text or file.read_text())))
    if file == COMPOSE:
        return Setup(environment=pairs(service_environment(text or file.read_text())))
    if file == COMPOSE_NGINX:
        return Setup(environment=pairs(service_environment(COMPOSE.read_text())))
    if file == SERVICE:
        return Setup(environment=pairs(unit_environment(text or file.read_text())))
    return Setup(options=table()[str(file.relative_to(DEPLOY))])


def check(file: Path, how: Setup, *more: str) -> Result:
    """Run ``keepserve check --balancer``."""
    arguments = ["check", "--balancer", str(file), "--strict", *how.options, *more]
    # Whatever this machine sets for itself does not count.
    ours = (name for name in os.environ if name.startswith("KEEPSERVE_"))
    foreign = dict.fromkeys((*ours, "PORT", "WEB_CONCURRENCY", "FORWARDED_ALLOW_IPS"))
    return CliRunner().invoke(main, arguments, env={**foreign, **dict(how.environment)}, prog_name="keepserve")


def pools(file: Path) -> tuple[Pool, ...]:
    """What keepserve's own reader finds in a file; each knows something."""
    found = read_balancer(str(file)).pools
    assert found
    return found


def pairs(environment: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    """Variables in a form that does not change."""
    return tuple((str(name), str(value)) for name, value in environment.items())


# -- the environments that files give keepserve


def documents(text: str) -> dict[str, Any]:
    """The objects of a Kubernetes file by kind."""
    return {document["kind"]: document for document in yaml.safe_load_all(text)}


def pod(text: str) -> dict[str, Any]:
    """The Deployment's pod."""
    spec: dict[str, Any] = documents(text)["Deployment"]["spec"]["template"]["spec"]
    return spec


def pod_environment(text: str) -> dict[str, str]:
    """What the Deployment's only container gets."""
    (container,) = pod(text)["containers"]
    return {entry["name"]: entry["value"] for entry in container["env"]}


def service_environment(text: str, name: str = "app1") -> dict[str, str]:
    """What one instance in the Compose file gets."""
    environment: dict[str, str] = yaml.safe_load(text)["services"][name]["environment"]
    return environment


class _Template(yaml.SafeLoader):
    """CloudFormation's short tags as one-entry mappings: ``!Ref X`` is ``{"Ref": "X"}``."""


def _function(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    if isinstance(node, yaml.SequenceNode):
        return {suffix: loader.construct_sequence(node, deep=True)}
    assert isinstance(node, yaml.ScalarNode)
    return {suffix: loader.construct_scalar(node)}


_Template.add_multi_constructor("!", _function)


def template(text: str) -> dict[str, Any]:
    """The CloudFormation template."""
    found: dict[str, Any] = yaml.load(text, _Template)
    return found


def resolved(value: Any, parameters: dict[str, Any]) -> Any:
    """A value, with a reference to a parameter replaced by that parameter's default."""
    return parameters[value["Ref"]]["Default"] if isinstance(value, dict) else value


def task_container(text: str) -> dict[str, Any]:
    """The only container of the template's task definition."""
    (container,) = template(text)["Resources"]["TaskDefinition"]["Properties"]["ContainerDefinitions"]
    found: dict[str, Any] = container
    return found


def template_environment(text: str) -> dict[str, Any]:
    """What the task's container gets with the parameters at their defaults."""
    parameters = template(text)["Parameters"]
    return {entry["Name"]: resolved(entry["Value"], parameters) for entry in task_container(text)["Environment"]}


def unit(text: str) -> dict[str, list[str]]:
    """The directives of a unit file, all sections together; a directive may stand several times."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line and not line.startswith(("#", "[")):
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


def unit_environment(text: str) -> dict[str, str]:
    """The variables a unit file sets."""
    return dict(line.split("=", 1) for line in unit(text)["Environment"])
