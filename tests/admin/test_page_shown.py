"""The live page in Chromium: what it shows of a status document, and when."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from tests.admin import documents
from tests.admin.browser import Browser
from tests.admin.documents import Document
from tests.admin.page_host import KINDS, SIZES, WATCH_NAMES, hosting, opened, shown, text, told


def at_path(document: Document, path: str) -> Any:
    value: Any = document
    for name in path.split("."):
        value = value[int(name) if isinstance(value, list) else name]
    return value


FIGURES = {
    "requests-total": "requests.total",
    "reuse-ratio": "connections.reuse.ratio",
    "requests-per-connection": "connections.reuse.requests_per_connection",
    "accepted": "connections.accepted",
    "time-saved": "connections.reuse.time_saved",
    "handshakes-avoided": "connections.reuse.handshakes_avoided",
    "open": "connections.open",
    "active": "connections.active",
    "idle": "connections.idle",
    "p50": "latency.p50",
    "p90": "latency.p90",
    "p99": "latency.p99",
    "inferred-text": "idle.inferred.http1",
    "closed-peer_closed": "connections.closed.peer_closed",
    "closed-max_requests": "connections.closed.max_requests",
    "workers-spread": "connections.per_worker_spread",
    "worker-0-pid": "workers.0.pid",
    "worker-2-connections": "workers.2.connections",
    "worker-2-active": "workers.2.active",
    "worker-3-more": "workers.3.memory",
    "worker-3-remark": "workers.3.stage",
    "status-5xx": "requests.by_status.5xx",
    "method-POST": "requests.by_method.POST",
    "rejected-408": "requests.rejected.408",
    "health-checks": "requests.health_checks",
    "left": "requests.left",
    "tls-resumption": "tls.resumption",
    "tls-expires": "tls.certificate_expires",
    "bytes-out": "bytes.out",
    "restarts-reload": "restarts.reload",
    "reloads": "reloads",
    "setting-lb-idle": "settings.lb_idle_timeout",
    "setting-keep-alive": "settings.keep_alive_timeout",
}


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_figures_are_those_of_the_status(browser: Browser, width: int, height: int) -> None:
    document = documents.busy()
    with hosting(document) as host, browser.tab(width, height) as tab:
        opened(tab, host)
        values = tab.read(
            "Object.fromEntries([...document.querySelectorAll('[id]')].map(e => [e.id, e.dataset.value]))"
        )
        for identifier, path in FIGURES.items():
            expected = at_path(document, path)
            found = values[identifier]
            assert (found if isinstance(expected, str) else json.loads(found)) == expected, identifier
        assert tab.value("idle-by-peer") == sum(document["idle"]["by_peer"])
        assert tab.value("idle-by-us") == 0
        assert tab.value("closed-total") == sum(document["connections"]["closed"].values())
        assert tab.value("worker-0-per-connection") == 301_100 / 2_411
        assert tab.complaints == []


def test_they_are_written_as_people_write_them(browser: Browser) -> None:
    with hosting(documents.busy()) as host, browser.tab() as tab:
        opened(tab, host)
        assert (
            text(tab, "headline") == "Serving. 99.2 % of requests needed no new connection; nobody closes too early."
        )
        assert text(tab, "announce") == "Serving. Nobody closes too early."
        assert text(tab, "subline") == "https://0.0.0.0:8443, behind aws-alb, up for 5 h 7 min."
        assert text(tab, "time-saved") == "45 min 48 s"
        assert text(tab, "requests-total") == "1\u202f204\u202f318"
        assert text(tab, "p90") == "18.7 ms"
        assert text(tab, "inferred-text") == "observed timeout 60 s"
        assert text(tab, "bytes-out") == "9.4 GB"
        assert text(tab, "tls-expires") == "60 days left"


def test_reasons_are_sorted_and_told_in_plain_words(browser: Browser) -> None:
    document = documents.early()
    document["connections"]["closed"]["of_a_later_version"] = 1
    with hosting(document) as host, browser.tab() as tab:
        opened(tab, host)
        rows = tab.read(
            "[...document.querySelectorAll('#close-rows tr')].map(row => [row.querySelector('th').textContent,"
            "Number(row.querySelector('td').dataset.value), row.className])"
        )
        assert [count for _, count, _ in rows] == sorted(
            (count for count in document["connections"]["closed"].values() if count), reverse=True
        )
        assert rows[0] == ["Idle too long: we closed first", 6_514, "alarm"]
        assert rows[1][2] == "ordinary"
        assert rows[-1][0] == "of a later version"


def test_rates_are_differences_between_two_answers(browser: Browser) -> None:
    document = documents.busy()
    with hosting(document) as host, browser.tab() as tab:
        opened(tab, host)
        assert tab.value("requests-rate") is None
        told(tab, host, documents.later(document, 2.0, 100))
        assert tab.value("requests-rate") == 50
        assert text(tab, "requests-rate") == "50.0"
        assert tab.value("worker-0-rate") == 50
        assert tab.value("worker-1-rate") == 0
        # All of them took from 2.5 to 5 ms.
        assert tab.value("recent-p50") == pytest.approx(0.00375)
        assert tab.value("tile-p99") == pytest.approx(0.004975)
        assert tab.value("p50") == document["latency"]["p50"]


def test_another_server_at_the_same_place_begins_anew(browser: Browser) -> None:
    document = documents.busy()
    with hosting(document) as host, browser.tab() as tab:
        opened(tab, host)
        told(tab, host, documents.later(document, 1.0, 50))
        # One that is as old and has answered more, and one that nobody has asked.
        told(tab, host, documents.later(document, 2.0, 500) | {"pid": 9})
        assert tab.value("requests-rate") is None
        assert tab.value("requests-total") == 1_204_818
        told(tab, host, documents.fresh() | {"now": documents.NOW + 9, "pid": 9})
        assert tab.value("requests-rate") is None
        assert text(tab, "headline") == "Serving. No request has come yet."


def test_the_most_urgent_warning_is_the_headline(browser: Browser) -> None:
    document = documents.early()
    with hosting(document) as host, browser.tab() as tab:
        opened(tab, host)
        assert f"{text(tab, 'headline')} {text(tab, 'advice')}" == document["warnings"][0]
        assert text(tab, "advice").startswith("A request that is sent as we close gets a 502.")
        items = tab.read("[...document.querySelectorAll('#warning-list li')].map(item => item.textContent)")
        assert items == document["warnings"][1:]
        assert tab.value("warnings") == 3
        # It is spoken without figures, which would be spoken anew each second.
        assert not any(letter.isdigit() for letter in text(tab, "announce"))
        assert text(tab, "worker-2-remark") == "full, silent for 14 s"
        assert text(tab, "idle-verdict") == (
            "The balancer keeps idle connections for as long as keepserve does, or longer."
        )
        told(tab, host, documents.busy())
        assert not shown(tab, "warnings")
        assert text(tab, "advice") == ""


def test_without_a_balancer_there_is_nobody_to_outlast(browser: Browser) -> None:
    document = documents.early()
    document["settings"]["lb_idle_timeout"] = 0.0
    document["warnings"] = []
    with hosting(document) as host, browser.tab() as tab:
        opened(tab, host)
        assert tab.read("document.getElementById('line-balancer')") is None
        assert text(tab, "idle-verdict").endswith("There is no balancer to outlast.")


def test_a_stop_shows_how_far_it_is(browser: Browser) -> None:
    document = documents.draining()
    with hosting(document) as host, browser.tab() as tab:
        opened(tab, host)
        assert text(tab, "headline") == "Stopping: 21 connections left."
        assert text(tab, "drain-time") == "after 12 s of at most 45 s"
        # As far as the last of the workers.
        assert tab.read("document.querySelector('#drain-phases [aria-current]').textContent").startswith("Closing")
        assert [tab.value(f"drain-worker-{seat}") for seat in range(4)] == [12, 6, 3, 0]
        assert not shown(tab, "warnings")  # the only one says the same
        bar = "document.querySelector('#drain-bar rect:last-child').getAttribute('width')"
        full = float(tab.read(bar))
        after = copy.deepcopy(document)
        after["now"] += 1
        after["connections"]["open"] = 7
        told(tab, host, after)
        assert float(tab.read(bar)) == pytest.approx(full / 3, abs=1)
        told(tab, host, documents.busy() | {"now": documents.NOW + 2})
        assert not shown(tab, "drain")


def test_a_worker_that_is_not_born_yet_is_shown_as_such(browser: Browser) -> None:
    document = documents.fresh()
    document["state"] = "starting"
    document["workers"][1] |= {"pid": None, "memory": None, "beat_age": None, "stage": "starting"}
    with hosting(document) as host, browser.tab() as tab:
        opened(tab, host)
        assert text(tab, "headline") == "Starting: 1 of 2 workers ready."
        assert text(tab, "worker-1-pid") == "no process yet"
        assert text(tab, "worker-1-remark") == "starting"
        assert tab.complaints == []


def test_it_says_when_nobody_answers_and_goes_on_when_somebody_does(browser: Browser) -> None:
    with browser.tab() as tab:
        with hosting(documents.busy()) as host:
            opened(tab, host)
            port = host.server_port
        tab.until("document.body?.dataset.state === 'unreachable'")
        assert text(tab, "headline").startswith("No answer from the server for ")
        assert text(tab, "announce") == "The server does not answer any more."
        assert tab.value("requests-total") == 1_204_318  # the last figures stay
        with hosting(documents.busy(), port):
            tab.until("document.getElementById('contact').dataset.value === 'live'")
            assert text(tab, "headline").startswith("Serving.")


def test_an_answer_that_is_no_status_is_none(browser: Browser) -> None:
    with hosting(documents.busy()) as host, browser.tab() as tab:
        host.status = 503
        tab.go(host.url)
        tab.until("document.body?.dataset.state === 'unreachable'")
        assert not shown(tab, "main")
        host.status = 200
        tab.until("document.getElementById('contact').dataset.value === 'live'")
        assert shown(tab, "main")


def test_it_does_not_ask_while_nobody_looks(browser: Browser) -> None:
    with hosting(documents.busy()) as host, browser.tab() as tab:
        opened(tab, host)
        hide = "Object.defineProperty(document, 'hidden', {{ configurable: true, value: {} }});"
        tell = "document.dispatchEvent(new Event('visibilitychange'));"
        tab.read(hide.format("true") + tell)
        assert text(tab, "contact") == "paused while out of view"
        asked = host.asked
        # Longer than it waits from one question to the next.
        tab.read("new Promise(resolve => setTimeout(resolve, 1500))")
        assert host.asked == asked
        tab.read(hide.format("false") + tell)
        tab.until("document.getElementById('contact').dataset.value === 'live'")
        assert host.asked > asked


def test_it_works_behind_a_path_prefix_and_asks_nobody_else(browser: Browser) -> None:
    with hosting(documents.busy()) as host, browser.tab() as tab:
        opened(tab, host, "tools/keepserve/")
        told(tab, host, documents.later(host.document, 1.0, 3))
        tab.read("1")
        requested = [url for url in tab.requested if not url.startswith("data:")]
        assert requested[0] == f"{host.url}tools/keepserve/"
        assert set(requested[1:]) == {f"{host.url}tools/keepserve/status"}
        assert len(requested) > 3
        assert tab.complaints == []


def test_what_the_server_says_is_text_and_not_markup(browser: Browser) -> None:
    document = documents.fresh()
    nasty = "</script><img src=x onerror=document.title='owned'> & more."
    document["warnings"] = [nasty, nasty]
    document["listening"] = [nasty]
    document["settings"]["lb"] = nasty
    with hosting(document) as host, browser.tab() as tab:
        opened(tab, host)
        assert text(tab, "headline") == nasty
        assert tab.read("document.querySelector('#warning-list li').textContent") == nasty
        assert tab.read("document.images.length") == 0
        assert tab.complaints == []


@pytest.mark.parametrize("kind", KINDS)
def test_every_name_it_reads_is_in_the_document(browser: Browser, kind: str) -> None:
    with hosting(KINDS[kind]()) as host, browser.tab() as tab:
        tab.first(WATCH_NAMES)
        opened(tab, host)
        assert tab.read("[...window.missing]") == []
        assert tab.complaints == []
