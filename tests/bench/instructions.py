"""What a request costs in instructions of the processor: a figure that does not depend on the machine's mood.

``python -m tests.bench.instructions`` counts them by callgrind (Debian: ``valgrind``) for three core paths, in this
process's interpreter: from the bytes of a read to the bytes of a write, without a socket. They are given as multiples
of a fixed piece of plain Python, which is counted beside them, since another build of the same Python has other
instructions for everything. ``--store`` keeps the figures for this version of Python in ``instructions.json``; a test
compares.

A call of getppid(2), which nobody else makes, divides the run: at each, callgrind writes down what it has counted.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import hpack
import uvloop

from keepserve.asgi.types import App
from keepserve.config import Settings
from keepserve.server.connection import Connection
from keepserve.server.state import WorkerState
from tests.bench.hello_app import app
from tests.http2.frames import PREFACE, headers, settings, window_update

STORE = Path(__file__).with_name("instructions.json")
ROOT = Path(__file__).resolve().parents[2]
VERSION = platform.python_version()
"""The version of Python the figures are for: they differ by up to a third between two of them."""

REFERENCE = "reference"
CONNECTIONS = 32
WARM_UP = 4
ROUNDS = 12
"""Rounds that are counted; in each every connection has one read."""
SLACK = 0.05
"""By so much a path may become dearer than what is stored before a test fails."""
STREAMS = 8
"""Requests in a read over HTTP/2."""

SMALL = b"GET / HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n\r\n"
BALANCERS = (
    b"GET /api/items/%d?page=2 HTTP/1.1\r\nHost: shop.example.com\r\nX-Forwarded-For: 203.0.113.%d\r\n"
    b"X-Forwarded-Proto: https\r\nX-Forwarded-Port: 443\r\nX-Amzn-Trace-Id: Root=1-67891233-%024x\r\n"
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:131.0) Gecko/20100101 Firefox/131.0\r\n"
    b"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n"
    b"Accept-Language: de-DE,de;q=0.8,en-US;q=0.5,en;q=0.3\r\nAccept-Encoding: gzip, deflate, br\r\n"
    b"Cookie: session=%032x\r\nReferer: https://shop.example.com/\r\nX-Request-ID: %032x\r\n\r\n"
)


class Sink:
    """A transport whose peer takes everything at once."""

    def __init__(self) -> None:
        self.written = 0

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Two addresses."""
        return {"peername": ("127.0.0.1", 40000), "sockname": ("127.0.0.1", 8000)}.get(name, default)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing is kept."""

    def get_write_buffer_size(self) -> int:
        """Nothing waits."""
        return 0

    def can_write_eof(self) -> bool:
        """As TCP."""
        return True

    def is_closing(self) -> bool:
        """Never."""
        return False

    def write(self, data: bytes) -> None:
        """Take it."""
        self.written += 1

    def writelines(self, data: list[bytes]) -> None:
        """Take them."""
        self.written += 1


def small(connection: int) -> Iterator[bytes]:
    """The same small request again and again."""
    return itertools.repeat(SMALL)


def balancers(connection: int) -> Iterator[bytes]:
    """Requests with twelve fields as a balancer sends them, four of them different each time."""
    for number in itertools.count(connection * 1000):
        yield BALANCERS % (number, number % 256, number, number * 7919, number)


def streams(connection: int) -> Iterator[bytes]:
    """HTTP/2 requests, eight to a read, with a trace id of their own."""
    encoder = hpack.Encoder()
    fields = [(":method", "GET"), (":scheme", "https"), (":authority", "shop.example.com"), (":path", "/api/items")]
    opening = PREFACE + settings() + settings(ack=True) + window_update(0, 1 << 30)
    for read in itertools.count():
        frames = [opening] if not read else []
        for stream in range(STREAMS):
            trace = f"{connection * 100_000 + read * STREAMS + stream:032x}"
            block = encoder.encode([*fields, ("x-request-id", trace)])
            frames.append(headers(2 * (read * STREAMS + stream) + 1, block, end=True))
        yield b"".join(frames)


PATHS: dict[str, tuple[Callable[[int], Iterator[bytes]], int]] = {
    "HTTP/1.1, a small request": (small, 1),
    "HTTP/1.1, a balancer's fields": (balancers, 1),
    "HTTP/2, eight streams": (streams, STREAMS),
}
"""By name: what a connection sends, and requests in each read."""


def reference() -> None:
    """The yardstick: what interpreters do all day. It must never change."""
    for number in range(20_000):
        record = {"number": number, "name": b"name%d" % number}
        parts = [record["name"], b": ", b"value"]
        if b"".join(parts).partition(b":")[0] != record["name"]:  # type: ignore[arg-type]  # both are bytes
            raise AssertionError


async def serve() -> None:
    """Serve each path and mark what is to be counted."""
    reference()
    os.getppid()
    reference()
    os.getppid()
    loop = asyncio.get_running_loop()
    for send, requests in PATHS.values():
        # Time stands still, so that no timer is part of it.
        state = WorkerState(
            Settings(access_log=False, max_connection_requests=0, http2_max_connection_requests=0, date_header=False),
            cast("App", app),
            loop,
            clock=itertools.repeat(1000.0).__next__,
        )
        pairs = []
        for number in range(CONNECTIONS):
            connection = Connection(state)
            connection.connection_made(Sink())  # type: ignore[arg-type]  # all that a connection asks of one
            pairs.append((connection, list(itertools.islice(send(number), WARM_UP + ROUNDS))))
        for turn in range(WARM_UP + ROUNDS):
            if turn == WARM_UP:
                before = state.requests
                os.getppid()
            for connection, reads in pairs:
                connection.data_received(reads[turn])
            for _ in range(3):  # until all that was begun has ended
                await asyncio.sleep(0)
        os.getppid()
        assert state.requests - before == CONNECTIONS * ROUNDS * requests, (
            f"of {CONNECTIONS * ROUNDS * requests} requests {state.requests - before} were served"
        )


def count() -> dict[str, float]:
    """Count; return by path the instructions of a request, in thousandths of the reference's.

    Raises RuntimeError when callgrind does not run here.
    """
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch, "out")
        command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", "--dump-before=getppid"]
        ran = subprocess.run(
            [*command, sys.executable, "-m", "tests.bench.instructions", "--serve"],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": "0"},
            capture_output=True,
            text=True,
            check=False,
        )
        # The first dump is of everything up to the first mark, and the last of what follows the last one.
        dumps = [int(found[1]) for number in range(1, 100) if (found := _total(out.with_name(f"out.{number}")))]
    if ran.returncode or len(dumps) != 2 + 2 * len(PATHS):
        raise RuntimeError(f"callgrind has not counted (exit code {ran.returncode}): {ran.stderr[-2000:]}")
    yardstick = dumps[1] / 1000
    return {
        name: round(dumps[3 + 2 * number] / (CONNECTIONS * ROUNDS * requests) / yardstick, 4)
        for number, (name, (_, requests)) in enumerate(PATHS.items())
    }


def _total(path: Path) -> re.Match[str] | None:
    return re.search(r"^totals: (\d+)$", path.read_text(), re.MULTILINE) if path.exists() else None


def stored() -> dict[str, dict[str, float]]:
    """The figures kept, by version of Python."""
    found: dict[str, dict[str, float]] = json.loads(STORE.read_text(encoding="utf-8"))
    return found


def regressions(found: dict[str, float], kept: dict[str, float]) -> list[str]:
    """What has become dearer by more than `SLACK`, as sentences; empty: nothing."""
    return [
        f"{name}: {figure:.3f} instead of {kept[name]:.3f}, {figure / kept[name] - 1:+.1%}. Where that is wanted: "
        "python -m tests.bench.instructions --store"
        for name, figure in found.items()
        if figure > kept[name] * (1 + SLACK)
    ]


def main(arguments: list[str]) -> None:
    """Count and print; with ``--store`` keep what was found."""
    if arguments == ["--serve"]:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve())
        return
    if shutil.which("valgrind") is None:
        raise SystemExit("This needs valgrind (Debian: apt-get install valgrind).")
    known = stored()
    found = count()
    before = known.get(VERSION, {})
    for name, figure in found.items():
        change = f"  ({figure / before[name] - 1:+.1%} of what is stored)" if name in before else ""
        print(f"{name:32} {figure:8.3f}{change}")
    if arguments == ["--store"]:
        known[VERSION] = found
        STORE.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
