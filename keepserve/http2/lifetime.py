"""How a connection lives and ends: clocks, the two GOAWAYs, the close (RFC 9113 §6.8).

A connection ends for one ``CloseReason``. In peace (``_farewell``): GOAWAY(2^31-1) and a PING; once that is
answered, or a second has passed, GOAWAY with the last stream served; when its streams are done, the close
(RFC 9113 §6.8). At war (``_fail``): GOAWAY with an error, at once.

PING, SETTINGS, WINDOW_UPDATE and the like are no activity: the idle clock runs from the moment the last stream
was done and everything flushed to the next HEADERS.

Memory: an idle engine has 2.6 KiB at first (``tests/http2/test_memory.py``) and its HPACK table fills to 10 KiB with
use; with all that the server keeps for it, a connection that has served a request has 6 KiB (measured
by ``tests.bench``).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from keepserve.http2.control import ACK_TIMEOUT, FAREWELL_PING, Control
from keepserve.http2.guard import WARN_AT
from keepserve.http2.protocol import (
    DEFAULT_WINDOW,
    ENABLE_CONNECT_PROTOCOL,
    INITIAL_WINDOW_SIZE,
    MAX_CONCURRENT_STREAMS,
    MAX_HEADER_LIST_SIZE,
    MAX_STREAM,
    NO_RFC7540_PRIORITIES,
    ConnectionFault,
    ErrorCode,
)
from keepserve.http2.streams import AWAITED, CONNECTION_WINDOW, STREAM_WINDOW, Stream
from keepserve.telemetry.reasons import CloseReason
from keepserve.wire.clocks import LingerClock
from keepserve.wire.engine import NEVER, Ending, Event, Limits, Rejected
from keepserve.wire.response import Field, plain_status, refuse_bad_fields

GOAWAY_ROUND_TRIP = 1.0
"""Most seconds between the two GOAWAYs of a graceful end; a PING's answer ends the wait."""

LINGER = 1.0
"""Seconds for the peer to close after our last GOAWAY, before we do."""
LINGER_BYTES = 1024 * 1024
"""Bytes read and dropped meanwhile."""

EARLY_ANSWER_LINGER = 0.25
"""Seconds a client may go on sending after its request was answered in full, before RST_STREAM (NO_ERROR).

The RFC allows the reset at once. But clients that meet it together with the answer lose the answer (curl
before 8, when its upload is larger than its first window), and the rest may be on its way anyhow.
"""

_ALIVE_PING = b"alive?\0\0"
_NOTHING: tuple[Event, ...] = ()


