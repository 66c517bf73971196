"""What AWS says about its load balancers: printed answers, and the account itself (an imitation of it)."""

import json
import socket
import sys
from functools import partial
from typing import Any

import pytest

from keepserve.balancer.facts import Pool, UnreadableError
from keepserve.balancer.readers import aws
from tests.balancer.readers.reading import check_defaults, check_written, known, only, place, refused, sample

BALANCER = sample("aws-load-balancer.json")
GROUPS = sample("aws-target-groups.json")
NETWORK = sample("aws-network.json")


def attributes(**values: str) -> str:
    pairs = [{"Key": key.replace("__", "."), "Value": value} for key, value in values.items()]
    return json.dumps({"Attributes": pairs}, indent=1)


def group(**fields: object) -> str:
    return json.dumps({"TargetGroups": [{"TargetGroupName": "g", "Protocol": "HTTP", **fields}]}, indent=1)


def test_a_load_balancer_s_attributes_are_read_with_their_lines() -> None:
    reading = aws.read("lb.json", BALANCER)
    pool = only(reading)
    assert (reading.kind, pool.kind, pool.name) == ("aws", "alb", "load balancer")
    at = partial(place, "lb.json", BALANCER)
    check_written(pool, at, idle_timeout=(60.0, '"Value": "60"'), response_timeout=(60.0, '"Value": "60"'))
    check_defaults(pool, keeps=True, proxy_protocol="off")
    assert pool.idle_timeout is not None
    assert pool.idle_timeout.words == "idle_timeout.timeout_seconds: 60"
    assert len(pool.notes) == 1
    assert "mode: preserve" in pool.notes[0]
    assert "may say anything" in pool.notes[0]


def test_a_target_group_is_read_with_its_attributes() -> None:
    pool = only(aws.read("tg.json", GROUPS))
    assert (pool.kind, pool.name) == ("alb", "web")
    check_written(
        pool,
        partial(place, "tg.json", GROUPS),
        protocol=("h2", "ProtocolVersion"),
        tls=(False, '"Protocol"'),
        health_path=("/health/ready", "HealthCheckPath"),
        health_interval=(10.0, "HealthCheckIntervalSeconds"),
        health_threshold=(3, "UnhealthyThresholdCount"),
        drain_time=(120.0, "deregistration_delay"),
    )
    check_defaults(pool, proxy_protocol="off")
    assert pool.notes == ()


def test_a_network_load_balancer_s_target_group_is_told_by_its_attributes() -> None:
    pool = only(aws.read("tg.json", NETWORK))
    assert pool.kind == "nlb"
    check_written(
        pool,
        partial(place, "tg.json", NETWORK),
        proxy_protocol=("v2", "proxy_protocol_v2"),
        drain_time=(300.0, "deregistration_delay.timeout"),
    )
    assert len(pool.notes) == 1
    assert "as soon as health checks fail" in pool.notes[0]


def test_a_network_load_balancer_keeps_no_connections() -> None:
    for text, seconds in (
        (attributes(dns_record__client_routing_policy="any_availability_zone"), "350 s"),
        (attributes(tcp__idle_timeout__seconds="900"), "900 s"),
    ):
        pool = only(aws.read("lb.json", text))
        assert (pool.kind, pool.idle_timeout) == ("nlb", None)
        assert f"flows expire after {seconds}" in pool.notes[0]


def test_answers_in_one_file_are_joined_by_name_where_there_is_no_doubt() -> None:
    described = '{"LoadBalancers": [{"LoadBalancerName": "public", "Type": "application"}]}\n'
    assert only(aws.read("lb.json", described + BALANCER)).name == "public"
    both = aws.read("lb.json", BALANCER + GROUPS).pools
    assert [pool.name for pool in both] == ["load balancer", "web"]
    two = group() + group(TargetGroupName="h") + attributes(deregistration_delay__timeout_seconds="5")
    assert [(pool.name, pool.drain_time is not None) for pool in aws.read("lb.json", two).pools] == [
        ("g", False),
        ("h", False),
        ("target group", True),
    ]


def test_a_description_alone_says_where_the_timeouts_are() -> None:
    reading = aws.read("lb.json", '{"LoadBalancers": [{"LoadBalancerName": "public"}]}')
    assert reading.pools == ()
    assert "public" in reading.notes[0]
    assert "describe-load-balancer-attributes" in reading.notes[0]


