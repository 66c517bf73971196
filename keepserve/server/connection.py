"""The connection: the one asyncio protocol, between a transport, an engine and the exchanges.

It moves bytes and wakes people up; every decision about HTTP is the engine's, every decision about
ASGI the exchange's.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, cast

from keepserve.asgi.exchange import HEAD_HELD, Exchange
from keepserve.asgi.scope import METHOD_NAMES, connection_scope, request_scope
from keepserve.proxy.forwarded import forwarded_client
from keepserve.server.facts import ConnectionFacts
from keepserve.server.running import run_application
from keepserve.server.sockets import address_of, in_words, peer_is_dead, reset_on_close, unread_bytes
from keepserve.server.state import WorkerState
from keepserve.telemetry.access import AccessLog
from keepserve.telemetry.reasons import CloseReason
from keepserve.wire.clocks import ProgressClock
from keepserve.wire.engine import BODY_HIGH_WATER, NEVER, Body, Ending, Event, Rejected, Request

logger = logging.getLogger("keepserve")

WRITE_HIGH_WATER = 64 * 1024
WRITE_LOW_WATER = 16 * 1024
"""Bytes waiting in the transport at which ``send()`` waits, and goes on. uvloop's own low mark is 16 bytes."""

GATHER_FROM = 16 * 1024
"""Above so many bytes several buffers are written as they are; below, joining them is cheaper."""

CLIENT_LEFT = 499
"""What the access log shows for a client that left before its answer had begun; NGINX's number for it."""

HALF_CLOSED_CHECK = 5.0
"""Seconds between two looks whether a peer that has sent its FIN is still there to read the answer."""


