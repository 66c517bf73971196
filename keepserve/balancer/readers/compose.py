"""Docker Compose files: how long a container has to stop, and its health check."""

from __future__ import annotations

import shlex
from dataclasses import replace

from keepserve.balancer.facts import Fact, Pool, Reading, UnreadableError
from keepserve.balancer.readers.containers import containers_of_keepserve, settings_note
from keepserve.balancer.readers.documents import load_mappings, try_load
from keepserve.balancer.readers.tree import Mapping, Node, Scalar, Sequence

KIND = "compose"
TITLE = "Docker Compose"

_DOCS = "https://docs.docker.com/reference/compose-file/services/"
_HEALTH_DOCS = "https://docs.docker.com/reference/dockerfile/#healthcheck"
_STOP = Fact(10.0, "stop_grace_period", source=_DOCS + "#stop_grace_period")
_INTERVAL = Fact(30.0, "healthcheck.interval", source=_HEALTH_DOCS)
_RETRIES = Fact(3, "healthcheck.retries", source=_HEALTH_DOCS)
_WORDS, _ENVIRONMENT = ("entrypoint", "command"), "environment"
_SERVICE_KEYS = ("image", "build", "command", "entrypoint", "environment", "extends", "ports", "stop_grace_period")


def looks_like(path: str, text: str) -> bool:
    """Whether the file has services of Compose's."""
    return any(_is_compose(document) for document in try_load(path, text))


def read(path: str, text: str) -> Reading:
    """A pool for each service that runs keepserve. Raises UnreadableError."""
    pools: list[Pool] = []
    notes: list[str] = []
    for document in load_mappings(path, text):
        if not _is_compose(document):
            raise UnreadableError(
                f'{document.place}: this is not a Compose file: it has no "services" with an image or a build.'
            )
        services = document.mapping("services")
        named = (
            [_as_container(name, service) for name, service in services.children()] if services is not None else []
        )
        ours = containers_of_keepserve(named, _WORDS, _ENVIRONMENT)
        pools += map(_pool, ours)
        if not ours:
            notes.append(
                f"Which of the {len(named)} services runs keepserve cannot be told, because none names it "
                "in entrypoint, command or environment: no stop_grace_period is compared."
            )
    return Reading(path, KIND, tuple(pools), tuple(notes))


def _is_compose(document: Node) -> bool:
    services = document.entries.get("services") if isinstance(document, Mapping) else None
    if not isinstance(services, Mapping) or not services.entries:
        return False
    return all(
        isinstance(service, Mapping) and any(key in service.entries for key in _SERVICE_KEYS)
        for service in services.entries.values()
    )


def _pool(service: Mapping) -> Pool:
    stop = service.scalar("stop_grace_period")
    signal = service.scalar("stop_signal")
    notes = settings_note(service, _WORDS, _ENVIRONMENT)
    if signal is not None and signal.string().removeprefix("SIG") not in ("TERM", "INT", "QUIT"):
        notes.append(f"{signal.words} ({signal.place}): keepserve stops gracefully at SIGTERM.")
    pool = Pool(
        kind=KIND,
        name=f"service {service.name}",
        place=service.place,
        kill_after=stop.fact(stop.go_seconds()) if stop is not None else _STOP,
        notes=tuple(notes),
    )
    check = service.mapping("healthcheck")
    if check is None:
        return pool
    interval, retries = check.scalar("interval"), check.scalar("retries")
    return replace(
        pool,
        health_interval=interval.fact(interval.go_seconds()) if interval is not None else _INTERVAL,
        health_threshold=retries.fact(retries.integer(1)) if retries is not None else _RETRIES,
    )


def _as_container(name: str, service: Mapping) -> Mapping:
    """The service with its command line as a list of words and its environment as names with values."""
    entries = dict(service.entries)
    for key in _WORDS:
        line = entries.get(key)
        if isinstance(line, Scalar) and not line.null:
            entries[key] = Sequence(line.place, tuple(replace(line, text=word) for word in _words(line, key)), 1)
    variables = entries.get(_ENVIRONMENT)
    pairs: list[Node] = []
    if isinstance(variables, Mapping):
        pairs = [_variable(Scalar(value.place, key, plain=False), value) for key, value in variables.entries.items()]
    elif isinstance(variables, Sequence):
        for pair in variables.scalars():
            key, _, value = pair.text.partition("=")
            pairs.append(_variable(replace(pair, text=key), replace(pair, text=value)))
    entries[_ENVIRONMENT] = Sequence(service.place, tuple(pairs), 1)
    return replace(service, entries=entries, name=name)


def _variable(name: Scalar, value: Node) -> Mapping:
    return Mapping(name.place, {"name": name, "value": value}, 1)


def _words(line: Scalar, key: str) -> list[str]:
    try:
        return shlex.split(line.text)
    except ValueError:
        raise replace(line, name=key).wrong("a command line with its quotes closed") from None
