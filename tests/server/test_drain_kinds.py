"""Two beginnings of an end: the lame duck of a server that stops, and the leave of a worker that is replaced."""

from __future__ import annotations

import logging

import pytest

from keepserve.server.phases import Phase
from tests.http2.frames import Code
from tests.http2.frames import get as get2
from tests.support.applications import Slow
from tests.support.ending import Converses, Stubborn, ask, leave_after_answer, live
from tests.support.harness import (
    GET,
    Worker,
    get,
    in_loop,
    turns,
)
from tests.support.http2 import Http2Client

NO_LIMIT = 2**31 - 1


@in_loop
async def test_a_lame_duck_serves_as_ever_and_says_that_it_is_going(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    worker = Worker(drain_delay=10.0, drain_idle=5.0, health_path="/health")
    before, idle = worker.connect(), worker.connect()
    before.send(GET)
    await turns()
    worker.drain.stop()
    assert caplog.messages == [
        "Stopping: lame duck for 10 s; requests are accepted and served, and told to go elsewhere from now on"
    ]
    await live(worker, 5.0)
    assert (worker.drain.phase, worker.listeners.closed, worker.state.draining) == (Phase.LAME_DUCK, [], True)
    after = worker.connect()
    health = worker.connect()
    health.send(get(b"/health"))
    for client in (before, after):
        client.send(GET)
    await turns()
    assert [[said.closes for said in client.answers()] for client in (before, after)] == [[False, True], [True]]
    assert [(said.status, said.closes) for said in health.answers()] == [(503, True)]
    for client in (before, after, health):
        leave_after_answer(client)
    await live(worker, 4.8)
    assert (worker.drain.phase, idle.transport.events) == (Phase.LAME_DUCK, [])
    await live(worker, 0.2)
    assert (worker.drain.phase, worker.listeners.closed) == (Phase.CLOSING, ["emptied"])
    assert caplog.messages[-1] == "Stopping: 1 connections, 0 running requests; closing, 20 s at most"
    await live(worker, 4.9)
    assert idle.transport.events == []
    await live(worker, 0.2)
    assert (idle.transport.events, worker.drain.phase) == (["close"], Phase.OVER)
    assert "Stopped in 15.1 s: 2 requests finished, 0 cut" in caplog.messages[-1]


@in_loop
async def test_a_lame_duck_does_not_send_http2_clients_away_who_would_come_back() -> None:
    worker = Worker(drain_delay=10.0)
    client = Http2Client(worker)
    client.send(get2(1))
    await client.turn()
    worker.drain.stop()
    await live(worker, 9.0)
    client.send(get2(3))
    later = Http2Client(worker)
    await client.turn()
    later.send(get2(1))
    await later.turn()
    assert client.whole(1, 3)
    assert later.whole(1)
    assert (client.goaways, later.goaways) == ([], [])
    await live(worker, 1.0)
    for one, last in ((client, 3), (later, 1)):
        one.look()
        assert one.goaways == [(NO_LIMIT, Code.NO_ERROR)]
        one.pong()
        await one.turn()
        assert one.goaways[1:] == [(last, Code.NO_ERROR)]


@in_loop
async def test_applications_are_told_when_the_worker_closes_and_not_in_the_lame_duck() -> None:
    """Who was sent away before would come back to us."""
    app = Converses()
    worker = Worker(app, drain_delay=10.0)
    ask(worker, "/told")
    await turns()
    worker.drain.stop()
    await live(worker, 9.8)
    assert app.ended == {}
    await live(worker, 0.2)
    assert app.ended == {"/told": "told"}


@in_loop
async def test_a_leaving_worker_says_that_the_server_is_well_and_waits_for_the_balancer_to_let_go(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    worker = Worker(drain_delay=10.0, drain_idle=5.0, roll_idle=80.0, health_path="/health")
    idle, late, health, closed = (worker.connect() for _ in range(4))
    worker.drain.leave()
    assert worker.listeners.closed == ["left to siblings"]
    assert worker.drain.phase == Phase.CLOSING
    health.send(get(b"/health"))
    await live(worker, 60.0)
    closed.eof()
    late.send(GET)
    await live(worker, 15.0)
    assert [(said.status, said.closes) for said in late.answers()] == [(200, True)]
    assert [(said.status, said.body) for said in health.answers()] == [(200, b'{"status":"ready"}\n')]
    assert idle.transport.events == []
    await live(worker, 4.8)
    assert (idle.transport.events, worker.drain.phase) == ([], Phase.CLOSING)
    await live(worker, 0.4)
    assert (idle.transport.events, worker.drain.phase) == (["close"], Phase.OVER)
    assert caplog.messages[0] == "Leaving: 4 connections, 0 running requests; closing, 100 s at most"
    assert caplog.messages[-1].startswith("Left in 80.")
    assert "1 requests finished, 0 cut; 1 connections closed by the peer, 3 by us (3 draining)" in caplog.messages[-1]


@in_loop
async def test_in_a_leave_requests_that_ran_have_the_drain_timeout_and_later_ones_their_own_time() -> None:
    app = Slow()
    worker = Worker(app, drain_timeout=20.0, drain_cancel=3.0, roll_idle=80.0)
    before, idle = worker.connect(), worker.connect()
    before.send(get(b"/before"))
    await turns()
    worker.drain.leave()
    await live(worker, 19.0)
    idle.send(get(b"/late"))
    await live(worker, 1.4)
    assert before.statuses == []
    await live(worker, 0.2)
    assert before.statuses == [503], "cancelled half a second after it was told"
    await live(worker, 17.0)
    assert (idle.statuses, worker.drain.phase) == ([], Phase.CLOSING)
    app.open("/late")
    await turns()
    assert [(said.status, said.closes) for said in idle.answers()] == [(200, True)]


@in_loop
async def test_in_a_leave_an_application_that_will_not_end_does_not_hold_the_worker() -> None:
    app = Stubborn()
    worker = Worker(app, drain_timeout=20.0, drain_cancel=3.0)
    client = worker.connect()
    client.send(GET)
    await turns()
    worker.drain.leave()
    await live(worker, 22.9)
    assert client.statuses == []
    await live(worker, 0.2)
    assert client.statuses == [503]
    leave_after_answer(client)
    await live(worker, 0.2)
    assert worker.drain.phase == Phase.OVER
    assert len(worker.state.tasks) == 1, "it still runs; the process ends without it"
    app.release.set()
    await turns()


@in_loop
async def test_in_a_leave_http2_clients_are_sent_to_the_siblings_at_once() -> None:
    worker = Worker(roll_idle=80.0)
    client = Http2Client(worker)
    client.send(get2(1))
    await client.turn()
    worker.drain.leave()
    await client.turn()
    assert client.goaways == [(NO_LIMIT, Code.NO_ERROR)]
    client.pong()
    await client.turn()
    client.client.eof()
    await client.turn()
    worker.drain.look()
    assert worker.drain.phase == Phase.OVER


@in_loop
async def test_a_stop_during_a_leave_shortens_it_to_the_times_of_a_stop() -> None:
    app = Slow()
    worker = Worker(app, drain_delay=2.0, drain_idle=5.0, drain_timeout=20.0, roll_idle=80.0, health_path="/health")
    idle, health, late = worker.connect(), worker.connect(), worker.connect()
    worker.drain.leave()
    await live(worker, 30.0)
    worker.drain.stop()
    health.send(get(b"/health"))
    late.send(get(b"/late"))
    await live(worker, 6.8)
    assert [said.status for said in health.answers()] == [503]
    assert idle.transport.events == [], "the siblings are in their lame duck, and then have their grace"
    await live(worker, 0.4)
    assert idle.transport.events == ["close"]
    await live(worker, 14.7)
    assert worker.drain.phase == Phase.CLOSING
    await live(worker, 0.2)
    assert worker.drain.phase == Phase.LIMIT
    await live(worker, 1.0)
    assert (late.statuses, worker.drain.phase) == ([503], Phase.OVER)


@in_loop
async def test_a_hurry_during_a_leave_ends_it() -> None:
    worker = Worker(Slow(), roll_idle=80.0)
    idle = worker.connect()
    (busy,) = ask(worker, "/busy")
    await turns()
    worker.drain.leave()
    worker.drain.hurry()
    await live(worker, 0.3)
    assert (idle.transport.lost, busy.statuses, worker.drain.phase) == (True, [503], Phase.OVER)


@in_loop
async def test_in_a_leave_applications_are_told_before_they_are_cancelled() -> None:
    app = Converses()
    worker = Worker(app, drain_timeout=20.0, drain_cancel=3.0)
    told, deaf = ask(worker, "/disconnect", "/deaf")
    await turns()
    worker.drain.leave()
    await live(worker, 19.9)
    assert app.ended == {}
    await live(worker, 0.1)
    assert app.ended == {"/disconnect": "told"}
    assert told.answers()[0].whole
    await live(worker, 0.6)
    assert app.ended["/deaf"] == "cancelled"
    assert not deaf.answers()[0].whole
