"""The exchanges of a connection: from the engine's events to running applications, and back to the engine.

This is the part of a connection that knows applications; what stands upon it knows the socket, up to
``keepserve.server.connection``.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections import deque
from collections.abc import Callable, Collection, Iterable
from typing import Any

from keepserve.asgi.exchange import DONE, HEAD_HELD, Exchange
from keepserve.asgi.scope import Address, connection_scope, forwarded_scope, request_scope
from keepserve.proxy.forwarded import read_forwarded
from keepserve.proxy.protocol import ProxyHeader
from keepserve.server.facts import ConnectionFacts
from keepserve.server.health import HealthCheck
from keepserve.server.logged import Logged
from keepserve.server.queueing import OnEnd, WaitingQueue
from keepserve.server.running import cancel_application, run_application, run_application_now
from keepserve.server.sockethosting import SocketHosting
from keepserve.server.sockets import NO_ADDRESS, in_words
from keepserve.server.state import WorkerState
from keepserve.server.tlsfacts import tls_extension
from keepserve.telemetry.access import AccessLog
from keepserve.telemetry.counters import FAILED, HEALTH_CHECKS, LEFT, LIMITED
from keepserve.telemetry.reasons import CloseReason
from keepserve.wire.engine import Body, Engine, Event, Rejected, Request, WebSocketRequest

logger = logging.getLogger("keepserve")

CLIENT_LEFT = 499
"""What the access log shows for a client that left before its answer had begun; NGINX's number for it."""

QUEUE_FACTOR = 4
"""Requests that may wait for a place to run, as a multiple of the places. With HTTP/2 a client can give up streams
whose applications still run; it is these that are limited, not what the client has open (Go does the same)."""


_OFFERED: dict[str, Any] = {}
"""What stands under the name of an extension that has nothing to say; one for all connections, to save memory."""


