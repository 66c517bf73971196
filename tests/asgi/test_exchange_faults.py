"""What an application does wrong, and what its client and the log are told."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import pytest

from keepserve.telemetry.logs import JSONFormatter, TextFormatter
from keepserve.telemetry.reasons import CloseReason
from tests.support.harness import GET, Receive, Scope, Send, Worker, answer, body, get, in_loop, post, start, turns

# The application fails.


@pytest.mark.parametrize(
    ("messages", "logged"),
    [
        ([], "without starting a response"),
        ([start()], "without completing its response"),
    ],
)
@pytest.mark.parametrize("raises", [True, False])
@in_loop
async def test_an_application_that_ends_before_its_response_gets_its_client_a_500(
    messages: list[dict[str, Any]], logged: str, raises: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/next":
            return await answer(send)
        for message in messages:
            await send(message)
        if raises:
            raise ZeroDivisionError("so it is")
        return None

    client = Worker(app).connect()
    client.send(get(b"/broken?x=1"))
    await turns()
    (said,) = client.answers()
    assert (said.status, said.reason, said.closes) == (500, "Internal Server Error", False)
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "GET /broken?x=1" in record.getMessage()
    assert record.exc_info is not None
    assert ("so it is" if raises else logged) in str(record.exc_info[1])
    client.send(get(b"/next"))
    await turns()
    assert client.statuses == [500, 200]


@in_loop
async def test_a_failure_is_logged_once_with_the_ids_its_request_came_with(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise ZeroDivisionError("so it is")

    client = Worker(app).connect()
    client.send(get(b"/x", b"X-Request-ID: r\x9b1", b"X-Amzn-Trace-Id: Root=1-2", b"User-Agent: a"))
    await turns()
    (record,) = caplog.records
    assert record.getMessage() == "The application failed on GET /x amzn_trace_id=Root=1-2 request_id=r\x9b1"
    text = TextFormatter().format(record)
    assert r"request_id=r\x9b1" in text
    assert "\x9b" not in text
    members = json.loads(JSONFormatter().format(record))
    assert (members["amzn_trace_id"], members["request_id"]) == ("Root=1-2", "r\x9b1")
    assert "traceparent" not in members


@in_loop
async def test_a_500_says_close_when_the_request_is_too_long_to_be_dropped() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise ZeroDivisionError

    worker = Worker(app)
    client = worker.connect()
    client.send(post(b"x", length=1_000_000))
    await turns()
    assert [(said.status, said.closes) for said in client.answers()] == [(500, True)]
    assert client.transport.events == ["eof"]


@pytest.mark.parametrize("raises", [True, False])
@in_loop
async def test_a_response_that_is_not_finished_is_cut_where_the_client_can_see_it(
    raises: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        await send(body(b"some", more=True))
        if raises:
            raise ZeroDivisionError

    worker = Worker(app)
    client = worker.connect()
    client.send(GET)
    await turns()
    (said,) = client.answers()
    assert (said.status, said.body, said.whole) == (200, b"some", False)
    assert client.transport.events == ["eof"]
    assert len(caplog.records) == 1
    client.eof()
    await turns()
    assert worker.state.closed[CloseReason.APP_FAILED] == 1


@in_loop
async def test_a_response_whose_end_is_the_close_is_cut_with_a_reset() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        await send(body(b"some", more=True))
        raise ZeroDivisionError

    client = Worker(app).connect()
    client.send(GET.replace(b"1.1", b"1.0"))
    await turns()
    assert client.transport.events == ["abort"]


@in_loop
async def test_a_body_longer_than_promised_is_cut_and_told_to_the_application() -> None:
    errors: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start(200, (b"content-length", b"5")))
        await send(body(b"hel", more=True))
        try:
            await send(body(b"lo, world"))
        except RuntimeError as error:
            errors.append(str(error))
            raise

    worker = Worker(app)
    client = worker.connect()
    client.send(GET + GET)
    await turns()
    assert "longer than its Content-Length" in errors[0]
    (said,) = client.answers()
    assert (said.body, said.whole) == (b"hello", True)
    assert client.transport.events == ["eof"]
    client.eof()
    await turns()
    assert worker.state.closed[CloseReason.APP_FRAMING] == 1


@in_loop
async def test_an_application_that_takes_other_arguments_gets_its_client_a_500() -> None:
    async def app(scope: Scope) -> None:
        raise AssertionError("never run")

    worker = Worker(app)  # type: ignore[arg-type]
    client = worker.connect()
    client.send(GET + GET)
    await turns()
    assert client.statuses == [500, 500]
    assert not worker.state.tasks


@in_loop
async def test_a_fault_in_background_work_is_told_and_changes_nothing_for_the_client(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send)
        await asyncio.sleep(0)
        raise ZeroDivisionError

    client = Worker(app).connect()
    client.send(GET)
    await turns()
    client.send(GET)
    await turns()
    assert client.statuses == [200, 200]
    assert len(caplog.records) == 2


@pytest.mark.parametrize(("by_us", "status", "logged"), [(False, 500, 1), (True, 503, 0)])
@in_loop
async def test_a_cancelled_application_is_a_fault_of_its_own_unless_the_server_is_at_its_limit(
    by_us: bool, status: int, logged: int, caplog: pytest.LogCaptureFixture
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.Event().wait()

    worker = Worker(app)
    client = worker.connect()
    client.send(GET)
    await turns()
    (task,) = worker.state.tasks
    if by_us:
        worker.state.cut_off(task)
    else:
        task.cancel()
    await turns()
    assert client.statuses == [status]
    assert len(caplog.records) == logged
