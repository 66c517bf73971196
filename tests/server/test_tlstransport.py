"""TLS between a fake transport and a real connection, with a client in memory and a clock that only a test moves."""

from __future__ import annotations

import functools
import gc
import ssl
import weakref
from typing import Any

import pytest

from keepserve.server.connection import Connection
from keepserve.server.tlslayer import SLICE
from keepserve.server.tlstransport import TlsTransport
from tests.support.harness import GET, App, Receive, Scope, Send, Worker, answer, hello, in_loop, post, turns
from tests.support.tls import Contexts, TlsClient, contexts
from tests.support.transport import FakeTransport

CLEAR = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


@functools.cache
def both() -> Contexts:
    return contexts()


class Secure:
    """A worker, one connection to it by TLS, and the client's end of that."""

    def __init__(self, app: App = hello, *, worker: Worker | None = None, **settings: Any) -> None:
        self.worker = worker or Worker(app, **settings)
        self.raw = FakeTransport()
        self.connection = Connection(self.worker.state, True)
        self.tls = TlsTransport(self.worker.state, self.connection, both().server)
        self.peer = TlsClient(both().client)
        self.raw.attach(self.tls)
        self._heard = 0

    def shake(self) -> Secure:
        while not (self.peer.ready and self.worker.state.connections):
            if said := self.peer.shake(self.fresh()):
                self.tls.data_received(said)
        self.hear()
        return self

    def fresh(self) -> bytes:
        """What was sent since the last look, encrypted."""
        sent = self.raw.sent
        fresh, self._heard = sent[self._heard :], len(sent)
        return fresh

    def hear(self) -> bytes:
        """The same as the client reads it."""
        return self.peer.hear(self.fresh())

    def send(self, data: bytes) -> None:
        assert self.raw.reading, "the server does not read"
        self.tls.data_received(data)


@in_loop
async def test_it_is_pending_until_the_handshake_is_done() -> None:
    client = Secure()
    state = client.worker.state
    assert list(state.pending) == [client.connection]
    assert not state.connections
    client.shake()
    assert not state.pending
    assert state.connections == {client.connection}
    client.send(client.peer.say(GET))
    await turns()
    assert client.hear().startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("first", [b"", b"\x16\x03\x01"])
@in_loop
async def test_a_handshake_has_its_time_and_no_more(first: bytes) -> None:
    client = Secure(tls_handshake_timeout=10.0)
    if first:
        client.send(first)
    client.worker.live(9.9)
    assert client.raw.events == []
    client.worker.live(0.3)
    assert client.raw.events == ["abort"]
    await turns()
    assert client.worker.closed == {"tls_timeout": 1}
    assert not client.worker.state.pending


@in_loop
async def test_a_handshake_that_was_done_in_time_has_no_deadline_any_more() -> None:
    client = Secure(tls_handshake_timeout=10.0, keep_alive_timeout=70.0, lb_idle_timeout=60.0).shake()
    client.send(client.peer.say(GET))
    await turns()
    client.worker.live(60.0)
    assert client.raw.events == []


@in_loop
async def test_a_silent_client_ends_with_the_idle_ones_at_a_drain_and_one_that_speaks_does_not() -> None:
    worker = Worker(drain_idle=3.0, tls_handshake_timeout=10.0)
    silent, slow = Secure(worker=worker), Secure(worker=worker)
    slow.send(slow.peer.shake()[:10])
    worker.drain.stop()
    late = Secure(worker=worker)
    worker.live(2.8)
    assert [client.raw.events for client in (silent, slow, late)] == [[], [], []]
    worker.live(0.4)
    assert [client.raw.events for client in (silent, slow, late)] == [["abort"], [], ["abort"]]
    after = Secure(worker=worker)  # accepted just before: a second, as for connections without TLS
    worker.live(0.8)
    assert after.raw.events == []
    worker.live(0.4)
    assert after.raw.events == ["abort"]
    await turns()
    assert worker.closed == {"draining": 3}
    worker.live(7.0)
    await turns()
    assert worker.closed == {"draining": 3, "tls_timeout": 1}


@in_loop
async def test_in_the_lame_duck_a_silent_client_may_stay() -> None:
    worker = Worker(drain_delay=5.0, drain_idle=0.5)
    silent = Secure(worker=worker)
    worker.drain.stop()
    worker.live(4.8)
    assert silent.raw.events == []


@in_loop
async def test_clear_text_is_answered_and_what_follows_is_read_until_the_client_leaves() -> None:
    client = Secure(tls_shutdown_timeout=3.0)
    client.send(CLEAR)
    assert client.raw.sent.startswith(b"HTTP/1.1 400 ")
    assert client.raw.events == ["eof"]
    client.send(b"more of it")
    assert not client.tls.eof_received()
    client.raw.close()
    await turns()
    assert client.worker.closed == {"tls_failed": 1}
    assert not client.worker.state.pending


