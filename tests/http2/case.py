"""A case of the conformance suite: what a client sends, what the server must do, and what statements that shows.

The tables (``cases_*``) write frames as hex where the frame is the point, and with the names of
``tests.http2.frames`` where it is only the way there. A frame in hex reads: length, type, flags, stream, payload.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

from tests.http2.frames import Code, Frame, Kind, describe, split_frames, wire

Fields = tuple[tuple[bytes, bytes], ...]


class Do(enum.Enum):
    """What happens between two parts of what the client sends."""

    NEXT = "all that was sent is processed and answered before more comes"
    ANSWER = "the application answers the requests for /wait, whole or not"
    LATER = "half a second passes"
    STOP = "the server is told to stop"
    PONG = "the client acknowledges the server's PING frames"


Part = bytes | str | Do
"""Octets, octets in hex, or something that happens."""


def repeated(times: int, *parts: Part) -> list[Part]:
    """The parts, so many times over."""
    return [*parts] * times


@dataclass(frozen=True)
class Got:
    """A whole request as the application sees it; ``fields`` are compared when they are given."""

    stream: int
    method: bytes = b"GET"
    path: bytes = b"/"
    body: bytes = b""
    fields: Fields | None = None


@dataclass(frozen=True)
class Answer:
    """A response: ``body`` is its octets, or their number, or ``None`` for any; ``whole`` tells of END_STREAM.

    ``fields`` are some that must be among those sent.
    """

    status: int = 200
    body: bytes | int | None = None
    whole: bool = True
    interim: tuple[int, ...] = ()
    trailers: Fields | None = None
    fields: Fields = ()


def usual_answer(got: Got) -> Answer | None:
    """What the application of the suite answers to a whole request: its method, its path, the length of its body.

    ``/wait`` is not answered unless the case says so (and ``/wait/x`` then as ``/x``); ``/bytes/1000`` gets a body
    of that many octets.
    """
    if got.path.startswith(b"/wait"):
        return None
    if got.path.startswith(b"/bytes/"):
        return Answer(body=int(got.path.removeprefix(b"/bytes/")))
    return Answer(body=b"" if got.method == b"HEAD" else b"%b %b %d" % (got.method, got.path, len(got.body)))


@dataclass(frozen=True)
class Case:
    """One case. See ``case`` for the fields."""

    name: str
    shows: tuple[str, ...]
    sent: tuple[Part, ...]
    out: bytes
    served: tuple[Got, ...]
    begun: frozenset[int]
    answers: dict[int, Answer]
    promises: dict[int, Fields]
    raw: bool
    exact: bool
    may_be_silent: bool
    or_code: Code | None
    closes: bool
    refunded: bool

    @property
    def steps(self) -> tuple[bytes | Do, ...]:
        """What the client sends, joined between the things that happen."""
        steps: list[bytes | Do] = []
        for part in self.sent:
            if isinstance(part, Do):
                steps.append(part)
            elif steps and isinstance(steps[-1], bytes):
                steps[-1] += wire(part)
            else:
                steps.append(wire(part))
        return tuple(steps)

    @property
    def expected(self) -> list[Frame]:
        """The frames of ``out``."""
        frames, rest = split_frames(self.out)
        assert not rest, f"{self.name}: the frames expected are not whole: {rest.hex()}"
        return frames

    @property
    def goaway(self) -> Frame | None:
        """The GOAWAY that ends the connection because of an error, if one is expected."""
        last = [item for item in self.expected if item.kind == Kind.GOAWAY][-1:]
        return last[0] if last and int.from_bytes(last[0].payload[4:8], "big") else None

    @property
    def fate(self) -> str:
        """``open``, ``closed``, or the name of the error that ends the connection."""
        if self.goaway is not None:
            return Code(int.from_bytes(self.goaway.payload[4:8], "big")).name
        return "closed" if self.closes else "open"

    @property
    def responses(self) -> dict[int, Answer]:
        """All responses expected, by stream."""
        usual = {got.stream: answer for got in self.served if (answer := usual_answer(got)) is not None}
        return usual | self.answers

    def __str__(self) -> str:
        told = [step.value if isinstance(step, Do) else describe(step) for step in self.steps]
        return "\n".join([self.name, *told, "must come:", describe(self.out) or "(nothing but responses)"])


CASES: list[Case] = []
"""All cases of the tables imported so far."""


def case(
    name: str,
    shows: str,
    sent: Sequence[Part],
    out: Sequence[bytes | str] = (),
    *,
    served: Sequence[int | Got] = (),
    begun: Sequence[int] = (),
    answers: dict[int, Answer] | None = None,
    promises: dict[int, Fields] | None = None,
    raw: bool = False,
    exact: bool = False,
    may_be_silent: bool = False,
    or_code: Code | None = None,
    closes: bool = False,
    refunded: bool = False,
) -> None:
    """Add a case.

    Args:
        name: the behaviour, in words.
        shows: names of the statements it shows, divided by spaces.
        sent: what the client sends behind its preface, its empty SETTINGS and the ACK of the server's; hex or octets.
        out: the frames that must come, but for HEADERS, CONTINUATION, DATA and WINDOW_UPDATE; those of stream 0
            in this order, those of each other stream as well. The last stream of a GOAWAY is the highest the
            client opened; a server may name a lower one that no request it served exceeds (§5.4.1, §6.8).
        served: requests that reach the application whole, in the order they began; a number is a GET of ``/``.
        begun: streams of requests that may reach the application, and will not be whole. No other does.
        answers: responses beside the usual ones of ``served``, or instead of them.
        promises: field sections of PUSH_PROMISE frames, by promised stream.
        raw: ``sent`` begins with the preface, and ``out`` with the server's.
        exact: ``out`` is all that comes, in this very order.
        may_be_silent: the GOAWAY may be left out; the connection must end.
        or_code: another error code the RFC allows here.
        closes: the connection ends without an error.
        refunded: all DATA was read or discarded, so less than half of any window may be owed to the client.
    """
    CASES.append(
        Case(
            name,
            tuple(shows.split()),
            tuple(sent),
            wire(*out),
            tuple(Got(entry) if isinstance(entry, int) else entry for entry in served),
            frozenset(begun),
            answers or {},
            promises or {},
            raw,
            exact,
            may_be_silent,
            or_code,
            closes,
            refunded,
        )
    )
