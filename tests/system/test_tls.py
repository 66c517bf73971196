"""HTTPS with certificates made for the occasion, through clients that verify them."""

from __future__ import annotations

import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import trustme

from tests.support.serving import ServerProcess, serving
from tests.support.tools import find_tool

LARGE = bytes(range(251)) * 8000


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module", params=["uvloop", "asyncio"])
def server(
    request: pytest.FixtureRequest, authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    directory = tmp_path_factory.mktemp(request.param)
    certificate = authority.issue_cert("127.0.0.1", "localhost")
    cert, key = directory / "cert.pem", directory / "key.pem"
    certificate.cert_chain_pems[0].write_to_path(str(cert))
    certificate.private_key_pem.write_to_path(str(key))
    options = ("--ssl-certfile", str(cert), "--ssl-keyfile", str(key), "--loop", request.param)
    clocks = ("--lb-idle-timeout", "0.2", "--keep-alive-timeout", "0.4")
    with serving("keepserve.demo:app", *options, *clocks, directory=directory / "log") as running:
        yield running
        assert "Traceback" not in running.stderr


@pytest.fixture
def context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture
def client(server: ServerProcess, context: ssl.SSLContext) -> Iterator[httpx.Client]:
    base = f"https://127.0.0.1:{server.port}"
    with httpx.Client(verify=context, base_url=base, timeout=10, trust_env=False) as client:
        yield client


def test_it_says_https_and_keeps_the_connection(server: ServerProcess, client: httpx.Client) -> None:
    assert f"https://127.0.0.1:{server.port}" in server.stderr
    told = [client.get("/json").json() for _ in range(3)]
    assert [one["connection"]["requests"] for one in told] == [1, 2, 3]
    assert {one["scheme"] for one in told} == {"https"}


def test_bodies_go_both_ways(client: httpx.Client) -> None:
    assert client.post("/echo", content=LARGE).content == LARGE
    assert client.post("/echo", content=iter([LARGE[:100_000], LARGE[100_000:]])).content == LARGE
    lines = client.get("/stream", params={"chunks": 50, "delay": 0}).text.splitlines()
    assert len(lines) == 50


def test_curl_verifies_the_certificate(server: ServerProcess, authority: trustme.CA, tmp_path: Path) -> None:
    binary = find_tool("curl", "curl")
    trusted = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(trusted))
    url = f"https://127.0.0.1:{server.port}/hello"
    command = [binary, "--silent", "--show-error", "--max-time", "10", "--noproxy", "*", "--cacert", str(trusted)]
    done = subprocess.run([*command, url], capture_output=True, timeout=15, check=False)
    assert (done.returncode, done.stdout) == (0, b"Hello\n"), done.stderr


def test_an_idle_connection_ends_with_close_notify(server: ServerProcess, context: ssl.SSLContext) -> None:
    context.set_alpn_protocols(["http/1.1"])
    with (
        socket.create_connection(("127.0.0.1", server.port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1", suppress_ragged_eofs=False) as sock,
    ):
        assert sock.selected_alpn_protocol() == "http/1.1"
        sock.sendall(b"GET /hello HTTP/1.1\r\nHost: test\r\n\r\n")
        received = b""
        while data := sock.recv(65536):  # without the goodbye of TLS this raises
            received += data
    assert received.endswith(b"\r\n\r\nHello\n")


def test_plain_http_on_the_tls_port_harms_nobody(server: ServerProcess, client: httpx.Client) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
        try:
            while sock.recv(65536):
                pass
        except ConnectionResetError:
            pass
    assert client.get("/hello").text == "Hello\n"
