"""A balancer stand-in: a pool of connections, each reused after an exact idle time, without a second try.

It does what matters of a load balancer here. It keeps connections, drops one itself that has been idle for
longer than its own idle timeout, leaves one alone that the server has closed *in time*, and sends POST, which
a balancer may not repeat (RFC 9110 section 9.2.2). What a client would get as a 502 it counts.

The network between the two has a length: what the server sent less than ``wire`` seconds ago has not arrived.
So a FIN younger than that does not keep the stand-in from using the connection, as it does not keep a real
balancer. On loopback alone that window would be too small to be hit in a short test.

Runs in a process of its own, so that its clock is not the server's or the test's: ``python -m
tests.balancers.standin '{"port": 8000, "seconds": 20}'`` prints its report as JSON.
"""

from __future__ import annotations

import dataclasses
import heapq
import json
import math
import random
import selectors
import socket
import sys
import time

from tests.balancers.bodies import pattern

ANSWER_PATIENCE = 5.0
"""Seconds within which an answer must come; the server has nothing else to do."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """What the stand-in does. Times in seconds; ``enough`` failures end it early (0: it goes on)."""

    port: int
    connections: int = 400
    idle: float = 1.0
    jitter: float = 0.004
    idle_timeout: float = 1.0
    wire: float = 0.002
    seconds: float = 20.0
    enough: int = 0
    seed: int = 1


@dataclasses.dataclass
class Report:
    """What came of it. Every request ends in exactly one of ``answered`` and the failures."""

    requests: int = 0
    answered: int = 0
    reused: int = 0
    """Requests on a connection that had been idle."""
    dropped: int = 0
    """Connections the stand-in closed, because they had been idle for too long."""
    closed_in_time: int = 0
    """Idle connections the server closed, and the stand-in knew when it needed one: harmless."""
    resets: int = 0
    empty: int = 0
    """The connection ended without a byte of an answer."""
    cut: int = 0
    """The connection ended within an answer."""
    not_200: int = 0
    wrong_body: int = 0
    unanswered: int = 0
    latest: float = 0.0
    """Seconds the stand-in itself was late at worst."""

    @property
    def failures(self) -> int:
        """Requests whose client would have got an error."""
        return self.resets + self.empty + self.cut + self.not_200 + self.wrong_body + self.unanswered


class Lane:
    """One place in the pool: a connection, or the lack of one, and what is expected of it."""

    __slots__ = ("answer", "due", "expected", "idle_since", "sent_at", "sock")

    def __init__(self) -> None:
        self.sock: socket.socket | None = None
        self.answer = bytearray()
        self.expected = b""
        self.idle_since = math.inf
        self.sent_at = math.inf
        self.due = 0.0

    @property
    def waiting(self) -> bool:
        """A request has been sent and not been answered."""
        return self.sent_at != math.inf


class StandIn:
    """Runs one plan."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.report = Report()
        self._random = random.Random(plan.seed)
        self._selector = selectors.DefaultSelector()
        self._queue: list[tuple[float, int]] = []
        self._lanes = [Lane() for _ in range(plan.connections)]

    def run(self) -> Report:
        """Connect, reuse, count; connections start spread over one idle time."""
        plan = self.plan
        began = time.monotonic()
        end = began + plan.seconds
        for number in range(plan.connections):
            self._plan_use(number, began + plan.idle * number / plan.connections)
        while time.monotonic() < end and not 0 < plan.enough <= self.report.failures:
            self._turn(min(end, self._queue[0][0] if self._queue else end))
        # Nothing new from here; what is under way may end.
        until = time.monotonic() + ANSWER_PATIENCE
        while any(lane.waiting for lane in self._lanes) and time.monotonic() < until:
            self._turn(until, start=False)
        for lane in self._lanes:
            self.report.unanswered += lane.waiting
            if lane.sock is not None:
                lane.sock.close()
        self._selector.close()
        return self.report

    def _plan_use(self, number: int, due: float) -> None:
        self._lanes[number].due = due
        heapq.heappush(self._queue, (due, number))

    def _turn(self, until: float, *, start: bool = True) -> None:
        """Wait for an event or for the next use of a connection, and act.

        poll(2) counts milliseconds, rounded up: the last part of one is slept, so that a use is not late.
        """
        remaining = until - time.monotonic()
        whole = math.floor(remaining * 1000) / 1000
        events = self._selector.select(max(0.0, whole))
        if not events and 0 < (rest := until - time.monotonic()) < 0.001:
            time.sleep(rest)
        for key, _ in events:
            self._readable(key.data)
        while start and self._queue and self._queue[0][0] <= (now := time.monotonic()):
            due, number = heapq.heappop(self._queue)
            self.report.latest = max(self.report.latest, now - due)
            self._use(number, now)

    def _use(self, number: int, now: float) -> None:
        lane, report = self._lanes[number], self.report
        if lane.sock is not None and now - lane.idle_since > self.plan.idle_timeout:
            self._close(lane)
            report.dropped += 1
        if lane.sock is None:
            lane.sock = socket.create_connection(("127.0.0.1", self.plan.port), timeout=ANSWER_PATIENCE)
            lane.sock.setblocking(False)
            lane.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._selector.register(lane.sock, selectors.EVENT_READ, number)
        else:
            report.reused += 1
            if lane.sock not in self._selector.get_map():
                self._selector.register(lane.sock, selectors.EVENT_READ, number)
        report.requests += 1
        lane.expected = pattern(self._random.randrange(1, 3000))
        lane.answer.clear()
        lane.sent_at = now
        head = b"POST /echo HTTP/1.1\r\nHost: standin\r\nContent-Length: %d\r\n\r\n" % len(lane.expected)
        try:
            sent = lane.sock.send(head + lane.expected)
        except OSError:
            report.resets += 1
            self._end(number)
            return
        assert sent == len(head) + len(lane.expected), "a small request fits into the socket buffer"

    def _readable(self, number: int) -> None:
        lane, report = self._lanes[number], self.report
        assert lane.sock is not None
        try:
            data = lane.sock.recv(65536)
        except OSError:
            data = None
        if not lane.waiting:
            self._left_while_idle(lane)
        elif data is None:
            report.resets += 1
            self._end(number)
        elif not data:
            if lane.answer:
                report.cut += 1
            else:
                report.empty += 1
            self._end(number)
        else:
            lane.answer += data
            self._judge(number)

    def _left_while_idle(self, lane: Lane) -> None:
        """The server closed an idle connection. Whether the stand-in knows in time is a matter of the wire."""
        if lane.due - time.monotonic() < self.plan.wire:
            self._selector.unregister(lane.sock)  # type: ignore[arg-type]  # it was readable a moment ago
            return
        self._close(lane)
        self.report.closed_in_time += 1

    def _judge(self, number: int) -> None:
        lane, report = self._lanes[number], self.report
        head, separator, body = bytes(lane.answer).partition(b"\r\n\r\n")
        if not separator:
            return
        fields = head.lower()
        _, found, length = fields.partition(b"\r\ncontent-length: ")
        assert found, f"an answer without Content-Length: {head!r}"
        if len(body) < int(length.partition(b"\r\n")[0]):
            return
        if not head.startswith(b"HTTP/1.1 200 "):
            report.not_200 += 1
            self._end(number)
        elif body != lane.expected:
            report.wrong_body += 1
            self._end(number)
        else:
            report.answered += 1
            if b"\r\nconnection: close" in fields:
                self._end(number)
            else:
                self._idle(number)

    def _idle(self, number: int) -> None:
        lane, plan = self._lanes[number], self.plan
        lane.sent_at = math.inf
        lane.idle_since = time.monotonic()
        self._plan_use(number, lane.idle_since + plan.idle + self._random.uniform(-plan.jitter, plan.jitter))

    def _end(self, number: int) -> None:
        """A connection ended with its request; the next one of this lane comes after the same time."""
        self._close(self._lanes[number])
        self._idle(number)

    def _close(self, lane: Lane) -> None:
        sock, lane.sock = lane.sock, None
        assert sock is not None
        if sock in self._selector.get_map():
            self._selector.unregister(sock)
        sock.close()


def main() -> None:
    """Run the plan given as JSON; print the report as JSON."""
    report = StandIn(Plan(**json.loads(sys.argv[1]))).run()
    print(json.dumps(dataclasses.asdict(report) | {"failures": report.failures}))


if __name__ == "__main__":
    main()
