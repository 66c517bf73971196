"""The four kinds of calls, and how they end."""

from __future__ import annotations

import contextlib
import hashlib
import json
import queue
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest

from tests.grpc.conftest import APP, BODY_TIMEOUT, PATIENCE, SERVICE, dial
from tests.support.serving import serving

Ask = Callable[[str, bytes], bytes]

LARGE = bytes(range(256)) * (4 * 4096)
"""4 MiB, the most that gRPC takes unless told otherwise."""


def request(**values: object) -> bytes:
    return json.dumps(values).encode()


def until_it_fails(call: Iterator[bytes]) -> list[bytes]:
    """The messages before the failure."""
    received = []
    with contextlib.suppress(grpc.RpcError):
        while True:
            received.append(next(call))
    return received


def test_one_message_each_way(ask: Ask) -> None:
    for message in (b"", b"a", b"hello" * 1000):
        assert ask("Echo", message) == message


def test_four_mebibytes_each_way(ask: Ask) -> None:
    assert ask("Echo", LARGE) == LARGE


def test_many_messages_from_the_client(channel: grpc.Channel) -> None:
    messages = [b"%d " % number * number for number in range(500)]
    told = channel.stream_unary(SERVICE + "Digest")(iter(messages), timeout=PATIENCE)
    assert told == b"500 " + hashlib.sha256(b"".join(messages)).hexdigest().encode()


@pytest.mark.parametrize(("count", "size"), [(0, 0), (1000, 10), (20, 100_000)])
def test_many_messages_from_the_server(channel: grpc.Channel, count: int, size: int) -> None:
    call = channel.unary_stream(SERVICE + "Count")(request(count=count, size=size), timeout=PATIENCE)
    assert list(call) == [b"%d" % number * size for number in range(count)]
    assert call.code() is grpc.StatusCode.OK


def test_messages_in_turns(channel: grpc.Channel) -> None:
    """Each is sent when the one before has come back, so nothing may wait for more."""
    outgoing: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    call = channel.stream_stream(SERVICE + "Talk")(iter(outgoing.get, None), timeout=PATIENCE)
    for number in range(50):
        outgoing.put(b"%d" % number * 1000)
        assert next(call) == b"%d" % number * 1000
    outgoing.put(None)
    assert list(call) == []
    assert call.code() is grpc.StatusCode.OK


def test_messages_both_ways_at_once(channel: grpc.Channel) -> None:
    messages = [bytes([number]) * 50_000 for number in range(100)]
    call = channel.stream_stream(SERVICE + "Talk")(iter(messages), timeout=PATIENCE)
    assert list(call) == messages


def test_a_conversation_may_pause_longer_than_an_upload(channel: grpc.Channel) -> None:
    def messages() -> Iterator[bytes]:
        yield b"before"
        time.sleep(BODY_TIMEOUT + 0.8)
        yield b"after"

    call = channel.stream_stream(SERVICE + "Talk")(messages(), timeout=PATIENCE)
    assert list(call) == [b"before", b"after"]


def test_metadata_both_ways(channel: grpc.Channel) -> None:
    metadata = (("x-asked", "some text"), ("x-asked-bin", bytes(range(256))))
    message, call = channel.unary_unary(SERVICE + "Metadata").with_call(b"", metadata=metadata, timeout=PATIENCE)
    assert message == b""
    expected = {"x-echo": "some text", "x-echo-bin": bytes(range(256))}
    for received in (dict(call.initial_metadata()), dict(call.trailing_metadata())):
        assert {name: value for name, value in received.items() if name in expected} == expected


@pytest.mark.parametrize("after", [0, 3])
@pytest.mark.parametrize(
    "code", [grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNAUTHENTICATED], ids=lambda one: one.name
)
def test_a_status_comes_with_its_text(channel: grpc.Channel, code: grpc.StatusCode, after: int) -> None:
    asked = request(code=code.value[0], text="nothing here: 100 % ünicode", after=after)
    call = channel.unary_stream(SERVICE + "Fail")(asked, timeout=PATIENCE)
    received = until_it_fails(call)
    assert received == [b"%d" % number for number in range(after)]
    assert (call.code(), call.details()) == (code, "nothing here: 100 % ünicode")
    # Without a message there are no initial metadata: all of it came as trailers.
    assert ("x-connection" in dict(call.initial_metadata())) == (after > 0)


def test_an_unknown_method_is_unimplemented(ask: Ask) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        ask("Nothing", b"")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert ask("Echo", b"still here") == b"still here"


@pytest.mark.parametrize("after", [0, 3])
def test_an_application_that_fails_harms_its_own_call_only(channel: grpc.Channel, ask: Ask, after: int) -> None:
    connection = _connection(channel)
    call = channel.unary_stream(SERVICE + "Crash")(request(after=after), timeout=PATIENCE)
    received = until_it_fails(call)
    # What it had sent may be lost with it: RST_STREAM asks for nothing else.
    assert received == [b"%d" % number for number in range(len(received))]
    # HTTP 500 is UNKNOWN, RST_STREAM(INTERNAL_ERROR) is INTERNAL (gRPC over HTTP/2, "Errors").
    assert call.code() is (grpc.StatusCode.INTERNAL if after else grpc.StatusCode.UNKNOWN)
    assert _connection(channel) == connection


def test_a_thousand_calls_on_one_connection_take_turns(channel: grpc.Channel) -> None:
    """The server allows 100 at once, and the client keeps to that."""
    connection = _connection(channel)
    method = channel.unary_unary(SERVICE + "Echo")
    calls = {b"%d" % number: method.future(b"%d" % number, timeout=PATIENCE) for number in range(1000)}
    assert [call.result() for call in calls.values()] == list(calls)
    assert {dict(call.initial_metadata())["x-connection"] for call in calls.values()} == {connection}


def test_a_thousand_calls_run_at_once_where_that_is_allowed(engine: str, tmp_path: Path) -> None:
    options = ("--http2", engine, "--http2-max-streams", "1000")
    with serving(APP, *options, directory=tmp_path) as server, dial(server.port) as channel:
        # Each is answered when all are there.
        method = channel.unary_unary(SERVICE + "Meet")
        calls = [method.future(b"1000", timeout=PATIENCE) for _ in range(1000)]
        assert {call.result() for call in calls} == {b"1000"}
        assert len({dict(call.initial_metadata())["x-connection"] for call in calls}) == 1


def _connection(channel: grpc.Channel) -> str:
    """On which connection of the server the channel's calls come."""
    _, call = channel.unary_unary(SERVICE + "Echo").with_call(b"", timeout=PATIENCE)
    return str(dict(call.initial_metadata())["x-connection"])