class Lifetime(Control):
    """What a connection is apart from its streams."""

    __slots__ = (
        "_eof",
        "_final_by",
        "_heard_at",
        "_last_served",
        "_linger",
        "_max_age_at",
        "_max_requests",
        "_ready_at",
        "ending",
    )

    def __init__(self, limits: Limits, now: float, *, max_requests: int = 0, max_age: float = 0.0) -> None:
        super().__init__(limits, now)
        self.ending = Ending.OPEN
        self._last_served = 0
        """The highest stream that was not refused: what GOAWAY names."""
        self._eof = False
        self._linger: LingerClock | None = None
        self._ready_at = now
        self._final_by = NEVER
        self._heard_at = now
        self._max_requests = max_requests or NEVER
        self._max_age_at = now + max_age if max_age > 0 else NEVER
        self._write_greeting(
            (
                (MAX_CONCURRENT_STREAMS, limits.streams),
                (INITIAL_WINDOW_SIZE, STREAM_WINDOW),
                (MAX_HEADER_LIST_SIZE, limits.request_head),
                *(((ENABLE_CONNECT_PROTOCOL, 1),) if limits.websocket else ()),
                (NO_RFC7540_PRIORITIES, 1),
            ),
            CONNECTION_WINDOW - DEFAULT_WINDOW,
        )

    # The session's part.

    @property
    def idle_since(self) -> float:
        """When the last stream was done and flushed; ``NEVER``: one is open, or the connection is ending."""
        raise NotImplementedError

    @property
    def ready_at(self) -> float:
        """When the last stream was done and flushed, also when the connection has ended since; ``NEVER``: not yet."""
        return self._ready_at

    def _answer_or_reset(self, stream: Stream, status: int, detail: str) -> None:
        """Answer a request that was handed out, if its response has not begun; otherwise the reset must tell."""
        raise NotImplementedError

    # For the exchange.

    def inform(self, stream: int, status: int, fields: Iterable[Field]) -> None:
        """Send an interim response: 100 Continue, 103 Early Hints (RFC 9113 §8.1). Raises ``ResponseError``."""
        state = self._streams.get(stream)
        if state is not None and state.response == AWAITED:
            fields = list(fields)
            refuse_bad_fields(fields)
            self._write_interim(stream, plain_status(status), fields)

    def go_on(self, stream: int, now: float) -> None:
        """The application reads the body; ask for one the client holds back (``Expect: 100-continue``)."""
        state = self._uploads.get(stream)
        if state is not None and state.upload is not None and state.upload.expecting:
            self.inform(stream, 100, ())
            state.upload.go_on(now)

    def abandon(self, stream: int, reason: CloseReason) -> None:
        """The response under way will not be finished: the reset tells the client (RFC 9113 §8.1)."""
        state = self._streams.get(stream)
        if state is not None:
            failed = reason in (CloseReason.APP_FAILED, CloseReason.APP_FRAMING)
            self._give_up(state, ErrorCode.INTERNAL_ERROR if failed else ErrorCode.CANCEL)

    def switch(self, stream: int, fields: Iterable[Field]) -> None:
        """Grant a WebSocket: 200, and the stream carries its bytes (RFC 8441 §5). Raises ``ResponseError``."""
        self.respond(stream, 200, fields, b"", False)

    def hang_up(self, stream: int, reason: CloseReason, whole: bool) -> None:
        """End a WebSocket's stream by END_STREAM, which stands for TCP's FIN (RFC 8441 §5)."""
        self.send_body(stream, b"", True)

    # The end.

    def obey(self, limits: Limits) -> None:
        """From now on these are the limits."""
        self._limits = limits

    def announce(self, reason: CloseReason) -> None:
        """A response of HTTP/2 has no word for it; ``drain`` says GOAWAY when the time has come."""

    def drain(self, now: float, idle_grace: float) -> None:
        """The server is stopping: say so at once. New streams are served until the last one is named."""
        self._now = now
        self._farewell(CloseReason.DRAINING)

    def evict(self, now: float, unread: bool) -> None:
        """The worker has too many connections: end an idle one, whose peer can still say what is on its way.

        A busy one stays: it carries many requests with one descriptor.
        """
        if self.idle_since != NEVER:
            self._now = now
            self._farewell(CloseReason.EVICTED)

    def conclude(self) -> None:
        """The connection is about to be closed: name the last stream, so that the client may send the rest again."""
        if self._parting < 2 and not self.ending:
            self._parting = 2
            self._write_goaway(self._last_served, ErrorCode.NO_ERROR)

    def calm(self, detail: str, now: float) -> Sequence[Event]:
        """The peer has too much under way to be served: end the connection and say so."""
        self._now = now
        self._events = []
        self._fail(ErrorCode.ENHANCE_YOUR_CALM, detail, CloseReason.FLOOD)
        return self._events

    def _close_asked(self) -> None:
        if not self._parting:
            self._farewell(CloseReason.APP_ASKED)
            self._final_by = NEVER  # from when this has left: ``flushed`` knows the time

    def _farewell(self, reason: CloseReason) -> None:
        """End the connection in peace: announce it now, name the last stream when the peer has heard (§6.8)."""
        if self._parting or self.ending:
            return
        self._parting = 1
        if self.close_reason is None:
            self.close_reason = reason
        self._write_goaway(MAX_STREAM, ErrorCode.NO_ERROR, reason.value.encode())
        self._write_ping(FAREWELL_PING, False)
        self._final_by = self._now + GOAWAY_ROUND_TRIP

    def _name_last(self) -> None:
        """The peer has heard: streams above the last one served are refused from here on."""
        self._parting = 2
        self._final_by = NEVER
        self._write_goaway(self._last_served, ErrorCode.NO_ERROR)
        self._check_last()

    def _check_last(self) -> None:
        """A connection that is parting ends with its last stream."""
        if self._streams or self.ending:
            return
        if self._parting == 2:
            self.ending = Ending.CLOSE if self._eof else Ending.LINGER
        elif self._eof:
            self.ending = Ending.CLOSE
        elif self._peer_left:
            self.close_reason = self.close_reason or CloseReason.CLIENT_ASKED
            self._parting = 1
            self._name_last()

    def _fail(self, code: ErrorCode, detail: str, reason: CloseReason) -> None:
        """End the connection for a fault of the peer's: what is under way is lost, GOAWAY says how far we came."""
        if self.ending:
            return
        self.close_reason = reason
        self.backlog = self._partial = b""
        self._block, self._block_raw = None, []
        self._write_goaway(self._last_served, code, detail.encode())
        self.ending = Ending.LINGER
        for stream in list(self._streams.values()):
            self._forget(stream)
            self._events.append(Rejected(stream.number, 0, detail))
        self._uploads.clear()

    # What a peer does for nothing.

    def _count_reset(self) -> None:
        self._judge(self._guard.count_reset(self._now, self._good_streams), "Too many streams are reset.")

    def _glitch(self, weight: float = 1.0) -> None:
        self._judge(self._guard.count_glitch(self._now, weight), "Too many frames that carry nothing.")

    def _judge(self, share: float, detail: str) -> None:
        if share >= 1.0:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, detail)
        if share >= WARN_AT and not self._parting:
            self._farewell(CloseReason.FLOOD)

    # Answers that came before their requests were whole.

    def _time_early_answers(self, now: float) -> None:
        """They have left: from now on their clients have so much time."""
        for number, until in self._early.items():
            if until == NEVER:
                self._early[number] = now + EARLY_ANSWER_LINGER

    def _end_early_answers(self) -> None:
        """Tell clients that still send after their answer that they need not (RFC 9113 §8.1)."""
        for number, until in list(self._early.items()):
            if self._now >= until:
                self._write_reset(number, ErrorCode.NO_ERROR)
                self._remember_reset(number)
                self._forget(self._streams[number])
        self._check_last()

    # Time.

    def hold(self, held: bool, now: float) -> None:
        """We stop or go on reading: nobody is slow because of that."""
        self._now = self._heard_at = now
        if held:
            self._held_at = now
        elif self._held_at != NEVER:
            waited, self._held_at = now - self._held_at, NEVER
            self._ack_by += waited
            self._block_by += waited
            self._asked_at += waited
        for stream in self._stalled.values():
            assert stream.stall is not None
            if held:
                stream.stall.hold(now)
            else:
                stream.stall.resume(now)
        self._pace_uploads()

    def flushed(self, now: float) -> None:
        """Everything handed out has left this process: clocks begin that wait for that, such as the idle clock."""
        if self.ending:
            if self._linger is None:
                self._linger = LingerClock(LINGER, LINGER, LINGER_BYTES, now)
            return
        if self._ready_at == NEVER and not self._streams:
            self._ready_at = now
        if self._parting == 1 and self._final_by == NEVER:
            self._final_by = now + GOAWAY_ROUND_TRIP
        if self._early:
            self._time_early_answers(now)

    def next_deadline(self) -> float:
        """When ``expire`` wants to be called, or ``NEVER``."""
        if self.ending:
            return self._linger.deadline if self._linger is not None else NEVER
        deadline = min(self._final_by, self._dribble_at)
        if self._held_at == NEVER:
            deadline = min(deadline, self._greeting_by, self._ack_by, self._block_by, self._alive_by())
        if self._early:
            deadline = min(deadline, *self._early.values())
        if not self._parting:
            deadline = min(deadline, self._ready_at + self._limits.keep_alive_timeout, self._max_age_at)
        for stream in self._uploads.values():
            assert stream.upload is not None
            deadline = min(deadline, stream.upload.deadline)
        for stream in self._stalled.values():
            assert stream.stall is not None
            deadline = min(deadline, stream.stall.deadline)
        return deadline

    def _alive_by(self) -> float:
        """When to ask a silent peer whether it is there, or to give up the hope."""
        limits = self._limits
        if limits.ping_interval <= 0:
            return NEVER
        if self._asked_at != NEVER:
            return self._asked_at + limits.ping_timeout
        return self._heard_at + limits.ping_interval

    def expire(self, now: float, unread: bool) -> Sequence[Event]:
        """Act on deadlines that have passed, never early.

        ``unread`` does not matter here: an idle connection is ended by announcement, and what has arrived by
        then is served.
        """
        if now < self.next_deadline():
            return _NOTHING
        self._now = now
        if self.ending:
            self.ending = Ending.CLOSE
            return _NOTHING
        events = self._events = []
        if self._held_at != NEVER:
            self._expire_in_peace(now)  # what is missing may have come, and we do not look
        elif now >= self._greeting_by:
            seconds = self._limits.request_head_timeout
            detail = f"The preface and SETTINGS did not arrive within {seconds:g} s."
            self._fail(ErrorCode.SETTINGS_TIMEOUT, detail, CloseReason.HEAD_TIMEOUT)
        elif now >= self._ack_by:
            detail = f"Our SETTINGS were not acknowledged within {ACK_TIMEOUT:g} s."
            self._fail(ErrorCode.SETTINGS_TIMEOUT, detail, CloseReason.SETTINGS_TIMEOUT)
        elif now >= self._block_by:
            detail = f"A header block did not end within {self._limits.request_head_timeout:g} s."
            self._fail(ErrorCode.ENHANCE_YOUR_CALM, detail, CloseReason.HEAD_TIMEOUT)
        elif now >= self._alive_by() and self._asked_at != NEVER:
            detail = f"A PING was not answered within {self._limits.ping_timeout:g} s."
            self._fail(ErrorCode.NO_ERROR, detail, CloseReason.PING_TIMEOUT)
        else:
            self._expire_in_peace(now)
        return events

    def _expire_in_peace(self, now: float) -> None:
        """Deadlines that do not end the connection at once."""
        if self._held_at == NEVER and now >= self._alive_by():
            self._asked_at = now
            self._write_ping(_ALIVE_PING, False)
        if now >= self._final_by:
            self._name_last()
        elif now >= self._max_age_at:
            self._farewell(CloseReason.MAX_AGE)
        elif now >= self._ready_at + self._limits.keep_alive_timeout:
            self._farewell(CloseReason.IDLE_TIMEOUT)
        if now >= self._dribble_at:
            self._dribble(now)
        if self._early:
            self._end_early_answers()
        for stream in list(self._uploads.values()):
            if stream.upload is not None and now >= stream.upload.deadline:
                seconds = self._limits.body_timeout
                self._answer_or_reset(
                    stream, 408, f"The request body did not arrive in time ({seconds:g} s, or too slowly)."
                )
        for stream in list(self._stalled.values()):
            if stream.stall is not None and now >= stream.stall.deadline:
                self._give_up(stream, ErrorCode.CANCEL)
                self._events.append(Rejected(stream.number, 0, "The client does not read the response."))
