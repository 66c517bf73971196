"""The connection: the one asyncio protocol, between a transport, an engine and the exchanges.

It moves bytes and wakes people up; every decision about HTTP is the engine's, every decision about
ASGI the exchange's.

It is built in storeys, each with a subject of its own. From the ground:

- ``keepserve.server.hosting``: applications, with ``sockethosting`` for WebSockets and ``logged`` for the access log;
- ``keepserve.server.counted``: what it adds to the counters;
- ``keepserve.server.parting``: how it ends;
- ``keepserve.server.watched``: what the worker's wheel asks, the deadlines;
- and here: bytes from the transport to the engine, and from the engine to the transport.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from keepserve.asgi.exchange import DONE, HEAD_HELD, Exchange
from keepserve.server.running import BEGINS_AT_ONCE
from keepserve.server.sockets import address_of, host_to_trust
from keepserve.server.state import WorkerState
from keepserve.server.watched import Watched
from keepserve.telemetry.reasons import CloseReason
from keepserve.wire.engine import BODY_HIGH_WATER, Ending, Event, Request, SpeaksHttp2, WebSocketRequest

if TYPE_CHECKING:
    from keepserve.asgi.websocket import WebSocket

logger = logging.getLogger("keepserve")

WRITE_HIGH_WATER = 64 * 1024
WRITE_LOW_WATER = 16 * 1024
"""Bytes waiting in the transport at which ``send()`` waits, and goes on. uvloop's own low mark is 16 bytes."""

GATHER_FROM = 16 * 1024
"""Above so many bytes several buffers are written as they are; below, joining them is cheaper."""

GATHER_UP_TO = 32 * 1024
"""Bytes of small pieces of a body that may wait for the end of the loop's turn. Twice as many gave a twelfth more,
and would let a slow client keep twice as much here."""