@in_loop
async def test_a_client_that_does_not_leave_after_a_failed_handshake_is_not_waited_for_long() -> None:
    client = Secure(tls_shutdown_timeout=3.0)
    client.send(CLEAR)
    client.worker.live(2.8)
    assert client.raw.events == ["eof"]
    client.worker.live(0.4)
    assert client.raw.events == ["eof", "abort"]
    await turns()
    assert client.worker.closed == {"tls_failed": 1}


@pytest.mark.parametrize(("first", "reason"), [(b"", "peer_closed"), (b"\x16\x03", "peer_left")])
@in_loop
async def test_who_leaves_in_the_handshake_is_counted_by_whether_it_spoke(first: bytes, reason: str) -> None:
    """A balancer's TCP check says nothing and leaves: that is no failure."""
    client = Secure()
    if first:
        client.send(first)
    assert not client.tls.eof_received()
    client.raw.close()
    await turns()
    assert client.worker.closed == {reason: 1}


@in_loop
async def test_a_damaged_record_is_told_with_an_alert_and_counted() -> None:
    client = Secure().shake()
    record = bytearray(client.peer.say(GET))
    record[-1] ^= 1
    client.send(bytes(record))
    with pytest.raises(ssl.SSLError, match="BAD_RECORD_MAC"):
        client.hear()
    assert client.raw.events == ["eof"]
    client.raw.lose()
    assert client.worker.closed == {"tls_failed": 1}


@in_loop
async def test_many_tiny_records_give_other_connections_their_turn() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        size, more = 0, True
        while more:
            message = await receive()
            size, more = size + len(message["body"]), message["more_body"]
        await answer(send, b"%d" % size)

    client = Secure(app).shake()
    count = 4 * SLICE
    client.send(client.peer.say(post(length=count)))
    await turns()
    client.send(b"".join(client.peer.say(b"x") for _ in range(count)))
    assert client.raw.events == ["pause"]
    assert client.tls.get_extra_info("unread") > 0
    await turns(30)
    assert client.raw.events == ["pause", "resume"]
    assert client.tls.get_extra_info("unread") == 0
    assert client.hear().endswith(b"\r\n\r\n%d" % count)


@in_loop
async def test_while_the_connection_wants_nothing_a_backlog_waits() -> None:
    client = Secure().shake()
    flood = b"".join(client.peer.say(b"\r\n") for _ in range(3 * SLICE))
    client.tls.pause_reading()
    client.tls.data_received(flood)
    unread = client.tls.get_extra_info("unread")
    assert unread
    await turns()
    assert client.tls.get_extra_info("unread") == unread
    assert client.raw.events == ["pause"]
    client.tls.resume_reading()
    await turns()
    assert client.tls.get_extra_info("unread") == 0
    assert client.raw.events == ["pause", "resume"]


@in_loop
async def test_a_connection_that_has_enough_within_a_backlog_gets_no_more_of_it() -> None:
    client = Secure().shake()
    client.send(b"".join(client.peer.say(b"\r\n") for _ in range(3 * SLICE)))
    unread = client.tls.get_extra_info("unread")
    assert unread
    client.tls.pause_reading()
    await turns()
    assert client.tls.get_extra_info("unread") == unread
    client.tls.resume_reading()
    await turns()
    assert client.raw.events == ["pause", "resume"]


@in_loop
async def test_both_sides_say_goodbye() -> None:
    client = Secure().shake()
    client.send(client.peer.say(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")))
    await turns()
    assert client.hear().startswith(b"HTTP/1.1 200 ")
    assert client.peer.heard_the_end
    assert client.raw.events == ["eof"]
    client.send(client.peer.goodbye())
    assert not client.tls.eof_received()
    client.raw.close()
    await turns()
    assert client.raw.events == ["eof", "close"]
    assert client.worker.closed == {"client_asked": 1}


@in_loop
async def test_an_idle_client_that_says_goodbye_gets_ours_and_the_close_at_once() -> None:
    client = Secure().shake()
    client.send(client.peer.say(GET))
    await turns()
    client.worker.tick()
    client.hear()
    client.send(client.peer.goodbye())
    client.hear()
    assert client.peer.heard_the_end
    assert client.raw.events == ["close"]
    await turns()
    assert client.worker.closed == {"peer_closed": 1}


@in_loop
async def test_nothing_is_left_of_it_when_it_is_gone() -> None:
    gc.collect()
    gc.disable()
    try:
        client = Secure().shake()
        client.send(client.peer.say(GET))
        await turns()
        client.raw.lose()
        state = client.worker.state
        gone = weakref.ref(client.tls._session.tls)
        state.wheel.sweep(client.worker.clock.advance(1.0))
        del client.tls, client.connection
        await turns()
        assert gone() is None
    finally:
        gc.enable()
