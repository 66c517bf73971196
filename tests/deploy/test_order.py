"""The order of all clocks in deploy/: each number against keepserve's presets and settings, none against a copy."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from keepserve.balancer.presets import PRESETS
from keepserve.balancer.readers.ecs import FARGATE_LONGEST_STOP
from tests.deploy import pieces
from tests.deploy.numbers import noticed_within
from tests.deploy.pieces import (
    AWS,
    CADDY,
    CHECKED,
    COMPOSE,
    COMPOSE_NGINX,
    DEPLOY,
    ENVOY,
    HAPROXY,
    KUBERNETES,
    NGINX,
    ROOT,
    SERVICE,
    TRAEFIK,
    pools,
    setup,
)
from tests.deploy.test_check import prepare

each_file = pytest.mark.parametrize("file", CHECKED, ids=lambda file: str(file.relative_to(DEPLOY)))


@pytest.mark.parametrize(
    "file", [NGINX, ENVOY, TRAEFIK, CADDY, AWS, KUBERNETES, COMPOSE_NGINX], ids=lambda file: file.parts[-2]
)
def test_the_idle_timeout_that_is_written_is_the_presets(file: Path) -> None:
    prepare(file)
    settings = setup(file).settings
    assert settings.lb is not None
    written = [pool.idle_timeout for pool in pools(file) if pool.idle_timeout is not None]
    assert written
    for fact in written:
        assert fact.written, "a default may change under us"
        assert fact.value == PRESETS[settings.lb].idle


def test_haproxys_purges_add_up_to_what_keepserve_is_told() -> None:
    assert {pool.idle_timeout.value for pool in pools(HAPROXY) if pool.idle_timeout is not None} == {
        setup(HAPROXY).settings.lb_idle_timeout
    }


@each_file
def test_keepserve_lets_go_last(file: Path) -> None:
    prepare(file)
    settings = setup(file).settings
    for pool in pools(file):
        if pool.idle_timeout is not None:
            assert pool.idle_timeout.value + settings.keep_alive_margin <= settings.keep_alive_timeout


@each_file
def test_a_stop_is_noticed_before_the_door_closes(file: Path) -> None:
    prepare(file)
    how = setup(file)
    checked = [pool for pool in pools(file) if noticed_within(pool) is not None]
    assert checked or file in (NGINX, COMPOSE, COMPOSE_NGINX, SERVICE)
    for pool in checked:
        assert pool.health_path is not None
        assert pool.health_path.value == how.settings.health_path
        assert how.settings.drain_delay >= (noticed_within(pool) or 0.0)


@pytest.mark.parametrize("file", [AWS, KUBERNETES, COMPOSE, SERVICE], ids=lambda file: file.parts[-2])
def test_a_stop_ends_before_the_kill_and_the_kill_before_the_balancer_gives_up(file: Path) -> None:
    settings = setup(file).settings
    (kill,) = {pool.kill_after.value for pool in pools(file) if pool.kill_after is not None}
    before = sum(pool.pre_stop.value for pool in pools(file) if pool.pre_stop is not None)
    assert before + settings.stop_budget < kill
    assert settings.stop_grace == kill - before
    for pool in pools(file):
        if pool.drain_time is not None:
            assert kill <= pool.drain_time.value


@pytest.mark.parametrize("file", [NGINX, COMPOSE_NGINX], ids=lambda file: file.parts[-2])
def test_nginx_ends_busy_connections_before_keepserves_jitter_can(file: Path) -> None:
    settings = setup(file).settings
    for pool in pools(file):
        assert pool.max_requests is not None
        assert pool.max_age is not None
        assert pool.max_requests.value < 0.9 * settings.max_connection_requests
        assert pool.max_age.value < 0.9 * settings.max_connection_age


# -- AWS


def template() -> dict[str, Any]:
    return pieces.template(AWS.read_text())


def properties(name: str) -> dict[str, Any]:
    found: dict[str, Any] = template()["Resources"][name]["Properties"]
    return found


def attribute(resource: str, attributes: str, key: str) -> Any:
    (value,) = [pair["Value"] for pair in properties(resource)[attributes] if pair["Key"] == key]
    return value


def given(name: str) -> Any:
    """The value of a variable of the task's container, as the template has it."""
    (value,) = [
        pair["Value"]
        for pair in pieces.task_container(AWS.read_text())["Environment"]
        if pair["Name"] == f"KEEPSERVE_{name}"
    ]
    return value


def test_numbers_both_sides_of_the_template_need_stand_there_once() -> None:
    idle = attribute("LoadBalancer", "LoadBalancerAttributes", "idle_timeout.timeout_seconds")
    assert idle == given("LB_IDLE_TIMEOUT") == {"Ref": "IdleTimeout"}
    leaving = attribute("TargetGroup", "TargetGroupAttributes", "deregistration_delay.timeout_seconds")
    stop = pieces.task_container(AWS.read_text())["StopTimeout"]
    assert leaving == stop == given("STOP_GRACE") == {"Ref": "StopSeconds"}


