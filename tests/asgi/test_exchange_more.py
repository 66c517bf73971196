"""Held heads, files, trailers, hints, and 100 Continue: an exchange's extras, over a real connection."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from keepserve.asgi.files import CHUNK
from tests.support.harness import GET, Receive, Scope, Send, Worker, answer, body, get, in_loop, post, start, turns


async def eventually(condition: Callable[[], object]) -> None:
    """Wait for a thread's work: a few milliseconds, and two seconds at the most."""
    async with asyncio.timeout(2):
        while not condition():  # noqa: ASYNC110  # nobody tells
            await asyncio.sleep(0.001)


async def ended(worker: Worker) -> None:
    """Wait until every application has ended that was about to begin."""
    await eventually(lambda: not worker.state.batch and not worker.state.tasks)


# The head.


@in_loop
async def test_the_head_waits_for_the_body_so_that_both_are_one_write_with_a_length() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        await send(body(b"hello"))

    client = Worker(app).connect()
    client.send(GET)
    await turns()
    assert len(client.transport.writes) == 1
    assert client.answers()[0].framing == "length"


@pytest.mark.parametrize("before", [0, 1, 5])
@in_loop
async def test_the_head_is_sent_when_the_application_pauses_behind_it(before: int) -> None:
    gate = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for _ in range(before):
            await asyncio.sleep(0)
        await send(start(200, (b"content-type", b"text/event-stream")))
        await gate.wait()
        await send(body(b"data: 1\n\n", more=True))
        await send(body())

    client = Worker(app).connect()
    client.send(GET)
    await turns(20)
    (head,) = client.answers()
    assert (head.status, head.framing, head.body) == (200, "chunked", b"")
    gate.set()
    await turns()
    assert client.answers()[0].body == b"data: 1\n\n"
    assert client.answers()[0].whole


@in_loop
async def test_a_faulty_head_that_was_held_becomes_a_500(caplog: pytest.LogCaptureFixture) -> None:
    errors: list[BaseException] = []
    gate = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start(200, (b"bad name", b"1")))
        await gate.wait()
        try:
            await send(body(b"too late"))
        except RuntimeError as error:
            errors.append(error)
            raise ValueError("wrapped, as frameworks do") from error

    client = Worker(app).connect()
    client.send(GET)
    await turns()
    assert client.statuses == [500]
    assert len(caplog.records) == 1
    gate.set()
    await turns()
    assert "b'bad name'" in str(errors[0])  # the reason, and not that a 500 was sent in its place
    assert client.statuses == [500]
    assert len(caplog.records) == 1  # it is the same failure


@in_loop
async def test_a_held_head_that_cannot_be_rendered_at_all_becomes_a_500(caplog: pytest.LogCaptureFixture) -> None:
    gate = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start([200]))  # type: ignore[arg-type]
        await gate.wait()

    client = Worker(app).connect()
    client.send(GET)
    await turns()
    assert client.statuses == [500]
    gate.set()
    await turns()
    assert len(caplog.records) == 1


# Expect: 100-continue.


@in_loop
async def test_100_continue_goes_out_when_the_application_first_asks_for_the_body() -> None:
    gate = asyncio.Event()
    got: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await gate.wait()
        got.append(await receive())
        await answer(send)

    client = Worker(app).connect()
    client.send(post(b"", b"Expect: 100-continue", length=5))
    await turns()
    assert client.transport.sent == b""
    gate.set()
    await turns()
    assert client.transport.sent == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.send(b"hello")
    await turns()
    assert client.statuses == [100, 200]
    assert got[0]["body"] == b"hello"
    client.send(GET)
    gate.set()
    await turns()
    assert client.statuses == [100, 200, 200]


@in_loop
async def test_an_answer_instead_of_100_continue_closes() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"no", 401)

    client = Worker(app).connect()
    client.send(post(b"", b"Expect: 100-continue", length=5))
    await turns()
    assert client.statuses == [401]
    assert client.answers()[0].closes
    assert client.transport.events == ["eof"]


@in_loop
async def test_no_100_continue_behind_the_head_of_the_response() -> None:
    got: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        await send(body(b"some", more=True))
        got.append(await receive())
        await send(body())

    client = Worker(app).connect()
    client.send(post(b"", b"Expect: 100-continue", length=5))
    await turns()
    client.send(b"hello")
    await turns()
    assert client.statuses == [200]
    assert client.answers()[0].closes
    assert got[0]["body"] == b"hello"


# Files.


async def send_file(send: Send, path: Path, *headers: tuple[bytes, bytes]) -> None:
    """Send a file as the body of a response."""
    await send(start(200, *headers))
    await send({"type": "http.response.pathsend", "path": str(path)})


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK])
@pytest.mark.parametrize("length", [True, False])
@in_loop
async def test_a_file_is_sent_whole(size: int, length: bool, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(size))

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert "http.response.pathsend" in scope["extensions"]
        await send_file(send, path, *([(b"content-length", b"%d" % size)] if length else []))

    worker = Worker(app)
    client = worker.connect()
    client.send(GET)
    await ended(worker)
    (said,) = client.answers()
    assert said.body == path.read_bytes()
    assert said.whole
    client.send(GET)
    await ended(worker)
    assert client.statuses == [200, 200]


