"""Several addresses at once, one of them a Unix socket."""

from __future__ import annotations

import stat
from pathlib import Path

import httpx

from tests.support.serving import serving


def test_one_server_listens_on_tcp_and_on_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "keepserve.sock"
    options = ("--bind", "127.0.0.1:0", "--bind", f"unix:{path}", "--forwarded-allow-ips", "unix")
    with serving("keepserve.demo:app", *options, directory=tmp_path / "log", workers=2) as server:
        assert httpx.get(f"http://127.0.0.1:{server.port}/hello", trust_env=False).text == "Hello\n"
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), base_url="http://unix.test") as client:
            told = [client.get("/json", headers={"X-Forwarded-Proto": "https"}).json() for _ in range(3)]
        assert [one["connection"]["requests"] for one in told] == [1, 2, 3]
        assert {one["scheme"] for one in told} == {"https"}
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
    assert not path.exists()
