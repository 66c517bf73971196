"""ECS task definitions: as registered (``--cli-input-json``), or as ``describe-task-definition`` prints them."""

from __future__ import annotations

from dataclasses import replace

from keepserve.balancer.facts import Fact, Pool, Reading, UnreadableError
from keepserve.balancer.readers.containers import chosen_container, settings_note
from keepserve.balancer.readers.documents import load_mappings, try_load
from keepserve.balancer.readers.tree import Mapping, Node, Sequence

KIND = "ecs"
TITLE = "Amazon ECS"

FARGATE_LONGEST_STOP = 120
"""Seconds; a task definition for Fargate with a longer stopTimeout is refused."""

_CONTAINER_DOCS = "https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ContainerDefinition.html"
_HEALTH_DOCS = "https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_HealthCheck.html"

_STOP = Fact(30.0, "stopTimeout", source=_CONTAINER_DOCS)
_INTERVAL = Fact(30.0, "healthCheck.interval", source=_HEALTH_DOCS)
_RETRIES = Fact(3, "healthCheck.retries", source=_HEALTH_DOCS)
_PROTOCOLS = {"http": "http/1.1", "http2": "h2", "grpc": "h2"}
_WORDS, _ENVIRONMENT = ("entryPoint", "command"), "environment"


def looks_like(path: str, text: str) -> bool:
    """Whether the file holds a task definition."""
    return any(_definition(document) is not None for document in try_load(path, text))


def read(path: str, text: str) -> Reading:
    """A pool for the container of each task definition that runs keepserve. Raises UnreadableError."""
    pools = []
    for document in load_mappings(path, text):
        definition = _definition(document)
        if definition is None:
            raise UnreadableError(
                f'{document.place}: this is not an ECS task definition: it has no "containerDefinitions".'
            )
        pools.append(task_pool(definition))
    return Reading(path, KIND, tuple(pools))


def _definition(node: Node) -> Mapping | None:
    if isinstance(node, Mapping):
        inner = node.entries.get("taskDefinition")
        for candidate in (inner, node):
            if isinstance(candidate, Mapping) and isinstance(candidate.entries.get("containerDefinitions"), Sequence):
                return candidate
    return None


def task_pool(definition: Mapping) -> Pool:
    """The pool of one task definition, with ECS's own spelling of its keys. Raises UnreadableError."""
    family = definition.string("family") or "task"
    containers = list(definition.sequence("containerDefinitions").mappings())
    if not containers:
        raise UnreadableError(f'{definition.place}: task definition "{family}" has no containers.')
    pool = Pool(kind=KIND, name=family, place=definition.place)
    ours = chosen_container(containers, _WORDS, _ENVIRONMENT)
    if ours is None:
        note = (
            f"Which of the {len(containers)} containers of {family} runs keepserve cannot be told, because not "
            "exactly one names it in entryPoint, command or environment: no stopTimeout is compared."
        )
        return replace(pool, notes=(note,))
    name = ours.string("name")
    notes = settings_note(ours, _WORDS, _ENVIRONMENT)
    stop = ours.scalar("stopTimeout")
    if "stopTimeout" not in ours.entries and not _fargate(definition):
        notes.append(
            "On EC2 instances, ECS_CONTAINER_STOP_TIMEOUT of the agent may set another stopTimeout than 30 s."
        )
    if stop is not None and _fargate(definition) and stop.integer() > FARGATE_LONGEST_STOP:
        notes.append(f"{stop.words} ({stop.place}): Fargate takes {FARGATE_LONGEST_STOP} s at most.")
    # Null stands where a template computes the value: then it is not known, and not the default either.
    unset = _STOP if "stopTimeout" not in ours.entries else None
    protocol = _protocol(ours, notes)
    return replace(
        _with_health(pool, ours),
        name=f"{family}, container {name}" if name else family,
        place=ours.place,
        kill_after=stop.fact(float(stop.integer())) if stop is not None else unset,
        protocol=protocol,
        notes=tuple(notes),
    )


def _fargate(definition: Mapping) -> bool:
    return any(word.text == "FARGATE" for word in definition.sequence("requiresCompatibilities").scalars())


def _protocol(container: Mapping, notes: list[str]) -> Fact[str] | None:
    """What Service Connect's proxy is told to speak to us; without it nothing is known from here."""
    spoken = [port.scalar("appProtocol") for port in container.sequence("portMappings").mappings()]
    for protocol in spoken:
        if protocol is not None:
            known = _PROTOCOLS.get(protocol.string())
            if known is None:
                raise protocol.wrong("http, http2 or grpc")
            notes.append(
                f"{protocol.words} ({protocol.place}) is for ECS Service Connect, whose proxy is then our peer."
            )
            return protocol.fact(known)
    return None


def _with_health(pool: Pool, container: Mapping) -> Pool:
    check = container.mapping("healthCheck")
    if check is None:
        return pool
    interval, retries = check.scalar("interval"), check.scalar("retries")
    return replace(
        pool,
        health_interval=interval.fact(float(interval.integer(1))) if interval is not None else _INTERVAL,
        health_threshold=retries.fact(retries.integer(1)) if retries is not None else _RETRIES,
    )
