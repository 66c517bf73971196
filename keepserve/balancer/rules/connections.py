"""Rules about the life of a connection: who closes it first, whether it is kept, how often it is used.

RFC 9112 section 9.5 lets either side close an idle connection at any time; RFC 9110 section 9.2.2 forbids a proxy
to repeat a POST by itself. Together they make the order of the two idle clocks a matter of lost requests.
"""

from __future__ import annotations

import math

from keepserve.balancer.facts import Fact
from keepserve.balancer.ordering import SAFE_MARGIN
from keepserve.balancer.presets import PRESETS, Preset
from keepserve.balancer.rules.finding import Case, Level, ask
from keepserve.config.durations import format_duration
from keepserve.config.settings import DEFAULT_KEEP_ALIVE_MARGIN

LAYER_4 = ("nlb", "azure-lb")
"""Balancers that pass bytes on: they have no connections of their own, so nobody's request is lost by our closing."""


def keep_alive_order(case: Case) -> None:
    """The balancer must let go of an idle connection before we do, with a margin."""
    fact = case.pool.idle_timeout
    if fact is None:
        return
    if case.pool.kind in LAYER_4:
        _layer_4(case, fact)
        return
    gap = case.settings.keep_alive_timeout - fact.value
    ours = case.told("keep_alive_timeout")
    if math.isinf(fact.value):
        case.add(
            "keep-alive-order",
            _weight(case),
            f"The balancer keeps idle connections without a limit of its own ({fact}): no keep-alive of ours can be "
            f"long enough, and keepserve will close some that are about to be used ({ours}). Give it one.",
            fact,
            theirs=_shorter(case, fact),
        )
    elif gap <= 0:
        case.add(
            "keep-alive-order",
            _weight(case),
            f"The balancer keeps idle connections for {format_duration(fact.value)} ({fact}), keepserve for "
            f"{format_duration(case.settings.keep_alive_timeout)}: {ours} must be longer, or requests sent while "
            "keepserve closes get 502." + _unused(case),
            fact,
            ours=_longer(case, fact.value),
            theirs=_shorter(case, fact),
        )
    elif gap < SAFE_MARGIN:
        case.add(
            "keep-alive-order",
            Level.WARNING,
            f"{ours} is only {format_duration(gap)} longer than the balancer's {format_duration(fact.value)} "
            f"({fact}): a busy event loop or network can still lose the race.",
            fact,
            ours=_longer(case, fact.value),
            theirs=_shorter(case, fact),
        )
    else:
        better = _longer(case, fact.value) if _better_said(case, fact.value) else ""
        case.ok(
            "keep-alive-order",
            f"The balancer lets go first, after {format_duration(fact.value)} ({fact}), {format_duration(gap)} "
            f"before keepserve would ({ours})."
            + (" Say so to keepserve, so that it knows whom it outlasts." if better else ""),
            fact,
            ours=better,
        )


def _layer_4(case: Case, fact: Fact[float]) -> None:
    case.ok(
        "keep-alive-order",
        f"The balancer passes bytes on and forgets a silent connection after {format_duration(fact.value)} ({fact}). "
        "keepserve's TCP keep-alive probes keep it remembered; the clients behind it decide how long they keep one.",
        fact,
    )


def _weight(case: Case) -> Level:
    # A balancer that is told to close after every response has no idle connection to lose: its clock is a trap for
    # later. One that does so by default may be of a version that does not.
    keeps = case.pool.keeps
    return Level.WARNING if keeps is not None and not keeps.source and not keeps.value else Level.PROBLEM


def _unused(case: Case) -> str:
    return " (As it stands it keeps no connection at all.)" if _weight(case) is Level.WARNING else ""


def _margin(case: Case) -> float:
    margin = case.settings.keep_alive_margin
    return margin if margin >= SAFE_MARGIN else DEFAULT_KEEP_ALIVE_MARGIN


