"""One WebSocket after its handshake: frames in, messages out, the closing handshake, pings (RFC 6455 §5-§7).

A pure state machine like the engines: bytes and the present time go in, messages and bytes come out. Frames are
read and written by the ``websockets`` package (``Frame``, ``Close``, permessage-deflate); messages, limits, clocks
and the rules of closing are here.

It reads no further than it may: with ``limits.queue`` messages waiting, further bytes stay as they came. So one
read of tiny frames cannot become thousands of messages.
"""

from __future__ import annotations

import struct
from collections.abc import Generator, Sequence
from enum import IntEnum

from websockets.exceptions import PayloadTooBig, ProtocolError
from websockets.extensions import Extension
from websockets.frames import Close, Frame, Opcode

try:
    from websockets.speedups import apply_mask
except ImportError:  # on systems it is not compiled for
    from websockets.utils import apply_mask

from keepserve.telemetry.reasons import CloseReason
from keepserve.websocket.limits import SocketLimits
from keepserve.wire.engine import NEVER, ResponseError

CONTROL_WINDOW = 10.0
"""Seconds over which control frames are counted."""

CONTROL_MAX = 125
"""Bytes of a control frame (RFC 6455 §5.5)."""

REASON_MAX = 123
"""Bytes of a close frame's reason: 125 for a control frame, less the code (RFC 6455 §5.5)."""

PONG_LATER = 0.5
"""Seconds until a ping is answered that could not be at once."""

PING_DATA = b"alive?"

PROTOCOL_ERROR, INVALID_DATA, POLICY, TOO_BIG, INTERNAL = 1002, 1007, 1008, 1009, 1011
ABNORMAL = 1006
"""What an application is told when there was no close frame (RFC 6455 §7.4.1)."""

CONTINUATION, TEXT, BINARY = Opcode.CONT, Opcode.TEXT, Opcode.BINARY
CLOSE, PING, PONG = Opcode.CLOSE, Opcode.PING, Opcode.PONG


_PLAIN = b"\x81\x82"
"""How a text or binary message begins that is whole, and has no use for an extension."""
_SHORT, _MEDIUM, _LONG = struct.Struct("!BB"), struct.Struct("!BBH"), struct.Struct("!BBQ")


class State(IntEnum):
    """How far a WebSocket has come."""

    OPEN = 0
    CLOSING = 1
    """We have sent a close frame, and wait for the peer's."""
    CLOSED = 2
    """Nothing more goes either way; what was received before may still be taken."""