class Connection(asyncio.Protocol):
    """One client connection. Made by the listener, driven by its transport and by the worker's wheel."""

    __slots__ = (
        "_client",
        "_client_text",
        "_closed",
        "_exchange",
        "_half_closed",
        "_in_kernel",
        "_paused",
        "_receiving",
        "_scope",
        "_sending_over",
        "_server",
        "_stall",
        "_tls",
        "_touched",
        "_transport",
        "_trusted",
        "_write_waiter",
        "_written",
        "accepted_at",
        "engine",
        "number",
        "slot",
        "state",
        "write_paused",
    )

    def __init__(self, state: WorkerState, tls: bool = False) -> None:
        self.state = state
        self._tls = tls

    # From the transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A connection was accepted (and, with TLS, its handshake is done)."""
        # A cast and no check: uvloop's transports are not registered as asyncio's.
        self._transport = transport = cast(asyncio.Transport, transport)
        state = self.state
        now = state.clock()
        self.engine = state.new_engine(now)
        self.accepted_at = now
        self.slot = -1
        self.write_paused = False
        self._exchange: Exchange | None = None
        self._scope: dict[str, Any] | None = None
        self._write_waiter: asyncio.Future[None] | None = None
        self._stall: ProgressClock | None = None
        self._written = 0
        self._in_kernel = 0
        self._closed = self._half_closed = self._paused = self._receiving = self._sending_over = False
        transport.set_write_buffer_limits(high=WRITE_HIGH_WATER, low=WRITE_LOW_WATER)
        self._client = address_of(transport, "peername")
        self._client_text = in_words(self._client)
        self._server = address_of(transport, "sockname")
        self._trusted = bool(state.trusted) and self._is_trusted()
        state.accepted += 1
        self.number = state.accepted
        state.connections.add(self)
        if state.draining:
            self.engine.drain(now, state.idle_grace)
        self._touched = True
        state.wheel.add(self)

    def data_received(self, data: bytes) -> None:
        """Bytes came: let the engine read them, start what is to be started, send what came out, once."""
        now = self.state.clock()
        self._receiving = True
        self._serve(self.engine.receive(data, now), now)

    def eof_received(self) -> bool:
        """The peer sends no more. A request it has finished is still answered in full."""
        now = self.state.clock()
        for event in self.engine.receive_eof(now):
            self._handle(event)
        self._after()
        if self.engine.ending == Ending.OPEN and not self._tls:
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
                reason = CloseReason.PEER_RESET
            else:
                reason = CloseReason.PEER_CLOSED if engine.idle else CloseReason.PEER_LEFT
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            access = self.state.access
            if access is not None:
                status = exchange.status if exchange.phase > HEAD_HELD else CLIENT_LEFT
                self._log(access, exchange.request, status, exchange.sent, self.now() - exchange.started)
            exchange.disconnect()
        self.write_paused = False
        self._wake_writer()
        self._scope = None  # it refers to us: without it the memory is free at once, not at the next collection
        self.state.wheel.forget(self)
        self.state.connection_closed(self, reason)
        logger.debug("Connection from %s closed: %s", self._client, reason.value)

    def pause_writing(self) -> None:
        """The client reads more slowly than the application writes."""
        self.write_paused = True

    def resume_writing(self) -> None:
        """The client has caught up."""
        self.write_paused = False
        self._wake_writer()
        if self._exchange is None and not self._receiving:
            self._go_on()

    # For the exchange.

    def now(self) -> float:
        """Monotonic seconds."""
        return self.state.clock()

    def flush(self) -> None:
        """Send what the engine has put out; while bytes are being received, leave it to the end of that."""
        if not self._receiving:
            self._after()

    async def drained(self) -> None:
        """Wait until the client has taken enough of what was sent, or is gone."""
        while self.write_paused:
            waiter = self._write_waiter
            if waiter is None:
                waiter = self._write_waiter = self.state.loop.create_future()
            await asyncio.shield(waiter)

    def body_taken(self) -> None:
        """The application has taken the request body that was buffered: read on."""
        if self._paused:
            self._regulate()

    def head_held(self, exchange: Exchange) -> None:
        """See that a held head does not wait for a body that is long in coming (server-sent events)."""
        self.state.flush_later(exchange)

    def responded(self, exchange: Exchange) -> None:
        """The response is complete: log it, and go on with what the client sent meanwhile."""
        state = self.state
        self._exchange = None
        access = state.access
        if access is not None:
            self._log(access, exchange.request, exchange.status, exchange.sent, state.clock() - exchange.started)
        if self._receiving:
            return
        if self.engine.backlog or self._half_closed:
            self._go_on()
        else:
            self._after()

    # For the server.

    def drain(self, now: float) -> None:
        """The server is stopping: the engine announces it, and an idle peer has its grace."""
        self.engine.drain(now, self.state.idle_grace)
        self._touch()

    def cut(self) -> None:
        """The server can wait no longer: end what is under way, visibly for the peer, then the connection."""
        if self._closed:
            return
        if self._exchange is not None:
            self._exchange.cut()
        if self.engine.close_reason is None:
            self.engine.close_reason = CloseReason.DRAINING if self.engine.idle else CloseReason.CUT
        self._after()
        if not self._closed:
            self._transport.close()

    def abort(self) -> None:
        """Drop the connection at once."""
        if not self._closed:
            self._transport.abort()

    # For the wheel.

    def settle(self, now: float) -> float:
        """See what became of the bytes written lately; return the next deadline."""
        self._touched = False
        if self._closed:
            return NEVER
        engine = self.engine
        waiting = self._transport.get_write_buffer_size()
        if waiting == 0:
            self._stall = None
            engine.flushed(now)
            deadline = engine.next_deadline()
        else:
            self._watch_stall(waiting, now)
            deadline = min(engine.next_deadline(), self._stall.deadline if self._stall is not None else NEVER)
            self._touch()
        return min(deadline, now + HALF_CLOSED_CHECK) if self._half_closed else deadline

    def expire(self, now: float) -> float:
        """Act on a deadline that may have passed; return the next one."""
        if self._closed:
            return NEVER
        engine = self.engine
        if self._stall is not None and now >= self._stall.deadline:
            engine.abandon(1, CloseReason.WRITE_STALL)
            engine.close_reason = CloseReason.WRITE_STALL
            self._reset()
            return NEVER
        if self._half_closed and peer_is_dead(self._transport):
            self.abort()
            return NEVER
        # Rule 5 of the house: before an idle close, look once more. What has arrived is served.
        unread = engine.idle and unread_bytes(self._transport) > 0
        for event in engine.expire(now, unread):
            self._handle(event)
        self._after()
        return self.settle(now) if not self._closed else NEVER

    # Within.

    def _serve(self, events: Sequence[Event], now: float) -> None:
        """Handle events and what is pipelined behind them, then send what came out, once."""
        while events:
            for event in events:
                if type(event) is Request:
                    self._begin(event, now)
                else:
                    self._handle(event)
            events = self._pipelined(now) if self.engine.backlog or self._half_closed else ()
        self._receiving = False
        self._after()

    def _handle(self, event: Event) -> None:
        """Pass on what concerns a request that was handed out before, or never will be."""
        if isinstance(event, Body):
            exchange = self._exchange
            if exchange is not None:
                exchange.feed(event)
                if exchange.overfull:
                    self._regulate()
        elif isinstance(event, Rejected):
            self._rejected(event)

    def _begin(self, request: Request, now: float) -> None:
        """Hand a request to the application."""
        state = self.state
        exchange = Exchange(self, request, now)
        self._exchange = exchange
        state.requests += 1
        if state.concurrency and len(state.tasks) >= state.concurrency:
            self._refuse_overload(exchange)
            return
        scope = request_scope(self._scope or self._connection_scope(), request, state.app_state.copy())
        if self._trusted:
            address, scheme = forwarded_client(request.fields, state.trusted)
            if address is not None:
                scope["client"] = (address, 0)
            # Several clients share a proxy's connection: each request has its own.
            self._client_text = address or in_words(self._client)
            if scheme is not None:
                scope["scheme"] = scheme
        run_application(state, exchange, scope)
        if exchange.overfull:
            self._regulate()

    def _go_on(self) -> None:
        """A response is complete: serve what was pipelined behind it."""
        now = self.state.clock()
        self._receiving = True
        self._serve(self._pipelined(now), now)

    def _pipelined(self, now: float) -> Sequence[Event]:
        """Return what comes next in the backlog, but nothing while the client does not read its answers."""
        if sum(map(len, self.engine.out)) > GATHER_FROM:
            self._after()
        return () if self.write_paused else self.engine.proceed(now)

    def _connection_scope(self) -> dict[str, Any]:
        """Return what all scopes of this connection share; made on the first request, so that idling costs less."""
        self._scope = connection_scope(
            "https" if self._tls else "http",
            self._client,
            self._server,
            self.state.settings.root_path,
            {
                "http.response.pathsend": {},
                "http.response.early_hint": {},
                "keepserve": ConnectionFacts(self),
            },
        )
        return self._scope

    def _refuse_overload(self, exchange: Exchange) -> None:
        """503 for a request above ``limit_concurrency``: the connection stays, the balancer may try another."""
        text = b"The server is at its limit of concurrent requests; try again.\n"
        exchange.refuse(503, text, [(b"retry-after", b"1")])

    def _rejected(self, event: Rejected) -> None:
        """The engine answered a faulty request by itself, or gave up on one that had been handed out."""
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.disconnect()
        if event.status:
            logger.debug("Request from %s rejected with %d: %s", self._client, event.status, event.detail)
            access = self.state.access
            if access is not None:
                if exchange is None and self._trusted:
                    self._client_text = in_words(self._client)  # the last request's client is not this one's
                request = (
                    exchange.request
                    if exchange is not None
                    else Request(event.stream, event.method, event.target, "1.1", [], True)
                )
                self._log(access, request, event.status, 0, 0.0)

    def _log(self, access: AccessLog, request: Request, status: int, sent: int, duration: float) -> None:
        access.log(
            self._client_text,
            METHOD_NAMES.get(request.method) or request.method.decode("latin-1"),
            request.target,
            request.http_version,
            status,
            sent,
            duration,
            self.engine.requests,
        )

    def _after(self) -> None:
        """Send what came out of the engine, end the connection if it is to end, keep reading in step."""
        if self._closed:
            self.engine.out.clear()
            return
        engine = self.engine
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

    def _wind_up(self) -> None:
        ending = self.engine.ending
        if ending == Ending.RESET:
            self._reset()
        elif ending == Ending.CLOSE or self._tls:
            # TLS has no half-close that clients understand; its own goodbye is close_notify.
            self._transport.close()
        elif not self._sending_over:
            self._sending_over = True
            if self._paused:
                self._paused = False
                self._transport.resume_reading()
            if self._transport.can_write_eof():
                self._transport.write_eof()

    def _reset(self) -> None:
        reset_on_close(self._transport)
        self._transport.abort()

    def _regulate(self) -> None:
        """Read from the socket only while there is room for what would come, and for the answer to it."""
        if self._closed or self._half_closed or self._sending_over:
            return
        exchange = self._exchange
        if exchange is None:
            full = self.write_paused or len(self.engine.backlog) > BODY_HIGH_WATER
        else:
            full = exchange.overfull or len(self.engine.backlog) > BODY_HIGH_WATER
        if full != self._paused:
            self._paused = full
            self.engine.hold(full, self.state.clock())
            if full:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()
            self._touch()

    def _touch(self) -> None:
        if not self._touched:
            self._touched = True
            self.state.wheel.touched.append(self)

    def _watch_stall(self, waiting: int, now: float) -> None:
        """Measure progress by what has really left: bytes handed to the transport less those still in it."""
        left = self._written - waiting
        if self._stall is None:
            settings = self.state.settings
            self._stall = ProgressClock(
                settings.write_timeout, settings.write_min_rate, settings.write_rate_grace, now
            )
        elif left > self._in_kernel:
            self._stall.moved(left - self._in_kernel, now)
        self._in_kernel = left

    def _wake_writer(self) -> None:
        waiter, self._write_waiter = self._write_waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _is_trusted(self) -> bool:
        client = self._client
        return (client[0] if client is not None and client[1] is not None else None) in self.state.trusted
