"""AWS load balancers: the JSON that ``aws elbv2 describe-...`` prints, or the account itself with boto3.

Read are describe-load-balancers, describe-load-balancer-attributes, describe-target-groups,
describe-target-group-attributes and describe-listener-attributes, one after the other in one file or in several
files; and describe-load-balancer-attributes of a Classic Load Balancer (``aws elb``). An answer with attributes does
not say what it belongs to: in a file with one load balancer, or one target group, they are taken to be its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from keepserve.balancer.facts import Pool, Reading, UnreadableError
from keepserve.balancer.readers.aws_pools import (
    Attributes,
    classic_pool,
    load_balancer_pool,
    of_target_group,
    target_group_pool,
    with_group_attributes,
)
from keepserve.balancer.readers.documents import load_mappings, try_load
from keepserve.balancer.readers.tree import Mapping, Node, Sequence

KIND = "aws"
TITLE = "AWS Elastic Load Balancing"

_ANSWERS = ("LoadBalancers", "TargetGroups", "Attributes", "LoadBalancerAttributes", "Listeners")


def looks_like(path: str, text: str) -> bool:
    """Whether the file holds answers of ``aws elbv2`` or ``aws elb``."""
    return any(_is_answer(document) for document in try_load(path, text))


def read(path: str, text: str) -> Reading:
    """A pool for each load balancer and each target group that the answers describe. Raises UnreadableError."""
    return read_answers(path, load_mappings(path, text))


def live(arn: str, region: str | None = None) -> Reading:
    """Ask AWS about a load balancer and its target groups, with boto3 and the credentials it finds.

    Reads only. ``region`` is that of the ARN unless given. Raises UnreadableError: boto3 is not installed, there are
    no credentials, the load balancer is not found, or AWS does not answer.
    """
    # Imported here: boto3 is optional, and its import takes a second.
    from keepserve.balancer.readers.aws_live import describe

    return describe(arn, region)


def read_answers(path: str, answers: Iterable[Mapping]) -> Reading:
    """As ``read``, from answers that are parsed already."""
    balancers: list[Mapping] = []
    groups: list[Mapping] = []
    attributes: list[Attributes] = []
    pools: list[Pool] = []
    notes: list[str] = []
    for answer in answers:
        if not _is_answer(answer):
            raise UnreadableError(
                f"{answer.place}: this is no answer of aws elbv2 describe-...: none of "
                f"{', '.join(_ANSWERS)} is here. Give the whole output, without --query."
            )
        balancers += answer.sequence("LoadBalancers").mappings()
        groups += answer.sequence("TargetGroups").mappings()
        if answer.has("Attributes"):
            attributes.append(Attributes.listed(answer.sequence("Attributes")))
        classic = answer.mapping("LoadBalancerAttributes")
        if classic is not None:
            pools.append(classic_pool(classic))
    of_groups = [found for found in attributes if of_target_group(found)]
    of_balancers = [found for found in attributes if not of_target_group(found)]
    pools += _balancer_pools(balancers, of_balancers, notes)
    pools += _group_pools(groups, of_groups)
    if not pools:
        notes.append("These answers say nothing about connections to us: give the attributes and the target groups.")
    return Reading(path, KIND, tuple(pools), tuple(notes))


def _is_answer(node: Node) -> bool:
    if not isinstance(node, Mapping):
        return False
    for key in ("LoadBalancers", "TargetGroups", "Listeners"):
        listed = node.entries.get(key)
        if isinstance(listed, Sequence):
            return True
    pairs = node.entries.get("Attributes")
    if isinstance(pairs, Sequence):
        return all(isinstance(pair, Mapping) and {"Key", "Value"} <= pair.entries.keys() for pair in pairs.items)
    return isinstance(node.entries.get("LoadBalancerAttributes"), Mapping)


def _balancer_pools(balancers: list[Mapping], attributes: list[Attributes], notes: list[str]) -> list[Pool]:
    pools = [load_balancer_pool(found) for found in attributes]
    if len(balancers) == 1 and len(pools) == 1:
        return [replace(pools[0], name=balancers[0].string("LoadBalancerName") or pools[0].name)]
    if balancers and not pools:
        names = ", ".join(balancer.string("LoadBalancerName") for balancer in balancers)
        notes.append(
            f"Of {names} only the description is here: its timeouts are in describe-load-balancer-attributes."
        )
    return pools


def _group_pools(groups: list[Mapping], attributes: list[Attributes]) -> list[Pool]:
    pools = [pool for pool in map(target_group_pool, groups) if pool is not None]
    if len(pools) == 1 and len(attributes) == 1:
        return [with_group_attributes(pools[0], attributes[0])]
    unnamed = (Pool(kind=found.kind, name="target group", place=found.place) for found in attributes)
    return [*pools, *map(with_group_attributes, unnamed, attributes)]
