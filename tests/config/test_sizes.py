"""Sizes as text."""

import pytest

from keepserve.config.sizes import format_size, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("8192", 8192),
        ("8k", 8192),
        ("8K", 8192),
        ("8KB", 8192),
        ("64KiB", 65536),
        ("1MiB", 1048576),
        ("1 GiB", 1073741824),
        ("1.5k", 1536),
        ("10B", 10),
        ("0", 0),
    ],
)
def test_a_size_is_read_as_bytes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "k", "-1", "8kk", "8 bytes", "1TiB", "0x10", "nan"])
def test_what_is_no_size_is_refused_with_a_sentence_that_shows_how(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size: write bytes"):
        parse_size(text)


def test_a_fraction_of_a_byte_is_refused() -> None:
    with pytest.raises(ValueError, match="not a whole number of bytes"):
        parse_size("0.3k")


@pytest.mark.parametrize(
    ("size", "text"),
    [(8192, "8 KiB"), (8 << 20, "8 MiB"), (1 << 30, "1 GiB"), (500, "500 B"), (0, "0 B"), (1025, "1025 B")],
)
def test_a_size_is_written_exactly(size: int, text: str) -> None:
    assert format_size(size) == text
    assert parse_size(text) == size
