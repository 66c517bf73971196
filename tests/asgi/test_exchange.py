"""receive() and send() as an application sees them, over a real connection without a socket."""

from __future__ import annotations

import asyncio
import contextvars
from typing import Any

import pytest

from keepserve.telemetry.reasons import CloseReason
from tests.support.harness import GET, Receive, Scope, Send, Worker, answer, body, get, in_loop, post, start, turns

DISCONNECT = {"type": "http.disconnect"}


def request(data: bytes, more: bool = False) -> dict[str, Any]:
    """What receive() returns for some of a body."""
    return {"type": "http.request", "body": data, "more_body": more}


# receive().


@in_loop
async def test_a_request_without_a_body_is_one_empty_message() -> None:
    got: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        got.append(await receive())
        await answer(send)
        got.append(await receive())
        got.append(await receive())

    client = Worker(app).connect()
    client.send(GET)
    await turns()
    assert got == [request(b""), DISCONNECT, DISCONNECT]


@in_loop
async def test_a_body_arrives_as_it_comes() -> None:
    got: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while not got or got[-1]["more_body"]:
            got.append(await receive())
        await answer(send)

    client = Worker(app).connect()
    client.send(post(b"one", length=9))
    await turns()
    client.send(b"two")
    await turns()
    client.send(b"end")
    await turns()
    assert got == [request(b"one", True), request(b"two", True), request(b"end")]
    assert client.statuses == [200]


@in_loop
async def test_what_came_meanwhile_is_one_message() -> None:
    got: list[Any] = []
    gate = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await gate.wait()
        got.append(await receive())
        await answer(send)

    client = Worker(app).connect()
    client.send(post(b"one", length=9))
    client.send(b"two")
    client.send(b"end")
    gate.set()
    await turns()
    assert got == [request(b"onetwoend")]