class Hosting(SocketHosting, Logged):
    """Runs applications for one connection."""

    __slots__ = (
        "_client",
        "_exchanges",
        "_given_up",
        "_peer",
        "_queue",
        "_running",
        "_scope",
        "_server",
        "_tls",
        "_trusted",
        "_write_waiters",
        "accepted_at",
        "client_text",
        "engine",
        "header",
        "number",
        "state",
    )

    engine: Engine
    state: WorkerState
    number: int
    accepted_at: float
    header: ProxyHeader | None
    """What a balancer said of its client in front of everything else; None: nothing, as it is not to."""

    def _begin_hosting(self, client: Address | None, server: Address | None, host: str | None, tls: bool) -> None:
        """Begin, with both ends of the connection; ``host`` is whom `host_to_trust` gives."""
        self._exchanges: dict[int, Exchange] = {}
        self._sockets = None
        self._scope: dict[str, Any] | None = None
        self._write_waiters: dict[int, asyncio.Future[None]] | None = None
        self._running = 0
        self._queue: deque[Exchange] | None = None
        self._given_up: dict[asyncio.Task[None], Exchange] | None = None
        """Exchanges whose stream is over and whose application still runs."""
        self._tls = tls
        self._peer = client
        header = self.header
        if header is not None and header.told:
            # From here on the header's source is the peer, also where it is asked whether its X-Forwarded-For is to
            # be believed: a balancer that sends this header passes on what the client says. A Unix socket of the
            # balancer's is none of ours.
            client, server = header.source, header.destination
            host = client[0] if client is not None and client[1] is not None else NO_ADDRESS
        self._client = client
        self.client_text = in_words(client)
        state = self.state
        if server != state.server:
            state.server = server
        self._server = state.server  # the same object for all that came to the same address, which saves memory
        self._trusted = bool(state.trusted) and host in state.trusted

    # The connection's part.

    def flush(self) -> None:
        """Send what the engine has put out."""
        raise NotImplementedError

    def flush_piece(self, size: int) -> None:
        """Send a piece of a response's body that the engine has put out, with others that come in this turn."""
        raise NotImplementedError

    def body_taken(self, stream: int, amount: int) -> None:
        """The application has taken the request body that was buffered: there is room for more."""
        raise NotImplementedError

    def responded(self, exchange: Exchange) -> None:
        """The response is complete."""
        raise NotImplementedError

    def _regulate(self) -> None:
        """Read from the socket, or do not, as there is room."""
        raise NotImplementedError

    def _tls_object(self) -> ssl.SSLObject | None:
        """What TLS has agreed on; None without it."""
        raise NotImplementedError

    # For the exchange.

    @property
    def exchanges(self) -> Collection[Exchange]:
        """The requests under way, those that wait for their application included."""
        return self._exchanges.values()

    def now(self) -> float:
        """Monotonic seconds."""
        return self.state.clock()

    async def drained(self, stream: int) -> None:
        """Wait until the client has taken enough of this response, or is gone."""
        # With the connection the exchange is gone, and the engine is not asked any more: it cannot know.
        while stream in self._exchanges and self.engine.blocked(stream):
            waiters = self._write_waiters
            if waiters is None:
                waiters = self._write_waiters = {}
            waiter = waiters.get(stream)
            if waiter is None:
                waiter = waiters[stream] = self.state.loop.create_future()
            await asyncio.shield(waiter)

    def _wake_writers(self, streams: Iterable[int]) -> None:
        waiters = self._write_waiters
        if waiters is not None:
            for stream in streams:
                waiter = waiters.pop(stream, None)
                if waiter is not None and not waiter.done():
                    waiter.set_result(None)

    def head_held(self, exchange: Exchange) -> None:
        """See that a held head does not wait for a body that is long in coming (server-sent events)."""
        raise NotImplementedError

    def app_failed(self) -> None:
        """The application has raised, or has not completed its response: count it."""
        self.state.counters.words[FAILED] += 1

    def push(self, exchange: Exchange, path: str, fields: Iterable[tuple[bytes, bytes]]) -> None:
        """Promise the client a response it has not asked for, and have the application make it."""
        request = self.engine.push(exchange.request, self.scheme.encode(), path.encode("ascii"), list(fields))
        if request is not None:
            self._start(self._open(request, self.now()))
            self.flush()

    # Requests.

    def _open(self, request: Request, now: float) -> Exchange:
        exchange = Exchange(self, request, now)
        self._exchanges[request.stream] = exchange
        self.state.requests += 1
        return exchange

    def _open_socket(self, request: WebSocketRequest, now: float) -> Exchange:
        from keepserve.asgi.websocket import WebSocket  # loaded for the first one: see there

        socket = WebSocket(self, request, self.state.socket_limits, now)
        self._exchanges[request.stream] = socket
        self.state.requests += 1
        return socket

    def _start_in_turn(self, exchange: Exchange) -> None:
        """Run the application if there is a place for it among this connection's, or when one is free."""
        places = self.state.limits.streams
        if self._running < places:
            self._running += 1
            self._start(exchange, self._application_ended, run_application_now)
            return
        if self._queue is None:
            self._queue = deque()
        self._queue.append(exchange)
        if len(self._queue) > QUEUE_FACTOR * places:
            detail = f"{places} requests run and {QUEUE_FACTOR * places} wait, most of them given up by the client."
            for event in self.engine.calm(detail, self.now()):
                self._handle(event)

    def _application_ended(self) -> None:
        self._running -= 1
        queue = self._queue
        while queue and self._running < self.state.limits.streams:
            exchange = queue.popleft()
            if exchange.phase != DONE:
                self._running += 1
                self._start(exchange, self._application_ended)

    def _start(
        self,
        exchange: Exchange,
        on_end: OnEnd = None,
        run: Callable[..., None] = run_application,
        *,
        admitted: bool = False,
    ) -> None:
        """Hand a request to the application, when there is a place for it in the worker."""
        state = self.state
        request = exchange.request
        if state.health is not None and state.health.concerns(request.target):
            self._answer_health_check(state.health, exchange)
            if on_end is not None:
                on_end()
            return
        waiting = state.waiting
        if waiting is not None and not admitted and not waiting.free():
            self._wait_or_refuse(waiting, exchange, on_end)
            return
        scope = request_scope(self._scope or self._connection_scope(), request, state.app_state.copy())
        if self._trusted:
            self._heed_forwarded(scope, exchange)
        if type(request) is WebSocketRequest:
            from keepserve.asgi.websocket import websocket_scope

            scope = websocket_scope(scope, request)
        run(state, exchange, scope, on_end)
        if request.body and exchange.overfull:
            self._regulate()

    def _heed_forwarded(self, scope: dict[str, Any], exchange: Exchange) -> None:
        """Put what a trusted proxy says of the client in the place of what the socket says."""
        state = self.state
        settings = state.settings
        fields = exchange.request.fields
        said = read_forwarded(fields, state.trusted, settings.forwarded_header, settings.forwarded_host)
        if said is not None:
            forwarded_scope(scope, said)
            if said.scheme is not None:
                exchange.scheme = said.scheme
            if said.client is not None:
                host, port, _ = said.client
                exchange.client = in_words((host, port)) if port else host

    def _connection_scope(self) -> dict[str, Any]:
        """Return what all scopes of this connection share; made on the first request, so that idling costs less."""
        extensions: dict[str, Any] = {
            "http.response.pathsend": _OFFERED,
            "http.response.early_hint": _OFFERED,
            "keepserve": ConnectionFacts(self),
        }
        engine = self.engine
        if engine.multiplexed:
            extensions["http.response.trailers"] = _OFFERED
        if engine.push_allowed:
            extensions["http.response.push"] = _OFFERED
        if (tls := self._tls_object()) is not None:
            extensions["tls"] = tls_extension(tls)
        self._scope = connection_scope(
            self._version,
            self.scheme,
            self._client,
            self._server,
            self.state.settings.root_path,
            extensions,
        )
        return self._scope

    def _answer_health_check(self, health: HealthCheck, exchange: Exchange) -> None:
        """Answer in the server's own name: no application runs, no limit counts it, no log has it."""
        state, request = self.state, exchange.request
        status, fields, text = health.answer(request.method, state.phase, state.leaving)
        exchange.phase = DONE
        state.requests -= 1
        state.counters.words[HEALTH_CHECKS] += 1
        self.engine.respond(request.stream, status, fields, text, True)
        self.responded(exchange)

    def _wait_or_refuse(self, waiting: WaitingQueue, exchange: Exchange, on_end: OnEnd) -> None:
        """A request above ``limit_concurrency`` waits for a place, unless too many do."""
        if not waiting.full:
            waiting.join(self, exchange, on_end, self.now())
            if exchange.overfull:
                self._regulate()
            return
        self.turn_away(exchange)
        if on_end is not None:
            # Not here and now: it may start the next one, and that be refused, and so on, each within the other.
            self.state.loop.call_soon(on_end)

    # For the queue of requests above ``limit_concurrency``.

    def begin(self, exchange: Exchange, on_end: OnEnd) -> None:
        """The request's turn has come."""
        self._start(exchange, on_end, admitted=True)

    def turn_away(self, exchange: Exchange) -> None:
        """503 for a request above ``limit_concurrency``: the connection stays, the balancer may try another."""
        text = b"The server is at its limit of concurrent requests; try again.\n"
        self.state.counters.words[LIMITED] += 1
        exchange.refuse(503, text, [(b"retry-after", b"1")])

    def _handle(self, event: Event) -> None:
        """Pass on what concerns a request that was handed out before, or never will be."""
        if isinstance(event, Body):
            exchange = self._exchanges.get(event.stream)
            if exchange is not None:
                exchange.feed(event)
                if exchange.overfull:
                    self._regulate()
        elif isinstance(event, Rejected):
            self._rejected(event)

    def _rejected(self, event: Rejected) -> None:
        """The engine answered a faulty request by itself, or gave up on one that had been handed out."""
        exchange = self._exchanges.pop(event.stream, None)
        if self._sockets:
            self._sockets.pop(event.stream, None)
        access = self.state.access
        if exchange is not None:
            if access is not None and not event.status:
                self._log_unfinished(access, exchange)
            self.state.overdue.unanswered(exchange)
            exchange.disconnect()
            if self.state.waiting is not None:
                self.state.waiting.leave(exchange)
            self._wake_writers((event.stream,))
            if not event.status:
                self.state.counters.words[LEFT] += 1
            if self.engine.close_reason is CloseReason.FLOOD:
                cancel_application(self.state, exchange, self._application_ended)
            elif exchange.task is not None:
                self._remember_given_up(exchange, exchange.task)
        if event.status:
            self.state.counters.rejected(event.status)
            logger.debug("Request from %s rejected with %d: %s", self._client, event.status, event.detail)
            if access is not None:
                if exchange is None:
                    request = Request(event.stream, event.method, event.target, self._version, [], True)
                    exchange = Exchange(self, request, self.now())
                access.log(self, exchange, event.status, self.now())
        elif exchange is None:
            logger.debug("Request from %s refused: %s", self._client, event.detail)

    def _remember_given_up(self, exchange: Exchange, task: asyncio.Task[None]) -> None:
        given_up = self._given_up
        if given_up is None:
            given_up = self._given_up = {}
        given_up[task] = exchange
        task.add_done_callback(lambda task: given_up.pop(task, None))

    def _cancel_given_up(self) -> None:
        """It was a flood: end the applications of streams that the client had given up before that was plain."""
        given_up, self._given_up = self._given_up, None
        for exchange in list((given_up or {}).values()):
            cancel_application(self.state, exchange, self._application_ended)

    @property
    def _version(self) -> str:
        return "2" if self.engine.multiplexed else "1.1"

    def _end_hosting(self) -> None:
        """The connection is gone: everything that waits for it must be woken."""
        exchanges, self._exchanges, self._sockets = self._exchanges, {}, None
        access, waiting = self.state.access, self.state.waiting
        self._queue = None
        for exchange in exchanges.values():
            self.state.counters.words[LEFT] += not exchange.socket_accepted
            if access is not None:
                self._log_unfinished(access, exchange)
            self.state.overdue.unanswered(exchange)
            exchange.disconnect()
            if waiting is not None:
                waiting.leave(exchange)
        self.engine.hold_output(False)
        if self._write_waiters:
            self._wake_writers(list(self._write_waiters))
        self._scope = None  # it refers to us: without it the memory is free at once, not at the next collection

    def _log_unfinished(self, access: AccessLog, exchange: Exchange) -> None:
        status = exchange.status if exchange.phase > HEAD_HELD else CLIENT_LEFT
        access.log(self, exchange, status, self.now())