@pytest.mark.parametrize(
    ("fields", "kind", "protocol", "tls"),
    [
        ({"ProtocolVersion": "HTTP1"}, "alb", "http/1.1", False),
        ({"ProtocolVersion": "GRPC", "Protocol": "HTTPS"}, "alb", "h2", True),
        ({"Protocol": "TCP"}, "nlb", None, False),
        ({"Protocol": "TLS"}, "nlb", None, True),
        ({"Protocol": "TCP_UDP"}, "nlb", None, False),
        ({"Protocol": "QUIC"}, "nlb", None, False),
    ],
)
def test_a_target_group_says_what_is_spoken(
    fields: dict[str, str], kind: str, protocol: str | None, tls: bool
) -> None:
    pool = only(aws.read("tg.json", group(**fields)))
    assert pool.tls is not None
    assert (pool.kind, pool.protocol.value if pool.protocol else None, pool.tls.value) == (kind, protocol, tls)


def test_a_health_check_that_asks_no_path_is_told() -> None:
    pool = only(aws.read("tg.json", group(Protocol="TCP", HealthCheckProtocol="TCP")))
    assert "does not see that we drain" in pool.notes[0]


def test_functions_have_no_connections() -> None:
    reading = aws.read("tg.json", group(TargetType="lambda"))
    assert reading.pools == ()
    assert "say nothing about connections" in reading.notes[0]


def test_a_mode_that_removes_the_client_s_address_is_told() -> None:
    text = attributes(idle_timeout__timeout_seconds="60", routing__http__xff_header_processing__mode="remove")
    assert "never learns the client's address" in only(aws.read("lb.json", text)).notes[0]


