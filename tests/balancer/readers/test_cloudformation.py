"""CloudFormation templates: what they say, what their parameters say, and what is known only once deployed."""

import json
from functools import partial

import pytest

from keepserve.balancer.readers import cloudformation
from tests.balancer.readers.reading import check_defaults, check_written, known, only, place, refused, sample

TEMPLATE = sample("cloudformation.yaml")


def template(kind: str, **properties: object) -> str:
    return json.dumps({"Resources": {"It": {"Type": f"AWS::{kind}", "Properties": properties}}}, indent=1)


def group(**properties: object) -> str:
    return template("ElasticLoadBalancingV2::TargetGroup", **{"Protocol": "HTTP", **properties})


def test_a_template_is_read_with_the_line_of_every_fact() -> None:
    reading = cloudformation.read("c.yaml", TEMPLATE)
    at = partial(place, "c.yaml", TEMPLATE)
    service, task = reading.pools
    assert (service.kind, service.name) == ("alb", "LoadBalancer, target group TargetGroup")
    check_written(
        service,
        at,
        # A parameter's default is the line to change.
        idle_timeout=(60.0, "Default: 60"),
        response_timeout=(60.0, "Default: 60"),
        protocol=("http/1.1", "ProtocolVersion"),
        tls=(False, "Protocol: HTTP"),
        health_path=("/health/ready", "HealthCheckPath"),
        health_interval=(5.0, "HealthCheckIntervalSeconds"),
        drain_time=(90.0, 'Value: "90"'),
    )
    check_defaults(service, keeps=True, proxy_protocol="off", health_threshold=2)
    assert (task.kind, task.name) == ("ecs", "web, container app")
    check_written(task, at, kill_after=(110.0, "Default: 110"))
    assert f"--lb alb ({at('--lb')})" in task.notes[0]
    assert f"Ref Image ({at('!Ref Image')})" in reading.notes[0]
    assert f"Fn::Sub logs-${{AWS::AccountId}} ({at('!Sub')})" in reading.notes[0]


def test_json_is_read_with_the_long_form_of_functions() -> None:
    text = template("ECS::TaskDefinition", ContainerDefinitions=[{"StopTimeout": {"Ref": "Missing"}}])
    reading = cloudformation.read("c.json", text)
    assert only(reading).kill_after is None
    assert "Ref Missing" in reading.notes[0]


def test_a_load_balancer_that_says_nothing_has_documented_defaults() -> None:
    pool = only(cloudformation.read("c.json", template("ElasticLoadBalancingV2::LoadBalancer")))
    check_defaults(pool, keeps=True, idle_timeout=60.0, response_timeout=60.0, proxy_protocol="off")


def test_a_computed_idle_timeout_is_not_taken_for_the_default() -> None:
    pair = {"Key": "idle_timeout.timeout_seconds", "Value": {"Fn::If": ["Long", "300", "60"]}}
    text = template("ElasticLoadBalancingV2::LoadBalancer", LoadBalancerAttributes=[pair])
    reading = cloudformation.read("c.json", text)
    assert only(reading).idle_timeout is None
    assert "Fn::If ..." in reading.notes[0]


def test_a_network_load_balancer_is_told_by_its_type() -> None:
    pool = only(cloudformation.read("c.json", template("ElasticLoadBalancingV2::LoadBalancer", Type="network")))
    assert (pool.kind, pool.idle_timeout) == ("nlb", None)


def test_a_target_group_that_says_nothing_has_documented_defaults() -> None:
    check_defaults(
        only(cloudformation.read("c.json", group())),
        protocol="http/1.1",
        proxy_protocol="off",
        health_path="/",
        health_interval=30.0,
        health_threshold=2,
        drain_time=300.0,
    )


def test_a_computed_setting_of_a_target_group_is_not_taken_for_the_default() -> None:
    delay = {"Key": "deregistration_delay.timeout_seconds", "Value": {"Ref": "Delay"}}
    text = group(HealthCheckIntervalSeconds={"Ref": "Every"}, TargetGroupAttributes=[delay])
    facts = known(only(cloudformation.read("c.json", text)))
    assert "health_interval" not in facts
    assert "drain_time" not in facts


def test_several_load_balancers_are_not_joined() -> None:
    balancer = {"Type": "AWS::ElasticLoadBalancingV2::LoadBalancer"}
    web = {"Type": "AWS::ElasticLoadBalancingV2::TargetGroup", "Properties": {"Protocol": "HTTP"}}
    text = json.dumps({"Resources": {"A": balancer, "B": balancer, "Web": web}})
    assert [pool.name for pool in cloudformation.read("c.json", text).pools] == ["A", "B", "Web"]


def test_a_template_of_other_things_says_so() -> None:
    reading = cloudformation.read("c.json", template("S3::Bucket"))
    assert reading.pools == ()
    assert "No load balancer" in reading.notes[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"Resources": {}}', "c.json:1: this is not a CloudFormation template"),
        ('{"Resources": {"A": {"Type": "Other::Thing"}}}', "c.json:1: this is not a CloudFormation template"),
        ('{"Resources": {"A": ', "c.json:1: this is half a file"),
        (group(ProtocolVersion="HTTP9"), "should be HTTP1, HTTP2 or GRPC."),
        (template("ECS::TaskDefinition", ContainerDefinitions=[]), "has no containers"),
    ],
)
def test_what_is_broken_or_of_another_kind_is_refused(text: str, message: str) -> None:
    assert message in refused(cloudformation, text, "c.json")


def test_other_tags_than_functions_are_refused() -> None:
    assert "the tag " in refused(
        cloudformation, TEMPLATE.replace("!Ref Image", "!!python/name:os.system x"), "c.yaml"
    )
