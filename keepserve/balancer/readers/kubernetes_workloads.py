"""Kubernetes workloads: how long a pod has to stop, what its preStop hook takes of that, and its readiness probe."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace

from keepserve.balancer.facts import Fact, Pool, UnreadableError
from keepserve.balancer.readers.containers import chosen_container, settings_note
from keepserve.balancer.readers.tree import Mapping, Scalar

WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Rollout", "Pod")

_LIFECYCLE_DOCS = "https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-termination"
_PROBE_DOCS = (
    "https://kubernetes.io/docs/tasks/configure-pod-container/"
    "configure-liveness-readiness-startup-probes/#configure-probes"
)
_HOOK_DOCS = "https://kubernetes.io/docs/concepts/containers/container-lifecycle-hooks/"

_GRACE = Fact(30.0, "terminationGracePeriodSeconds", source=_LIFECYCLE_DOCS)
_NO_HOOK = Fact(0.0, "lifecycle.preStop", source=_HOOK_DOCS)
_PERIOD = Fact(10.0, "readinessProbe.periodSeconds", source=_PROBE_DOCS)
_FAILURES = Fact(3, "readinessProbe.failureThreshold", source=_PROBE_DOCS)

_WORDS, _ENVIRONMENT = ("command", "args"), "env"
_SHELLS = frozenset(("sh", "bash", "ash", "dash"))
_SLEEP = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)([smhd]?)", re.ASCII)
_FACTORS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


def workload_pool(item: Mapping) -> Pool:
    """The pool of one workload, for the container in it that runs keepserve. Raises UnreadableError."""
    kind, name = item.string("kind"), item.string("metadata", "name") or "(unnamed)"
    path = ("spec",) if kind == "Pod" else ("spec", "template", "spec")
    spec = item.mapping(*path)
    if spec is None:
        raise UnreadableError(f'{item.place}: {kind} "{name}" has no {".".join(path)}: is this the whole file?')
    grace = spec.scalar("terminationGracePeriodSeconds")
    notes: list[str] = []
    pool = Pool(
        kind="kubernetes",
        name=f"{kind} {name}",
        place=item.place,
        kill_after=grace.fact(float(grace.integer())) if grace is not None else _GRACE,
    )
    containers = list(spec.sequence("containers").mappings())
    if not containers:
        raise UnreadableError(f'{spec.place}: {kind} "{name}" has no containers: is this the whole file?')
    ours = chosen_container(containers, _WORDS, _ENVIRONMENT)
    if ours is not None:
        pool = _with_container(pool, ours, notes)
    else:
        notes.append(
            f"Which of the {len(containers)} containers of {pool.name} runs keepserve cannot be told, because not "
            "exactly one names it in command, args or environment: no hook and no probe is compared."
        )
    return replace(pool, notes=tuple(notes))


def _with_container(pool: Pool, container: Mapping, notes: list[str]) -> Pool:
    name = container.string("name")
    pool = replace(pool, name=f"{pool.name}, container {name}" if name else pool.name, place=container.place)
    notes += settings_note(container, _WORDS, _ENVIRONMENT)
    return _with_probe(replace(pool, pre_stop=_pre_stop(container, notes)), container, notes)


def _pre_stop(container: Mapping, notes: list[str]) -> Fact[float] | None:
    hook = container.mapping("lifecycle", "preStop")
    if hook is None:
        return _NO_HOOK
    seconds = hook.scalar("sleep", "seconds")
    if seconds is not None:
        return Fact(float(seconds.integer()), f"preStop sleep {seconds.words}", seconds.place)
    command = [word.string() for word in hook.sequence("exec", "command").scalars()] if hook.has("exec") else []
    slept = _slept(command)
    if slept is None:
        shown = f" ({shlex.join(command)})" if command else ""
        notes.append(
            f"How long the preStop hook{shown} takes cannot be told ({hook.place}); "
            "it runs before we are told to stop, within terminationGracePeriodSeconds."
        )
        return None
    return Fact(slept, f"preStop: {shlex.join(command)}", hook.sequence("exec", "command").place)


def _slept(command: list[str]) -> float | None:
    """The seconds that ``sleep N``, perhaps by way of a shell, takes; None for anything else."""
    if len(command) == 3 and command[0].rpartition("/")[2] in _SHELLS and command[1] == "-c":
        try:
            command = shlex.split(command[2])
        except ValueError:
            return None
    if len(command) < 2 or command[0].rpartition("/")[2] != "sleep":
        return None
    parts = [_SLEEP.fullmatch(word) for word in command[1:]]
    if not all(parts):
        return None
    return sum(float(part[1]) * _FACTORS[part[2]] for part in parts if part is not None)


def _with_probe(pool: Pool, container: Mapping, notes: list[str]) -> Pool:
    probe = container.mapping("readinessProbe")
    if probe is None:
        notes.append(
            f"The container has no readinessProbe ({container.place}): new pods get requests before they are ready."
        )
        return pool
    where = probe.mapping("httpGet")
    if where is None:
        notes.append(f"The readinessProbe asks no HTTP path ({probe.place}), so it does not see that we drain.")
    period, failures = probe.scalar("periodSeconds"), probe.scalar("failureThreshold")
    return replace(
        pool,
        health_path=_path(where) if where is not None else None,
        health_interval=period.fact(float(period.integer(1))) if period is not None else _PERIOD,
        health_threshold=failures.fact(failures.integer(1)) if failures is not None else _FAILURES,
    )


def _path(where: Mapping) -> Fact[str]:
    path: Scalar | None = where.scalar("path")
    return path.fact(path.string()) if path is not None else Fact("/", "httpGet.path", source=_PROBE_DOCS)