@in_loop
async def test_a_file_waits_for_a_slow_client_and_is_closed_when_it_leaves(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 20 * CHUNK)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send_file(send, path)

    worker = Worker(app)
    client = worker.connect(capacity=0)
    client.send(GET)
    await eventually(lambda: client.connection.write_paused)
    await asyncio.sleep(0.005)
    assert client.transport.get_write_buffer_size() < 2 * CHUNK
    client.transport.lose()
    await ended(worker)
    gc.collect()  # an open file would warn here


@pytest.mark.parametrize("kind", ["missing", "directory", "pipe", "shrinking"])
@in_loop
async def test_a_file_that_cannot_be_sent_is_a_fault_of_the_application(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "file"
    if kind == "directory":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "shrinking":
        path.write_bytes(b"x" * 3 * CHUNK)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send_file(send, path)

    worker = Worker(app)
    client = worker.connect(capacity=0)
    client.send(GET)
    if kind == "shrinking":
        await eventually(lambda: client.connection.write_paused)
        path.write_bytes(b"")
        client.transport.take(10 * CHUNK)
    await ended(worker)
    await turns()
    (said,) = client.answers()
    assert (said.status, said.whole) == ((200, False) if kind == "shrinking" else (500, True))
    assert len(caplog.records) == 1


@in_loop
async def test_a_small_file_and_its_head_are_one_write_with_a_length(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"hello")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send_file(send, path)

    worker = Worker(app)
    client = worker.connect()
    client.send(GET)
    await ended(worker)
    assert len(client.transport.writes) == 1
    assert client.answers()[0].get(b"content-length") == b"5"


@in_loop
async def test_an_application_may_answer_otherwise_when_its_file_is_missing(tmp_path: Path) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await send_file(send, tmp_path / "missing")
        except OSError:
            await send(body(b"no such file"))

    worker = Worker(app)
    client = worker.connect()
    client.send(GET)
    await ended(worker)
    assert client.answers()[0].body == b"no such file"


@in_loop
async def test_a_growing_file_is_sent_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"x" * 2 * CHUNK)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send_file(send, path)

    worker = Worker(app)
    client = worker.connect(capacity=0)
    client.send(GET)
    await eventually(lambda: client.connection.write_paused)
    with path.open("ab") as file:
        file.write(b"y" * CHUNK)
    client.transport.take(10 * CHUNK)
    await ended(worker)
    assert client.answers()[0].body == b"x" * 2 * CHUNK


# Trailers.


@in_loop
async def test_trailers_are_sent_to_those_who_asked() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert "http.response.trailers" in scope["extensions"]
        await send(start(trailers=True))
        await send(body(b"hello"))
        await send({"type": "http.response.trailers", "headers": [(b"x-a", b"1")], "more_trailers": True})
        await send({"type": "http.response.trailers", "headers": [(b"x-b", b"2")]})

    client = Worker(app).connect()
    client.send(get(b"/", b"TE: trailers"))
    client.send(get(b"/", b"TE: gzip, Trailers"))
    await turns()
    for said in client.answers():
        assert (said.framing, said.body) == ("chunked", b"hello")
        assert said.trailers == [(b"x-a", b"1"), (b"x-b", b"2")]
    assert client.statuses == [200, 200]


@pytest.mark.parametrize("line", [b"A: b", b"TE: gzip", b"Trailer: x-a"])
@in_loop
async def test_trailers_are_left_out_for_those_who_did_not(line: bytes) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert "http.response.trailers" not in scope["extensions"]
        await send(start(trailers=True))
        await send(body(b"hello"))
        await send({"type": "http.response.trailers", "headers": [(b"x-a", b"1")]})

    client = Worker(app).connect()
    client.send(get(b"/", line))
    client.send(GET.replace(b"1.1", b"1.0"))
    await turns()
    assert [(said.body, said.trailers) for said in client.answers()] == [(b"hello", [])] * 2


@in_loop
async def test_trailers_that_never_come_leave_a_response_that_shows_it() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start(trailers=True))
        await send(body(b"hello"))

    client = Worker(app).connect()
    client.send(get(b"/", b"TE: trailers"))
    await turns()
    assert not client.answers()[0].whole
    assert client.transport.events == ["eof"]


# Early hints.


@in_loop
async def test_early_hints_leave_at_once() -> None:
    gate = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert "http.response.early_hint" in scope["extensions"]
        await send({"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload", b"</b.js>; rel=preload"]})
        await gate.wait()
        await answer(send)

    client = Worker(app).connect()
    client.send(GET)
    await turns()
    (hint,) = client.answers()
    assert hint.status == 103
    assert hint.all(b"link") == [b"</a.css>; rel=preload", b"</b.js>; rel=preload"]
    gate.set()
    await turns()
    assert client.statuses == [103, 200]


@in_loop
async def test_early_hints_are_not_for_http_1_0() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload"]})
        await answer(send)

    client = Worker(app).connect()
    client.send(GET.replace(b"1.1", b"1.0"))
    await turns()
    assert client.statuses == [200]
