"""What ``/metrics`` says, against what clients of a real NGINX have counted: the same, to the last request and byte.

Meanwhile one of four workers is killed and another one is recycled, under load. That figures can be exact in spite of
SIGKILL takes some care. A worker counts an answer before the bytes have left it: uvloop writes at the end of a turn.
One killed in between has counted what nobody receives. And requests taken in, bytes, and sums of seconds are written
down at the next tick (a tenth of a second): a worker killed before it takes them along. So the worker here ends
itself, in a request (``/die``). From then on it answers nothing that comes; whoever sends it something waits, and the
others are served by the other workers. NGINX's clients pause for the moment of the kill itself: a process takes
milliseconds to go, in which its kept connections still take requests that nobody reads. When turns of its loop over
0.4 s have brought it nothing, all it had answered has been with the peers for long, and several ticks have passed. So
nothing that it has counted is lost, and nothing is counted twice:

- What it had answered was answered: a client has it in its books.
- What it holds was taken in, and is counted as that; it was not answered, and is not among the requests. NGINX sends
  it again, to another worker, if that may be done. POST and PATCH may not: their clients get 502 from NGINX.

So requests are under way in the worker as it dies, clients of the server itself go on all the time, NGINX's before
and after, and still each figure has one right value.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.balancers.exact import ONCE, Books, Client, Scraper, Series, mixed
from tests.balancers.nginx import nginx
from tests.support.serving import ServerProcess, eventually, serving

APP = "tests.balancers.exact_app:app"
CLIENTS, DIRECT, MOST = 12, 4, 220
"""Clients of NGINX, clients of the server itself, and the most requests of each."""
LIFE = 4000
"""``max_requests``, give or take a tenth: more than all of them send together."""

OPTIONS = (
    *("--admin", "127.0.0.1:0"),
    *("--lb", "nginx"),
    *("--forwarded-allow-ips", "127.0.0.1"),
    *("--health-path", "/health"),
    *("--limit-request-body", "100k"),
    *("--request-head-timeout", "0.3"),
    *("--max-requests", str(LIFE)),
    *("--max-connection-requests", "0"),
    *("--drain-idle", "0.3"),
    "--no-access-log",
)

REJECTED = {
    400: b"GET /200/0 HTTP/1.1\r\nHost: exact.test\r\nbad field: 1\r\n\r\n",
    408: b"GET /200/0 HTTP/1.1\r\nHost: exact",
    413: b"POST /200/0 HTTP/1.1\r\nHost: exact.test\r\nContent-Length: 1000000\r\n\r\n",
    414: b"GET /" + b"a" * 20000 + b" HTTP/1.1\r\nHost: exact.test\r\n\r\n",
    431: b"GET / HTTP/1.1\r\nHost: exact.test\r\nX-Large: " + b"a" * 100_000 + b"\r\n\r\n",
    501: b"POST /200/0 HTTP/1.1\r\nHost: exact.test\r\nTransfer-Encoding: gzip\r\n\r\n",
    505: b"GET /200/0 HTTP/3.0\r\nHost: exact.test\r\n\r\n",
}
"""What the server itself answers. NGINX would not let it through."""


class Run:
    """The clients, and what they have done."""

    def __init__(self, server: ServerProcess, port: int) -> None:
        self.books = Books()
        self.killed = ""
        self.recycling = 0
        """Requests that the worker to be recycled was sent on top of its share."""
        self._server = server
        self._port = port
        self._gate = asyncio.Event()
        self._gate.set()

    @property
    def held(self) -> Counter[str]:
        """What the killed worker had not answered, by method."""
        return Counter(held["method"] for held in self._held())

    def _settled(self) -> bool:
        return self.books.under_way == sum(bool(held["balanced"]) for held in self._held())

    def _held(self) -> list[dict[str, Any]]:
        return [json.loads(told) for told in re.findall(r"^held: (\{.*\})$", self._server.stderr, re.MULTILINE)]

    async def go(self) -> None:
        """Do it all."""
        over = asyncio.Event()
        clients = [Client(self._port, self.books) for _ in range(CLIENTS)]
        clients += [Client(self._server.port, self.books, direct=True) for _ in range(DIRECT)]
        async with asyncio.TaskGroup() as tasks:
            for number, client in enumerate(clients):
                gate = self._gate if number < CLIENTS else None
                tasks.create_task(mixed(client, random.Random(number), MOST, over, gate))
            await self._beside()
            await self._kill()
            await self._recycle()
            assert len(asyncio.all_tasks()) > 1, "the load was over before it was to be"
            over.set()
        for client in clients:
            client.close()

    async def _beside(self) -> None:
        """What does not go through NGINX: faulty requests, health checks, connections that end in several ways."""
        one = Client(self._server.port, self.books, direct=True)
        for status, data in REJECTED.items():
            await one.reject(data, status)
        for path in ("/200/3", "/raise", *["/health"] * 5):
            await one.ask("GET", path)
        assert not await one.ask("GET", "/200/3", fields="Connection: close\r\n")
        await one.write(b"")  # a connection without any request
        one.close()
        await one.abandon(b"GET /begin HTTP/1.1\r\nHost: exact.test\r\n\r\n", b"\r\n\r\n.")

    async def _kill(self) -> None:
        """Have a worker end itself, and keep sending it requests, until one is under way as it dies."""
        clients = [Client(self._server.port, self.books, direct=True) for _ in range(5)]
        by_worker: dict[str, list[Client]] = {}
        for client in clients:
            await client.ask("GET", "/200/1")
            by_worker.setdefault(client.worker, []).append(client)
        one, other = max(by_worker.values(), key=len)[:2]  # there are five of them, and four workers
        for client in clients:
            if client not in (one, other):
                client.close()

        async def going_on() -> None:
            while await other.ask("POST", "/200/2", 20):
                pass

        async with asyncio.TaskGroup() as tasks:
            died = tasks.create_task(one.ask("GET", "/die"))
            tasks.create_task(going_on())
            self.killed = one.worker
            await asyncio.to_thread(eventually, lambda: self.held.total() > 1, "a request is under way in it")
            await asyncio.sleep(0.1)  # a few more, of other clients
            # Whoever sends a request to a process that is being killed is not heard: NGINX is given none meanwhile.
            self._gate.clear()
            await asyncio.to_thread(eventually, self._settled, "all else is answered")
            os.kill(int(self.killed), signal.SIGUSR2)
            await asyncio.to_thread(self._server.said, rf"Worker {self.killed} was killed by SIGKILL")
            self._gate.set()
        assert not died.result()
        # Not before: its answer does not tell which connection carried it, which may have been one of this worker's.
        balanced = Client(self._port, self.books)
        await balanced.ask("GET", "/health")
        balanced.close()

    async def _recycle(self) -> None:
        """Send a worker so many requests that it is replaced, as one sees from its saying good-bye."""
        one = Client(self._server.port, self.books, direct=True)
        while await one.ask("GET", "/200/1"):
            self.recycling += 1


def by(figures: dict[Series, float], name: str, *labels: str) -> dict[tuple[str, ...], float]:
    """The values of a metric that are not 0, by these labels."""
    found = {
        tuple(dict(series[1])[label] for label in labels): value
        for series, value in figures.items()
        if series[0] == name and value
    }
    assert found or any(series[0] == name for series in figures), f"there is no {name}"
    return found


def total(figures: dict[Series, float], name: str) -> float:
    """The sum of a metric's values."""
    return sum(value for series, value in figures.items() if series[0] == name)


