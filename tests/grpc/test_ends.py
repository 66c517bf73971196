"""Calls that are given up, readers that do not read, and the status without a body."""

from __future__ import annotations

import queue
import socket
import time
from collections.abc import Callable
from typing import Any

import grpc
import h2.config
import h2.connection
import h2.events
import pytest

from tests.grpc.conftest import PATIENCE, SERVICE
from tests.support.serving import ServerProcess, eventually

Seen = Callable[[str], dict[str, Any]]


def test_the_application_sees_a_deadline_pass(channel: grpc.Channel, seen: Seen) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(SERVICE + "Wait")(b"deadline", timeout=0.2)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    eventually(lambda: len(seen("deadline")["events"]) == 2, "the application sees the deadline")
    assert seen("deadline")["events"] == ["started, grpc-timeout told", "disconnected"]


def test_the_application_sees_a_cancellation(channel: grpc.Channel, seen: Seen) -> None:
    call = channel.unary_unary(SERVICE + "Wait").future(b"cancelled")
    eventually(lambda: seen("cancelled")["events"], "the call has started")
    assert call.cancel()
    assert call.code() is grpc.StatusCode.CANCELLED
    eventually(lambda: len(seen("cancelled")["events"]) == 2, "the application sees the cancellation")
    assert seen("cancelled")["events"] == ["started, grpc-timeout not told", "disconnected"]


def test_the_application_sees_a_cancellation_in_the_middle_of_an_upload(channel: grpc.Channel, seen: Seen) -> None:
    outgoing: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    call = channel.stream_unary(SERVICE + "Listen").future(iter(outgoing.get, None))
    outgoing.put(b"upload")
    eventually(lambda: seen("upload")["events"] == ["message"], "the message has come")
    assert call.cancel()
    outgoing.put(None)
    eventually(lambda: seen("upload")["events"] == ["message", "disconnected"], "the application sees it")


def test_a_reader_that_stalls_stalls_the_application(channel: grpc.Channel, seen: Seen) -> None:
    call = channel.unary_stream(SERVICE + "Flood")(b"stalled", timeout=30)
    assert next(call) == b"0 " * 2000

    def stands() -> bool:
        before = seen("stalled")["sent"]
        time.sleep(0.3)
        return before == seen("stalled")["sent"] > 0

    # The other calls of the channel, which ask, are answered meanwhile.
    eventually(stands, "the application's send stands still")
    sent = seen("stalled")["sent"]
    assert sent * 4000 < 16 * 1024 * 1024
    for number in range(1, sent + 500):
        assert next(call) == b"%d " % number * 2000
    assert seen("stalled")["sent"] > sent
    call.cancel()
    eventually(lambda: seen("stalled")["events"] == ["disconnected"], "the application sees the end")


def test_a_call_that_fails_before_its_first_message_is_one_headers_frame(server: ServerProcess) -> None:
    """Trailers-Only: HEADERS with END_STREAM and nothing else (gRPC over HTTP/2, "Responses")."""
    client = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
    fields = {":method": "POST", ":scheme": "http", ":path": SERVICE + "Nothing", ":authority": "test"}
    fields |= {"content-type": "application/grpc", "te": "trailers"}
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as sock:
        client.initiate_connection()
        client.send_headers(1, list(fields.items()))
        client.send_data(1, b"\0\0\0\0\0", end_stream=True)
        sock.sendall(client.data_to_send())
        events: list[h2.events.Event] = []
        while not any(isinstance(event, h2.events.StreamEnded) for event in events):
            data = sock.recv(65536)
            assert data, "the server closed the connection"
            events += client.receive_data(data)
    heads = [event for event in events if isinstance(event, h2.events.ResponseReceived)]
    assert len(heads) == 1
    assert heads[0].stream_ended is not None
    received = dict(heads[0].headers or ())
    assert received[":status"] == "200"
    assert received["content-type"] == "application/grpc"
    assert received["grpc-status"] == "12"
    assert not [event for event in events if isinstance(event, h2.events.DataReceived | h2.events.TrailersReceived)]
