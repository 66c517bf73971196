"""The demonstration application, driven as a server would drive it."""

from __future__ import annotations

import asyncio
import json
import os
import re
from typing import Any

import pytest

from keepserve.demo import app, preferred_type

FIREFOX = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
TOLD = {"keepserve": {"connection_id": 7, "request_number": 4, "connection_age": 12.3456}}


class Answer:
    def __init__(self, messages: list[dict[str, Any]]) -> None:
        self.status = messages[0]["status"] if messages else None
        self.fields = {name.decode(): value.decode() for name, value in messages[0]["headers"]} if messages else {}
        self.chunks = [message["body"] for message in messages[1:]]
        self.body = b"".join(self.chunks)
        self.complete = bool(messages) and not messages[-1].get("more_body", False)

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def call(
    path: str = "/",
    *,
    method: str = "GET",
    query: bytes = b"",
    accept: str | None = None,
    extensions: dict[str, Any] | None = TOLD,
    body: list[bytes] | None = None,
    gone: bool = False,
    **scope: Any,
) -> Answer:
    messages: list[dict[str, Any]] = []
    parts = body or [b""]
    incoming = [
        {"type": "http.request", "body": part, "more_body": number < len(parts)}
        for number, part in enumerate(parts, 1)
    ]

    async def receive() -> Any:
        if incoming and not gone:
            return incoming.pop(0)
        if not gone:
            await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        messages.append(message)

    headers = [(b"accept", accept.encode())] if accept is not None else []
    whole = {
        "type": "http",
        "http_version": "1.1",
        "scheme": "http",
        "method": method,
        "path": path,
        "root_path": "",
        "query_string": query,
        "headers": headers,
        **scope,
    }
    if extensions is not None:
        whole["extensions"] = extensions
    asyncio.run(asyncio.wait_for(app(whole, receive, send), 10))
    return Answer(messages)


# The facts.


def test_curl_gets_json_with_pid_request_count_age_and_what_was_saved() -> None:
    answer = call(accept="*/*")
    assert answer.fields["content-type"] == "application/json"
    assert answer.json["worker_pid"] == os.getpid()
    assert answer.json["connection"] == {"id": 7, "requests": 4, "age_seconds": 12.346, "handshakes_avoided": 3}
    assert answer.json["explanation"].startswith("3 requests came without a TCP handshake of their own")


def test_the_first_request_claims_to_have_saved_nothing() -> None:
    told = {"keepserve": {"connection_id": 1, "request_number": 1, "connection_age": 0.0}}
    found = call("/json", extensions=told).json
    assert found["connection"]["handshakes_avoided"] == 0
    assert "it paid for the TCP handshake" in found["explanation"]


def test_over_tls_the_saved_handshake_is_both() -> None:
    assert "TCP and TLS handshake" in call("/json", scheme="https").json["explanation"]


@pytest.mark.parametrize("extensions", [None, {}, {"http.response.pathsend": {}}])
@pytest.mark.parametrize("accept", ["text/html", "text/plain", "*/*"])
def test_a_server_that_tells_nothing_is_named_as_the_reason(extensions: Any, accept: str) -> None:
    answer = call(extensions=extensions, accept=accept)
    assert answer.status == 200
    assert b"does not tell" in answer.body


def test_json_and_root_agree() -> None:
    found = call().json
    assert found.pop("paths")
    assert found == call("/json").json


# Negotiation.


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("", "application/json"),
        ("*/*", "application/json"),
        (FIREFOX, "text/html"),
        ("text/html;q=0.5, application/json;q=0.4", "text/html"),
        ("text/*", "text/html"),
        ("text/plain", "text/plain"),
        ("TEXT/HTML", "text/html"),
        ("text/html;q=0, */*", "application/json"),
        ("text/html;q=zero, text/plain;q=0.1", "text/plain"),
        ("text/html; level=1 ; q = 0.9, application/json;q=0.8", "text/html"),
        ("image/png", "application/json"),
        (",;,", "application/json"),
    ],
)
def test_the_type_asked_for_is_answered(accept: str, media_type: str) -> None:
    assert preferred_type(accept) == media_type
    answer = call(accept=accept)
    assert answer.fields["content-type"].startswith(media_type)
    assert answer.fields["vary"] == "accept"


def test_the_page_shows_the_facts_and_asks_nobody_else() -> None:
    page = call(accept=FIREFOX).body.decode()
    assert f'<dd id="pid">{os.getpid()}</dd>' in page
    assert '<dd id="requests">4</dd>' in page
    assert '<dd id="avoided">3</dd>' in page
    assert "[[" not in page
    assert "prefers-color-scheme: dark" in page
    # Nothing is loaded: no link, image, script or style from anywhere.
    loads = re.findall(r"""(?:src|href)\s*=\s*["']([^"']*)|url\(|@import""", page)
    assert loads == ["data:,"]


