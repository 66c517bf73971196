"""The rows of the table that a flood can express: what to send, what must come of it, what it may cost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache

from tests.hostile.attack import in_frames
from tests.hostile.attacker import Attack, Wire
from tests.http2.frames import (
    FIRST_STORED,
    GET,
    Code,
    Kind,
    block,
    continuation,
    data,
    get,
    goaway,
    headers,
    literal,
    ping,
    post,
    priority,
    request_block,
    rst,
    settings,
    stored,
    unknown,
    window_update,
    wire,
)

Recipe = Callable[[Wire], Iterator[bytes]]

LARGEST = 2**31 - 1
STREAMS = range(1, 200, 2)
WINDOW = 4
"""SETTINGS_INITIAL_WINDOW_SIZE."""
BURST = 256 * 1024
OWN_WINDOW = window_update(0, LARGEST - 65_535)


def open_streams(path: bytes, *, upload: bool = False) -> bytes:
    """As many requests as may be open at once."""
    return b"".join((post if upload else get)(number, path) for number in STREAMS)


def repeat(frame: bytes, times: int = 100_000, first: bytes = b"", at_once: int = 500) -> Recipe:
    """Send a frame again and again."""

    def recipe(wire: Wire) -> Iterator[bytes]:
        if first:
            yield first
        for _ in range(times // at_once):
            yield frame * at_once

    return recipe


def per_stream(make: Callable[[int], bytes], at_once: int = 50) -> Recipe:
    """Send something for stream after stream, however many are open."""

    def recipe(wire: Wire) -> Iterator[bytes]:
        for first in range(1, 200_000, 2 * at_once):
            yield b"".join(make(number) for number in range(first, first + 2 * at_once, 2))

    return recipe


def answered(make: Callable[[int], bytes], at_once: int = 50) -> Recipe:
    """The same, but no more than may be open at once: wait for the answers before the next."""

    def recipe(wire: Wire) -> Iterator[bytes]:
        sent = 0
        for first in range(1, 10_000_000, 2 * at_once):
            yield b"".join(make(number) for number in range(first, first + 2 * at_once, 2))
            sent += at_once
            while wire.ended < sent and not wire.over:
                wire.look(0.01)
                yield b""

    return recipe


def once(*pieces: bytes) -> Recipe:
    """Send this, and no more."""
    return lambda wire: iter(pieces)


def with_widening(recipe: Recipe) -> Recipe:
    """Before each piece, make as much room as it may take in answers."""

    def widened(wire: Wire) -> Iterator[bytes]:
        for piece in recipe(wire):
            yield window_update(0, 60_000) + piece if piece and wire.ended else piece

    return widened


def dribble(wire: Wire) -> Iterator[bytes]:
    """Row 1: a hundred downloads, and for each a window that grows by a byte at a time."""
    yield OWN_WINDOW + open_streams(b"/endless")
    for _ in range(1000):
        yield b"".join(window_update(number, 1) for number in STREAMS)


def reset_in_two(wire: Wire) -> Iterator[bytes]:
    """Row 10, with the reset in a segment of its own, so that the application has been begun."""
    for number in range(1, 200_000, 2):
        yield get(number, b"/stubborn")
        yield rst(number)


def reset_at_once(number: int) -> bytes:
    """Row 10 as it was: request and reset together."""
    return get(number, b"/stubborn") + rst(number)


@cache
def endless_block(piece: bytes, times: int) -> bytes:
    """Row 12: a block that does not end."""
    return headers(1, GET, end=True, whole=False) + continuation(1, piece, whole=False) * times


HUFFMAN = wire("18 c6 31 8c 63") * 3276
"""The letter "a" in five bits, 26,208 times."""


def head(fields: bytes) -> Callable[[int], bytes]:
    """A request whose block takes as many frames as it takes."""
    return lambda number: in_frames(number, fields)


def bomb(name: bytes, value: bytes, references: int) -> Callable[[int], bytes]:
    """Rows 13 and 14: a field that enters the table, and is named again and again."""
    return head(request_block() + stored(name, value) + FIRST_STORED * references)


def huffman_head(size: int) -> bytes:
    """A field whose value is so many octets of Huffman code."""
    length = size - 127
    octets = b"\xff"
    while length >= 128:
        octets += bytes([length & 127 | 128])
        length >>= 7
    return b"\x00\x01x" + octets + bytes([length]) + (HUFFMAN * 4)[:size]


MALFORMED = (
    request_block(b"GET", b""),
    request_block() + literal(b"connection", b"close"),
    request_block() + literal(b"X", b"y"),
    request_block() + literal(b"content-length", b"5"),
    request_block() + literal(b"x", b"a\r\nb"),
    block((b":method", b"GET")),
)
CONNECT = block((b":method", b"CONNECT"), (b":authority", b"a:443"))


def one_reset_each(wire: Wire) -> None:
    """Row 4: no stream is reset twice, and no more than the bucket holds and has lost meanwhile."""
    assert set(wire.resets.values()) <= {1}
    assert len(wire.resets) <= 201 + 20 * wire.took


def acknowledged(kind: Kind) -> Callable[[Wire], None]:
    """Rows 2 and 5: no more acknowledgements than the bucket holds and has lost meanwhile."""

    def judge(wire: Wire) -> None:
        assert wire.kinds[kind, 1] <= 1002 + 100 * wire.took

    return judge


def few_frames(wire: Wire) -> None:
    """Row 1: a hundred bytes in a hundred frames for each fifth of a second, at the most."""
    assert wire.kinds[Kind.DATA, 0] <= 100 * (1 + wire.took / 0.2)


def too_large(wire: Wire) -> None:
    """Every answer was 431: a literal of three digits behind the name ``:status``."""
    assert wire.heads == {b"\x08\x03431"}


def not_served(wire: Wire) -> None:
    """Every answer was 501."""
    assert wire.heads == {b"\x08\x03501"}


def resets(*codes: Code) -> Callable[[Wire], None]:
    """Streams were reset for these reasons and no other, each once."""

    def judge(wire: Wire) -> None:
        assert wire.reset_codes == set(codes)
        assert set(wire.resets.values()) == {1}

    return judge


CALM, PROTOCOL, COMPRESSION = Code.ENHANCE_YOUR_CALM, Code.PROTOCOL_ERROR, Code.COMPRESSION_ERROR
NO_WINDOW = ((WINDOW, 0),)
WIDE = ((WINDOW, LARGEST),)
HELD = 256 + 100 * (64 + 16)
"""KiB for a hundred responses that wait: 64 each, and a message of the application's."""

