"""What is measured: the work of the goals, and how costs grow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from tests.bench import measures, wrk
from tests.bench.checks import Ask
from tests.bench.figures import Goal, Table
from tests.bench.measures import Measure
from tests.bench.peers import Server
from tests.bench.setups import ECHO, HTTP2, JSON, WEBSOCKET, WORK, Setup
from tests.bench.work_app import CHUNK, CHUNKS, KIB_64, MIB

_HELLO = Ask()


@dataclass(frozen=True)
class Scenario:
    """Something to measure.

    ``setups``: servers are started like that, one process for each. ``ask``: the check before and during it.
    ``more``: a greater figure is better. ``limit``: the bare-limit server takes part. ``fresh``: each figure comes
    from a server that was just started. ``rounds`` are enough, where one takes long. Scenarios of a ``family`` are
    points of a curve.
    """

    name: str
    title: str
    unit: str
    measure: Measure
    setups: tuple[Setup, ...] = (Setup(),)
    ask: Ask = _HELLO
    more: bool = True
    limit: bool = False
    fresh: bool = False
    rounds: int = 1000
    goals: tuple[Goal, ...] = ()
    family: str = ""
    point: float = 0.0

    def takes(self, server: Server) -> bool:
        """Whether a server can be measured in it."""
        return all(server.takes(setup) for setup in self.setups) and (self.limit or server.role != "limit")

    def table(self) -> Table:
        """An empty table for it."""
        return Table(self.name, self.title, self.unit, self.more, self.goals, self.family, self.point)


_RATE, _CPU, _KIB = "requests/s", "µs of CPU per request", "KiB per connection"
_H2 = (Setup(protocol=HTTP2),)
_TLS, _H2_TLS = (Setup(tls=True),), (Setup(protocol=HTTP2, tls=True),)
_WORK, _WEBSOCKET = (Setup(app=WORK),), (Setup(app=ECHO, protocol=WEBSOCKET),)
_LOGGED = Setup(access_log=True)
_EVEN = (Goal(1.0),)
_OCTETS = "application/octet-stream"


def _http1() -> list[Scenario]:
    hello = measures.requests(_HELLO)
    fields = Ask(fields=wrk.BALANCER_FIELDS)
    close = Ask(fields=(("Connection", "close"),))
    goals = (Goal(1.25), Goal(0.5, "bare"))
    return [
        Scenario("http1/hello", "HTTP/1.1 hello, 64 connections", _RATE, hello, limit=True, goals=goals),
        Scenario(
            "http1/balancer-fields",
            "HTTP/1.1, 12 balancer's fields, unique trace ids",
            _RATE,
            measures.requests(fields, lua=wrk.UNIQUE_FIELDS),
            ask=fields,
            limit=True,
            goals=(Goal(1.25),),
        ),
        Scenario(
            "http1/connection-per-request",
            "HTTP/1.1, a connection per request",
            _RATE,
            measures.requests(close),
            ask=close,
            goals=(Goal(1.0, "uvicorn"),),
        ),
        Scenario(
            "http1/latency",
            "HTTP/1.1, p99 latency at half of the own peak",
            "ms",
            measures.latency(_HELLO),
            more=False,
            limit=True,
            goals=_EVEN,
        ),
        Scenario("http1/access-log", "HTTP/1.1 hello, access log on", _RATE, hello, (_LOGGED,)),
        Scenario(
            "http1/access-log-share",
            "HTTP/1.1 hello, access log on against off",
            "of its own rate",
            measures.share_of_itself(_HELLO),
            (Setup(), _LOGGED),
            goals=(Goal(0.9, ""),),
        ),
    ]


def _http2() -> list[Scenario]:
    goals = (Goal(1.4),)
    return [
        Scenario("http2/1x100", "HTTP/2, 1 connection x 100 streams", _RATE, _streams(1, 100), _H2, goals=goals),
        Scenario("http2/8x32", "HTTP/2, 8 connections x 32 streams", _RATE, _streams(8, 32), _H2, goals=goals),
        Scenario(
            "http2/envoy",
            "HTTP/2 behind Envoy, unique x-request-id",
            "requests per CPU second",
            measures.behind_envoy(_HELLO),
            _H2,
            goals=(Goal(1.2),),
        ),
    ]


def _streams(connections: int, streams: int) -> Measure:
    return measures.http2_requests(_HELLO, connections, streams)


def _bodies() -> list[Scenario]:
    # A body that tells truncation and mixing-up apart, and that Lua can build from its first 256 bytes.
    echo = Ask("/echo", "POST", KIB_64, answer=KIB_64, type=_OCTETS)
    stream = Ask("/stream", answer=CHUNK * CHUNKS, type=_OCTETS)
    item = Ask(
        "/items/7?tag=fresh",
        answer=b'{"number":7,"name":"item 7","tags":["fresh","measured"]}',
        type="application/json",
    )
    return [
        _work("post-64k", "POST 64 KiB, echoed", echo, 64),
        _work("get-64k", "GET 64 KiB", Ask("/64k", answer=KIB_64, type=_OCTETS), 64),
        _work("get-1m", "GET 1 MiB", Ask("/1m", answer=MIB, type=_OCTETS), 16),
        _work("stream", "100 chunks of 1 KiB", stream, 64),
        Scenario(
            "app/fastapi",
            "FastAPI JSON route",
            _RATE,
            measures.requests(item),
            (Setup(app=JSON),),
            item,
            goals=_EVEN,
        ),
    ]


def _work(name: str, title: str, ask: Ask, connections: int) -> Scenario:
    measure = measures.requests(ask, connections)
    return Scenario(f"body/{name}", f"HTTP/1.1, {title}", _RATE, measure, _WORK, ask, goals=_EVEN)


def _others() -> list[Scenario]:
    near = (Goal(1.0, "uvicorn"),)
    near_http2 = (Goal(1.0, "uvicorn-zttp"),)
    return [
        Scenario(
            "tls/http1", "TLS, HTTP/1.1 hello, 64 connections", _RATE, measures.requests(_HELLO), _TLS, goals=near
        ),
        Scenario("tls/http2", "TLS, HTTP/2, 8 x 32", _RATE, _streams(8, 32), _H2_TLS, goals=near_http2),
        Scenario(
            "websocket/echo", "WebSocket echo, 64 x 32 B", "messages/s", measures.echoes(), _WEBSOCKET, goals=_EVEN
        ),
    ]


def _idle() -> list[Scenario]:
    patient = Setup(patient=True)
    quiet = Setup(app=ECHO, protocol=WEBSOCKET, patient=True)

    def held(name: str, title: str, setup: Setup, limit: bool = False, goals: tuple[Goal, ...] = ()) -> Scenario:
        # A handshake is dear, and one follows another.
        count = 1000 if setup.tls else 4000
        return Scenario(
            f"memory/{name}",
            f"Memory, idle {title}",
            _KIB,
            measures.memory(count),
            (setup,),
            more=False,
            limit=limit,
            fresh=True,
            rounds=3,
            goals=goals,
        )

    def cpu(name: str, title: str, count: int, setup: Setup, goals: tuple[Goal, ...] = ()) -> Scenario:
        unit = "% of a CPU"
        measure = measures.idle_cpu(count)
        return Scenario(
            f"idle/{name}", title, unit, measure, (setup,), more=False, limit=True, fresh=True, rounds=3, goals=goals
        )

    return [
        held("http1", "HTTP/1.1", patient, limit=True, goals=(Goal(3.5, ""),)),
        held("http2", "HTTP/2", Setup(protocol=HTTP2, patient=True)),
        held("tls", "TLS, HTTP/1.1", Setup(tls=True, patient=True)),
        held("tls-http2", "TLS, HTTP/2", Setup(protocol=HTTP2, tls=True, patient=True)),
        held("websocket", "WebSocket", quiet),
        held("websocket-deflate", "compressed WebSocket", Setup(ECHO, WEBSOCKET, patient=True, deflate=True)),
        cpu("10000", "CPU of 10,000 idle connections", 10_000, patient, (Goal(0.5, ""),)),
        cpu("none", "CPU without any connection", 0, Setup()),
        Scenario(
            "start/cold",
            "Cold start: command to first answer",
            "ms",
            measures.cold_start(),
            more=False,
            limit=True,
            fresh=True,
        ),
    ]


def _curve(
    family: str,
    title: str,
    points: Sequence[int],
    make: Callable[[int], tuple[Measure, Setup, Ask]],
    limit: bool = False,
) -> list[Scenario]:
    found = []
    for point in points:
        measure, setup, ask = make(point)
        name = f"growth/{family}/{point}"
        found.append(
            Scenario(
                name,
                f"{title}: {point:,}",
                _CPU,
                measure,
                (setup,),
                ask,
                more=False,
                limit=limit,
                family=title,
                point=point,
            )
        )
    return found


def _growth() -> list[Scenario]:
    def connections(count: int) -> tuple[Measure, Setup, Ask]:
        return measures.cpu_per_request(_HELLO, count), Setup(), _HELLO

    def streams(count: int) -> tuple[Measure, Setup, Ask]:
        measure = measures.http2_requests(_HELLO, 1, count, per_cpu=True)
        return measure, Setup(protocol=HTTP2, streams=1000), _HELLO

    def fields(count: int) -> tuple[Measure, Setup, Ask]:
        ask = Ask(fields=wrk.many_fields(count))
        return measures.cpu_per_request(ask), Setup(), ask

    def body(size: int) -> tuple[Measure, Setup, Ask]:
        sent = (KIB_64 * -(-size // len(KIB_64)))[:size]
        ask = Ask("/count", "POST", sent, answer=b"%d" % size, type=_OCTETS)
        return measures.cpu_per_request(ask, 8), Setup(app=WORK), ask

    def workers(count: int) -> tuple[Measure, Setup, Ask]:
        return measures.cpu_per_request(_HELLO), Setup(workers=count), _HELLO

    return [
        *_curve("fields", "fields of a request", (0, 16, 32, 64), fields),
        *_curve("connections", "connections", (1, 10, 100, 1000, 10_000), connections, limit=True),
        *_curve("streams", "streams of an HTTP/2 connection", (1, 10, 100, 1000), streams),
        *_curve("body", "bytes of a request body", (0, 1 << 10, 64 << 10, 1 << 20, 10 << 20), body),
        *_curve("workers", "workers", (1, 2), workers),
    ]


SCENARIOS = (*_http1(), *_http2(), *_bodies(), *_others(), *_idle(), *_growth())
"""All of them. Neighbours that start servers alike share them."""


def chosen(patterns: Sequence[str], *, goals_only: bool = False) -> list[Scenario]:
    """Those whose name matches a pattern, or all; raises ``ValueError`` for a pattern that nothing matches."""
    for pattern in patterns:
        if not any(fnmatchcase(scenario.name, pattern) for scenario in SCENARIOS):
            raise ValueError(f"No scenario matches {pattern!r}; --list names all of them.")
    return [
        scenario
        for scenario in SCENARIOS
        if (not patterns or any(fnmatchcase(scenario.name, pattern) for pattern in patterns))
        and (scenario.goals or not goals_only)
    ]