def test_a_classic_load_balancer_is_read() -> None:
    text = '{"LoadBalancerAttributes": {"ConnectionDraining": {"Enabled": true, "Timeout": 300},\n'
    text += '"ConnectionSettings": {"IdleTimeout": 45}}}'
    pool = only(aws.read("lb.json", text))
    assert pool.kind == "classic-elb"
    check_written(
        pool, partial(place, "lb.json", text), idle_timeout=(45.0, "IdleTimeout"), drain_time=(300.0, "Enabled")
    )
    check_defaults(only(aws.read("lb.json", '{"LoadBalancerAttributes": {}}')), idle_timeout=60.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"Attributes": [{"Key": "idle_', "lb.json:1: this is not JSON: the string that begins here"),
        ('{"Attributes": [', "lb.json:1: this is half a file"),
        ('["60"]', "lb.json:1: this should be a mapping"),
        ('{"Attributes": [{"Key": "a"}]}', "lb.json:1: this is no answer of aws elbv2 describe-..."),
        ('{"Rules": []}', "lb.json:1: this is no answer of aws elbv2 describe-..."),
        (
            attributes(idle_timeout__timeout_seconds="1m"),
            'lb.json:5: "idle_timeout.timeout_seconds: 1m" should be a whole number of at least 1.',
        ),
        (group(ProtocolVersion="HTTP3"), 'lb.json:6: "ProtocolVersion: HTTP3" should be HTTP1, HTTP2 or GRPC.'),
        (
            attributes(proxy_protocol_v2__enabled="maybe"),
            'lb.json:5: "proxy_protocol_v2.enabled: maybe" should be true or false.',
        ),
    ],
)
def test_what_is_broken_or_of_another_kind_is_refused(text: str, message: str) -> None:
    assert refused(aws, text, "lb.json").startswith(message)


# --- the account itself ------------------------------------------------------------------------------------------

ARN = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:loadbalancer/app/public/50dc6c495c0c9188"


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Any:
    """moto's imitation of AWS, so that nothing leaves this process; yields boto3."""
    moto = pytest.importorskip("moto")
    boto3 = pytest.importorskip("boto3")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    with moto.mock_aws():
        yield boto3


def build(boto3: Any, kind: str = "application", protocol: str = "HTTP", *, used: bool = True, **fields: Any) -> str:
    """A load balancer with a target group that it uses, or not; returns its ARN."""
    ec2 = boto3.client("ec2", region_name="eu-central-1")
    network = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnets = [
        ec2.create_subnet(VpcId=network, CidrBlock=f"10.0.{n}.0/24", AvailabilityZone=f"eu-central-1{zone}")[
            "Subnet"
        ]["SubnetId"]
        for n, zone in enumerate("ab")
    ]
    elb = boto3.client("elbv2", region_name="eu-central-1")
    arn: str = elb.create_load_balancer(Name="public", Subnets=subnets, Type=kind)["LoadBalancers"][0][
        "LoadBalancerArn"
    ]
    created = elb.create_target_group(Name="web", Protocol=protocol, Port=8000, VpcId=network, **fields)
    target = created["TargetGroups"][0]["TargetGroupArn"]
    if used:
        elb.create_listener(
            LoadBalancerArn=arn,
            Protocol=protocol,
            Port=80,
            DefaultActions=[{"Type": "forward", "TargetGroupArn": target}],
        )
    if kind == "application":
        elb.modify_load_balancer_attributes(
            LoadBalancerArn=arn, Attributes=[{"Key": "idle_timeout.timeout_seconds", "Value": "75"}]
        )
    elb.modify_target_group_attributes(
        TargetGroupArn=target, Attributes=[{"Key": "deregistration_delay.timeout_seconds", "Value": "45"}]
    )
    return arn


def values(pool: Pool) -> dict[str, object]:
    return {name: fact.value for name, fact in known(pool).items()}


def test_the_account_is_asked_about_a_load_balancer_and_its_target_groups(account: Any) -> None:
    arn = build(
        account,
        ProtocolVersion="HTTP2",
        HealthCheckPath="/health/ready",
        HealthCheckIntervalSeconds=7,
        UnhealthyThresholdCount=4,
    )
    reading = aws.live(arn)
    pool = only(reading)
    assert (reading.path, pool.kind, pool.name) == (arn, "alb", "public, target group web")
    told = values(pool)
    assert told.pop("drain_time") == 45.0
    assert told == {
        "keeps": True,
        "idle_timeout": 75.0,
        "response_timeout": 75.0,
        "protocol": "h2",
        "tls": False,
        "proxy_protocol": "off",
        "health_path": "/health/ready",
        "health_interval": 7.0,
        "health_threshold": 4,
    }
    assert pool.idle_timeout is not None
    assert str(pool.idle_timeout) == f"idle_timeout.timeout_seconds: 75 ({arn})"


def test_a_network_load_balancer_in_the_account_is_read(account: Any) -> None:
    pool = only(aws.live(build(account, "network", "TCP")))
    assert (pool.kind, pool.idle_timeout) == ("nlb", None)
    assert values(pool)["drain_time"] == 45.0


def test_a_load_balancer_without_target_groups_still_has_its_timeouts(account: Any) -> None:
    arn = build(account, used=False)
    reading = aws.live(arn)
    pool = only(reading)
    assert (pool.name, values(pool)["idle_timeout"]) == ("public", 75.0)
    assert "leads to a target group" in reading.notes[0]


def live_refused(arn: str = ARN) -> str:
    with pytest.raises(UnreadableError) as caught:
        aws.live(arn)
    return str(caught.value)


def test_a_load_balancer_that_does_not_exist_is_told(account: Any) -> None:
    assert live_refused() == f"{ARN}: there is no such load balancer in this account and region."


@pytest.mark.parametrize(
    "arn",
    [
        "public",
        "arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/web/73e2d6bc24d8a067",
        "arn:aws:elasticloadbalancing:eu-central-1:123456789012:loadbalancer/classic",
        ARN + "\n",
    ],
)
def test_what_is_no_arn_of_a_load_balancer_is_told(arn: str) -> None:
    assert "is not the ARN of an application or network load balancer" in live_refused(arn)


def test_missing_credentials_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    pytest.importorskip("boto3")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    assert "no credentials were found; sign in" in live_refused()


def test_a_missing_boto3_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    assert "asking AWS needs boto3, which is not installed" in live_refused()


class Refusing:
    """A client of AWS's library that refuses whatever it is asked."""

    def __init__(self, code: str) -> None:
        self.code = code

    def describe_load_balancers(self, **asked: object) -> None:
        from botocore.exceptions import ClientError

        raise ClientError({"Error": {"Code": self.code, "Message": "no."}}, "DescribeLoadBalancers")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("AccessDenied", "they need elasticloadbalancing:Describe* (AccessDenied)."),
        ("Throttling", "(Throttling): no."),
    ],
)
def test_a_refusal_is_told(code: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    boto3 = pytest.importorskip("boto3")
    monkeypatch.setattr(boto3, "client", lambda *args, **options: Refusing(code))
    assert live_refused().endswith(words)


def test_an_account_that_does_not_answer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("boto3")
    monkeypatch.setattr("keepserve.balancer.readers.aws_live.ATTEMPTS", 1)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    # Nobody listens on the port that reservation has closed again.
    with socket.socket() as reservation:
        reservation.bind(("127.0.0.1", 0))
        port = reservation.getsockname()[1]
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    message = live_refused()
    assert message.startswith(f"{ARN}: AWS could not be asked: ")
    assert "127.0.0.1" in message


def test_functions_behind_a_load_balancer_are_left_out(account: Any) -> None:
    elb = account.client("elbv2", region_name="eu-central-1")
    arn = build(account)
    function = elb.create_target_group(Name="function", TargetType="lambda")["TargetGroups"][0]["TargetGroupArn"]
    elb.create_listener(
        LoadBalancerArn=arn,
        Protocol="HTTP",
        Port=81,
        DefaultActions=[{"Type": "forward", "TargetGroupArn": function}],
    )
    assert only(aws.live(arn)).name == "public, target group web"
