"""The access log's lines: what they say, and that nothing a client sends can break them."""

from __future__ import annotations

import json
import os
import re
import time
from typing import Any

import pytest

from keepserve.config.logformats import FIELDS
from keepserve.telemetry.formats import CombinedLines, FormattedLines
from keepserve.telemetry.jsonlines import JSONLines
from keepserve.telemetry.lines import MAX_TARGET, Form, TextLines, escape
from keepserve.telemetry.reasons import CloseReason
from tests.support.accesslog import served

NOON = 1_795_000_000.25
EVERY_BYTE = bytes(range(256))
PRINTABLE = re.compile(r"[\x20-\x7e]*\n")


def line(form: Form, *, now: float = NOON, status: int = 200, **facts: Any) -> str:
    request = {"target": b"/x?y=1", "sent": 12, "duration": 0.00134, "connection_requests": 4, **facts}
    return form.lines([form.note(*served(**request), status, 1000.0)], now - 1000.0)


HEADERS = (
    b"host",
    b"user-agent",
    b"referer",
    b"x-forwarded-for",
    b"forwarded",
    b"x-amzn-trace-id",
    b"traceparent",
    b"x-request-id",
)


def every_field() -> FormattedLines:
    return FormattedLines(" ".join(f"{{{name}}}" for name in FIELDS) + "{header:x-other}")


def without_time(text: str) -> str:
    return text.split(" ", 2)[2]


def test_text_line_tells_client_request_status_duration_bytes_and_request_number() -> None:
    assert without_time(line(TextLines(colors=False))) == (
        '127.0.0.1:51234 - "GET /x?y=1 HTTP/1.1" 200 1.3ms 12B #4\n'
    )


def test_text_line_begins_with_the_local_time_and_follows_it() -> None:
    render = TextLines(colors=False)
    for now in (NOON, NOON + 0.5, NOON + 1, NOON - 3600):
        stamp = time.strftime("%Y-%m-%d %H:%M:%S ", time.localtime(int(now)))
        assert line(render, now=now).startswith(stamp)


@pytest.mark.parametrize(
    ("duration", "shown"),
    [(0.0, "0.0ms"), (0.00009, "0.0ms"), (0.0999, "99.9ms"), (0.1, "100.0ms"), (61.25, "61250.0ms")],
)
def test_durations_are_milliseconds_with_one_decimal(duration: float, shown: str) -> None:
    assert f" {shown} " in line(TextLines(colors=False), duration=duration)


def test_a_clock_that_went_backwards_is_shown_rather_than_mistaken_for_a_long_request() -> None:
    assert " -5.0ms " in line(TextLines(colors=False), duration=-0.005)


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"/a\nb", r"/a\x0ab"),
        (b"/\r\n2026-11-23 forged", r"/\x0d\x0a2026-11-23 forged"),
        (b"/\x1b[31m", r"/\x1b[31m"),
        (b'/"', r"/\x22"),
        (b"/\\", r"/\x5c"),
        (b"/\x7f\x80\xff", r"/\x7f\x80\xff"),
        (b"/%0a", "/%0a"),
        (b"", ""),
    ],
)
def test_targets_are_escaped_but_not_decoded(raw: bytes, shown: str) -> None:
    assert escape(raw) == shown


FORMS = [lambda: TextLines(colors=False), JSONLines, CombinedLines, every_field]


@pytest.mark.parametrize("make", FORMS)
@pytest.mark.parametrize(
    "field", ["target", "client", "method", "http_version", "told_client", "peer_text", "proxy_source", "tls_version"]
)
def test_no_byte_of_any_field_leaves_printable_ascii(make: Any, field: str) -> None:
    bytes_only = field in ("target", "method")
    hostile = EVERY_BYTE if bytes_only else EVERY_BYTE.decode("latin-1") + "\u2028\udc80"
    assert PRINTABLE.fullmatch(line(make(), secure=True, **{field: hostile}))


@pytest.mark.parametrize("make", FORMS)
@pytest.mark.parametrize("name", HEADERS)
def test_no_byte_of_any_header_field_leaves_printable_ascii_or_its_quotes(make: Any, name: bytes) -> None:
    text = line(make(), fields=((name, EVERY_BYTE),))
    assert PRINTABLE.fullmatch(text)
    assert text.count('"') == line(make(), fields=((name, b"x"),)).count('"')


def test_a_quote_in_a_forwarded_client_cannot_forge_a_request() -> None:
    text = line(TextLines(colors=False), client='1.2.3.4 - "GET /admin HTTP/1.1" 200')
    assert text.count('"') == 2


def test_an_unnamed_client_is_a_dash() -> None:
    assert without_time(line(TextLines(colors=False), client="")).startswith('- - "GET ')


@pytest.mark.parametrize("make", [lambda: TextLines(colors=True), *FORMS[1:]])
def test_the_longest_line_fits_an_atomic_pipe_write(make: Any) -> None:
    text = line(
        make(),
        target=b"/" + b"\\" * 65536,
        client="\x00" * 9999,
        method=b"\x00" * 9999,
        http_version="\x00" * 9999,
        sent=2**63,
        connection_requests=2**63,
        duration=1e9,
        fields=tuple((name, b"\x00" * 9999) for name in HEADERS),
        peer_text="\x00" * 9999,
    )
    assert len(text) < 4096
    assert "..." in text


