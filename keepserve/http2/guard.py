"""How much nonsense a peer may send: buckets that empty with what costs us and fill with time and good work.

The costs of HTTP/2 lie in frames that are cheap to send. Limits are sized by what a frame costs a Python
server, tens of microseconds, not copied from servers in C: the glitch bucket lets through about 100 such
frames a second, which is well below one per cent of a core.

Two buckets serve all attacks of this kind, whichever engine reads the frames:

* *resets*: streams that ended by RST_STREAM, whoever sent it, when the peer caused it (CVE-2019-9514, Rapid
  Reset CVE-2023-44487, MadeYouReset CVE-2025-8671). Streams that end well give room for some: a balancer whose
  users cancel one request in ten must not be taken for an attacker.
* *glitches*: frames that carry nothing: PING, SETTINGS, PRIORITY, unknown types, empty DATA, frames for streams
  that are over.
"""

from __future__ import annotations

RESET_BURST = 200
RESET_RATE = 20.0
"""Streams per second that may be reset in the long run, beside a quarter of those that end well."""
GOOD_STREAMS_WORTH = 0.25

GLITCH_BURST = 1000
GLITCH_RATE = 100.0

WARN_AT = 0.75
"""The share of a bucket after which the connection is ended gracefully; at the whole it is ended at once."""

LATE_WEIGHT = 0.25
"""What a frame weighs as a glitch that may have been on its way when its sender was told not to: DATA for a stream we
have reset, of which a whole window may come, and a stream above the last that GOAWAY has named."""

EMPTY_DATA_MAX = 100
"""DATA frames without a byte, and without END_STREAM, that a connection may carry in its life (CVE-2019-9518)."""


class Bucket:
    """``burst`` events at once, ``rate`` per second in the long run. Time is handed in, in seconds.

    ``level`` is how much counts at present.
    """

    __slots__ = ("_burst", "_rate", "_updated", "level")

    def __init__(self, burst: float, rate: float, now: float) -> None:
        self._burst = burst
        self._rate = rate
        self._updated = now
        self.level = 0.0

    def spend(self, weight: float, now: float, relief: float = 0.0) -> float:
        """Count an event of this weight; return how full the bucket is, 1.0 and more being too much.

        ``relief`` is taken off first, as the passing of time is.
        """
        self.level = max(0.0, self.level - (now - self._updated) * self._rate - relief) + weight
        self._updated = now
        return self.level / self._burst


class Guard:
    """The buckets and counts of one connection.

    ``count_reset`` and ``count_glitch`` return how full their bucket is: from ``WARN_AT`` on the connection is
    to be ended gracefully, from 1.0 at once.
    """

    __slots__ = (
        "_good_streams",
        "empty_frames",
        "glitch_count",
        "glitches",
        "priorities",
        "reset_count",
        "resets",
        "window_updates",
    )

    def __init__(self, now: float) -> None:
        self.resets = Bucket(RESET_BURST, RESET_RATE, now)
        self.glitches = Bucket(GLITCH_BURST, GLITCH_RATE, now)
        self.reset_count = self.glitch_count = 0
        """How many there were, for the metrics."""
        self.empty_frames = 0
        self.priorities = 0
        self.window_updates = 0
        self._good_streams = 0

    def count_reset(self, now: float, good_streams: int) -> float:
        """A stream was reset because of the peer; ``good_streams`` ended well so far."""
        self.reset_count += 1
        relief = (good_streams - self._good_streams) * GOOD_STREAMS_WORTH
        self._good_streams = good_streams
        return self.resets.spend(1.0, now, max(0.0, relief))

    def count_glitch(self, now: float, weight: float = 1.0) -> float:
        """A frame came that carries nothing."""
        self.glitch_count += 1
        return self.glitches.spend(weight, now)

    def excess_window_updates(self, streams: int, data_frames: int) -> bool:
        """Count a WINDOW_UPDATE; tell whether there are more than any reading of so many DATA frames needs.

        Envoy's rule against data dribble (CVE-2019-9511): 5 + 2 * (streams + 10 * DATA frames sent).
        """
        self.window_updates += 1
        return self.window_updates > 5 + 2 * (streams + 10 * data_frames)

    def excess_priorities(self, streams: int) -> bool:
        """Count a PRIORITY frame, which we ignore; tell whether there are too many (CVE-2019-9513)."""
        self.priorities += 1
        return self.priorities > 100 * (1 + streams)

    def excess_empty_frames(self) -> bool:
        """Count a DATA frame that carries nothing and ends nothing; tell whether there are too many."""
        self.empty_frames += 1
        return self.empty_frames > EMPTY_DATA_MAX
