"""A balancer stand-in that never pauses: a POST on each of its lanes every 50 ms, on kept connections, no second try.

It is for stops and reloads: whatever the server does meanwhile, every request has to be answered in full. One in
four is sent in two pieces, a few milliseconds apart, so that the server also finds half of a head and half of a
body. A lane sends on any connection that it has not yet seen closed, and looks at none just before it sends.

A request is **lost** when any of it was sent and no complete and right 200 came back: the connection was reset,
ended, or ended within the answer. So it is when a connect succeeded and the connection was then reset. It is not
lost when nothing of it can have reached the server: the connect was **refused** (a balancer goes elsewhere), or the
server **closed an idle** connection, and the lane had seen it when it needed one.

Runs in a process of its own: ``python -m tests.balancers.lanes '{"port": 8000}'`` says ``going`` when every lane
has had an answer, goes on until its standard input ends, and prints its report as JSON.
"""

from __future__ import annotations

import dataclasses
import errno
import heapq
import json
import math
import os
import random
import selectors
import socket
import sys
import time
from collections import Counter

from tests.balancers.bodies import pattern

PATIENCE = 10.0
"""Seconds for one answer."""

SIZES = (1, 17, 100, 256, 500, 1000, 1500, 2000, 3000)
"""Bytes of bodies. The last ones do not share a segment with their head on an Ethernet."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """What the lanes do. Times in seconds.

    ``split`` is the share of requests that are sent in two pieces, ``renew`` that of the answers after which a lane
    leaves its connection by itself, so that there are connects at every moment.
    """

    port: int
    lanes: int = 200
    period: float = 0.05
    jitter: float = 0.005
    split: float = 0.25
    renew: float = 0.1
    seed: int = 1


@dataclasses.dataclass
class Report:
    """What came of it. Every request is answered, or lost."""

    requests: int = 0
    answered: int = 0
    reused: int = 0
    """Requests on a connection that had been used before."""
    connections: int = 0
    told: int = 0
    """Answers with ``Connection: close``."""
    refused: int = 0
    """Connects that did not come about."""
    unheard: int = 0
    """Connects that nobody had answered in the end: nothing had been sent on them."""
    closed_idle: int = 0
    """Connections the server closed while they were idle, and the lane saw it before its next request."""
    lost: Counter[str] = dataclasses.field(default_factory=Counter)
    """By what happened."""
    workers: Counter[str] = dataclasses.field(default_factory=Counter)
    """Answers by worker, as the application names its process."""
    slowest: float = 0.0
    """Seconds from a request's first byte to its answer's last, at worst."""
    latest: float = 0.0
    """Seconds a lane itself was late at worst."""


class Lane:
    """One place in the pool: a connection or none, and the request under way, if any."""

    __slots__ = ("answer", "expected", "rest", "sent_at", "sock", "used")

    def __init__(self) -> None:
        self.sock: socket.socket | None = None
        self.used = False
        self.answer = bytearray()
        self.expected = b""
        self.rest = b""
        """The second piece of a request of which the first has been sent."""
        self.sent_at = math.inf

    @property
    def waiting(self) -> bool:
        """A request has been begun and not been answered."""
        return self.sent_at != math.inf


class Lanes:
    """Runs one plan until ``until``, a descriptor, is at its end."""

    def __init__(self, plan: Plan, until: int) -> None:
        self.plan = plan
        self.report = Report()
        self._random = random.Random(plan.seed)
        self._selector = selectors.DefaultSelector()
        self._queue: list[tuple[float, int]] = []
        self._lanes = [Lane() for _ in range(plan.lanes)]
        self._silent = set(range(plan.lanes))
        """The lanes that have not had an answer yet."""
        self._until = until
        self._told_to_stop = False

    def run(self) -> Report:
        """Send until told to stop, and then wait for the answers to what has been sent."""
        began = time.monotonic()
        self._selector.register(self._until, selectors.EVENT_READ, None)
        for number in range(self.plan.lanes):
            heapq.heappush(self._queue, (began + self._random.uniform(0, self.plan.period), number))
        while not self._told_to_stop:
            self._turn(self._queue[0][0] if self._queue else began + PATIENCE)
        end = time.monotonic() + PATIENCE
        while any(lane.waiting for lane in self._lanes) and time.monotonic() < end:
            self._turn(min(end, self._queue[0][0] if self._queue else end))
        self.report.lost["unanswered"] += sum(lane.waiting for lane in self._lanes)
        self.report.lost += Counter()  # without the zeros
        for lane in self._lanes:
            if lane.sock is not None:
                key = self._selector.get_map().get(lane.sock)
                self.report.unheard += key is not None and key.events == selectors.EVENT_WRITE
                lane.sock.close()
        return self.report

    def _turn(self, until: float) -> None:
        """Wait for an event, at most so long; act on all there are, then on what is due."""
        for key, _ in self._selector.select(max(0.0, until - time.monotonic())):
            if key.data is None:
                # Nobody writes anything to us: this is the end of it.
                self._told_to_stop = not os.read(key.fd, 64)
                if self._told_to_stop:
                    self._selector.unregister(key.fd)
            elif key.events == selectors.EVENT_WRITE:
                self._connected(key.data)
            else:
                self._readable(key.data)
        while self._queue and self._queue[0][0] <= (now := time.monotonic()):
            due, number = heapq.heappop(self._queue)
            self.report.latest = max(self.report.latest, now - due)
            lane = self._lanes[number]
            if lane.rest:
                self._send_rest(number)
            elif not self._told_to_stop:
                self._use(number)

    def _plan_use(self, number: int) -> None:
        pause = self.plan.period + self._random.uniform(-self.plan.jitter, self.plan.jitter)
        heapq.heappush(self._queue, (time.monotonic() + pause, number))

    # Connecting.

    def _use(self, number: int) -> None:
        lane = self._lanes[number]
        if lane.sock is not None:
            self._send(number)
            return
        lane.used = False
        lane.sock = socket.socket()
        lane.sock.setblocking(False)
        lane.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        error = lane.sock.connect_ex(("127.0.0.1", self.plan.port))
        if error == errno.EINPROGRESS:
            self._selector.register(lane.sock, selectors.EVENT_WRITE, number)
        else:
            self._came_about(number, error)

    def _connected(self, number: int) -> None:
        sock = self._lanes[number].sock
        assert sock is not None
        self._selector.unregister(sock)
        self._came_about(number, sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))

    def _came_about(self, number: int, error: int) -> None:
        lane, report = self._lanes[number], self.report
        assert lane.sock is not None
        if error:
            if error == errno.ECONNREFUSED:
                report.refused += 1
            else:
                report.lost[f"connect: {errno.errorcode[error]}"] += 1
            lane.sock.close()
            lane.sock = None
            self._plan_use(number)
            return
        report.connections += 1
        self._selector.register(lane.sock, selectors.EVENT_READ, number)
        self._send(number)

    # Requests.

    def _send(self, number: int) -> None:
        lane, report = self._lanes[number], self.report
        report.requests += 1
        report.reused += lane.used
        lane.used = True
        lane.answer.clear()
        lane.expected = pattern(self._random.choice(SIZES))
        lane.sent_at = time.monotonic()
        head = b"POST /echo HTTP/1.1\r\nHost: standin\r\nContent-Length: %d\r\n\r\n" % len(lane.expected)
        data = head + lane.expected
        if self._random.random() < self.plan.split:
            cut = self._random.randrange(1, len(data))
            data, lane.rest = data[:cut], data[cut:]
            heapq.heappush(self._queue, (lane.sent_at + self._random.uniform(0.001, 0.02), number))
        self._write(number, data)

    def _send_rest(self, number: int) -> None:
        lane = self._lanes[number]
        data, lane.rest = lane.rest, b""
        self._write(number, data)

    def _write(self, number: int, data: bytes) -> None:
        sock = self._lanes[number].sock
        assert sock is not None
        try:
            sent = sock.send(data)
        except OSError as error:
            self._lose(number, f"send: {errno.errorcode[error.errno or 0]}")
            return
        assert sent == len(data), "a small request fits into the socket buffer"

    # Answers.

    def _readable(self, number: int) -> None:
        lane, report = self._lanes[number], self.report
        if lane.sock is None:
            return  # given up a moment ago, in the same turn
        try:
            data = lane.sock.recv(65536)
        except OSError as error:
            self._lose(number, f"{'within' if lane.waiting else 'idle'}: {errno.errorcode[error.errno or 0]}")
            return
        if not lane.waiting:
            if data:
                self._lose(number, "an answer to no request")
            else:
                report.closed_idle += 1
                self._close(lane)
        elif data:
            lane.answer += data
            self._judge(number)
        elif lane.answer:
            self._lose(number, "cut within the answer")
        else:
            self._lose(number, "ended instead of an answer")

    def _judge(self, number: int) -> None:
        lane, report = self._lanes[number], self.report
        head, separator, body = bytes(lane.answer).partition(b"\r\n\r\n")
        if not separator:
            return
        first, *lines = head.lower().decode("latin-1").split("\r\n")
        fields = {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if not first.startswith("http/1.1 200"):
            said = body[:200].decode("latin-1").strip()
            self._lose(number, f"{first}: {said}" if said else first)  # balancers say why they answer themselves
            return
        if len(body) < int(fields["content-length"]):
            return
        if body != lane.expected or lane.rest:
            self._lose(number, "the answer to another request")
            return
        report.answered += 1
        report.workers[fields["x-connection"].partition(".")[0]] += 1
        report.slowest = max(report.slowest, time.monotonic() - lane.sent_at)
        lane.sent_at = math.inf
        if fields.get("connection") == "close":
            report.told += 1
            self._close(lane)
        elif self._random.random() < self.plan.renew:
            self._close(lane)
        self._plan_use(number)
        if self._silent:
            self._silent.discard(number)
            if not self._silent:
                print("going", flush=True)

    def _lose(self, number: int, how: str) -> None:
        """What was sent, or the connection it could have been sent on, is gone."""
        lane = self._lanes[number]
        self.report.lost[how] += 1
        self._close(lane)
        if not lane.waiting:
            return  # its next use is planned
        if lane.rest:
            lane.rest = b""
            self._queue = [entry for entry in self._queue if entry[1] != number]
            heapq.heapify(self._queue)
        lane.sent_at = math.inf
        self._plan_use(number)

    def _close(self, lane: Lane) -> None:
        sock, lane.sock = lane.sock, None
        assert sock is not None
        self._selector.unregister(sock)
        sock.close()


def main() -> None:
    """Run the plan given as JSON; print the report as JSON."""
    print(json.dumps(vars(Lanes(Plan(**json.loads(sys.argv[1])), sys.stdin.fileno()).run())))


if __name__ == "__main__":
    main()
