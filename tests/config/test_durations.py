"""Durations as text."""

import pytest

from keepserve.config.durations import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("65", 65.0),
        ("65s", 65.0),
        ("1m", 60.0),
        ("1h30m", 5400.0),
        ("500ms", 0.5),
        ("1.5", 1.5),
        ("1.5s", 1.5),
        ("1s500ms", 1.5),
        ("2min", 120.0),
        ("1d", 86400.0),
        ("0", 0.0),
        (" 10 s ", 10.0),
        ("1 h 30 m", 5400.0),
        ("10S", 10.0),
        ("0.1s", 0.1),
    ],
)
def test_a_duration_is_read_as_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", " ", "abc", "-1", "+1", "1m30", "30s1h", "1s1s", "nan", "inf", "1e3", ".5", "5 sec", "\u0661", "1,5"]
)
def test_what_is_no_duration_is_refused_with_a_sentence_that_shows_how(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration: write seconds") as caught:
        parse_duration(text)
    assert f'"{text}"' in str(caught.value)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(80.0, "80 s"), (1.5, "1.5 s"), (0.5, "500 ms"), (0.0, "0 s"), (3620.0, "3620 s"), (0.0015, "1.5 ms")],
)
def test_a_duration_is_written_in_seconds(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize("seconds", [0.0, 0.25, 1.0, 1.5, 59.999, 3620.0])
def test_what_is_written_reads_back(seconds: float) -> None:
    assert parse_duration(format_duration(seconds)) == seconds
