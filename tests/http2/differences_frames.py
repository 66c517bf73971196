"""Where the native engine and the h2 library may differ about frames of any kind, and about settings."""

from __future__ import annotations

from hyperframe.exceptions import InvalidPaddingError

from tests.http2.conversations import LONGEST
from tests.http2.differences import CALM, FLOW, PROTOCOL, SIZE, Difference, cause, reset
from tests.http2.frames import (
    ACK,
    END_HEADERS,
    GET,
    PADDED,
    PRIORITY_PART,
    Code,
    Kind,
    frame,
    get,
    headers,
    ping,
    post,
    push_promise,
    read_settings,
    rst,
    settings,
    window_update,
)
from tests.http2.oracle import NOTHING, Comparison, Seen, Shown, values

ACKNOWLEDGED = Seen(sent=((Kind.SETTINGS, 0, b""),))

_ON_STREAM = {Kind.DATA, Kind.HEADERS, Kind.PRIORITY, Kind.RST_STREAM, Kind.PUSH_PROMISE, Kind.CONTINUATION}
_ON_ZERO = {Kind.SETTINGS, Kind.PING, Kind.GOAWAY}


def _misplaced(shown: Shown) -> bool:
    """The frame stands on stream 0, or not on it, and must not."""
    return len(shown.octets) >= 9 and shown.kind in (_ON_ZERO if shown.stream else _ON_STREAM)


def _oversized(shown: Shown) -> bool:
    """The frame is larger than we allow."""
    return len(shown.octets) >= 9 and int.from_bytes(shown.octets[:3], "big") > LONGEST


def _is_idle(shown: Shown, comparison: Comparison) -> bool:
    """The client has never opened the stream, nor could it."""
    return shown.stream > comparison.highest or not shown.stream & 1


def _interrupts(shown: Shown, comparison: Comparison) -> bool:
    """Another frame stands between HEADERS and its CONTINUATION."""
    if comparison.within is None:
        return False
    return shown.kind != Kind.CONTINUATION or shown.stream != comparison.within


def _padding(shown: Shown) -> int:
    return shown.payload[0] if shown.flags & PADDED and shown.payload else -1


def _twice(shown: Shown) -> bool:
    names = [name for name, _ in read_settings(shown.payload)]
    return len(names) != len(set(names))


def _overflows_when_over(shown: Shown, comparison: Comparison) -> bool:
    """The library still has the state of a stream that is over, whose window would become too large."""
    change = values(shown, 4)[-1] - comparison.initial_window
    streams = comparison.oracle.connection.streams.values()
    return any(stream.closed and stream.outbound_flow_control_window + change > 2**31 - 1 for stream in streams)


def _depends_on_itself(shown: Shown) -> bool:
    at = 1 if shown.flags & PADDED else 0
    return int.from_bytes(shown.payload[at : at + 4], "big") & 0x7FFFFFFF == shown.stream


