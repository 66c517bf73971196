"""A client on a bare socket: what it gets, and how the connection ends, to the byte."""

from __future__ import annotations

import dataclasses
import socket

PATIENCE = 10.0
"""Seconds; only a test that fails uses them up."""


@dataclasses.dataclass
class Answer:
    """One response."""

    status: int
    fields: dict[str, str]
    body: bytes


class RawClient:
    """A connection to ``127.0.0.1:port``. A reset is an error everywhere, an end of file only within an answer."""

    def __init__(self, port: int, receive_buffer: int = 0) -> None:
        self.sock = socket.socket()
        if receive_buffer:
            # Before connecting, or the window is agreed on without it.
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(("127.0.0.1", port))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = b""

    def __enter__(self) -> RawClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def send(self, data: bytes) -> None:
        """Send all of it."""
        self.sock.sendall(data)

    def get(self, path: str) -> None:
        """Send a GET."""
        self.send(f"GET {path} HTTP/1.1\r\nHost: test\r\n\r\n".encode())

    def post_head(self, path: str, length: int) -> None:
        """Send the head of a POST."""
        self.send(f"POST {path} HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\r\n".encode())

    def answer(self) -> Answer:
        """Read one response, of known length or chunked."""
        head = self._until(b"\r\n\r\n").decode("latin-1")
        first, *lines = head.split("\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if fields.get("transfer-encoding") == "chunked":
            body = b""
            while length := int(self._until(b"\r\n"), 16):
                body += self._exactly(length + 2)[:-2]
            assert self._exactly(2) == b"\r\n"
        else:
            body = self._exactly(int(fields["content-length"]))
        return Answer(int(first.split(" ")[1]), fields, body)

    def asks(self, path: str) -> Answer:
        """A GET and its answer."""
        self.get(path)
        return self.answer()

    def at_end(self) -> bool:
        """Wait for what comes next: True for the server's FIN, False for bytes."""
        return not self._buffer and not self._more()

    def _until(self, separator: bytes) -> bytes:
        while separator not in self._buffer:
            assert self._more(), f"the connection ended within an answer, after {self._buffer[:200]!r}"
        found, _, self._buffer = self._buffer.partition(separator)
        return found

    def _exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            assert self._more(), f"the connection ended {size - len(self._buffer)} bytes before the answer's end"
        found, self._buffer = self._buffer[:size], self._buffer[size:]
        return found

    def _more(self) -> bool:
        data = self.sock.recv(262_144)
        self._buffer += data
        return bool(data)
