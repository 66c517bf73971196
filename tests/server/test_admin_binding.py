"""Where the server may be watched from: addresses of this machine, unless somebody has said otherwise."""

from __future__ import annotations

import socket
import stat
from pathlib import Path

import pytest

from keepserve.config import ConfigError, Settings
from keepserve.server.addresses import admin_address, is_loopback
from keepserve.server.listening import BindError, bind_admin


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("127.0.0.1:9090", "127.0.0.1:9090"),
        (":9090", "127.0.0.1:9090"),
        ("[::1]:9090", "[::1]:9090"),
        ("localhost:9090", "localhost:9090"),
        ("127.3.2.1:0", "127.3.2.1:0"),
        ("unix:/run/admin.sock", "unix:/run/admin.sock"),
        ("unix:///run/admin.sock", "unix:/run/admin.sock"),
    ],
)
def test_addresses_of_this_machine_are_taken(text: str, shown: str) -> None:
    assert str(admin_address(Settings(admin=text))) == shown


@pytest.mark.parametrize("nothing", [None, ""])
def test_by_default_nobody_watches(nothing: str | None) -> None:
    assert admin_address(Settings(admin=nothing)) is None
    assert bind_admin(Settings(admin=nothing)) == []


@pytest.mark.parametrize("text", ["9090", "127.0.0.1", "fd://3", "unix:", "http://127.0.0.1:9090", "127.0.0.1:99999"])
def test_what_is_no_address_is_told_with_what_would_be_one(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--admin\): write 127\.0\.0\.1:9090, \[::1\]:9090, :9090 or unix:path"):
        admin_address(Settings(admin=text))


@pytest.mark.parametrize(
    "text", ["0.0.0.0:9090", "[::]:9090", "10.0.0.7:9090", "[2001:db8::1]:9090", "example.com:9090"]
)
def test_an_address_that_others_reach_has_to_be_allowed(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        admin_address(Settings(admin=text))
    assert str(caught.value) == (
        f"{text} can be reached by other machines (--admin), and whoever reaches it sees how the server is used. "
        "Write 127.0.0.1:9090 or unix:path, or say --admin-allow-public."
    )
    assert str(admin_address(Settings(admin=text, admin_allow_public=True))) == text


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("localhost", True),
        ("LocalHost.", True),
        ("a.localhost", True),
        ("127.255.0.1", True),
        ("::1", True),
        ("localhost.example", False),
        ("128.0.0.1", False),
        ("::", False),
        ("127.1", False),
        ("", False),
    ],
)
def test_loopback_is_told_by_name_and_by_address(host: str, local: bool) -> None:
    assert is_loopback(host) is local


def test_a_bound_address_takes_connections_before_anybody_serves() -> None:
    (sock,) = bind_admin(Settings(admin="127.0.0.1:0"))
    with sock, socket.create_connection(sock.getsockname()):
        pass


def test_a_taken_port_is_told_with_the_option_to_change() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        where = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(BindError, match=rf'^{where} is taken: ".*" shows by whom; .* choose another --admin\.$'):
            bind_admin(Settings(admin=where))


def test_a_port_that_is_bound_and_not_listened_on_yet_is_taken_or_becomes_so() -> None:
    """Another server that starts at the same moment: one of the two is told."""
    (first,) = bind_admin(Settings(admin="127.0.0.1:0"))
    with first, pytest.raises(BindError, match="is taken"):
        bind_admin(Settings(admin=f"127.0.0.1:{first.getsockname()[1]}"))


def test_a_unix_socket_has_its_permissions_and_goes_with_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    (sock,) = bind_admin(Settings(admin=f"unix:{path}", uds_permissions=0o600))
    assert stat.S_IMODE(path.lstat().st_mode) == 0o600
    with pytest.raises(BindError, match=r"choose another --admin\.$"):
        bind_admin(Settings(admin=f"unix:{path}"))
    sock.close()
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_does_not_mean_what_it_says_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", ("0.0.0.0", 0))]
    monkeypatch.setattr("keepserve.server.listening.socket.getaddrinfo", lambda *_, **__: found)
    with pytest.raises(BindError, match=r"localhost:0 is 0\.0\.0\.0:\d+, which is not a loopback address"):
        bind_admin(Settings(admin="localhost:0"))
    monkeypatch.undo()
