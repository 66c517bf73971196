"""The native engine against the h2 library, frame by frame, over conversations drawn at random and broken.

Both are shown the same frames, and must see the same requests, bodies, ends and resets in each, answer with the same
RST_STREAM and acknowledgements, and give up with the same error; but for the differences that are listed. A sequence
of frames is compared up to its first difference.

``KEEPSERVE_SEQUENCES`` sets another number of sequences than 20,000.
"""

from __future__ import annotations

import collections
import os
import random

import pytest

from tests.http2.breaks import draw
from tests.http2.differences import Difference
from tests.http2.differences_fields import FIELDS
from tests.http2.differences_frames import FRAMES
from tests.http2.differences_streams import STREAMS
from tests.http2.frames import GET, PREFACE, Code, Kind, block, describe, headers, settings
from tests.http2.oracle import Comparison, Native, Seen, Shown, cut

SEQUENCES = int(os.environ.get("KEEPSERVE_SEQUENCES", "20000"))
PARTS = 20
DIFFERENCES = [*FRAMES, *STREAMS, *FIELDS]


def explain(shown: Shown, comparison: Comparison) -> str | None:
    """Return the name of the difference that explains what both made of a frame, if it is allowed."""
    for difference in DIFFERENCES:
        if difference.applies(shown, comparison):
            return difference.name
    return None


def compare(octets: bytes, seen: collections.Counter[str]) -> None:
    """Show both what a client sends, and count what they agree on."""
    comparison = Comparison()
    for shown in cut(octets):
        if not comparison.show(shown):
            difference = explain(shown, comparison)
            assert difference is not None, (
                f"{shown}\nnative:  {comparison.ours}\nlibrary: {comparison.theirs} {comparison.oracle.fault!r}\n"
                f"in\n{describe(octets)}"
            )
            seen["a difference"] += 1
            return
        ours = comparison.ours
        seen["a frame"] += 1
        seen["a request"] += ours.request is not None
        seen["a body"] += ours.body is not None
        seen["a whole request"] += ours.ended is not None
        seen["a stream reset by the client"] += ours.gone is not None
        seen["a stream reset by the server"] += any(kind == Kind.RST_STREAM for kind, _, _ in ours.sent)
        if comparison.over:
            seen["no error" if ours.failed is None else Code(ours.failed).name] += 1
            return
    seen["a connection that stays open"] += 1


@pytest.mark.parametrize("part", range(PARTS))
def test_the_engine_and_the_library_agree_frame_by_frame(part: int) -> None:
    chance = random.Random(part)
    seen: collections.Counter[str] = collections.Counter()
    for _ in range(SEQUENCES // PARTS):
        compare(draw(chance), seen)
    # Nobody is to trust a comparison of next to nothing.
    assert seen["a difference"] < 0.4 * SEQUENCES / PARTS, seen
    for what in ("a request", "a body", "a whole request", "a connection that stays open"):
        assert seen[what] > 0.2 * SEQUENCES / PARTS, seen
    for what in ("a stream reset by the client", "PROTOCOL_ERROR", "FRAME_SIZE_ERROR", "STREAM_CLOSED", "no error"):
        assert seen[what] > 0, seen


def test_names_of_differences_are_unique() -> None:
    names = [difference.name for difference in DIFFERENCES]
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize("difference", DIFFERENCES, ids=lambda difference: difference.name)
def test_difference(difference: Difference) -> None:
    """It is there, it is what the table says, and no other explains it."""
    opening = b"" if difference.bare else settings() + settings(ack=True)
    *before, last = cut(PREFACE + opening + b"".join(difference.example))
    comparison = Comparison()
    for shown in before:
        assert comparison.show(shown), shown
    assert not comparison.show(last)
    assert comparison.ours == difference.ours
    assert comparison.theirs == difference.theirs
    assert explain(last, comparison) == difference.name


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        pytest.param(
            headers(7, GET + block((b"host", b"a"), (b"host", b"a")), end=True),
            Seen(sent=((Kind.RST_STREAM, 7, b"\0\0\0\1"),)),
            id="host twice beside :authority",
        ),
        pytest.param(headers(2, GET, end=True), Seen(failed=Code.PROTOCOL_ERROR), id="HEADERS on an even stream"),
    ],
)
def test_what_the_comparison_has_found(frame: bytes, expected: Seen) -> None:
    """Faults of the native engine that agreement with the library has brought to light."""
    native = Native()
    for shown in cut(PREFACE + settings() + settings(ack=True) + headers(5, GET, end=True)):
        native.show(shown)
    *_, last = cut(PREFACE + frame)
    assert native.show(last) == expected
