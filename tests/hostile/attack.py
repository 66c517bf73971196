"""What the attacks on an engine have in common: a flood, how it must end, and what it may leave in memory."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import count, islice, repeat

from keepserve.http2.encoding import EncodedFields
from keepserve.http2.engines import ENGINES
from keepserve.http2.session import Session
from keepserve.telemetry.reasons import CloseReason
from keepserve.wire.engine import Ending, Limits, Request
from tests.http2.frames import PREFACE, Code, Kind, continuation, get, headers, settings
from tests.http2.peer import NO_LIMIT, Peer

KIB = 1024
GLITCHES = 1000
"""Frames that carry nothing which a connection may send at once; 100 more for each second."""
RESETS = 200
"""Streams whose reset the client may cause at once; 20 more for each second."""


def numbers() -> Iterator[int]:
    """The numbers of a client's streams: 1, 3, 5 and so on."""
    return count(1, 2)


def again(frame: bytes) -> Iterator[bytes]:
    """The same frame as often as the engine takes it."""
    return repeat(frame)


def flood(peer: Peer, pieces: Iterable[bytes], most: int = 10_000) -> int:
    """Send piece after piece until the server ends the connection, or ``most`` of them; how many it took."""
    sent = 0
    for piece in islice(pieces, most):
        if peer.ending:
            break
        peer.feed(piece)
        sent += 1
    return sent


def assert_ended_for_a_flood(peer: Peer) -> None:
    """The last word is GOAWAY (ENHANCE_YOUR_CALM), and the connection ends with it."""
    assert peer.goaways
    assert peer.goaways[-1][1] == Code.ENHANCE_YOUR_CALM
    assert (peer.ending, peer.reason) == (Ending.LINGER, CloseReason.FLOOD)


def assert_warned_before(peer: Peer) -> None:
    """A graceful GOAWAY came first, and the last one right behind it: a careless client could have left in peace."""
    assert [code for _, code in peer.goaways] == [Code.NO_ERROR, Code.ENHANCE_YOUR_CALM]
    assert peer.goaways[0][0] == NO_LIMIT


def assert_ended_for(peer: Peer, code: Code) -> None:
    """The connection ends at once with GOAWAY of this code."""
    assert [each for _, each in peer.goaways] == [code]
    assert peer.ending == Ending.LINGER


def assert_goes_on(peer: Peer) -> None:
    """Nothing has been said about an end."""
    assert peer.goaways == []
    assert peer.ending == Ending.OPEN


def in_frames(stream: int, fields: bytes, size: int = 16_384) -> bytes:
    """A request whose block takes as many frames as it takes."""
    pieces = [fields[start : start + size] for start in range(0, len(fields), size)]
    frames = [headers(stream, pieces[0], end=True, whole=len(pieces) == 1)]
    frames += [continuation(stream, piece, whole=piece is pieces[-1]) for piece in pieces[1:]]
    return b"".join(frames)


def assert_rejected(peer: Peer, stream: int, status: int) -> None:
    """The server has answered by itself, no application has seen the request, and the connection goes on."""
    assert peer.given_up == [(stream, status)]
    assert peer.response(stream).status == status
    assert not any(isinstance(event, Request) for event in peer.events)
    assert_goes_on(peer)


def assert_reset(peer: Peer, stream: int, code: Code = Code.PROTOCOL_ERROR) -> None:
    """That stream is reset, once, and the connection serves the next."""
    assert [(frame.stream, frame.number) for frame in peer.came(Kind.RST_STREAM)] == [(stream, code)]
    peer.request(get(stream + 2))
    assert_goes_on(peer)


def bare(engine: str, *greeting: tuple[int, int]) -> Session:
    """An engine whose client has greeted, without a strict client beside it that would keep all frames."""
    made = ENGINES[engine](Limits(), EncodedFields(date=False, server=False), 0.0)
    made.receive(PREFACE + settings(*greeting) + settings(ack=True), 0.0)
    made.out.clear()
    return made


def read_all(engine: Session, data: bytes, now: float = 0.0) -> int:
    """Let an engine read everything, output and events dropped; the most bytes that one slice put out."""
    engine.receive(data, now)
    most = 0
    while True:
        most = max(most, sum(map(len, engine.out)))
        engine.out.clear()
        if not engine.backlog:
            return most
        engine.proceed(now)


class Growth:
    """Bytes allocated by Python within a ``measured`` block: those left at its end, and the most at any time."""

    left = 0
    peak = 0


@contextmanager
def measured() -> Iterator[Growth]:
    """Count what the block allocates."""
    growth = Growth()
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        yield growth
        growth.peak = tracemalloc.get_traced_memory()[1] - before
        gc.collect()
        growth.left = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
