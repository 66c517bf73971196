"""Addresses as people write them, and what is bound for them."""

from __future__ import annotations

import errno
import os
import socket
import stat
import sys
from pathlib import Path

import pytest

from keepserve.config.problems import ConfigError
from keepserve.config.settings import Settings
from keepserve.server.addresses import BindAddress, addresses, parse_bind
from keepserve.server.listening import BindError, bind_sockets, display, reserve

linux = pytest.mark.skipif(sys.platform != "linux", reason="what Linux does")


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
        return True
    except OSError:
        return False


ipv6 = pytest.mark.skipif(not _has_ipv6(), reason="this machine has no IPv6 loopback")


def _closed(sockets: list[socket.socket]) -> None:
    for sock in sockets:
        sock.close()


def _port(sock: socket.socket) -> int:
    port: int = sock.getsockname()[1]
    return port


# -- Addresses


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:8000", BindAddress("tcp", host="127.0.0.1", port=8000)),
        ("localhost:0", BindAddress("tcp", host="localhost", port=0)),
        ("[::1]:8000", BindAddress("tcp", host="::1", port=8000)),
        ("[fe80::1%eth0]:80", BindAddress("tcp", host="fe80::1%eth0", port=80)),
        (":8000", BindAddress("tcp", host="", port=8000)),
        ("unix:/run/app.sock", BindAddress("unix", path="/run/app.sock")),
        ("unix:app.sock", BindAddress("unix", path="app.sock")),
        ("unix:///run/app.sock", BindAddress("unix", path="/run/app.sock")),
        ("fd://3", BindAddress("fd", fd=3)),
    ],
)
def test_an_address_is_read(text: str, expected: BindAddress) -> None:
    assert parse_bind(text) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "write host:port"),
        ("8000", "write host:port"),
        ("localhost", "write host:port"),
        ("http://localhost:8000", "write host:port"),
        ("localhost:http", "write host:port"),
        ("localhost:65536", "at most 65535"),
        ("::1:8000", "in brackets"),
        ("unix:", "write host:port"),
        ("unix:a\0b", "write host:port"),
        ("fd://", "write host:port"),
        ("fd://-1", "write host:port"),
        ("fd://²", "write host:port"),
        ("host:8000 ", "write host:port"),
    ],
)
def test_what_is_no_address_is_refused_with_a_sentence(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_bind(text)
    assert said in str(caught.value)
    assert caught.value.problems[0].settings == ("bind",)


def test_an_address_is_shown_as_it_can_be_typed() -> None:
    for text in ("127.0.0.1:80", "[::1]:80", "unix:/a", "fd://3"):
        assert str(parse_bind(text)) == text


def test_host_and_port_count_only_without_other_addresses() -> None:
    assert addresses(Settings()) == [BindAddress("tcp", host="127.0.0.1", port=8000)]
    assert addresses(Settings(host="[::1]", port=1)) == [BindAddress("tcp", host="::1", port=1)]
    assert addresses(Settings(bind=("a:1", "a:1", "unix:x"), uds="y", fd=3)) == [
        BindAddress("tcp", host="a", port=1),
        BindAddress("unix", path="x"),
        BindAddress("unix", path="y"),
        BindAddress("fd", fd=3),
    ]


def test_all_bad_addresses_are_reported_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        addresses(Settings(bind=("one", "a:1", "two")))
    assert len(caught.value.problems) == 2


# -- TCP


def test_a_bound_socket_does_not_listen_and_is_not_inherited_by_programs() -> None:
    (sock,) = bind_sockets(Settings(port=0))
    with sock, socket.socket() as client:
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert not sock.get_inheritable()
        assert client.connect_ex(sock.getsockname()) == errno.ECONNREFUSED


@linux
def test_connections_inherit_the_keep_alive_probe_of_60_seconds() -> None:
    (sock,) = bind_sockets(Settings(port=0))
    with sock:
        sock.listen()
        with socket.create_connection(sock.getsockname()), sock.accept()[0] as accepted:
            assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60


@linux
def test_two_processes_do_not_share_a_port_by_reuseport() -> None:
    (sock,) = bind_sockets(Settings(port=0))
    with sock:
        assert not sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT)