def test_the_page_forbids_itself_other_sources() -> None:
    policy = call(accept=FIREFOX).fields["content-security-policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "connect-src 'self'" in policy


def test_what_a_server_tells_is_escaped_in_the_page() -> None:
    told = {"keepserve": {"connection_id": "<b>", "request_number": 1, "connection_age": 0.0}}
    assert b"<b>" not in call(accept=FIREFOX, extensions=told).body


# Paths and methods.


def test_hello_is_a_small_plain_text() -> None:
    answer = call("/hello")
    assert (answer.status, answer.body) == (200, b"Hello\n")
    assert answer.fields["content-length"] == "6"


def test_headers_shows_the_fields_as_they_came() -> None:
    answer = call("/headers", headers=[(b"x-a", b"1"), (b"x-a", b"\xff")])
    assert answer.json == [["x-a", "1"], ["x-a", "\xff"]]


def test_an_unknown_path_is_404_and_lists_the_known() -> None:
    answer = call("/nothing")
    assert answer.status == 404
    assert b"/json" in answer.body


@pytest.mark.parametrize(("path", "allow"), [("/", "GET, HEAD"), ("/echo", "POST")])
def test_a_method_that_is_not_served_is_405_with_allow(path: str, allow: str) -> None:
    answer = call(path, method="DELETE")
    assert answer.status == 405
    assert answer.fields["allow"] == allow


@pytest.mark.parametrize("path", ["/", "/json", "/hello", "/headers", "/stream"])
def test_head_has_the_fields_of_get_and_no_body(path: str) -> None:
    head, get = call(path, method="HEAD"), call(path, query=b"delay=0")
    assert head.fields.get("content-length") == get.fields.get("content-length")
    assert head.body == b""
    assert head.complete


def test_paths_are_found_below_a_root_path() -> None:
    assert call("/demo/hello", root_path="/demo").body == b"Hello\n"
    assert call("/demo", root_path="/demo").status == 200


# Streams.


def test_stream_sends_the_chunks_asked_for() -> None:
    answer = call("/stream", query=b"chunks=3&delay=0")
    assert answer.chunks == [b"chunk 1 of 3\n", b"chunk 2 of 3\n", b"chunk 3 of 3\n", b""]
    assert answer.complete


def test_stream_says_goodbye_when_the_server_closes() -> None:
    async def until_draining() -> None:
        pass

    answer = call("/stream", query=b"chunks=10&delay=3", extensions={"keepserve": {"until_draining": until_draining}})
    assert answer.complete
    assert [chunk.split(b" ")[0] for chunk in answer.chunks] == [b"chunk", b"The", b""]
    assert b"Goodbye" in answer.body


def test_stream_goes_on_while_the_server_serves() -> None:
    async def until_draining() -> None:
        await asyncio.Event().wait()

    told = {"keepserve": {"until_draining": until_draining}}
    assert call("/stream", query=b"chunks=3&delay=0.001", extensions=told).body.count(b"\n") == 3


def test_stream_is_bounded_in_chunks() -> None:
    assert call("/stream", query=b"chunks=99999999&delay=0").body.count(b"\n") == 1000


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/stream", b"chunks=many"),
        ("/stream", b"chunks=nan"),
        ("/stream", b"delay=-1"),
        ("/slow", b"seconds=inf"),
        ("/slow", b"seconds="),
        ("/slow", b"seconds=-0.1"),
    ],
)
def test_numbers_that_are_none_are_400(path: str, query: bytes) -> None:
    assert call(path, query=query).status == 400


def test_slow_answers_after_its_time() -> None:
    assert call("/slow", query=b"seconds=0.001").body == b"Answered after 0.001 s.\n"


def test_slow_is_bounded_at_thirty_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []

    async def wait(tasks: Any, timeout: float) -> None:
        asked.append(timeout)

    monkeypatch.setattr("keepserve.demo.asyncio.wait", wait)
    assert call("/slow", query=b"seconds=3600").body == b"Answered after 30 s.\n"
    assert asked == [30.0]


def test_slow_stops_when_the_client_leaves() -> None:
    assert call("/slow", query=b"seconds=30", gone=True).status is None


def test_echo_returns_each_part_as_it_comes() -> None:
    answer = call("/echo", method="POST", body=[b"one", b"", b"two"], headers=[(b"content-length", b"6")])
    assert answer.chunks == [b"one", b"", b"two"]
    assert answer.complete
    assert answer.fields["content-length"] == "6"


def test_echo_of_a_page_does_not_come_back_as_one() -> None:
    answer = call("/echo", method="POST", body=[b"<script>"], headers=[(b"content-type", b"text/html")])
    assert answer.fields["content-type"] == "application/octet-stream"
    assert answer.fields["x-content-type-options"] == "nosniff"


def test_echo_ends_quietly_when_the_client_leaves() -> None:
    assert call("/echo", method="POST", gone=True).status is None


def test_a_client_that_leaves_while_being_answered_is_no_error() -> None:
    async def send(message: Any) -> None:
        raise OSError("the client is gone")

    async def receive() -> Any:
        return {"type": "http.request"}

    scope = {"type": "http", "method": "GET", "path": "/stream", "query_string": b"", "headers": []}
    asyncio.run(app(scope, receive, send))


# Other scopes.


def test_lifespan_starts_and_stops() -> None:
    incoming = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    sent: list[Any] = []

    async def receive() -> Any:
        return incoming.pop(0)

    async def send(message: Any) -> None:
        sent.append(message["type"])

    asyncio.run(app({"type": "lifespan"}, receive, send))
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


def test_an_unknown_scope_is_an_error_that_names_it() -> None:
    async def never() -> Any:
        raise AssertionError

    with pytest.raises(ValueError, match="found 'mqtt'"):
        asyncio.run(app({"type": "mqtt"}, never, never))  # type: ignore[arg-type]  # never called
