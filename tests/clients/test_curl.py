"""curl with HTTP/2: by prior knowledge without TLS, by ALPN with it."""

from __future__ import annotations

import functools
import json
import subprocess
from pathlib import Path

import pytest

from tests.clients.conftest import Secure
from tests.support.curl import curl
from tests.support.tools import find_tool, unavailable

LARGE = bytes(range(251)) * 4178  # 1 MiB and a bit
PRIOR = "--http2-prior-knowledge"


@functools.cache
def _features() -> str:
    done = subprocess.run([find_tool("curl", "curl"), "-V"], capture_output=True, text=True, timeout=10, check=True)
    return done.stdout


@pytest.fixture(autouse=True)
def _speaks_http2() -> None:
    if "HTTP2" not in _features():
        unavailable("this curl was built without HTTP/2 (curl -V)")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "large"
    path.write_bytes(LARGE)
    return path


# One request a run by prior knowledge: curl 7.88, which Debian 12 has, fails on the second on a connection
# (curl issue 10634). Over TLS it does not.


def test_prior_knowledge_is_enough(base: str) -> None:
    body, told = curl(PRIOR, f"{base}/json")
    assert "< HTTP/2 200" in told
    assert json.loads(body)["http_version"] == "2"


def test_a_file_is_sent_and_comes_back(base: str, file: Path) -> None:
    body, told = curl(PRIOR, "--data-binary", f"@{file}", f"{base}/echo")
    assert f"> content-length: {len(LARGE)}" in told.lower()
    assert body == LARGE


def test_a_body_of_unknown_length_is_sent(base: str) -> None:
    body, told = curl(PRIOR, "--upload-file", "-", "--request", "POST", f"{base}/echo", stdin=LARGE)
    assert "> content-length" not in told.lower()
    assert body == LARGE


def test_a_body_of_unknown_length_comes(base: str) -> None:
    body, told = curl(PRIOR, f"{base}/stream?chunks=200&delay=0")
    assert body == b"".join(b"chunk %d of 200\n" % number for number in range(1, 201))
    assert "< content-length" not in told.lower()


def test_the_head_comes_alone(base: str) -> None:
    head, _ = curl(PRIOR, "--head", f"{base}/hello")
    assert head.startswith(b"HTTP/2 200 \r\n")
    assert b"\r\ncontent-length: 6\r\n" in head
    assert head.endswith(b"\r\n\r\n")


def test_the_answer_may_come_before_the_body_is_sent(base: str, file: Path) -> None:
    body, told = curl(PRIOR, "--data-binary", f"@{file}", f"{base}/json")
    assert "< HTTP/2 405" in told
    assert body == b"/json answers GET, HEAD only.\n"


def test_forty_connections_at_once(base: str, tmp_path: Path) -> None:
    many = ("--parallel", "--parallel-immediate", "--parallel-max", "40")
    curl(PRIOR, *many, "--output", f"{tmp_path}/#1", f"{base}/json?[1-40]")
    told = [json.loads(path.read_bytes()) for path in tmp_path.iterdir()]
    assert [facts["http_version"] for facts in told] == ["2"] * 40


def test_an_upgrade_to_h2c_is_not_honoured(base: str) -> None:
    body, told = curl("--http2", f"{base}/hello")
    assert "> Upgrade: h2c" in told
    assert "< HTTP/1.1 200 OK" in told
    assert body == b"Hello\n"


def test_http_1_1_is_spoken_on_the_same_port(base: str) -> None:
    body, _ = curl("--http1.1", f"{base}/json")
    assert json.loads(body)["http_version"] == "1.1"


def test_tls_agrees_on_h2_by_alpn(secure: Secure, file: Path) -> None:
    body, told = curl(*secure.trust, "--data-binary", f"@{file}", f"{secure.base}/echo")
    assert "ALPN: server accepted h2" in told or "ALPN, server accepted to use h2" in told
    assert "< HTTP/2 200" in told
    assert body == LARGE


def test_tls_agrees_on_http_1_1_with_a_client_that_wants_no_more(secure: Secure) -> None:
    body, told = curl("--http1.1", *secure.trust, f"{secure.base}/json")
    assert "< HTTP/1.1 200 OK" in told
    assert json.loads(body)["http_version"] == "1.1"


def test_a_connection_is_kept_even_after_a_body_was_refused(secure: Secure, file: Path) -> None:
    refused, told = curl(
        *secure.trust,
        "--data-binary",
        f"@{file}",
        f"{secure.base}/json",
        "--next",
        *secure.trust,
        f"{secure.base}/json",
    )
    assert "< HTTP/2 405" in told
    facts = json.loads(refused.partition(b"\n")[2])
    assert facts["connection"]["requests"] == 2


def test_200_things_at_once_on_one_connection(secure: Secure, tmp_path: Path) -> None:
    many = ("--parallel", "--parallel-max", "100", "--output", f"{tmp_path}/#1")
    curl(*secure.trust, *many, f"{secure.base}/json?[1-200]")
    told = [json.loads(path.read_bytes()) for path in tmp_path.iterdir()]
    assert {facts["http_version"] for facts in told} == {"2"}
    assert len({facts["connection"]["id"] for facts in told}) == 1
    assert max(facts["connection"]["requests"] for facts in told) == len(told) == 200
