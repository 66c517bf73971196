"""Requests above ``limit_concurrency``: who waits, for how long, and who is told to try elsewhere."""

from __future__ import annotations

import asyncio

import pytest

from keepserve.server.phases import Phase
from keepserve.server.queueing import WAITING_FACTOR
from tests.http2.frames import Code, get, rst
from tests.support.applications import Slow
from tests.support.ending import ask
from tests.support.harness import Receive, Scope, Send, Worker, answer, in_loop, post, turns
from tests.support.harness import get as get1
from tests.support.http2 import Http2Client, stop


def waiting(worker: Worker) -> int:
    assert worker.state.waiting is not None
    return len(worker.state.waiting)


# The turn comes, or it does not.


@in_loop
async def test_a_request_above_the_limit_waits_and_is_served_when_another_has_ended() -> None:
    app = Slow()
    worker = Worker(app, limit_concurrency=1)
    first, second, third = ask(worker, "/1", "/2", "/3")
    await turns()
    assert app.started == ["/1"]
    app.open("/1")
    await turns()
    assert (first.statuses, app.started) == ([200], ["/1", "/2"])
    app.open("/3")
    app.open("/2")
    await turns()
    assert (second.statuses, third.statuses, app.started) == ([200], [200], ["/1", "/2", "/3"])


@in_loop
async def test_whoever_comes_while_others_wait_waits_behind_them() -> None:
    app = Slow()
    worker = Worker(app, limit_concurrency=1)
    ask(worker, "/1", "/2")
    await turns()
    app.open("/1")
    while worker.state.tasks:
        await turns(1)
        if "/2" in app.started:
            break
    (late,) = ask(worker, "/3")
    app.open("/3")
    await turns()
    assert (late.statuses, app.started) == ([], ["/1", "/2"])
    app.open("/2")
    await turns()
    assert late.statuses == [200]


@in_loop
async def test_who_has_waited_long_enough_gets_503_and_keeps_its_connection() -> None:
    app = Slow()
    worker = Worker(app, limit_concurrency=1, limit_concurrency_wait=1.0)
    busy, early = ask(worker, "/busy", "/early")
    worker.tick(0.5)
    (late,) = ask(worker, "/late")
    worker.tick(0.4)
    assert early.statuses == []
    worker.tick(0.2)
    (refusal,) = early.answers()
    assert (refusal.status, refusal.get(b"retry-after"), refusal.closes) == (503, b"1", False)
    assert late.statuses == []
    worker.tick(0.5)
    assert late.statuses == [503]
    app.open("/busy")
    await turns()
    app.open("/again")
    early.send(get1(b"/again"))
    await turns()
    assert (busy.statuses, early.statuses) == ([200], [503, 200])
    assert app.started == ["/busy", "/again"]


@pytest.mark.parametrize("patience", [0.3, 1.0])
@in_loop
async def test_nobody_is_turned_away_early_and_nobody_waits_a_tick_longer(patience: float) -> None:
    app = Slow()
    worker = Worker(app, limit_concurrency=1, limit_concurrency_wait=patience)
    ask(worker, "/busy")
    for offset in (0.0, 0.03, 0.07):
        worker.clock.advance(offset)
        (client,) = ask(worker, "/late")
        asked = worker.clock()
        while not client.statuses:
            worker.tick(0.01)
        assert 0 <= worker.clock() - asked - patience <= 0.1 + 0.011
    app.open("/busy")


@in_loop
async def test_no_more_wait_than_there_is_hope_for() -> None:
    app = Slow()
    worker = Worker(app, limit_concurrency=2)
    served = ask(worker, *(f"/{number}" for number in range(2 + 2 * WAITING_FACTOR)))
    (refused,) = ask(worker, "/too-many")
    await turns()
    assert (refused.statuses, waiting(worker)) == ([503], 2 * WAITING_FACTOR)
    for number in range(len(served)):
        app.open(f"/{number}")
    await turns(50)
    assert [client.statuses for client in served] == [[200]] * len(served)
    assert "/too-many" not in app.started


