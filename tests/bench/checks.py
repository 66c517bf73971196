"""The client that checks: whether a server gives the right answer, before a measurement and while it goes on."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import h2.config
import h2.connection
import h2.events
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from tests.bench.hello_app import BODY
from tests.bench.setups import HTTP2, WEBSOCKET, Target

_PATIENCE = 15.0
"""Seconds an answer may take; servers are checked while they are under as much load as they can bear."""
_PERIOD = 0.25
"""Seconds between two checks during a measurement: too few to be felt."""


class WrongAnswer(Exception):
    """A server answered otherwise than it should; the message says what was expected and what came."""


@dataclass(frozen=True)
class Ask:
    """A request and the answer that is right. ``type`` is the Content-Type's beginning, or empty."""

    path: str = "/"
    method: str = "GET"
    body: bytes = b""
    fields: tuple[tuple[str, str], ...] = ()
    answer: bytes = BODY
    type: str = "text/plain"


@dataclass(frozen=True)
class Answer:
    """What came: the fields with names in lower case."""

    status: int
    fields: dict[str, str]
    body: bytes


def judge(ask: Ask, answer: Answer) -> None:
    """Raise ``WrongAnswer`` unless status, fields and body are right."""
    if answer.status != 200:
        raise WrongAnswer(f"status {answer.status} instead of 200 for {ask.method} {ask.path}")
    kind = answer.fields.get("content-type", "")
    if not kind.startswith(ask.type):
        raise WrongAnswer(f"Content-Type {kind!r} instead of {ask.type!r} for {ask.method} {ask.path}")
    length = answer.fields.get("content-length")
    if length is not None and length != str(len(ask.answer)):
        raise WrongAnswer(f"Content-Length {length} instead of {len(ask.answer)} for {ask.method} {ask.path}")
    if answer.body != ask.answer:
        raise WrongAnswer(
            f"a body of {len(answer.body)} bytes beginning with {answer.body[:20]!r} instead of {len(ask.answer)} "
            f"beginning with {ask.answer[:20]!r} for {ask.method} {ask.path}"
        )


def check(target: Target, ask: Ask) -> None:
    """Ask a server once; raise ``WrongAnswer`` when it answers wrongly, and ``OSError`` when not at all."""
    if target.setup.protocol == WEBSOCKET:
        _check_echo(target)
    elif target.setup.protocol == HTTP2:
        judge(ask, _by_http2(target, ask))
    else:
        judge(ask, _by_http1(target, ask))


def _by_http1(target: Target, ask: Ask) -> Answer:
    context = target.tls
    if context is None:
        connection = http.client.HTTPConnection("127.0.0.1", target.port, timeout=_PATIENCE)
    else:
        connection = http.client.HTTPSConnection("127.0.0.1", target.port, timeout=_PATIENCE, context=context)
    with contextlib.closing(connection):
        try:
            connection.request(ask.method, ask.path, ask.body or None, dict(ask.fields))
            got = connection.getresponse()
            return Answer(got.status, {name.lower(): value for name, value in got.getheaders()}, got.read())
        except http.client.HTTPException as error:
            raise WrongAnswer(f"no response that can be read: {error!r}") from error


def _by_http2(target: Target, ask: Ask) -> Answer:
    peer = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="latin-1"))
    peer.initiate_connection()
    scheme = "https" if target.setup.tls else "http"
    head = [(":method", ask.method), (":scheme", scheme), (":authority", "bench.test"), (":path", ask.path)]
    peer.send_headers(1, [*head, *ask.fields], end_stream=not ask.body)
    if ask.body:
        peer.send_data(1, ask.body, end_stream=True)
    fields: dict[str, str] = {}
    body = b""
    with socket.create_connection(("127.0.0.1", target.port), timeout=_PATIENCE) as plain:
        context = target.tls
        sock = plain if context is None else context.wrap_socket(plain)
        while True:
            sock.sendall(peer.data_to_send())
            received = sock.recv(65536)
            if not received:
                raise WrongAnswer(f"the connection ended within the answer to {ask.method} {ask.path}")
            for event in peer.receive_data(received):
                if isinstance(event, h2.events.ResponseReceived):
                    fields = {str(name): str(value) for name, value in event.headers}
                elif isinstance(event, h2.events.DataReceived):
                    body += event.data or b""
                    peer.acknowledge_received_data(event.flow_controlled_length or 0, 1)
                elif isinstance(event, h2.events.StreamEnded):
                    return Answer(int(fields.pop(":status", "0")), fields, body)
                elif isinstance(event, h2.events.StreamReset | h2.events.ConnectionTerminated):
                    raise WrongAnswer(f"{type(event).__name__} instead of an answer to {ask.method} {ask.path}")


def _check_echo(target: Target) -> None:
    message = "a message of the checking client"
    try:
        with connect(f"ws://127.0.0.1:{target.port}/", compression=None, open_timeout=_PATIENCE) as client:
            client.send(message)
            got = client.recv(timeout=_PATIENCE)
    except WebSocketException as error:
        raise WrongAnswer(f"no WebSocket that echoes: {error!r}") from error
    if got != message:
        raise WrongAnswer(f"an echo of {got[:40]!r} instead of {message!r}")


@contextlib.contextmanager
def watched(look: Callable[[], None]) -> Iterator[None]:
    """Check again and again while the block runs; raise ``WrongAnswer`` at its end if any check failed."""
    wrong: list[str] = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(_PERIOD):
            try:
                look()
            except (WrongAnswer, OSError) as error:
                wrong.append(str(error) or repr(error))

    thread = threading.Thread(target=watch, name="checks")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    if wrong:
        raise WrongAnswer(f"{len(wrong)} wrong answers while measuring, the first: {wrong[0]}")


def wait_until_right(
    look: Callable[[], None], alive: Callable[[], bool], seconds: float, pause: float = 0.02
) -> None:
    """Check until there is an answer. A wrong one raises ``WrongAnswer``; so does none within so many seconds."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            look()
        except OSError as error:
            if not alive():
                raise WrongAnswer("it ended") from error
            if time.monotonic() > deadline:
                raise WrongAnswer(f"no answer within {seconds:.0f} s: {error}") from error
            time.sleep(pause)
        else:
            return
