"""systemd service units."""

from functools import partial
from math import inf

import pytest

from keepserve.balancer.readers import systemd
from tests.balancer.readers.reading import check_defaults, check_written, only, place, refused, sample

UNIT = sample("keepserve.service")


def test_a_unit_is_read_with_the_line_of_every_fact() -> None:
    pool = only(systemd.read("k.service", UNIT))
    at = partial(place, "k.service", UNIT)
    assert (pool.kind, pool.place) == ("systemd", at("Type="))
    check_written(pool, at, kill_after=(75.0, "TimeoutStopSec"))
    start, environment = at("ExecStart"), at("Environment")
    assert pool.notes == (
        "The unit has its own settings, so check with the same ones: "
        f"KEEPSERVE_LB=nginx ({environment}), KEEPSERVE_KEEP_ALIVE_TIMEOUT=80 ({environment}), "
        f"--drain-delay 10 ({start}), --drain-timeout=20 ({start}).",
    )


def test_a_unit_that_says_nothing_has_the_documented_default() -> None:
    pool = only(systemd.read("k.service", "[Service]\nExecStart=/bin/true --flag\n"))
    check_defaults(pool, kill_after=90.0)
    assert pool.notes == ()


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("75", 75.0),
        ("75s", 75.0),
        ("1min 15s", 75.0),
        ("1m15sec", 75.0),
        ("1.5 hours", 5400.0),
        ("500ms", 0.5),
        ("infinity", inf),
        ("0", inf),
    ],
)
def test_times_are_systemd_s(written: str, seconds: float) -> None:
    pool = only(systemd.read("k.service", f"[Service]\nTimeoutStopSec={written}\n"))
    assert pool.kill_after is not None
    assert pool.kill_after.value == seconds


def test_the_last_setting_counts_and_an_empty_one_does_not() -> None:
    pool = only(systemd.read("k.service", "[Service]\nTimeoutSec=5\nTimeoutStopSec=7\nTimeoutStopSec=\n"))
    assert pool.kill_after is not None
    assert (pool.kill_after.value, pool.kill_after.place.line if pool.kill_after.place else 0) == (7.0, 3)


def test_a_file_of_variables_is_named_and_not_read() -> None:
    pool = only(systemd.read("k.service", "[Service]\nEnvironmentFile=/etc/shop.env\n"))
    assert "/etc/shop.env (k.service:2): the settings in that file are not read." in pool.notes[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[Unit]\nDescription=x\n", "k.service: this is not a systemd service"),
        ("TimeoutStopSec=5\n", "k.service:1: this is not a systemd unit"),
        ("[Service]\nTimeoutStopSec\n", "k.service:2: this is not a systemd unit"),
        ("[Service]\nTimeoutStopSec=soon\n", 'k.service:2: "TimeoutStopSec: soon" should be a time of systemd\'s'),
        ("[Service]\nTimeoutStopSec=5 parsecs\n", 'k.service:2: "TimeoutStopSec: 5 parsecs" should be a time'),
        ("[Service]\nExecStart=keepserve 'a\n", 'k.service:2: "ExecStart: keepserve \'a" should be words'),
        ("[Service]\nExecStart=keepserve \\", "k.service:2: this is half a file"),
    ],
)
def test_what_is_broken_or_of_another_kind_is_refused(text: str, message: str) -> None:
    assert refused(systemd, text, "k.service").startswith(message)
