"""A server of the live page for tests: it says whatever status document it was given last."""

from __future__ import annotations

import contextlib
import http.server
import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from keepserve.admin.page import page
from tests.admin import documents
from tests.admin.browser import Tab
from tests.admin.documents import Document

SIZES = [(1280, 800), (390, 844)]
KINDS: dict[str, Callable[[], Document]] = {
    "fresh": documents.fresh,
    "busy": documents.busy,
    "early": documents.early,
    "draining": documents.draining,
    "crowded": documents.crowded,
}

WATCH_NAMES = """
window.missing = new Set();
const original = Response.prototype.json;
const watch = (value, path) => (value === null || typeof value !== "object") ? value : new Proxy(value, {
  get(target, name, receiver) {
    const found = Reflect.get(target, name, receiver);
    if (typeof name === "symbol" || Array.isArray(target) && Number.isNaN(Number(name))) return found;
    if (found === undefined && !["then", "toJSON"].includes(name)) window.missing.add(`${path}.${name}`);
    return watch(found, Array.isArray(target) ? `${path}[]` : `${path}.${name}`);
  },
});
Response.prototype.json = async function () { return watch(await original.call(this), "status"); };
"""
"""A script that notes in ``window.missing`` which names of the status the page reads in vain."""


class Host(http.server.ThreadingHTTPServer):
    """Serves the page at any path that ends with a slash, and beside it ``status``."""

    daemon_threads = True

    def __init__(self, document: Document, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.document = document
        self.asked = 0
        """How often the status was asked for."""
        self.status = 200

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://127.0.0.1:{self.server_port}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that leaves is no error."""


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Host

    def do_GET(self) -> None:
        status, kind, policy = 200, "text/html; charset=utf-8", ""
        if self.path.endswith("/"):
            body, policy = page()
        elif self.path.endswith("/status"):
            self.server.asked += 1
            body, kind, status = json.dumps(self.server.document).encode(), "application/json", self.server.status
        else:
            body, status = b"", 404
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if policy:
            self.send_header("Content-Security-Policy", policy)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def hosting(document: Document, port: int = 0) -> Iterator[Host]:
    """A host that runs."""
    with Host(document, port) as host:
        thread = threading.Thread(target=host.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield host
        finally:
            host.shutdown()
            thread.join()


def opened(tab: Tab, host: Host, path: str = "") -> None:
    """Open the page, and wait until it has shown the status."""
    tab.go(host.url + path)
    tab.until("document.getElementById('contact')?.dataset.value === 'live'")


def told(tab: Tab, host: Host, document: Document) -> None:
    """Let the host say something else, and wait until the page has asked twice, so that it has shown it."""
    host.document = document
    asked = host.asked
    end = time.monotonic() + 20
    while host.asked < asked + 2:
        assert time.monotonic() < end, "the page does not ask any more"
        time.sleep(0.01)


def text(tab: Tab, identifier: str) -> str:
    """All text of an element."""
    return str(tab.read(f"document.getElementById({json.dumps(identifier)}).textContent"))


def shown(tab: Tab, identifier: str) -> bool:
    """Whether an element is to be seen."""
    return bool(tab.read(f"document.getElementById({json.dumps(identifier)}).checkVisibility()"))