def passed_on(directory: Path) -> Iterator[tuple[str, list[int], list[int]]]:
    """NGINX's view: the method of each request, and the bytes sent and received of each time it was passed on."""
    pattern = re.compile(r'"(\S+) .* sent=(.+) got=(.+)')
    for line in (directory / "access.log").read_text().splitlines():
        found = pattern.search(line)
        assert found is not None, line
        sent, got = ([int(size) for size in found[group].split(", ")] for group in (2, 3))
        yield found[1], sent, got


def test_metrics_equal_what_clients_of_nginx_counted_while_workers_are_killed_and_recycled(
    tmp_path: Path, summary: Callable[[str], None]
) -> None:
    began = time.monotonic()
    with serving(APP, *OPTIONS, directory=tmp_path / "keepserve", workers=4) as server:
        admin = int(server.said(r"admin +http://127\.0\.0\.1:(\d+): "))
        with Scraper(admin) as scraper:
            # What NGINX has to say of the requests that the killed worker held.
            expected = ("prematurely closed connection", "reset by peer")
            with nginx(tmp_path / "nginx", server.port, expected=expected) as port:
                run = Run(server, port)
                asyncio.run(run.go())
                time.sleep(0.3)  # what is written down at the next tick
                open_still = scraper.scrape()
            figures = eventually(
                lambda: _settled(scraper), "all connections are closed, and the recycled worker is gone"
            )
        log = list(passed_on(tmp_path / "nginx"))
    books = run.books
    answered = sum(books.answered.values())
    summary(
        f"NGINX, one of 4 workers killed with {run.held.total() - 1} requests under way, one recycled: /metrics "
        f"equals the books of {answered} answers; {scraper.scrapes} scrapes, {time.monotonic() - began:.1f} s"
    )
    assert scraper.fallen == []
    assert scraper.scrapes > 20

    # Requests: each answer that a client has, and no other.
    assert by(figures, "keepserve_requests_total", "method", "status") == books.answered
    assert len(books.answered) > 20
    assert figures["keepserve_request_duration_seconds_count", ()] == answered
    assert by(figures, "keepserve_requests_rejected_total", "status") == {
        (status,): count for status, count in books.rejected.items()
    }
    assert books.rejected == Counter({str(status): 1 for status in REJECTED})
    assert figures["keepserve_health_checks_total", ()] == books.health_checks == 6
    assert figures["keepserve_requests_failed_total", ()] == 1
    assert figures["keepserve_requests_left_total", ()] == 1
    # Taken in: what was answered, what was left, and what the killed worker held, "/die" among it.
    received = by(figures, "keepserve_requests_received_total", "protocol")
    assert received == {("http1",): answered + books.health_checks + 1 + run.held.total()}

    # What the killed worker held: sent again, or the client knows that it was not answered.
    assert len(log) == books.balanced
    again = Counter(method for method, sizes, _ in log if len(sizes) > 1)
    assert books.unanswered + again == run.held
    assert not set(again) & set(ONCE)
    assert run.held.total() > 1, "nothing was under way in the worker that was killed"

    # Connections: each is open or was closed for one reason.
    for now in (open_still, figures):
        accepted = now["keepserve_connections_accepted_total", ()]
        assert accepted == total(now, "keepserve_connections_closed_total") + total(now, "keepserve_connections")
    assert total(open_still, "keepserve_connections") > 0
    assert total(figures, "keepserve_connections") == 0
    closed = by(figures, "keepserve_connections_closed_total", "reason")
    died = closed["worker_died",]
    assert died >= run.held.total()
    assert figures["keepserve_connection_requests_count", ()] == accepted - died
    # And what closed connections carried is all but what those of the killed worker did.
    carried = figures["keepserve_connection_requests_sum", ()]
    died_with = sum(
        count
        for connection, count in books.by_connection.items()
        if connection.startswith(f"{run.killed}.") and connection not in books.ended
    )
    assert received["http1",] - carried == died_with + run.held.total()

    # Bytes: as NGINX wrote and read them, and what went past it.
    sent = books.sent + sum(sum(sizes) for _, sizes, _ in log)
    got = books.received + sum(sum(sizes) for _, _, sizes in log)
    assert figures["keepserve_received_bytes_total", ()] == sent
    assert figures["keepserve_sent_bytes_total", ()] == got

    assert by(figures, "keepserve_workers_replaced_total", "cause") == {("killed",): 1, ("max_requests",): 1}
    assert run.recycling > LIFE * 0.8


def _settled(scraper: Scraper) -> dict[Series, float] | None:
    figures = scraper.scrape()
    over = by(figures, "keepserve_workers", "stage") == {("serving",): 4}
    return figures if over and not total(figures, "keepserve_connections") else None
