"""``keepserve.draining`` and its kin: what applications can ask of the worker's end."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable

import keepserve
from keepserve.server.phases import Phase
from tests.support.ending import live
from tests.support.harness import (
    GET,
    Receive,
    Scope,
    Send,
    Worker,
    answer,
    get,
    hello,
    in_loop,
    post,
    turns,
)


@in_loop
async def test_an_application_can_ask_whether_the_worker_is_draining_and_wait_for_it() -> None:
    seen: list[object] = []
    answered = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        facts = scope["extensions"]["keepserve"]
        seen.append((keepserve.draining(), facts["draining"]))
        waits: list[Awaitable[None]] = [keepserve.until_draining(), facts["until_draining"]()]
        in_task = asyncio.create_task(keepserve.until_draining())
        await asyncio.gather(*waits, in_task)
        seen.append((keepserve.draining(), facts["draining"], await asyncio.to_thread(keepserve.draining)))
        await answer(send)
        answered.set()

    worker = Worker(app)
    client = worker.connect()
    client.send(GET)
    await turns()
    assert seen == [(False, False)]
    worker.drain.stop()
    await asyncio.wait_for(answered.wait(), 5)
    assert seen[1:] == [(True, True, True)]


@in_loop
async def test_servers_in_one_process_do_not_mix() -> None:
    seen: list[tuple[str, bool]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append((scope["path"], keepserve.draining()))
        await answer(send)

    one, other = Worker(app), Worker(app)
    first, second = one.connect(), other.connect()
    one.drain.stop()
    first.send(get(b"/one"))
    second.send(get(b"/other"))
    await turns()
    assert sorted(seen) == [("/one", True), ("/other", False)]
    assert keepserve.draining() is False, "we are in no request"


@in_loop
async def test_outside_of_a_server_nothing_drains_and_nobody_says_so() -> None:
    async def ask() -> bool:
        return keepserve.draining()

    assert await asyncio.create_task(ask(), context=contextvars.Context()) is False
    waiting = asyncio.create_task(keepserve.until_draining())
    await turns()
    assert not waiting.done()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)


@in_loop
async def test_a_body_that_came_is_read_before_the_application_is_told() -> None:
    read: list[str] = []
    gate = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await gate.wait()
        read.extend([(await receive())["type"], (await receive())["type"]])
        await answer(send)

    worker = Worker(app, drain_timeout=1.0, drain_cancel=2.0)
    client = worker.connect()
    client.send(post(b"body"))
    await turns()
    worker.drain.stop()
    await live(worker, 1.0)
    assert worker.drain.phase == Phase.LIMIT
    gate.set()
    await turns()
    assert read == ["http.request", "http.disconnect"]
    assert client.statuses == [200]


@in_loop
async def test_a_worker_that_is_not_told_to_end_says_nothing_of_it() -> None:
    worker = Worker(hello)
    client = worker.connect()
    client.send(GET)
    await turns()
    assert (worker.state.phase, worker.state.draining) == (Phase.SERVING, False)
    assert not client.answers()[0].closes
