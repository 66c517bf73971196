"""Sockets passed by a service manager: which are used, under which name, and what is said of those that cannot be."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from keepserve.config import Settings
from keepserve.server import activation
from keepserve.server.activation import Passed, take_passed
from keepserve.server.addresses import BindAddress, addresses
from keepserve.server.listening import BindError, bind_sockets, display


def announced(count: int, names: str | None = None, pid: int | None = None) -> dict[str, str]:
    environ = {"LISTEN_FDS": str(count), "LISTEN_PID": str(pid or os.getpid()), "PATH": "/bin"}
    return environ | ({"LISTEN_FDNAMES": names} if names is not None else {})


@pytest.fixture
def first_fd(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Four descriptors in a row that are free, in the place of 3 to 6, which pytest has in use."""
    start = 700
    monkeypatch.setattr(activation, "FIRST_FD", start)
    yield start
    for fd in range(start, start + 4):
        try:
            os.close(fd)
        except OSError:
            pass


def put(sock: socket.socket, fd: int) -> None:
    """Leave a socket at this number, inheritable as after an exec."""
    with sock:
        os.dup2(sock.fileno(), fd)


def test_the_variables_are_taken_out_so_that_children_do_not_see_them() -> None:
    environ = announced(2, "web:admin")
    assert take_passed(environ) == [Passed(3, "web"), Passed(4, "admin")]
    assert environ == {"PATH": "/bin"}
    assert take_passed(environ) == []


@pytest.mark.parametrize(
    ("names", "expected"),
    [(None, ["unknown", "unknown"]), ("a", ["a", "unknown"]), ("a::c", ["a", ""]), ("a:b:c", ["a", "b"])],
)
def test_names_that_are_missing_or_too_many_do_not_matter(names: str | None, expected: list[str]) -> None:
    assert [one.name for one in take_passed(announced(2, names))] == expected


def test_sockets_of_another_process_are_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    environ = announced(1, "web", pid=os.getpid() + 1)
    with caplog.at_level(logging.DEBUG, "keepserve"):
        assert take_passed(environ) == []
    assert caplog.messages == [
        f"Sockets passed to process {os.getpid() + 1} are not used: this is process {os.getpid()}"
    ]
    assert environ == {"PATH": "/bin"}


@pytest.mark.parametrize("count", ["-1", "one", "1000000", "٣"])
def test_a_count_that_is_none_is_told(count: str, caplog: pytest.LogCaptureFixture) -> None:
    assert take_passed({"LISTEN_FDS": count, "LISTEN_PID": str(os.getpid())}) == []
    assert caplog.messages == [f"LISTEN_FDS={count} is not used: expected the number of sockets that are passed"]


def test_passed_sockets_replace_host_and_port_and_join_what_is_named() -> None:
    passed = [Passed(3, "web"), Passed(4, "admin")]
    assert addresses(Settings(), passed) == [BindAddress("fd", fd=3), BindAddress("fd", fd=4)]
    assert addresses(Settings(bind=("a:1", "fd://4"), fd=3, uds="x"), passed) == [
        BindAddress("fd", fd=3),
        BindAddress("fd", fd=4),
        BindAddress("tcp", host="a", port=1),
        BindAddress("unix", path="x"),
    ]


def test_a_passed_tcp_socket_is_served_as_it_is(first_fd: int) -> None:
    server = socket.create_server(("127.0.0.1", 0))
    port = server.getsockname()[1]
    put(server, first_fd)
    # Named twice, and used once: two objects for one descriptor would close it twice.
    (sock,) = bind_sockets(Settings(fd=first_fd), announced(1, "web"))
    with sock:
        assert display(sock) == f"http://127.0.0.1:{port}"
        assert not sock.get_inheritable()
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)


def test_the_path_of_a_passed_unix_socket_stays_when_it_is_closed(first_fd: int, tmp_path: Path) -> None:
    path = tmp_path / "web.sock"
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen()
    put(server, first_fd)
    (sock,) = bind_sockets(Settings(), announced(1))
    sock.close()
    assert [one.name for one in tmp_path.iterdir()] == ["web.sock"]


def test_host_and_port_that_somebody_set_are_told_to_be_unused(
    first_fd: int, caplog: pytest.LogCaptureFixture
) -> None:
    for settings, expected in (
        (Settings(), []),
        (
            Settings(port=9000),
            [
                "host and port (127.0.0.1:9000) are not used: a socket was passed by the service manager. "
                "To listen there as well, name it by --bind."
            ],
        ),
    ):
        put(socket.create_server(("127.0.0.1", 0)), first_fd)
        caplog.clear()
        bind_sockets(settings, announced(1))[0].close()
        assert caplog.messages == expected


def test_a_connection_is_refused_with_what_to_change_in_the_unit(first_fd: int) -> None:
    one, other = socket.socketpair()
    put(one, first_fd)
    with (
        other,
        pytest.raises(
            BindError,
            match=rf"^fd://{first_fd} \(connection, passed by the service manager\) is a connection, not a listening "
            r"socket: set Accept=no in the .socket unit, since keepserve accepts connections itself\.$",
        ),
    ):
        bind_sockets(Settings(), announced(1, "connection"))


def test_a_datagram_socket_is_refused_by_its_name(first_fd: int) -> None:
    put(socket.create_server(("127.0.0.1", 0)), first_fd)
    put(socket.socket(type=socket.SOCK_DGRAM), first_fd + 1)
    with pytest.raises(
        BindError,
        match=rf"fd://{first_fd + 1} \(quic, passed by the service manager\) is a socket of type SOCK_DGRAM",
    ):
        bind_sockets(Settings(), announced(2, "web:quic"))


def test_a_descriptor_that_was_announced_and_is_not_there_is_told(first_fd: int) -> None:
    with pytest.raises(BindError, match=rf"fd://{first_fd} \(web, passed by the service manager\) is not open"):
        bind_sockets(Settings(), announced(1, "web"))
