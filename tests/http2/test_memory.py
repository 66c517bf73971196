"""What the native engine keeps, in bytes: for an idle connection, an open stream, an upload, and one that is over.

The bounds are those its docstrings state. ``python -m tests.bench --only "memory/*"`` measures a whole worker.
"""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from typing import Any

from keepserve.http2.encoding import EncodedFields
from keepserve.http2.native import NativeEngine
from keepserve.wire.engine import Limits
from tests.http2.frames import GET, POST, PREFACE, headers, settings

STREAMS = 100


def _engine() -> NativeEngine:
    engine = NativeEngine(Limits(), EncodedFields(date=False), 0.0)
    engine.receive(PREFACE + settings() + settings(ack=True), 0.0)
    engine.out.clear()
    return engine


def _grown(work: Callable[[], Any]) -> int:
    """Bytes that ``work`` leaves allocated, its result included."""
    work()  # memos and tables that are filled once are none of its own
    gc.collect()
    tracemalloc.start()
    try:
        kept = work()
        gc.collect()
        size = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    del kept
    return size


def _opened(block: bytes, end: bool) -> NativeEngine:
    engine = _engine()
    requests = b"".join(headers(2 * n + 1, block, end=end) for n in range(STREAMS))
    engine.receive(requests, 0.0)
    assert len(engine._streams) == STREAMS
    engine._events = []  # the requests belong to their exchanges
    return engine


def test_an_idle_connection_takes_less_than_3_kib() -> None:
    assert _grown(_engine) < 3 * 1024


def test_an_open_stream_takes_less_than_256_bytes() -> None:
    assert (_grown(lambda: _opened(GET, True)) - _grown(_engine)) / STREAMS < 256


def test_a_request_body_on_its_way_takes_less_than_512_bytes_more() -> None:
    assert (_grown(lambda: _opened(POST, False)) - _grown(lambda: _opened(GET, True))) / STREAMS < 512


def test_of_a_stream_that_is_over_nothing_is_kept() -> None:
    engine = _engine()

    def answer(first: int, count: int) -> None:
        for number in range(first, first + 2 * count, 2):
            engine.receive(headers(number, GET, end=True), 0.0)
            engine.respond(number, 200, [], b"x", True)
            engine.pump(0.0)
            engine.out.clear()
        engine._events = []

    answer(1, 2000)
    gc.collect()
    tracemalloc.start()
    try:
        answer(4001, 5000)
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert grown < 5000  # less than a byte for each
