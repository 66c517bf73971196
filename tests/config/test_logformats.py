"""The setting ``access_log_format``: what is a format, and what a person is told who writes something else."""

from __future__ import annotations

import re

import pytest

from keepserve.config import FIELDS_BY_NAME
from keepserve.config.logformats import FIELDS, parse_format

CHECK = FIELDS_BY_NAME["access_log_format"].check


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("json", "json"),
        (" Combined ", "combined"),
        ("{status}", "{status}"),
        ("a {method} b", "a {method} b"),
    ],
)
def test_a_format_is_a_name_or_has_fields(text: str, value: str) -> None:
    assert CHECK(text) == value


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("{status}", [("", "status"), ("", "")]),
        ("{{{ status }}}", [("{", "status"), ("}", "")]),
        ("a{header:X-Tenant}b", [("a", "header:x-tenant"), ("b", "")]),
        ("{method}\\t{path}", [("", "method"), ("\t", "path"), ("", "")]),
        ("none", [("none", "")]),
    ],
)
def test_a_format_is_read_into_literals_and_fields(text: str, parts: list[tuple[str, str]]) -> None:
    assert parse_format(text) == parts


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{clinet}", '(did you mean "{client}"?)'),
        ("{Status}", '(did you mean "{status}"?)'),
        ("{nothing_like_it}", ", ".join(FIELDS)),
        ("jsno", '(did you mean "json"?)'),
        ("words", "such as"),
        ("", "such as"),
        ('%(h)s "%(r)s" %(s)s', "the fields of other servers, with %"),
        ("%h %l %u %t", "the fields of other servers, with %"),
        ("{status", "write it twice to have it as it is"),
        ("status}", "write it twice to have it as it is"),
        ("{}", "is not a field"),
        ("{header:}", "names no header field"),
        ("{header:a b}", "names no header field"),
        ("{status}\n{method}", "printable ASCII"),
        ("{status}\x1b[0m", "printable ASCII"),
        ("{status} \u00b7", "printable ASCII"),
        ("{status}" * 200, "at most 1024"),
    ],
)
def test_what_is_no_format_is_refused_with_a_sentence(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=re.escape(told)):
        CHECK(text)