class Session:
    """The server's side of one WebSocket; ``extensions`` are those agreed on.

    ``code`` and ``text`` tell the application how it ended, once it has (``None`` before): the code and reason of
    whoever closed first. ``reason`` is the same for the log. Bytes for the peer are put into ``out``.
    """

    __slots__ = (
        "_asked_at",
        "_buffer",
        "_close_by",
        "_control_frames",
        "_control_since",
        "_extensions",
        "_fragments",
        "_in_control",
        "_kind",
        "_limits",
        "_message",
        "_next_ping",
        "_parser",
        "_pong",
        "_pong_by",
        "_queue",
        "_queued",
        "closed_by_both",
        "closed_by_us",
        "code",
        "held",
        "out",
        "reason",
        "state",
        "text",
    )

    def __init__(self, limits: SocketLimits, now: float, extensions: Sequence[Extension] = ()) -> None:
        self.out: list[bytes] = []
        self.state = State.OPEN
        self.code: int | None = None
        self.text = ""
        self.reason: CloseReason | None = None
        self.closed_by_us = self.closed_by_both = False
        """Whose close frames there were: ours was first; the peer's came, so that nothing follows."""
        self.held = False
        """The peer does not take what is sent: nothing is added that can wait or be left out."""
        self._limits = limits
        self._extensions = extensions
        self._buffer = bytearray()
        self._parser: Generator[None, None, Frame] | None = None
        """The frame that has begun to come."""
        self._message: bytearray | None = None
        """The message that has begun to come in fragments, of the kind ``_kind``."""
        self._kind = BINARY
        self._fragments = 0
        self._in_control = False
        self._queue: list[str | bytes] = []
        self._queued = 0
        self._pong: bytes | None = None
        """The last ping that could not be answered yet (RFC 6455 §5.5.3: the last is enough)."""
        self._pong_by = NEVER
        self._control_frames = 0
        self._control_since = now
        self._next_ping = now + limits.ping_interval if limits.ping_interval > 0 else NEVER
        self._asked_at = NEVER
        """When the first ping was sent since the peer was last heard."""
        self._close_by = NEVER

    # In.

    def receive(self, data: bytes, now: float) -> None:
        """Take bytes from the peer: messages are queued, pings and the close frame answered."""
        if self.state == State.CLOSED:
            return
        self._asked_at = NEVER  # whatever it is, the peer lives
        if not self._buffer and self._parser is None and self._take_plain(data):
            return
        self._buffer += data
        self._read(now)

    def _take_plain(self, data: bytes) -> bool:
        """Take one whole, plain message, if that is what the bytes are: most reads, at a third of the usual cost.

        Whatever is special about them, a fault most of all, is for ``_read`` and the library to see.
        """
        size = len(data)
        if size < 6 or data[0] not in _PLAIN or self._message is not None or self.full:
            return False
        length, start = data[1] - 0x80, 2  # less than nothing: it is not masked
        if length == 126 and size >= 8:
            length, start = data[2] << 8 | data[3], 4
        elif length >= 126:
            return False  # a length of 64 bits, or not all of it here
        if size != start + 4 + length or length > self._limits.max_message:
            return False
        payload = apply_mask(data[start + 4 :], data[start : start + 4])
        try:
            self._deliver(TEXT if data[0] == 0x81 else BINARY, payload)
        except UnicodeDecodeError:
            return False
        return True

    def receive_eof(self) -> None:
        """The peer sends no more. Without a close frame before it, that is code 1006."""
        if self.state != State.CLOSED:
            self._ended(ABNORMAL, "", CloseReason.PEER_LEFT)

    @property
    def full(self) -> bool:
        """So much waits for the application that no more should be read."""
        # Once we have closed, messages are dropped, and it is the peer's close frame that is waited for.
        return self.state == State.OPEN and (
            len(self._queue) >= self._limits.queue or self._queued > self._limits.max_message
        )

    @property
    def waiting(self) -> int:
        """Messages for the application."""
        return len(self._queue)

    def take(self, now: float) -> str | bytes:
        """Return the next message, and read on if there is room for another now. There must be one ``waiting``."""
        message = self._queue.pop(0)
        self._queued -= len(message)
        if self._buffer and self.state != State.CLOSED:
            self._read(now)
        return message

    def _read(self, now: float) -> None:
        """Read frames while there is room for what they carry."""
        buffer, limits = self._buffer, self._limits
        try:
            while True:
                parser = self._parser
                if parser is None:
                    if not buffer or self.full:
                        return
                    room = limits.max_message
                    self._in_control = buffer[0] & 0x08 != 0
                    if self._in_control:
                        room = CONTROL_MAX  # it counts for itself, also between fragments
                    elif self._message is not None:
                        room -= len(self._message)
                    if self._extensions and not self._in_control:
                        # What deflate cannot make smaller it makes a little larger, and this bounds both forms.
                        room += room // 256 + 64
                    parser = self._parser = Frame.parse(
                        self._exactly, mask=True, max_size=room, extensions=self._extensions
                    )
                try:
                    next(parser)
                except StopIteration as done:
                    self._parser = None
                    self._take_frame(done.value, now)
                else:
                    return  # the rest of it is still to come
        except ProtocolError as fault:
            self.fail(PROTOCOL_ERROR, str(fault), CloseReason.PROTOCOL_ERROR)
        except PayloadTooBig:
            if self._in_control:
                self.fail(PROTOCOL_ERROR, "control frame too long", CloseReason.PROTOCOL_ERROR)
            else:
                self._too_big(f"message larger than {limits.max_message} bytes")
        except UnicodeDecodeError as fault:
            self.fail(INVALID_DATA, f"{fault.reason} at position {fault.start}", CloseReason.PROTOCOL_ERROR)

    def _exactly(self, size: int) -> Generator[None, None, bytearray]:
        """Take so many bytes from what came, once they have: what ``Frame.parse`` reads with."""
        buffer = self._buffer
        while len(buffer) < size:
            yield
        data = buffer[:size]
        del buffer[:size]
        return data

    def _take_frame(self, frame: Frame, now: float) -> None:
        opcode = frame.opcode
        if self._extensions and not self._in_control and self._exceeds(len(frame.data)):
            self._too_big(f"message larger than {self._limits.max_message} bytes")
        elif opcode is TEXT or opcode is BINARY:
            if self._message is not None:
                raise ProtocolError("expected a continuation frame")
            if frame.fin:
                self._deliver(opcode, frame.data)
            else:
                self._message, self._kind, self._fragments = bytearray(frame.data), opcode, 1
        elif opcode is CONTINUATION:
            self._continue(frame)
        else:
            self._count_control(now)
            if opcode is PING:
                self._answer_ping(bytes(frame.data), now)
            elif opcode is CLOSE and self.state != State.CLOSED:
                self._take_close(frame)

    def _exceeds(self, size: int) -> bool:
        return size + len(self._message or b"") > self._limits.max_message

    def _continue(self, frame: Frame) -> None:
        message = self._message
        if message is None:
            raise ProtocolError("unexpected continuation frame")
        message += frame.data
        self._fragments += 1
        if self._fragments > self._limits.fragments:
            self._too_big(f"message of more than {self._limits.fragments} fragments")
        elif frame.fin:
            self._message = None
            self._deliver(self._kind, message)

    def _deliver(self, kind: Opcode, data: bytes | bytearray | memoryview) -> None:
        if self.state != State.OPEN:
            return
        message = bytes(data).decode() if kind is TEXT else bytes(data)
        self._queue.append(message)
        self._queued += len(message)

    def _take_close(self, frame: Frame) -> None:
        data = bytes(frame.data)
        close = Close.parse(data)
        if self.state == State.OPEN:
            self._put(CLOSE, data)  # the same again (§5.5.1)
            self.code, self.text, self.reason = int(close.code), close.reason, CloseReason.WEBSOCKET_CLOSED
        self.closed_by_both = True
        self._finish()

    # Out.

    def send(self, message: str | bytes) -> None:
        """Send a message, while the state is OPEN."""
        if type(message) is str:
            self._put(TEXT, message.encode())
        else:
            self._put(BINARY, message)  # type: ignore[arg-type]  # what is no text is bytes

    def close(self, code: int, text: str, reason: CloseReason, now: float) -> None:
        """Begin the closing handshake, if nobody has; what still comes from the peer is dropped.

        Raises:
            ResponseError: the code may not be sent (RFC 6455 §7.4), or the reason ``text`` is too long.
        """
        if self.state != State.OPEN:
            return
        if len(text.encode()) > REASON_MAX:
            raise ResponseError(f"The reason of a close must be at most {REASON_MAX} bytes long in UTF-8: {text!r}.")
        try:
            data = Close(code, text).serialize()
        except ProtocolError:
            raise ResponseError(
                f"The code of a close must be 1000 to 1003, 1007 to 1014 or 3000 to 4999, not {code!r}."
            ) from None
        self._put(CLOSE, data)
        self.code, self.text, self.reason = code, text, reason
        self.state = State.CLOSING
        self.closed_by_us = True
        self._close_by = now + self._limits.close_timeout
        self._read(now)  # the peer's may have come, behind messages there was no room for

    def fail(self, code: int, text: str, reason: CloseReason) -> None:
        """Give the WebSocket up for a fault of the peer's: say why, and expect nothing more (RFC 6455 §7.1.7)."""
        if self.state == State.OPEN:
            self._put(CLOSE, Close(code, text[:REASON_MAX]).serialize())
        self._ended(code, text, reason)

    def _too_big(self, text: str) -> None:
        self.fail(TOO_BIG, text, CloseReason.BAD_REQUEST)

    def _ended(self, code: int, text: str, reason: CloseReason) -> None:
        if self.code is None:
            self.code, self.text, self.reason = code, text, reason
        self._finish()

    def _finish(self) -> None:
        self.state = State.CLOSED
        self._buffer.clear()
        self._parser = self._message = None

    def _put(self, opcode: Opcode, data: bytes) -> None:
        if self._extensions:
            self.out.append(Frame(opcode, data).serialize(mask=False, extensions=self._extensions))
            return
        # As the library does it, at a third of its cost: there is no mask, and nothing to look at.
        size = len(data)
        if size < 126:
            head = _SHORT.pack(0x80 | opcode, size)
        elif size < 65536:
            head = _MEDIUM.pack(0x80 | opcode, 126, size)
        else:
            head = _LONG.pack(0x80 | opcode, 127, size)
        self.out.append(head + data)

    # Control frames.

    def _count_control(self, now: float) -> None:
        if now - self._control_since >= CONTROL_WINDOW:
            self._control_since, self._control_frames = now, 0
        self._control_frames += 1
        if self._control_frames > self._limits.control_frames:
            self.fail(POLICY, "too many control frames", CloseReason.FLOOD)

    def _answer_ping(self, data: bytes, now: float) -> None:
        if self.state == State.CLOSED:
            return
        if self.held:
            self._pong, self._pong_by = data, now + PONG_LATER
        else:
            self._put(PONG, data)

    # Time.

    def next_deadline(self) -> float:
        """When ``expire`` wants to be called, or ``NEVER``."""
        if self.state == State.OPEN:
            return min(self._next_ping, self._asked_at + self._limits.ping_timeout, self._pong_by)
        return self._close_by if self.state == State.CLOSING else NEVER

    def expire(self, now: float) -> None:
        """Act on deadlines that have passed, never early."""
        if self.state == State.CLOSING:
            if now >= self._close_by:
                self._finish()
            return
        if self.state == State.CLOSED or now < self.next_deadline():
            return
        if self.held or self.full:
            self._asked_at = NEVER  # who may not speak, or is not done hearing, is not silent
        if self.held:
            # What is under way keeps the connection from being idle, and ``write_timeout`` from being stuck.
            self._next_ping = max(self._next_ping, now + self._limits.ping_interval)
            self._pong_by = max(self._pong_by, now + PONG_LATER)
            return
        if self._pong is not None:
            self._put(PONG, self._pong)
            self._pong, self._pong_by = None, NEVER
        if now >= self._asked_at + self._limits.ping_timeout:
            seconds = self._limits.ping_timeout
            self.fail(INTERNAL, f"no answer to a ping within {seconds:g} s", CloseReason.PING_TIMEOUT)
        elif now >= self._next_ping:
            self._put(PING, PING_DATA)
            self._asked_at = NEVER if self.full else min(self._asked_at, now)
            self._next_ping = now + self._limits.ping_interval
