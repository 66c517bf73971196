"""A load that keeps books: what was asked, what was answered and by which worker, and every byte of it."""

from __future__ import annotations

import asyncio
import dataclasses
import http.client
import random
import socket
import struct
import threading
from collections import Counter

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

HOST = "127.0.0.1"
PATIENCE = 10.0
"""Seconds for one answer."""

METHODS = ("GET", "GET", "GET", "HEAD", "POST", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND")
ONCE = ("POST", "PATCH")
"""Methods of requests that NGINX never sends a second time."""
NAMED = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
"""Methods that the metrics name; all others are ``other``."""
PATHS = ("/200/0", "/200/11", "/200/2000", "/204", "/304", "/404/9", "/500/5", "/slow/4")

Series = tuple[str, tuple[tuple[str, str], ...]]
"""A name, and its labels in order."""


@dataclasses.dataclass
class Books:
    """What the clients have seen."""

    answered: Counter[tuple[str, str]] = dataclasses.field(default_factory=Counter)
    """Answers of the application's, by method and class of the status."""
    by_connection: Counter[str] = dataclasses.field(default_factory=Counter)
    """The same by connection of the server's: its process, and its number there."""
    ended: set[str] = dataclasses.field(default_factory=set)
    """Those of them that are over, as the client knows."""
    unanswered: Counter[str] = dataclasses.field(default_factory=Counter)
    """Requests without an answer of the server's, by method: the connection was lost, or 502 of NGINX's."""
    rejected: Counter[str] = dataclasses.field(default_factory=Counter)
    """Answers of the server itself to faulty requests, by status."""
    health_checks: int = 0
    """Answers to health checks."""
    balanced: int = 0
    """Answers from the balancer, its own among them."""
    under_way: int = 0
    """Requests to the balancer that have no answer yet."""
    sent: int = 0
    """Bytes sent to the server past the balancer,"""
    received: int = 0
    """and received from it."""


class Client:
    """One kept connection: to the balancer, or ``direct``, to the server itself."""

    def __init__(self, port: int, books: Books, *, direct: bool = False) -> None:
        self._port = port
        self._books = books
        self._direct = direct
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._connection = ""

    @property
    def worker(self) -> str:
        """The process that answered last."""
        return self._connection.partition(".")[0]

    async def write(self, data: bytes) -> asyncio.StreamReader:
        """Send bytes, on a new connection if there is none; where the answer is to be read."""
        if self._streams is None:
            self._streams = await asyncio.open_connection(HOST, self._port)
        reader, writer = self._streams
        writer.write(data)
        self._books.sent += len(data) if self._direct else 0
        return reader

    async def ask(self, method: str, path: str, size: int = 0, *, fields: str = "") -> bool:
        """Send a request with a body of so many bytes, and write down what became of it. False: the server closes."""
        books = self._books
        length = f"Content-Length: {size}\r\n" if size or method in ("POST", "PUT", "PATCH") else ""
        head = f"{method} {path} HTTP/1.1\r\nHost: exact.test\r\n{fields}{length}\r\n"
        books.under_way += not self._direct
        try:
            async with asyncio.timeout(PATIENCE):
                reader = await self.write(head.encode() + bytes(size))
                status, told = await self._answer(reader, method)
        except (ConnectionError, EOFError):
            books.unanswered[method] += 1
            self._connection = ""  # it was not the client who ended it
            self.close()
            return False
        finally:
            books.under_way -= not self._direct
        books.balanced += not self._direct
        if status == 502:
            books.unanswered[method] += 1
        elif path == "/health":
            books.health_checks += 1
        else:
            self._connection = told.get("x-connection", self._connection)
            books.by_connection[self._connection] += 1
            books.answered[method if method in NAMED else "other", f"{status // 100}xx"] += 1
        if told.get("connection") == "close":
            self.close()
            return False
        return True

    async def _answer(self, reader: asyncio.StreamReader, method: str) -> tuple[int, dict[str, str]]:
        head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head[:-4].decode("latin-1").split("\r\n")
        told = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        status = int(first.split(" ")[1])
        size = 0
        if method != "HEAD" and status not in (204, 304):
            size = int(told["content-length"])
            await reader.readexactly(size)
        if self._direct:
            self._books.received += len(head) + size
        return status, told

    async def reject(self, data: bytes, status: int) -> None:
        """Send what is no acceptable request; the server has to say so with ``status``, and close."""
        async with asyncio.timeout(PATIENCE):
            whole = await (await self.write(data)).read()
        self._books.received += len(whole)
        assert whole.startswith(b"HTTP/1.1 %d " % status), (data[:60], whole)
        self._books.rejected[str(status)] += 1
        self.close()

    async def abandon(self, data: bytes, end: bytes) -> None:
        """Send a request, read its answer up to ``end``, and reset the connection."""
        async with asyncio.timeout(PATIENCE):
            reader = await self.write(data)
            got = await reader.readuntil(end)
        self._books.received += len(got)
        assert self._streams is not None
        self._streams[1].get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
        self.close()

    def close(self) -> None:
        """Leave."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None
            if self._direct:
                self._books.ended.add(self._connection)


async def mixed(
    client: Client, source: random.Random, requests: int, over: asyncio.Event, gate: asyncio.Event | None = None
) -> None:
    """Send mixed requests until it is ``over``, at most so many, and so fewer and fewer with time.

    With a ``gate`` only while that is set.
    """
    for number in range(requests):
        if gate is not None:
            await gate.wait()
        if over.is_set():
            return
        method = source.choice(METHODS)
        size = source.choice((0, 10, 3000)) if method in ("POST", "PUT", "PATCH") else 0
        await client.ask(method, source.choice(PATHS), size)
        await asyncio.sleep(source.uniform(0.001, 0.03) * (1 + number / 100))


class Scraper:
    """Reads ``/metrics`` all along in a thread of its own, and sees whether a total ever falls."""

    def __init__(self, port: int, interval: float = 0.05) -> None:
        self._port = port
        self._interval = interval
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._lock = threading.Lock()
        self._last: dict[Series, float] = {}
        self.scrapes = 0
        self.fallen: list[str] = []
        """Totals that were less than before, and failures to read them."""

    def __enter__(self) -> Scraper:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def scrape(self) -> dict[Series, float]:
        """Read all there is, and compare what only grows."""
        with self._lock:  # so that no comparison is with what was read later
            connection = http.client.HTTPConnection(HOST, self._port, timeout=PATIENCE)
            connection.request("GET", "/metrics")
            answer = connection.getresponse()
            text = answer.read().decode()
            connection.close()
            assert answer.status == 200, text
            now: dict[Series, float] = {}
            for family in text_string_to_metric_families(text):
                for sample in family.samples:
                    series = sample.name, tuple(sorted(sample.labels.items()))
                    now[series] = sample.value
                    if _only_grows(family, sample.name) and sample.value < self._last.get(series, 0.0):
                        self.fallen.append(f"{series}: {self._last[series]!r}, then {sample.value!r}")
            gone = [series for series in self._last.keys() - now.keys() if "worker" not in dict(series[1])]
            assert not gone, f"no longer there: {gone}"
            self._last = now
            self.scrapes += 1
            return now

    def _run(self) -> None:
        while not self._end.wait(self._interval):
            try:
                self.scrape()
            except Exception as error:
                self.fallen.append(repr(error))
                return


def _only_grows(family: Metric, name: str) -> bool:
    # What is told of a single worker begins again with its successor.
    of_worker = name.startswith("keepserve_worker_")
    return family.type in ("counter", "histogram", "summary") and not of_worker