ATTACKS = [
    Attack(1, "windows that grow by a byte", dribble, greeting=((WINDOW, 1),), bound=HELD, judge=few_frames),
    Attack(2, "PING, never reading", repeat(ping()), reads=False, judge=acknowledged(Kind.PING)),
    Attack(2, "PING, reading", repeat(ping()), judge=acknowledged(Kind.PING)),
    Attack(
        3,
        "priorities turned about",
        lambda wire: (
            open_streams(b"/wait") if turn < 0 else b"".join(priority(n, (n + turn) % 200 | 1) for n in STREAMS[1:])
            for turn in range(-1, 198, 2)
            if turn
        ),
        bound=1024,
    ),
    Attack(4, "HEADERS after END_STREAM", per_stream(lambda n: get(n, b"/wait") + get(n)), judge=one_reset_each),
    Attack(4, "DATA after END_STREAM", per_stream(lambda n: get(n, b"/wait") + data(n, b"x")), judge=one_reset_each),
    Attack(4, "HEADERS on one stream", repeat(get(1), first=get(1, b"/wait")), judge=one_reset_each),
    Attack(4, "DATA on one stream", repeat(data(1, b"x"), first=get(1, b"/wait")), judge=one_reset_each),
    Attack(5, "empty SETTINGS", repeat(settings()), judge=acknowledged(Kind.SETTINGS)),
    Attack(5, "SETTINGS of 2000 entries", repeat(settings(*[(WINDOW, 65_535)] * 2000), at_once=5)),
    Attack(6, "fields without a name", once(head(request_block() + bytes(30_000))(1))),
    Attack(6, "fields without a name, in Huffman code", once(head(request_block() + wire("00 80 80") * 10_000)(1))),
    Attack(
        7,
        "downloads of a client that does not read",
        once(OWN_WINDOW + open_streams(b"/endless")),
        None,
        HELD,
        WIDE,
        reads=False,
    ),
    Attack(8, "empty DATA", repeat(data(1), first=post(1, b"/unread"))),
    Attack(8, "empty CONTINUATION", repeat(continuation(1, b"", whole=False), first=headers(1, GET, whole=False))),
    Attack(8, "DATA of nothing but padding", repeat(data(1, padding=255), first=post(1, b"/unread"))),
    Attack(9, "DATA of one octet", repeat(data(1, b"x"), 65_500, first=post(1, b"/unread")), None, 64),
    Attack(10, "rapid reset", per_stream(reset_at_once), bound=1024),
    Attack(10, "rapid reset of what has begun", reset_in_two, bound=1024),
    Attack(11, "a window beyond 2^31-1", per_stream(lambda n: get(n, b"/stubborn") + window_update(n, LARGEST))),
    Attack(
        11,
        "PRIORITY of 4 octets",
        per_stream(lambda n: get(n, b"/stubborn") + wire("000004 02 00", n.to_bytes(4, "big"), bytes(4))),
        bound=1024,
    ),
    Attack(11, "HEADERS after END_STREAM", per_stream(lambda n: get(n, b"/stubborn") + get(n)), bound=1024),
    Attack(11, "a window that grows by nothing", once(open_streams(b"/wait"), window_update(1, 0)), PROTOCOL, 1024),
    Attack(11, "a stream on itself", once(open_streams(b"/wait"), priority(1, 1)), PROTOCOL, 1024),
    Attack(12, "CONTINUATION without an octet", once(endless_block(b"", 1000))),
    Attack(12, "CONTINUATION of 16 KiB", once(endless_block(bytes(16_384), 100))),
    Attack(12, "CONTINUATION in Huffman code", once(endless_block(HUFFMAN, 100))),
    Attack(13, "a large field, repeated", once(bomb(b"a", b"v" * 4000, 16_000)(1))),
    Attack(14, "the bomb, held", once(b"".join(map(bomb(b"a", b"", 1850), STREAMS))), None, 1024, NO_WINDOW),
    Attack(
        14,
        "the bomb, within the limits, held",
        once(b"".join(map(bomb(b"a", b"", 90), STREAMS))),
        None,
        1024,
        NO_WINDOW,
    ),
    Attack(14, "the bomb, again and again", with_widening(answered(bomb(b"a", b"", 980), 10)), None, judge=too_large),
    Attack(14, "the bomb of cookies", with_widening(answered(bomb(b"cookie", b"", 850), 10)), None, judge=too_large),
    Attack(15, "an integer that never ends", once(headers(1, GET + b"\xff" + b"\x80" * 30 + b"\x01")), COMPRESSION),
    Attack(15, "EOS in a string", once(headers(1, GET + wire("00 01 78 84 ff ff ff ff"))), COMPRESSION),
    Attack(16, "a thousand sizes of the table", once(headers(1, b"\x20" * 1000 + GET)), COMPRESSION),
    Attack(16, "too large a table", once(headers(1, wire("3f e1 7f") + GET)), COMPRESSION),
    Attack(
        17,
        "fields that never come again, for a table without end",
        with_widening(answered(lambda n: get(n, b"/fields"))),
        None,
        greeting=((1, 2**32 - 1),),
    ),
    Attack(
        18,
        "heads too large by a little",
        with_widening(answered(head(request_block() + literal(b"x", b"v" * 1000) * 33), 5)),
        None,
        judge=too_large,
    ),
    Attack(
        18,
        "heads of Huffman code",
        with_widening(answered(head(request_block() + huffman_head(64_000)), 2)),
        None,
        judge=too_large,
    ),
    Attack(19, "more streams than may be open", per_stream(lambda n: post(n, b"/unread")), bound=1024),
    Attack(20, "the largest window and more", once(window_update(0, LARGEST)), Code.FLOW_CONTROL_ERROR),
    Attack(
        21,
        "all windows up and down",
        repeat(
            settings((WINDOW, 0)) + settings((WINDOW, LARGEST)),
            first=OWN_WINDOW + open_streams(b"/wait"),
            at_once=100,
        ),
        bound=1024,
    ),
    Attack(22, "no window", once(open_streams(b"/endless")), None, HELD, NO_WINDOW),
    Attack(
        23,
        "uploads that nobody reads",
        once(open_streams(b"/unread", upload=True), *(data(number, bytes(10_000)) for number in STREAMS)),
        None,
        1024 + 512,
    ),
    Attack(
        24,
        "more than the window of a stream",
        lambda wire: iter([post(1, b"/unread"), *[data(1, bytes(16_384))] * 17, ping()]),
        None,
        judge=resets(Code.FLOW_CONTROL_ERROR),
    ),
    Attack(
        24,
        "more than the window of the connection",
        once(open_streams(b"/unread", upload=True), *(data(number, bytes(12_000)) for number in STREAMS)),
        Code.FLOW_CONTROL_ERROR,
        1024 + 512,
        again=False,  # the applications do not notice that their client is gone, and are not to add up
    ),
    Attack(25, "unknown frames", repeat(unknown())),
    Attack(25, "unknown frames of 16 KiB", repeat(unknown(0xBA, 0xFF, 0, bytes(16_384)), 10_000, at_once=10)),
    Attack(25, "GOAWAY", repeat(goaway(0), first=get(1, b"/wait"))),
    Attack(29, "a frame too large", once(post(1, b"/wait"), wire("004001 00 00 00000001")), Code.FRAME_SIZE_ERROR),
    Attack(30, "an even stream", once(get(2)), PROTOCOL),
    Attack(
        31,
        "malformed requests",
        per_stream(lambda n: headers(n, MALFORMED[n // 2 % len(MALFORMED)], end=True)),
        judge=resets(PROTOCOL),
    ),
    Attack(
        32,
        "trailers that do not end",
        per_stream(lambda n: post(n, b"/unread") + headers(n, block((b"x", b"y")))),
        bound=1024,
        judge=resets(PROTOCOL),
    ),
    Attack(
        33,
        "CONNECT",
        with_widening(answered(lambda n: headers(n, CONNECT, end=True))),
        None,
        judge=not_served,
    ),
    Attack(34, "256 KiB of PING at once", once(ping() * (BURST // 17))),
    Attack(34, "256 KiB of HEADERS at once", once(b"".join(map(get, range(1, 2 * BURST // 15, 2)))), bound=1024),
    Attack(
        34,
        "256 KiB of HEADERS and RST_STREAM at once",
        once(b"".join(get(number) + rst(number) for number in range(1, 2 * BURST // 28, 2))),
        bound=1024,
    ),
    Attack(34, "256 KiB of small DATA at once", once(post(1, b"/unread") + data(1, b"x") * (BURST // 10)), None),
    Attack(34, "requests as fast as they are answered", with_widening(answered(get, 100)), None, 1024),
]
