"""What a connection adds to the worker's counters, for ``/metrics`` and the status page.

What many requests share is counted when the worker's wheel looks at the connection, and not with each of them.
"""

from __future__ import annotations

import asyncio

from keepserve.server.hosting import Hosting
from keepserve.server.sockets import round_trip_of
from keepserve.telemetry.counters import (
    ACCEPTED,
    ACTIVE,
    BYTES_OUT,
    OPEN_1,
    OPEN_2,
    REQUESTS_1,
    REQUESTS_2,
    RTT_SAMPLES,
    RTT_SECONDS,
    STREAMS,
)

RTT_EVERY = 16
"""Of so many connections one has its round-trip time looked up: a system call."""


class Counted(Hosting):
    """The part of a connection that counts: it, its requests, its bytes."""

    __slots__ = ("_counted_requests", "_counted_running", "_counted_written", "_written")

    _written: int
    """Bytes handed to the transport so far."""

    def _begin_counting(self, transport: asyncio.Transport) -> None:
        """The connection is there, and has its engine."""
        self._written = 0
        self._counted_requests = self._counted_running = self._counted_written = 0
        state = self.state
        words = state.counters.words
        self.number = words[ACCEPTED] = number = words[ACCEPTED] + 1
        words[OPEN_2 if self.engine.multiplexed else OPEN_1] += 1
        if number % RTT_EVERY == 1 and (round_trip := round_trip_of(transport)):
            words[RTT_SAMPLES] += 1
            state.counters.seconds[RTT_SECONDS] += round_trip

    def _count_change_to_http2(self) -> None:
        """It was counted as HTTP/1.1 so far, and has had no request."""
        words = self.state.counters.words
        words[OPEN_1] -= 1
        words[OPEN_2] += 1

    def _account(self) -> None:
        """Write down what has changed since the last look: requests taken in, and those under way."""
        engine, words = self.engine, self.state.counters.words
        running, before = len(self._exchanges), self._counted_running
        if engine.requests != self._counted_requests:
            words[REQUESTS_2 if engine.multiplexed else REQUESTS_1] += engine.requests - self._counted_requests
            self._counted_requests = engine.requests
        if self._written != self._counted_written:
            words[BYTES_OUT] += self._written - self._counted_written
            self._counted_written = self._written  # the same object, which is no further memory
        if running != before:
            self._counted_running = running
            words[ACTIVE] += bool(running) - bool(before)
            if engine.multiplexed:
                words[STREAMS] += running - before

    def _end_counting(self) -> None:
        """The connection is gone, and so are its exchanges."""
        self._account()
        engine, counters = self.engine, self.state.counters
        counters.words[OPEN_2 if engine.multiplexed else OPEN_1] -= 1
        counters.carried(engine.requests, engine.glitches, engine.peer_resets)
