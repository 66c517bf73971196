"""A well-behaved HTTP/2 client in a process of its own: how long its requests take while others are under attack.

``python -m tests.hostile.healthy PORT``; each line of standard input is a number of seconds to measure for, each
line of output what was measured. A request is due every few milliseconds, whether those before it are answered or
not. Its time counts from then, so that one long pause shows in all the requests that it held up.
"""

from __future__ import annotations

import json
import select
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.http2.frames import PREFACE, Kind, get, settings, split_frames, window_update
from tests.support.serving import PATIENCE, ROOT, clean_environment

INTERVAL = 0.003


class Healthy:
    """The process, as a test holds it."""

    def __init__(self, port: int, log: Path) -> None:
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.hostile.healthy", str(port)],
                cwd=ROOT,
                env=clean_environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )

    def measure(self, seconds: float) -> None:
        """Begin to measure."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{seconds}\n")
        self._process.stdin.flush()
        self._answer()

    def figures(self) -> dict[str, Any]:
        """What was measured: ``p50``, ``p99`` and ``max`` in milliseconds, and the ``count`` of requests."""
        figures: dict[str, Any] = json.loads(self._answer())
        return figures

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"the healthy client ended with {self._process.wait(PATIENCE)}"
        return line

    def close(self) -> None:
        """Let it end."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(PATIENCE)
        self._process.stdout.close()


def measure(sock: socket.socket, seconds: float) -> dict[str, Any]:
    """Send requests on a new connection; an answer that is not as it should be is an ``AssertionError``."""
    sock.sendall(PREFACE + settings() + settings(ack=True) + window_update(0, 2**20))
    times: list[float] = []
    due: dict[int, float] = {}
    bodies: dict[int, bytes] = {}
    pending = b""
    number = 1
    at = time.monotonic()
    end = at + seconds
    while at < end or due:
        if at < end and at <= time.monotonic():
            due[number] = at
            sock.sendall(get(number, b"/small"))
            number += 2
            at += INTERVAL
            continue
        wait = max(0.0, at - time.monotonic()) if at < end else PATIENCE
        if not select.select([sock], [], [], wait)[0]:
            assert at < end, "a request was not answered"
            continue
        received = sock.recv(65_536)
        now = time.monotonic()
        assert received, "the server has closed a healthy connection"
        frames, pending = split_frames(pending + received)
        for frame in frames:
            assert frame.kind not in (Kind.GOAWAY, Kind.RST_STREAM), frame
            if frame.kind == Kind.DATA:
                bodies[frame.stream] = bodies.get(frame.stream, b"") + frame.payload
                if frame.has(1):
                    assert bodies.pop(frame.stream) == b"ok"
                    times.append(1000 * (now - due.pop(frame.stream)))
    times.sort()
    count = len(times)
    return {"count": count, "p50": times[count // 2], "p99": times[(count * 99 - 1) // 100], "max": times[-1]}


def main(port: int) -> None:
    """Measure as often as asked."""
    for line in sys.stdin:
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            print("begun", flush=True)
            print(json.dumps(measure(sock, float(line))), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
