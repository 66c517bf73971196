"""httpx with HTTP/2: over TLS by ALPN, and by prior knowledge."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from tests.clients.conftest import Secure

LARGE = bytes(range(251)) * 8000


@pytest.fixture(params=["prior knowledge", "TLS"])
def settings(request: pytest.FixtureRequest, base: str, secure: Secure) -> dict[str, Any]:
    """What makes a client of httpx speak HTTP/2 to the server."""
    common = {"http2": True, "timeout": 10, "trust_env": False}
    if request.param == "TLS":
        return common | {"base_url": secure.base, "verify": secure.context}
    return common | {"base_url": base, "http1": False}


def test_it_keeps_its_connection(settings: dict[str, Any]) -> None:
    with httpx.Client(**settings) as client:
        answers = [client.get("/json") for _ in range(5)]
    assert {answer.http_version for answer in answers} == {"HTTP/2"}
    told = [answer.json() for answer in answers]
    assert {one["http_version"] for one in told} == {"2"}
    assert [one["connection"]["requests"] for one in told] == [1, 2, 3, 4, 5]


def test_bodies_go_both_ways(settings: dict[str, Any]) -> None:
    with httpx.Client(**settings) as client:
        assert client.post("/echo", content=LARGE).content == LARGE
        assert client.post("/echo", content=iter([LARGE[:100_000], LARGE[100_000:]])).content == LARGE
        lines = client.get("/stream", params={"chunks": 50, "delay": 0}).text.splitlines()
    assert len(lines) == 50


def test_a_hundred_requests_share_one_connection(settings: dict[str, Any]) -> None:
    async def ask(client: httpx.AsyncClient, number: int) -> int:
        content = b"%d." % number * 500
        assert (await client.post("/echo", content=content)).content == content
        return int((await client.get("/json")).json()["connection"]["id"])

    async def test() -> set[int]:
        async with httpx.AsyncClient(**settings) as client:
            await client.get("/hello")
            return set(await asyncio.gather(*(ask(client, number) for number in range(100))))

    assert len(asyncio.run(test())) == 1


def test_a_download_that_is_given_up_leaves_the_connection_usable(settings: dict[str, Any]) -> None:
    with httpx.Client(**settings) as client:
        with client.stream("GET", "/stream", params={"chunks": 1000, "delay": 0.01}) as answer:
            next(answer.iter_raw())
            first = client.get("/json").json()["connection"]
        second = client.get("/json").json()["connection"]
    assert first["id"] == second["id"]
    assert second["requests"] == first["requests"] + 1
