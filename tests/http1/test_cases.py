"""Every raw-request case, over both head parsers, whole, split in two and byte by byte."""

from __future__ import annotations

import pytest

import tests.http1.cases_semantics  # noqa: F401  # adds its cases to the table
from tests.http1.cases import CASES, Case
from tests.support.driver import PARSER_NAMES, Driver, splits


def test_case_names_are_unique() -> None:
    names = [case.name for case in CASES]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("parser", PARSER_NAMES)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(case: Case, parser: str) -> None:
    """The outcome is as the table says, and the same however the bytes come and whoever parses the head."""
    expected = Driver("httptools", **case.limits).feed(case.raw).outcome()
    assert [seen.brief for seen in expected.seen] == list(case.served)
    assert expected.statuses == [200] * len(case.served) + ([case.refused] if case.refused else [])
    assert expected.fate == case.fate
    assert not expected.reset
    if case.fields is not None:
        assert tuple(expected.seen[0].fields) == case.fields
    if case.versions is not None:
        assert tuple(seen.version for seen in expected.seen) == case.versions
    closing = case.fate not in ("kept", "waiting")
    answers = expected.answers
    assert [answer.closes for answer in answers] == [closing and answer is answers[-1] for answer in answers]
    if case.refused:
        assert case.says in answers[-1].text
    for way, pieces in splits(case.raw):
        assert Driver(parser, **case.limits).feed(*pieces).outcome() == expected, way
