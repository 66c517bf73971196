"""A real HAProxy that sends the PROXY protocol: both versions, over HTTP/1.1 and HTTP/2, in front of TLS and within.

Clients connect from 127.0.0.9, HAProxy itself from 127.0.0.1: so whose address it is can be told.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.support.programs import free_port, listening
from tests.support.serving import ServerProcess, eventually, serving
from tests.support.tools import find_tool

APP = "tests.balancers.proxied:app"
HOST, CLIENT = "127.0.0.1", "127.0.0.9"
REQUIRED = ("--proxy-protocol", "require", "--proxy-protocol-from", HOST, "--log-level", "debug", "--no-access-log")

# A server that is checked: HAProxy sends those checks with a header of their own, LOCAL or with its own addresses.
# The first comes at once. Within "inter" HAProxy wants to be connected, by TLS, too: a slow machine is no bad one.
_HAPROXY = """\
global
    maxconn 200
defaults
    mode {mode}
    timeout connect 5s
    timeout client 30s
    timeout server 30s
    timeout check 5s
    default-server check inter 5s fall 1 rise 1
frontend clients
    bind 127.0.0.1:{port} {bind}
    unique-id-format %[uuid]
    default_backend app
backend app
    server app 127.0.0.1:{backend} {options}
"""


@contextlib.contextmanager
def haproxy(directory: Path, backend: int, options: str, *, mode: str = "http", bind: str = "") -> Iterator[int]:
    """HAProxy in front of ``backend``; gives its port. Whatever it has to complain about is a failure."""
    directory.mkdir()
    port = free_port()
    configuration = directory / "haproxy.cfg"
    configuration.write_text(_HAPROXY.format(port=port, backend=backend, options=options, mode=mode, bind=bind))
    command = [find_tool("haproxy", "haproxy"), "-db", "-f", str(configuration)]
    with listening(command, port, directory / "output"):
        yield port


def ask(port: int, requests: int = 1, context: ssl.SSLContext | None = None) -> tuple[list[dict[str, Any]], int]:
    """What the application says to some requests on one connection, and the client's port of that."""
    with socket.create_connection((HOST, port), timeout=10, source_address=(CLIENT, 0)) as sock:
        own = sock.getsockname()[1]
        connection = http.client.HTTPConnection(HOST, port)
        connection.sock = context.wrap_socket(sock, server_hostname="app.example") if context is not None else sock
        answers = []
        for _ in range(requests):
            connection.request("GET", "/")
            response = connection.getresponse()
            body = response.read()
            assert response.status == 200, body
            answers.append(json.loads(body))
        connection.sock.close()
        return answers, own


def refused(server: ServerProcess) -> list[str]:
    """What the server's log says of connections it did not take."""
    return [line for line in server.stderr.splitlines() if "Refused a connection" in line]


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("protocol", ["1.1", "2"])
@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_the_client_is_known(tmp_path: Path, version: int, protocol: str, loop: str) -> None:
    options = ("send-proxy" if version == 1 else "send-proxy-v2") + (" proto h2" if protocol == "2" else "")
    with (
        serving(APP, *REQUIRED, "--loop", loop, directory=tmp_path / "keepserve") as server,
        haproxy(tmp_path / "haproxy", server.port, options) as port,
    ):
        answers, own = ask(port, 3)
        assert refused(server) == []
    for told in answers:
        assert (told["client"], told["server"]) == ([CLIENT, own], [HOST, port])
        assert (told["http_version"], told["scheme"]) == (protocol, "http")
        assert (told["header"]["version"], told["header"]["local"]) == (version, False)


def test_values_behind_the_addresses_are_read_and_their_checksum_is_right(tmp_path: Path) -> None:
    with (
        serving(APP, *REQUIRED, directory=tmp_path / "keepserve") as server,
        haproxy(
            tmp_path / "haproxy", server.port, "send-proxy-v2 proxy-v2-options crc32c,unique-id proto h2"
        ) as port,
    ):
        ((told,), own) = ask(port)
    assert told["client"] == [CLIENT, own]
    assert len(told["header"]["unique_id"]) == 36


