"""Configurations as people have them, and where in them a line stands."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from keepserve.balancer.facts import Fact, Place, Pool, Reading, UnreadableError

DIRECTORY = Path(__file__).parent / "samples"


def sample(name: str) -> str:
    """The text of a file in ``samples/``."""
    return (DIRECTORY / name).read_text(encoding="utf-8")


def place(path: str, text: str, words: str, count: int = 1) -> Place:
    """Where a line that contains the words stands; with ``count``, the second one, the third one ..."""
    numbers = [number for number, line in enumerate(text.splitlines(), 1) if words in line]
    return Place(path, numbers[count - 1])


def known(pool: Pool) -> dict[str, Fact[object]]:
    """Every fact of the pool by its name."""
    facts = {name: getattr(pool, name) for name in Pool.__slots__}
    return {name: fact for name, fact in facts.items() if isinstance(fact, Fact)}


def check_defaults(pool: Pool, **expected: object) -> None:
    """Exactly these facts are defaults, with these values, and each has a public source."""
    defaults = {name: fact for name, fact in known(pool).items() if not fact.written}
    assert {name: fact.value for name, fact in defaults.items()} == expected
    for name, fact in defaults.items():
        assert fact.source.startswith("https://"), name
        assert fact.words, name


def check_written(
    pool: Pool, at: Callable[..., Place], **expected: tuple[object, str] | tuple[object, str, int]
) -> None:
    """Exactly these facts are written down: each with its value, and on the line that has these words."""
    written = {name: fact for name, fact in known(pool).items() if fact.written}
    assert {name: fact.value for name, fact in written.items()} == {
        name: value for name, (value, *_) in expected.items()
    }
    assert {name: fact.place for name, fact in written.items()} == {
        name: at(*where) for name, (_, *where) in expected.items()
    }


def refused(reader: ModuleType, text: str, path: str = "lb.yaml") -> str:
    """The message of the error that reading the text ends with."""
    with pytest.raises(UnreadableError) as caught:
        reader.read(path, text)
    return str(caught.value)


def only(reading: Reading) -> Pool:
    """The only pool of a reading."""
    (pool,) = reading.pools
    return pool