def _longer(case: Case, idle: float) -> str:
    """What to tell keepserve about a balancer with that idle timeout."""
    if case.chosen("keep_alive_timeout") and case.settings.keep_alive_timeout - idle < SAFE_MARGIN:
        return ask("keep_alive_timeout", idle + _margin(case))
    preset = _preset(case.pool.kind)
    if preset is None or _same_family(case.settings.lb, preset.name):
        return ask("lb_idle_timeout", idle)
    return _named(preset, idle)


def _better_said(case: Case, idle: float) -> bool:
    """Nobody told keepserve which balancer this is: its clocks fit by default, and by luck."""
    return not (case.settings.lb or case.chosen("lb_idle_timeout") or case.chosen("keep_alive_timeout"))


def _shorter(case: Case, fact: Fact[float]) -> str:
    seconds = math.floor(case.settings.keep_alive_timeout - _margin(case))
    return case.theirs("idle", fact, seconds=seconds) if seconds > 0 else ""


def connections_kept(case: Case) -> None:
    """A connection for each request costs a handshake each; nothing is lost."""
    fact = case.pool.keeps
    if fact is None:
        return
    if fact.value:
        case.ok("connections-kept", f"Connections are kept for further requests ({fact}).", fact)
    else:
        case.add(
            "connections-kept",
            Level.WARNING,
            f"The balancer opens a connection for every request ({fact}). Nothing is lost by it, but each request "
            "pays for a handshake, and ports run out under load.",
            fact,
            theirs=case.theirs("keep", fact),
        )


def connection_limits(case: Case) -> None:
    """Who ends a busy connection: either way it is announced on a response, so the order does not matter."""
    s = case.settings
    requests, age = case.pool.max_requests, case.pool.max_age
    if requests is not None:
        h2 = case.pool.protocol is not None and case.pool.protocol.value == "h2"
        name = "http2_max_connection_requests" if h2 else "max_connection_requests"
        case.ok(
            "connection-limits",
            f"Requests on a connection: {requests}; here {case.told(name)}. {_ANNOUNCED}",
            requests,
        )
    if age is not None:
        theirs = "no limit" if math.isinf(age.value) else format_duration(age.value)
        ours = case.told("max_connection_age")
        silent = math.isinf(age.value) and s.max_connection_age == 0
        tail = "Nobody ends a busy connection, so new instances get few." if silent else _ANNOUNCED
        case.ok("connection-limits", f"Age of a connection: {theirs} ({age}); here {ours}. {tail}", age)


_ANNOUNCED = "Whoever comes first says so on a response, so nothing is lost."


def same_balancer(case: Case, others: set[str]) -> None:
    """``--lb`` must not name another balancer than the one whose file this is.

    ``others``: the kinds of all files that were read; with several in a row, one of them is the one in front of us.
    """
    lb, preset = case.settings.lb, _preset(case.pool.kind)
    if lb is None or preset is None or any(_same_family(lb, other) for other in others):
        return
    idle = case.pool.idle_timeout
    case.add(
        "balancer-name",
        Level.WARNING,
        f"{case.told('lb')} says otherwise than this file, which is {preset.title}'s: keepserve's clocks are "
        f"those for {PRESETS[lb].title if lb in PRESETS else lb}.",
        ours=_named(preset, idle.value if idle is not None else None),
    )


def _named(preset: Preset, idle: float | None) -> str:
    named = ask("lb", preset.name)
    if idle is None or math.isinf(idle) or preset.idle == idle:
        return named
    return f"{named} {ask('lb_idle_timeout', idle)}"


_FAMILIES = ({"nginx", "ingress-nginx"}, {"envoy", "istio", "envoy-gateway"})


def _preset(kind: str) -> Preset | None:
    # Envoy Gateway has no preset of its own: it is Envoy, with Envoy's clocks.
    return PRESETS.get("envoy" if kind == "envoy-gateway" else kind)


def _same_family(one: str | None, other: str) -> bool:
    return one == other or any({one, other} <= family for family in _FAMILIES)
