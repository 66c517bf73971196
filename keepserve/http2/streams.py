"""One stream: what is known of a request and its response between HEADERS and the end (RFC 9113 §5).

A stream lives from its HEADERS frame until both sides are done or one resets it; after that only its number
is left, below the highest one. Memory: 190 bytes for an open stream, 230 more while a request body is on its way
in, nothing for one that is over (measured by ``tests/http2/test_memory.py``); beside these the request itself, and
what is queued, which is bounded by ``SEND_HIGH_WATER`` plus one message of the application's.
"""

from __future__ import annotations

from collections import deque

from keepserve.wire.clocks import ProgressClock
from keepserve.wire.engine import NEVER, Limits

STREAM_WINDOW = 256 * 1024
"""Bytes of a request body a client may send before the application has taken any."""
CONNECTION_WINDOW = 1024 * 1024
"""The same for all streams of a connection together."""

SEND_HIGH_WATER = 64 * 1024
SEND_LOW_WATER = 16 * 1024
"""Bytes of a response waiting for the client at which ``send()`` waits, and goes on."""

AWAITED, STARTED, OVER = range(3)
"""How far a response has come: nothing sent but interim heads; head sent; all handed over."""


class Stream:
    """The state of one open stream.

    ``receiving`` tells that the client may still send; ``delta`` is its send window less the connection-wide
    initial one (RFC 9113 §6.9.2), so that a SETTINGS frame changes all windows at once; ``left`` is how much
    of a promised Content-Length is still to come (-1: none promised); ``queued`` counts the bytes in ``queue``;
    ``trailers`` are what ends the response when the queue is empty (an empty list: END_STREAM alone).
    """

    __slots__ = (
        "_taken",
        "blocked",
        "delta",
        "head_only",
        "left",
        "number",
        "queue",
        "queued",
        "receiving",
        "response",
        "stall",
        "trailers",
        "upload",
    )

    # Set with the queue, which most responses do without.
    _taken: int
    blocked: bool
    stall: ProgressClock | None
    trailers: list[tuple[bytes, bytes]] | None

    def __init__(self, number: int, receiving: bool, head_only: bool) -> None:
        self.number = number
        self.receiving = receiving
        self.head_only = head_only
        self.response = AWAITED
        self.delta = 0
        self.left = -1
        self.queued = 0
        self.queue: deque[bytes] | None = None
        self.upload: Upload | None = None

    def __repr__(self) -> str:
        return (
            f"<Stream {self.number} {'receiving' if self.receiving else 'received'}, "
            f"response {('awaited', 'started', 'over')[self.response]}, {self.queued} B queued>"
        )

    def enqueue(self, data: bytes) -> None:
        """Keep bytes of the response until there is a window for them."""
        if self.queue is None:
            self.queue = deque()
            self._taken = 0
            self.trailers = None
            self.blocked = False
            self.stall = None
        self.queue.append(data)
        self.queued += len(data)

    def take(self, size: int) -> bytes:
        """Return up to ``size`` of the queued bytes, less where a piece ends before."""
        queue = self.queue
        assert queue is not None
        piece, start = queue[0], self._taken
        end = start + size
        if end < len(piece):
            self._taken = end
            self.queued -= size
            return piece[start:end]
        queue.popleft()
        if start:
            self._taken = 0
            piece = piece[start:]
        self.queued -= len(piece)
        return piece


class Upload:
    """A request body on its way in: its two accounts of bytes, its promised length, its clock.

    ``window`` is what the client may still send; ``held`` what it has sent and the application has not taken;
    ``owed`` what the application has taken and the client has not been told of; ``remaining`` what
    Content-Length has promised (-1: nothing); ``expecting`` that the client waits for 100 Continue;
    ``limited`` that it must not be longer than ``limit_request_body``.
    """

    __slots__ = ("_clock", "_paused", "expecting", "held", "limited", "owed", "received", "remaining", "window")

    def __init__(self, limits: Limits, content_length: int, expecting: bool, paced: bool, now: float) -> None:
        self.window = STREAM_WINDOW
        self.held = 0
        self.owed = 0
        self.received = 0
        self.remaining = content_length
        self.expecting = expecting
        self.limited = True
        self._paused = False
        self._clock: ProgressClock | None = None
        if paced:
            self._clock = ProgressClock(limits.body_timeout, limits.body_min_rate, limits.body_rate_grace, now)
            self._set_clock(now)

    def arrived(self, size: int, now: float) -> None:
        """So many bytes came, of which the window already knows."""
        self.received += size
        self.held += size
        self.expecting = False  # it did not wait to be told to go on
        if self._clock is not None:
            self._clock.moved(size, now)
            self._set_clock(now)

    def widen(self, amount: int, now: float) -> None:
        """The client has been given room."""
        self.window += amount
        self._set_clock(now)

    def go_on(self, now: float) -> None:
        """The client need not wait for 100 Continue any more."""
        self.expecting = False
        self._set_clock(now)

    def pause(self, paused: bool, now: float) -> None:
        """We stop (``True``) or go on reading from the connection."""
        self._paused = paused
        self._set_clock(now)

    def _set_clock(self, now: float) -> None:
        clock = self._clock
        if clock is None:
            return
        if self.window <= 0 or self.expecting or self._paused:
            clock.hold(now)  # who may not send is not slow
        else:
            clock.resume(now)

    def let_be(self) -> None:
        """Measure no more: the response has begun, and from here the two sides converse at their own pace."""
        self._clock = None

    @property
    def deadline(self) -> float:
        """When the body counts as stalled."""
        return self._clock.deadline if self._clock is not None else NEVER
