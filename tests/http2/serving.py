"""An engine with an application that answers everything in some way, and all that can be seen of both."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence

import hpack

from keepserve.http2.encoding import EncodedFields
from keepserve.http2.engines import ENGINES
from keepserve.telemetry.reasons import CloseReason
from keepserve.wire.engine import Body, Event, Limits, Rejected, Request, ResponseError
from tests.http2.frames import END_HEADERS, END_STREAM, Code, Frame, Kind, split_frames

Field = tuple[bytes, bytes]
Told = tuple[object, ...]
"""An event or a frame that went out, in values that can be compared."""

DEFAULTS = EncodedFields(date=False, extra=[(b"X-Extra", b"1")])
LIMITS = Limits(streams=4)
_FIELDS = [(b"content-type", b"text/plain"), (b"Set-Cookie", b"a=1"), (b"x-long", b"v" * 1500), (b"x-spaces", b" a ")]


class Serving:
    """One engine, by its name in ``ENGINES``, and what was seen of it: ``events``, and the ``frames`` it sent.

    ``turn`` is the way in which the first request is answered; the others follow in turn.
    """

    def __init__(self, engine: str, turn: int = 0) -> None:
        self.engine = ENGINES[engine](LIMITS, DEFAULTS, 0.0)
        self.now = 0.0
        self.events: list[Told] = []
        self.frames: list[Told] = []
        self._decoder = hpack.Decoder(1 << 24)
        self._decoder.max_allowed_table_size = 1 << 32  # the conformance suite looks at what the client has allowed
        self._block: Frame | None = None
        self._turn = turn
        self._collect()

    def receive(self, octets: bytes) -> None:
        """Let the client send, and the application answer, and a little time pass."""
        self.now += 0.1
        self._handle(self.engine.receive(octets, self.now))
        while self.engine.backlog:
            self._handle(self.engine.proceed(self.now))

    def leave(self) -> None:
        """The server stops, time passes, the client goes."""
        self.engine.drain(self.now, 0.0)
        self._collect()
        for passing in (0.5, 2.0, 50.0, 200.0):
            self.now += passing
            self._handle(self.engine.expire(self.now, False))
        self._handle(self.engine.receive_eof(self.now))

    @property
    def state(self) -> Told:
        """How the connection stands."""
        engine = self.engine
        return engine.ending, engine.close_reason, engine.requests, engine.idle, engine.next_deadline()

    def _handle(self, events: Sequence[Event]) -> None:
        self._collect()
        for event in events:
            if isinstance(event, Request):
                self.events.append(_request(event))
                self._answer(event)
            elif isinstance(event, Body):
                self.events.append(("body", event.stream, event.data, event.complete))
                self.engine.taken(event.stream, len(event.data), self.now)
            elif isinstance(event, Rejected):
                self.events.append(("rejected", event.stream, event.status, event.method, event.target))
            self._collect()
        while self.engine.pending:
            self.engine.pump(self.now)
            self._collect()
        self.engine.relieved.clear()
        self.engine.flushed(self.now)

    def _answer(self, request: Request) -> None:
        """Answer in one of the ways below, each in its turn: at once, even if more of the request is to come."""
        _WAYS[self._turn % len(_WAYS)](self, request)
        self._turn += 1

    def _plainly(self, request: Request) -> None:
        self.engine.respond(request.stream, 200, _FIELDS, b"answer", True)

    def _at_length(self, request: Request) -> None:
        self.engine.go_on(request.stream, self.now)
        self.engine.respond(request.stream, 200, [], b"0123456789" * 2500, True)

    def _bit_by_bit(self, request: Request) -> None:
        stream, engine = request.stream, self.engine
        engine.inform(stream, 103, [(b"Link", b"</style.css>")])
        engine.respond(stream, 404, [(b"content-length", b"70000"), (b"server", b"other")], b"", False)
        engine.send_body(stream, b"x" * 30_000, False)
        engine.send_body(stream, b"", False)
        engine.send_body(stream, b"y" * 40_000, True)

    def _with_trailers(self, request: Request) -> None:
        stream, engine = request.stream, self.engine
        engine.respond(stream, 200, [(b"content-type", b"application/grpc")], b"12345", False)
        engine.send_trailers(stream, [(b"Grpc-Status", b"0"), (b"set-cookie", b"b=2")])

    def _not_at_all(self, request: Request) -> None:
        pass

    def _given_up(self, request: Request) -> None:
        self.engine.respond(request.stream, 200, [], b"begun", False)
        self.engine.abandon(request.stream, CloseReason.APP_FAILED)

    def _with_a_promise(self, request: Request) -> None:
        promised = self.engine.push(request, b"https", b"/style.css", [(b"Accept", b"*/*")])
        if promised is not None:
            self.events.append(("promised", promised.stream, promised.target, tuple(promised.fields)))
            self.engine.respond(promised.stream, 200, [], b"style" * 100, True)
        self.engine.respond(request.stream, 200, [], b"page", True)

    def _wrongly(self, request: Request) -> None:
        try:
            self.engine.respond(request.stream, 200, [(b"content-length", b"2")], b"abc", True)
        except ResponseError:
            self.engine.respond(request.stream, 500, [(b"connection", b"keep-alive")], b"", True)

    # What went out.

    def _collect(self) -> None:
        frames, rest = split_frames(b"".join(self.engine.out))
        self.engine.out.clear()
        assert not rest, "half a frame"
        for frame in frames:
            self._take(frame)

    def _take(self, frame: Frame) -> None:
        if self._block is not None:
            assert frame.kind == Kind.CONTINUATION, f"{frame} within a field block"
            first = self._block
            frame = Frame(first.kind, first.flags | frame.flags, first.stream, first.payload + frame.payload)
            self._block = None
        if frame.kind in (Kind.HEADERS, Kind.PUSH_PROMISE):
            if not frame.has(END_HEADERS):
                self._block = frame
                return
            promised, block = (
                (frame.payload[:4], frame.payload[4:]) if frame.kind == Kind.PUSH_PROMISE else (b"", frame.payload)
            )
            fields = [(bytes(name), bytes(value)) for name, value in self._decoder.decode(block, raw=True)]
            self.frames.append((Kind(frame.kind), frame.stream, frame.has(END_STREAM), promised, tuple(fields)))
        elif frame.kind == Kind.GOAWAY and frame.payload[7] == Code.COMPRESSION_ERROR:
            self.frames.append((Kind.GOAWAY, frame.payload[:8]))  # the sentence behind it is the decoder's
        else:
            self.frames.append((Kind(frame.kind), frame.stream, frame.flags, frame.payload))


def _request(request: Request) -> Told:
    told = ("request", request.stream, request.method, request.target, tuple(request.fields), request.body)
    if request.complete:
        return told
    return *told, request.content_length, request.expect_continue, request.converses


_WAYS: list[Callable[[Serving, Request], None]] = [
    Serving._plainly,
    Serving._at_length,
    Serving._with_a_promise,
    Serving._bit_by_bit,
    Serving._not_at_all,
    Serving._with_trailers,
    Serving._plainly,
    Serving._wrongly,
    Serving._given_up,
]


def pieces(octets: bytes, cuts: Iterable[int]) -> list[bytes]:
    """Cut octets at these positions."""
    places = [0, *sorted(cuts), len(octets)]
    return [octets[start:end] for start, end in itertools.pairwise(places) if start < end]
