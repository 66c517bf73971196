"""Requests without a byte of their response when the balancer has lost its patience.

A balancer gives a connection up after its idle timeout, also one on which it waits for an answer: its client has got
a 504, and what the application sends later goes nowhere.

No request pays for this. One look at all applications that run finds out when the first of them would be overdue,
and that is when the next look is due; what has begun after a look cannot be overdue before ``lb_idle_timeout`` has
passed. With short requests that is one look a minute.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from keepserve.asgi.exchange import STREAMING, Exchange
from keepserve.config.durations import format_duration
from keepserve.server.running import exchange_of
from keepserve.server.wheel import Wheel
from keepserve.telemetry.counters import OVERDUE, Counters
from keepserve.wire.engine import NEVER

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

logger = logging.getLogger("keepserve")

REPORT_INTERVAL = 60.0
"""Seconds between two lines in the log."""

LOOK_INTERVAL = 0.5
"""Seconds between two looks at the least, or a sixtieth of the patience: one that is overdue for less, and then
answered, may be missed. A look at ten thousand applications takes 20 ms."""

_NEARLY = 0.98
"""The balancer's clock began before ours, so that it hangs up a little before we think it should."""


class Overdue:
    """Counts requests that are unanswered for ``patience`` seconds (0: there is no balancer), and names some.

    ``tasks`` are the applications that run, ``connections`` the connections there are: without any there is nothing
    to look at. All times are seconds of the ``wheel``'s clock.
    """

    def __init__(
        self,
        patience: float,
        tasks: Iterable[asyncio.Task[None]],
        connections: AbstractSet[object],
        counters: Counters,
        wheel: Wheel,
        clock: Callable[[], float],
    ) -> None:
        self.slot = -1
        self.asleep = patience > 0
        """``wake`` wants to be called when there is a connection."""
        self._patience = patience
        self._tasks = tasks
        self._connections = connections
        self._counters = counters
        self._wheel = wheel
        self._clock = clock
        self._counted: set[Exchange] = set()
        """Those that still are without a response, so that none is counted twice."""
        self._next_look = NEVER
        self._next_report = -NEVER
        self._worst: tuple[float, str] | None = None
        self._news = 0
        self._on_wheel = False

    def wake(self) -> None:
        """There is a connection, so that there may be requests."""
        self.asleep, self._on_wheel = False, True
        self._next_look = self._clock() + self._patience  # nothing has begun yet
        self._wheel.add(self)

    def rest(self) -> None:
        """There is no connection left."""
        if self._on_wheel and not self._news:
            self.asleep, self._on_wheel = True, False
            self._counted.clear()
            self._wheel.forget(self)

    def unanswered(self, exchange: Exchange) -> None:
        """The client of a request has gone, or has given it up."""
        if not self._patience or exchange.phase >= STREAMING:
            return
        if exchange in self._counted:
            self._counted.discard(exchange)
            return
        waited = self._clock() - exchange.whole_since
        if exchange.request.complete and waited >= self._patience * _NEARLY:
            self._count(exchange, waited)
            self._counted.discard(exchange)
            self._report_if_due(self._clock())

    # For the wheel.

    def settle(self, now: float) -> float:
        """Return when to look."""
        if not self._on_wheel:
            return NEVER
        return min(self._next_look, self._next_report) if self._news else self._next_look

    def expire(self, now: float) -> float:
        """Look, if it is time, and say what is to be said."""
        if now >= self._next_look:
            self._look(now)
        self._report_if_due(now)
        if not self._connections:
            self.rest()
        return self.settle(now)

    def _look(self, now: float) -> None:
        unanswered: set[Exchange] = set()
        first = now  # what has not begun yet begins now at the earliest
        for task in self._tasks:
            exchange = exchange_of(task)
            if exchange is None or exchange.phase >= STREAMING or not exchange.request.complete:
                continue
            if exchange in self._counted:
                unanswered.add(exchange)
            elif now - exchange.whole_since >= self._patience:
                unanswered.add(exchange)
                self._count(exchange, now - exchange.whole_since)
            else:
                first = min(first, exchange.whole_since)
        self._counted = unanswered
        self._next_look = max(first + self._patience, now + max(LOOK_INTERVAL, self._patience / 60))

    def _count(self, exchange: Exchange, waited: float) -> None:
        self._counted.add(exchange)
        self._counters.words[OVERDUE] += 1
        self._news += 1
        if self._worst is None or waited > self._worst[0]:
            request = exchange.request
            # Without the query: it is where secrets are.
            path = request.target.partition(b"?")[0].decode("latin-1")
            self._worst = waited, f"{request.method.decode('latin-1')} {path}"

    def _report_if_due(self, now: float) -> None:
        if self._worst is None or now < self._next_report:
            return
        seconds, what = self._worst
        more = f", and {self._news - 1} more like it" if self._news > 1 else ""
        logger.warning(
            "%s ran for %s without a byte of its response%s: lb_idle_timeout is %s, the balancer has answered 504 by "
            "now. Answer sooner (begin the response, or do the work in the background), or raise the balancer's "
            "timeout and --lb-idle-timeout.",
            what,
            format_duration(round(seconds, 1)),
            more,
            format_duration(self._patience),
        )
        self._news, self._worst = 0, None
        self._next_report = now + REPORT_INTERVAL
