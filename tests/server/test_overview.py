"""What a worker says of its tasks (SIGUSR2)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from keepserve.server.overview import describe_tasks
from keepserve.telemetry.stacks import dump_stacks
from tests.support.harness import Receive, Scope, Send, Worker, answer, body, get, in_loop, start, turns


def lines_of(worker: Worker) -> list[str]:
    return describe_tasks(worker.state).split("\n")


@in_loop
async def test_requests_are_told_by_method_path_and_age_the_oldest_first() -> None:
    release = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await release.wait()
        await answer(send)

    worker = Worker(app)
    clients = []
    for path in (b"/first?token=secret", b"/second"):
        client = worker.connect()
        client.send(get(path))
        clients.append(client)
        worker.clock.advance(1.5)
    await turns()
    lines = lines_of(worker)
    titles = [line for line in lines if line.startswith("GET ")]
    assert lines[0] == "3 tasks, 2 of them for a request"
    assert [title.split(" (Task")[0] for title in titles] == [
        "GET /first, 3 s old, no response yet",
        "GET /second, 1.5 s old, no response yet",
    ]
    assert "secret" not in "\n".join(lines)
    release.set()
    await turns()
    assert lines_of(worker)[0] == "1 task, 0 of them for a request"
    for client in clients:
        client.connection.abort()


@in_loop
async def test_the_innermost_frame_is_told_through_generators_and_wrappers() -> None:
    release = asyncio.Event()

    async def wait_for_the_database() -> None:
        await release.wait()

    class Awaitable:
        def __await__(self) -> Any:
            return wait_for_the_database().__await__()

    async def rows() -> AsyncIterator[bytes]:
        await Awaitable()
        yield b"row"

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start(200))
        await send(body(b"12345", more=True))
        async for row in rows():
            await send(body(row, more=True))
        await send(body())

    worker = Worker(app)
    client = worker.connect()
    client.send(get(b"/rows"))
    await turns()
    lines = lines_of(worker)
    begin = next(number for number, line in enumerate(lines) if line.startswith("GET /rows"))
    assert "response 200, 5 bytes of body (" in lines[begin]
    names = [line.split(" in ")[1].split(":")[0] for line in lines[begin + 1 :] if line.startswith("  ")]
    assert names[:5] == ["_run", "app", "rows", "wait_for_the_database", "wait"]
    assert any(line.endswith("wait_for_the_database: await release.wait()") for line in lines)
    release.set()
    await turns()
    assert client.statuses == [200]
    client.connection.abort()


@in_loop
async def test_an_application_that_goes_on_after_its_answer_or_without_its_client_is_still_told() -> None:
    release = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/answered":
            await answer(send)
        await release.wait()

    worker = Worker(app)
    answered, left = worker.connect(), worker.connect()
    answered.send(get(b"/answered", b"Connection: close"))
    left.send(get(b"/left"))
    await turns()
    left.connection.abort()
    await turns()
    text = "\n".join(lines_of(worker))
    assert "GET /answered, 0 s old, response 200, 0 bytes of body, complete (" in text
    assert "GET /left, 0 s old, the client is gone (" in text
    release.set()
    await turns()
    answered.connection.abort()


@in_loop
async def test_what_does_not_fit_is_counted() -> None:
    release = asyncio.Event()

    async def deep(levels: int) -> None:
        if levels:
            await deep(levels - 1)
        await release.wait()

    tasks = [asyncio.create_task(deep(20), name=f"t{number}") for number in range(5)]
    await turns()
    lines = dump_stacks(tasks, {tasks[3]: "the important one"}, most_tasks=2, most_frames=3).split("\n")
    assert lines[0] == "5 tasks, 1 of them for a request"
    assert lines[1] == "the important one (t3)"
    assert lines[2] == "  (19 outer frames left out)"
    assert [line.split(" in ")[1].split(":")[0] for line in lines[3:6]] == ["deep", "deep", "wait"]
    assert lines[6] == "t0"
    assert lines[-1] == "3 more tasks left out"
    release.set()
    await asyncio.gather(*tasks)
    assert dump_stacks(tasks, {}) == "0 tasks, 0 of them for a request"


@in_loop
async def test_requests_that_wait_for_a_place_are_counted() -> None:
    release = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await release.wait()
        await answer(send)

    worker = Worker(app, limit_concurrency=1)
    clients = [worker.connect() for _ in range(3)]
    for client in clients:
        client.send(get())
    await turns()
    assert lines_of(worker)[-1] == "2 more requests wait for a place to run"
    release.set()
    await turns()
    assert [client.statuses for client in clients] == [[200]] * 3
    for client in clients:
        client.connection.abort()
