"""What all connections of one worker share."""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import random
import ssl
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from keepserve.asgi.exchange import HEAD_HELD, Exchange
from keepserve.asgi.farewell import Farewell
from keepserve.asgi.scope import Address
from keepserve.asgi.types import App
from keepserve.config import Settings
from keepserve.http1.engine import Http1Engine
from keepserve.http1.parsers import PARSERS
from keepserve.http1.response import DefaultFields
from keepserve.http2.encoding import EncodedFields
from keepserve.http2.engines import ENGINES
from keepserve.proxy.peers import TrustedPeers
from keepserve.server.batch import Batch
from keepserve.server.capacity import Capacity, open_files_limit
from keepserve.server.health import HealthCheck
from keepserve.server.idlewatch import IdleWatch
from keepserve.server.overdue import Overdue
from keepserve.server.phases import FRESH_GRACE, Phase
from keepserve.server.queueing import Busy, WaitingQueue
from keepserve.server.wheel import Wheel
from keepserve.telemetry import counters
from keepserve.telemetry.access import AccessLog
from keepserve.telemetry.counters import Counters
from keepserve.telemetry.reasons import CloseReason
from keepserve.telemetry.scoreboard import CONNECTIONS, RUNNING, Seat, private_seat
from keepserve.websocket.limits import SocketLimits
from keepserve.wire.engine import NEVER, Engine, Limits

if TYPE_CHECKING:
    from keepserve.server.connection import Connection


def limits_from(settings: Settings) -> Limits:
    """Return the numbers an engine obeys."""
    return Limits(
        request_line=settings.limit_request_line,
        request_head=settings.limit_request_head,
        request_fields=settings.limit_request_fields,
        request_body=settings.limit_request_body,
        keep_alive_timeout=settings.keep_alive_timeout,
        request_head_timeout=settings.request_head_timeout,
        headers_timeout=settings.headers_timeout,
        body_timeout=settings.body_timeout,
        body_min_rate=settings.body_min_rate,
        body_rate_grace=settings.body_rate_grace,
        linger_timeout=settings.linger_timeout,
        linger_idle_timeout=settings.linger_idle_timeout,
        linger_bytes=settings.linger_bytes,
        write_timeout=settings.write_timeout,
        write_min_rate=settings.write_min_rate,
        write_rate_grace=settings.write_rate_grace,
        websocket=settings.websocket,
        detect_http2=settings.http2 != "off" and settings.h2c,
        streams=settings.http2_max_streams,
        ping_interval=settings.http2_ping_interval,
        ping_timeout=settings.http2_ping_timeout,
    )


class Pending(Protocol):
    """What a connection in the making waits for."""

    def cancel(self) -> object:
        """Give the connection up."""


class Forerunner(Pending, Protocol):
    """A protocol in front of a connection, which has the transport first."""

    def drain(self, now: float) -> None:
        """This worker is ending: a peer that has not said anything has until `WorkerState.silent_until`."""


