"""Where the native engine and the h2 library may differ, one by one: why, how narrowly, and an example of each.

Here is what the tables share: frames are in ``differences_frames``, streams in ``differences_streams``, the fields of
requests in ``differences_fields``. A difference is allowed for the frame that is its cause and for what both made of
it, and for nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.http2.frames import Code, Kind
from tests.http2.oracle import Comparison, Seen, Shown

SIZE = Seen(failed=Code.FRAME_SIZE_ERROR)
PROTOCOL = Seen(failed=Code.PROTOCOL_ERROR)
FLOW = Seen(failed=Code.FLOW_CONTROL_ERROR)
CALM = Seen(failed=Code.ENHANCE_YOUR_CALM)

BLOCKS = (Kind.HEADERS, Kind.CONTINUATION)


@dataclass(frozen=True)
class Difference:
    """One difference.

    Args:
        name: what it is about.
        reason: why the native engine does what it does, and may.
        applies: tells whether it explains what came of a frame.
        example: what a client sends, behind its preface, its SETTINGS and its acknowledgement of ours; the last
            frame makes the difference.
        ours: what the native engine makes of that.
        theirs: what the library makes of it.
        bare: the example is all that the client sends behind its preface.
    """

    name: str
    reason: str
    applies: Callable[[Shown, Comparison], bool]
    example: tuple[bytes, ...]
    ours: Seen
    theirs: Seen
    bare: bool = False


def reset(stream: int, code: int) -> Seen:
    """RST_STREAM is sent."""
    return Seen(sent=((Kind.RST_STREAM, stream, code.to_bytes(4, "big")),))


def cause(comparison: Comparison) -> BaseException | None:
    """What made the library give up."""
    fault = comparison.oracle.fault
    return None if fault is None else fault.__cause__
