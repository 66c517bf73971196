"""Each sample is recognised by exactly one reader, and what is nobody's by none."""

from importlib import import_module
from types import ModuleType

import pytest

from keepserve.balancer.readers import kinds
from tests.balancer.readers.reading import DIRECTORY, sample

KINDS = {
    "Caddyfile": "caddy",
    "aws-load-balancer.json": "aws",
    "aws-network.json": "aws",
    "aws-target-groups.json": "aws",
    "caddy.json": "caddy",
    "cloudformation.yaml": "cloudformation",
    "compose.yaml": "compose",
    "ecs-task.json": "ecs",
    "envoy-bootstrap.yaml": "envoy",
    "envoy-clusters.json": "envoy",
    "envoy-gateway.yaml": "kubernetes",
    "istio.yaml": "kubernetes",
    "keepserve.service": "systemd",
    "kubernetes.yaml": "kubernetes",
    "traefik-dynamic.toml": "traefik",
    "traefik-dynamic.yaml": "traefik",
    "traefik-static.yaml": "traefik",
}
NAMES = sorted({*kinds(), *KINDS.values()})
NOBODYS = [
    "",
    "just words\n",
    "a: 1\n",
    "[]",
    "{}",
    "- a\n- b\n",
    '{"Resources": {"LB": {"Type": "Custom::Thing"}}}',
    "services:\n  - web\n",
    "services:\n  web:\n    retries: 3\n",
    "[Unit]\nDescription=x\n",
    "[tool.ruff]\nline-length = 100\n",
    "a: [",
    "{{ template }}",
    "openapi: 3.1.0\ninfo: {title: x}\npaths: {}\n",
    "name: build\non: push\njobs: {test: {runs-on: ubuntu-latest}}\n",
]


def readers() -> dict[str, ModuleType]:
    return {name: import_module(f"keepserve.balancer.readers.{name}") for name in NAMES}


def recognised(path: str, text: str) -> list[str]:
    return [name for name, reader in readers().items() if reader.looks_like(path, text)]


def test_every_sample_has_a_kind() -> None:
    assert sorted(path.name for path in DIRECTORY.iterdir()) == sorted(KINDS)


@pytest.mark.parametrize(("name", "kind"), KINDS.items())
def test_a_sample_is_recognised_by_exactly_one_reader(name: str, kind: str) -> None:
    assert recognised(name, sample(name)) == [kind]


@pytest.mark.parametrize("name", KINDS)
def test_half_a_sample_raises_in_no_detection(name: str) -> None:
    text = sample(name)
    for end in range(0, len(text), 97):
        assert set(recognised(name, text[:end])) <= {KINDS[name]}


@pytest.mark.parametrize("text", NOBODYS)
@pytest.mark.parametrize("path", ["lb", "lb.yaml", "lb.json", "lb.toml"])
def test_what_is_nobody_s_is_recognised_by_nobody(path: str, text: str) -> None:
    assert recognised(path, text) == []


@pytest.mark.parametrize("name", NAMES)
def test_every_reader_says_what_it_is(name: str) -> None:
    reader = readers()[name]
    assert name == reader.KIND
    assert reader.TITLE
