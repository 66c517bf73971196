"""Requests of one turn of the loop: read first, then begun in their order, in batches."""

from __future__ import annotations

from unittest.mock import Mock

import pytest

from keepserve.server.batch import MOST
from keepserve.server.running import BEGINS_AT_ONCE
from keepserve.telemetry.scoreboard import RUNNING
from tests.support.applications import Seen, Slow
from tests.support.ending import ask
from tests.support.harness import Client, Receive, Scope, Send, Worker, answer, get, in_loop, turns

pytestmark = pytest.mark.skipif(not BEGINS_AT_ONCE, reason="before Python 3.12 no task can begin at once")


def begun(app: Seen) -> list[str]:
    """The paths of the requests whose applications have begun."""
    return [scope["path"] for scope in app.scopes]


def paths(count: int, first: int = 0) -> list[str]:
    """/0, /1 and so on."""
    return [f"/{number}" for number in range(first, first + count)]


@in_loop
async def test_applications_begin_when_the_turn_is_over_in_the_order_of_their_requests() -> None:
    app = Seen()
    worker = Worker(app)
    clients = ask(worker, *paths(5))
    assert (begun(app), len(worker.state.batch)) == ([], 5)
    await turns(1)
    assert begun(app) == ["/0", "/1", "/2", "/3", "/4"]
    assert [client.statuses for client in clients] == [[200]] * 5
    assert not worker.state.batch


@in_loop
async def test_more_than_a_batch_begins_without_the_loop_having_turned() -> None:
    app = Seen()
    worker = Worker(app)
    clients = ask(worker, *paths(2 * MOST))
    assert len(begun(app)) == len(worker.state.batch) == MOST, "the last one read is never begun while it is read"
    ask(worker, *paths(1, first=2 * MOST))
    assert (len(begun(app)), len(worker.state.batch)) == (2 * MOST, 1)
    await turns(1)
    assert begun(app) == paths(2 * MOST + 1)
    assert all(client.statuses == [200] for client in clients)


@in_loop
async def test_requests_about_to_begin_count_as_running() -> None:
    app = Slow()
    worker = Worker(app)
    seen = []

    async def look(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(worker.state.seat[RUNNING])
        if scope["path"] == "/0":
            await app(scope, receive, send)
        else:
            await answer(send)

    worker.state.app = look
    ask(worker, *paths(3))
    worker.state.write_down()
    assert worker.state.seat[RUNNING] == 3
    await turns()
    assert seen == [3, 3, 2], "the first waits, the others are over one after the other"
    assert worker.state.seat[RUNNING] == 1
    app.open("/0")
    await turns()


@in_loop
async def test_requests_about_to_begin_take_places() -> None:
    app = Slow()
    worker = Worker(app, limit_concurrency=2)
    ask(worker, *paths(3))
    assert worker.state.waiting is not None
    assert (len(worker.state.batch), len(worker.state.waiting)) == (2, 1)
    await turns()
    assert app.started == ["/0", "/1"]
    for path in ("/0", "/1", "/2"):
        app.open(path)
        await turns()
    assert app.started == ["/0", "/1", "/2"]


@in_loop
async def test_what_comes_while_a_batch_begins_has_a_turn_of_its_own() -> None:
    worker = Worker()
    started: list[str] = []
    clients: list[Client] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        started.append(scope["path"])
        if scope["path"] == "/0":
            clients.extend(ask(worker, *paths(MOST + 5, first=10)))
        await answer(send)

    worker.state.app = app
    ask(worker, *paths(2))
    worker.state.batch.begin()
    assert (started, len(worker.state.batch)) == (["/0", "/1"], MOST + 5)
    await turns(2)
    assert started[2:] == paths(MOST + 5, first=10)
    assert all(client.statuses == [200] for client in clients)


@in_loop
async def test_an_application_that_ends_the_server_does_not_begin_the_others_within_itself() -> None:
    worker = Worker()
    order: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        order.append("begin " + scope["path"])
        if scope["path"] == "/0":
            worker.drain.stop()
        await answer(send)
        order.append("end " + scope["path"])

    worker.state.app = app
    clients = ask(worker, *paths(2))
    await turns()
    assert order == ["begin /0", "end /0", "begin /1", "end /1"]
    assert [client.statuses for client in clients] == [[200], [200]]


@in_loop
async def test_what_keeps_one_from_beginning_concerns_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    app = Seen()
    worker = Worker(app)
    ask(worker, *paths(3))
    with monkeypatch.context() as patch:
        patch.setattr("keepserve.server.batch.run_application_now", Mock(side_effect=MemoryError))
        with pytest.raises(MemoryError):
            worker.state.batch.begin()
    await turns()
    assert begun(app) == ["/1", "/2"]


@in_loop
async def test_pipelined_requests_are_answered_in_order_however_many() -> None:
    app = Seen()
    client = Worker(app).connect()
    client.send(b"".join(get(b"/%d" % number) for number in range(3 * MOST)))
    await turns(3 * MOST + 5)
    assert client.statuses == [200] * 3 * MOST
    assert begun(app) == paths(3 * MOST)


@in_loop
async def test_the_application_of_a_client_that_has_left_meanwhile_is_told_so() -> None:
    heard = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        heard.append((await receive())["type"])

    worker = Worker(app)
    (client,) = ask(worker, *paths(1))
    client.transport.lose()
    await turns()
    assert heard == ["http.disconnect"]
    assert not worker.state.tasks


@in_loop
async def test_one_that_fails_at_once_harms_no_other() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/1":
            raise ValueError("of /1")
        await answer(send)

    clients = ask(Worker(app), *paths(3))
    await turns()
    assert [client.statuses for client in clients] == [[200], [500], [200]]
