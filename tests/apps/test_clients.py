"""curl, httpx and wrk as people use them, against the demo in both HTTP/1.1 engines."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.curl import curl
from tests.support.serving import ServerProcess, serving
from tests.support.tools import find_tool

LARGE = bytes(range(251)) * 8000  # 2 MB; above 1 MiB curl sends "Expect: 100-continue" by itself


@pytest.fixture(scope="module", params=["httptools", "h11"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    directory = tmp_path_factory.mktemp(request.param)
    with serving("keepserve.demo:app", "--http1", request.param, directory=directory) as running:
        yield running


@pytest.fixture
def base(server: ServerProcess) -> str:
    return f"http://127.0.0.1:{server.port}"


def test_curl_asks_twice_on_one_connection(base: str) -> None:
    body, told = curl(f"{base}/hello", f"{base}/json")
    assert body.startswith(b"Hello\n{")
    assert b'"requests": 2' in body
    assert told.count("< HTTP/1.1 200 OK") == 2
    assert "Re-using existing connection" in told or "Reusing existing connection" in told


def test_curl_uploads_chunked(base: str) -> None:
    body, told = curl("--upload-file", "-", "--request", "POST", f"{base}/echo", stdin=LARGE)
    assert "> Transfer-Encoding: chunked" in told
    assert body == LARGE


def test_curl_waits_for_100_continue_before_a_large_body(base: str, tmp_path: Path) -> None:
    file = tmp_path / "large"
    file.write_bytes(LARGE)
    body, told = curl("--data-binary", f"@{file}", "--expect100-timeout", "8", f"{base}/echo")
    assert "> Expect: 100-continue" in told
    assert told.index("< HTTP/1.1 100 Continue") < told.index("< HTTP/1.1 200 OK")
    assert body == LARGE


def test_curl_is_refused_without_having_sent_the_body(base: str, tmp_path: Path) -> None:
    file = tmp_path / "large"
    file.write_bytes(LARGE)
    body, told = curl("--data-binary", f"@{file}", "--expect100-timeout", "8", f"{base}/json")
    assert "< HTTP/1.1 405 Method Not Allowed" in told
    assert "100 Continue" not in told
    assert b"answers GET" in body


def test_curl_speaks_http_1_0(base: str) -> None:
    body, told = curl("--http1.0", f"{base}/hello")
    assert body == b"Hello\n"
    assert "> GET /hello HTTP/1.0" in told
    assert "< connection: close" in told.lower()
    # No length is known: the end of the connection is the end of the body, and no chunk sizes may show.
    body, told = curl("--http1.0", f"{base}/stream?chunks=3&delay=0")
    assert body == b"".join(b"chunk %d of 3\n" % number for number in (1, 2, 3))
    assert "transfer-encoding" not in told.lower()


def test_curl_asks_for_the_head_only(base: str) -> None:
    head, _ = curl("--head", f"{base}/hello")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"content-length: 6\r\n" in head.lower()
    assert head.endswith(b"\r\n\r\n")


def test_curl_asks_for_the_close(base: str) -> None:
    body, told = curl("--header", "Connection: close", f"{base}/hello")
    assert body == b"Hello\n"
    assert "< connection: close" in told.lower()


def test_httpx_keeps_its_connection(base: str) -> None:
    with httpx.Client(trust_env=False) as client:
        told = [client.get(f"{base}/json").json()["connection"] for _ in range(5)]
        client.post(f"{base}/echo", content=LARGE)
        told.append(client.get(f"{base}/json").json()["connection"])
    assert [one["requests"] for one in told] == [1, 2, 3, 4, 5, 7]
    assert len({one["id"] for one in told}) == 1


def test_wrk_sees_no_error(base: str) -> None:
    binary = find_tool("wrk", "wrk")
    done = subprocess.run(
        [binary, "--threads", "1", "--connections", "32", "--duration", "1s", f"{base}/hello"],
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    report = done.stdout
    assert "Socket errors" not in report
    assert "Non-2xx" not in report
    requests = re.search(r"(\d+) requests in", report)
    assert requests is not None
    assert int(requests.group(1)) > 500
