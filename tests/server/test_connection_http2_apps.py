"""Applications on HTTP/2: how they wait for slow clients, fail, learn that a client has gone, and are logged."""

from __future__ import annotations

import pytest

from keepserve.http2.outgoing import PUMP_BYTES
from keepserve.http2.streams import SEND_HIGH_WATER
from keepserve.server.connection import WRITE_HIGH_WATER
from tests.http2.frames import Code, data, get, post, rst, settings, window_update
from tests.support.applications import Streams
from tests.support.harness import Receive, Scope, Send, Worker, answer, body, hello, in_loop, start
from tests.support.http2 import Http2Client

WIDE = 10_000_000


class Producer:
    """``/large`` streams a million bytes, and tells how far it has come; everything else is ``hello``."""

    def __init__(self) -> None:
        self.sent = 0
        self.ended: BaseException | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] != "/large":
            await hello(scope, receive, send)
            return
        await send(start())
        try:
            for _ in range(100):
                await send(body(b"x" * 10_000, more=True))
                self.sent += 10_000
            await send(body())
        except BaseException as error:
            self.ended = error
            raise


# Slow clients.


@in_loop
async def test_a_streaming_application_waits_for_its_streams_window() -> None:
    """D2: at most the high water mark and one message are held."""
    app = Producer()
    client = Http2Client(Worker(app), own_settings=[(4, 30_000)])
    client.send(window_update(0, WIDE), get(1, b"/large"))
    await client.turn()
    assert len(client.body(1)) == 30_000
    assert app.sent <= 30_000 + SEND_HIGH_WATER
    client.send(get(3, b"/small"))
    await client.turn()
    assert client.whole(3)
    taken = 30_000
    while not client.whole(1):
        assert app.sent <= taken + SEND_HIGH_WATER + 10_000
        client.send(window_update(1, 50_000))
        await client.turn()
        taken += 50_000
    assert client.body(1) == b"x" * 1_000_000


@in_loop
async def test_two_streaming_applications_wait_each_for_its_own() -> None:
    apps = {"/a": Producer(), "/b": Producer()}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await apps[scope["path"]]({**scope, "path": "/large"}, receive, send)

    client = Http2Client(Worker(app), own_settings=[(4, 30_000)])
    client.send(window_update(0, WIDE), get(1, b"/a"), get(3, b"/b"), window_update(3, WIDE))
    await client.turn(60)
    assert (client.whole(1), client.whole(3)) == (False, True)
    assert apps["/a"].sent <= 30_000 + SEND_HIGH_WATER
    client.send(window_update(1, WIDE))
    await client.turn(60)
    assert client.whole(1)


@in_loop
async def test_a_streaming_application_waits_for_a_slow_connection() -> None:
    """The windows are wide, the wire is not: what waits in this process is bounded all the same."""
    app = Producer()
    worker = Worker(app)
    client = Http2Client(worker, own_settings=[(4, WIDE)], capacity=100_000)
    client.send(window_update(0, WIDE), get(1, b"/large"))
    await client.turn(50)
    bound = WRITE_HIGH_WATER + 2 * PUMP_BYTES + SEND_HIGH_WATER + 20_000
    assert app.sent <= 100_000 + bound
    assert not client.transport.reading, "answers to what it would send could not be written either"
    while worker.state.tasks or client.transport.get_write_buffer_size():
        client.transport.take(50_000)
        await client.turn(20)
        assert client.transport.get_write_buffer_size() <= bound
    assert client.body(1) == b"x" * 1_000_000
    assert client.transport.reading


@in_loop
async def test_a_response_handed_over_whole_goes_on_without_its_application() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"x" * 200_000)

    worker = Worker(app)
    client = Http2Client(worker)
    client.send(get(1))
    await client.turn()
    assert (len(client.body(1)), worker.state.tasks) == (65_535, set())
    for _ in range(3):
        client.send(window_update(0, 50_000), window_update(1, 50_000))
        await client.turn()
    assert client.whole(1)


# Failures.


