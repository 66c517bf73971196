"""The admin listener's application: three paths, for nobody but this machine, and nothing a browser could misuse."""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
from typing import Any

import pytest

from keepserve.admin import app as module
from keepserve.admin.app import Admin
from keepserve.admin.observer import Observer
from keepserve.admin.page import page
from keepserve.config.settings import Settings
from tests.admin.readings import two_workers


class Said:
    """A response."""

    def __init__(self, messages: list[dict[str, Any]]) -> None:
        start, self.end = messages
        self.status: int = start["status"]
        self.fields = {name.decode(): value.decode() for name, value in start["headers"]}
        assert len(self.fields) == len(start["headers"])
        self.body: bytes = self.end["body"]


def admin(*, local: bool = True) -> Admin:
    return Admin(Observer(two_workers()[0], Settings(workers=2), pid=100), local=local)


def ask(
    path: str, method: str = "GET", *, host: str | None = "localhost:9090", local: bool = True, accept: str = ""
) -> Said:
    """What one request is answered."""
    headers = [(b"accept", accept.encode())] if accept else []
    headers += [(b"host", host.encode("latin-1"))] if host is not None else []
    said: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        said.append(message)

    async def receive() -> Any:
        raise AssertionError("the request is not read")

    scope = {"type": "http", "path": path, "method": method, "headers": headers}
    asyncio.run(_run(admin(local=local), scope, receive, send))
    return Said(said)


async def _run(app: Admin, scope: Any, receive: Any, send: Any) -> None:
    await app(scope, receive, send)


def test_status_is_the_document_as_json() -> None:
    said = ask("/status")
    assert (said.status, said.fields["content-type"]) == (200, "application/json")
    document = json.loads(said.body)
    assert (document["pid"], document["state"], len(document["workers"])) == (100, "serving", 2)


def test_the_page_is_served_with_its_own_policy() -> None:
    said = ask("/")
    body, policy = page()
    assert (said.status, said.fields["content-type"]) == (200, "text/html; charset=utf-8")
    assert said.body == body
    assert said.fields["content-security-policy"] == policy
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("", "text/plain; version=0.0.4"),
        ("application/openmetrics-text;version=1.0.0", "application/openmetrics-text"),
    ],
)
def test_metrics_come_in_the_form_that_is_asked_for(accept: str, kind: str) -> None:
    said = ask("/metrics", accept=accept)
    assert said.status == 200
    assert said.fields["content-type"].startswith(kind)
    assert b"keepserve_requests_total" in said.body


@pytest.mark.parametrize("path", ["/", "/status", "/metrics"])
def test_head_is_get_without_its_body(path: str) -> None:
    said = ask(path, "HEAD")
    assert (said.status, said.body) == (200, b"")
    assert int(said.fields["content-length"]) > 100
    assert ask(path).fields.keys() == said.fields.keys()


@pytest.mark.parametrize("path", ["/", "/status", "/metrics", "/nothing"])
def test_nothing_is_kept_framed_or_guessed_at(path: str) -> None:
    said = ask(path)
    assert said.fields["cache-control"] == "no-store"
    assert said.fields["x-content-type-options"] == "nosniff"
    assert said.fields["x-frame-options"] == "DENY"
    assert said.fields["referrer-policy"] == "no-referrer"
    assert "default-src 'none'" in said.fields["content-security-policy"]
    assert "frame-ancestors 'none'" in said.fields["content-security-policy"]
    assert int(said.fields["content-length"]) == len(said.body)


@pytest.mark.parametrize("path", ["/nothing", "/status/", "//", "/favicon.ico", "/<script>alert(1)</script>", ""])
def test_other_paths_are_404_with_what_there_is(path: str) -> None:
    said = ask(path)
    assert (said.status, said.fields["content-type"]) == (404, "text/plain; charset=utf-8")
    assert b"/status the same as JSON" in said.body


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "BREW"])
def test_nothing_can_be_changed(method: str) -> None:
    said = ask("/status", method)
    assert (said.status, said.fields["allow"]) == (405, "GET, HEAD")
    assert said.body.decode() == f"/status can only be looked at: GET or HEAD were expected, {method} was found.\n"
    assert ask("/nothing", method).status == 404


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:9090",
        "LOCALHOST.:1",
        "127.0.0.1:9090",
        "127.8.8.8",
        "[::1]:9090",
        "app.localhost",
        None,
    ],
)
def test_this_machine_is_answered(host: str | None) -> None:
    assert ask("/status", host=host).status == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:9090",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "127.0.0.1@evil.example",
        "127.0.0.1:9090, evil.example",
        "10.0.0.1:9090",
        "[2001:db8::1]:9090",
        "[::1].evil.example",
        "0.0.0.0:9090",
        "",
    ],
)
@pytest.mark.parametrize("path", ["/", "/status", "/metrics", "/nothing"])
def test_a_name_that_was_made_to_mean_this_machine_is_refused(path: str, host: str) -> None:
    said = ask(path, host=host)
    assert said.status == 421
    assert f"names {host} as its host; here only this machine is answered" in said.body.decode()


def test_where_any_machine_may_look_any_name_does() -> None:
    assert ask("/status", host="server-7.internal:9090", local=False).status == 200


def test_without_prometheus_client_only_metrics_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "keepserve.admin.metrics", raising=False)
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    said = ask("/metrics")
    assert said.status == 501
    assert said.body == b"/metrics needs prometheus_client, which is not installed: pip install prometheus-client.\n"
    assert ask("/status").status == 200
    monkeypatch.undo()
    importlib.import_module("keepserve.admin.metrics")


def test_samples_are_taken_while_it_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SAMPLE_INTERVAL", 0.001)
    application = admin()

    async def live() -> list[str]:
        said: list[str] = []
        inbox: asyncio.Queue[dict[str, str]] = asyncio.Queue()
        inbox.put_nowait({"type": "lifespan.startup"})

        async def send(message: Any) -> None:
            said.append(message["type"])

        left, enough = [3], asyncio.Event()

        def remember() -> None:
            left[0] -= 1
            if not left[0]:
                enough.set()

        monkeypatch.setattr(application._observer, "remember", remember)
        running = asyncio.ensure_future(application({"type": "lifespan"}, inbox.get, send))
        await enough.wait()
        inbox.put_nowait({"type": "lifespan.shutdown"})
        await running
        return said

    assert asyncio.run(live()) == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
