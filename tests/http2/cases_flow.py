"""Cases of RFC 9113 §5.2 and §6.9: windows, how a response waits for them and an upload keeps within them."""

from __future__ import annotations

from tests.http2.case import Answer, Do, Got, Part, case, repeated
from tests.http2.frames import data, get, headers, ping, post, request_block, rst, settings, window_update

WAIT = b"/wait"
ACKNOWLEDGED = "000000 04 01 00000000"
FRAME = 16_384
STREAM_WINDOW = 16
"""What a stream takes unread, in frames of the largest size: 256 KiB; four such streams fill the connection."""
MALFORMED = request_block(b"POST", b"")


def _response(
    name: str, shows: str, size: int, sent: list[bytes | Do], come: int, *, acknowledged: int = 1, before: int = 2000
) -> None:
    """A response of ``size`` octets, the stream's window being ``before``, then ``sent``: ``come`` octets come."""
    got = Got(1, path=b"/bytes/%d" % size)
    case(
        name,
        shows,
        [settings((4, before)), get(1, got.path), Do.NEXT, *sent],
        [ACKNOWLEDGED] * acknowledged,
        served=[got],
        answers={1: Answer(body=come, whole=come == size)},
    )


def _sending() -> None:
    within = "6.9.1-space 5.2.1-limits"
    _response("a response stops where its stream's window ends", within, 5000, [], 2000)
    _response("and goes on as far as it grows", within, 5000, [window_update(1, 1500)], 3500)
    _response("and in steps", within, 9000, [window_update(1, 1500), Do.NEXT, window_update(1, 2500)], 6000)
    _response("to the end", within, 5000, [window_update(1, 3000)], 5000)
    _response("a window of 0 lets nothing of a body pass", within, 5000, [], 0, before=0)
    _response("an empty body needs no window", within, 0, [], 0, before=0)
    _response(
        "a response stops where the connection's window ends",
        f"{within} 6.9.2-adjusted",
        70_000,
        [],
        65_535,
        before=1_000_000,
    )
    _response("the connection's window grows", within, 70_000, [window_update(0, 10_000)], 70_000, before=1_000_000)
    _response(
        "the stream's window grows while the connection's is at its end",
        within,
        90_000,
        [window_update(1, 100_000)],
        65_535,
        before=80_000,
    )
    _response("the largest window is obeyed", within, 60_000, [], 60_000, before=2**31 - 1)
    case(
        "two responses share the connection's window",
        within,
        [get(1, b"/bytes/60000"), get(3, b"/bytes/60000"), Do.NEXT, window_update(0, 60_000)],
        served=[Got(1, path=b"/bytes/60000"), Got(3, path=b"/bytes/60000")],
    )
    case(
        "the response to HEAD needs no window",
        within,
        [settings((4, 0)), headers(1, request_block(b"HEAD"), end=True)],
        [ACKNOWLEDGED],
        served=[Got(1, b"HEAD")],
    )


def _resizing() -> None:
    _response(
        "a larger initial window lets a response go on by the difference",
        "6.9.2-adjusted",
        9000,
        [settings((4, 3500))],
        3500,
        acknowledged=2,
    )
    _response(
        "what a stream was granted stays when the initial window grows",
        "6.9.2-adjusted",
        9000,
        [window_update(1, 1500), Do.NEXT, settings((4, 3500))],
        5000,
        acknowledged=2,
    )
    _response(
        "a smaller initial window makes the stream's negative",
        "6.9.2-negative 6.9.2-waits 6.9.2-adjusted",
        9000,
        [settings((4, 500)), Do.NEXT, window_update(1, 1500)],
        2000,
        acknowledged=2,
    )
    _response(
        "a response goes on once a negative window has become positive",
        "6.9.2-negative 6.9.2-waits",
        9000,
        [settings((4, 0)), Do.NEXT, window_update(1, 1999), Do.NEXT, window_update(1, 1501)],
        3500,
        acknowledged=2,
    )
    _response(
        "an initial window that goes down and up again changes nothing",
        "6.9.2-negative 6.9.2-adjusted",
        9000,
        [settings((4, 0)), settings((4, 2000)), settings((4, 0), (4, 2000))],
        2000,
        acknowledged=4,
    )
    _response(
        "settings leave the connection's window as it is",
        "6.9.2-adjusted",
        90_000,
        [settings((4, 2**31 - 1))],
        65_535,
        acknowledged=2,
        before=0,
    )
    case(
        "an initial window that takes a stream beyond the limit",
        "6.9.2-overflow",
        [get(1, WAIT), window_update(1, 2**31 - 1 - 65_535), "000006 04 00 00000000 0004 00010000"],
        ["000008 07 00 00000000 00000001 00000003"],
        served=[Got(1, path=WAIT)],
    )
    case(
        "an initial window that takes a stream to the limit",
        "6.9.2-overflow",
        [get(1, WAIT), window_update(1, 2**31 - 1 - 65_536), "000006 04 00 00000000 0004 00010000", Do.ANSWER],
        [ACKNOWLEDGED],
        served=[Got(1, path=WAIT)],
        answers={1: Answer(body=b"GET /wait 0")},
    )


