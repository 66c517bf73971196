"""The engine made of the h2 library: that h2 keeps nothing it need not, and ends nothing it should not."""

from __future__ import annotations

import gc
import tracemalloc

import hpack
import pytest
from h2.exceptions import FlowControlError

from keepserve.http2.encoding import EncodedFields
from keepserve.http2.library import LibraryEngine
from keepserve.telemetry.reasons import CloseReason
from keepserve.wire.engine import Ending, Limits, Request
from tests.http2.frames import (
    END_HEADERS,
    GET,
    PREFACE,
    PRIORITY_PART,
    Code,
    Kind,
    data,
    frame,
    get,
    goaway,
    headers,
    ping,
    post,
    priority,
    rst,
    settings,
    split_frames,
    window_update,
)

WINDOW = 1024 * 1024


class Library:
    """The engine, and a client that decodes what it sends."""

    def __init__(self, streams: int = 100) -> None:
        self.engine = LibraryEngine(Limits(streams=streams), EncodedFields(date=False, server=False), 0.0)
        self.decoder = hpack.Decoder(1 << 24)
        self.sent = b""
        self.feed(PREFACE, settings(), settings(ack=True))

    def feed(self, *octets: bytes) -> list[Request]:
        """Send something; the requests it led to. Time passes, so that no bucket fills."""
        events = [event for piece in octets for event in self.engine.receive(piece, self.engine._now + 0.5)]
        self.sent = self.output()
        return [event for event in events if isinstance(event, Request)]

    def output(self) -> bytes:
        """What went out since this was asked last."""
        octets = b"".join(self.engine.out)
        self.engine.out.clear()
        return octets

    @property
    def windows(self) -> tuple[int, int]:
        """What is left of the connection's window: by our count and by h2's."""
        return self.engine._receive_window, self.engine._h2.inbound_flow_control_window


def serve(library: Library, first: int, count: int) -> int:
    """Answer so many requests; the next stream."""
    for stream in range(first, first + 2 * count, 2):
        (request,) = library.feed(get(stream))
        library.engine.respond(request.stream, 200, [], b"answer", True)
        library.output()
    return first + 2 * count


def allocated() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


def test_nothing_is_kept_of_closed_streams_however_they_end() -> None:
    library = Library()
    stream = serve(library, 1, 100)
    tracemalloc.start()
    before = allocated()
    for _ in range(100):
        stream = serve(library, stream, 5)
        library.feed(get(stream), rst(stream))  # by the client
        library.feed(headers(stream + 2, GET + b"\x82", end=True))  # by us: malformed
        library.feed(post(stream + 4))
        library.engine.abandon(stream + 4, CloseReason.APP_FAILED)
        library.feed(post(stream + 6))
        library.engine.respond(stream + 6, 200, [], b"", True)  # before the request is whole
        library.feed(data(stream + 6, b"x", end=True))
        stream += 8
    grown = allocated() - before
    tracemalloc.stop()
    assert library.engine.ending == Ending.OPEN
    assert library.engine.idle
    assert grown < 20_000, f"{grown} bytes more after 900 streams"


def test_nothing_is_kept_of_promised_streams_while_one_of_the_clients_stays_open() -> None:
    library = Library()
    (request,) = library.feed(get(1))
    tracemalloc.start()
    before = allocated()
    for _ in range(300):
        promised = library.engine.push(request, b"https", b"/style", [])
        assert promised is not None
        library.engine.respond(promised.stream, 200, [], b"style", True)
        library.feed(window_update(0, 5))
    grown = allocated() - before
    tracemalloc.stop()
    assert grown < 20_000, f"{grown} bytes more after 300 promises"


def test_nothing_is_kept_of_streams_that_are_refused() -> None:
    library = Library(streams=1)
    library.feed(post(1))
    tracemalloc.start()
    before = allocated()
    for stream in range(3, 1003, 2):
        library.feed(get(stream))
        assert library.sent == rst(stream, Code.REFUSED_STREAM)
    grown = allocated() - before
    tracemalloc.stop()
    assert grown < 20_000, f"{grown} bytes more after 500 streams"


