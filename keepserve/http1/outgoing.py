"""What goes out: the application's responses, our own refusals, and what each means for the connection.

How a response looks on the wire is the matter of ``keepserve.http1.writer``. Here is decided whether the
connection goes on behind it: at one place, when its head is rendered, since only a head can announce
the close. An end that comes later must show by itself (RFC 9112 §8).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from keepserve.http1.lifetime import DONE, ENDED, OFFERED, TUNNEL, Lifetime
from keepserve.http1.response import DefaultFields, render_interim, render_switch, render_text
from keepserve.http1.writer import NONE, PENDING
from keepserve.telemetry.reasons import CloseReason
from keepserve.wire.engine import Ending, Event, Limits, Rejected, ResponseError

STREAM = 1
"""HTTP/1.1 has one exchange at a time."""

_NOTHING: tuple[Event, ...] = ()


class Outgoing(Lifetime):
    """The sending half of a connection; the arguments are ``Http1Engine``'s."""

    __slots__ = ("_defaults", "_output_held")

    def __init__(
        self, limits: Limits, defaults: DefaultFields, now: float, *, max_requests: int = 0, max_age: float = 0.0
    ) -> None:
        super().__init__(limits, defaults, now, max_requests=max_requests, max_age=max_age)
        self._defaults = defaults
        self._output_held = False

    # For the exchange.

    def respond(
        self, stream: int, status: int, fields: Iterable[tuple[bytes, bytes]], body: bytes, complete: bool
    ) -> None:
        """Send a response's head and the first part of its body. Raises ``ResponseError``."""
        reason = self._announce
        if reason is None and self._upload is not None and self._upload.left_unread(complete):
            reason = CloseReason.UNREAD_BODY
        elif reason is None and self._request == OFFERED and self.backlog:
            reason = CloseReason.UNREAD_BODY  # it was meant for a WebSocket, and must not be taken for a request
        self.close_reason = self._writer.start(status, fields, body, complete, reason)
        if complete:
            self._response_done()

    def send_body(self, stream: int, data: bytes, complete: bool) -> None:
        """Send more of a response's body. Raises ``ResponseError``."""
        try:
            self._writer.send(data, complete)
        except ResponseError:
            self._misframed()
            raise
        if complete:
            self._response_done()

    def send_trailers(self, stream: int, fields: Iterable[tuple[bytes, bytes]]) -> None:
        """End a response with trailer fields. Raises ``ResponseError``."""
        try:
            self._writer.trailers(fields)
        except ResponseError:
            self._misframed()
            raise
        self._response_done()

    def inform(self, stream: int, status: int, fields: Iterable[tuple[bytes, bytes]]) -> None:
        """Send an interim response: 100 Continue, 103 Early Hints; HTTP/1.0 knows none (RFC 9110 §15.2)."""
        if self._writer.state == PENDING and self._writer.http11:
            self.out.append(render_interim(status, fields))

    def go_on(self, stream: int, now: float) -> None:
        """The application reads the body; ask for one the client holds back (``Expect: 100-continue``)."""
        upload = self._upload
        if upload is not None:
            upload.wanted = True
            if upload.expecting:
                self.inform(STREAM, 100, ())
                upload.go_on(now)

    def switch(self, stream: int, fields: Iterable[tuple[bytes, bytes]]) -> None:
        """Grant a WebSocket: from here on the connection carries its bytes. Raises ``ResponseError``."""
        self._writer.switch(render_switch(fields, self._defaults))
        self._request = TUNNEL

    def hang_up(self, stream: int, reason: CloseReason, whole: bool) -> None:
        """End the connection with its WebSocket; ``whole``: the peer has said its last word (RFC 6455 §7.1.1)."""
        if self._request == TUNNEL:
            self._end(reason, Ending.CLOSE if whole else Ending.LINGER)

    def blocked(self, stream: int) -> bool:
        """Whether the client has yet to take what was sent."""
        return self._output_held

    def hold_output(self, held: bool) -> None:
        """The client does not (``True``) or does again take what is sent."""
        self._output_held = held

    def abandon(self, stream: int, reason: CloseReason) -> None:
        """The response under way will not be finished; the peer must be able to tell (RFC 9112 §8)."""
        if self._request == ENDED:
            return  # for a reason found before: what is sent already tells
        self._end(reason, Ending.LINGER if self._writer.cut_shows else Ending.RESET)

    # Within.

    def _misframed(self) -> None:
        """The application's body is not what its head promised; the head is gone, so only the close can tell."""
        self._end(self.close_reason or CloseReason.APP_FRAMING, Ending.LINGER)

    def _response_done(self) -> None:
        if self.close_reason is None:
            upload = self._upload
            if upload is None:
                self._cycle()
                return
            if upload.discardable:
                upload.unwanted = True
                return
            self.close_reason = CloseReason.UNREAD_BODY
        # A client that asked for the close and has nothing more to send needs no waiting for.
        plain = self.close_reason is CloseReason.CLIENT_ASKED and self._request == DONE and not self.backlog
        self._end(self.close_reason, Ending.CLOSE if plain else Ending.LINGER)

    def _refuse(self, status: int, detail: str, line: bytes, extra: bytes = b"") -> Sequence[Event]:
        """Answer a faulty request by ourselves, and close: what follows it cannot be trusted."""
        state = self._writer.state
        if self._upload is not None and self._upload.unwanted:
            # Its response has been sent; the fault is in a body nobody wanted.
            self._end(CloseReason.BAD_REQUEST, Ending.LINGER)
            return _NOTHING
        started = state not in (NONE, PENDING)
        method, _, target = line[:256].partition(b" ")
        rejected = Rejected(
            STREAM, 0 if started else status, detail, method or b"-", target.partition(b" ")[0] or b"-"
        )
        reason = CloseReason.BAD_REQUEST
        if started:
            self.abandon(STREAM, reason)
        else:
            body = not (state == PENDING and self._writer.head_only)
            self.out.append(render_text(status, detail, self._defaults, close=True, body=body, extra=extra))
            self._end(reason, Ending.LINGER)
        return (rejected,)
