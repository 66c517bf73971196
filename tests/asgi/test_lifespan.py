"""The lifespan protocol: start, failure, silence, and the end."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from typing import Any

import pytest

from keepserve.asgi.lifespan import Lifespan, LifespanError
from tests.support.harness import App, Receive, Scope, Send, in_loop, turns

COMPLETE = {"type": "lifespan.startup.complete"}
DOWN = {"type": "lifespan.shutdown.complete"}


def recording(events: list[str]) -> App:
    """An application that starts and stops as it should, and writes it down."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "lifespan"
        assert scope["asgi"]["version"] == "3.0"
        scope["state"]["pool"] = "a pool"
        events.append((await receive())["type"])
        await send(COMPLETE)
        events.append((await receive())["type"])
        await send(DOWN)

    return app


@pytest.mark.parametrize("mode", ["auto", "on"])
@in_loop
async def test_an_application_starts_and_stops(mode: str) -> None:
    events: list[str] = []
    lifespan = Lifespan(recording(events), mode)
    await lifespan.startup(1.0)
    assert events == ["lifespan.startup"]
    assert lifespan.state == {"pool": "a pool"}
    await lifespan.shutdown(1.0)
    assert events == ["lifespan.startup", "lifespan.shutdown"]


@in_loop
async def test_off_means_that_nothing_is_called() -> None:
    events: list[str] = []
    lifespan = Lifespan(recording(events), "off")
    await lifespan.startup(1.0)
    await lifespan.shutdown(1.0)
    assert events == []


@in_loop
async def test_no_time_limit_is_none() -> None:
    lifespan = Lifespan(recording([]), "on")
    await lifespan.startup(0)
    await lifespan.shutdown(0)


@pytest.mark.parametrize("mode", ["auto", "on"])
@in_loop
async def test_a_reported_failure_stops_the_start_with_the_applications_words(mode: str) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database at db:5432"})

    with pytest.raises(LifespanError, match=r"startup failed:\nno database at db:5432") as caught:
        await Lifespan(app, mode).startup(1.0)
    assert not caught.value.show_traceback


@in_loop
async def test_a_failure_without_words_is_a_sentence_too() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed"})

    with pytest.raises(LifespanError, match=r"startup failed\.$"):
        await Lifespan(app, "auto").startup(1.0)


@in_loop
async def test_an_application_that_reports_failure_and_raises_too_is_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Starlette sends its traceback as the message, and raises the exception on."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "Traceback ..."})
        raise ZeroDivisionError

    with pytest.raises(LifespanError, match=r"Traceback \.\.\."):
        await Lifespan(app, "auto").startup(1.0)
    await turns()
    assert caplog.records == []


@in_loop
async def test_an_application_that_raises_is_an_error_only_when_lifespan_is_asked_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        raise ZeroDivisionError("so it is")

    with pytest.raises(LifespanError, match="raised an exception in its lifespan startup") as caught:
        await Lifespan(app, "on").startup(1.0)
    assert caught.value.show_traceback
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    lifespan = Lifespan(app, "auto")
    await lifespan.startup(1.0)
    await lifespan.shutdown(1.0)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "going on without lifespan" in caplog.text


@in_loop
async def test_an_application_that_knows_no_lifespan_is_served_without_a_word(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"

    lifespan = Lifespan(app, "auto")
    await lifespan.startup(1.0)
    await lifespan.shutdown(1.0)
    assert caplog.records == []


@in_loop
async def test_an_application_that_returns_without_an_answer_knows_no_lifespan_either() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        return

    lifespan = Lifespan(app, "auto")
    await lifespan.startup(1.0)
    await lifespan.shutdown(1.0)
    with pytest.raises(LifespanError, match="returned without answering") as caught:
        await Lifespan(app, "on").startup(1.0)
    assert not caught.value.show_traceback


@in_loop
async def test_a_startup_that_takes_too_long_is_cancelled_and_says_what_to_set() -> None:
    cancelled = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    with pytest.raises(LifespanError, match=r"longer than startup_timeout, 0\.01 s"):
        await Lifespan(app, "auto").startup(0.01)
    assert cancelled.is_set()


@in_loop
async def test_a_stop_during_startup_cancels_it() -> None:
    cancelled = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    startup = asyncio.ensure_future(Lifespan(app, "auto").startup(10.0))
    await turns()
    startup.cancel()
    with pytest.raises(asyncio.CancelledError):
        await startup
    assert cancelled.is_set()


@in_loop
async def test_a_shutdown_that_hangs_is_cancelled_and_the_log_says_where(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(COMPLETE)
        await receive()
        await asyncio.Event().wait()

    lifespan = Lifespan(app, "on")
    await lifespan.startup(1.0)
    await lifespan.shutdown(0.01)
    assert "took longer than 0.01 s" in caplog.text
    assert "test_lifespan.py:" in caplog.text


@pytest.mark.parametrize(
    ("behaviour", "says"),
    [
        ("failed", "shutdown failed: pool busy"),
        ("raises", "raised an exception in its lifespan shutdown"),
        ("raises after its answer", "raised an exception in its lifespan shutdown"),
        ("returns", ""),
    ],
)
@in_loop
async def test_a_shutdown_that_fails_is_logged_and_ends(
    behaviour: str, says: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(COMPLETE)
        await receive()
        if behaviour == "failed":
            await send({"type": "lifespan.shutdown.failed", "message": "pool busy"})
        elif behaviour == "raises":
            raise ZeroDivisionError
        elif behaviour == "raises after its answer":
            await send(DOWN)
            raise ZeroDivisionError

    lifespan = Lifespan(app, "on")
    await lifespan.startup(1.0)
    await lifespan.shutdown(1.0)
    assert says in caplog.text
    assert len([record for record in caplog.records if record.levelno >= logging.ERROR]) == bool(says)


@in_loop
async def test_a_lifespan_that_ends_while_serving_is_told_at_once(caplog: pytest.LogCaptureFixture) -> None:
    gate = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(COMPLETE)
        await gate.wait()
        raise ZeroDivisionError

    lifespan = Lifespan(app, "on")
    await lifespan.startup(1.0)
    gate.set()
    await turns()
    assert "ended with an exception" in caplog.text
    await lifespan.shutdown(1.0)


@pytest.mark.parametrize(
    ("messages", "says"),
    [
        ([{"type": "http.response.start"}], "is not a lifespan message"),
        ([{"type": "startup.complete"}], "is not a lifespan message"),
        ([{"type": "lifespan.startup"}], "is not a lifespan message"),
        ([{"type": "lifespan.startup.done"}], "is not a lifespan message"),
        ([COMPLETE, COMPLETE], "twice"),
    ],
)
@in_loop
async def test_a_message_out_of_order_raises_a_sentence(messages: list[dict[str, Any]], says: str) -> None:
    errors: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        for message in messages:
            try:
                await send(message)
            except RuntimeError as error:
                errors.append(str(error))
        if COMPLETE not in messages:
            await send(COMPLETE)
        await receive()
        await send(DOWN)

    lifespan = Lifespan(app, "on")
    await lifespan.startup(1.0)
    await lifespan.shutdown(1.0)
    assert len(errors) == 1
    assert says in errors[0]


@in_loop
async def test_context_variables_set_in_lifespan_are_there_for_requests() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        variable.set("set")
        await send(COMPLETE)
        await receive()
        await send(DOWN)

    lifespan = Lifespan(app, "on")
    await lifespan.startup(1.0)
    assert lifespan.context[variable] == "set"
    assert variable.get() == "unset"
    await lifespan.shutdown(1.0)
