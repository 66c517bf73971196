"""CloudFormation templates, YAML or JSON: load balancers, target groups and ECS task definitions.

A reference to a parameter is read as the parameter's default. What else a template computes is not known before it
is deployed: such a value is left out, and a note says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from keepserve.balancer.facts import Fact, Pool, Reading, UnreadableError
from keepserve.balancer.readers import aws_pools, ecs
from keepserve.balancer.readers.documents import load, try_load
from keepserve.balancer.readers.tree import Mapping, Node, Scalar, Sequence

KIND = "cloudformation"
TITLE = "AWS CloudFormation"

_BALANCER = "AWS::ElasticLoadBalancingV2::LoadBalancer"
_GROUP = "AWS::ElasticLoadBalancingV2::TargetGroup"
_TASK = "AWS::ECS::TaskDefinition"

_GROUP_DOCS = (
    "https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/"
    "aws-resource-elasticloadbalancingv2-targetgroup.html"
)

_IDLE = Fact(60.0, aws_pools.IDLE, source=aws_pools.BALANCER_DOCS)
_DELAY = Fact(300.0, aws_pools.DELAY, source=aws_pools.GROUP_DOCS)
_HTTP1 = Fact("http/1.1", "ProtocolVersion", source=_GROUP_DOCS)
_PATH = Fact("/", "HealthCheckPath", source=_GROUP_DOCS)
_INTERVAL = Fact(30.0, "HealthCheckIntervalSeconds", source=_GROUP_DOCS)
_FAILURES = Fact(2, "UnhealthyThresholdCount", source=_GROUP_DOCS)


def looks_like(path: str, text: str) -> bool:
    """Whether the file is a template."""
    return any(_is_template(document) for document in try_load(path, text, functions=True))


def read(path: str, text: str) -> Reading:
    """A pool for each target group, with its load balancer when there is one only, and each task's container."""
    pools: list[Pool] = []
    notes: list[str] = []
    for document in load(path, text, functions=True):
        if not _is_template(document) or not isinstance(document, Mapping):
            raise UnreadableError(
                f'{document.place}: this is not a CloudFormation template: it has no "Resources" with a Type of AWS.'
            )
        template = _Template(document)
        balancers = [_balancer_pool(name, item) for name, item in template.resources(_BALANCER)]
        groups = [pool for name, item in template.resources(_GROUP) if (pool := _group_pool(name, item)) is not None]
        if len(balancers) == 1 and groups:
            pools += [aws_pools.joined(group, balancers[0]) for group in groups]
        else:
            pools += [*balancers, *groups]
        pools += [ecs.task_pool(_camel(item)) for _, item in template.resources(_TASK)]
        if template.unknown:
            notes.append(
                "Computed when the template is deployed, so not compared: " + ", ".join(template.unknown) + "."
            )
    if not pools:
        notes.append("No load balancer, target group or ECS task definition is in this template.")
    return Reading(path, KIND, tuple(pools), tuple(notes))


def _is_template(document: Node) -> bool:
    resources = document.entries.get("Resources") if isinstance(document, Mapping) else None
    if not isinstance(resources, Mapping):
        return False
    kinds = (item.entries.get("Type") for item in resources.entries.values() if isinstance(item, Mapping))
    return any(isinstance(kind, Scalar) and kind.text.startswith("AWS::") for kind in kinds)


class _Template:
    """One template, and what of it cannot be known yet."""

    def __init__(self, document: Mapping) -> None:
        self.unknown: list[str] = []
        self._resources = list(document.mapping("Resources").children())  # type: ignore[union-attr]  # it is there
        parameters = document.mapping("Parameters")
        self._defaults = (
            {name: parameter.entries.get("Default") for name, parameter in parameters.children()}
            if parameters is not None
            else {}
        )

    def resources(self, kind: str) -> Iterator[tuple[str, Mapping]]:
        """The properties of each resource of this kind, with references to parameters filled in."""
        for name, resource in self._resources:
            if resource.string("Type") == kind:
                properties = resource.mapping("Properties")
                found = self._filled(properties) if properties is not None else None
                yield name, found if isinstance(found, Mapping) else Mapping(resource.place, {}, 1)

    def _filled(self, node: Node) -> Node:
        if isinstance(node, Sequence):
            return replace(node, items=tuple(map(self._filled, node.items)))
        if not isinstance(node, Mapping):
            return node
        if len(node.entries) == 1:
            ((name, argument),) = node.entries.items()
            if (
                name == "Ref"
                and isinstance(argument, Scalar)
                and isinstance(self._defaults.get(argument.text), Scalar)
            ):
                return self._defaults[argument.text] or node
            if name == "Ref" or name.startswith("Fn::"):
                # Null, which counts as absent: the readers then know nothing rather than something wrong.
                what = argument.text if isinstance(argument, Scalar) else "..."
                self._remember(f"{name} {what} ({node.place})")
                return Scalar(node.place, "", plain=True)
        return replace(node, entries={key: self._filled(child) for key, child in node.entries.items()})

    def _remember(self, words: str) -> None:
        if words not in self.unknown:
            self.unknown.append(words)


def _known_pairs(properties: Mapping, key: str) -> Sequence:
    """Attributes whose value is known; the others count neither as set nor as left at their default."""
    listed = properties.sequence(key)
    return replace(listed, items=tuple(pair for pair in listed.mappings() if pair.has("Key")))


def _balancer_pool(name: str, properties: Mapping) -> Pool:
    pairs = _known_pairs(properties, "LoadBalancerAttributes")
    attributes = aws_pools.Attributes.listed(pairs)
    kind = "nlb" if properties.string("Type") == "network" else "alb"
    pool = aws_pools.load_balancer_pool(attributes, kind)
    if kind == "alb" and not _mentions(pairs, aws_pools.IDLE):
        pool = aws_pools.with_idle_timeout(pool, _IDLE)
    return replace(pool, name=properties.string("Name") or name, place=properties.place)


def _mentions(pairs: Sequence, key: str) -> bool:
    return any(pair.string("Key") == key for pair in pairs.mappings())


def _group_pool(name: str, properties: Mapping) -> Pool | None:
    pool = aws_pools.target_group_pool(properties)
    if pool is None:
        return None
    pairs = _known_pairs(properties, "TargetGroupAttributes")
    pool = replace(aws_pools.with_group_attributes(pool, aws_pools.Attributes.listed(pairs)), name=name)
    entries = properties.entries
    if pool.drain_time is None and not _mentions(pairs, aws_pools.DELAY):
        pool = replace(pool, drain_time=_DELAY)
    if pool.kind == "alb":
        # Of a value that is computed nothing is known; only one that is not there at all is at its default.
        pool = replace(
            pool,
            protocol=_HTTP1 if "ProtocolVersion" not in entries else pool.protocol,
            health_path=_PATH if "HealthCheckPath" not in entries else pool.health_path,
            health_interval=_INTERVAL if "HealthCheckIntervalSeconds" not in entries else pool.health_interval,
            health_threshold=_FAILURES if "UnhealthyThresholdCount" not in entries else pool.health_threshold,
        )
    return pool


def _camel(node: Mapping) -> Mapping:
    """``StopTimeout`` as ``stopTimeout``: the same task definition as ECS itself takes it."""
    return replace(
        node, entries={key[:1].lower() + key[1:]: _camel_node(child) for key, child in node.entries.items()}
    )


def _camel_node(node: Node) -> Node:
    if isinstance(node, Mapping):
        return _camel(node)
    if isinstance(node, Sequence):
        return replace(node, items=tuple(map(_camel_node, node.items)))
    return node
