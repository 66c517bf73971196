"""Driving an engine by hand or with a small application: bytes and time in, an outcome out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from keepserve.http1.engine import Http1Engine
from keepserve.http1.parsers import PARSERS
from keepserve.http1.response import DefaultFields
from keepserve.telemetry.reasons import CloseReason
from keepserve.wire.engine import NEVER, Body, Ending, Event, Fields, Limits, Rejected, Request
from tests.support.answers import Answer, read_answers

PARSER_NAMES = tuple(PARSERS)
STREAM = 1

_parsers = {name: parser() for name, parser in PARSERS.items()}
"""One of each for all tests, as all connections of a worker share one: what one test leaves behind, others meet."""


@dataclass
class Seen:
    """A request as an application would have seen it."""

    method: bytes
    target: bytes
    version: str
    fields: Fields
    body: bytes
    complete: bool
    request: Request = field(repr=False, compare=False)

    @property
    def brief(self) -> tuple[bytes, bytes, bytes]:
        """Method, target and body."""
        return self.method, self.target, self.body


@dataclass
class Outcome:
    """What became of some input, however it was split: everything that can be seen from outside."""

    out: bytes
    """Everything sent, but for ``100 Continue``, which depends on when the body came."""
    seen: list[Seen]
    """Requests that came whole."""
    fate: str
    """``kept`` (idle), ``waiting`` (for more of a request), or the name of the close reason."""
    reset: bool
    deadline: float
    accepted: int

    @property
    def answers(self) -> list[Answer]:
        """The responses."""
        return read_answers(
            self.out, [seen.method for seen in self.seen], closed=self.fate not in ("kept", "waiting")
        )

    @property
    def statuses(self) -> list[int]:
        """Their statuses."""
        return [answer.status for answer in self.answers]


def answer_whole(driver: Driver, seen: Seen) -> None:
    """The small application: say how long the body was, once it is whole."""
    driver.respond(200, b"%b %b %d" % (seen.method, seen.target, len(seen.body)))


class Driver:
    """An engine, a clock, and what came out.

    With ``app`` each request is answered when it is whole, and the client that waits for it is told to
    continue; with ``app=None`` the test answers by hand. ``limits`` and the rest go to the engine.
    """

    def __init__(
        self,
        parser: str = "httptools",
        *,
        app: Callable[[Driver, Seen], None] | None = answer_whole,
        now: float = 0.0,
        defaults: DefaultFields | None = None,
        max_requests: int = 0,
        max_age: float = 0.0,
        **limits: Any,
    ) -> None:
        self.now = now
        self.app = app
        self.limits = Limits(**limits)
        self.engine = Http1Engine(
            self.limits,
            _parsers[parser],
            defaults or DefaultFields(date=False),
            now,
            max_requests=max_requests,
            max_age=max_age,
        )
        self.sent = b""
        self.seen: list[Seen] = []
        self.rejected: list[Rejected] = []

    # What the peer and time do.

    def feed(self, *pieces: bytes) -> Driver:
        """Let bytes arrive, piece by piece."""
        for piece in pieces:
            self._run(self.engine.receive(piece, self.now))
        return self

    def eof(self) -> Driver:
        """Let the peer send its FIN."""
        for event in self.engine.receive_eof(self.now):
            self._handle(event)
        self._collect()
        return self

    def flush(self) -> Driver:
        """Let everything sent leave for the kernel."""
        self._collect()
        self.engine.flushed(self.now)
        return self

    def at(self, now: float, *, unread: bool = False) -> Driver:
        """Let time come to ``now`` and the engine look at its deadlines."""
        self.now = now
        for event in self.engine.expire(now, unread):
            self._handle(event)
        self._collect()
        return self

    @property
    def deadline(self) -> float:
        """When the engine wants to be woken."""
        return self.engine.next_deadline()

    # What the application does.

    def respond(
        self, status: int = 200, body: bytes = b"", fields: Iterable[tuple[bytes, bytes]] = (), complete: bool = True
    ) -> Driver:
        """Send a response's head and the first part of its body."""
        self.engine.respond(STREAM, status, list(fields), body, complete)
        return self

    def send(self, data: bytes, complete: bool = False) -> Driver:
        """Send more of the body."""
        self.engine.send_body(STREAM, data, complete)
        return self

    def go_on(self) -> Driver:
        """Ask for the body."""
        self.engine.go_on(STREAM, self.now)
        self._collect()
        return self

    def proceed(self) -> Driver:
        """Look at what was pipelined, as a connection does after each response."""
        self._run(self.engine.proceed(self.now))
        return self

    # What can be seen.

    @property
    def reason(self) -> CloseReason | None:
        """Why the connection closes."""
        return self.engine.close_reason

    @property
    def ending(self) -> Ending:
        """How."""
        return self.engine.ending

    @property
    def answers(self) -> list[Answer]:
        """All responses so far."""
        self._collect()
        methods = [seen.method for seen in self.seen]
        return read_answers(self.sent, methods, closed=bool(self.engine.ending))

    @property
    def statuses(self) -> list[int]:
        """Their statuses."""
        return [answer.status for answer in self.answers]

    def outcome(self) -> Outcome:
        """Everything visible at this point."""
        self._collect()
        engine = self.engine
        fate = "kept" if engine.idle else "waiting"
        if engine.ending:
            assert engine.close_reason is not None
            fate = engine.close_reason.value
        deadline = NEVER if engine.ending else engine.next_deadline()
        return Outcome(
            self.sent.replace(b"HTTP/1.1 100 Continue\r\n\r\n", b""),
            [seen for seen in self.seen if seen.complete],
            fate,
            engine.ending == Ending.RESET,
            deadline,
            len([seen for seen in self.seen if seen.complete]),
        )

    # Within.

    def _run(self, events: Sequence[Event]) -> None:
        while events:
            for event in events:
                self._handle(event)
            events = self.engine.proceed(self.now)
        self._collect()

    def _handle(self, event: Event) -> None:
        if isinstance(event, Request):
            seen = Seen(
                event.method, event.target, event.http_version, event.fields, event.body, event.complete, event
            )
            self.seen.append(seen)
            if self.app is not None:
                if event.complete:
                    self.app(self, seen)
                else:
                    self.engine.go_on(STREAM, self.now)
        elif isinstance(event, Body):
            seen = self.seen[-1]
            assert not seen.complete, "more of a body that had ended"
            seen.body += event.data
            seen.complete = event.complete
            if event.complete and self.app is not None:
                self.app(self, seen)
        else:
            self.rejected.append(event)

    def _collect(self) -> None:
        out = self.engine.out
        if out:
            assert all(type(piece) is bytes for piece in out)
            self.sent += b"".join(out)
            out.clear()


def splits(raw: bytes, every: int = 400) -> Iterator[tuple[str, list[bytes]]]:
    """Yield a name and the pieces: whole, in two at every position, byte by byte.

    Longer input is split in two at its first and last hundred positions and a spread between.
    """
    yield "whole", [raw]
    size = len(raw)
    if size <= every:
        positions: Iterable[int] = range(1, size)
    else:
        step = max(1, size // 150)
        positions = sorted({*range(1, 101), *range(size - 100, size), *range(100, size - 100, step)})
    for position in positions:
        yield f"split at {position}, before {raw[position : position + 20]!r}", [raw[:position], raw[position:]]
    yield "byte by byte", [raw[index : index + 1] for index in range(size)]
