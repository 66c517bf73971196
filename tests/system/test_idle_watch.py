"""A real server tells, from how its connections end, that it closes before its balancer does; else it keeps quiet."""

from __future__ import annotations

import socket
import time
from pathlib import Path

from tests.support.serving import ServerProcess, serving

APP = "tests.system.app:app"

REQUEST = b"GET /number/0 HTTP/1.1\r\nHost: x\r\n\r\n"


def pool(server: ServerProcess, connections: int, idle_timeout: float) -> int:
    """A balancer's pool: each connection carries one request and is closed after its idle time, if not before.

    Returns how many the server closed first.
    """
    open_since = []
    for _ in range(connections):
        sock = socket.create_connection(("127.0.0.1", server.port), timeout=10)
        sock.sendall(REQUEST)
        assert sock.recv(4096).startswith(b"HTTP/1.1 200 ")
        open_since.append((sock, time.monotonic()))
    closed_first = 0
    for sock, since in open_since:
        sock.settimeout(max(0.001, since + idle_timeout - time.monotonic()))
        try:
            closed_first += sock.recv(1) == b""
        except TimeoutError:
            pass
        sock.close()
    return closed_first


def test_a_balancer_that_waits_longer_is_told_of_with_its_number(tmp_path: Path) -> None:
    clocks = ("--lb-idle-timeout", "0.4", "--keep-alive-timeout", "0.5")
    with serving(APP, *clocks, "--no-access-log", directory=tmp_path) as server:
        closed_first = 0
        for _ in range(4):
            closed_first += pool(server, 30, 0.8)
        said = server.said(r"Closed \d+ idle connections? before the balancer did; (its idle timeout looks like .*)")
        assert closed_first > 60
    seconds = float(said.partition(" looks like ")[2].partition(" ")[0])
    unit = said.partition(" looks like ")[2].split(" ")[1].rstrip(",")
    assert 720 <= seconds * (1 if unit == "ms" else 1000) <= 880, said
    assert "keep_alive_timeout is 500 ms; set --lb-idle-timeout 0." in said
    # Without a number before, if it closed enough of them before one showed.
    assert 1 <= server.stderr.count("before the balancer did") <= 2


def test_a_balancer_that_closes_first_is_no_news(tmp_path: Path) -> None:
    clocks = ("--lb-idle-timeout", "0.5", "--keep-alive-timeout", "2.5")
    with serving(APP, *clocks, "--no-access-log", "--log-level", "debug", directory=tmp_path) as server:
        # A busy machine may make this balancer's closes so late that no number can be seen in them.
        for _ in range(10):
            assert pool(server, 40, 0.5) == 0
            time.sleep(1.1)  # the worker looks once a second
            if "The idle timeout of the peers looks like" in server.stderr:
                break
        said = server.said(r"The idle timeout of the peers looks like ([0-9.]+) s \(\d+ of \d+ idle closes")
        assert 0.45 <= float(said) <= 0.55
    assert "balancer did" not in server.stderr


def test_of_several_workers_one_speaks(tmp_path: Path) -> None:
    clocks = ("--lb-idle-timeout", "0.4", "--keep-alive-timeout", "0.5", "--log-level", "debug")
    with serving(APP, *clocks, "--no-access-log", directory=tmp_path, workers=2) as server:
        pool(server, 40, 0.9)
        server.said("before the balancer did; its idle timeout is not")
        pool(server, 20, 0.9)
        time.sleep(1.5)  # both look once a second
    closed = [line for line in server.stderr.splitlines() if line.endswith("closed: idle_timeout")]
    assert len(closed) > 50
    assert server.stderr.count("its idle timeout is not") == 1


def test_a_request_the_balancer_has_given_up_is_named(tmp_path: Path) -> None:
    clocks = ("--lb-idle-timeout", "0.4", "--keep-alive-timeout", "1.5")
    with (
        serving(APP, *clocks, "--no-access-log", directory=tmp_path) as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=10) as sock,
    ):
        sock.sendall(b"GET /wait/1200?secret=1 HTTP/1.1\r\nHost: x\r\n\r\n")
        said = server.said(r"WARNING.* (GET /\S+ ran for .* without a byte of its response.*)")
        assert sock.recv(4096).startswith(b"HTTP/1.1 200 ")
    assert said.startswith("GET /wait/1200 ran for ")
    assert "lb_idle_timeout is 400 ms, the balancer has answered 504 by now" in said