def test_the_templates_limits_are_those_of_aws_and_of_the_order() -> None:
    parameters = template()["Parameters"]
    assert parameters["StopSeconds"]["MaxValue"] <= FARGATE_LONGEST_STOP
    group = properties("TargetGroup")
    noticed = group["HealthCheckIntervalSeconds"] * group["UnhealthyThresholdCount"]
    assert parameters["DrainDelay"]["MinValue"] >= noticed
    assert group["HealthCheckTimeoutSeconds"] < group["HealthCheckIntervalSeconds"]


def test_every_idle_timeout_the_template_takes_gives_settings_that_can_be_used() -> None:
    parameters = template()["Parameters"]
    for seconds in (parameters["IdleTimeout"]["MinValue"], parameters["IdleTimeout"]["MaxValue"]):
        environment = pieces.template_environment(AWS.read_text()) | {"KEEPSERVE_LB_IDLE_TIMEOUT": seconds}
        settings = pieces.Setup(environment=pieces.pairs(environment)).settings
        assert settings.keep_alive_timeout == seconds + settings.keep_alive_margin


def test_the_task_has_the_time_for_its_startup() -> None:
    assert properties("Service")["HealthCheckGracePeriodSeconds"] > setup(AWS).settings.startup_timeout


# -- the image, and what starts it


def image(keyword: str) -> str:
    """The last instruction of this kind in the Dockerfile."""
    return re.findall(rf"^{keyword} (.+)$", (ROOT / "Dockerfile").read_text(), re.M)[-1]


def test_containers_leave_the_images_entry_point_alone_and_name_an_application() -> None:
    assert json.loads(image("ENTRYPOINT")) == ["keepserve"]
    task = pieces.task_container(AWS.read_text())
    (pod,) = pieces.pod(KUBERNETES.read_text())["containers"]
    compose = yaml.safe_load(COMPOSE.read_text())["services"]
    assert "EntryPoint" not in task
    assert "command" not in pod
    assert all("entrypoint" not in compose[name] for name in ("app1", "app2"))
    application = pieces.resolved(task["Command"][0], template()["Parameters"])
    for words in ([application], pod["args"]):
        assert len(words) == 1
        assert re.fullmatch(r"[\w.]+:\w+", words[0])


def test_the_port_is_the_images_everywhere() -> None:
    port = int(image("EXPOSE"))
    (container,) = pieces.pod(KUBERNETES.read_text())["containers"]
    (named,) = container["ports"]
    service = pieces.documents(KUBERNETES.read_text())["Service"]["spec"]["ports"][0]
    assert named["containerPort"] == port
    assert service["targetPort"] == named["name"]
    assert container["readinessProbe"]["httpGet"]["port"] == named["name"]
    assert pieces.task_container(AWS.read_text())["PortMappings"] == [{"ContainerPort": port}]
    assert properties("TargetGroup")["Port"] == port
    assert properties("Service")["LoadBalancers"][0]["ContainerPort"] == port
    assert properties("TaskGroup")["SecurityGroupIngress"][0]["ToPort"] == port
    assert set(re.findall(r"server [0-9.]+:(\d+)", COMPOSE_NGINX.read_text())) == {str(port)}


def test_the_pod_runs_as_the_images_user() -> None:
    context = pieces.pod(KUBERNETES.read_text())["securityContext"]
    assert f"{context['runAsUser']}:{context['runAsGroup']}" == image("USER")


def test_a_writable_tmp_is_there_where_the_rest_is_not() -> None:
    (container,) = pieces.pod(KUBERNETES.read_text())["containers"]
    task = pieces.task_container(AWS.read_text())
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert [mount["mountPath"] for mount in container["volumeMounts"]] == ["/tmp"]
    assert task["ReadonlyRootFilesystem"]
    assert [mount["ContainerPath"] for mount in task["MountPoints"]] == ["/tmp"]


# -- Kubernetes, beyond what a schema knows


def test_selectors_find_the_pods_and_the_ingress_finds_the_service() -> None:
    objects = pieces.documents(KUBERNETES.read_text())
    labels = objects["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert objects["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert objects["Service"]["spec"]["selector"] == labels
    assert objects["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    scaled = objects["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    assert (scaled["kind"], scaled["name"]) == ("Deployment", objects["Deployment"]["metadata"]["name"])
    backend = objects["Ingress"]["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]
    assert backend["name"] == objects["Service"]["metadata"]["name"]
    assert backend["port"]["name"] == objects["Service"]["spec"]["ports"][0]["name"]


def test_pods_are_replaced_without_a_gap_and_one_may_always_go() -> None:
    objects = pieces.documents(KUBERNETES.read_text())
    assert objects["Deployment"]["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    # With a single pod, a budget of one would allow a gap; with none, a node could never be drained.
    assert objects["HorizontalPodAutoscaler"]["spec"]["minReplicas"] > 1
    assert objects["PodDisruptionBudget"]["spec"]["maxUnavailable"] == 1
    assert "replicas" not in objects["Deployment"]["spec"]


def test_scaling_down_waits_for_the_stop_of_the_pod_before() -> None:
    objects = pieces.documents(KUBERNETES.read_text())
    (policy,) = objects["HorizontalPodAutoscaler"]["spec"]["behavior"]["scaleDown"]["policies"]
    assert policy["value"] == 1
    assert policy["periodSeconds"] >= pieces.pod(KUBERNETES.read_text())["terminationGracePeriodSeconds"]
