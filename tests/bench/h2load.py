"""h2load: HTTP/2 under load, and HTTP/1.1 at a constant rate."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.bench.checks import WrongAnswer
from tests.bench.processes import Unavailable, need, run_load

WARM_UP = 0.5
"""Seconds before h2load begins to count."""
_WARMING = f"--warm-up-time={WARM_UP * 1000:.0f}ms"

_RATE = re.compile(r"finished in .*?, ([\d.]+) req/s")
_REQUESTS = re.compile(r"(\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout")
_CODES = re.compile(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx")
_DATA = re.compile(r"\((\d+)\) data")


@dataclass(frozen=True)
class Run:
    """What h2load counted. ``data`` are bytes of bodies, the warm-up's included; ``statuses`` those it could read."""

    rate: float
    done: int
    bad: int
    other: int
    data: int
    statuses: int


def read_run(output: str) -> Run:
    """Find the figures in what h2load printed."""
    rate, requests, codes, data = (pattern.search(output) for pattern in (_RATE, _REQUESTS, _CODES, _DATA))
    if rate is None or requests is None or codes is None or data is None:
        raise Unavailable(f"h2load printed no figures: {output.strip()[-200:]!r}")
    done, succeeded, *bad = map(int, requests.groups())
    other = sum(map(int, codes.groups()[1:])) + done - succeeded
    return Run(float(rate[1]), done, max(bad), other, int(data[1]), sum(map(int, codes.groups())))


def judge_run(run: Run, size: int) -> None:
    """Raise ``WrongAnswer`` when a request failed, or bodies were not of ``size`` bytes each."""
    if run.bad or run.other:
        raise WrongAnswer(f"{run.bad:,} failed requests and {run.other:,} answers that are no 2xx, of {run.done:,}")
    if not run.done:
        raise WrongAnswer("no answer at all")
    if run.data % size or run.data < run.done * size:
        raise WrongAnswer(
            f"{run.data:,} bytes of bodies, which is not {size} for each of {run.done:,} requests or more"
        )


def load(url: str, connections: int, streams: int, seconds: int, cpu: str) -> Run:
    """Load a server over HTTP/2; with TLS if the URL says so."""
    command = [need("h2load", "nghttp2-client"), f"-D{seconds}", _WARMING, "-t1"]
    return read_run(run_load([*command, f"-c{connections}", f"-m{streams}", url], cpu, seconds + WARM_UP))


def at_rate(url: str, connections: int, rate: float, seconds: int, cpu: str, log: Path) -> tuple[Run, list[int]]:
    """Send so many requests a second over HTTP/1.1; the run, and the microseconds each answer took."""
    command = [need("h2load", "nghttp2-client"), "--h1", f"-D{seconds}", _WARMING, "-t1", "-m1"]
    command += [f"-c{connections}", f"--rps={rate / connections:.2f}", f"--log-file={log}", url]
    log.unlink(missing_ok=True)
    run = read_run(run_load(command, cpu, seconds + WARM_UP))
    if run.done and not run.statuses:
        raise Unavailable("h2load reads no status from HTTP/1.1 responses without a reason phrase, which are allowed")
    return run, [int(line.split("\t")[2]) for line in log.read_text().splitlines()]


def percentile_at_rate(latencies: Iterable[int], interval: float, share: float) -> float:
    """The latency that ``share`` of the requests stay below, as users would have met it at a constant rate.

    A connection sends every ``interval`` microseconds. While an answer is late, h2load sends nothing on that
    connection, so the requests that would have had to wait are missing: they are added, each with the rest of the
    wait it would have had.
    """
    met: list[float] = []
    for latency in latencies:
        waited: float = latency
        while waited > 0:
            met.append(waited)
            waited -= interval
    met.sort()
    return met[min(len(met) - 1, int(len(met) * share))]