def test_settings_that_mean_nothing_to_us_are_not_kept() -> None:
    library = Library()
    tracemalloc.start()
    before = allocated()
    for first in range(0x1000, 0x5000, 32):
        library.feed(settings(*((name, name) for name in range(first, first + 32))))
        assert library.sent == settings(ack=True)
        library.engine._now += 10.0
    grown = allocated() - before
    tracemalloc.stop()
    assert grown < 20_000, f"{grown} bytes more after 16,384 settings"


def test_both_counts_of_the_connections_window_agree_after_data_that_nobody_awaits() -> None:
    """h2 is not shown DATA for streams that are over, and must not take the window for wider by that."""
    library = Library()
    assert library.windows == (WINDOW, WINDOW)
    library.feed(post(1))
    library.engine.abandon(1, CloseReason.APP_FAILED)
    for _ in range(WINDOW // 2 // 16_384):
        library.feed(data(1, bytes(16_384)))
    assert library.sent == window_update(0, WINDOW // 2)
    assert library.windows == (WINDOW, WINDOW)
    library.feed(post(3), data(3, bytes(1000), padding=99))
    assert library.windows == (WINDOW - 1100, WINDOW - 1100)


def test_a_table_of_any_size_is_offered_and_one_of_4096_octets_used() -> None:
    library = Library()
    library.feed(settings((1, 2**32 - 1)))
    library.decoder.max_allowed_table_size = 1 << 32
    for stream in range(1, 201, 2):
        library.feed(get(stream))
        library.engine.respond(stream, 200, [(b"x-number", b"%0100d" % stream)], b"", True)
        (response,), _ = split_frames(library.output())
        library.decoder.decode(response.payload, raw=True)
    assert library.decoder.header_table_size == 4096
    entries = library.decoder.header_table.dynamic_entries
    assert sum(len(name) + len(value) + 32 for name, value in entries) > 3000


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        pytest.param([0], "20", id="to nothing"),
        pytest.param([0, 0], "20", id="to nothing, said twice"),
        pytest.param([0, 4096], "20 3fe11f", id="to nothing and back"),
        pytest.param([100, 50, 1000, 4096, 60], "3f13 3f1d", id="up and down"),
        pytest.param([4096, 1 << 20], "", id="never below what is used"),
    ],
)
def test_the_least_and_the_last_size_of_the_table_are_told(changes: list[int], told: str) -> None:
    """RFC 7541 §4.2, RFC 9113 §4.3.1: in front of the next block, and only there."""
    library = Library()
    library.feed(*(settings((1, size)) for size in changes))
    library.feed(get(1), get(3))
    for stream, expected in ((1, bytes.fromhex(told)), (3, b"")):
        library.engine.respond(stream, 204, [], b"", True)
        (response,), _ = split_frames(library.output())
        assert response.payload == expected + b"\x89"  # :status 204 of the static table


def test_a_long_field_is_not_huffman_coded() -> None:
    library = Library()
    library.feed(get(1), get(3))
    library.engine.respond(1, 200, [(b"x", b"0" * 1024)], b"", True)
    assert len(library.output()) < 700
    library.engine.respond(3, 200, [(b"x", b"0" * 1025)], b"", True)
    assert b"0" * 1025 in library.output()


def test_secrets_are_never_indexed() -> None:
    library = Library()
    library.feed(get(1))
    library.engine.respond(1, 200, [(b"Set-Cookie", b"a=1"), (b"x", b"y")], b"", True)
    (response,), _ = split_frames(library.output())
    fields = library.decoder.decode(response.payload, raw=True)
    assert [(name, field.indexable) for field in fields for name in field[:1]] == [
        (b":status", True),
        (b"set-cookie", False),
        (b"x", True),
    ]


