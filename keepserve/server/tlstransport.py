"""Between the event loop's plain transport and a connection: TLS, spoken by `keepserve.server.tlslayer`.

The loops bring TLS transports of their own. They keep 256 KiB of buffers for each connection, cannot half-close, do
not say which connections have not sent a byte, have timers for each, and take more than half of the time a request
needs.
"""

from __future__ import annotations

import asyncio
import enum
import logging
import ssl
from collections.abc import Iterable
from typing import Any, cast

from keepserve.server.connection import WRITE_HIGH_WATER, Connection
from keepserve.server.phases import Phase
from keepserve.server.sockets import end_sending, unread_bytes
from keepserve.server.state import WorkerState
from keepserve.server.tlslayer import TlsSession
from keepserve.telemetry.counters import ACCEPTED_TLS, RESUMED_TLS, TLS_SECONDS
from keepserve.telemetry.reasons import CloseReason
from keepserve.wire.engine import NEVER

logger = logging.getLogger("keepserve")


class _Stage(enum.IntEnum):
    SHAKING = 0
    OPEN = 1
    CLOSING = 2
    """We have said goodbye and wait, not long, for the peer to close: what it still sends would reset a closed
    connection, and the reset could destroy our last words before it has read them."""
    OVER = 3


class TlsTransport(asyncio.Protocol, asyncio.Transport):
    """The protocol of a plain transport and, once the handshake is done, the transport of ``connection``.

    Until then ``state.pending`` has it. Its deadlines are on the worker's wheel.
    """

    __slots__ = (
        "_connection",
        "_context",
        "_deadline",
        "_ended",
        "_held",
        "_made",
        "_on_wheel",
        "_raw",
        "_reason",
        "_said",
        "_session",
        "_slicing",
        "_stage",
        "_state",
        "slot",
    )

    def __init__(self, state: WorkerState, connection: Connection, context: ssl.SSLContext) -> None:
        # Without a dictionary of extra information: there is none of our own.
        self.slot = -1
        self._state = state
        self._connection: Connection | None = connection
        self._context = context
        self._stage = _Stage.SHAKING
        self._reason: CloseReason | None = None
        self._deadline = NEVER
        """While it closes: when the peer has had its time."""
        self._made = False
        """The handshake is done: ``connection`` has us for its transport."""
        self._ended = False
        """The connection knows that the peer sends no more."""
        self._said = False
        """We have said the last that TLS has to say: close_notify, or an alert."""
        self._held = False
        """The connection wants nothing to read."""
        self._slicing = False
        """The socket is not read because there is a backlog."""
        self._on_wheel = False

    # From the plain transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is there: the client begins with the handshake."""
        self._raw = cast(asyncio.Transport, transport)
        state, connection = self._state, self._connection
        assert connection is not None
        self._session = TlsSession(self._context, state.clock(), state.settings.tls_handshake_timeout)
        state.pending[connection] = self
        self._on_wheel = True
        state.wheel.add(self)
        if state.phase >= Phase.CLOSING:
            self.drain(state.clock())

    def data_received(self, data: bytes) -> None:
        """Bytes came: decrypt them, and hand on what they say in one piece."""
        if self._stage == _Stage.OPEN:
            session = self._session
            plain = session.receive(data)
            if plain and session.failure is None:
                assert self._connection is not None
                self._connection.data_received(plain)
                if session.ended or session.backlog:
                    self._attend()
            else:
                self._attend()
        elif self._stage == _Stage.SHAKING:
            self._shake(data)

    def eof_received(self) -> bool:
        """A FIN. That of a client that has not said goodbye before means the same: requests tell their own end."""
        if self._stage == _Stage.OPEN:
            self._session.ended = True
            self._attend()
            return True  # we close when it is time
        if self._reason is None:
            self._reason = CloseReason.PEER_CLOSED if self._session.silent else CloseReason.PEER_LEFT
        return False

    def pause_writing(self) -> None:
        """The client reads more slowly than we write."""
        if self._made and self._connection is not None:
            self._connection.pause_writing()

    def resume_writing(self) -> None:
        """It has caught up."""
        if self._made and self._connection is not None:
            self._connection.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """The plain transport is gone."""
        self._stage = _Stage.OVER
        self._leave_wheel()
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if self._made:
            connection.connection_lost(self._session.failure or exc)
            return
        reason = self._reason
        if reason is None:
            reason = CloseReason.PEER_RESET if exc is not None else CloseReason.TLS_FAILED
        self._state.connection_failed(connection, reason)

    # The handshake.

    def _shake(self, data: bytes) -> None:
        session, connection = self._session, self._connection
        assert connection is not None
        state = self._state
        began = session.deadline - state.settings.tls_handshake_timeout
        session.shake(data)
        if said := session.take():
            self._raw.write(said)
        if session.failure is not None:
            logger.debug("A TLS handshake failed: %s", session.failure)
            self._reason = CloseReason.TLS_FAILED
            self._said = True
            self._part()
        elif session.ready:
            self._leave_wheel()
            self._stage = _Stage.OPEN
            self._made = True
            counters = state.counters
            counters.words[ACCEPTED_TLS] += 1
            counters.words[RESUMED_TLS] += bool(session.tls.session_reused)
            counters.seconds[TLS_SECONDS] += state.clock() - began
            connection.connection_made(self)
            self.data_received(b"")  # a request may have come with the last of the handshake

    def drain(self, now: float) -> None:
        """The worker is ending: a client that has not begun to speak goes no later than one that is idle."""
        if self._stage == _Stage.SHAKING:
            self._session.quiet_until(self._state.silent_until(now))
            self._state.wheel.touched.append(self)

    def cancel(self) -> None:
        """Give up the handshake."""
        if self._reason is None:
            self._reason = CloseReason.DRAINING
        self.abort()

    # What came beside plaintext.

    def _attend(self) -> None:
        """Answer what TLS itself asks, see the end, go on with what is left in slices."""
        if self._stage != _Stage.OPEN:
            return
        session, raw = self._session, self._raw
        if not self._said and (said := session.take()):
            raw.write(said)
            if raw.get_write_buffer_size() > WRITE_HIGH_WATER and session.failure is None:
                session.failure = ssl.SSLError("the client has TLS answered, and does not read the answers")
                self.abort()
        if session.failure is not None:
            logger.debug("TLS failed: %s", session.failure)
            self._said = True
            self._part()
            return
        if session.backlog:
            if not self._slicing:
                self._slicing = True
                if not self._held:
                    raw.pause_reading()
            if not self._held:
                self._state.loop.call_soon(self._proceed)
        elif self._slicing:
            self._slicing = False
            if not self._held:
                raw.resume_reading()
        if session.ended and not self._ended:
            self._ended = True
            assert self._connection is not None
            if not self._connection.eof_received():
                self.close()

    def _proceed(self) -> None:
        """Decrypt more of what came at once, unless the connection has enough for now."""
        if self._slicing and not self._held:
            self.data_received(b"")
            if self._slicing and not self._session.backlog:
                self._attend()

    # For the connection: a transport.

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send something; it is encrypted at once, and the plain transport keeps what the kernel does not take."""
        if self._stage == _Stage.OPEN and not self._said:
            self._raw.write(self._session.send(data))

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """Send several buffers, in as few records as possible."""
        self.write(b"".join(list_of_data))

    def can_write_eof(self) -> bool:
        """With TLS, too (RFC 8446 §6.1): who has heard our goodbye may still speak."""
        return True

    def write_eof(self) -> None:
        """Say close_notify and send a FIN, and go on reading."""
        if self._stage == _Stage.OPEN and not self._said and not self._raw.is_closing():
            self._say_goodbye()
            end_sending(self._raw)

    def close(self) -> None:
        """Say goodbye and close as soon as the peer has, or after ``tls_shutdown_timeout``."""
        if self._stage == _Stage.SHAKING:
            self.abort()
        elif self._stage == _Stage.OPEN:
            if self._said or self._session.ended or self._raw.is_closing():
                if not self._said:
                    self._say_goodbye()
                self._stage = _Stage.CLOSING
                self._raw.close()
            else:
                self._say_goodbye()
                self._part()

    def abort(self) -> None:
        """Drop the connection at once."""
        if self._stage != _Stage.OVER:
            self._stage = _Stage.CLOSING
            self._raw.abort()

    def is_closing(self) -> bool:
        """Whether it ends."""
        return self._stage >= _Stage.CLOSING or self._raw.is_closing()

    def pause_reading(self) -> None:
        """Hand on nothing until `resume_reading`."""
        self._held = True
        if not self._slicing:
            self._raw.pause_reading()

    def resume_reading(self) -> None:
        """Go on handing on what comes."""
        self._held = False
        if self._slicing:
            self._state.loop.call_soon(self._proceed)
        else:
            self._raw.resume_reading()

    def get_write_buffer_size(self) -> int:
        """Bytes, encrypted ones, that the kernel has not taken."""
        return self._raw.get_write_buffer_size()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set when ``pause_writing`` and ``resume_writing`` are called."""
        self._raw.set_write_buffer_limits(high=high, low=low)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What the plain transport knows, ``ssl_object``, and ``unread``: bytes that came and are not decrypted."""
        if name == "ssl_object":
            return self._session.tls
        if name == "unread":
            return len(self._session.backlog)
        return self._raw.get_extra_info(name, default)

    def _say_goodbye(self) -> None:
        self._said = True
        if said := self._session.goodbye():
            self._raw.write(said)

    def _part(self) -> None:
        """All is said: end our direction, and drop what still comes until the peer closes."""
        if self._stage >= _Stage.CLOSING:
            return
        self._stage = _Stage.CLOSING
        raw = self._raw
        if raw.is_closing():
            return
        end_sending(raw)
        if self._held or self._slicing:
            raw.resume_reading()
        self._deadline = self._state.clock() + self._state.settings.tls_shutdown_timeout
        if self._on_wheel:
            self._state.wheel.touched.append(self)
        else:
            self._on_wheel = True
            self._state.wheel.add(self)

    # For the wheel.

    def settle(self, now: float) -> float:
        """Return when this has lasted too long."""
        if self._stage == _Stage.SHAKING:
            return self._session.deadline
        return self._deadline if self._stage == _Stage.CLOSING else NEVER

    def expire(self, now: float) -> float:
        """End a handshake, or a goodbye, that has lasted too long."""
        deadline = self.settle(now)
        if now < deadline:
            return deadline
        if self._stage == _Stage.SHAKING:
            if self._session.silent:
                if unread_bytes(self._raw) > 0:
                    return now  # it has spoken at last
                if self._state.phase >= Phase.CLOSING:
                    self._reason = CloseReason.DRAINING
            if self._reason is None:
                self._reason = CloseReason.TLS_TIMEOUT
        elif self._made and self._raw.get_write_buffer_size() > 0:
            # The goodbye has not left yet: the connection watches whether the peer reads at all.
            self._deadline = now + self._state.settings.tls_shutdown_timeout
            return self._deadline
        self.abort()
        return NEVER

    def _leave_wheel(self) -> None:
        if self._on_wheel:
            self._on_wheel = False
            self._state.wheel.forget(self)