def test_a_target_of_just_the_limit_is_whole_and_one_more_is_cut() -> None:
    assert escape(b"a" * MAX_TARGET) == "a" * MAX_TARGET
    assert escape(b"a" * (MAX_TARGET + 1)) == "a" * MAX_TARGET + "..."


def test_json_line_has_the_same_fields_and_the_time_in_utc() -> None:
    assert json.loads(line(JSONLines(), target=b'/\x1b"\\')) == {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(int(NOON))) + ".250Z",
        "level": "info",
        "logger": "keepserve.access",
        "pid": os.getpid(),
        "client": "127.0.0.1:51234",
        "method": "GET",
        "target": r"/\x1b\x22\x5c",
        "http_version": "1.1",
        "status": 200,
        "duration_ms": 1.3,
        "first_byte_ms": 1.3,
        "bytes": 12,
        "connection_requests": 4,
        "connection_id": 7,
        "protocol": "HTTP/1.1",
        "scheme": "http",
    }


def test_json_line_has_what_else_there_is() -> None:
    values = {name: b"a%d" % number for number, name in enumerate(HEADERS)}
    members = json.loads(
        line(
            JSONLines(),
            fields=(*values.items(), (b"x-forwarded-for", b"10.0.0.9")),
            http_version="2",
            stream=5,
            secure=True,
            tls_version="TLSv1.3",
            client="203.0.113.7:9",
            told_client="198.51.100.4",
            told_scheme="http",
            peer_text="10.0.0.1:80",
            proxy_source="203.0.113.7:9",
            begun=0.00051,
            close_reason=CloseReason.DRAINING,
        )
    )
    expected = {
        "client": "198.51.100.4",
        "peer": "10.0.0.1:80",
        "proxy_source": "203.0.113.7:9",
        "forwarded_for": "a3, 10.0.0.9",
        "host": "a0",
        "user_agent": "a1",
        "referer": "a2",
        "amzn_trace_id": "a5",
        "traceparent": "a6",
        "request_id": "a7",
        "protocol": "HTTP/2",
        "stream": 5,
        "scheme": "http",
        "tls_version": "TLSv1.3",
        "first_byte_ms": 0.5,
        "close_reason": "draining",
    }
    assert {name: members[name] for name in expected} == expected


def test_json_line_keeps_whole_members_when_a_client_fills_it() -> None:
    fields = tuple((name, b"\\" * 9999) for name in HEADERS)
    members = json.loads(line(JSONLines(), target=b"/" + b"\\" * 9999, fields=fields, stream=3, http_version="2"))
    assert members["stream"] == 3
    assert "forwarded_for" not in members


def test_json_line_stays_json_whatever_the_strings_hold() -> None:
    hostile = EVERY_BYTE.decode("latin-1")
    fields = json.loads(line(JSONLines(), client=hostile, method=EVERY_BYTE, http_version=hostile))
    assert fields["client"].startswith(r"\x00\x01")


@pytest.mark.parametrize(
    ("status", "color"),
    [(204, "\x1b[32m"), (304, "\x1b[36m"), (404, "\x1b[33m"), (503, "\x1b[1;31m"), (999, "\x1b[0m")],
)
def test_colors_mark_the_class_of_the_status_and_change_nothing_else(status: int, color: str) -> None:
    plain = line(TextLines(colors=False), status=status)
    colored = line(TextLines(colors=True), status=status)
    assert f"{color}{status}\x1b[0m" in colored
    assert re.sub(r"\x1b\[[0-9;]*m", "", colored) == plain


def test_a_flood_of_different_clients_and_versions_does_not_grow_the_caches_without_bound() -> None:
    form = TextLines(colors=False)
    for number in range(10_000):
        long = f"{number:0>9999}"
        line(form, client=f"10.0.0.1:{number}", method=long.encode(), http_version=long, status=number)
        line(form, method=b"M%d" % number)
    kept = [value for value in vars(form).values() if isinstance(value, dict)]
    assert len(kept) == 3
    assert all(len(cache) <= 4096 for cache in kept)
    assert all(len(word) <= 64 for cache in kept for word in cache)


def test_lines_of_a_batch_are_those_that_were_noted_also_when_one_target_is_hostile() -> None:
    form = TextLines(colors=False)
    targets = [b"/1", b"/\n2", b"", b"/" + b"x" * 3000, b"/5"]
    for some in ([b"/1", b"", b"/3"], targets):
        notes = [form.note(*served(target=target), 200, 1000.0) for target in some]
        lines = form.lines(notes, NOON - 1000.0).splitlines()
        assert [one.split('"')[1] for one in lines] == [f"GET {escape(target)} HTTP/1.1" for target in some]


def test_a_batch_that_crosses_a_second_has_both_times() -> None:
    form = TextLines(colors=False)
    notes = [form.note(*served(ended=ended), 200, ended) for ended in (1000.0, 1000.5, 1001.0)]
    stamps = [one[:19] for one in form.lines(notes, int(NOON) - 1000.0 + 0.4).splitlines()]
    assert stamps[0] == stamps[1] != stamps[2]