FRAMES = [
    Difference(
        "the first frame is not SETTINGS",
        "RFC 9113 §3.4: a client's preface ends with SETTINGS, and another is PROTOCOL_ERROR; h2 asks for none.",
        lambda shown, now: (
            not now.settled
            and (shown.kind != Kind.SETTINGS or bool(shown.flags & ACK))
            and now.ours == PROTOCOL
            and shown.kind >= 0
        ),
        (ping(),),
        PROTOCOL,
        Seen(sent=((Kind.PING, 0, bytes(range(1, 9))),)),
        bare=True,
    ),
    Difference(
        "a frame that is too large is refused by its length",
        "RFC 9113 §4.2: FRAME_SIZE_ERROR; h2 waits for all of it, or looks at its stream first.",
        lambda shown, now: (
            _oversized(shown)
            and now.ours == SIZE
            and (now.theirs == PROTOCOL if _misplaced(shown) else now.theirs == NOTHING and not shown.whole)
        ),
        (bytes.fromhex("004001 00 00 00000001 00"),),
        SIZE,
        NOTHING,
    ),
    Difference(
        "a frame on a stream where it cannot be is refused when it is whole",
        "RFC 9113 §6 says PROTOCOL_ERROR and not when; h2 refuses it as soon as its head has come.",
        lambda shown, now: _misplaced(shown) and not shown.whole and now.ours == NOTHING and now.theirs == PROTOCOL,
        (bytes.fromhex("000008 06 00 00000001 00"),),
        NOTHING,
        PROTOCOL,
    ),
    Difference(
        "a frame between HEADERS and CONTINUATION that is itself not well formed",
        "RFC 9113 §6.10: PROTOCOL_ERROR; §4.2: FRAME_SIZE_ERROR. Both hold, and the order is free.",
        lambda shown, now: _interrupts(shown, now) and shown.whole and now.ours == PROTOCOL and now.theirs == SIZE,
        (headers(1, GET, whole=False), frame(Kind.PING, 0, 0, b"1")),
        PROTOCOL,
        SIZE,
    ),
    Difference(
        "an ALTSVC frame that is not well formed",
        "RFC 7838 §4: only clients read it; so it is a frame of an unknown type, and ignored (RFC 9113 §5.5).",
        lambda shown, now: (
            shown.kind == 0x0A and shown.whole and now.within is None and (now.ours, now.theirs) == (NOTHING, SIZE)
        ),
        (frame(0x0A, 0, 0, b"\0"),),
        NOTHING,
        SIZE,
    ),
    Difference(
        "padding that leaves nothing of a HEADERS frame",
        "RFC 9113 §6.2: a fault is padding that exceeds what is left, and this does not; hyperframe refuses it.",
        lambda shown, now: (
            shown.kind == Kind.HEADERS
            and _padding(shown) == len(shown.payload) - 1
            and not shown.flags & PRIORITY_PART
            and now.theirs == PROTOCOL
            and isinstance(cause(now), InvalidPaddingError)
        ),
        (headers(1, b"", whole=False, padding=3),),
        NOTHING,
        PROTOCOL,
    ),
    Difference(
        "padding that reaches into the priority of a HEADERS frame",
        "RFC 9113 §6.2: padding that exceeds what is left for the block is PROTOCOL_ERROR; hyperframe counts the "
        "priority to what is left.",
        lambda shown, now: (
            shown.kind == Kind.HEADERS
            and bool(shown.flags & PRIORITY_PART)
            and len(shown.payload) - 6 < _padding(shown) < len(shown.payload) - 1
            and now.ours == PROTOCOL
        ),
        (frame(Kind.HEADERS, PADDED | PRIORITY_PART, 1, b"\4" + bytes(5)),),
        PROTOCOL,
        NOTHING,
    ),
    Difference(
        "HEADERS whose stream depends on itself",
        "RFC 7540 §5.3.1: a fault, found when the frame has come; h2 finds it behind all others, when the block has "
        "ended.",
        lambda shown, now: (
            shown.kind == Kind.HEADERS
            and bool(shown.flags & PRIORITY_PART)
            and _depends_on_itself(shown)
            and now.ours == PROTOCOL
        ),
        (headers(1, GET, whole=False, priority=b"\0\0\0\1\0"),),
        PROTOCOL,
        NOTHING,
    ),
    Difference(
        "DATA that is padded and has no octet for the length of its padding",
        "RFC 9113 §6.1 calls padding as long as the payload PROTOCOL_ERROR, §4.2 too short a frame FRAME_SIZE_ERROR.",
        lambda shown, now: (
            shown.kind == Kind.DATA
            and bool(shown.flags & PADDED)
            and not shown.payload
            and (now.ours, now.theirs) == (PROTOCOL, SIZE)
        ),
        (post(1), frame(Kind.DATA, PADDED, 1)),
        PROTOCOL,
        SIZE,
    ),
    Difference(
        "PRIORITY of another length than five octets",
        "RFC 9113 §6.3: an error of the stream, FRAME_SIZE_ERROR; h2 ends the connection.",
        lambda shown, now: (
            shown.kind == Kind.PRIORITY
            and len(shown.payload) != 5
            and now.ours
            == (NOTHING if shown.stream in now.reset_by_us else reset(shown.stream, Code.FRAME_SIZE_ERROR))
            and now.theirs == SIZE
        ),
        (post(1), frame(Kind.PRIORITY, 0, 1, bytes(4))),
        reset(1, Code.FRAME_SIZE_ERROR),
        SIZE,
    ),
    Difference(
        "RST_STREAM for an idle stream",
        "RFC 9113 §6.4: PROTOCOL_ERROR; h2 ignores it.",
        lambda shown, now: (
            shown.kind == Kind.RST_STREAM
            and len(shown.payload) == 4
            and _is_idle(shown, now)
            and (now.ours, now.theirs) == (PROTOCOL, NOTHING)
        ),
        (get(1), rst(3)),
        PROTOCOL,
        NOTHING,
    ),
    Difference(
        "RST_STREAM of a wrong length on stream 0",
        "RFC 9113 §6.4: FRAME_SIZE_ERROR for the one, PROTOCOL_ERROR for the other, and the order is free.",
        lambda shown, now: (
            shown.kind == Kind.RST_STREAM
            and not shown.stream
            and len(shown.payload) != 4
            and (now.ours, now.theirs) == (SIZE, PROTOCOL)
        ),
        (frame(Kind.RST_STREAM, 0, 0, bytes(5)),),
        SIZE,
        PROTOCOL,
    ),
    Difference(
        "PUSH_PROMISE that is not well formed, or whose block has not ended",
        "RFC 9113 §8.4: from a client it is PROTOCOL_ERROR, whatever is in it; h2 reads it first.",
        lambda shown, now: (
            shown.kind == Kind.PUSH_PROMISE
            and now.within is None
            and now.ours == PROTOCOL
            and (now.theirs == SIZE or (now.theirs == NOTHING and not shown.flags & END_HEADERS))
        ),
        (get(1), push_promise(1, 2, whole=False)),
        PROTOCOL,
        NOTHING,
    ),
    Difference(
        "the reserved bit of a WINDOW_UPDATE",
        "RFC 9113 §6.9: it is reserved, so ignored like that of a frame's head (§4.1); hyperframe reads it.",
        lambda shown, now: (
            shown.kind == Kind.WINDOW_UPDATE
            and len(shown.payload) == 4
            and shown.payload[0] >= 0x80
            and now.ours != PROTOCOL
            and now.theirs == PROTOCOL
        ),
        (window_update(0, 0x80000001),),
        NOTHING,
        PROTOCOL,
    ),
    Difference(
        "more WINDOW_UPDATE frames than any DATA sent could have led to",
        "CVE-2019-9511, RFC 9113 §10.5: ENHANCE_YOUR_CALM; h2 has no such limit.",
        lambda shown, now: (
            shown.kind == Kind.WINDOW_UPDATE and now.window_updates > 5 + 2 * now.requests and now.ours == CALM
        ),
        (window_update(0, 1),) * 6,
        CALM,
        NOTHING,
    ),
    Difference(
        "SETTINGS with ACK that nobody waits for",
        "RFC 9113 §6.5.3: it acknowledges what was sent, and nothing was; h2 takes it.",
        lambda shown, now: (
            shown.kind == Kind.SETTINGS
            and bool(shown.flags & ACK)
            and now.acknowledged
            and (now.ours, now.theirs) == (PROTOCOL, NOTHING)
        ),
        (settings(ack=True),),
        PROTOCOL,
        NOTHING,
    ),
    Difference(
        "SETTINGS with ACK and a payload",
        "RFC 9113 §6.5: FRAME_SIZE_ERROR; h2 says PROTOCOL_ERROR.",
        lambda shown, now: (
            shown.kind == Kind.SETTINGS
            and bool(shown.flags & ACK)
            and len(shown.payload) > 0
            and (now.ours, now.theirs) == (SIZE, PROTOCOL)
        ),
        (frame(Kind.SETTINGS, ACK, 0, bytes(6)),),
        SIZE,
        PROTOCOL,
    ),
    Difference(
        "a bad value of a setting in front of a good one",
        "RFC 9113 §6.5.3: values are processed in order; h2 looks at the last one for each setting.",
        lambda shown, now: (
            shown.kind == Kind.SETTINGS
            and _twice(shown)
            and now.ours in (PROTOCOL, FLOW)
            and now.theirs in (ACKNOWLEDGED, PROTOCOL, FLOW)
        ),
        (settings((4, 2**31), (4, 1000)),),
        FLOW,
        ACKNOWLEDGED,
    ),
    Difference(
        "a bad value of a setting behind SETTINGS_INITIAL_WINDOW_SIZE that is too much for a window",
        "RFC 9113 §6.5.3: values are processed in order; h2 looks at all of them first, and then at windows.",
        lambda shown, now: (
            shown.kind == Kind.SETTINGS
            and bool(values(shown, 4))
            and (
                any(value > 1 for value in [*values(shown, 2), *values(shown, 8)])
                or any(not 2**14 <= value < 2**24 for value in values(shown, 5))
            )
            and (now.ours, now.theirs) == (FLOW, PROTOCOL)
        ),
        (get(1), window_update(1, 1), settings((4, 2**31 - 1), (2, 2))),
        FLOW,
        PROTOCOL,
    ),
    Difference(
        "SETTINGS_NO_RFC7540_PRIORITIES above 1",
        "RFC 9218 §2.1: PROTOCOL_ERROR; h2 does not know the setting.",
        lambda shown, now: (
            shown.kind == Kind.SETTINGS
            and any(value > 1 for value in values(shown, 9))
            and now.ours == PROTOCOL
            and now.theirs in (ACKNOWLEDGED, FLOW)
        ),
        (settings((9, 2)),),
        PROTOCOL,
        ACKNOWLEDGED,
    ),
    Difference(
        "SETTINGS_ENABLE_CONNECT_PROTOCOL above 1",
        "RFC 8441 §3: from a client it has no meaning, so it is ignored (RFC 9113 §6.5.2); h2 looks at the value.",
        lambda shown, now: (
            shown.kind == Kind.SETTINGS
            and any(value > 1 for value in values(shown, 8))
            and (now.ours, now.theirs) == (ACKNOWLEDGED, PROTOCOL)
        ),
        (settings((8, 2)),),
        ACKNOWLEDGED,
        PROTOCOL,
    ),
    Difference(
        "SETTINGS_INITIAL_WINDOW_SIZE that would be too much for the window of a stream that is over",
        "RFC 9113 §6.9.2: it changes the windows of streams that are open; h2 has not yet dropped all others.",
        lambda shown, now: (
            shown.kind == Kind.SETTINGS
            and bool(values(shown, 4))
            and _overflows_when_over(shown, now)
            and (now.ours, now.theirs) == (ACKNOWLEDGED, FLOW)
        ),
        (get(1), window_update(1, 2**31 - 1 - 65_535), rst(1), settings((4, 65_536))),
        ACKNOWLEDGED,
        FLOW,
    ),
]
