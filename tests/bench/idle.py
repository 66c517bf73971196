"""Idle connections: opened, used once, and left, as a balancer's pool leaves them."""

from __future__ import annotations

import contextlib
import resource
import socket
from collections.abc import Callable, Iterator

from tests.bench.checks import WrongAnswer
from tests.bench.hello_app import BODY
from tests.bench.processes import Unavailable
from tests.bench.setups import HTTP2, WEBSOCKET, Target
from tests.bench.websocket_load import DEFLATE, open_quiet

HTTP1_REQUEST = b"GET / HTTP/1.1\r\nHost: balancer.test\r\nX-Request-Id: 5f0c6a4e2b8d4c1e9a7f3b2d1c0e8f6a\r\n\r\n"
# A GET whose fields go into the table, as balancers send them (RFC 7541 §6.2.1).
_BLOCK = b"\x82\x86\x84\x41\x0dbalancer.test\x40\x0cx-request-id\x205f0c6a4e2b8d4c1e9a7f3b2d1c0e8f6a"
# The preface, SETTINGS, the acknowledgement of the server's, and HEADERS on stream 1.
HTTP2_REQUEST = (
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    + bytes.fromhex("000000040000000000 000000040100000000")
    + len(_BLOCK).to_bytes(3, "big")
    + bytes.fromhex("010500000001")
    + _BLOCK
)


def opener(target: Target) -> Callable[[], socket.socket]:
    """How to open a connection to a server, let it carry one request, and leave it."""
    if target.setup.protocol == WEBSOCKET:
        return lambda: open_quiet(target.port, DEFLATE if target.setup.deflate else "")
    request = HTTP2_REQUEST if target.setup.protocol == HTTP2 else HTTP1_REQUEST
    context = target.tls

    def open_one() -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", target.port), timeout=10)
        if context is not None:
            sock = context.wrap_socket(sock)
        sock.sendall(request)
        received = b""
        while BODY not in received:
            piece = sock.recv(65536)
            if not piece:
                raise WrongAnswer(f"the connection ended instead of an answer, after {received[:60]!r}")
            received += piece
        return sock

    return open_one


@contextlib.contextmanager
def held(target: Target, count: int) -> Iterator[None]:
    """Hold so many idle connections; raise ``WrongAnswer`` at the end if the server closed any of them."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != resource.RLIM_INFINITY and most < count + 100:
        raise Unavailable(f"{count:,} connections need more open files than the limit of {most:,} allows (ulimit -n)")
    open_one = opener(target)
    sockets: list[socket.socket] = []
    try:
        sockets += (open_one() for _ in range(count))
        yield
        gone = sum(_has_ended(sock) for sock in sockets)
        if gone:
            raise WrongAnswer(f"{gone:,} of {count:,} idle connections were closed by the server meanwhile")
    finally:
        for sock in sockets:
            sock.close()


def _has_ended(sock: socket.socket) -> bool:
    sock.settimeout(0)
    try:
        while piece := sock.recv(65536):
            del piece  # a ping, or the answers to our settings
    except OSError as error:
        # TLS says in its own way that there is nothing to read.
        return not isinstance(error, BlockingIOError) and "did not complete" not in str(error)
    return True