@pytest.fixture
def authority(tmp_path: Path) -> tuple[trustme.CA, Path]:
    """Who signed the certificate, and the file with that and its key."""
    ca = trustme.CA()
    file = tmp_path / "server.pem"
    ca.issue_cert("app.example", HOST).private_key_and_cert_chain_pem.write_to_path(str(file))
    return ca, file


@pytest.mark.parametrize(("sends", "version"), [("send-proxy", 1), ("send-proxy-v2", 2)])
@pytest.mark.parametrize("alpn", ["http/1.1", "h2"])
def test_the_header_comes_in_front_of_the_balancers_tls(
    tmp_path: Path, authority: tuple[trustme.CA, Path], sends: str, version: int, alpn: str
) -> None:
    with (
        serving(APP, *REQUIRED, "--ssl-certfile", str(authority[1]), directory=tmp_path / "keepserve") as server,
        haproxy(tmp_path / "haproxy", server.port, f"{sends} ssl verify none alpn {alpn}") as port,
    ):
        answers, own = ask(port, 2)
        assert refused(server) == []
    for told in answers:
        assert (told["client"], told["scheme"]) == ([CLIENT, own], "https")
        assert told["http_version"] == ("2" if alpn == "h2" else "1.1")
        assert told["header"]["version"] == version


@pytest.mark.parametrize("sends", ["send-proxy", "send-proxy-v2"])
def test_the_header_comes_in_front_of_the_clients_tls_that_the_balancer_passes_on(
    tmp_path: Path, authority: tuple[trustme.CA, Path], sends: str
) -> None:
    context = ssl.create_default_context()
    authority[0].configure_trust(context)
    with (
        serving(APP, *REQUIRED, "--ssl-certfile", str(authority[1]), directory=tmp_path / "keepserve") as server,
        haproxy(tmp_path / "haproxy", server.port, sends, mode="tcp") as port,
    ):
        answers, own = ask(port, 2, context)
    for told in answers:
        assert (told["client"], told["scheme"]) == ([CLIENT, own], "https")


def test_a_balancer_that_ends_the_clients_tls_says_so(tmp_path: Path, authority: tuple[trustme.CA, Path]) -> None:
    context = ssl.create_default_context()
    authority[0].configure_trust(context)
    with (
        serving(APP, *REQUIRED, directory=tmp_path / "keepserve") as server,
        haproxy(
            tmp_path / "haproxy",
            server.port,
            "send-proxy-v2-ssl-cn proxy-v2-options authority,cert-key,crc32c",
            mode="tcp",
            bind=f"ssl crt {authority[1]} alpn http/1.1",
        ) as port,
    ):
        ((told,), own) = ask(port, 1, context)
    assert (told["client"], told["scheme"]) == ([CLIENT, own], "https")
    assert told["header"]["authority"] == "app.example"
    assert told["header"]["tls"]["version"].startswith("TLSv1.")
    assert told["header"]["tls"]["certificate"] is False


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_whoever_comes_past_the_balancer_is_refused(tmp_path: Path, loop: str) -> None:
    with serving(APP, *REQUIRED, "--loop", loop, directory=tmp_path / "keepserve") as server:
        with socket.create_connection((HOST, server.port), timeout=10) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert end_of(sock) == b""
        with socket.create_connection((HOST, server.port), timeout=10, source_address=(CLIENT, 0)) as sock:
            assert end_of(sock) == b""
        with socket.create_connection((HOST, server.port), timeout=10) as sock:
            sock.sendall(b"PROXY TCP4 203.0.113.7 192.0.2.80 1 2\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b'"client": ["203.0.113.7", 1]' in sock.recv(4096)
        said = eventually(
            lambda: (lines := refused(server)) and len(lines) == 2 and lines, "both refusals are logged"
        )
    assert "not with a PROXY protocol header" in said[0]
    assert "--proxy-protocol-from does not name" in said[1]


def end_of(sock: socket.socket) -> bytes:
    """All that comes until the connection is closed, be it by a reset."""
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := sock.recv(4096):
            data += piece
    return data
