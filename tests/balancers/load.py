"""Clients of a balancer: many kept connections, mixed requests, every body verified.

Runs in a process of its own: ``python -m tests.balancers.load '{"port": 8080, "clients": 200}'`` prints its
report as JSON.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import json
import random
import sys
import time
from collections import Counter

import uvloop

from tests.balancers.bodies import pattern

SIZES = (0, 1, 100, 1000, 5_000, 20_000, 100_000, 300_000)
"""Bytes of bodies; the larger ones are rarer."""
WEIGHTS = (4, 4, 16, 16, 8, 4, 2, 1)

PATIENCE = 10.0
"""Seconds for one answer."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """What the clients do. ``pause`` seconds, from and to, lie between an answer and the next request.

    With ``edge`` each client sends a POST ``rounds`` times, that many seconds after the answer before, give or
    take ``jitter``: together they use the balancer's pool at its idle limit.
    """

    port: int
    clients: int = 200
    seconds: float = 20.0
    pause: tuple[float, float] = (0.02, 0.18)
    edge: float = 0.0
    jitter: float = 0.004
    rounds: int = 5
    seed: int = 1


@dataclasses.dataclass
class Report:
    """What came of it."""

    kinds: Counter[str] = dataclasses.field(default_factory=Counter)
    failures: Counter[str] = dataclasses.field(default_factory=Counter)
    backends: Counter[str] = dataclasses.field(default_factory=Counter)
    """Requests per connection between the balancer and the server, as the server counts connections."""
    versions: Counter[str] = dataclasses.field(default_factory=Counter)
    """Requests per version of HTTP between the balancer and the server."""


@dataclasses.dataclass
class Request:
    """A request and the body its answer has to have."""

    kind: str
    head: str
    body: bytes
    expected: bytes


def choose(source: random.Random) -> Request:
    """One of the mixed requests."""
    size = source.choices(SIZES, WEIGHTS)[0]
    kind = source.choice(("GET", "GET stream", "POST echo", "POST digest", "POST chunked"))
    body = pattern(size)
    if kind == "GET":
        return Request(kind, f"GET /bytes/{size}", b"", body)
    if kind == "GET stream":
        return Request(kind, f"GET /stream/{size}", b"", body)
    if kind == "POST digest":
        return Request(kind, "POST /digest", body, hashlib.sha256(body).hexdigest().encode())
    return Request(kind, "POST /echo", body, body)


def written(request: Request, front: str = "") -> bytes:
    """The request as it goes on the wire."""
    head = f"{request.head} HTTP/1.1\r\nHost: balancer.test\r\n"
    if front:
        head += f"X-Front: {front}\r\n"
    if request.kind == "POST chunked":
        body = request.body
        parts = [body[start : start + 7000] for start in range(0, len(body), 7000)]
        chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
        return head.encode() + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"
    if request.head.startswith("POST"):
        head += f"Content-Length: {len(request.body)}\r\n"
    return head.encode() + b"\r\n" + request.body


class Client:
    """One kept connection to the balancer.

    With an ``address`` it connects from there, and the application has to see it as the client's. ``front`` is the
    balancer's name, which the application counts.
    """

    def __init__(self, port: int, report: Report, *, address: str = "", front: str = "") -> None:
        self._port = port
        self._report = report
        self._address = address
        self._front = front
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: Request) -> None:
        """Send a request, verify and count what comes back."""
        report = self._report
        report.kinds[request.kind] += 1
        try:
            async with asyncio.timeout(PATIENCE):
                status, fields, body = await self._exchange(written(request, self._front))
        except (OSError, EOFError, TimeoutError) as error:
            report.failures[f"{request.kind}: {type(error).__name__}"] += 1
            self.close()
            return
        if status != 200:
            report.failures[f"{request.kind}: status {status}"] += 1
        elif body != request.expected:
            report.failures[f"{request.kind}: wrong body"] += 1
        elif self._address and fields.get("x-client") != self._address:
            report.failures[f"{request.kind}: the client was {fields.get('x-client')}, not {self._address}"] += 1
        report.backends[fields.get("x-connection", "none")] += 1
        report.versions[fields.get("x-http-version", "none")] += 1
        if fields.get("connection") == "close":
            self.close()

    async def _exchange(self, data: bytes) -> tuple[int, dict[str, str], bytes]:
        if self._streams is None:
            local = (self._address, 0) if self._address else None
            self._streams = await asyncio.open_connection("127.0.0.1", self._port, local_addr=local)
        reader, writer = self._streams
        writer.write(data)
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head[:-4].split("\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if fields.get("transfer-encoding") != "chunked":
            body = await reader.readexactly(int(fields["content-length"]))
        else:
            body = b""
            while size := int(await reader.readuntil(b"\r\n"), 16):
                body += await reader.readexactly(size)
                await reader.readexactly(2)
            await reader.readexactly(2)
        return int(first.split(" ")[1]), fields, body

    def close(self) -> None:
        """Leave; the next request opens a new connection."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def _mixed(client: Client, plan: Plan, source: random.Random, end: float) -> None:
    await asyncio.sleep(source.uniform(0, plan.pause[1]))
    while time.monotonic() < end:
        await client.ask(choose(source))
        await asyncio.sleep(source.uniform(*plan.pause))


async def _edge(client: Client, plan: Plan, source: random.Random) -> None:
    # The application takes 50 ms, so that requests that come together need a connection each.
    body = pattern(500)
    for number in range(plan.rounds):
        if number:
            await asyncio.sleep(plan.edge + source.uniform(-plan.jitter, plan.jitter))
        await client.ask(Request("POST slow", "POST /slow/50", body, body))


async def run(plan: Plan) -> Report:
    """Run the plan to its end."""
    report = Report()
    clients = [Client(plan.port, report) for _ in range(plan.clients)]
    end = time.monotonic() + plan.seconds
    tasks = []
    for number, client in enumerate(clients):
        source = random.Random(f"{plan.seed} {number}")
        tasks.append(_edge(client, plan, source) if plan.edge else _mixed(client, plan, source, end))
    await asyncio.gather(*tasks)
    for client in clients:
        client.close()
    return report


def main() -> None:
    """Run the plan given as JSON; print the report as JSON."""
    report = uvloop.run(run(Plan(**json.loads(sys.argv[1]))))
    print(json.dumps(vars(report)))


if __name__ == "__main__":
    main()
