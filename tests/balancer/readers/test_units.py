"""Durations as balancers write them."""

import re
from collections.abc import Callable

import pytest

from keepserve.balancer.readers import units


@pytest.mark.parametrize(
    ("parse", "text", "seconds"),
    [
        (units.go_seconds, "90s", 90.0),
        (units.go_seconds, "1h2m3s", 3723.0),
        (units.go_seconds, "1.5h", 5400.0),
        (units.go_seconds, ".5s", 0.5),
        (units.go_seconds, "250ms", 0.25),
        (units.go_seconds, "1us1µs1ns", 2.001e-6),
        (units.go_seconds, "2d", 172_800.0),
        (units.go_seconds, "0", 0.0),
        (units.go_or_plain_seconds, "90", 90.0),
        (units.go_or_plain_seconds, "1.5", 1.5),
        (units.go_or_plain_seconds, "1m", 60.0),
        (units.go_or_nanoseconds, "90000000000", 90.0),
        (units.go_or_nanoseconds, "90s", 90.0),
        (units.proto_seconds, "3600s", 3600.0),
        (units.proto_seconds, "0.000000001s", 1e-9),
        (units.nginx_seconds, "60", 60.0),
        (units.nginx_seconds, "60s", 60.0),
        (units.nginx_seconds, "1h 30m", 5400.0),
        (units.nginx_seconds, "1h30m", 5400.0),
        (units.nginx_seconds, "500ms", 0.5),
        (units.nginx_seconds, "1y2M", 36_720_000.0),
    ],
)
def test_a_duration_is_read(parse: Callable[[str], float], text: str, seconds: float) -> None:
    assert parse(text) == pytest.approx(seconds, rel=1e-12)


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (units.go_seconds, ""),
        (units.go_seconds, "90"),
        (units.go_seconds, "s"),
        (units.go_seconds, "1 s"),
        (units.go_seconds, "-1s"),
        (units.go_seconds, "1x"),
        (units.go_seconds, "300000h300000h300000h300000h300000h300000h300000h300000h300000h"),
        (units.go_seconds, "9" * 400 + "s"),
        (units.go_or_plain_seconds, "1.2.3"),
        (units.go_or_plain_seconds, "-1"),
        (units.go_or_nanoseconds, "1.5"),
        (units.proto_seconds, "1"),
        (units.proto_seconds, "1m"),
        (units.proto_seconds, "1.0000000001s"),
        (units.proto_seconds, "٣s"),
        (units.nginx_seconds, ""),
        (units.nginx_seconds, " "),
        (units.nginx_seconds, "30m 1h"),
        (units.nginx_seconds, "1m1m"),
        (units.nginx_seconds, "1.5s"),
        (units.nginx_seconds, "1x"),
    ],
)
def test_what_is_no_duration_there_is_refused(parse: Callable[[str], float], text: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        parse(text)
