"""Ask AWS about a load balancer, with boto3. Reads only: four describe calls."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

from keepserve.balancer.facts import Reading, UnreadableError
from keepserve.balancer.readers.aws_pools import (
    Attributes,
    joined,
    load_balancer_pool,
    target_group_pool,
    with_group_attributes,
)
from keepserve.balancer.readers.json_places import load_json
from keepserve.balancer.readers.tree import Mapping

CONNECT_SECONDS = 5
READ_SECONDS = 15
ATTEMPTS = 2

_ARN = re.compile(
    r"arn:[a-z0-9-]+:elasticloadbalancing:([a-z0-9-]+):[0-9]{12}:loadbalancer/(app|net)/[^/]+/[0-9a-f]+"
)


def describe(arn: str, region: str | None = None) -> Reading:
    """A pool for each target group of the load balancer (see ``aws.live``). Raises UnreadableError."""
    match = _ARN.fullmatch(arn)
    if match is None:
        raise UnreadableError(
            f'"{arn}" is not the ARN of an application or network load balancer; it should read '
            "arn:aws:elasticloadbalancing:REGION:ACCOUNT:loadbalancer/app/NAME/ID."
        )
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError
    except ImportError:
        raise UnreadableError(
            "asking AWS needs boto3, which is not installed: pip install 'keepserve[aws]', or give the JSON that "
            "aws elbv2 describe-load-balancer-attributes and describe-target-group-attributes print."
        ) from None
    limits = Config(
        connect_timeout=CONNECT_SECONDS, read_timeout=READ_SECONDS, retries={"total_max_attempts": ATTEMPTS}
    )
    try:
        client = boto3.client("elbv2", region_name=region or match[1], config=limits)
        return _reading(client, arn)
    except ClientError as error:
        raise _refused(arn, error.response.get("Error", {})) from None
    except BotoCoreError as error:
        raise UnreadableError(f"{arn}: AWS could not be asked: {_sentence(error)}") from None


def _refused(arn: str, error: dict[str, Any]) -> UnreadableError:
    code, message = error.get("Code", "unknown"), error.get("Message", "")
    if code == "LoadBalancerNotFound":
        return UnreadableError(f"{arn}: there is no such load balancer in this account and region.")
    if code in ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation"):
        return UnreadableError(
            f"{arn}: these credentials may not look at load balancers: they need elasticloadbalancing:Describe* "
            f"({code})."
        )
    return UnreadableError(f"{arn}: AWS refused ({code}): {message}")


def _sentence(error: Exception) -> str:
    if type(error).__name__ in ("NoCredentialsError", "PartialCredentialsError", "TokenRetrievalError"):
        return "no credentials were found; sign in (aws configure, aws sso login) or set AWS_PROFILE."
    return str(error).rstrip(".") + "."


def _reading(client: Any, arn: str) -> Reading:
    balancers = _tree(arn, client.describe_load_balancers(LoadBalancerArns=[arn]))
    described = next(iter(balancers.sequence("LoadBalancers").mappings()), None)
    attributes = _tree(arn, client.describe_load_balancer_attributes(LoadBalancerArn=arn))
    name = described.string("LoadBalancerName") if described is not None else arn
    balancer = replace(load_balancer_pool(Attributes.listed(attributes.sequence("Attributes"))), name=name)
    pools = []
    for group in _target_groups(client, arn):
        pool = target_group_pool(group)
        if pool is None:
            continue
        found = client.describe_target_group_attributes(TargetGroupArn=group.string("TargetGroupArn"))
        pool = with_group_attributes(pool, Attributes.listed(_tree(arn, found).sequence("Attributes")))
        pools.append(joined(pool, balancer))
    notes = () if pools else (f"No listener of {name} leads to a target group with servers.",)
    return Reading(arn, "aws", tuple(pools) or (balancer,), notes)


def _target_groups(client: Any, arn: str) -> list[Mapping]:
    try:
        pages = list(client.get_paginator("describe_target_groups").paginate(LoadBalancerArn=arn))
    except client.exceptions.TargetGroupNotFoundException:
        return []  # the load balancer is there, but leads nowhere
    return [group for page in pages for group in _tree(arn, page).sequence("TargetGroups").mappings()]


def _tree(arn: str, answer: dict[str, Any]) -> Mapping:
    """An answer as the tree that files are read into; its place is the ARN."""
    text = json.dumps({key: value for key, value in answer.items() if key != "ResponseMetadata"}, default=str)
    (tree,) = load_json(arn, text, lines=False)
    if not isinstance(tree, Mapping):
        raise UnreadableError(f"{arn}: AWS answered something that is not an object.")
    return tree
