"""What stands in front of everything else on a connection: the PROXY protocol's header.

It is read before TLS and before HTTP, from the balancers that were named, and only from them. Whatever comes next
gets the transport when the header is whole, as if nothing had been there.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, cast

from keepserve.proxy.protocol import ProxyHeader, read_header
from keepserve.proxy.tlvs import ProxyFault
from keepserve.server.sockets import NO_ADDRESS, address_of, host_to_trust, in_words
from keepserve.telemetry.reasons import CloseReason
from keepserve.wire.engine import NEVER

if TYPE_CHECKING:
    from keepserve.server.connection import Connection
    from keepserve.server.state import WorkerState

logger = logging.getLogger("keepserve")

STRANGER = "it comes from {peer}, which --proxy-protocol-from does not name"


class Preamble(asyncio.Protocol):
    """Reads the header of one connection and hands the transport on to ``follower``.

    ``connection`` is told the header. ``follower`` is the connection itself, or what it speaks through; it is asked
    for ``connection_made`` and ``data_received`` as by a transport of its own. Until then the connection is one of
    the worker's ``pending``.
    """

    __slots__ = ("_connection", "_data", "_deadline", "_follower", "_peer", "_state", "_transport", "slot")

    def __init__(self, state: WorkerState, connection: Connection, follower: asyncio.Protocol) -> None:
        self._state = state
        self._connection = connection
        self._follower = follower
        self._data = b""
        self._transport: asyncio.Transport | None = None
        self._deadline = NEVER
        self._peer = ""
        self.slot = -1

    # From the transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A connection was accepted: is it from somebody whose header we believe?"""
        # A cast and no check: uvloop's transports are not registered as asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        state = self._state
        state.pending[self._connection] = self
        self._deadline = state.clock() + state.settings.proxy_protocol_timeout
        state.wheel.add(self)
        peer = address_of(self._transport, "peername")
        self._peer = in_words(peer)
        host = host_to_trust(self._transport, peer)
        if host == NO_ADDRESS:
            # It has left already, as health checks do that want to know no more than whether somebody listens.
            self._transport.abort()
        elif host not in state.balancers:
            self._refuse(STRANGER.format(peer=self._peer))

    def data_received(self, data: bytes) -> None:
        """Some of the header came, perhaps with what follows it."""
        if self._transport is None:
            return
        data = self._data = self._data + data if self._data else data
        try:
            found = read_header(data)
        except ProxyFault as fault:
            self._refuse(str(fault))
            return
        if found is not None:
            header, size = found
            self._hand_over(header, data[size:])

    def eof_received(self) -> bool:
        """No header will come: a look whether somebody listens, mostly."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone before it was one."""
        if self._transport is not None:
            self._leave()
            self._state.connection_failed(self._connection)
            logger.debug("Connection from %s ended within its PROXY protocol header", self._peer)

    # For the worker.

    def cancel(self) -> None:
        """Nobody can wait for it any longer: drop it. For the server that ends."""
        if self._transport is not None:
            self._transport.abort()

    def drain(self, now: float) -> None:
        """This worker is ending: who has not said anything yet has no longer than an idle connection."""
        if self._transport is not None and not self._data:
            self._deadline = min(self._deadline, self._state.silent_until(now))
            self._state.wheel.touched.append(self)

    # For the wheel.

    def settle(self, now: float) -> float:
        """When the header must be whole."""
        return self._deadline if self._transport is not None else NEVER

    def expire(self, now: float) -> float:
        """It was not whole in time, or nothing of it came."""
        if self._transport is not None and now >= self._deadline:
            if self._state.phase and not self._data:
                self._transport.abort()
                return NEVER
            seconds = self._state.settings.proxy_protocol_timeout
            self._refuse(f"no whole PROXY protocol header came within {seconds:g} s")
        return NEVER if self._transport is None else self._deadline

    # Within.

    def _hand_over(self, header: ProxyHeader, rest: bytes) -> None:
        transport = self._leave()
        self._connection.header = header
        follower = self._follower
        transport.set_protocol(follower)
        follower.connection_made(transport)
        if rest and not transport.is_closing():
            follower.data_received(rest)

    def _refuse(self, why: str) -> None:
        """Close without an answer: who does not speak as agreed would not understand one."""
        transport, state = self._leave(), self._state
        state.connection_failed(self._connection, CloseReason.PROXY_HEADER)
        transport.abort()
        if not state.told_of_proxy_faults:
            # Once in a worker's life: it is nearly always the configuration, and then it is every connection.
            state.told_of_proxy_faults = True
            logger.warning(
                "Refused a connection from %s: %s. --proxy-protocol is require; more of them are logged as debug",
                self._peer,
                why,
            )
        else:
            logger.debug("Refused a connection from %s: %s", self._peer, why)

    def _leave(self) -> asyncio.Transport:
        """Have no more to do with it; what was collected is freed."""
        transport, self._transport = self._transport, None
        assert transport is not None
        self._data = b""
        self._state.wheel.forget(self)
        return transport
