"""Input far beyond the limits: refused at the limit, whatever is behind it, for little memory and time."""

from __future__ import annotations

import time
import tracemalloc

import pytest

from keepserve.http1.body import OVERHEAD_ALLOWANCE
from keepserve.wire.engine import Ending
from tests.http1.cases import NEXT, chunked, get, post
from tests.support.driver import PARSER_NAMES, Driver

KIB = 1024


@pytest.mark.parametrize("parser", PARSER_NAMES)
@pytest.mark.parametrize("piece", [1460, 16 * KIB, 64 * KIB, 256 * KIB, 4 * KIB * KIB])
@pytest.mark.parametrize(
    ("name", "raw", "status"),
    [
        ("one field of 2 MB", get(b"A: " + b"b" * 2_000_000), 431),
        ("100,000 fields", get(b"a: b\r\n" * 100_000), 431),
        ("a target of 2 MB", get(target=b"/" + b"a" * 2_000_000), 414),
        ("a method of 2 MB", b"A" * 2_000_000 + b" / HTTP/1.1\r\n\r\n", 414),
        ("20 MB of fields", get(*[b"A: " + b"b" * 1000] * 20_000), 431),
        ("20 MB of nothing", b"a" * 20_000_000, 414),
        ("a chunk extension of 3 MB", chunked(b"5;a=" + b"b" * 3_000_000 + b"\r\nhello\r\n0\r\n\r\n"), 413),
        ("a trailer of 3 MB", chunked(b"0\r\nA: " + b"b" * 3_000_000 + b"\r\n\r\n"), 413),
        ("100,000 trailers", chunked(b"0\r\n" + b"a:b\r\n" * 100_000 + b"\r\n"), 431),
        ("a million chunks of one byte", chunked(b"1\r\na\r\n" * 1_000_000 + b"0\r\n\r\n"), 413),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_refused_at_the_limit(name: str, raw: bytes, status: int, piece: int, parser: str) -> None:
    driver = Driver(parser, linger_bytes=1 << 30)
    tracemalloc.start()
    try:
        for start in range(0, min(len(raw), 3_000_000), piece):
            driver.feed(raw[start : start + piece])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert driver.statuses == [status]
    assert driver.ending == Ending.LINGER
    # A few times the piece for joining and cutting it, and what the limits themselves allow.
    assert peak < 6 * piece + 512 * KIB


@pytest.mark.parametrize("parser", PARSER_NAMES)
def test_9000_requests_in_one_read_are_answered_in_order_and_none_is_queued_as_an_object(parser: str) -> None:
    driver = Driver(parser)
    driver.feed(b"".join(b"GET /%04d HTTP/1.1\r\nHost:x\r\n\r\n" % number for number in range(9000)))
    assert [seen.target for seen in driver.seen] == [b"/%04d" % number for number in range(9000)]
    assert [answer.body[5:9] for answer in driver.answers] == [b"%04d" % number for number in range(9000)]


def test_a_pipelined_request_waits_as_bytes_until_its_turn() -> None:
    driver = Driver(app=None).feed(NEXT * 100)
    assert len(driver.seen) == 1
    assert len(driver.engine.backlog) == 99 * len(NEXT)


def test_a_large_head_byte_by_byte_is_not_read_again_and_again() -> None:
    raw = get(*[b"A: " + b"b" * 330] * 95)
    assert 31 * KIB < len(raw) <= 32 * KIB
    started = time.perf_counter()
    driver = Driver()
    for index in range(len(raw)):
        driver.feed(raw[index : index + 1])
    assert driver.statuses == [200]
    assert time.perf_counter() - started < 1.0  # 0.1 s; reading from the start for each byte takes several


def test_a_long_extension_line_is_bounded_even_when_the_payload_would_pay_for_it() -> None:
    driver = Driver().feed(chunked(b"100000\r\n" + b"x" * (1024 * KIB) + b"\r\n1;"))
    for _ in range(9):
        driver.feed(b"e" * 1000)
    assert driver.statuses == [413]


def test_small_chunks_are_paid_for_by_their_payload() -> None:
    chunk = b"10\r\n0123456789abcdef\r\n"  # six bytes of framing for sixteen of payload
    driver = Driver().feed(chunked(chunk * 20_000 + b"0\r\n\r\n"))
    assert driver.statuses == [200]
    assert len(driver.seen[0].body) == 320_000


def test_the_allowance_for_chunk_framing_is_exact() -> None:
    # Each one-byte chunk has five bytes of framing against one of payload: four are taken from the allowance.
    fits = (OVERHEAD_ALLOWANCE - 5) // 4
    driver = Driver().feed(chunked(b"1\r\na\r\n" * fits + b"0\r\n\r\n"))
    assert driver.statuses == [200]
    driver = Driver().feed(chunked(b"1\r\na\r\n" * (fits + 2) + b"0\r\n\r\n"))
    assert driver.statuses == [413]


def test_a_long_body_is_not_copied_on_its_way() -> None:
    driver = Driver(app=None).feed(post(b"Content-Length: 1000000"))
    piece = b"x" * 100_000
    for _ in range(9):
        (event,) = driver.engine.receive(piece, 0.0)
        assert event.data is piece  # type: ignore[union-attr]