class WorkerState:
    """Settings made ready for the hot path, and everything a connection reaches beside its socket.

    ``clock`` is monotonic seconds, ``wall`` seconds since the epoch, ``spread`` a random number
    from 0 to 1 for the jitter, ``files`` the most files this process may have open (0: any number); they are
    arguments so that tests can hold them still.
    """

    def __init__(
        self,
        settings: Settings,
        app: App,
        loop: asyncio.AbstractEventLoop,
        *,
        access: AccessLog | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        spread: Callable[[], float] = random.random,
        seat: Seat | None = None,
        row: memoryview | None = None,
        common: Seat | None = None,
        files: int | None = None,
    ) -> None:
        self.settings = settings
        self.seat = seat if seat is not None else private_seat()
        """Where this worker writes down how it is (`keepserve.telemetry.scoreboard`)."""
        self.counters = Counters(row)
        """What it counts, for whoever watches the server."""
        self.count_answered = self.counters.answered
        self.received = 0
        """Bytes that came from clients, as HTTP has them."""
        self.app = app
        self.loop = loop
        self.access = access
        self.clock = clock
        self.limits = limits_from(settings)
        self.defaults = DefaultFields(
            server=settings.server_header,
            date=settings.date_header,
            advertise=settings.advertised_keep_alive,
            extra=settings.response_fields,
        )
        self._encoded = EncodedFields(
            server=settings.server_header, date=settings.date_header, extra=settings.response_fields
        )
        self._limits_without_http2 = dataclasses.replace(self.limits, detect_http2=False)
        self.server: Address | None = None
        """The address that the latest connection came to."""
        self.trusted = TrustedPeers(settings.forwarded_allow_ips if settings.proxy_headers else ())
        """Whose forwarding fields are believed."""
        self.balancers = TrustedPeers(settings.proxy_protocol_from)
        """Whose PROXY protocol headers are believed, where they are required."""
        self.told_of_proxy_faults = False
        self.wheel = Wheel(clock=clock, on_tick=self._refresh)
        self.connections: set[Connection] = set()
        self.pending: dict[Connection, Pending] = {}
        """Connections in the making (just accepted, before their PROXY header or in a TLS handshake), and what they
        wait for: a future of the event loop's, or the protocol in front of the connection."""
        self.capacity = Capacity(
            self.connections,
            self.wheel,
            clock,
            settings.limit_connections,
            open_files_limit() if files is None else files,
            count=lambda: len(self.connections) + len(self.pending),
        )
        self.tasks: set[asyncio.Task[None]] = set()
        """Applications running at present: with ``batch`` what ``limit_concurrency`` counts, but for ``sockets``."""
        self.batch = Batch(self)
        """Requests just read, whose applications are about to begin."""
        self.sockets: set[Exchange] = set()
        """Accepted WebSockets whose application runs. They hold no place: mostly they wait, and for hours."""
        self.socket_limits = SocketLimits(
            max_message=settings.ws_max_message,
            deflate=settings.ws_deflate,
            ping_interval=settings.ws_ping_interval,
            ping_timeout=settings.ws_ping_timeout,
        )
        self.waiting: WaitingQueue | None = None
        """Requests that wait for one of ``limit_concurrency`` places; None without that limit."""
        if places := settings.limit_concurrency:
            busy = Busy(self.tasks, self.batch, self.sockets)
            self.waiting = WaitingQueue(self.wheel, busy, places, settings.limit_concurrency_wait)
        self.idle_watch = IdleWatch(
            settings,
            self.limits,
            self.counters,
            common if common is not None else private_seat(),
            self.wheel,
            clock,
        )
        self.overdue = Overdue(
            settings.lb_idle_timeout, self.tasks, self.connections, self.counters, self.wheel, clock
        )
        self.context = contextvars.copy_context()
        self.app_state: dict[str, Any] = {}
        self.phase = Phase.SERVING
        """How far the end of this worker has come; ``keepserve.server.drain`` moves it."""
        self.leaving = False
        """This worker ends because it is replaced: the server goes on."""
        self.idle_grace = settings.drain_idle
        """Seconds that idle connections stay usable once they were told of the end."""
        self.idle_until = NEVER
        """When those that were idle as the end began have had that."""
        self.farewell = Farewell()
        self.farewell.enter(self.context)
        self.health = HealthCheck(settings.health_path) if settings.health_path else None
        self.cut: set[asyncio.Task[None]] = set()
        """Applications that we have cancelled because the server could not wait for them."""
        self.finished = 0
        """Requests that were finished during the end."""
        self.requests = 0
        self.on_room: Callable[[], None] | None = None
        """Called when a connection has ended: there may be room for another."""
        self.on_quiet: Callable[[], None] | None = None
        """Called when a connection or a task ends, or a connection has come about or not, while draining."""
        # uvloop writes several buffers with one system call; the stock loop of 3.12.0-3.12.8 and
        # 3.13.0-3.13.1 never pauses in writelines (cpython#127655), so there they are joined.
        self.gathers_writes = type(loop).__module__.startswith("uvloop")
        self._held: list[Exchange] = []
        self._wall = wall
        self._spread = spread
        self._parser = PARSERS[settings.http1]()
        self._http2 = ENGINES["native" if settings.http2 == "off" else settings.http2]  # if off, never called
        self._refresh()

    def _refresh(self) -> None:
        now = self._wall()
        self.defaults.refresh(now)
        self._encoded.refresh(now)
        self.write_down()

    def write_down(self) -> None:
        """Bring up to date what is not counted as it happens."""
        words = self.counters.words
        self.seat[RUNNING] = len(self.tasks) + len(self.batch)
        self.counters.write_durations()
        words[counters.BYTES_IN] = self.received
        words[counters.HANDSHAKING] = len(self.pending)
        words[counters.SOCKETS] = len(self.sockets)
        words[counters.PHASE] = self.phase
        words[counters.LEAVING_NOW] = self.leaving
        if self.waiting is not None:
            words[counters.WAITING] = self.waiting.length
        if self.access is not None:
            words[counters.LOG_LINES_LOST] = self.access.dropped

    def new_engine(self, now: float, tls: ssl.SSLObject | None = None) -> Engine:
        """Return the engine for a connection that became ready at ``now``: what TLS agreed on, or HTTP/1.1."""
        protocol = tls.selected_alpn_protocol() if tls is not None else None
        if protocol == "h2":
            return self.new_http2_engine(now)
        requests, age = self._lifetime(self.settings.max_connection_requests)
        limits = self.limits if protocol is None else self._limits_without_http2
        return Http1Engine(limits, self._parser, self.defaults, now, max_requests=requests, max_age=age)

    def new_http2_engine(self, now: float) -> Engine:
        """Return an engine for a connection that speaks HTTP/2."""
        requests, age = self._lifetime(self.settings.http2_max_connection_requests)
        return self._http2(self.limits, self._encoded, now, max_requests=requests, max_age=age)

    def _lifetime(self, requests: int) -> tuple[int, float]:
        """The limits on requests and age of a connection, 0 for none.

        They are spread by 10 % either way, so that connections that came together do not leave together.
        """
        factor = 0.9 + 0.2 * self._spread()
        return max(1, round(requests * factor)) if requests else 0, self.settings.max_connection_age * factor

    def flush_later(self, exchange: Exchange) -> None:
        """Flush an exchange's head when the loop has turned, unless its body has come by then, as it mostly has.

        One call for all of a turn's exchanges: a handle for each would cost more than what it finds to do.
        """
        if not self._held:
            self.loop.call_soon(self._flush_held)
        self._held.append(exchange)

    def _flush_held(self) -> None:
        held, self._held = self._held, []
        for exchange in held:
            if exchange.phase == HEAD_HELD:
                exchange.flush_head()

    @property
    def closed(self) -> dict[CloseReason, int]:
        """Connections closed so far, by reason; those included that were accepted and did not come about."""
        return self.counters.closed_by_reason()

    @property
    def draining(self) -> bool:
        """This worker was told to end."""
        return self.phase != Phase.SERVING

    def part(self, engine: Engine, now: float) -> None:
        """Tell an engine what the end of this worker has come to: before any, nothing.

        In the lame duck only responses say it. HTTP/2's GOAWAY would send clients away who come back to us.
        """
        if self.phase == Phase.LAME_DUCK:
            engine.announce(CloseReason.DRAINING)
        elif self.phase >= Phase.CLOSING:
            engine.drain(now, self.silent_until(now) - now)

    def silent_until(self, now: float) -> float:
        """How long a peer may still say nothing, while this worker ends.

        Who comes late has not the full grace anew, or one after the other could hold the drain.
        """
        return max(self.idle_until, now + min(self.idle_grace, FRESH_GRACE))

    def cut_off(self, task: asyncio.Task[None]) -> None:
        """Cancel an application because the server cannot wait for it any longer."""
        self.cut.add(task)
        task.cancel()
        task.add_done_callback(self._cut_off)

    def _cut_off(self, task: asyncio.Task[None]) -> None:
        # One that was cancelled before it began never reaches its own end, which says so otherwise.
        if task in self.tasks:
            self.tasks.discard(task)
            if self.on_quiet is not None:
                self.on_quiet()

    def connection_closed(self, connection: Connection, reason: CloseReason) -> None:
        """Count a closed connection."""
        self.counters.closed(reason)
        self.connections.discard(connection)
        if not self.connections:
            self.overdue.rest()
        if not self.phase:  # at the end peers leave because we tell them
            self.idle_watch.closed(connection.engine, reason)
        self._one_less()

    def connection_failed(self, connection: Connection, reason: CloseReason | None = None) -> None:
        """Forget a connection that was accepted and did not come about; with a reason of ours it is counted."""
        self.pending.pop(connection, None)
        if reason is not None:
            self.counters.closed(reason)
        self._one_less()

    def count_connections(self) -> None:
        """Write down how many connections there are."""
        self.seat[CONNECTIONS] = len(self.connections) + len(self.pending)

    def _one_less(self) -> None:
        self.count_connections()
        if self.on_room is not None:
            self.on_room()
        if self.capacity.paused:
            self.capacity.left()
        if self.on_quiet is not None:
            self.on_quiet()
