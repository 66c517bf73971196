"""Cases of server push (RFC 9113 §6.6, §8.4): promises the server makes, and when it may not."""

from __future__ import annotations

from tests.http2.case import Answer, Do, Got, Part, case
from tests.http2.frames import data, get, goaway, headers, priority, request_block, rst, settings, window_update

ACKNOWLEDGED = "000000 04 01 00000000"
PUSHED = b"/style"


def promise(path: bytes = PUSHED, *fields: tuple[bytes, bytes]) -> tuple[tuple[bytes, bytes], ...]:
    """The request a promise is made of."""
    control = ((b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"a"), (b":path", path))
    return (*control, (b"accept", b"*/*"), *fields)


def _made() -> None:
    case(
        "a promise on the stream of the request it belongs to, and its response",
        "5.1.1-even 5.1.1-greater 5.1-reserved-sends 6.6-promised 6.6-sent-on 6.6-sender-state 6.6-sender-idle"
        " 6.6-padding-zero 8.4-safe 8.4-authority 8.4.1-complete 8.4.1-method 8.4.1-stream",
        [get(1, b"/push/style"), Do.NEXT, get(3, b"/pushes")],
        served=[
            Got(1, path=b"/push/style"),
            Got(2, path=PUSHED, fields=((b"host", b"a"), (b"accept", b"*/*"))),
            Got(3, path=b"/pushes"),
            Got(4, path=PUSHED),
            Got(6, path=PUSHED),
        ],
        promises={2: promise(), 4: promise(), 6: promise()},
    )
    case(
        "a long promise is continued, and holds nothing connection-specific",
        "6.6-continued 6.10-preceded 8.2.2-not-sent 8.2-lowercase",
        [get(1, b"/push-odd")],
        served=[Got(1, path=b"/push-odd"), Got(2, path=PUSHED)],
        promises={2: promise(PUSHED, (b"x-mixed", b"Value"), (b"x-long", b"v" * 20_000))},
    )
    case(
        "a promise after the table has shrunk",
        "4.3.1-shrunk",
        [settings((1, 0)), Do.NEXT, get(1, b"/push/style")],
        [ACKNOWLEDGED],
        served=[Got(1, path=b"/push/style"), Got(2, path=PUSHED)],
        promises={2: promise()},
    )
    case(
        "a pushed response keeps within its window",
        "6.9.1-space 5.2.1-limits",
        [settings((4, 2000)), get(1, b"/push/bytes/5000"), Do.NEXT, window_update(2, 1500)],
        [ACKNOWLEDGED],
        served=[Got(1, path=b"/push/bytes/5000"), Got(2, path=b"/bytes/5000")],
        answers={2: Answer(body=3500, whole=False)},
        promises={2: promise(b"/bytes/5000")},
    )


