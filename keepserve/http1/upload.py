"""The body of the request under way: its framing, its clock, and whether anybody still wants it."""

from __future__ import annotations

from keepserve.http1.body import ChunkedDecoder, LengthDecoder
from keepserve.http1.head import Framing
from keepserve.wire.clocks import ProgressClock
from keepserve.wire.engine import Limits


class Upload:
    """A request body on its way in.

    ``expecting`` tells that the client holds it back until it hears ``100 Continue``; ``wanted`` that
    the application has begun to read it; ``unwanted`` that its response is complete, so that what
    comes is dropped for the sake of the connection.
    """

    __slots__ = ("_clock", "_decoder", "_discarded", "_held", "_limits", "expecting", "unwanted", "wanted")

    def __init__(self, framing: Framing, limits: Limits, now: float, held: bool) -> None:
        self._limits = limits
        self._decoder = (
            ChunkedDecoder(limits.request_body, limits.request_fields)
            if framing.chunked
            else LengthDecoder(framing.length)
        )
        self._clock = ProgressClock(limits.body_timeout, limits.body_min_rate, limits.body_rate_grace, now)
        self._discarded = 0
        self._held = held
        self.expecting = False
        self.unwanted = False
        self.wanted = False
        if held:
            self._clock.hold(now)

    def feed(self, data: bytes, now: float) -> tuple[bytes, bool, bytes]:
        """Return the payload in ``data``, whether the body ends there, and the bytes behind. Raises ``BodyFault``."""
        taken = self._decoder.feed(data)
        if self.expecting:
            # It did not wait to be told to go on; from here on it may be slow.
            self.expecting = False
            self._set_clock(now)
        self._clock.moved(len(data), now)
        if self.unwanted:
            self._discarded += len(data)
        return taken

    def expect(self, now: float) -> None:
        """The client waits for ``100 Continue``: it is not slow until it has been told to go on."""
        self.expecting = True
        self._set_clock(now)

    def go_on(self, now: float) -> None:
        """The client has been told."""
        self.expecting = False
        self._set_clock(now)

    def hold(self, held: bool, now: float) -> None:
        """We stop (``True``) or go on reading."""
        self._held = held
        self._set_clock(now)

    def _set_clock(self, now: float) -> None:
        if self._held or self.expecting:
            self._clock.hold(now)
        else:
            self._clock.resume(now)

    @property
    def deadline(self) -> float:
        """When it counts as stalled."""
        return self._clock.deadline

    @property
    def discardable(self) -> bool:
        """Whether the rest is short enough to be dropped, as far as can be told.

        Not when the client waits for ``100 Continue``: without it the body may come or not, and
        nobody can tell (RFC 9110 §10.1.1).
        """
        remaining = self._decoder.remaining
        return not self.expecting and (remaining is None or remaining <= self._limits.discard_bytes)

    def left_unread(self, answered: bool) -> bool:
        """Whether too much of it will be left unread; ``answered`` tells that the response ends here and now.

        An application that reads while it answers may yet read all of it.
        """
        return not self.discardable and (answered or self.expecting or not self.wanted)

    @property
    def too_long_to_discard(self) -> bool:
        """More has been dropped than a connection is worth."""
        return self._discarded > self._limits.discard_bytes
