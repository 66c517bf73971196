"""The access log's lines: what they say, and that nothing a client sends can break them."""

from __future__ import annotations

import json
import os
import re
import time
from typing import Any

import pytest

from keepserve.telemetry.lines import MAX_TARGET, Renderer, escape, json_renderer, text_renderer

NOON = 1_795_000_000.25
EVERY_BYTE = bytes(range(256))
PRINTABLE = re.compile(r"[\x20-\x7e]*\n")


def line(render: Renderer, **changed: Any) -> str:
    request: dict[str, Any] = {
        "now": NOON,
        "client": "127.0.0.1:51234",
        "method": "GET",
        "target": b"/x?y=1",
        "http_version": "1.1",
        "status": 200,
        "sent": 12,
        "duration": 0.00134,
        "connection_requests": 4,
        **changed,
    }
    return render(*request.values()).decode()


def without_time(text: str) -> str:
    return text.split(" ", 2)[2]


def test_text_line_tells_client_request_status_duration_bytes_and_request_number() -> None:
    assert without_time(line(text_renderer(colors=False))) == (
        '127.0.0.1:51234 - "GET /x?y=1 HTTP/1.1" 200 1.3ms 12B #4\n'
    )


def test_text_line_begins_with_the_local_time_and_follows_it() -> None:
    render = text_renderer(colors=False)
    for now in (NOON, NOON + 0.5, NOON + 1, NOON - 3600):
        stamp = time.strftime("%Y-%m-%d %H:%M:%S ", time.localtime(int(now)))
        assert line(render, now=now).startswith(stamp)


@pytest.mark.parametrize(
    ("duration", "shown"),
    [(0.0, "0.0ms"), (0.00009, "0.0ms"), (0.0999, "99.9ms"), (0.1, "100.0ms"), (61.25, "61250.0ms")],
)
def test_durations_are_milliseconds_with_one_decimal(duration: float, shown: str) -> None:
    assert f" {shown} " in line(text_renderer(colors=False), duration=duration)


def test_a_clock_that_went_backwards_is_shown_rather_than_mistaken_for_a_long_request() -> None:
    assert " -5.0ms " in line(text_renderer(colors=False), duration=-0.005)


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
    assert escape(raw) == shown.encode()


@pytest.mark.parametrize("make", [lambda: text_renderer(colors=False), json_renderer])
@pytest.mark.parametrize("field", ["target", "client", "method", "http_version"])
def test_no_byte_of_any_field_leaves_printable_ascii(make: Any, field: str) -> None:
    hostile = EVERY_BYTE if field == "target" else EVERY_BYTE.decode("latin-1") + "\u2028\udc80"
    text = line(make(), **{field: hostile})
    assert PRINTABLE.fullmatch(text)


def test_a_quote_in_a_forwarded_client_cannot_forge_a_request() -> None:
    text = line(text_renderer(colors=False), client='1.2.3.4 - "GET /admin HTTP/1.1" 200')
    assert text.count('"') == 2


def test_an_unnamed_client_is_a_dash() -> None:
    assert without_time(line(text_renderer(colors=False), client="")).startswith('- - "GET ')


@pytest.mark.parametrize("make", [lambda: text_renderer(colors=True), json_renderer])
def test_the_longest_line_fits_an_atomic_pipe_write(make: Any) -> None:
    text = line(
        make(),
        target=b"/" + b"\\" * 65536,
        client="\x00" * 9999,
        method="\x00" * 9999,
        http_version="\x00" * 9999,
        sent=2**63,
        connection_requests=2**63,
        duration=1e9,
    )
    assert len(text) < 4096
    assert "..." in text


def test_a_target_of_just_the_limit_is_whole_and_one_more_is_cut() -> None:
    assert escape(b"a" * MAX_TARGET) == b"a" * MAX_TARGET
    assert escape(b"a" * (MAX_TARGET + 1)) == b"a" * MAX_TARGET + b"..."


def test_json_line_has_the_same_fields_and_the_time_in_utc() -> None:
    assert json.loads(line(json_renderer(), target=b'/\x1b"\\')) == {
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
        "bytes": 12,
        "connection_requests": 4,
    }


def test_json_line_stays_json_whatever_the_strings_hold() -> None:
    hostile = EVERY_BYTE.decode("latin-1")
    fields = json.loads(line(json_renderer(), client=hostile, method=hostile, http_version=hostile))
    assert fields["client"].startswith(r"\x00\x01")


@pytest.mark.parametrize(
    ("status", "color"),
    [(204, "\x1b[32m"), (304, "\x1b[36m"), (404, "\x1b[33m"), (503, "\x1b[1;31m"), (999, "\x1b[0m")],
)
def test_colors_mark_the_class_of_the_status_and_change_nothing_else(status: int, color: str) -> None:
    plain = line(text_renderer(colors=False), status=status)
    colored = line(text_renderer(colors=True), status=status)
    assert f"{color}{status}\x1b[0m" in colored
    assert re.sub(r"\x1b\[[0-9;]*m", "", colored) == plain


def test_a_flood_of_different_clients_and_versions_does_not_grow_the_caches_without_bound() -> None:
    render = text_renderer(colors=False)
    for number in range(10_000):
        long = f"{number:0>9999}"
        line(render, client=f"10.0.0.1:{number}", method=long, http_version=long, status=number)
    kept = [cell.cell_contents for cell in render.__closure__ or () if isinstance(cell.cell_contents, dict)]
    assert kept
    assert all(len(cache) <= 4096 for cache in kept)
    assert all(len(word) <= 64 for cache in kept for word in cache)
