"""An engine, the clock in the test's hand, and a strict client at the other end; the test is the application.

``tests.http2.driver`` answers by itself and compares ways of cutting the octets; here each step is the test's own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from keepserve.http2.encoding import EncodedFields
from keepserve.http2.engines import ENGINES
from keepserve.telemetry.reasons import CloseReason
from keepserve.wire.engine import Body, Ending, Event, Limits, Rejected, Request
from tests.http2.client import Client, Response
from tests.http2.frames import PREFACE, Code, Frame, Kind, get, ping, settings

EARLY = 0.001
"""Seconds before a deadline at which nothing may have happened yet."""

NO_LIMIT = 2**31 - 1

ENGINE_NAMES = tuple(ENGINES)


class Peer:
    """One connection. ``limits`` are fields of ``Limits``; ``own_settings`` what the client's SETTINGS hold.

    ``now`` is a public attribute: moving it lets time pass unseen, ``at`` lets the engine look at its deadlines.
    """

    def __init__(
        self,
        engine: str,
        *,
        now: float = 0.0,
        greeted: bool = True,
        own_settings: Sequence[tuple[int, int]] = (),
        defaults: EncodedFields | None = None,
        max_requests: int = 0,
        max_age: float = 0.0,
        **limits: float,
    ) -> None:
        self.now = now
        self.client = Client()
        self.events: list[Event] = []
        """Everything that happened."""
        self.engine = ENGINES[engine](
            Limits(**limits),  # type: ignore[arg-type]  # counts are int, times float: the tests know
            defaults or EncodedFields(date=False, server=False),
            now,
            max_requests=max_requests,
            max_age=max_age,
        )
        self._seen = 0
        self._taken_of: dict[int, int] = {}
        self._collect()
        if greeted:
            self.feed(PREFACE, settings(*own_settings), settings(ack=True))
            self.flush()
        self.fresh()

    # The client.

    def feed(self, *octets: bytes) -> list[Event]:
        """Send something, and let all of it be read; what that led to."""
        events: list[Event] = []
        for piece in octets:
            self.client.sends(piece)
            events += self.engine.receive(piece, self.now)
            while self.engine.backlog:
                self._collect()
                events += self.engine.proceed(self.now)
            self._collect()
            self.client.settle()
        self.events += events
        return events

    def request(self, octets: bytes) -> Request:
        """Send one request, which must be accepted."""
        request = self.feed(octets)[-1]
        assert isinstance(request, Request), request
        return request

    def pong(self) -> None:
        """Answer the last PING that came."""
        self._collect()
        asked = [frame for frame in self.client.frames if frame.kind == Kind.PING and not frame.flags]
        self.feed(ping(asked[-1].payload, ack=True))

    # The server.

    def pump(self, times: int = 1) -> None:
        """Put out what may go, ``times`` times, as in so many turns of the loop."""
        for _ in range(times):
            if self.engine.pending:
                self._collect()
                self.engine.pump(self.now)
        self._collect()

    def flush(self) -> None:
        """Put out all that may go, and let all of it leave."""
        turns = 0
        while self.engine.pending:
            self.pump()
            turns += 1
            assert turns < 10_000, "output that does not end"
        self._collect()
        self.engine.flushed(self.now)

    def answer(self, stream: int, body: bytes = b"ok", status: int = 200) -> None:
        """Answer in one go."""
        self.engine.respond(stream, status, [], body, True)
        self.flush()

    def begin(self, stream: int, *bodies: bytes, status: int = 200) -> None:
        """Begin a response that goes on."""
        self.engine.respond(stream, status, [], b"", False)
        for body in bodies:
            self.engine.send_body(stream, body, False)
        self.flush()

    def at(self, now: float) -> list[Event]:
        """Let it be that late."""
        self.now = now
        events = list(self.engine.expire(now, False))
        self.events += events
        self._collect()
        return events

    # What can be seen.

    def fresh(self) -> list[Frame]:
        """Frames that came since the last call."""
        frames = self.client.frames[self._seen :]
        self._seen = len(self.client.frames)
        return frames

    def came(self, *kinds: Kind) -> list[Frame]:
        """Frames of these kinds, from the start."""
        return [frame for frame in self.client.frames if frame.kind in kinds]

    def body(self, stream: int) -> bytes:
        """What has come of a response's body."""
        return self.response(stream).body

    def response(self, stream: int) -> Response:
        """What has come of a response."""
        return self.client.streams[stream].response

    def reset_code(self, stream: int) -> int | None:
        """The code of the RST_STREAM that came for this stream."""
        codes = [frame.number for frame in self.came(Kind.RST_STREAM) if frame.stream == stream]
        return codes[-1] if codes else None

    def credit(self, stream: int) -> int:
        """By how much the server has widened a window since the greeting."""
        return self.client.credit.get(stream, 0) - (0 if stream else 1024 * 1024 - 65_535)

    @property
    def goaways(self) -> list[tuple[int, int]]:
        """Last stream and code of each GOAWAY."""
        return [
            (int.from_bytes(frame.payload[:4], "big"), int.from_bytes(frame.payload[4:8], "big"))
            for frame in self.came(Kind.GOAWAY)
        ]

    @property
    def deadline(self) -> float:
        """When the engine wants to look at the clock."""
        return self.engine.next_deadline()

    @property
    def ending(self) -> Ending:
        """How the connection is to end."""
        return self.engine.ending

    @property
    def reason(self) -> CloseReason | None:
        """Why it is to end."""
        return self.engine.close_reason

    @property
    def given_up(self) -> list[tuple[int, int]]:
        """Streams the engine has ended, with the status it answered or 0."""
        return [(event.stream, event.status) for event in self.events if isinstance(event, Rejected)]

    def uploaded(self, stream: int) -> bytes:
        """What the application was handed of a request body."""
        parts = [event.body for event in self.events if isinstance(event, Request) and event.stream == stream]
        parts += [event.data for event in self.events if isinstance(event, Body) and event.stream == stream]
        return b"".join(parts)

    def _collect(self) -> None:
        out = self.engine.out
        if out:
            octets = b"".join(out)
            out.clear()
            self.client.receives(octets)