@in_loop
async def test_without_patience_nobody_waits() -> None:
    app = Slow()
    worker = Worker(app, limit_concurrency=1, limit_concurrency_wait=0.0)
    _, refused = ask(worker, "/1", "/2")
    assert refused.statuses == [503]
    app.open("/1")


@in_loop
async def test_without_a_limit_there_is_no_queue() -> None:
    assert Worker().state.waiting is None


@in_loop
async def test_an_application_that_fails_gives_its_place_on_too() -> None:
    app = Slow()

    async def failing(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/fails":
            raise ZeroDivisionError
        await app(scope, receive, send)

    worker = Worker(failing, limit_concurrency=1)
    app.open("/next")
    first, second = ask(worker, "/fails", "/next")
    await turns()
    assert (first.statuses, second.statuses) == ([500], [200])


# Who leaves while waiting.


@in_loop
async def test_a_client_that_leaves_frees_its_place_and_its_application_never_starts() -> None:
    app = Slow()
    worker = Worker(app, limit_concurrency=1)
    _, leaving, staying = ask(worker, "/1", "/leaving", "/staying")
    leaving.transport.lose(ConnectionResetError())
    assert waiting(worker) == 1
    app.open("/staying")
    app.open("/1")
    await turns()
    assert app.started == ["/1", "/staying"]
    assert staying.statuses == [200]


@in_loop
async def test_a_body_that_stalls_while_its_request_waits_is_answered_408() -> None:
    app = Slow()
    worker = Worker(app, limit_concurrency=1, limit_concurrency_wait=100.0, body_timeout=1.0)
    ask(worker, "/1")
    client = worker.connect()
    client.send(post(b"a", length=1000, target=b"/upload"))
    worker.live(1.3)
    assert (client.statuses, waiting(worker)) == ([408], 0)
    app.open("/1")
    await turns()
    assert app.started == ["/1"]


@in_loop
async def test_a_waiting_upload_is_read_no_further_than_a_buffer() -> None:
    app = Slow()

    async def count(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/1":
            await app(scope, receive, send)
            return
        size, more = 0, True
        while more:
            message = await receive()
            size, more = size + len(message["body"]), message["more_body"]
        await answer(send, b"%d" % size)

    worker = Worker(count, limit_concurrency=1)
    ask(worker, "/1")
    client = worker.connect()
    client.send(post(b"x" * 100_000, length=150_000))
    assert client.transport.events == ["pause"]
    app.open("/1")
    await turns()
    assert client.transport.events == ["pause", "resume"]
    client.send(b"x" * 50_000)
    await turns()
    assert client.answers()[0].body == b"150000"


# HTTP/2, whose connections have places of their own.


@in_loop
async def test_streams_wait_for_the_worker_as_connections_do() -> None:
    app = Slow()
    client = Http2Client(Worker(app, limit_concurrency=2))
    client.send(*(get(number, b"/%d" % number) for number in (1, 3, 5, 7)))
    await client.turn()
    assert app.started == ["/1", "/3"]
    for path in ("/3", "/5", "/1", "/7"):
        app.open(path)
        await client.turn()
    assert client.whole(1, 3, 5, 7)
    assert app.started == ["/1", "/3", "/5", "/7"]


@in_loop
async def test_a_stream_given_up_while_it_waits_never_runs_and_its_connections_place_is_free() -> None:
    app = Slow()
    worker = Worker(app, limit_concurrency=1, http2_max_streams=2)
    client = Http2Client(worker)
    client.send(get(1, b"/1"), get(3, b"/3"))
    await client.turn()
    client.send(rst(3))
    await client.turn()
    assert waiting(worker) == 0
    client.send(get(5, b"/5"))
    await client.turn()
    assert waiting(worker) == 1, "had the place not been freed, it would wait at the connection"
    for path in ("/1", "/5"):
        app.open(path)
    await client.turn()
    assert (app.started, client.whole(1, 5)) == (["/1", "/5"], True)


@in_loop
async def test_both_queues_empty_themselves_whatever_becomes_of_the_requests() -> None:
    """Every place of a connection is given back once: as many requests as there are streams still run at the end."""
    app = Slow()
    worker = Worker(app, limit_concurrency=3, http2_max_streams=2)
    client, other = Http2Client(worker), Http2Client(worker)
    client.send(get(1, b"/1"), get(3, b"/3"))
    other.send(get(1, b"/o1"), get(3, b"/o3"))
    await client.turn()
    assert (app.started, waiting(worker)) == (["/1", "/3", "/o1"], 1)
    client.send(rst(1), rst(3), get(5, b"/5"), get(7, b"/7"))
    await client.turn()
    assert waiting(worker) == 1, "5 and 7 wait for places of their connection"
    app.open("/1")
    await client.turn()
    assert (app.started[3:], waiting(worker)) == (["/o3"], 1), "5 waits behind o3, now for the worker"
    worker.live(1.2)
    await client.turn()
    assert (client.response(5).status, waiting(worker)) == (503, 1), "7 has come to wait for the worker"
    for path in ("/3", "/o1", "/o3", "/7"):
        app.open(path)
    await client.turn()
    await other.turn()
    assert client.response(7).status == 200
    assert other.whole(1, 3)
    assert (waiting(worker), worker.state.tasks) == (0, set())
    client.send(get(9, b"/9"), get(11, b"/11"))
    await client.turn()
    assert app.started[-2:] == ["/9", "/11"]
    app.open("/9")
    app.open("/11")
    await client.turn()
    assert client.whole(9, 11)


@in_loop
async def test_a_flood_takes_what_it_made_wait_with_it() -> None:
    app = Slow()
    worker = Worker(app, limit_concurrency=1, http2_max_streams=2)
    ask(worker, "/busy")
    client = Http2Client(worker)
    numbers = iter(range(1, 10_001, 2))
    while not client.goaways:
        number = next(numbers)
        client.send(get(number, b"/%d" % number), rst(number))
        if client.client.ending:
            break
    await client.turn()
    assert client.goaways[-1][1] == Code.ENHANCE_YOUR_CALM
    assert waiting(worker) == 0
    app.open("/busy")
    await client.turn()
    assert app.started == ["/busy"]


# The stop.


@in_loop
async def test_who_waits_when_the_server_stops_still_gets_its_turn() -> None:
    app = Slow()
    worker = Worker(app, limit_concurrency=1)
    first, second = ask(worker, "/1", "/2")
    client = Http2Client(worker)
    client.send(get(1, b"/3"))
    await client.turn()
    stop(worker)
    for path in ("/1", "/2", "/3"):
        assert worker.drain.phase == Phase.CLOSING
        app.open(path)
        await client.turn()
        worker.drain.look()
    assert [first.statuses, second.statuses, client.response(1).status] == [[200], [200], 200]


@in_loop
async def test_who_still_waits_when_the_server_can_wait_no_longer_gets_503_and_never_begins() -> None:
    app = Slow()
    worker = Worker(app, limit_concurrency=1, limit_concurrency_wait=100.0)
    running, late = ask(worker, "/1", "/2")
    client = Http2Client(worker)
    client.send(get(1, b"/3"))
    await client.turn()
    stop(worker)
    assert worker.drain.phase == Phase.CLOSING
    worker.drain.hurry()
    await client.turn()
    assert [running.statuses, late.statuses, client.response(1).status] == [[503], [503], 503]
    assert app.started == ["/1"]
    assert (waiting(worker), worker.state.tasks) == (0, set())


@in_loop
async def test_hundreds_that_wait_at_a_connection_are_all_refused_when_the_server_can_wait_no_longer() -> None:
    """Each refusal lets the next one try; within one another they would exhaust Python's stack."""
    release = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send)
        await release.wait()

    worker = Worker(app, limit_concurrency=500, http2_max_streams=400)
    client = Http2Client(worker)
    client.send(*(get(number) for number in range(1, 801, 2)))
    await client.turn()
    numbers = range(801, 1601, 2)
    client.send(*(get(number) for number in numbers))
    await client.turn()
    assert not any(client.response(number).whole for number in numbers), "they wait for a place"
    assert worker.state.waiting is not None
    worker.state.waiting.close()
    release.set()
    await client.turn(500)
    assert {client.response(number).status for number in numbers} == {503}
    assert worker.state.tasks == set()
