"""The stop of a worker on fake sockets and a clock that only a test moves: every connection, every phase."""

from __future__ import annotations

import asyncio
import logging

import pytest

from keepserve.server.drain import Drain
from keepserve.server.phases import PARTING, Phase
from keepserve.server.running import BEGINS_AT_ONCE
from tests.http2.frames import get as get2
from tests.support.applications import Slow
from tests.support.ending import Converses, Stubborn, ask, leave_after_answer, live
from tests.support.harness import (
    GET,
    Receive,
    Scope,
    Send,
    Worker,
    body,
    get,
    in_loop,
    start,
    turns,
)
from tests.support.http2 import Http2Client


@in_loop
async def test_every_kind_of_connection_ends_in_its_own_way_and_time(caplog: pytest.LogCaptureFixture) -> None:
    """Idle, silent, half a request, streaming, conversing, in a TLS handshake."""
    caplog.set_level(logging.INFO)
    app, request = Converses(), get(b"/told")
    worker = Worker(app, drain_idle=5.0, request_head_timeout=8.0, drain_timeout=20.0, drain_cancel=3.0)
    idle, silent, half, late_half = (worker.connect() for _ in range(4))
    app_client, deaf = ask(worker, "/told", "/deaf")
    idle.send(get(b"/told"))
    half.send(request[:10])
    late_half.send(request[:10])
    await turns()
    assert app.ended == {}
    worker.listeners.pending = 1  # a handshake

    worker.drain.stop()
    assert worker.listeners.closed == ["emptied"]
    await turns()
    # The one that listens to us has said goodbye; its head was sent before, and so the connection is idle now.
    assert [said.body for said in app_client.answers()] == [b"hello goodbye"]
    assert app_client.transport.events == []

    await live(worker, 4.0)
    # The handshake is done: a connection like any other, that is served one request.
    shaken = worker.connect(tls=True)
    worker.listeners.pending = 0
    await live(worker, 0.8)
    assert [client.transport.events for client in (idle, silent, shaken)] == [[], [], []]
    shaken.send(get(b"/told"))
    await turns()
    assert [(said.body, said.closes) for said in shaken.answers()] == [(b"hello goodbye", True)]
    await live(worker, 0.4)
    assert [client.transport.events for client in (idle, silent, app_client)] == [["close"]] * 3

    # Half a head has its own time, and may be completed within it.
    assert [client.statuses for client in (half, late_half)] == [[], []]
    half.send(request[10:])
    await turns()
    assert half.answers()[0].closes
    await live(worker, 3.0)
    assert late_half.statuses == [408]
    for client in (half, late_half):
        leave_after_answer(client)

    # What nobody can end is told, cancelled and cut, in this order.
    assert worker.drain.phase == Phase.CLOSING
    await live(worker, 11.7)
    assert worker.drain.phase == Phase.CLOSING
    await live(worker, 0.3)
    assert worker.drain.phase == Phase.LIMIT
    assert "deaf" not in app.ended
    await live(worker, 0.8)
    assert app.ended["/deaf"] == "cancelled"
    assert [said.whole for said in deaf.answers()] == [False]
    assert worker.drain.phase == Phase.OVER
    assert worker.closed == {"draining": 5, "head_timeout": 1, "cut": 1}
    assert caplog.messages[-1] == (
        "Stopped in 20.6 s: 4 requests finished, 1 cut; "
        "0 connections closed by the peer, 7 by us (1 head_timeout, 5 draining, 1 cut)"
    )


@in_loop
async def test_a_stop_with_nothing_to_wait_for_is_over_at_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    worker = Worker(drain_timeout=20.0)
    worker.drain.stop()
    assert worker.drain.phase == Phase.OVER
    assert worker.listeners.closed == ["emptied"]
    assert caplog.messages == [
        "Stopped in 0.0 s: 0 requests finished, 0 cut; 0 connections closed by the peer, 0 by us"
    ]