def test_a_taken_port_is_one_sentence_that_names_the_address_and_whom_to_look_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        with pytest.raises(BindError) as caught:
            bind_sockets(Settings(port=_port(other)))
        said = str(caught.value)
        assert f"127.0.0.1:{_port(other)} is taken" in said
        assert str(_port(other)) in said.split('"')[1]
        assert "\n" not in said


@linux
def test_a_reserved_port_is_taken_although_nobody_listens_yet() -> None:
    (sock,) = bind_sockets(Settings(port=0))
    with sock:
        reserve([sock], reserved=True)
        with pytest.raises(BindError, match="is taken"):
            bind_sockets(Settings(port=_port(sock)))
        reserve([sock], reserved=False)
        sock.listen()
        reserve([sock], reserved=True)  # of no effect on a socket that listens
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)


def test_a_failure_releases_what_was_bound_before(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = _port(probe)
        probe.close()
        path = tmp_path / "a.sock"
        with pytest.raises(BindError, match="is taken"):
            bind_sockets(Settings(bind=(f"unix:{path}", f"127.0.0.1:{free}", f"127.0.0.1:{_port(other)}")))
        assert list(tmp_path.iterdir()) == []
        _closed(bind_sockets(Settings(port=free)))


def test_an_address_of_another_machine_is_told() -> None:
    # 192.0.2.0/24 is set aside for documentation (RFC 5737): no machine has it.
    with pytest.raises(BindError, match=r"192\.0\.2\.1:8000 is not an address of this machine"):
        bind_sockets(Settings(bind=("192.0.2.1:8000",)))


def test_an_unknown_host_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> object:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(BindError, match=r'"nowhere" of nowhere:80 cannot be resolved \(Name or service not'):
        bind_sockets(Settings(bind=("nowhere:80",)))


def test_a_forbidden_port_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(self: socket.socket, address: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", forbidden)
    with pytest.raises(BindError, match=r"127\.0\.0\.1:80 is forbidden .* CAP_NET_BIND_SERVICE"):
        bind_sockets(Settings(port=80))


@ipv6
def test_port_0_is_the_same_on_every_address_of_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    _two_addresses(monkeypatch, "::1")
    sockets = bind_sockets(Settings(host="twofold", port=0))
    assert {sock.family for sock in sockets} == {socket.AF_INET, socket.AF_INET6}
    assert _port(sockets[0]) == _port(sockets[1]) != 0
    _closed(sockets)


def test_an_address_of_a_name_that_this_machine_lacks_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    _two_addresses(monkeypatch, "2001:db8::1")
    (sock,) = bind_sockets(Settings(host="twofold", port=0))
    with sock:
        assert sock.getsockname()[0] == "127.0.0.1"


def _two_addresses(monkeypatch: pytest.MonkeyPatch, second: str) -> None:
    def resolved(host: str, port: int, **_: object) -> list[object]:
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)),
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (second, port, 0, 0)),
        ]

    monkeypatch.setattr(socket, "getaddrinfo", resolved)


@ipv6
def test_the_ipv6_wildcard_alone_takes_ipv4_too() -> None:
    (sock,) = bind_sockets(Settings(host="::", port=0))
    with sock:
        sock.listen()
        with socket.create_connection(("127.0.0.1", _port(sock))):
            pass


@ipv6
def test_both_wildcards_share_a_port() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = _port(probe)
    sockets = bind_sockets(Settings(bind=(f"[::]:{port}", f"0.0.0.0:{port}")))
    for sock in sockets:
        sock.listen()
    assert sockets[0].getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
    _closed(sockets)


@ipv6
def test_no_host_means_every_interface_of_both_families() -> None:
    sockets = bind_sockets(Settings(bind=(":0",)))
    assert {sock.getsockname()[0] for sock in sockets} == {"0.0.0.0", "::"}
    _closed(sockets)


def test_sockets_are_shown_as_urls(tmp_path: Path) -> None:
    sockets = bind_sockets(Settings(bind=("127.0.0.1:0", f"unix:{tmp_path}/a")))
    by_family = {sock.family: sock for sock in sockets}
    tcp, unix = by_family[socket.AF_INET], by_family[socket.AF_UNIX]
    assert display(tcp) == f"http://127.0.0.1:{_port(tcp)}"
    assert display(tcp, tls=True) == f"https://127.0.0.1:{_port(tcp)}"
    assert display(unix, tls=True) == f"unix:{tmp_path}/a"
    _closed(sockets)


