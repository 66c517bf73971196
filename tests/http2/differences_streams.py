"""Where the native engine and the h2 library may differ about field blocks and the states of streams."""

from __future__ import annotations

import re

from h2.exceptions import InvalidBodyLengthError, StreamIDTooLowError, TooManyStreamsError
from hpack.exceptions import HPACKError

from tests.http2.conversations import LONGEST
from tests.http2.differences import BLOCKS, CALM, FLOW, PROTOCOL, Difference, cause, reset
from tests.http2.frames import (
    GET,
    POST,
    Code,
    Kind,
    block,
    continuation,
    data,
    get,
    headers,
    post,
    rst,
    window_update,
)
from tests.http2.oracle import NOTHING, Comparison, Seen, Shown

CLOSED = Seen(failed=Code.STREAM_CLOSED)
COMPRESSION = Seen(failed=Code.COMPRESSION_ERROR)

_THREE_UPDATES = re.compile(rb"(?:[\x20-\x3e]|\x3f[\x80-\xff]*[\x00-\x7f]){3}")


def _is_over(shown: Shown, comparison: Comparison) -> bool:
    """The stream is closed, and not because we have reset it lately."""
    stream = shown.stream
    return stream <= comparison.highest and stream not in comparison.open and stream not in comparison.reset_by_us


