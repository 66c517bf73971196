"""How problems and origins read."""

import pytest

from keepserve.config import ConfigError, Origin, OriginKind, Problem


def test_one_problem_is_its_own_message() -> None:
    assert str(ConfigError("The key does not fit.")) == "The key does not fit."
    assert str(ConfigError(Problem("The key does not fit."))) == "The key does not fit."


def test_several_problems_are_numbered() -> None:
    error = ConfigError([Problem("First."), Problem("Second\nline.")])
    assert str(error) == "2 settings problems:\n  1. First.\n  2. Second\n     line."
    assert [str(problem) for problem in error.problems] == ["First.", "Second\nline."]


@pytest.mark.parametrize(
    ("origin", "text"),
    [
        (Origin(OriginKind.DEFAULT), "default"),
        (Origin(OriginKind.PRESET, "alb"), "preset alb"),
        (Origin(OriginKind.ENV, "PORT"), "env PORT"),
        (Origin(OriginKind.FILE, ".env:3"), "file .env:3"),
        (Origin(OriginKind.FLAG, "--port"), "flag --port"),
        (Origin(OriginKind.DERIVED, "a + b"), "= a + b"),
    ],
)
def test_an_origin_says_where_to_look(origin: Origin, text: str) -> None:
    assert str(origin) == text