def full_of(number: int) -> bytes:
    """DATA that uses up a stream's window."""
    return data(number, b"x" * FRAME) * STREAM_WINDOW


def _receiving() -> None:
    case(
        "an upload may fill its stream's window before anyone reads",
        "6.9-violated",
        [post(1, WAIT), full_of(1), get(3)],
        served=[3],
        begun=[1],
    )
    case(
        "an upload beyond its stream's window",
        "6.9-violated",
        [post(1, WAIT), full_of(1), data(1, b"x"), get(3)],
        ["000004 03 00 00000001 00000003"],
        served=[3],
        begun=[1],
    )
    uploads = [part for number in (1, 3, 5, 7) for part in (post(number, WAIT), full_of(number))]
    case(
        "frames that are not flow controlled are processed when the connection's window is used up",
        "6.9-exempt",
        [*uploads, get(9), ping(), settings()],
        [ping(ack=True), ACKNOWLEDGED],
        served=[9],
        begun=[1, 3, 5, 7],
    )
    case(
        "uploads beyond the connection's window",
        "6.9-violated 6.9-zero-connection",
        [*uploads, post(9, WAIT), data(9, b"x"), get(11)],
        ["000008 07 00 00000000 00000009 00000003"],
        begun=[1, 3, 5, 7, 9],
    )
    case(
        "empty DATA needs no window",
        "6.9-violated",
        [*uploads, post(9), data(9, end=True)],
        served=[Got(9, b"POST")],
        begun=[1, 3, 5, 7],
    )
    # An upload that is read, and DATA that nobody wants, both give the connection's window back: more than a
    # whole window can pass. That each octet counts is the runner's to check (no more is given back than came).
    numbers = (1, 3, 5, 7, 9, 11)
    read: list[Part] = []
    for number in numbers:
        read += [post(number), data(number, b"x" * FRAME) * 15, data(number, b"x" * FRAME, end=True), Do.NEXT]
    case(
        "what the application has read makes room for more",
        "6.9-accounted",
        read,
        served=[Got(number, b"POST", b"/", b"x" * FRAME * 16) for number in numbers],
        refunded=True,
    )
    unread: list[Part] = []
    answered: list[Part] = []
    for number in numbers:
        unread += [post(number, WAIT), full_of(number), Do.NEXT, rst(number)]
        answered += [post(number, WAIT), full_of(number), Do.ANSWER, Do.LATER]
    case(
        "what nobody has read when the client resets its stream makes room for more",
        "6.9-accounted",
        unread,
        begun=numbers,
        refunded=True,
    )
    case(
        "what nobody has read when the response is complete makes room for more",
        "6.9-accounted",
        answered,
        [f"000004 03 00 {number:08x} 00000000" for number in numbers],
        begun=numbers,
        answers=dict.fromkeys(numbers, Answer(body=b"POST /wait %d" % (STREAM_WINDOW * FRAME))),
        refunded=True,
    )
    late = range(1, 141, 2)
    case(
        "DATA after END_STREAM makes room for more",
        "6.9-accounted 5.1-half-closed",
        [part for number in late for part in (get(number, WAIT), data(number, b"x" * FRAME), Do.NEXT)],
        [f"000004 03 00 {number:08x} 00000005" for number in late],
        served=[Got(number, path=WAIT) for number in late],
        refunded=True,
    )
    pieces = [post(1), *repeated(5, data(1, b"x" * FRAME) * 7, Do.NEXT)]
    case(
        "an upload longer than its stream's window, read as it comes",
        "6.9-accounted",
        [*pieces, data(1, end=True)],
        served=[Got(1, b"POST", b"/", b"x" * FRAME * 35)],
        refunded=True,
    )
    case("an upload that is read as it comes, and has not ended", "6.9-accounted", pieces, begun=[1], refunded=True)
    case(
        "DATA that is discarded makes room for more",
        "6.9-accounted 5.1-reset-discards",
        [headers(1, MALFORMED), *repeated(5, data(1, b"x" * FRAME) * 16, Do.NEXT), get(3)],
        ["000004 03 00 00000001 00000001"],
        served=[3],
        refunded=True,
    )
    case(
        "padding makes room for more",
        "6.9-accounted",
        [post(1), *repeated(9, data(1, b"x", padding=255) * 250, Do.NEXT), data(1, end=True)],
        served=[Got(1, b"POST", b"/", b"x" * 2250)],
        refunded=True,
    )


_sending()
_resizing()
_receiving()
