"""One TLS connection at a time, in every way it can go: both loops, both HTTP/1.1 parsers, both HTTP versions."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import ssl
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.curl import curl
from tests.support.serving import ServerProcess, eventually, serving
from tests.support.tls import authority, certificate_files
from tests.support.tools import find_tool

APP = "tests.system.app:app"
BLOCK = 16 * 1024
HALF_HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"


@pytest.fixture(
    scope="module",
    params=[("uvloop", "httptools"), ("asyncio", "httptools"), ("uvloop", "h11"), ("asyncio", "h11")],
    ids="-".join,
)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    loop, parser = request.param
    directory = tmp_path_factory.mktemp(f"{loop}-{parser}")
    chain, key = certificate_files(directory)
    ca = directory / "ca.pem"
    authority().cert_pem.write_to_path(str(ca))
    options = ["--ssl-certfile", chain, "--ssl-keyfile", key, "--loop", loop, "--http1", parser]
    options += ["--ssl-ca-certs", str(ca), "--ssl-cert-reqs", "optional"]
    options += ["--tls-handshake-timeout", "0.4", "--tls-shutdown-timeout", "0.5", "--log-level", "debug"]
    with serving(APP, *options, directory=directory / "log") as running:
        yield running
        assert "Traceback" not in running.stderr


def client_context(*protocols: str, version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority().configure_trust(context)
    if protocols:
        context.set_alpn_protocols(protocols)
    if version is not None:
        context.minimum_version = context.maximum_version = version
    return context


@contextlib.contextmanager
def connected(server: ServerProcess, context: ssl.SSLContext | None = None) -> Iterator[ssl.SSLSocket]:
    with (
        socket.create_connection(("127.0.0.1", server.port), timeout=10) as plain,
        (context or client_context()).wrap_socket(
            plain, server_hostname="127.0.0.1", suppress_ragged_eofs=False
        ) as sock,
    ):
        yield sock


def get(path: str, *lines: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: x", *lines, "", ""]).encode()


def read_to_goodbye(sock: ssl.SSLSocket) -> bytes:
    """Everything up to close_notify, without which this raises."""
    received = b""
    while data := sock.recv(65536):
        received += data
    return received


def body(answer: bytes) -> bytes:
    head, _, rest = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 "), head
    return rest


def everything(sock: socket.socket) -> bytes:
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while data := sock.recv(65536):
            received += data
    return received


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("size", [1, 100, 1_000_000])
def test_a_request_may_come_in_records_of_any_size(server: ServerProcess, version: ssl.TLSVersion, size: int) -> None:
    content = bytes(range(256)) * (4 if size == 1 else 2000)
    request = b"POST /size/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(content)
    with connected(server, client_context(version=version)) as sock:
        data = request + content
        for at in range(0, len(data), size):
            sock.sendall(data[at : at + size])
        assert body(read_to_goodbye(sock)) == b"%d" % len(content)


def test_a_megabyte_of_records_of_one_byte_is_read_while_others_are_served(server: ServerProcess) -> None:
    """They are encrypted beforehand, so that they come as fast as the kernel takes them."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = client_context().wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as sock, connected(server) as other:
        while True:
            with contextlib.suppress(ssl.SSLWantReadError):
                tls.do_handshake()
                break
            sock.sendall(outgoing.read())
            incoming.write(sock.recv(65536))
        count = 40_000
        tls.write(b"POST /size/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % count)
        for _ in range(count):
            tls.write(b"x")
        sock.sendall(outgoing.read())
        other.sendall(get("/number/x", "Connection: close"))
        body(read_to_goodbye(other))
        incoming.write(everything(sock))
        assert tls.read(65536).endswith(b"\r\n\r\n%d" % count)


def test_a_large_answer_comes_whole_though_the_client_reads_late(server: ServerProcess) -> None:
    with connected(server) as sock:
        sock.sendall(get("/late/200", "Connection: close"))
        time.sleep(0.3)
        assert len(read_to_goodbye(sock)) > 200 * BLOCK


def test_pipelined_requests_in_one_record_are_answered_in_order(server: ServerProcess) -> None:
    with connected(server) as sock:
        sock.sendall(get("/number/x") * 20 + get("/number/x", "Connection: close"))
        numbers = re.findall(rb"\r\n\r\n\d+/(\d+)", read_to_goodbye(sock))
    assert numbers == [b"%d" % number for number in range(1, 22)]


@pytest.mark.parametrize("how", ["close_notify", "FIN"])
def test_a_client_that_has_said_all_it_has_to_say_is_answered_in_full(server: ServerProcess, how: str) -> None:
    with connected(server) as sock:
        sock.sendall(get("/late/20"))
        if how == "FIN":
            socket.socket.shutdown(sock, socket.SHUT_WR)
            assert len(read_to_goodbye(sock)) > 20 * BLOCK
        else:
            sock.setblocking(False)
            with contextlib.suppress(ssl.SSLWantReadError):
                sock.unwrap()  # the answer to it comes behind the response
            sock.settimeout(10)
            received = b""
            with contextlib.suppress(ssl.SSLZeroReturnError):
                while data := sock.recv(65536):
                    received += data
            assert len(received) > 20 * BLOCK


def test_an_early_answer_is_not_lost_while_the_client_still_sends(server: ServerProcess) -> None:
    """close_notify and FIN follow the answer, and what comes is read: closing would reset and destroy it."""
    with connected(server) as sock:
        sock.sendall(b"POST /refuse/x HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n")
        for _ in range(30):
            sock.sendall(b"x" * 100_000)
        time.sleep(0.2)
        answer = read_to_goodbye(sock)
        sock.sendall(b"x" * 100_000)
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert answer.endswith(b"Who are you?\n")


def test_the_goodbye_is_not_waited_for_longer_than_its_timeout(server: ServerProcess) -> None:
    with connected(server) as sock:
        sock.sendall(get("/number/x", "Connection: close"))
        read_to_goodbye(sock)
        # The socket stays open, and nothing is said: the server lets go by itself.
        eventually(lambda: _established(server.port) == 0, "the server closes")


def _established(port: int) -> int:
    """Connections to a port whose server end is still open, by the kernel's table."""
    table = Path("/proc/net/tcp")
    if not table.exists():
        pytest.skip("there is no /proc here")
    rows = [line.split() for line in table.read_text().splitlines()[1:]]
    # 01 established, 05 FIN_WAIT2 (ours is half-closed); an orphan in FIN_WAIT2 has no inode.
    return sum(
        row[1].endswith(f":{port:04X}") and row[3] in ("01", "04", "05", "08") and row[9] != "0" for row in rows
    )


@pytest.mark.parametrize("verb", ["GET", "POST", "PRI"])
def test_http_in_clear_text_is_told_that_this_port_speaks_tls(server: ServerProcess, verb: str) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as sock:
        sock.sendall(f"{verb} / HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        answer = everything(sock)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"This port speaks TLS" in answer


@pytest.mark.parametrize("garbage", [b"\0" * 100, b"\x16\x03\x01\x00\x05hello", b"SSH-2.0-x\r\n"])
def test_garbage_gets_an_alert_and_the_end(server: ServerProcess, garbage: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as sock:
        sock.sendall(garbage)
        assert everything(sock)[:1] == b"\x15"


@pytest.mark.parametrize(
    ("first", "dribble"), [(b"", False), (b"GE", False), (HALF_HELLO, False), (HALF_HELLO, True)]
)
def test_a_handshake_that_takes_too_long_is_given_up(server: ServerProcess, first: bytes, dribble: bool) -> None:
    """Also when a byte comes now and then: it is the whole that has a deadline."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as sock:
        began = time.monotonic()
        sock.sendall(first)
        sock.settimeout(0.1)
        while True:
            try:
                if not sock.recv(1):
                    break
            except TimeoutError:
                if dribble:
                    sock.sendall(b"\0")
            except ConnectionResetError:
                break
            assert time.monotonic() - began < 5
        assert 0.35 < time.monotonic() - began < 3


def test_a_client_that_vanishes_in_the_handshake_or_later_harms_nobody(server: ServerProcess) -> None:
    for rude in range(3):
        plain = socket.create_connection(("127.0.0.1", server.port), timeout=10)
        sock: socket.socket = plain
        if rude:
            sock = client_context().wrap_socket(plain, server_hostname="127.0.0.1")
            sock.sendall(get("/late/5")[: -rude + 1 or None])
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
    with connected(server) as sock:
        sock.sendall(get("/number/x", "Connection: close"))
        body(read_to_goodbye(sock))


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_the_application_is_told_of_tls_and_the_clients_certificate(
    server: ServerProcess, version: ssl.TLSVersion
) -> None:
    context = client_context(version=version)
    for name in (None, "client.example"):
        if name is not None:
            authority().issue_cert(name, common_name=name).configure_cert(context)
        with connected(server, context) as sock:
            sock.sendall(get("/tls/x", "Connection: close"))
            told = json.loads(body(read_to_goodbye(sock)))
            shown = sock.getpeercert(binary_form=True)
            cipher = sock.cipher()
        assert shown is not None
        assert cipher is not None
        assert told["scheme"] == "https"
        assert ssl.PEM_cert_to_DER_cert(told["server_cert"]) == shown
        assert told["tls_version"] == {ssl.TLSVersion.TLSv1_2: 0x0303, ssl.TLSVersion.TLSv1_3: 0x0304}[version]
        assert isinstance(told["cipher_suite"], int)
        if name is None:
            assert (told["client_cert_chain"], told["client_cert_name"]) == ([], None)
        else:
            assert told["client_cert_name"].startswith("CN=client.example,")
            assert told["client_cert_chain"][0].startswith("-----BEGIN CERTIFICATE-----")
        assert told["client_cert_error"] is None


def test_curl_gets_both_versions(server: ServerProcess, tmp_path: Path) -> None:
    trusted = tmp_path / "ca.pem"
    authority().cert_pem.write_to_path(str(trusted))
    url = f"https://127.0.0.1:{server.port}/size/x"
    upload = tmp_path / "upload"
    upload.write_bytes(b"x" * 3_000_000)
    for flag, said in (("--http1.1", "HTTP/1.1 200"), ("--http2", "HTTP/2 200")):
        output, told = curl("--cacert", str(trusted), flag, "--data-binary", f"@{upload}", url)
        assert output == b"3000000"
        assert f"< {said}" in told


def test_openssl_is_content(server: ServerProcess, tmp_path: Path) -> None:
    """Its own client: verification, ALPN, and key updates in both directions, which it asks for with ``K``."""
    binary = find_tool("openssl", "openssl")
    trusted = tmp_path / "ca.pem"
    authority().cert_pem.write_to_path(str(trusted))
    command = [binary, "s_client", "-connect", f"127.0.0.1:{server.port}", "-CAfile", str(trusted)]
    command += ["-alpn", "http/1.1", "-crlf"]
    output = b""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as client:
        assert client.stdin is not None
        assert client.stdout is not None
        try:
            # Each when the one before has had its effect: a command is one only at the beginning of a read.
            for typed, effect, times in (
                (b"", b"Verif", 1),
                (b"K\n", b"KEYUPDATE", 1),
                (b"k\n", b"KEYUPDATE", 2),
                (b"GET /number/x HTTP/1.1\nHost: x\n\n", b"HTTP/1.1 200 OK", 1),
                (b"GET /number/x HTTP/1.1\nHost: x\nConnection: close\n\n", b"HTTP/1.1 200 OK", 2),
            ):
                client.stdin.write(typed)
                client.stdin.flush()
                while output.count(effect) < times:
                    received = os.read(client.stdout.fileno(), 65536)
                    assert received, f"it has ended:\n{output.decode()}"
                    output += received
            output += client.stdout.read()
        finally:
            client.kill()
    assert b"Verify return code: 0 (ok)" in output or b"Verification: OK" in output
    assert b"ALPN protocol: http/1.1" in output
    assert output.count(b"KEYUPDATE") == 2
    assert output.count(b"HTTP/1.1 200 OK") == 2


def test_renegotiation_is_refused(server: ServerProcess) -> None:
    binary = find_tool("openssl", "openssl")
    done = subprocess.run(
        [binary, "s_client", "-connect", f"127.0.0.1:{server.port}", "-tls1_2"],
        input=b"R\n",
        capture_output=True,
        timeout=15,
        check=False,
    )
    assert b"RENEGOTIATING" in done.stdout + done.stderr
    assert b"no renegotiation" in done.stdout + done.stderr
