"""FastAPI, Starlette, Django, Quart and Litestar behind both HTTP/1.1 engines, through a real client."""

from __future__ import annotations

import hashlib
import signal
from collections.abc import Iterator

import httpx
import pytest

from tests.apps.contract import CHUNKS, HELLO
from tests.support.serving import ServerProcess

ENGINES = ("httptools", "h11")
FRAMEWORKS = ("fastapi", "starlette", "django", "quart", "litestar")
UPLOAD = bytes(range(256)) * 4096 * 2  # 2 MiB


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[tuple[str, str], ServerProcess]]:
    """All servers, started side by side."""
    directory = tmp_path_factory.mktemp("frameworks")
    started: dict[tuple[str, str], ServerProcess] = {}
    try:
        for framework in FRAMEWORKS:
            for engine in ENGINES:
                options = ("--port", "0", "--http1", engine, "--log-level", "info")
                app = f"tests.apps.{framework}_app:app"
                started[framework, engine] = ServerProcess(app, *options, directory=directory / framework / engine)
        for server in started.values():
            server.wait_ready()
        yield started
        for server in started.values():
            server.send_signal(signal.SIGINT)
        for server in started.values():
            assert server.ended() == 0, server.stderr
            assert "Traceback" not in server.stderr
    finally:
        for server in started.values():
            server.kill()


@pytest.fixture(params=FRAMEWORKS)
def framework(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=ENGINES)
def client(
    request: pytest.FixtureRequest, framework: str, servers: dict[tuple[str, str], ServerProcess]
) -> Iterator[httpx.Client]:
    server = servers[framework, request.param]
    with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=10, trust_env=False) as client:
        yield client


def test_hello(client: httpx.Client) -> None:
    for _ in range(2):
        answer = client.get("/hello")
        assert (answer.status_code, answer.text) == (200, HELLO)
        assert answer.headers["content-type"].startswith("text/plain")
        assert answer.headers["server"] == "keepserve"


def test_head_has_no_body(client: httpx.Client, framework: str) -> None:
    answer = client.head("/hello")
    # FastAPI and Litestar answer HEAD only where a handler says so.
    assert answer.status_code == (405 if framework in ("fastapi", "litestar") else 200)
    assert answer.content == b""
    assert client.get("/hello").text == HELLO


def test_an_unknown_path_is_the_frameworks_own_404(client: httpx.Client) -> None:
    assert client.get("/nothing/here").status_code == 404


def test_stream(client: httpx.Client) -> None:
    with client.stream("GET", "/stream") as answer:
        assert answer.status_code == 200
        assert answer.headers["transfer-encoding"] == "chunked"
        assert b"".join(answer.iter_raw()) == b"".join(CHUNKS)
    assert client.get("/hello").text == HELLO


@pytest.mark.parametrize("framing", ["content-length", "chunked"])
def test_upload(client: httpx.Client, framing: str) -> None:
    parts = (UPLOAD[start : start + 50_000] for start in range(0, len(UPLOAD), 50_000))
    answer = client.post("/upload", content=UPLOAD if framing == "content-length" else parts)
    assert (answer.status_code, answer.text) == (200, hashlib.sha256(UPLOAD).hexdigest())


def test_multipart_form(client: httpx.Client) -> None:
    file = UPLOAD[:300_001]
    answer = client.post("/form", files={"file": ("name.bin", file)})
    assert (answer.status_code, answer.text) == (200, f"name.bin {hashlib.sha256(file).hexdigest()}")


def test_lifespan(client: httpx.Client, framework: str) -> None:
    answer = client.get("/lifespan")
    # Django declines the protocol, by raising; that it serves all the same is the test.
    expected = (404, None) if framework == "django" else (200, "by lifespan")
    assert (answer.status_code, answer.text if answer.status_code == 200 else None) == expected