@in_loop
async def test_the_end_of_a_chunked_body_may_come_alone() -> None:
    got: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while not got or got[-1]["more_body"]:
            got.append(await receive())
        await answer(send)

    client = Worker(app).connect()
    client.send(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
    await turns()
    client.send(b"0\r\nX-Trailer: 1\r\n\r\n")
    await turns()
    assert got == [request(b"a", True), request(b"")]


@in_loop
async def test_receive_waits_for_the_client_to_leave_once_the_body_is_read() -> None:
    got: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        got.append(await receive())
        got.append(await receive())

    client = Worker(app).connect()
    client.send(GET)
    await turns()
    assert len(got) == 1
    client.transport.lose()
    await turns()
    assert got == [request(b""), DISCONNECT]


@in_loop
async def test_a_response_that_is_complete_wakes_who_waits_for_the_client_to_leave() -> None:
    got: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        watcher = asyncio.ensure_future(receive())
        await asyncio.sleep(0)
        await answer(send)
        got.append(await watcher)

    client = Worker(app).connect()
    client.send(GET)
    await turns()
    assert got == [DISCONNECT]


@in_loop
async def test_several_tasks_may_wait_and_each_piece_goes_to_one_of_them() -> None:
    got: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        got.extend(await asyncio.gather(*(receive() for _ in range(3))))
        await answer(send)

    client = Worker(app).connect()
    client.send(post(b"", length=6))
    await turns()
    client.send(b"abc")
    await turns()
    client.send(b"def")
    await turns()
    client.transport.lose()
    await turns()
    assert sorted(message.get("body", b"-") for message in got) == [b"-", b"abc", b"def"]


@in_loop
async def test_a_cancelled_receiver_takes_nothing_and_harms_no_other() -> None:
    got: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        first, second = (asyncio.ensure_future(receive()) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        got.append(await second)
        with pytest.raises(asyncio.CancelledError):
            await first
        try:
            async with asyncio.timeout(0):
                await receive()
        except TimeoutError:
            got.append("timeout")
        got.append(await receive())
        await answer(send)

    client = Worker(app).connect()
    client.send(post(b"", length=6))
    await turns()
    client.send(b"abc")
    await turns()
    client.send(b"def")
    await turns()
    assert got == [request(b"abc", True), "timeout", request(b"def")]
    assert client.statuses == [200]


# The client leaves.


@in_loop
async def test_a_client_that_half_closes_gets_its_whole_answer_and_is_no_disconnect() -> None:
    gate = asyncio.Event()
    seen: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        watcher = asyncio.ensure_future(receive())
        await gate.wait()
        seen.append(watcher.done())
        await send(start())
        await send(body(b"x" * 1000, more=True))
        await asyncio.sleep(0)
        await send(body(b"y" * 1000))
        await watcher

    worker = Worker(app)
    client = worker.connect()
    client.send(GET)
    client.eof()
    await turns()
    assert client.transport.events == []
    gate.set()
    await turns()
    assert seen == [False]
    assert client.answers()[0].body == b"x" * 1000 + b"y" * 1000
    assert client.transport.events == ["close"]
    assert worker.state.closed[CloseReason.PEER_CLOSED] == 1


@in_loop
async def test_a_client_that_half_closes_gets_the_answers_to_all_it_pipelined() -> None:
    client = Worker().connect()
    client.connection.data_received(get(b"/1") + get(b"/2"))
    client.eof()
    await turns(30)
    assert [answer.body for answer in client.answers()] == [b"/1", b"/2"]
    assert client.transport.events == ["close"]


@in_loop
async def test_send_raises_oserror_once_the_client_is_gone() -> None:
    errors: list[BaseException] = []
    gate = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await gate.wait()
        for message in (start(), body(b"x", more=True), {"type": "http.response.early_hint", "links": []}):
            try:
                await send(message)
            except OSError as error:
                errors.append(error)

    client = Worker(app).connect()
    client.send(GET)
    await turns()
    client.transport.lose(ConnectionResetError())
    gate.set()
    await turns()
    assert len(errors) == 3
    assert client.transport.sent == b""


@in_loop
async def test_a_streaming_application_is_stopped_between_two_messages(caplog: pytest.LogCaptureFixture) -> None:
    count = 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal count
        await send(start())
        while True:
            await send(body(b"tick", more=True))
            count += 1
            await asyncio.sleep(0)

    worker = Worker(app)
    client = worker.connect()
    client.send(GET)
    await turns()
    client.transport.lose()
    await turns()
    assert count < 30
    assert not worker.state.tasks
    assert caplog.records == []


@pytest.mark.parametrize("grouped", [False, True])
@in_loop
async def test_a_framework_s_own_error_about_the_gone_client_is_no_fault(
    grouped: bool, caplog: pytest.LogCaptureFixture
) -> None:
    class ClientDisconnect(Exception):
        """As Starlette raises it from the OSError, and task groups pass it on."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        try:
            while True:
                await send(body(b"tick", more=True))
                await asyncio.sleep(0)
        except OSError:
            try:
                raise ClientDisconnect from None
            except ClientDisconnect as error:
                if grouped:
                    raise ExceptionGroup("of a task group", [error]) from None
                raise

    client = Worker(app).connect()
    client.send(GET)
    await turns()
    client.transport.lose()
    await turns()
    assert caplog.records == []


@in_loop
async def test_a_fault_after_the_client_has_left_is_still_told(caplog: pytest.LogCaptureFixture) -> None:
    gate = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await gate.wait()
        raise ZeroDivisionError

    client = Worker(app).connect()
    client.send(GET)
    await turns()
    client.transport.lose()
    gate.set()
    await turns()
    (record,) = caplog.records
    assert record.exc_info is not None
    assert record.exc_info[0] is ZeroDivisionError


# send() in order.


@pytest.mark.parametrize(
    ("messages", "says"),
    [
        ([body(b"x")], "sent 'http.response.body'; the server expected 'http.response.start'"),
        ([start(), start()], "sent 'http.response.start'; the server expected 'http.response.body'"),
        ([start(), body(), body()], "sent 'http.response.body'; the server expected nothing more"),
        ([start(), body(), start()], "sent 'http.response.start'; the server expected nothing more"),
        (
            [start(), body(b"x", True), start()],
            "sent 'http.response.start'; the server expected 'http.response.body'",
        ),
        ([{"type": "http.response.trailers", "headers": []}], "expected 'http.response.start'"),
        ([start(), {"type": "http.response.trailers", "headers": []}], "expected 'http.response.body'"),
        ([start(trailers=True), body(), body()], "expected 'http.response.trailers'"),
        ([start(), {"type": "http.response.early_hint", "links": []}], "expected 'http.response.body'"),
        ([{"type": "websocket.accept"}], "sent 'websocket.accept'"),
        ([{"type": "nonsense"}], "sent 'nonsense'"),
    ],
)
@in_loop
async def test_a_message_out_of_order_raises_a_sentence(messages: list[dict[str, Any]], says: str) -> None:
    errors: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in messages:
            try:
                await send(message)
            except RuntimeError as error:
                errors.append(str(error))
        if messages[0]["type"] != "http.response.start":
            await answer(send)

    client = Worker(app).connect()
    client.send(GET)
    await turns()
    assert len(errors) == 1
    assert says in errors[0]


@pytest.mark.parametrize(
    ("messages", "says"),
    [
        ([start("200"), body()], "status must be"),  # type: ignore[arg-type]
        ([start(200, (b"x", "1")), body()], "must be bytes"),  # type: ignore[arg-type]
        ([start(), {"type": "http.response.body", "body": "text"}], "must be bytes, not str"),
        ([start(), {"type": "http.response.body", "body": None}], "must be bytes, not NoneType"),
        ([{"type": "http.response.start", "status": 200}, body(b"fine")], ""),
        ([{"type": "http.response.start", "status": 200, "headers": iter([(b"x", b"1")])}, body(b"fine")], ""),
        ([start(), {"type": "http.response.body", "body": bytearray(b"fine")}], ""),
        ([start(), {"type": "http.response.body", "body": memoryview(b"fine")}], ""),
        ([start(), {"type": "http.response.body"}], ""),
    ],
)
@in_loop
async def test_wrong_types_get_a_sentence_and_the_client_a_500(messages: list[dict[str, Any]], says: str) -> None:
    errors: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            for message in messages:
                await send(message)
        except Exception as error:
            errors.append(str(error))
            raise

    client = Worker(app).connect()
    client.send(GET)
    await turns()
    if says:
        assert len(errors) == 1
        assert says in errors[0]
        assert client.statuses == [500]
    else:
        assert errors == []
        assert client.statuses == [200]


# Context.


@in_loop
async def test_requests_see_the_lifespans_context_and_not_each_others() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")
    seen: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(variable.get())
        variable.set("set by a request")
        await answer(send)

    worker = Worker(app)
    context = contextvars.copy_context()
    context.run(variable.set, "set by the lifespan")
    worker.state.context = context
    client = worker.connect()
    client.send(GET + GET)
    await turns()
    client.send(GET)
    await turns()
    assert seen == ["set by the lifespan"] * 3
    assert variable.get() == "unset"
