"""WebSockets over HTTP/2 (RFC 8441), asked for by the h2 library over a real connection, beside ordinary requests."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, Event, ResponseReceived, StreamEnded
from h2.settings import SettingCodes

from tests.clients.conftest import APP as PLAIN_APP
from tests.support.serving import ServerProcess, serving
from tests.websocket.frames import BINARY, TEXT, Frame, close, closing, frame, read_frames, text

APP = "tests.clients.websocket_app:app"


class Client:
    """One connection; ``bodies`` is what came on each stream."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.h2 = H2Connection(H2Configuration(client_side=True, header_encoding="ascii"))
        self.h2.initiate_connection()
        self.statuses: dict[int, str] = {}
        self.bodies: dict[int, bytes] = {}
        self.ended: set[int] = set()
        self.flush()

    def flush(self) -> None:
        """Send what is to be sent."""
        self._socket.sendall(self.h2.data_to_send())

    def ask(self, stream: int, path: str, *, websocket: bool) -> None:
        """Begin a request."""
        fields = [(":method", "CONNECT" if websocket else "GET"), (":scheme", "http"), (":path", path)]
        fields += [(":authority", "x")]
        if websocket:
            fields += [(":protocol", "websocket"), ("sec-websocket-version", "13")]
        self.h2.send_headers(stream, fields, end_stream=not websocket)
        self.flush()

    def send(self, stream: int, data: bytes, *, end: bool = False) -> None:
        """Send bytes, as the windows allow."""
        while data or end:
            room = min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size, len(data))
            if not room and data:
                self.receive()
                continue
            piece, data = data[:room], data[room:]
            self.h2.send_data(stream, piece, end_stream=end and not data)
            end = end and bool(data)
            self.flush()

    def receive(self) -> None:
        """Read once."""
        data = self._socket.recv(65536)
        assert data, "the server has closed"
        for event in self.h2.receive_data(data):
            self._take(event)
        self.flush()

    def _take(self, event: Event) -> None:
        if isinstance(event, ResponseReceived):
            assert event.stream_id is not None
            self.statuses[event.stream_id] = str(dict(event.headers or ())[":status"])  # type: ignore[arg-type]
        elif isinstance(event, DataReceived):
            assert event.stream_id is not None
            self.bodies[event.stream_id] = self.bodies.get(event.stream_id, b"") + (event.data or b"")
            self.h2.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id)
        elif isinstance(event, StreamEnded):
            assert event.stream_id is not None
            self.ended.add(event.stream_id)

    def frames(self, stream: int, size: int) -> list[Frame]:
        """What came on a WebSocket, once so many bytes have."""
        while len(self.bodies.get(stream, b"")) < size:
            self.receive()
        return read_frames(self.bodies[stream])

    def close(self) -> None:
        """Leave."""
        self._socket.close()


@pytest.fixture(scope="module", params=["native", "h2"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server with this engine."""
    with serving(APP, "--http2", request.param, directory=tmp_path_factory.mktemp(request.param)) as running:
        yield running
        assert "Traceback" not in running.stderr


@pytest.fixture
def client(server: ServerProcess) -> Iterator[Client]:
    """A connection to it whose settings have come."""
    client = Client(server.port)
    while not client.h2.remote_settings.get(SettingCodes.ENABLE_CONNECT_PROTOCOL):
        client.receive()
    yield client
    client.close()


def test_messages_of_all_sizes_are_echoed_beside_requests(client: Client) -> None:
    client.ask(1, "/echo", websocket=True)
    client.ask(3, "/ends", websocket=False)
    client.ask(5, "/echo", websocket=True)
    large = bytes(range(256)) * 2000
    client.send(1, text("héllo") + frame(BINARY, large))
    client.send(5, text("other"))
    assert client.frames(1, 8 + 10 + len(large)) == [Frame(TEXT, "héllo".encode()), Frame(BINARY, large)]
    assert client.frames(5, 7) == [Frame(TEXT, b"other")]
    while 3 not in client.ended:
        client.receive()
    assert client.statuses == {1: "200", 3: "200", 5: "200"}
    assert not {1, 5} & client.ended


def test_a_close_ends_the_stream_and_not_the_connection(client: Client) -> None:
    client.ask(1, "/echo", websocket=True)
    client.send(1, close(3000, b"enough"), end=True)
    while 1 not in client.ended:
        client.receive()
    assert client.frames(1, 1) == [closing(3000, "enough")]
    client.ask(3, "/ends", websocket=False)
    while 3 not in client.ended:
        client.receive()
    assert b'"code": 3000, "reason": "enough"' in client.bodies[3]


def test_a_refusal_is_an_ordinary_response(client: Client) -> None:
    client.ask(1, "/refuse", websocket=True)
    while 1 not in client.ended:
        client.receive()
    assert (client.statuses[1], client.bodies[1]) == ("418", b'{"why": "not today"}')


def test_a_flood_waits_for_the_client(client: Client) -> None:
    client.ask(1, "/flood?count=200&size=4096", websocket=True)
    got = client.frames(1, 200 * (4096 * 4 + 4))
    assert [len(one.payload) for one in got] == [4096 * 4] * 200
    assert [one.payload[:4] for one in got] == [number.to_bytes(4, "big") for number in range(200)]


def test_an_application_without_websockets_answers_as_it_likes(tmp_path_factory: pytest.TempPathFactory) -> None:
    with serving(PLAIN_APP, "--no-websocket", directory=tmp_path_factory.mktemp("plain")) as running:
        client = Client(running.port)
        client.receive()
        assert not client.h2.remote_settings.get(SettingCodes.ENABLE_CONNECT_PROTOCOL)
        client.close()
