"""``--health-path``: who is answered by the server itself, with what, and what it costs nobody."""

from __future__ import annotations

import json

import pytest

from keepserve.server.health import HealthCheck
from keepserve.server.phases import Phase
from tests.http2.frames import data, request_block
from tests.http2.frames import get as get2
from tests.http2.frames import headers as headers2
from tests.support.accesslog import Log
from tests.support.applications import Slow
from tests.support.harness import Receive, Scope, Send, Worker, answer, get, in_loop, post, turns
from tests.support.http2 import Http2Client


def head(target: bytes) -> bytes:
    """A HEAD."""
    return get(target).replace(b"GET", b"HEAD", 1)


async def path(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that is asked."""
    await answer(send, b"the application: " + scope["path"].encode())


@pytest.mark.parametrize("target", [b"/up", b"/up?", b"/up?probe=1&a=/x"])
def test_the_path_is_compared_without_its_query(target: bytes) -> None:
    assert HealthCheck("/up").concerns(target)


@pytest.mark.parametrize("target", [b"/", b"/upper", b"/up/", b"/u", b"//up", b"/UP", b"/%75p", b"/x?/up", b"*"])
def test_every_other_path_is_the_applications(target: bytes) -> None:
    assert not HealthCheck("/up").concerns(target)


@pytest.mark.parametrize("phase", list(Phase))
def test_it_says_in_which_phase_the_server_is(phase: Phase) -> None:
    status, fields, text = HealthCheck("/up").answer(b"GET", phase, leaving=False)
    told = json.loads(text)
    if phase == Phase.SERVING:
        assert (status, told) == (200, {"status": "ready"})
    else:
        assert (status, told) == (503, {"status": "draining", "phase": phase.name.lower()})
    assert dict(fields) == {
        b"content-type": b"application/json",
        b"content-length": b"%d" % len(text),
        b"cache-control": b"no-store",
    }


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"OPTIONS"])
def test_it_may_be_asked_by(method: bytes) -> None:
    assert HealthCheck("/up").answer(method, Phase.SERVING, leaving=False)[0] == 200
    assert HealthCheck("/up").answer(method, Phase.CLOSING, leaving=False)[0] == 503


@pytest.mark.parametrize("phase", list(Phase))
def test_a_worker_that_is_replaced_says_that_the_server_is_ready(phase: Phase) -> None:
    assert HealthCheck("/up").answer(b"GET", phase, leaving=True)[0] == 200


@in_loop
async def test_a_health_check_is_answered_without_application_and_access_log() -> None:
    log = Log()
    worker = Worker(path, health_path="/up", root_path="/api", access=log)
    client = worker.connect()
    client.send(get(b"/up?x=1"))
    await turns()
    client.send(get(b"/else"))
    await turns()
    health, other = client.answers()
    assert (health.status, health.body, health.get(b"cache-control")) == (200, b'{"status":"ready"}\n', b"no-store")
    assert health.get(b"content-type") == b"application/json"
    assert not health.closes
    assert other.body.startswith(b"the application: ")
    assert [line[2] for line in log.lines] == [b"/else"]
    assert worker.state.requests == 1, "what counts for max_requests"


@in_loop
async def test_without_the_setting_the_path_is_the_applications() -> None:
    worker = Worker(path)
    client = worker.connect()
    client.send(get(b"/up"))
    await turns()
    assert worker.state.health is None
    assert client.answers()[0].body == b"the application: /up"


@in_loop
async def test_a_head_is_answered_without_a_body_and_with_its_length() -> None:
    worker = Worker(path, health_path="/up")
    client = worker.connect()
    client.send(head(b"/up") + get(b"/up"))
    await turns()
    asked, got = client.answers(b"HEAD", b"GET")
    assert (asked.status, asked.body, asked.get(b"content-length")) == (200, b"", b"%d" % len(got.body))


@in_loop
async def test_other_methods_are_told_which_there_are_and_their_body_is_read_past() -> None:
    worker = Worker(path, health_path="/up")
    client = worker.connect()
    client.send(post(b"abc", target=b"/up", length=6))
    await turns()
    client.send(b"def" + get(b"/else"))
    await turns()
    refused, other = client.answers()
    assert (refused.status, refused.get(b"allow"), refused.closes) == (405, b"GET, HEAD, OPTIONS", False)
    assert other.body == b"the application: /else"


@in_loop
async def test_a_health_check_needs_no_place_among_the_running_requests() -> None:
    worker = Worker(Slow(), health_path="/up", limit_concurrency=1)
    busy, check = worker.connect(), worker.connect()
    busy.send(get(b"/busy"))
    await turns()
    check.send(get(b"/up"))
    await turns()
    assert check.statuses == [200]
    assert len(worker.state.tasks) == 1
    busy.transport.lose()
    for task in worker.state.tasks:
        task.cancel()
    await turns()


@in_loop
async def test_a_pipelined_health_check_waits_for_its_turn() -> None:
    app = Slow()
    worker = Worker(app, health_path="/up")
    client = worker.connect()
    client.send(get(b"/slow") + get(b"/up") + get(b"/slow"))
    await turns()
    assert client.statuses == []
    app.open("/slow")
    await turns()
    assert [said.body for said in client.answers()] == [b"/slow", b'{"status":"ready"}\n', b"/slow"]


@in_loop
async def test_health_checks_over_http2_are_answered_likewise() -> None:
    log = Log()
    worker = Worker(path, health_path="/up", access=log)
    client = Http2Client(worker)
    client.send(get2(1, b"/up?x"), get2(3, b"/else"))
    client.send(headers2(5, request_block(b"HEAD", b"/up"), end=True))
    client.send(headers2(7, request_block(b"POST", b"/up")), data(7, b"abc"))
    await client.turn()
    client.send(data(7, b"def", end=True))
    await client.turn()
    assert [client.response(number).status for number in (1, 3, 5, 7)] == [200, 200, 200, 405]
    assert client.whole(1, 3, 5, 7)
    assert [client.body(number) for number in (1, 5)] == [b'{"status":"ready"}\n', b""]
    assert (b"cache-control", b"no-store") in client.response(1).fields
    assert (b"allow", b"GET, HEAD, OPTIONS") in client.response(7).fields
    assert [line[2] for line in log.lines] == [b"/else"]


@in_loop
async def test_many_health_checks_on_one_http2_connection_take_no_places() -> None:
    worker = Worker(path, health_path="/up", http2_max_streams=2)
    client = Http2Client(worker)
    for number in range(1, 41, 2):
        client.send(get2(number, b"/up"))
        await client.turn(3)
    client.send(get2(41, b"/else"))
    await client.turn()
    assert client.whole(*range(1, 43, 2))
    assert client.body(41) == b"the application: /else"


@in_loop
async def test_over_http2_a_stop_shows_in_the_answer_as_well() -> None:
    worker = Worker(path, health_path="/up", drain_delay=5.0)
    client = Http2Client(worker)
    worker.drain.stop()
    client.send(get2(1, b"/up"))
    await client.turn()
    assert (client.response(1).status, json.loads(client.body(1))["phase"]) == (503, "lame_duck")
