"""The queue of requests above ``limit_concurrency``: a short wait for a place to run, then 503.

A burst of a second is mostly over when the first of it have been answered; who waits that long is served by this
worker, and who would wait longer is told to try another. One queue for all connections of a worker, first come,
first served.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sized
from typing import Protocol

from keepserve.asgi.exchange import DONE, Exchange
from keepserve.server.wheel import Wheel
from keepserve.wire.engine import NEVER

WAITING_FACTOR = 4
"""Requests that may wait, as a multiple of the places.

The last of a full queue is served if each place is given away four times while it waits: with the second that
is the default, if a request takes a quarter of one. A longer queue would let requests wait that are refused
in the end, and hold more of them in memory.
"""

OnEnd = Callable[[], None] | None


class Host(Protocol):
    """What the queue needs of the connection a request came on."""

    def begin(self, exchange: Exchange, on_end: OnEnd) -> None:
        """Run the application; ``on_end`` is to be called when it has ended."""

    def turn_away(self, exchange: Exchange) -> None:
        """Answer 503."""


class Busy:
    """How many places are taken: by applications that run or are about to, but not for accepted WebSockets."""

    def __init__(self, running: Sized, beginning: Sized, sockets: Sized) -> None:
        self._running = running
        self._beginning = beginning
        self._sockets = sockets

    def __len__(self) -> int:
        return max(0, len(self._running) + len(self._beginning) - len(self._sockets))


class WaitingQueue:
    """Requests that wait for one of ``places``, at most ``patience`` seconds; no timer for any of them.

    ``running`` are the applications that run. While somebody waits the queue sits on the worker's ``wheel``, so
    a request may wait a tick longer than ``patience``, never less. With a patience of 0 nobody waits.

    The ``on_end`` a request came with is called once whatever becomes of it: when its application has ended, or
    when it is settled that it never begins.
    """

    def __init__(self, wheel: Wheel, running: Sized, places: int, patience: float) -> None:
        self.slot = -1
        self._wheel = wheel
        self._running = running
        self._places = places
        self._patience = patience
        self._room = WAITING_FACTOR * places if patience > 0 else 0
        self._waiting: OrderedDict[Exchange, tuple[Host, OnEnd, float]] = OrderedDict()
        self._on_wheel = False

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def full(self) -> bool:
        """No more may wait."""
        return len(self._waiting) >= self._room

    @property
    def length(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def free(self) -> bool:
        """Whether a request that comes now may run at once: a place is free, and nobody waits for it."""
        return len(self._running) < self._places and not self._waiting

    def join(self, host: Host, exchange: Exchange, on_end: OnEnd, now: float) -> None:
        """Wait from ``now`` on, behind all others. The queue must not be ``full``."""
        assert not self.full
        self._waiting[exchange] = (host, on_end, now + self._patience)
        if not self._on_wheel:
            self._on_wheel = True
            self._wheel.add(self)

    def leave(self, exchange: Exchange) -> None:
        """A client has gone or been answered otherwise: if its request waits, it does so no more."""
        entry = self._waiting.pop(exchange, None)
        if entry is not None and entry[1] is not None:
            entry[1]()

    def advance(self) -> None:
        """An application has ended: give its place to who has waited longest."""
        while self._waiting and len(self._running) < self._places:
            exchange, (host, on_end, _) = self._waiting.popitem(last=False)
            if exchange.phase != DONE:
                host.begin(exchange, on_end)
            elif on_end is not None:
                on_end()

    def close(self) -> None:
        """The server can wait no longer: nobody who waits now gets a turn, nor anybody who comes."""
        self._places = self._room = 0
        while self._waiting:
            exchange = next(iter(self._waiting))
            if exchange.phase != DONE:
                exchange.cut()
            self.leave(exchange)

    # For the wheel.

    def settle(self, now: float) -> float:
        """Return when the first has waited long enough."""
        return self._next()

    def expire(self, now: float) -> float:
        """Turn away those who have waited long enough; return when the next will have."""
        while self._waiting:
            exchange = next(iter(self._waiting))
            host, on_end, due = self._waiting[exchange]
            if due > now:
                break
            del self._waiting[exchange]
            if exchange.phase != DONE:
                host.turn_away(exchange)
            if on_end is not None:
                on_end()
        return self._next()

    def _next(self) -> float:
        if self._waiting:
            return self._waiting[next(iter(self._waiting))][2]
        self._on_wheel = False
        self._wheel.forget(self)
        return NEVER
