"""Cases of what binds the server as a sender (RFC 9113 §4, §6, §8): ``tests.http2.client`` judges every frame.

So these cases only have to make the server send frames of each kind.
"""

from __future__ import annotations

from tests.http2.case import Answer, Do, Got, case
from tests.http2.frames import get, headers, request_block, settings, window_update

ACKNOWLEDGED = "000000 04 01 00000000"
LARGE = b"/large-field"
LARGE_ANSWER = Answer(body=0, fields=((b"x-large", b"v" * 40_000),))
TRAILERS = ((b"x-sum", b"1"), (b"x-end", b""))


def _frames() -> None:
    case(
        "a long body is cut into frames every peer takes",
        "4.1-length 6.1-on-stream 6.1-padding-zero 4.1-unused-flags-unset 4.1-reserved-unset",
        [get(1, b"/bytes/50000")],
        served=[Got(1, path=b"/bytes/50000")],
    )
    case(
        "and never longer than the peer allows, when that changes",
        "4.1-length 6.5-all",
        [
            settings((4, 1_000_000), (5, 2**24 - 1)),
            get(1, LARGE),
            Do.NEXT,
            settings((5, 2**14)),
            Do.NEXT,
            get(3, LARGE),
            get(5, b"/bytes/50000"),
        ],
        [ACKNOWLEDGED, ACKNOWLEDGED],
        served=[Got(1, path=LARGE), Got(3, path=LARGE), Got(5, path=b"/bytes/50000")],
        answers=dict.fromkeys((1, 3), LARGE_ANSWER),
    )
    case(
        "long field sections are continued, with nothing between",
        "6.2-continued 6.2-on-stream 6.2-padding-zero 6.10-continued 6.10-on-stream 6.10-preceded 4.3-contiguous"
        " 8.1-nothing-between",
        [get(1, b"/bytes/60000"), get(3, LARGE), get(5, LARGE)],
        served=[Got(1, path=b"/bytes/60000"), Got(3, path=LARGE), Got(5, path=LARGE)],
        answers=dict.fromkeys((3, 5), LARGE_ANSWER),
    )
    case(
        "a long field section after the table has shrunk",
        "4.3.1-shrunk 6.2-continued",
        [settings((1, 0)), Do.NEXT, get(1, LARGE)],
        [ACKNOWLEDGED],
        served=[Got(1, path=LARGE)],
        answers={1: LARGE_ANSWER},
    )


def _messages() -> None:
    case(
        "an interim response comes before the final one, each with its status",
        "8.3.2-status 8.3-only-defined",
        [get(1, b"/interim")],
        served=[Got(1, path=b"/interim")],
        answers={1: Answer(body=b"GET /interim 0", interim=(103,))},
    )
    case(
        "an interim response after the table has shrunk",
        "4.3.1-shrunk 8.3.2-status",
        [settings((1, 0)), Do.NEXT, get(1, b"/interim")],
        [ACKNOWLEDGED],
        served=[Got(1, path=b"/interim")],
        answers={1: Answer(body=b"GET /interim 0", interim=(103,))},
    )
    case(
        "trailers end a response",
        "8.1-trailers-sent 8.3-not-in-trailers",
        [get(1, b"/trailers")],
        served=[Got(1, path=b"/trailers")],
        answers={1: Answer(body=b"GET /trailers 0", trailers=TRAILERS)},
    )
    case(
        "trailers wait for the body, which waits for its window",
        "8.1-trailers-sent 6.9.1-space",
        [settings((4, 0)), get(1, b"/trailers"), Do.NEXT, window_update(1, 2000)],
        [ACKNOWLEDGED],
        served=[Got(1, path=b"/trailers")],
        answers={1: Answer(body=b"GET /trailers 0", trailers=TRAILERS)},
    )
    case(
        "HEAD, 204 and 304 are answered without DATA",
        "8.3.2-status",
        [headers(1, request_block(b"HEAD", b"/bytes/100"), end=True), get(3, b"/status/204"), get(5, b"/status/304")],
        served=[Got(1, b"HEAD", b"/bytes/100"), Got(3, path=b"/status/204"), Got(5, path=b"/status/304")],
        answers={1: Answer(body=b""), 3: Answer(204, b""), 5: Answer(304, b"")},
    )


def _fields() -> None:
    case(
        "names go out in lower case, connection-specific fields do not",
        "8.2-lowercase 8.2.2-not-sent",
        [get(1, b"/odd-fields")],
        served=[Got(1, path=b"/odd-fields")],
        answers={1: Answer(body=b"GET /odd-fields 0", fields=((b"x-mixed", b"Value"),))},
    )
    case(
        "nor do they in trailers",
        "8.2-lowercase 8.2.2-not-sent",
        [get(1, b"/odd-trailers")],
        served=[Got(1, path=b"/odd-trailers")],
        answers={1: Answer(body=b"GET /odd-trailers 0", trailers=((b"x-mixed", b"Value"),))},
    )
    for name in ("path", "status", "x"):
        case(
            f"an application cannot send :{name}",
            "8.3-only-defined 8.3-not-in-responses 8.3-before 8.3-once",
            [get(1, b"/pseudo/" + name.encode()), get(3)],
            served=[Got(1, path=b"/pseudo/" + name.encode()), 3],
            answers={1: Answer(500)},
        )


_frames()
_messages()
_fields()