def one(connect: Callable[..., Peer], octets: bytes = b"", **more: object) -> Peer:
    """A connection with a request on stream 1, or with those in ``octets``; ``fresh`` is empty."""
    peer = connect(**more)
    peer.feed(octets or get(1))
    peer.fresh()
    return peer


def nothing_before(peer: Peer, deadline: float) -> None:
    """The engine's next deadline is this one, and just before it nothing happens."""
    assert peer.deadline == pytest.approx(deadline)
    peer.pump()
    frames, events = len(peer.client.frames), len(peer.events)
    peer.at(deadline - EARLY)
    assert (len(peer.client.frames), len(peer.events)) == (frames, events), peer.client.frames[frames:]
    assert peer.ending == Ending.OPEN


def check_announced(peer: Peer, deadline: float, reason: CloseReason) -> None:
    """Nothing happens before ``deadline``; then the end is announced, and that is all."""
    nothing_before(peer, deadline)
    peer.fresh()
    peer.at(deadline)
    told, asked = peer.fresh()
    assert (told.kind, told.payload[:8]) == (Kind.GOAWAY, NO_LIMIT.to_bytes(4, "big") + bytes(4))
    assert (asked.kind, asked.flags) == (Kind.PING, 0)
    assert (peer.reason, peer.ending) == (reason, Ending.OPEN)


def check_failed(peer: Peer, deadline: float, reason: CloseReason, code: Code) -> None:
    """Nothing happens before ``deadline``; then the connection ends with this code."""
    nothing_before(peer, deadline)
    peer.at(deadline)
    assert peer.goaways[-1][1] == code
    assert (peer.reason, peer.ending) == (reason, Ending.LINGER)