def _not_made() -> None:
    case(
        "no promise to a client that has switched push off",
        "6.5.2-push-off 6.6-push-off",
        ["000006 04 00 00000000 0002 00000000", get(1, b"/push/style")],
        [ACKNOWLEDGED],
        served=[Got(1, path=b"/push/style")],
    )
    case(
        "no promise once push is switched off, and again when it is on",
        "6.5.2-push-off 6.6-push-off 6.5.3-applied",
        [
            get(1, b"/push/style"),
            Do.NEXT,
            settings((2, 0)),
            get(3, b"/push/style"),
            Do.NEXT,
            settings((2, 1)),
            get(5, b"/push/style"),
        ],
        [ACKNOWLEDGED, ACKNOWLEDGED],
        served=[
            Got(1, path=b"/push/style"),
            Got(2, path=PUSHED),
            Got(3, path=b"/push/style"),
            Got(5, path=b"/push/style"),
            Got(4, path=PUSHED),
        ],
        promises={2: promise(), 4: promise()},
    )
    case(
        "no promise to a client that has said GOAWAY",
        "6.8-no-new-streams 6.8-answered",
        [get(1, b"/wait/push/style"), goaway(0), Do.ANSWER],
        ["000008 07 00 00000000 00000001 00000000"],
        served=[Got(1, path=b"/wait/push/style")],
        answers={1: Answer(body=b"GET /wait/push/style 0")},
        closes=True,
    )
    case(
        "no promise when the response it belongs to is complete",
        "6.6-sender-state 6.6-sent-on 8.4.1-stream",
        [get(1, b"/push-late"), get(3)],
        served=[Got(1, path=b"/push-late"), 3],
    )
    case(
        "no promise on a stream the client has reset",
        "6.6-sender-state 6.4-silent",
        [get(1, b"/wait/push/style"), rst(1), Do.ANSWER],
        served=[Got(1, path=b"/wait/push/style")],
    )
    case(
        "no promise to a client that takes no streams",
        "5.1.2-obeyed",
        [settings((3, 0)), get(1, b"/pushes")],
        [ACKNOWLEDGED],
        served=[Got(1, path=b"/pushes")],
    )
    case(
        "no more pushed responses at once than the client takes",
        "5.1.2-obeyed",
        [
            settings((3, 1), (4, 0)),
            get(1, b"/pushes"),
            Do.NEXT,
            window_update(2, 100),
            Do.NEXT,
            get(3, b"/push/style"),
        ],
        [ACKNOWLEDGED],
        served=[Got(1, path=b"/pushes"), Got(2, path=PUSHED), Got(3, path=b"/push/style"), Got(4, path=PUSHED)],
        answers={
            1: Answer(body=b"", whole=False),
            2: Answer(body=b"GET /style 0"),
            3: Answer(body=b"", whole=False),
            4: Answer(body=b"", whole=False),
        },
        promises={2: promise(), 4: promise()},
    )


def _promised() -> None:
    """What the client does with a stream that is promised, and not yet used."""
    reserved: list[Part] = [get(5, b"/push/wait"), Do.NEXT]
    served = [Got(5, path=b"/push/wait"), Got(2, path=b"/wait")]
    promises = {2: promise(b"/wait")}
    for name, frame in {
        "HEADERS": headers(2, request_block(), end=True),
        "DATA": data(2, b"x"),
        "CONTINUATION": bytes.fromhex("000000 09 04 00000002"),
    }.items():
        case(
            f"{name} on a promised stream",
            "5.1-reserved-receives",
            [*reserved, frame],
            ["000008 07 00 00000000 00000005 00000001"],
            served=served,
            promises=promises,
        )
    case(
        "WINDOW_UPDATE and PRIORITY on a promised stream",
        "5.1-reserved-receives 6.3-any-state",
        [settings((4, 0)), *reserved, window_update(2, 1500), priority(2), Do.ANSWER],
        [ACKNOWLEDGED],
        served=served,
        answers={5: Answer(body=b"", whole=False), 2: Answer(body=b"GET /wait 0")},
        promises=promises,
    )
    case(
        "RST_STREAM on a promised stream takes the promise back",
        "5.1-reserved-receives 6.4-silent",
        [*reserved, rst(2), Do.ANSWER, get(7)],
        served=[*served, 7],
        promises=promises,
    )
    case(
        "RST_STREAM on a stream the server has not promised yet",
        "6.4-idle",
        [*reserved, rst(4)],
        ["000008 07 00 00000000 00000005 00000001"],
        served=served,
        promises=promises,
    )
    case(
        "promised streams leave the client all of its own",
        "5.1.2-exceeded",
        [
            get(1, b"/push/wait"),
            Do.NEXT,
            *[get(number, b"/wait") for number in range(3, 203, 2)],
            get(203, b"/wait"),
        ],
        ["000004 03 00 000000cb 00000007"],
        served=[
            Got(1, path=b"/push/wait"),
            Got(2, path=b"/wait"),
            *[Got(number, path=b"/wait") for number in range(3, 203, 2)],
        ],
        promises=promises,
    )


_made()
_not_made()
_promised()
