"""The ruler itself: what the lanes call lost, and what they do not, by a server that does each of it once."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator

import pytest

from tests.balancers.lanes import Lanes, Plan, Report

Turn = Callable[[socket.socket], None]
"""What the server does with a connection, once."""


def read_request(sock: socket.socket) -> bytes:
    """Read one POST; its body."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += sock.recv(4096)
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(head.partition(b"Content-Length: ")[2])
    while len(body) < length:
        body += sock.recv(4096)
    return body


def answer(body: bytes, status: str = "200 OK", close: bool = False) -> bytes:
    """What keepserve and the application of these tests would say."""
    ends = "connection: close\r\n" if close else ""
    return f"HTTP/1.1 {status}\r\nx-connection: 7.1\r\n{ends}Content-Length: {len(body)}\r\n\r\n".encode() + body


def echo(sock: socket.socket) -> None:
    """A right answer; the connection stays until the lane leaves it or the next turn."""
    sock.sendall(answer(read_request(sock)))


def echo_and_say_close(sock: socket.socket) -> None:
    """A right answer, and the announcement of the end."""
    sock.sendall(answer(read_request(sock), close=True))
    sock.close()


def echo_and_close(sock: socket.socket) -> None:
    """A right answer, and no announcement."""
    echo(sock)
    sock.close()


def read_and_close(sock: socket.socket) -> None:
    """No answer at all."""
    read_request(sock)
    sock.close()


def read_and_reset(sock: socket.socket) -> None:
    """What the kernel does for a process that dies, or that closes with something unread."""
    read_request(sock)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def half_an_answer(sock: socket.socket) -> None:
    """The connection ends within the answer."""
    sock.sendall(answer(read_request(sock))[:-1])
    sock.close()


def unavailable(sock: socket.socket) -> None:
    """What a server that is stopping must not say."""
    read_request(sock)
    sock.sendall(answer(b"stopping\n", "503 Service Unavailable"))


def somebody_elses_answer(sock: socket.socket) -> None:
    """Right but for one byte."""
    sock.sendall(answer(read_request(sock)[:-1] + b"?"))


@contextlib.contextmanager
def server(turns: list[Turn], over: threading.Event) -> Iterator[int]:
    """Do these turns, one a connection; then refuse. ``over`` is set when that has begun."""
    listener = socket.create_server(("127.0.0.1", 0))
    open_sockets = []

    def serve() -> None:
        for turn in turns:
            sock = listener.accept()[0]
            sock.settimeout(5)
            open_sockets.append(sock)
            turn(sock)
        listener.close()
        over.set()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        thread.join(10)
        listener.close()
        for sock in open_sockets:
            sock.close()


def measure(*turns: Turn, split: float = 0.0) -> Report:
    """One lane against a server of these turns; it is refused once at the end."""
    over = threading.Event()
    reading, writing = os.pipe()
    with server(list(turns), over) as port:
        lanes = Lanes(Plan(port=port, lanes=1, period=0.01, jitter=0.0, split=split, renew=0.0), reading)

        def end() -> None:
            over.wait(10)
            # The lane's next connect is refused, and some of those after it.
            threading.Event().wait(0.05)
            os.close(writing)

        ending = threading.Thread(target=end)
        ending.start()
        try:
            return lanes.run()
        finally:
            ending.join()
            os.close(reading)


def test_an_announced_end_an_idle_close_and_a_refused_connect_are_no_loss() -> None:
    report = measure(echo_and_say_close, echo_and_close, echo_and_say_close)
    assert report.lost == {}
    assert (report.requests, report.answered, report.connections) == (3, 3, 3)
    assert (report.told, report.closed_idle) == (2, 1)
    assert report.refused > 0
    assert report.workers == {"7": 3}


@pytest.mark.parametrize(
    ("turn", "called"),
    [
        (read_and_close, "ended instead of an answer"),
        (read_and_reset, "within: ECONNRESET"),
        (half_an_answer, "cut within the answer"),
        (unavailable, "http/1.1 503 service unavailable: stopping"),
        (somebody_elses_answer, "the answer to another request"),
    ],
)
def test_each_way_of_losing_a_request_is_seen(turn: Turn, called: str) -> None:
    report = measure(echo_and_close, turn, echo_and_close)
    assert report.lost == {called: 1}
    assert (report.requests, report.answered) == (3, 2)


def test_a_request_of_two_pieces_is_lost_when_the_first_one_is() -> None:
    def after_the_first_byte(sock: socket.socket) -> None:
        sock.recv(1)
        sock.close()

    report = measure(echo_and_close, after_the_first_byte, echo_and_close, split=1.0)
    assert sum(report.lost.values()) == 1, report
    assert (report.requests, report.answered) == (3, 2)


def test_a_connection_that_is_reset_before_anything_was_read_counts() -> None:
    """As those are that wait in the queue of a listener that closes."""

    def at_once(sock: socket.socket) -> None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()

    report = measure(echo_and_close, at_once, echo_and_close)
    assert sum(report.lost.values()) == 1, report
    assert report.answered == 2