STREAMS = [
    Difference(
        "a field block that cannot be decoded",
        "RFC 9113 §4.3: COMPRESSION_ERROR; h2 says PROTOCOL_ERROR.",
        lambda shown, now: (
            shown.kind in BLOCKS
            and (now.ours, now.theirs) == (COMPRESSION, PROTOCOL)
            and isinstance(cause(now), HPACKError)
        ),
        (headers(1, b"\xbe", end=True),),
        COMPRESSION,
        PROTOCOL,
    ),
    Difference(
        "a field block that cannot be decoded, on a stream beyond the limit",
        "RFC 9113 §4.3: the block is decoded in any case, so that the compression state is kept; h2 looks at the "
        "number of streams first.",
        lambda shown, now: (
            shown.kind in BLOCKS
            and (now.ours, now.theirs) == (COMPRESSION, PROTOCOL)
            and isinstance(now.oracle.fault, TooManyStreamsError)
        ),
        (get(1), get(3), get(5), get(7), headers(9, b"\xf0", end=True)),
        COMPRESSION,
        PROTOCOL,
    ),
    Difference(
        "more changes of the table's size than may stand in front of a block",
        "RFC 7541 §4.2: two at most; the hpack library takes any number.",
        lambda shown, now: (
            shown.kind in BLOCKS and now.ours == COMPRESSION and _THREE_UPDATES.match(now.block) is not None
        ),
        (headers(1, b"\x20\x20\x20" + GET, end=True),),
        COMPRESSION,
        Seen(request=(1, b"GET", b"/", ((b"host", b"a"),)), ended=1),
    ),
    Difference(
        "a block in more than nine frames",
        "CVE-2024-27316, RFC 9113 §10.5: ENHANCE_YOUR_CALM; h2 allows 64.",
        lambda shown, now: shown.kind == Kind.CONTINUATION and now.continuations > 8 and now.ours == CALM,
        (headers(1, b"", whole=False), *(continuation(1, b"", whole=False),) * 9),
        CALM,
        NOTHING,
    ),
    Difference(
        "CONTINUATION without HEADERS on a stream that is over",
        "RFC 9113 §6.10: PROTOCOL_ERROR; h2 asks for the stream first.",
        lambda shown, now: (
            shown.kind == Kind.CONTINUATION
            and now.within is None
            and shown.stream not in now.open
            and now.ours == PROTOCOL
            and now.theirs in (CLOSED, reset(shown.stream, Code.STREAM_CLOSED))
        ),
        (get(1, b"/done"), get(3), continuation(1, b"")),
        PROTOCOL,
        CLOSED,
    ),
    Difference(
        "a stream beyond the limit",
        "RFC 9113 §5.1.2: an error of the stream, REFUSED_STREAM; h2 ends the connection.",
        lambda shown, now: (
            shown.kind in BLOCKS
            and now.ours == reset(shown.stream, Code.REFUSED_STREAM)
            and isinstance(now.oracle.fault, TooManyStreamsError)
        ),
        (get(1), get(3), get(5), get(7), get(9)),
        reset(9, Code.REFUSED_STREAM),
        PROTOCOL,
    ),
    Difference(
        "HEADERS for a stream below the highest that was never used",
        "RFC 9113 §5.1.1: it is closed by the use of a higher one, and STREAM_CLOSED is for those (§5.1); h2 tells "
        "it from streams that were used, which takes a memory of them.",
        lambda shown, now: (
            shown.kind in BLOCKS
            and _is_over(shown, now)
            and (now.ours, now.theirs) == (CLOSED, PROTOCOL)
            and isinstance(now.oracle.fault, StreamIDTooLowError)
        ),
        (get(5), get(3)),
        CLOSED,
        PROTOCOL,
    ),
    Difference(
        "HEADERS for a stream that is over, with another fault",
        "RFC 9113 §5.1: STREAM_CLOSED; h2 finds the other one first: the block, the number of streams, "
        "a :status that no request has.",
        lambda shown, now: (
            shown.kind in BLOCKS
            and _is_over(shown, now)
            and (now.ours, now.theirs) == (CLOSED, PROTOCOL)
            and (
                isinstance(cause(now), HPACKError)
                or isinstance(now.oracle.fault, TooManyStreamsError)
                or "informational" in str(now.oracle.fault)
            )
        ),
        (get(1, b"/done"), headers(1, b"\xbe", end=True)),
        CLOSED,
        PROTOCOL,
    ),
    Difference(
        "HEADERS for a stream that we have reset",
        "RFC 9113 §5.1: it may have been on its way, and is decoded and dropped; h2 resets the stream again, "
        "or takes it for a new one beyond the limit.",
        lambda shown, now: (
            shown.kind in BLOCKS
            and shown.stream in now.reset_by_us
            and now.ours == NOTHING
            and (
                now.theirs == reset(shown.stream, Code.STREAM_CLOSED)
                or isinstance(now.oracle.fault, TooManyStreamsError)
            )
        ),
        (get(1), window_update(1, 2**31 - 1), get(1)),
        NOTHING,
        reset(1, Code.STREAM_CLOSED),
    ),
    Difference(
        "HEADERS or DATA for a stream that the client has reset",
        "RFC 9113 §5.1: a connection error STREAM_CLOSED is allowed, and no memory of such streams is needed; h2 "
        "resets the stream.",
        lambda shown, now: (
            shown.kind in (*BLOCKS, Kind.DATA)
            and _is_over(shown, now)
            and (now.ours, now.theirs) == (CLOSED, reset(shown.stream, Code.STREAM_CLOSED))
        ),
        (get(1), rst(1), get(1)),
        CLOSED,
        reset(1, Code.STREAM_CLOSED),
    ),
    Difference(
        "DATA for a stream that we have reset",
        "RFC 9113 §5.1: it may have been on its way, and is dropped; h2 resets the stream again.",
        lambda shown, now: (
            shown.kind == Kind.DATA
            and shown.stream in now.reset_by_us
            and (now.ours, now.theirs) == (NOTHING, reset(shown.stream, Code.STREAM_CLOSED))
        ),
        (post(1), window_update(1, 2**31 - 1), data(1, b"x")),
        NOTHING,
        reset(1, Code.STREAM_CLOSED),
    ),
    Difference(
        "DATA beyond the window of a stream",
        "RFC 9113 §6.9.1: an error of the stream or of the connection; h2 ends the connection.",
        lambda shown, now: (
            shown.kind == Kind.DATA and (now.ours, now.theirs) == (reset(shown.stream, Code.FLOW_CONTROL_ERROR), FLOW)
        ),
        (post(1), *(data(1, bytes(LONGEST)),) * 16, data(1, b"x")),
        reset(1, Code.FLOW_CONTROL_ERROR),
        FLOW,
    ),
    Difference(
        "DATA that does not fit the content-length",
        "RFC 9113 §8.1.1: the request is malformed, an error of the stream; h2 ends the connection.",
        lambda shown, now: (
            shown.kind == Kind.DATA
            and (now.ours, now.theirs) == (reset(shown.stream, Code.PROTOCOL_ERROR), PROTOCOL)
            and isinstance(now.oracle.fault, InvalidBodyLengthError)
        ),
        (headers(1, POST + block((b"content-length", b"1"))), data(1, b"xy")),
        reset(1, Code.PROTOCOL_ERROR),
        PROTOCOL,
    ),
]
