"""Formats with fields: what each field shows, and what stands where there is nothing."""

from __future__ import annotations

import os
import re
import time
from typing import Any

import pytest

from keepserve.config.logformats import FIELDS
from keepserve.telemetry.formats import CombinedLines, FormattedLines, getter_of, host_of
from keepserve.telemetry.reasons import CloseReason
from tests.support.accesslog import served

NOON = 1_795_000_000.25


def line(text: str, *, status: int = 200, **facts: Any) -> str:
    form = FormattedLines(text)
    return form.lines([form.note(*served(**facts), status, 1000.0)], NOON - 1000.0)


def combined(*, status: int = 200, **facts: Any) -> str:
    form = CombinedLines()
    return form.lines([form.note(*served(**facts), status, 1000.0)], NOON - 1000.0)


BROWSER = (
    (b"user-agent", b"Mozilla/5.0 (X11)"),
    (b"referer", b"https://example.org/"),
    (b"host", b"www.example.org"),
)


def test_combined_is_the_line_of_apache_and_nginx() -> None:
    text = combined(target=b"/x?y=1", sent=2326, fields=BROWSER, client="203.0.113.7:51234")
    assert re.sub(r"\[.*\]", "[]", text) == (
        '203.0.113.7 - - [] "GET /x?y=1 HTTP/1.1" 200 2326 "https://example.org/" "Mozilla/5.0 (X11)"\n'
    )
    stamp = re.search(r"\[(.*)\]", text)
    assert stamp is not None
    assert time.mktime(time.strptime(stamp[1][:-6], "%d/%b/%Y:%H:%M:%S")) == int(NOON)
    assert re.fullmatch(r" [+-]\d{4}", stamp[1][-6:])


def test_combined_has_dashes_for_what_is_not_there() -> None:
    text = combined(status=304, sent=0, http_version="2", client="unix")
    assert text.startswith("unix - - [")
    assert text.endswith('] "GET / HTTP/2.0" 304 - "-" "-"\n')


@pytest.mark.parametrize(
    ("field", "facts", "shown"),
    [
        ("client", {"client": "10.0.0.7:5"}, "10.0.0.7:5"),
        ("client", {"told_client": "203.0.113.9"}, "203.0.113.9"),
        ("client_host", {"client": "[2001:db8::1]:443"}, "2001:db8::1"),
        ("client_host", {"told_client": "2001:db8::1"}, "2001:db8::1"),
        ("peer", {"client": "203.0.113.9:1", "peer_text": "10.0.0.1:2"}, "10.0.0.1:2"),
        ("proxy_source", {}, "-"),
        ("proxy_source", {"proxy_source": "203.0.113.9:1"}, "203.0.113.9:1"),
        ("forwarded_for", {}, "-"),
        (
            "forwarded_for",
            {"fields": ((b"x-forwarded-for", b"1.1.1.1, 2.2.2.2"), (b"x-forwarded-for", b"3.3.3.3"))},
            "1.1.1.1, 2.2.2.2, 3.3.3.3",
        ),
        ("forwarded_for", {"fields": ((b"forwarded", b"for=1.1.1.1;proto=https"),)}, "for=1.1.1.1;proto=https"),
        ("request", {"method": b"PUT", "target": b"/a?b"}, "PUT /a?b HTTP/1.1"),
        ("request", {"http_version": "2"}, "GET / HTTP/2.0"),
        ("target", {"target": b"/a?b=c?d"}, "/a?b=c?d"),
        ("path", {"target": b"/a?b=c?d"}, "/a"),
        ("query", {"target": b"/a?b=c?d"}, "b=c?d"),
        ("query", {"target": b"/a"}, "-"),
        ("scheme", {}, "http"),
        ("scheme", {"secure": True}, "https"),
        ("scheme", {"secure": True, "told_scheme": "http"}, "http"),
        ("host", {"fields": BROWSER}, "www.example.org"),
        ("protocol", {}, "HTTP/1.1"),
        ("protocol", {"http_version": "2"}, "HTTP/2"),
        ("protocol", {"http_version": "2", "socket": True}, "websocket"),
        ("http_version", {"http_version": "1.0"}, "1.0"),
        ("bytes", {"sent": 0}, "0"),
        ("bytes_clf", {"sent": 0}, "-"),
        ("duration_ms", {"duration": 0.0125}, "12.5"),
        ("duration_s", {"duration": 0.0125}, "0.012500"),
        ("first_byte_ms", {"duration": 0.0125}, "12.5"),
        ("first_byte_ms", {"duration": 3.5, "begun": 0.25}, "250.0"),
        ("connection_id", {"number": 12}, "12"),
        ("connection_requests", {"connection_requests": 3}, "3"),
        ("stream", {"stream": 1}, "-"),
        ("stream", {"stream": 5, "http_version": "2"}, "5"),
        ("user_agent", {"fields": BROWSER}, "Mozilla/5.0 (X11)"),
        ("trace_id", {}, "-"),
        ("trace_id", {"fields": ((b"x-request-id", b"r"), (b"traceparent", b"t"))}, "t"),
        ("tls_version", {}, "-"),
        ("tls_version", {"secure": True, "tls_version": "TLSv1.3"}, "TLSv1.3"),
        ("close_reason", {}, "-"),
        ("close_reason", {"close_reason": CloseReason.MAX_REQUESTS}, "max_requests"),
        ("header:x-tenant", {"fields": ((b"x-tenant", b"acme"),)}, "acme"),
        ("header:x-tenant", {}, "-"),
        ("time_epoch", {}, "1795000000.250"),
        ("time_iso", {}, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(int(NOON))) + ".250Z"),
        ("time", {}, time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(int(NOON)))),
    ],
)
def test_a_field_shows(field: str, facts: dict[str, Any], shown: str) -> None:
    served_at = {"duration": 0.0, **facts}
    assert line(f"<{{{field}}}>", **served_at) == f"<{shown}>\n"


def test_the_pid_is_the_workers() -> None:
    assert line("{pid}") == f"{os.getpid()}\n"


def test_every_field_that_may_be_asked_for_is_there() -> None:
    assert all(callable(getter_of(name)) for name in FIELDS)


def test_literal_percent_signs_and_braces_stay_as_they_are() -> None:
    assert line("100% %s {{{status}}}\\t{method}") == "100% %s {200}\tGET\n"


@pytest.mark.parametrize("client", ["unix", "10.0.0.1", "2001:db8::1"])
def test_a_client_without_a_port_stays_whole(client: str) -> None:
    assert host_of(client) == client


def test_the_names_of_months_do_not_follow_the_locale(monkeypatch: pytest.MonkeyPatch) -> None:
    format_time = time.strftime
    monkeypatch.setattr(time, "strftime", lambda form, *rest: format_time(form.replace("%b", "Mai"), *rest))
    assert re.search(r"\d\d/(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)/\d{4}:", line("{time_clf}"))