@in_loop
async def test_a_stop_is_over_when_the_last_client_has_left(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    worker = Worker(drain_idle=5.0)
    first, second = worker.connect(), worker.connect()
    worker.drain.stop()
    await live(worker, 1.0)
    first.eof()
    await turns()
    assert worker.drain.phase == Phase.CLOSING
    second.transport.lose(ConnectionResetError())
    worker.drain.look()
    assert worker.drain.phase == Phase.OVER
    assert "2 connections closed by the peer, 0 by us" in caplog.messages[-1]


@in_loop
async def test_a_connection_in_the_making_is_waited_for_and_the_grace_it_missed_is_short() -> None:
    worker = Worker(drain_idle=5.0)
    worker.listeners.pending = 1
    worker.drain.stop()
    await live(worker, 7.0)
    assert worker.drain.phase == Phase.CLOSING
    client = worker.connect(tls=True)
    worker.listeners.pending = 0
    await live(worker, 0.9)
    assert client.transport.events == []
    await live(worker, 0.3)
    assert client.transport.events == ["close"]
    await turns()
    worker.drain.look()
    assert worker.drain.phase == Phase.OVER


@in_loop
async def test_a_response_that_was_not_told_of_the_close_leaves_its_connection_usable() -> None:
    """Its client may send the next request the moment the response ends, ten seconds into the stop."""
    gate = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        await send(body(b"some", more=True))
        await gate.wait()
        await send(body(b"more"))

    worker = Worker(app, drain_idle=5.0)
    client = worker.connect()
    client.send(GET)
    await turns()
    worker.drain.stop()
    await live(worker, 10.0)
    gate.set()
    await turns()
    await live(worker, 4.5)
    assert (client.statuses, client.transport.events) == ([200], [])
    client.send(GET)
    await turns()
    assert [said.closes for said in client.answers()] == [False, True]


@in_loop
async def test_applications_are_told_first_and_what_they_send_then_arrives(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    app = Converses()
    worker = Worker(app, drain_timeout=2.0, drain_cancel=3.0)
    told, deaf = ask(worker, "/disconnect", "/deaf")
    await turns()
    worker.drain.stop()
    await live(worker, 2.0)
    assert app.ended == {"/disconnect": "told"}
    assert [(said.body, said.whole) for said in told.answers()] == [(b"hello goodbye", True)]
    await live(worker, 0.4)
    assert "/deaf" not in app.ended
    await live(worker, 0.5)
    assert app.ended["/deaf"] == "cancelled"
    assert not deaf.answers()[0].whole
    assert "Stopping: limit; 2 requests still run, and have 3 s to clean up" in caplog.messages
    assert "1 requests finished, 1 cut" in caplog.messages[-1]


@in_loop
async def test_an_application_that_will_not_end_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    app = Stubborn()
    worker = Worker(app, drain_timeout=1.0, drain_cancel=2.0)
    client = worker.connect()
    client.send(GET)
    await turns()
    worker.drain.stop()
    await live(worker, 2.9)
    assert (client.statuses, worker.drain.phase) == ([], Phase.CANCEL)
    await live(worker, 0.2 + 2 * PARTING)
    assert (client.statuses, client.transport.lost, worker.drain.phase) == ([503], True, Phase.OVER)
    assert "0 requests finished, 1 cut" in caplog.messages[-1]
    app.release.set()
    await turns()


@in_loop
async def test_a_request_that_was_about_to_begin_at_the_limit_holds_nobody() -> None:
    worker = Worker(drain_cancel=0.0)
    client = worker.connect()
    client.send(GET)
    assert len(worker.state.tasks) + len(worker.state.batch) == 1, "it begins in the next turn"
    worker.drain.hurry()
    await turns()
    worker.drain.look()
    # Where an application can begin at once this one has answered; elsewhere its task was cancelled before it began.
    assert client.statuses == [200 if BEGINS_AT_ONCE else 503]
    assert (worker.state.tasks, len(worker.state.batch), worker.drain.phase) == (set(), 0, Phase.OVER)


@in_loop
async def test_requests_that_wait_for_their_turn_never_begin_at_the_limit(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    app = Slow()
    worker = Worker(app, http2_max_streams=1)
    client = Http2Client(worker)
    client.send(get2(1, b"/1"))
    await client.turn()
    client.send(b"\0\0\4\3\0\0\0\0\1" + b"\0\0\0\x08")  # given up, but its application runs on
    client.send(get2(3, b"/3"))
    await client.turn()
    worker.drain.hurry()
    await live(worker, 0.3)
    client.look()
    assert app.started == ["/1"]
    assert (client.response(3).status, worker.drain.phase) == (503, Phase.OVER)
    assert "0 requests finished, 2 cut" in caplog.messages[-1]


@in_loop
async def test_connections_that_cannot_even_be_closed_are_dropped() -> None:
    worker = Worker(drain_timeout=1.0)
    client = worker.connect(capacity=0)
    client.send(GET)
    await turns()
    worker.drain.stop()
    await live(worker, 1.1)
    assert (client.transport.events, client.transport.lost) == (["close"], False)
    await live(worker, 0.3)
    assert client.transport.events[-1] == "abort"
    assert worker.drain.phase == Phase.OVER


@in_loop
async def test_a_hurry_cancels_what_runs_and_closes_the_rest() -> None:
    app = Converses()
    worker = Worker(app, drain_idle=5.0, drain_timeout=20.0)
    idle = worker.connect()
    (deaf,) = ask(worker, "/deaf")
    await turns()
    worker.drain.stop()
    await live(worker, 1.0)
    assert (app.ended, idle.transport.events) == ({}, [])
    worker.drain.hurry()
    await turns()
    worker.drain.look()
    await turns()
    worker.drain.look()
    assert app.ended == {"/deaf": "cancelled"}
    assert (idle.transport.lost, deaf.transport.lost, worker.drain.phase) == (True, True, Phase.OVER)


@in_loop
async def test_somebody_at_the_terminal_does_not_wait_for_idle_connections() -> None:
    worker = Worker(drain_idle=5.0, drain_delay=10.0)
    client = worker.connect()
    worker.drain.stop(interactive=True)
    assert worker.drain.phase == Phase.CLOSING
    await live(worker, 0.2)
    assert (client.transport.events, worker.drain.phase) == (["close"], Phase.OVER)


@in_loop
async def test_a_drain_follows_its_own_clock_to_the_end() -> None:
    """``run`` sleeps until something happens or the time it was told, and looks again."""
    worker = Worker(drain_idle=5.0, drain_timeout=20.0, drain_delay=2.0)
    slept = []

    async def wait(event: asyncio.Event, seconds: float) -> None:
        slept.append(round(seconds, 3))
        await turns(3)
        if event.is_set():
            return
        worker.state.wheel.sweep(worker.clock.advance(seconds))
        await turns(3)

    drain = Drain(worker.state, worker.listeners, wait=wait)
    worker.connect()
    drain.stop()
    async with asyncio.timeout(5):
        await drain.run()
    assert drain.phase == Phase.OVER
    assert worker.clock() - 1000.0 == pytest.approx(22.0)
    assert slept[0] == 2.0
    assert 20.0 in slept


@in_loop
async def test_a_hurry_wakes_who_sleeps_until_the_limit() -> None:
    app = Stubborn()
    worker = Worker(app, drain_timeout=20.0, drain_cancel=3.0)
    worker.connect().send(GET)
    await turns()
    slept = []

    async def wait(event: asyncio.Event, seconds: float) -> None:
        slept.append(seconds)
        await event.wait()

    drain = Drain(worker.state, worker.listeners, wait=wait)
    drain.stop()
    following = asyncio.create_task(drain.run())
    await turns()
    drain.hurry()
    await turns()
    app.release.set()
    await asyncio.wait_for(following, 5)
    assert slept[:2] == [20.0, 1.0]


@in_loop
async def test_a_request_that_begins_when_others_were_cancelled_is_cancelled_with_the_connections() -> None:
    app, stubborn = Converses(), Stubborn()

    async def both(scope: Scope, receive: Receive, send: Send) -> None:
        await (stubborn if scope["path"] == "/stubborn" else app)(scope, receive, send)

    worker = Worker(both, drain_idle=20.0, drain_timeout=10.0, drain_cancel=3.0)
    (busy,) = ask(worker, "/stubborn")
    late = worker.connect()
    await turns()
    worker.drain.stop()
    await live(worker, 11.0)
    assert worker.drain.phase == Phase.CANCEL
    late.send(get(b"/deaf"))
    await turns()
    assert late.statuses == [200]
    await live(worker, 2.5)
    assert app.ended == {"/deaf": "cancelled"}
    assert ([said.whole for said in late.answers()], busy.statuses) == ([False], [503])
    stubborn.release.set()
    await turns()


@in_loop
async def test_at_the_limit_nobody_waits_for_a_place_any_more() -> None:
    app = Slow()
    worker = Worker(app, limit_concurrency=1, limit_concurrency_wait=60.0, drain_idle=20.0, drain_timeout=10.0)
    (busy,) = ask(worker, "/busy")
    late = worker.connect()
    await turns()
    worker.drain.stop()
    await live(worker, 10.0)
    assert worker.drain.phase == Phase.LIMIT
    late.send(GET)
    await turns()
    assert (late.statuses, app.started) == ([503], ["/busy"])
    await live(worker, 1.0)
    assert busy.statuses == [503]