class Connection(Watched, asyncio.Protocol):
    """One client connection. Made by the listener, driven by its transport and by the worker's wheel."""

    __slots__ = ("_flush_due", "_gathered", "_receiving", "write_paused")

    def __init__(self, state: WorkerState, tls: bool = False) -> None:
        self.state = state
        self._tls = tls
        self.header = None

    # From the transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A connection was accepted (and, with TLS, its handshake is done)."""
        # A cast and no check: uvloop's transports are not registered as asyncio's.
        self._transport = transport = cast(asyncio.Transport, transport)
        state = self.state
        now = state.clock()
        self.engine = state.new_engine(now, transport.get_extra_info("ssl_object") if self._tls else None)
        self.accepted_at = now
        self.slot = -1
        self.write_paused = False
        self._stall = None
        self._in_kernel = 0
        self._closed = self._half_closed = self._paused = self._receiving = self._sending_over = False
        self._flush_due = False
        self._gathered = 0
        transport.set_write_buffer_limits(high=WRITE_HIGH_WATER, low=WRITE_LOW_WATER)
        client = address_of(transport, "peername")
        host = host_to_trust(transport, client)
        self._begin_hosting(client, address_of(transport, "sockname"), host, self._tls)
        self._begin_counting(transport)
        state.pending.pop(self, None)
        state.connections.add(self)
        if state.overdue.asleep:
            state.overdue.wake()
        if state.phase:
            state.part(self.engine, now)
        self._touched = True
        state.wheel.add(self)
        if self.engine.out:
            self._after()  # a server's HTTP/2 settings need not wait for the client's

    def data_received(self, data: bytes) -> None:
        """Bytes came: let the engine read them, start what is to be started, send what came out, once."""
        state = self.state
        now = state.clock()
        state.received += len(data)
        self._receiving = True
        self._serve(self.engine.receive(data, now), now)

    def eof_received(self) -> bool:
        """The peer sends no more. A request it has finished is still answered in full."""
        now = self.state.clock()
        for event in self.engine.receive_eof(now):
            self._handle(event)
        self._after()
        if self.engine.ending == Ending.OPEN:
            # The loop reads no further, so that only a write or the check in settle() shows a dead peer.
            self._half_closed = True
            return True
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone: everything that waits for it must be woken, every timer with it dropped."""
        self._closed = True
        engine = self.engine
        reason = engine.close_reason
        if reason is None:
            if exc is not None:
                reason = CloseReason.TLS_FAILED if isinstance(exc, ssl.SSLError) else CloseReason.PEER_RESET
            else:
                reason = CloseReason.PEER_CLOSED if engine.idle else CloseReason.PEER_LEFT
            engine.close_reason = reason  # for the lines of requests that were under way
        self._end_hosting()
        self._end_counting()
        self.write_paused = False
        self.state.wheel.forget(self)
        self.state.connection_closed(self, reason)
        logger.debug("Connection from %s closed: %s", self._client, reason.value)

    def pause_writing(self) -> None:
        """The client reads more slowly than the application writes."""
        self.write_paused = True
        self.engine.hold_output(True)

    def resume_writing(self) -> None:
        """The client has caught up."""
        self.write_paused = False
        engine = self.engine
        engine.hold_output(False)
        if engine.multiplexed:
            self.flush()
            if engine.backlog and not self._receiving:
                self._go_on()
            return
        if self._write_waiters:
            self._wake_writers(list(self._write_waiters))
        if not self._exchanges and not self._receiving:
            self._go_on()

    # For the exchange.

    def flush(self) -> None:
        """Send what the engine has put out.

        While bytes are being received that is left to the end of it, and where several exchanges share the
        connection, to the end of the loop's turn: one write for all of them.
        """
        if self._receiving or self._flush_due:
            return
        if self.engine.multiplexed:
            self._flush_soon()
        else:
            self._after()

    def flush_piece(self, size: int) -> None:
        """Send a piece of a response's body that the engine has put out.

        What an application sends without waiting in between leaves together when the loop has turned: a system call
        costs more than everything else that is done for a piece of a kilobyte. A large piece leaves at once, and so
        do many that have become large together, since only the transport can say that the client is slow.
        """
        if self.engine.multiplexed:
            self.flush()
            return
        self._gathered += size
        if size < GATHER_FROM and self._gathered + size <= GATHER_UP_TO:  # the next one is mostly as long
            if not self._flush_due:
                self._flush_soon()
            return
        self._gathered = 0
        self._after()

    def _flush_soon(self) -> None:
        self._flush_due = True
        self.state.loop.call_soon(self._flush_now)

    def _flush_now(self) -> None:
        self._flush_due = False
        self._gathered = 0
        if self.engine.out or self.engine.multiplexed:  # else the end of the response has taken all of it along
            self._after()

    def body_taken(self, stream: int, amount: int) -> None:
        """The application has taken the request body that was buffered: there is room for more."""
        engine = self.engine
        if engine.multiplexed:
            engine.taken(stream, amount, self.state.clock())
            if engine.out:
                self.flush()
        elif self._paused:
            self._regulate()

    def head_held(self, exchange: Exchange) -> None:
        """See that a held head does not wait for a body that is long in coming (server-sent events)."""
        if not self._receiving:  # else it began within ``_serve_streams``, which looks when it has paused
            self.state.flush_later(exchange)

    def responded(self, exchange: Exchange) -> None:
        """The response is complete: log it, and go on with what the client sent meanwhile."""
        state = self.state
        request = exchange.request
        self._exchanges.pop(request.stream, None)
        was_socket = self._sockets and self._sockets.pop(request.stream, None)
        status = exchange.status
        if status:  # a health check's answer has none: it is neither counted nor logged
            now = state.clock()
            if not was_socket:
                state.count_answered(request.method, status, now - exchange.started)
            access = state.access
            if access is not None:
                access.log(self, exchange, status, now)
        if self._receiving:
            return
        engine = self.engine
        if engine.multiplexed:
            self.flush()
        elif engine.backlog or self._half_closed:
            self._go_on()
        else:
            self._after()

    def accepted(self, socket: WebSocket) -> None:
        """The application has accepted a WebSocket; what has come for it by now can be read."""
        super().accepted(socket)
        self._touch()
        if not self.engine.multiplexed and (self.engine.backlog or self._half_closed):
            self.state.loop.call_soon(self._go_on)

    # Within.

    def _serve(self, events: Sequence[Event], now: float) -> None:
        """Handle events and what is pipelined behind them, then send what came out, once."""
        if self.engine.multiplexed:
            self._serve_streams(events, now)
            return
        while events:
            for event in events:
                if type(event) is Request:
                    self._start(self._open(event, now))
                elif type(event) is WebSocketRequest:
                    self._start(self._open_socket(event, now))
                elif type(event) is SpeaksHttp2:
                    self._change_to_http2(event.data, now)
                    return
                else:
                    self._handle(event)
            events = self._pipelined(now) if self.engine.backlog or self._half_closed else ()
        self._receiving = False
        self._after()

    def _serve_streams(self, events: Sequence[Event], now: float) -> None:
        """Handle events of an engine whose exchanges run side by side.

        Applications begin when all events are handled: what a client gave up in the same breath is not begun.
        """
        opened = []
        exchanges = self._exchanges
        for event in events:
            if type(event) is Request:
                exchange = exchanges[event.stream] = Exchange(self, event, now)
                opened.append(exchange)
            elif type(event) is WebSocketRequest:
                opened.append(self._open_socket(event, now))
                self.state.requests -= 1  # counted below
            else:
                self._handle(event)
        self.state.requests += len(opened)
        for exchange in opened:
            if exchange.phase != DONE:
                self._start_in_turn(exchange)
                if exchange.phase == HEAD_HELD:
                    self.state.flush_later(exchange)  # it has begun, and waits for what it will send
        self._receiving = False
        if self.engine.backlog:
            self._regulate()
            self.state.loop.call_soon(self._go_on)  # behind the applications just begun, and other connections
        if opened and not BEGINS_AT_ONCE:
            self.flush()  # behind the applications just begun, so that one write takes all that they send at once
        else:
            self._after()

    def _change_to_http2(self, data: bytes, now: float) -> None:
        """The client has begun with the preface of HTTP/2: another engine takes over, from the first byte on."""
        state = self.state
        self.engine = state.new_http2_engine(now)
        self._count_change_to_http2()
        if state.phase:
            state.part(self.engine, now)
        self._serve_streams(self.engine.receive(data, now), now)

    def _go_on(self) -> None:
        """Serve what waited: for a response to be complete, or for its turn."""
        if self._closed or (self.write_paused and self.engine.multiplexed):
            return  # a client that does not read its answers is not given more of them
        now = self.state.clock()
        self._receiving = True
        if self.engine.multiplexed:
            self._serve_streams(self.engine.proceed(now), now)
            self._regulate()
        else:
            self._serve(self._pipelined(now), now)

    def _pipelined(self, now: float) -> Sequence[Event]:
        """Return what comes next in the backlog, but nothing while the client does not read its answers."""
        if sum(map(len, self.engine.out)) > GATHER_FROM:
            self._after()
        return () if self.write_paused else self.engine.proceed(now)

    def _after(self) -> None:
        """Send what came out of the engine, end the connection if it is to end, keep reading in step."""
        engine = self.engine
        if self._closed:
            engine.out.clear()
            return
        if engine.pending and not self.write_paused:
            self._pump()
        out = engine.out
        if out:
            transport = self._transport
            if len(out) == 1:
                data = out[0]
                self._written += len(data)
                transport.write(data)
            else:
                size = sum(map(len, out))
                self._written += size
                if size >= GATHER_FROM and self.state.gathers_writes:
                    transport.writelines(out)
                else:
                    transport.write(b"".join(out))
            out.clear()
        if not self._touched:
            self._touched = True
            self.state.wheel.touched.append(self)
        if engine.ending:
            self._wind_up()
        elif engine.backlog or self._paused or self.write_paused:
            self._regulate()

    def _pump(self) -> None:
        """Put out what the client has made room for, some of it now and the rest in the turns to come."""
        engine = self.engine
        engine.pump(self.state.clock())
        if engine.pending:
            self.flush()
        relieved = engine.relieved
        if relieved:
            self._wake_writers(relieved)
            relieved.clear()

    def _tls_object(self) -> ssl.SSLObject | None:
        tls = self._transport.get_extra_info("ssl_object") if self._tls else None
        return tls if isinstance(tls, ssl.SSLObject) else None

    def _regulate(self) -> None:
        """Read from the socket only while there is room for what would come, and for the answer to it."""
        if self._closed or self._half_closed or self._sending_over:
            return
        engine = self.engine
        if engine.multiplexed:
            full = self.write_paused or engine.backlog != b""  # bodies are held back by their windows
        else:
            exchange = self._exchanges.get(1)
            full = len(engine.backlog) > BODY_HIGH_WATER or (
                self.write_paused if exchange is None else exchange.overfull
            )
        if full != self._paused:
            self._paused = full
            engine.hold(full, self.state.clock())
            if full:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()
            self._touch()