@in_loop
async def test_a_failure_before_the_head_is_a_500_of_that_stream(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/bad":
            raise ValueError("no")
        await hello(scope, receive, send)

    client = Http2Client(Worker(app))
    client.send(get(1, b"/bad"), get(3, b"/good"))
    await client.turn()
    assert (client.response(1).status, client.body(1)) == (500, b"Internal Server Error\n")
    assert client.body(3) == b"/good"
    assert "The application failed on GET /bad" in caplog.text
    client.send(get(5))
    await client.turn()
    assert client.whole(5)


@pytest.mark.parametrize("how", ["raises", "returns", "promises too much", "sends too much", "wrong message"])
@in_loop
async def test_a_failure_behind_the_head_resets_that_stream(how: str, caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/good":
            await hello(scope, receive, send)
            return
        promised = [] if how in ("raises", "returns", "wrong message") else [(b"content-length", b"4")]
        await send({"type": "http.response.start", "status": 200, "headers": promised})
        await send(body(b"one", more=True))
        if how == "raises":
            raise ValueError("no")
        if how == "promises too much":
            await send(body())
        if how == "sends too much":
            await send(body(b"two"))
        if how == "wrong message":
            await send(start())

    client = Http2Client(Worker(app))
    client.send(get(1, b"/bad"), get(3, b"/good"))
    await client.turn()
    assert client.reset_code(1) == Code.INTERNAL_ERROR
    assert (client.response(1).status, client.body(1), client.whole(1)) == (200, b"one", False)
    assert client.body(3) == b"/good"
    assert client.goaways == []
    assert "The application failed on GET /bad" in caplog.text


@in_loop
async def test_an_application_that_says_nothing_is_a_500() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        pass

    client = Http2Client(Worker(app))
    client.send(get(1))
    await client.turn()
    assert client.response(1).status == 500


@in_loop
async def test_a_head_that_cannot_be_sent_is_a_500() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start(200, (b"a", b"b\r\nc: d")))
        await send(body(b"x"))

    client = Http2Client(Worker(app))
    client.send(get(1))
    await client.turn()
    assert (client.response(1).status, client.whole(1)) == (500, True)


@in_loop
async def test_a_failure_behind_an_early_answer_is_only_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"accepted")
        raise ValueError("later")

    client = Http2Client(Worker(app))
    client.send(get(1))
    await client.turn()
    assert client.whole(1)
    assert "ValueError: later" in caplog.text


# Clients that leave.


class Listener:
    """Waits for its client to leave; then tries to answer."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.errors: list[BaseException] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        await send(body(b"listening", more=True))
        while (message := await receive())["type"] != "http.disconnect":
            self.messages.append(message["type"])
        self.messages.append(message["type"])
        try:
            await send(body(b"still"))
        except BaseException as error:
            self.errors.append(error)
            raise


@in_loop
async def test_an_application_is_told_when_its_stream_is_reset_and_not_cancelled() -> None:
    app = Listener()
    worker = Worker(app)
    client = Http2Client(worker)
    client.send(get(1))
    await client.turn()
    client.send(rst(1))
    await client.turn()
    assert app.messages == ["http.request", "http.disconnect"]
    assert [type(error).__mro__[1] for error in app.errors] == [OSError]
    assert worker.state.tasks == set()
    assert client.goaways == []


@in_loop
async def test_a_reset_concerns_no_other_stream() -> None:
    app = Listener()
    client = Http2Client(Worker(app))
    client.send(get(1), get(3))
    await client.turn()
    client.send(rst(3))
    await client.turn()
    assert app.messages.count("http.disconnect") == 1
    client.send(rst(1))
    await client.turn()
    assert app.messages.count("http.disconnect") == 2


@in_loop
async def test_all_applications_are_told_when_the_connection_is_lost() -> None:
    app = Listener()
    worker = Worker(app)
    client = Http2Client(worker)
    client.send(get(1), get(3), get(5))
    await client.turn()
    client.transport.lose(ConnectionResetError("gone"))
    await client.turn()
    assert app.messages.count("http.disconnect") == 3
    assert worker.state.tasks == set()
    assert worker.closed == {"peer_reset": 1}


@pytest.mark.parametrize("how", ["reset", "lost", "eof", "stalled", "broken rule"])
@in_loop
async def test_an_application_that_waits_for_its_client_learns_that_it_has_left(how: str) -> None:
    """It waits in ``send()``, for a window that nobody will open any more."""
    app = Streams()
    worker = Worker(app)
    client = Http2Client(worker)
    client.send(get(1))
    await client.turn(20)
    assert app.ended is None
    if how == "reset":
        client.send(rst(1))
    elif how == "lost":
        client.transport.lose()
    elif how == "eof":
        client.client.eof()
        client.transport.lose()
    elif how == "stalled":
        worker.live(40.0)
    else:
        client.send(settings((2, 7)))
    await client.turn(20)
    assert isinstance(app.ended, OSError)
    assert worker.state.tasks == set()


@in_loop
async def test_applications_that_wait_for_a_slow_connection_learn_that_it_is_gone() -> None:
    app = Streams()
    worker = Worker(app)
    client = Http2Client(worker, own_settings=[(4, WIDE)], capacity=10_000)
    client.send(window_update(0, WIDE), get(1))
    await client.turn(20)
    assert client.transport.get_write_buffer_size()
    client.transport.lose()
    await client.turn(20)
    assert isinstance(app.ended, OSError)
    assert worker.state.tasks == set()


@in_loop
async def test_a_client_that_leaves_in_the_middle_of_its_upload_is_no_failure(
    caplog: pytest.LogCaptureFixture,
) -> None:
    messages: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (message := await receive())["type"] != "http.disconnect":
            messages.append(message["type"])

    client = Http2Client(Worker(app))
    client.send(post(1), data(1, b"abc"))
    await client.turn()
    client.send(rst(1))
    await client.turn()
    assert messages == ["http.request"]
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
