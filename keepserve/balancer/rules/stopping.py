"""Rules about a stop: does the balancer notice in time, and is there time enough to finish."""

from __future__ import annotations

import math

from keepserve.balancer.rules.finding import Case, Level, ask
from keepserve.config.durations import format_duration

_DEREGISTERING = ("kubernetes", "ecs", "alb", "nlb", "classic-elb", "istio", "envoy-gateway", "ingress-nginx")
"""Kinds that are told by an orchestrator which server leaves; their health checks are for servers that fail."""

_SLOWEST_ANNOUNCEMENT = 5.0
"""Seconds a cluster commonly needs until no node sends to a pod that is terminating."""


def health(case: Case) -> None:
    """The health check must ask keepserve itself, and fail before the listeners close."""
    path, interval, ours = case.pool.health_path, case.pool.health_interval, case.settings.health_path
    if path is None:
        if interval is not None and ours is not None and case.settings.drain_delay > 0:
            case.add(
                "health",
                Level.WARNING,
                f"The balancer only checks that a connection can be opened ({interval}): it does not see the 503 of "
                f"{case.told('health_path')}, so {case.told('drain_delay')} tells it nothing.",
                interval,
                theirs=case.theirs("health", path=ours),
            )
        return
    if ours is None:
        _unasked(case)
    elif path.value.partition("?")[0] != ours:
        case.add(
            "health",
            Level.WARNING,
            f"The balancer checks {path.value} ({path}), which the application answers; only "
            f"{case.told('health_path')} says 503 while keepserve drains.",
            path,
            ours=ask("health_path", path.value.partition("?")[0]),
            theirs=case.theirs("health", path, path=ours),
        )
    elif case.pool.kind == "nlb" and case.settings.drain_delay > 0:
        case.add(
            "health",
            Level.WARNING,
            f"The balancer cuts the connections of a server that fails its checks ({path}); with "
            f"{case.told('drain_delay')} keepserve fails them first thing in a stop, while requests are running.",
            path,
            ours=ask("drain_delay", 0.0),
        )
    else:
        _noticed_in_time(case)


def _unasked(case: Case) -> None:
    path = case.pool.health_path
    assert path is not None
    mine = path.value.partition("?")[0]
    sentence = (
        f"The balancer checks {path.value} ({path}), which the application answers, also while keepserve drains."
    )
    if case.pool.kind in _DEREGISTERING:
        case.ok("health", f"{sentence} Who leaves is decided elsewhere, so that is enough.", path)
    else:
        case.add(
            "health",
            Level.WARNING,
            f"{sentence} It learns of a stop by failed connections only. With both options keepserve answers the "
            "check itself, and says 503 before it closes the door.",
            path,
            ours=f"{ask('health_path', mine)} {ask('drain_delay', _needed(case) or 10.0)}",
        )


def _needed(case: Case) -> float | None:
    interval, threshold = case.pool.health_interval, case.pool.health_threshold
    if interval is None or threshold is None:
        return None
    return interval.value * threshold.value


def _noticed_in_time(case: Case) -> None:
    path, interval, threshold = case.pool.health_path, case.pool.health_interval, case.pool.health_threshold
    needed = _needed(case)
    if needed is None or interval is None or threshold is None:
        case.ok("health", f"The balancer checks what keepserve answers ({path}); how often is not known.", path)
        return
    counted = (
        f"{threshold.value} x {format_duration(interval.value)} = {format_duration(needed)} ({interval}; {threshold})"
    )
    if case.settings.drain_delay >= needed:
        case.ok(
            "health", f"The balancer notices a stop within {counted}; {case.told('drain_delay')} covers it.", interval
        )
    elif case.pool.kind in _DEREGISTERING:
        case.ok("health", f"Failed checks take {counted}; who leaves is decided elsewhere, and faster.", interval)
    else:
        case.add(
            "health",
            Level.WARNING,
            f"The balancer notices a stop only after {counted}, and {case.told('drain_delay')} is shorter: keepserve "
            "would close its listeners while requests still come.",
            interval,
            ours=ask("drain_delay", math.ceil(needed)),
        )


def drain(case: Case) -> None:
    """The phases of a stop must fit into what the orchestrator and the balancer allow."""
    _before_the_kill(case)
    _before_it_gives_up(case)
    _announced(case)


def _before_the_kill(case: Case) -> None:
    kill = case.pool.kill_after
    if kill is None or math.isinf(kill.value):
        return
    s = case.settings
    before = case.pool.pre_stop.value if case.pool.pre_stop is not None else 0.0
    room = kill.value - before
    after = f", of which {format_duration(before)} pass before the signal ({case.pool.pre_stop})" if before else ""
    phases = " + ".join(
        case.told(name) for name in ("drain_delay", "drain_timeout", "drain_cancel", "shutdown_timeout")
    )
    if s.stop_budget <= room:
        unsaid = s.stop_grace is None
        case.ok(
            "drain",
            f"A stop takes {format_duration(s.stop_budget)} at the most and is killed after "
            f"{format_duration(room)} ({kill}{after})."
            + (" Let keepserve check that at every start." if unsaid else ""),
            kill,
            ours=ask("stop_grace", room) if unsaid else "",
        )
        return
    spare = s.drain_timeout - (s.stop_budget - room)
    case.add(
        "drain",
        Level.PROBLEM,
        f"{phases} = {format_duration(s.stop_budget)} does not fit into {format_duration(room)} ({kill}{after}): "
        "keepserve would be killed with requests still running.",
        kill,
        ours=ask("drain_timeout", spare) if spare > 0 else "",
        theirs=case.theirs("kill", kill, seconds=math.ceil(s.stop_budget + before)),
    )


def _before_it_gives_up(case: Case) -> None:
    fact = case.pool.drain_time
    if fact is None:
        return
    s = case.settings
    working = s.drain_delay + s.drain_timeout
    told = f"{case.told('drain_delay')} + {case.told('drain_timeout')} = {format_duration(working)}"
    if working <= fact.value:
        case.ok(
            "drain",
            f"The balancer waits {format_duration(fact.value)} for running requests ({fact}), keepserve {told}.",
            fact,
        )
        return
    case.add(
        "drain",
        Level.WARNING,
        f"The balancer gives up on the requests of a leaving server after {format_duration(fact.value)} ({fact}), "
        f"keepserve would let them run on: {told}.",
        fact,
        ours=ask("drain_timeout", fact.value - s.drain_delay) if fact.value > s.drain_delay else "",
        theirs=case.theirs("drain", fact, seconds=math.ceil(working)),
    )


def _announced(case: Case) -> None:
    """Kubernetes sends the signal and takes the pod out of the endpoints at the same time, so we must wait for it."""
    if case.pool.kind != "kubernetes":
        return
    pre_stop = case.pool.pre_stop
    waited = case.settings.drain_delay + (pre_stop.value if pre_stop is not None else 0.0)
    if waited >= _SLOWEST_ANNOUNCEMENT:
        case.ok(
            "drain",
            f"keepserve goes on accepting for {format_duration(waited)} while the cluster takes it out.",
            pre_stop,
        )
        return
    case.add(
        "drain",
        Level.WARNING,
        "The cluster sends the stop signal and takes the pod out of its endpoints at the same time, and some nodes "
        f"are late: keepserve would refuse connections after {format_duration(waited)}. Keep accepting for longer.",
        pre_stop,
        ours=ask("drain_delay", 10.0),
        theirs="lifecycle: { preStop: { sleep: { seconds: 10 } } }",
    )
