"""Driving an HTTP/2 engine with raw frames and a small application; what comes of it, however the octets came."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from keepserve.http2.encoding import EncodedFields
from keepserve.http2.engines import ENGINES
from keepserve.wire.engine import Body, Ending, Event, Limits, Request, ResponseError
from tests.http2.case import Do, Got
from tests.http2.client import Client, Response
from tests.http2.frames import PREFACE, Frame, Kind, ping, settings, without

ENGINE_NAMES = tuple(ENGINES)
OPENING = PREFACE + settings() + settings(ack=True)
"""What the client of every case has sent before, unless the case says it all."""

_DEFAULTS = EncodedFields(date=False)
_ODD_FIELDS = [
    (b"X-Mixed", b"Value"),
    (b"Connection", b"keep-alive"),
    (b"connection", b"x-mixed"),
    (b"Keep-Alive", b"timeout=5"),
    (b"Proxy-Connection", b"keep-alive"),
    (b"Transfer-Encoding", b"chunked"),
    (b"Upgrade", b"h2c"),
]


def pattern(size: int) -> bytes:
    """A body in which every octet out of place would show."""
    return bytes(number % 251 for number in range(min(size, 251))) * (size // 251 + 1)


@dataclass
class Seen:
    """A request as the application got it, whole or not."""

    request: Request
    body: bytes
    complete: bool
    answered: bool = False

    @property
    def got(self) -> Got:
        """As the cases have it."""
        request = self.request
        return Got(request.stream, request.method, request.target, self.body, tuple(request.fields))


@dataclass
class Outcome:
    """Everything that can be seen from outside, but for when frames were written and how DATA was cut."""

    control: dict[int, list[Frame]]
    """By stream: all frames but HEADERS, CONTINUATION, DATA, WINDOW_UPDATE and PUSH_PROMISE."""
    responses: dict[int, Response]
    seen: list[Got]
    """Requests that reached the application whole, in the order they began."""
    ending: Ending
    last_seen: int
    """The highest stream the application has seen anything of."""
    versions: set[str]
    promises: dict[int, list[tuple[bytes, bytes]]]
    credit: dict[int, int] = field(compare=False)
    """Sums of WINDOW_UPDATE increments by stream."""
    exceeded: bool
    """The client has sent DATA beyond a window it was given."""
    begun: set[int] = field(compare=False)
    """Streams the application has seen that were not whole; a fault in the same read may keep them from it."""
    owed: dict[int, int] = field(compare=False)
    """By stream that is open, and 0: octets of DATA that no WINDOW_UPDATE has given back."""


class Driver:
    """One connection: an engine, a client on the other side, the application of the suite in between."""

    def __init__(self, engine: str, *, greeted: bool = True) -> None:
        self.engine = ENGINES[engine](Limits(), _DEFAULTS, 0.0)
        self.client = Client()
        self.now = 0.0
        self.seen: dict[int, Seen] = {}
        self._collect()
        self._opening = 0
        if greeted:
            self._feed(OPENING)
            self._opening = len(self.client.frames)

    def run(self, steps: Sequence[Sequence[bytes] | Do]) -> Driver:
        """Let the client send, piece by piece, and let other things happen in between."""
        for step in steps:
            if step is Do.ANSWER:
                for seen in list(self.seen.values()):
                    if seen.request.target.startswith(b"/wait") and not seen.answered:
                        self._answer(seen)
                self._send()
            elif step is Do.LATER:
                self.now += 0.5
                for event in self.engine.expire(self.now, False):
                    self._handle(event)
                self._send()
            elif step is Do.STOP:
                self.engine.drain(self.now, 0.0)
                self._send()
            elif step is Do.PONG:
                for frame in self.client.frames:
                    if frame.kind == Kind.PING and frame.flags == 0:
                        self._feed(ping(frame.payload, ack=True))
            elif not isinstance(step, Do):
                for piece in step:
                    self._feed(piece)
        return self

    @property
    def outcome(self) -> Outcome:
        """What has come of it so far."""
        frames = self.client.frames[self._opening :]
        control: dict[int, list[Frame]] = {}
        kinds = (Kind.HEADERS, Kind.CONTINUATION, Kind.DATA, Kind.WINDOW_UPDATE, Kind.PUSH_PROMISE)
        for frame in without(frames, *kinds):
            control.setdefault(frame.stream, []).append(_normal(frame))
        seen = self.seen.values()
        return Outcome(
            control,
            {
                number: stream.response
                for number, stream in sorted(self.client.streams.items())
                if stream.response.status or stream.response.interim
            },
            [entry.got for entry in seen if entry.complete],
            self.engine.ending,
            max(self.seen, default=0),
            {entry.request.http_version for entry in seen},
            self.client.promises,
            self.client.credit,
            self.client.exceeded,
            {entry.request.stream for entry in seen if not entry.complete},
            self._owed(),
        )

    def _owed(self) -> dict[int, int]:
        """Of what the client may still use: the connection's window, and those of streams it has not ended."""
        streams = self.client.streams.items()
        still = [number for number, stream in streams if not (stream.ended_by_client or stream.over)]
        return {number: self.client.owed(number) for number in (0, *still)}

    # Within.

    def _feed(self, octets: bytes) -> None:
        self.client.sends(octets)
        events = self.engine.receive(octets, self.now)
        turns = 0
        while True:
            self._collect()
            if not self.engine.backlog:
                self.client.settle()
            for event in events:
                self._handle(event)
            self._send()
            if not self.engine.backlog:
                break
            turns += 1
            assert turns < 10_000, "a backlog that does not end"
            events = self.engine.proceed(self.now)

    def _send(self) -> None:
        turns = 0
        while self.engine.pending:
            self._collect()
            self.engine.pump(self.now)
            turns += 1
            assert turns < 10_000, "pending output that does not end"
        self._collect()
        self.engine.flushed(self.now)

    def _collect(self) -> None:
        out = self.engine.out
        if out:
            octets = b"".join(out)
            out.clear()
            self.client.receives(octets)

    # The application.

    def _handle(self, event: Event) -> None:
        if isinstance(event, Request):
            assert event.stream not in self.seen, f"stream {event.stream} began twice"
            seen = self.seen[event.stream] = Seen(event, event.body, event.complete)
            size = len(event.body)
        elif isinstance(event, Body):
            seen = self.seen[event.stream]
            assert not seen.complete, "more of a body that had ended"
            seen.body += event.data
            seen.complete = event.complete
            size = len(event.data)
        else:
            return
        path = seen.request.target
        if path.startswith(b"/wait"):
            return
        if not seen.complete and not seen.answered:
            self.engine.go_on(event.stream, self.now)
        if size:
            self.engine.taken(event.stream, size, self.now)
        if (seen.complete or path == b"/early") and not seen.answered:
            self._answer(seen)

    def _answer(self, seen: Seen) -> None:
        seen.answered = True
        engine, stream, path = self.engine, seen.request.stream, seen.request.target
        body = b"%b %b %d" % (seen.request.method, path, len(seen.body))
        path = path.removeprefix(b"/wait")
        if path.startswith(b"/bytes/"):
            size = int(path.removeprefix(b"/bytes/"))
            engine.respond(stream, 200, [(b"content-length", b"%d" % size)], pattern(size)[:size], True)
        elif path.startswith(b"/status/"):
            engine.respond(stream, int(path.removeprefix(b"/status/")), [], b"", True)
        elif path == b"/large-field":
            engine.respond(stream, 200, [(b"x-large", b"v" * 40_000)], b"", True)
        elif path == b"/interim":
            engine.inform(stream, 103, [(b"link", b"</style.css>")])
            engine.respond(stream, 200, [], body, True)
        elif path == b"/trailers":
            engine.respond(stream, 200, [], body, False)
            engine.send_trailers(stream, [(b"x-sum", b"1"), (b"x-end", b"")])
        elif path == b"/odd-fields":
            engine.respond(stream, 200, _ODD_FIELDS, body, True)
        elif path == b"/odd-trailers":
            engine.respond(stream, 200, [], body, False)
            engine.send_trailers(stream, _ODD_FIELDS)
        elif path.startswith(b"/push"):
            self._push(seen.request, path.removeprefix(b"/push"), body)
        elif path.startswith(b"/pseudo/"):
            try:
                engine.respond(
                    stream, 200, [(b"x", b"y"), (b":" + path.removeprefix(b"/pseudo/"), b"200")], body, True
                )
            except ResponseError:
                engine.respond(stream, 500, [], b"", True)
        else:
            engine.respond(stream, 200, [], body, True)

    def _push(self, request: Request, target: bytes, body: bytes) -> None:
        """``/push/x`` promises ``/x``; ``es`` promises two, ``-late`` one when its own response is complete."""
        if target == b"-late":
            self.engine.respond(request.stream, 200, [], body, True)
        targets = {b"es": (b"/style", b"/style"), b"-late": (b"/style",), b"-odd": (b"/style",)}
        odd = [*_ODD_FIELDS, (b"x-long", b"v" * 20_000)] if target == b"-odd" else []
        for promised in targets.get(target, (target,)):
            pushed = self.engine.push(request, b"https", promised, [(b"accept", b"*/*"), *odd])
            if pushed is not None:
                self._handle(pushed)
        if target != b"-late":
            self.engine.respond(request.stream, 200, [], body, True)


