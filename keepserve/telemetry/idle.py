"""How long connections had been idle when they were closed, and the timeout of the peers that shows in it.

A balancer closes an idle connection after a fixed time. Many such closes stand close together, whatever else
happens beside them: clients that leave when they please, pools that let go of what is too much for them.

Counts by duration, in buckets 2 % wide from a quarter of a second to two days: less than 6 KB, and one addition per
close. What is old counts less and less.
"""

from __future__ import annotations

import math
from array import array
from itertools import accumulate
from typing import NamedTuple

from keepserve.config.durations import plain_seconds
from keepserve.config.settings import Settings

SHORTEST = 0.25
"""Seconds. A connection that was idle for less was not closed by a clock, but because nobody wanted it any more."""

LONGEST = 2 * 86400.0
"""Seconds; whatever is longer counts as this."""

RESOLUTION = 0.06
"""Seconds by which a measured time may be off either way: ends of responses are noticed by ticks of 0.1 s."""

FEW = 20
"""Closes from which something can be said."""

SURE = 200
"""Closes from which it is taken as sure; until then a cluster must hold a larger part of them."""

KEPT = 4096
"""Closes that are remembered. At more, all counts are halved: so a balancer may change its mind."""

_WIDTH = 1.02
_SCALE = 1 / math.log(_WIDTH)
_BUCKETS = math.ceil(math.log(LONGEST / SHORTEST) * _SCALE)

_SPREAD = 0.03
"""How far the closes of one timeout lie on either side of it, as a part of it."""

_SHARE, _SURE_SHARE = 0.4, 0.2
"""The part of all closes that must lie in a cluster. Times that are spread evenly have 6 % in the fullest place."""

_SHARPNESS = 3
"""How many times as many closes a cluster must hold as the equally long stretches before and after it, and one more.

This is what random times do not have, nor the end of a range of them, nor a few people with the same habit.
"""


class Cluster(NamedTuple):
    """Closes that stand together: after ``seconds`` of idleness, ``closes`` of them, ``of`` so many in all."""

    seconds: float
    closes: int
    of: int


def _bucket(seconds: float) -> int:
    return min(int(math.log(seconds / SHORTEST) * _SCALE), _BUCKETS - 1) if seconds > SHORTEST else 0


_MIDDLES = [SHORTEST * _WIDTH ** (number + 0.5) for number in range(_BUCKETS)]

_LAST = [_bucket(middle * (1 + _SPREAD) + RESOLUTION) for middle in _MIDDLES]
_FIRST = [_bucket(max(middle * (1 - _SPREAD) - RESOLUTION, SHORTEST)) for middle in _MIDDLES]
"""For each bucket, where the cluster ends and begins whose middle it is."""


class IdleTimes:
    """A bounded record of idle times, in seconds."""

    def __init__(self) -> None:
        self._counts = array("L", bytes(array("L").itemsize * _BUCKETS))
        self.count = 0
        """Closes remembered."""

    def add(self, seconds: float) -> None:
        """Remember one close; those after less than `SHORTEST` tell nothing and are left out."""
        if seconds < SHORTEST:
            return
        self._counts[_bucket(seconds)] += 1
        self.count += 1
        if self.count > KEPT:
            self._counts = array("L", [count >> 1 for count in self._counts])
            self.count = sum(self._counts)

    def above(self, seconds: float) -> int:
        """How many of the closes came after more idleness than this."""
        return sum(self._counts[_bucket(seconds) :])

    def clusters(self, *, least: int = FEW, above: float = 0.0) -> list[Cluster]:
        """The timeouts that show, longest first; usually none or one.

        With ``above`` only what lies above so many seconds is taken for a cluster. The whole record still says
        what is beside it. ``least`` is how many closes there must be.
        """
        first = _bucket(above)
        total = sum(self._counts[first:])
        if total < least:
            return []
        enough = max(least / 2, total * (_SURE_SHARE if total >= SURE else _SHARE))
        sums = [0, *accumulate(self._counts)]
        found: list[Cluster] = []
        number = top = _BUCKETS

        def reach(number: int) -> tuple[int, int, int]:
            """What a cluster would hold whose middle is here, and where it begins and ends."""
            start, end = max(_FIRST[number], first), min(_LAST[number] + 1, top)
            return sums[end] - sums[start], start, end

        while number > first:
            number -= 1
            if reach(number)[0] < enough:
                continue
            # The cluster is here, or a little lower: where it is fullest.
            lowest = max(_FIRST[number], first)
            place = max(range(lowest, number + 1), key=lambda place: (reach(place)[0], self._counts[place]))
            closes, start, end = reach(place)
            length = end - start
            before = sums[start] - sums[max(start - length, 0)]
            after = sums[min(end + length, _BUCKETS)] - sums[end]
            if closes >= _SHARPNESS * (max(before, after) + 1):
                found.append(Cluster(self._mean(start, end), closes, total))
            number = top = start
        return found

    def _mean(self, start: int, end: int) -> float:
        counts = self._counts[start:end]
        return sum(map(float.__mul__, _MIDDLES[start:end], map(float, counts))) / sum(counts)


ALARMING = 5
"""Idle closes of ours that are no accident any more,"""

ALARMING_SHARE = 0.1
"""if they are so large a part of all closes after half of ``keep_alive_timeout`` or more: a balancer with its clock
in order leaves us none, and clients beside it (monitoring, a colleague's browser) a few."""


def alarming(ours: int, theirs: int) -> bool:
    """Whether we close too many idle connections for there to be a balancer that closes them first.

    ``theirs`` are those that peers closed after half of ``keep_alive_timeout`` or more.
    """
    return ours >= ALARMING and ours >= ALARMING_SHARE * (ours + theirs)


def options_to_outlast(seconds: float, settings: Settings) -> str:
    """The options that make keepserve outlast a balancer whose idle timeout is this, as they are to be written."""
    options = f"--lb-idle-timeout {plain_seconds(seconds)}"
    if settings.keep_alive_timeout != settings.lb_idle_timeout + settings.keep_alive_margin:
        # Somebody has chosen it: then it does not follow by itself.
        options += f" and --keep-alive-timeout {plain_seconds(seconds + settings.keep_alive_margin)}"
    return options


def as_late_as(seconds: float, ours: float) -> bool:
    """Whether a timeout that shows is not shorter than ours.

    It is known to 2 %, which is more than lies between a long timeout and ours above it: 900 s and 920. What somebody
    most likely wrote tells them apart.
    """
    return round_timeout(seconds) >= ours - RESOLUTION


def round_timeout(seconds: float) -> float:
    """The number somebody most likely wrote into a configuration, at most 2 % away: 350 for 347.8."""
    for step in (3600, 600, 300, 100, 60, 50, 30, 10, 5, 1, 0.5):
        number = round(seconds / step) * step
        if number and abs(number - seconds) <= 0.02 * seconds:
            return float(number)
    return round(seconds, 1)
