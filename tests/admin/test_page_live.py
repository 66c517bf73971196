"""The live page of a real server: its figures while it is under load, when it is at rest, and when it stops."""

from __future__ import annotations

import http.client
import json
import re
import signal
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.admin.browser import Browser
from tests.admin.page_host import WATCH_NAMES
from tests.support.serving import ServerProcess, eventually, serving

CONNECTIONS = 6
PER_CONNECTION = 150


class Load:
    """Connections that each send a fixed number of requests, and stay open."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._connections: list[http.client.HTTPConnection] = []
        self._threads: list[threading.Thread] = []
        self.answered = 0
        self._lock = threading.Lock()
        self.pace = threading.Event()
        """Until it is set they take their time."""

    def start(self) -> None:
        """Begin."""
        self._threads = [threading.Thread(target=self._send) for _ in range(CONNECTIONS)]
        for thread in self._threads:
            thread.start()

    def _send(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=20)
        with self._lock:
            self._connections.append(connection)
        for number in range(PER_CONNECTION):
            connection.request("GET", "/hello" if number % 10 else "/nothing-is-here")
            answer = connection.getresponse()
            answer.read()
            with self._lock:
                self.answered += 1
            self.pace.wait(0.02)

    def finish(self) -> None:
        """Wait until all is answered."""
        self.pace.set()
        for thread in self._threads:
            thread.join()

    def close(self) -> None:
        """Hang up."""
        for connection in self._connections:
            connection.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    """Two workers, and where they can be watched."""
    options = ("--admin", "127.0.0.1:0", "--lb-idle-timeout", "30", "--no-access-log")
    with serving("keepserve.demo:app", *options, workers=2, directory=tmp_path / "server") as running:
        yield running


def admin_of(server: ServerProcess) -> str:
    return server.said(r"admin +(http://127\.0\.0\.1:\d+)") + "/"


def status_of(admin: str) -> Any:
    with urllib.request.urlopen(f"{admin}status", timeout=10) as answer:
        return json.load(answer)


def test_figures_move_under_load_and_end_with_what_was_sent(server: ServerProcess, browser: Browser) -> None:
    admin, load = admin_of(server), Load(server.port)
    total = CONNECTIONS * PER_CONNECTION
    with browser.tab() as tab:
        tab.go(admin)
        tab.until("document.getElementById('contact')?.dataset.value === 'live'")
        assert tab.value("requests-total") == 0
        load.start()
        tab.until("Number(document.getElementById('requests-rate').dataset.value) > 0")
        under_way = tab.value("requests-total")
        assert 0 < under_way <= load.answered
        load.finish()
        assert load.answered == total
        tab.until(f"document.getElementById('requests-total').dataset.value === '{total}'")
        # What the wheel writes down is there a tick later at the latest, and on the page with the next question.
        status = eventually(
            lambda: (s := status_of(admin))["requests"]["over_http1"] == total and s, "all is counted"
        )
        tab.until(f"document.getElementById('over-http1').dataset.value === '{total}'")
        tab.until("document.getElementById('active').dataset.value === '0'")
        assert tab.value("requests-total") > under_way
        assert tab.value("status-2xx") == total * 9 // 10
        assert tab.value("status-4xx") == total // 10
        assert tab.value("method-GET") == total
        assert tab.value("accepted") == tab.value("open") == CONNECTIONS
        assert tab.value("requests-per-connection") == PER_CONNECTION
        assert tab.value("handshakes-avoided") == total - CONNECTIONS
        assert tab.value("reuse-ratio") == pytest.approx((total - CONNECTIONS) / total)
        seats = [worker["seat"] for worker in status["workers"]]
        assert len(seats) == 2
        assert sum(tab.value(f"worker-{seat}-connections") for seat in seats) == CONNECTIONS
        assert {tab.value(f"worker-{seat}-pid") for seat in seats} == {w["pid"] for w in status["workers"]}
        assert tab.value("p99") == pytest.approx(status["latency"]["p99"])
        assert (tab.value("line-balancer"), tab.value("line-ours")) == (30, 50)
        load.close()
        tab.until(f"document.getElementById('closed-peer_closed')?.dataset.value === '{CONNECTIONS}'")
        assert tab.value("idle-by-peer") == CONNECTIONS
        assert tab.read("document.getElementById('headline').textContent").startswith("Serving. 99.3 % of requests")
        assert tab.complaints == []
        asked = {re.sub(r"^data:.*", "data:", url) for url in tab.requested}
        assert asked <= {admin, f"{admin}status", "data:"}


def test_every_name_it_reads_is_in_what_the_server_says(server: ServerProcess, browser: Browser) -> None:
    with browser.tab() as tab:
        tab.first(WATCH_NAMES)
        tab.go(admin_of(server))
        tab.until("document.getElementById('contact')?.dataset.value === 'live'")
        assert tab.read("[...window.missing]") == []
        assert tab.complaints == []


def test_a_stop_is_seen_on_it(tmp_path: Path, browser: Browser) -> None:
    options = ("--admin", "127.0.0.1:0", "--drain-delay", "3s", "--no-access-log")
    with serving("keepserve.demo:app", *options, workers=2, directory=tmp_path / "server") as running:
        connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=10)
        connection.request("GET", "/hello")
        connection.getresponse().read()
        with browser.tab() as tab:
            tab.go(admin_of(running))
            tab.until("document.getElementById('open')?.dataset.value === '1'")
            running.send_signal(signal.SIGTERM)
            tab.until("document.body.dataset.state === 'draining'")
            assert tab.read("document.getElementById('headline').textContent") == "Stopping: 1 connection left."
            tab.until("document.querySelector('#drain-phases [aria-current]').textContent.startsWith('Announcing')")
            assert tab.value("drain-left") == 1
            connection.close()
            tab.until("document.body.dataset.state === 'unreachable'")
            assert "It was stopping, and has most likely ended." in tab.text()
        assert running.ended() == 0
