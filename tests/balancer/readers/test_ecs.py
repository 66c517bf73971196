"""ECS task definitions."""

import json
from functools import partial

import pytest

from keepserve.balancer.readers import ecs
from tests.balancer.readers.reading import check_defaults, check_written, only, place, refused, sample

TASK = sample("ecs-task.json")


def task(*containers: dict[str, object], **fields: object) -> str:
    return json.dumps({"family": "web", "containerDefinitions": list(containers), **fields}, indent=1)


def test_a_described_task_is_read_with_the_line_of_every_fact() -> None:
    reading = ecs.read("t.json", TASK)
    pool = only(reading)
    at = partial(place, "t.json", TASK)
    assert (reading.kind, pool.kind, pool.name) == ("ecs", "ecs", "web, container app")
    check_written(
        pool,
        at,
        kill_after=(100.0, "stopTimeout"),
        protocol=("h2", "appProtocol"),
        health_interval=(15.0, '"interval"'),
        health_threshold=(2, '"retries"'),
    )
    check_defaults(pool)
    own, connect = pool.notes
    assert f"KEEPSERVE_DRAIN_TIMEOUT=60 ({at('KEEPSERVE_DRAIN')}), --lb alb ({at('--lb')})" in own
    assert "Service Connect" in connect


def test_a_registered_task_that_says_nothing_has_documented_defaults() -> None:
    pool = only(ecs.read("t.json", task({"name": "app"}, requiresCompatibilities=["FARGATE"])))
    check_defaults(pool, kill_after=30.0)
    assert pool.notes == ()


def test_a_health_check_has_documented_defaults() -> None:
    pool = only(ecs.read("t.json", task({"healthCheck": {"command": ["CMD", "true"]}})))
    check_defaults(pool, kill_after=30.0, health_interval=30.0, health_threshold=3)
    assert pool.name == "web"


def test_on_instances_the_agent_may_have_another_default() -> None:
    assert "ECS_CONTAINER_STOP_TIMEOUT" in only(ecs.read("t.json", task({"name": "app"}))).notes[0]


def test_a_stop_timeout_of_null_is_not_known() -> None:
    assert only(ecs.read("t.json", task({"name": "app", "stopTimeout": None}))).kill_after is None


def test_fargate_has_a_longest_stop_timeout() -> None:
    text = task({"name": "app", "stopTimeout": 121}, requiresCompatibilities=["FARGATE"])
    pool = only(ecs.read("t.json", text))
    assert pool.notes == (f"stopTimeout: 121 ({place('t.json', text, 'stopTimeout')}): Fargate takes 120 s at most.",)


@pytest.mark.parametrize(
    "ours",
    [
        {"entryPoint": ["keepserve"]},
        {"command": ["python", "-m", "keepserve", "a:app"]},
        {"environment": [{"name": "KEEPSERVE_LB", "value": "alb"}]},
    ],
)
def test_the_container_that_names_keepserve_is_ours(ours: dict[str, object]) -> None:
    pool = only(ecs.read("t.json", task({"name": "proxy"}, {"name": "app", "stopTimeout": 9, **ours})))
    assert pool.name == "web, container app"
    assert pool.kill_after is not None
    assert pool.kill_after.value == 9.0


def test_of_several_containers_none_is_guessed() -> None:
    pool = only(ecs.read("t.json", task({"name": "a", "stopTimeout": 5}, {"name": "b"})))
    assert pool.kill_after is None
    assert "Which of the 2 containers of web runs keepserve cannot be told" in pool.notes[0]


@pytest.mark.parametrize(("written", "protocol"), [("http", "http/1.1"), ("http2", "h2"), ("grpc", "h2")])
def test_the_protocol_of_a_port_is_read(written: str, protocol: str) -> None:
    pool = only(ecs.read("t.json", task({"portMappings": [{"containerPort": 1}, {"appProtocol": written}]})))
    assert pool.protocol is not None
    assert pool.protocol.value == protocol


def test_yaml_is_read_as_well() -> None:
    text = "family: web\ncontainerDefinitions:\n  - name: app\n    stopTimeout: 40\n"
    assert ecs.looks_like("t.yaml", text)
    check_written(only(ecs.read("t.yaml", text)), partial(place, "t.yaml", text), kill_after=(40.0, "stopTimeout"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"family": "web"}', "t.json:1: this is not an ECS task definition"),
        ('{"containerDefinitions": {}}', "t.json:1: this is not an ECS task definition"),
        (task(), 't.json:1: task definition "web" has no containers'),
        (task({"stopTimeout": "2m"}), 't.json:5: "stopTimeout: 2m" should be a whole number of at least 0.'),
        (task({"portMappings": [{"appProtocol": "tcp"}]}), '"appProtocol: tcp" should be http, http2 or grpc.'),
        ('{"containerDefinitions": [{"name": "app"', "t.json:1: this is half a file"),
        ('{"containerDefinitions": [{"stopTimeout": ${STOP}}]}', "t.json:1: this is a template"),
    ],
)
def test_what_is_broken_or_of_another_kind_is_refused(text: str, message: str) -> None:
    assert message in refused(ecs, text, "t.json")