@pytest.mark.parametrize(
    "octets",
    [
        pytest.param(window_update(0, 0x80000001), id="the reserved bit of WINDOW_UPDATE"),
        pytest.param(goaway(0), id="GOAWAY"),
        pytest.param(settings((8, 2)), id="a setting that only servers send"),
        pytest.param(settings((4, 0), (4, 2**31 - 1), (4, 65_535)), id="a setting three times"),
        pytest.param(headers(5, GET + b"\x82", end=True), id="a malformed request"),
        pytest.param(headers(5, GET + b"\x08\x0310x", end=True), id="a request with :status"),
        pytest.param(headers(5, GET + b"\x0f\x0d\x01x", end=True), id="a content-length that is no number"),
        pytest.param(headers(1, b""), id="trailers that do not end the request"),
        pytest.param(headers(1, b"\x82", end=True), id="malformed trailers"),
        pytest.param(
            frame(Kind.HEADERS, 0x08, 5, b"\2\0\0") + frame(9, END_HEADERS, 5, GET), id="nothing but padding"
        ),
        pytest.param(headers(5, GET, end=True, priority=bytes(5)) + priority(5, 1), id="priorities"),
        pytest.param(frame(0x0A, 0, 0, b"\0"), id="ALTSVC that is not well formed"),
        pytest.param(b"".join(get(stream) for stream in range(5, 215, 2)), id="more streams than allowed"),
    ],
)
def test_h2_ends_no_connection_for_these(octets: bytes) -> None:
    """PING is answered behind them, and so is a request in front of them."""
    library = Library()
    library.feed(post(1), get(3))
    library.feed(octets, ping())
    assert library.engine.ending == Ending.OPEN
    assert ping(ack=True) in library.sent
    library.engine.respond(3, 204, [], b"", True)
    assert library.output() == headers(3, b"\x89", end=True)


def test_three_changes_of_the_tables_size_are_a_compression_error() -> None:
    """RFC 7541 §4.2 allows two; the library would take any number."""
    library = Library()
    (request,) = library.feed(headers(1, b"\x20\x3f\xe1\x1f" + GET, end=True))
    assert request.method == b"GET"
    library.feed(headers(3, b"\x20\x3f\xe1\x1f\x20" + GET, end=True))
    (farewell,), _ = split_frames(library.sent)
    assert farewell.payload[4:8] == Code.COMPRESSION_ERROR.to_bytes(4, "big")


def test_interim_responses_in_front_of_a_pushed_one_are_left_out() -> None:
    library = Library()
    (request,) = library.feed(get(1))
    promised = library.engine.push(request, b"https", b"/style", [])
    assert promised is not None
    library.output()
    library.engine.inform(promised.stream, 103, [(b"link", b"</a>")])
    assert library.output() == b""
    library.engine.respond(promised.stream, 204, [], b"", True)
    assert library.output() == headers(2, b"\x89", end=True)


def test_a_fault_that_only_h2_sees_ends_the_connection_with_its_code(monkeypatch: pytest.MonkeyPatch) -> None:
    library = Library()
    library.feed(post(1))

    def refuse(octets: bytes) -> None:
        raise FlowControlError("Too much.")

    monkeypatch.setattr(library.engine._h2, "receive_data", refuse)
    library.feed(data(1, b"x"))
    (farewell,), _ = split_frames(library.sent)
    assert farewell.kind == Kind.GOAWAY
    assert (
        farewell.payload
        == b"\0\0\0\1" + Code.FLOW_CONTROL_ERROR.to_bytes(4, "big") + b"h2 refuses a frame: Too much."
    )
    assert library.engine.close_reason == CloseReason.PROTOCOL_ERROR


def test_priority_of_head_and_padding_reach_h2_as_they_came() -> None:
    library = Library()
    flags = END_HEADERS | 0x01 | 0x08 | PRIORITY_PART
    (request,) = library.feed(frame(Kind.HEADERS, flags, 1, b"\3" + bytes(5) + GET + bytes(3)))
    assert (request.method, request.target, request.complete) == (b"GET", b"/", True)