def _normal(frame: Frame) -> Frame:
    """Leave out what the server may choose: the debug data of GOAWAY, the octets of its own PING."""
    if frame.kind == Kind.GOAWAY:
        return Frame(frame.kind, frame.flags, frame.stream, frame.payload[:8])
    if frame.kind == Kind.PING and not frame.flags:
        return Frame(frame.kind, frame.flags, frame.stream, bytes(8))
    return frame


def ways(steps: Sequence[bytes | Do]) -> Iterator[tuple[str, list[Sequence[bytes] | Do]]]:
    """Yield a name and the pieces: whole, cut in two at every position, octet by octet.

    Long input is cut at its first and last sixty positions and at some between, and very long input at some alone;
    that comes in pieces of 1,009 in place of octets.
    """
    size = sum(len(step) for step in steps if isinstance(step, bytes))
    yield "whole", [step if isinstance(step, Do) else [step] for step in steps]
    cuts = set(range(1, size))
    if size > 600:
        cuts = {*range(1, 60), *range(size - 60, size), *range(60, size - 60, size // 40)}
    if size > 4000:
        cuts = set(range(9, size, size // 20))
    for cut in sorted(cuts):
        yield f"cut at {cut}", _cut(steps, cut)
    piece = 1 if size <= 4000 else 1009
    yield (
        "octet by octet" if piece == 1 else f"in pieces of {piece}",
        [
            step if isinstance(step, Do) else [step[at : at + piece] for at in range(0, len(step), piece)]
            for step in steps
        ],
    )


def _cut(steps: Sequence[bytes | Do], position: int) -> list[Sequence[bytes] | Do]:
    pieces: list[Sequence[bytes] | Do] = []
    for step in steps:
        if isinstance(step, Do):
            pieces.append(step)
            continue
        pieces.append([step[:position], step[position:]] if 0 < position < len(step) else [step])
        position -= len(step)
    return pieces
