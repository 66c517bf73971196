"""The scope of a request, as the ASGI HTTP specification has it."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

import pytest

from tests.support.harness import Receive, Scope, Send, Worker, answer, get, run, turns


def scopes(*raw: bytes, connect: dict[str, Any] | None = None, **settings: Any) -> list[MutableMapping[str, Any]]:
    """Serve these requests on one connection and return what the application was given."""
    seen: list[MutableMapping[str, Any]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)
        await answer(send)

    async def serve() -> None:
        worker = Worker(app, **settings)
        worker.state.app_state = {"pool": seen}
        client = worker.connect(**(connect or {}))
        for request in raw:
            client.send(request)
            await turns()

    run(serve)
    return seen


def test_a_scope_has_what_the_specification_asks_for() -> None:
    (scope,) = scopes(get(b"/a%20b/%C3%A9?x=%20y&z", b"X-One: 1", b"x-two: 2"))
    assert scope["type"] == "http"
    assert scope["asgi"] == {"version": "3.0", "spec_version": "2.5"}
    assert scope["http_version"] == "1.1"
    assert scope["method"] == "GET"
    assert scope["scheme"] == "http"
    assert scope["path"] == "/a b/é"
    assert scope["raw_path"] == b"/a%20b/%C3%A9"
    assert scope["query_string"] == b"x=%20y&z"
    assert scope["root_path"] == ""
    assert [tuple(field) for field in scope["headers"]] == [(b"host", b"x"), (b"x-one", b"1"), (b"x-two", b"2")]
    assert tuple(scope["client"]) == ("192.0.2.1", 40000)
    assert tuple(scope["server"]) == ("192.0.2.2", 80)


@pytest.mark.parametrize(
    ("target", "path", "raw_path", "query"),
    [
        (b"/", "/", b"/", b""),
        (b"/?", "/", b"/", b""),
        (b"/a?b?c", "/a", b"/a", b"b?c"),
        (b"/%2e%2e/%2F", "/..//", b"/%2e%2e/%2F", b""),
        (b"/%ff", "/\ufffd", b"/%ff", b""),
        (b"/%", "/%", b"/%", b""),
        (b"/%zz", "/%zz", b"/%zz", b""),
        (b"/%00%0a", "/\x00\n", b"/%00%0a", b""),
        (b"//a//b", "//a//b", b"//a//b", b""),
        (b"/a;b=c+d", "/a;b=c+d", b"/a;b=c+d", b""),
        (b"http://other:81/a?b", "/a", b"/a", b"b"),
        (b"http://other", "/", b"/", b""),
    ],
)
def test_paths(target: bytes, path: str, raw_path: bytes, query: bytes) -> None:
    (scope,) = scopes(get(target))
    assert (scope["path"], scope["raw_path"], scope["query_string"]) == (path, raw_path, query)


def test_the_root_path_stands_in_front_of_the_path() -> None:
    (scope,) = scopes(get(b"/a%20b"), root_path="/api")
    assert (scope["root_path"], scope["path"], scope["raw_path"]) == ("/api", "/api/a b", b"/api/a%20b")


@pytest.mark.parametrize("method", ["GET", "HEAD", "QUERY", "M-SEARCH", "PROPFIND"])
def test_methods_are_text(method: str) -> None:
    (scope,) = scopes(method.encode() + get()[3:])
    assert scope["method"] == method


def test_a_connection_of_tls_has_its_scheme() -> None:
    (scope,) = scopes(get(), connect={"tls": True})
    assert scope["scheme"] == "https"


def test_addresses_are_a_host_and_a_whole_number() -> None:
    (scope,) = scopes(get(), connect={"peername": ("2001:db8::1", 5, 0, 0), "sockname": ("::", 8000, 0, 0)})
    assert tuple(scope["client"]) == ("2001:db8::1", 5)
    assert tuple(scope["server"]) == ("::", 8000)


def test_a_unix_socket_has_no_client_and_its_path_as_server() -> None:
    (scope,) = scopes(get(), connect={"peername": "", "sockname": "/run/x.sock"})
    assert scope["client"] is None
    assert tuple(scope["server"]) == ("/run/x.sock", None)


def test_what_one_request_writes_into_its_scope_the_next_does_not_see() -> None:
    first, second = scopes(get(b"/1"), get(b"/2"))
    assert first is not second
    for name in ("state", "headers"):
        assert first[name] is not second[name]
    first["path"] = "/changed"
    first["state"]["mine"] = 1
    first["endpoint"] = 1
    assert second["path"] == "/2"
    assert "mine" not in second["state"]
    assert "endpoint" not in second


def test_requests_share_what_the_lifespan_stored() -> None:
    first, second = scopes(get(b"/1"), get(b"/2"))
    assert first["state"]["pool"] is second["state"]["pool"]


def test_a_scope_tells_what_its_connection_knows_of_itself() -> None:
    scope = scopes(get(b"/1"), get(b"/2"))[1]
    facts = scope["extensions"]["keepserve"]
    assert (facts["connection_id"], facts["request_number"], facts["connection_age"]) == (1, 2, 0.0)
    assert sorted(facts) == [
        "connection_age",
        "connection_id",
        "draining",
        "proxy_protocol",
        "request_number",
        "until_draining",
        "worker_pid",
    ]
    assert facts.get("nothing") is None


@pytest.mark.parametrize(
    ("allowed", "lines", "client", "scheme"),
    [
        ((), [b"X-Forwarded-For: 203.0.113.7", b"X-Forwarded-Proto: https"], ("192.0.2.1", 40000), "http"),
        (
            ("10.0.0.0/8",),
            [b"X-Forwarded-For: 203.0.113.7", b"X-Forwarded-Proto: https"],
            ("192.0.2.1", 40000),
            "http",
        ),
        (("192.0.2.1",), [b"X-Forwarded-For: 203.0.113.7", b"X-Forwarded-Proto: https"], ("203.0.113.7", 0), "https"),
        (("192.0.2.1",), [b"X-Forwarded-Proto: https"], ("192.0.2.1", 40000), "https"),
        (("192.0.2.1",), [b"X-Forwarded-For: unknown"], ("192.0.2.1", 40000), "http"),
        (("*",), [b"X-Forwarded-For: 203.0.113.7, 198.51.100.1"], ("203.0.113.7", 0), "http"),
        (("unix",), [b"X-Forwarded-For: 203.0.113.7"], ("192.0.2.1", 40000), "http"),
    ],
)
def test_a_proxy_is_believed_only_when_it_is_trusted(
    allowed: tuple[str, ...], lines: list[bytes], client: tuple[str, int], scheme: str
) -> None:
    (scope,) = scopes(get(b"/", *lines), forwarded_allow_ips=allowed)
    assert (tuple(scope["client"]), scope["scheme"]) == (client, scheme)
    assert [tuple(field) for field in scope["headers"]][1:] == [
        (name.lower(), value) for name, _, value in (line.partition(b": ") for line in lines)
    ]


def test_proxy_headers_can_be_switched_off() -> None:
    line = b"X-Forwarded-For: 203.0.113.7"
    (scope,) = scopes(get(b"/", line), forwarded_allow_ips=("*",), proxy_headers=False)
    assert tuple(scope["client"]) == ("192.0.2.1", 40000)


def test_each_request_of_a_trusted_proxy_has_its_own_client() -> None:
    lines = (b"X-Forwarded-For: 203.0.113.7", b"A: b", b"X-Forwarded-For: 203.0.113.8")
    seen = scopes(*(get(b"/", line) for line in lines), forwarded_allow_ips=("192.0.2.1",))
    assert [scope["client"][0] for scope in seen] == ["203.0.113.7", "192.0.2.1", "203.0.113.8"]


def test_a_tcp_peer_that_has_left_is_not_taken_for_one_on_a_unix_socket() -> None:
    facts = {"peername": None, "sockname": ("192.0.2.2", 80)}  # the system forgets its address when it is gone
    line = b"X-Forwarded-For: 203.0.113.7"
    (scope,) = scopes(get(b"/", line), connect=facts, forwarded_allow_ips=("unix",))
    assert scope["client"] is None


@pytest.mark.parametrize(("allowed", "client"), [(("unix",), ("203.0.113.7", 0)), (("192.0.2.1",), None), ((), None)])
def test_a_proxy_on_a_unix_socket_is_believed_only_by_name(allowed: tuple[str, ...], client: Any) -> None:
    line = b"X-Forwarded-For: 203.0.113.7"
    facts = {"peername": "", "sockname": "/run/x.sock"}
    (scope,) = scopes(get(b"/", line), connect=facts, forwarded_allow_ips=allowed)
    assert scope["client"] == client
