"""How a figure is found: one function for each kind of work, given servers that run and answer correctly."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench import envoy, h2load, websocket_load, wrk
from tests.bench.checks import Ask, WrongAnswer, check, wait_until_right
from tests.bench.environment import Environment
from tests.bench.idle import held
from tests.bench.processes import Unavailable, cpu_seconds, resident
from tests.bench.setups import Target

SETTLE = 0.5
"""Seconds after which a server has done what opening or closing connections makes it do."""


def _no_balancer() -> Environment:
    raise Unavailable("there is no balancer here")


@dataclass
class Context:
    """What every measurement is given. ``warming``: this round does not count.

    ``known`` is what the warm-up found out about this server in this scenario; ``balancer`` gives Envoy.
    """

    seconds: int
    cpu: str
    scratch: Path
    balancer: Callable[[], Environment] = _no_balancer
    warming: bool = False
    known: dict[str, float] = field(default_factory=dict)

    @property
    def time(self) -> int:
        """Seconds of load: a warm-up is over after one."""
        return 1 if self.warming else self.seconds


@dataclass(frozen=True)
class Sample:
    """A figure, and how many CPUs the server was busy with meanwhile, where that says something."""

    value: float
    busy: float | None = None


Measure = Callable[[Context, tuple[Target, ...]], Sample]


def _wrk(context: Context, target: Target, ask: Ask, connections: int, lua: str = "") -> tuple[wrk.Run, float]:
    """A run and the server's CPU seconds. In the warm-up every response is compared, later their number and size."""
    expected = context.scratch / "expected"
    expected.write_bytes(ask.answer)
    file = context.scratch / "wrk.lua"
    file.write_text(wrk.script(ask, expected if context.warming else None, lua))
    # Connecting is part of wrk's time, and begins with all of them at once.
    seconds = context.time + connections // 2000
    before = cpu_seconds(target.pid)
    run = wrk.load(target.url(ask.path), connections, seconds, context.cpu, file)
    used = cpu_seconds(target.pid) - before
    wrk.judge_run(run, context.known.get("size"), connections)
    if context.warming:
        context.known["size"] = run.size
    return run, used


def requests(ask: Ask, connections: int = 64, lua: str = "") -> Measure:
    """Requests per second over HTTP/1.1."""

    def measure(context: Context, targets: tuple[Target, ...]) -> Sample:
        run, used = _wrk(context, targets[0], ask, connections, lua)
        return Sample(run.rate, used * 1e6 / run.microseconds)

    return measure


def cpu_per_request(ask: Ask, connections: int = 64) -> Measure:
    """Microseconds of the server's CPU for each request over HTTP/1.1."""

    def measure(context: Context, targets: tuple[Target, ...]) -> Sample:
        run, used = _wrk(context, targets[0], ask, connections)
        return Sample(used * 1e6 / run.requests, used * 1e6 / run.microseconds)

    return measure


def share_of_itself(ask: Ask, connections: int = 64) -> Measure:
    """Requests per second of the second setup, as a share of the first one's."""

    def measure(context: Context, targets: tuple[Target, ...]) -> Sample:
        plain, other = (_wrk(context, target, ask, connections)[0] for target in targets)
        return Sample(other.rate / plain.rate)

    return measure


def http2_requests(ask: Ask, connections: int, streams: int, *, per_cpu: bool = False) -> Measure:
    """Requests per second over HTTP/2, or with ``per_cpu`` microseconds of the server's CPU for each."""

    def measure(context: Context, targets: tuple[Target, ...]) -> Sample:
        (target,) = targets
        before = cpu_seconds(target.pid)
        run = h2load.load(target.url(ask.path), connections, streams, context.time, context.cpu)
        used = cpu_seconds(target.pid) - before
        h2load.judge_run(run, len(ask.answer))
        # The warm-up is in both: h2load counts its bodies, though not its requests.
        each = used * len(ask.answer) / run.data
        return Sample(each * 1e6 if per_cpu else run.rate, run.rate * each)

    return measure


def behind_envoy(ask: Ask) -> Measure:
    """Requests for each second of the server's CPU, over HTTP/2 from Envoy, each with an x-request-id of its own.

    Envoy and h2load share the load's CPU, so requests per second would tell of them more than of the server.
    """

    def measure(context: Context, targets: tuple[Target, ...]) -> Sample:
        (target,) = targets
        with envoy.in_front(context.balancer(), target.port, context.cpu, context.scratch) as port:
            front = target.at(port)
            wait_until_right(lambda: check(front, ask), lambda: True, 15, 0.05)
            before = cpu_seconds(target.pid)
            run = h2load.load(front.url(ask.path), 8, 32, context.time, context.cpu)
            used = cpu_seconds(target.pid) - before
        h2load.judge_run(run, len(ask.answer))
        each = used * len(ask.answer) / run.data
        return Sample(1 / each, run.rate * each)

    return measure


def latency(ask: Ask, connections: int = 64) -> Measure:
    """Milliseconds that 99 % of the requests stay below, at half of the rate the server reaches a moment before."""

    def measure(context: Context, targets: tuple[Target, ...]) -> Sample:
        (target,) = targets
        peak, _ = _wrk(context, target, ask, connections)
        rate = peak.rate / 2
        log = context.scratch / "latencies"
        run, latencies = h2load.at_rate(target.url(ask.path), connections, rate, context.time, context.cpu, log)
        h2load.judge_run(run, len(ask.answer))
        if run.rate < 0.75 * rate:
            raise WrongAnswer(f"{run.rate:,.0f} requests/s instead of {rate:,.0f}, half of its own peak")
        return Sample(h2load.percentile_at_rate(latencies, connections * 1e6 / rate, 0.99) / 1000)

    return measure


def echoes(connections: int = 64, size: int = 32) -> Measure:
    """WebSocket messages echoed per second."""

    def measure(context: Context, targets: tuple[Target, ...]) -> Sample:
        (target,) = targets
        before = cpu_seconds(target.pid)
        rate, count = websocket_load.load(target.port, connections, size, context.time, context.cpu)
        used = cpu_seconds(target.pid) - before
        return Sample(rate, rate * used / count)

    return measure


def memory(count: int) -> Measure:
    """KiB a server grows by for each connection that has carried one request and is idle."""

    def measure(context: Context, targets: tuple[Target, ...]) -> Sample:
        (target,) = targets
        with held(target, 200):
            time.sleep(SETTLE)
        time.sleep(SETTLE)
        before = resident(target.pid)
        with held(target, count):
            time.sleep(SETTLE)
            grown = resident(target.pid) - before
        return Sample(max(grown, 0) / count / 1024)

    return measure


def idle_cpu(count: int = 0) -> Measure:
    """Per cent of a CPU that a server uses while nothing happens on so many connections."""

    def measure(context: Context, targets: tuple[Target, ...]) -> Sample:
        (target,) = targets
        with held(target, count):
            time.sleep(2 * SETTLE)
            before, began = cpu_seconds(target.pid), time.perf_counter()
            time.sleep(max(3, context.time))
            used, elapsed = cpu_seconds(target.pid) - before, time.perf_counter() - began
        return Sample(100 * used / elapsed)

    return measure


def cold_start() -> Measure:
    """Milliseconds from the command to the first right answer."""
    return lambda context, targets: Sample(targets[0].started_in * 1000)