@ipv6
def test_an_ipv6_socket_is_shown_with_brackets() -> None:
    (sock,) = bind_sockets(Settings(host="::1", port=0))
    with sock:
        assert display(sock) == f"http://[::1]:{_port(sock)}"


# -- Unix sockets


def test_a_unix_socket_has_the_permissions_asked_for_and_goes_with_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    (sock,) = bind_sockets(Settings(uds=str(path), uds_permissions=0o640))
    assert stat.S_IMODE(path.lstat().st_mode) == 0o640
    sock.close()
    assert list(tmp_path.iterdir()) == []


def test_the_umask_is_as_before(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        _closed(bind_sockets(Settings(uds=str(tmp_path / "a"))))
        assert os.umask(0o022) == 0o022
    finally:
        os.umask(before)


def test_a_stale_unix_socket_is_replaced(tmp_path: Path) -> None:
    path = str(tmp_path / "app.sock")
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(path)
    _closed(bind_sockets(Settings(uds=path)))


def test_a_unix_socket_somebody_listens_on_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        with pytest.raises(BindError, match="is taken: another process listens there"):
            bind_sockets(Settings(uds=str(path)))
    assert path.is_socket()


def test_a_unix_socket_of_a_server_that_is_still_starting_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    with bind_sockets(Settings(uds=str(path)))[0]:
        with pytest.raises(BindError, match="another keepserve holds"):
            bind_sockets(Settings(uds=str(path)))
        assert path.is_socket()


def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    with pytest.raises(BindError, match="is not a socket"):
        bind_sockets(Settings(uds=str(path)))
    assert path.read_text() == "data"
    assert list(tmp_path.iterdir()) == [path]


def test_the_path_of_a_successor_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    (sock,) = bind_sockets(Settings(uds=str(path)))
    path.unlink()
    path.write_text("a successor's")
    sock.close()
    assert path.exists()


def test_a_forked_process_does_not_remove_the_path(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    (sock,) = bind_sockets(Settings(uds=str(path)))
    with sock:
        pid = os.fork()
        if pid == 0:
            sock.close()
            os._exit(0)
        os.waitpid(pid, 0)
        assert path.is_socket()


@pytest.mark.parametrize("path", ["missing/app.sock", "x" * 200])
def test_a_unix_path_that_cannot_be_is_told(tmp_path: Path, path: str) -> None:
    with pytest.raises(BindError, match=r"cannot be bound: .*; choose a short path"):
        bind_sockets(Settings(uds=str(tmp_path / path)))


# -- Inherited sockets


def test_an_inherited_socket_is_taken_over_as_it_is() -> None:
    server = socket.create_server(("127.0.0.1", 0))
    os.set_inheritable(server.fileno(), True)
    port = _port(server)
    (sock,) = bind_sockets(Settings(fd=server.detach()))
    with sock:
        assert _port(sock) == port
        assert not sock.get_inheritable()
        assert not sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


def test_an_inherited_unix_socket_is_taken_over(tmp_path: Path) -> None:
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(tmp_path / "a"))
    (sock,) = bind_sockets(Settings(bind=(f"fd://{server.detach()}",)))
    with sock:
        assert sock.family == socket.AF_UNIX


def test_an_inherited_descriptor_that_is_closed_is_told() -> None:
    with pytest.raises(BindError, match="fd://987654 is not open: pass a bound stream socket"):
        bind_sockets(Settings(fd=987654))


def test_an_inherited_descriptor_that_is_no_socket_is_told_and_stays_open(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as file:
        with pytest.raises(BindError, match="is not a socket"):
            bind_sockets(Settings(fd=file.fileno()))
        os.fstat(file.fileno())


def test_an_inherited_datagram_socket_is_told_and_stays_open() -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        with pytest.raises(BindError, match="of type SOCK_DGRAM, not SOCK_STREAM"):
            bind_sockets(Settings(fd=sock.fileno()))
        os.fstat(sock.fileno())


def test_an_inherited_connection_is_told() -> None:
    one, other = socket.socketpair()
    with one, other, pytest.raises(BindError, match="is a connection, not a listening socket"):
        bind_sockets(Settings(fd=one.fileno()))
