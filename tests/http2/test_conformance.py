"""The conformance suite of RFC 9113 §§3-8: every case, over both engines, however its octets come."""

from __future__ import annotations

import pytest

import tests.http2.cases_connection
import tests.http2.cases_control
import tests.http2.cases_flow
import tests.http2.cases_frames
import tests.http2.cases_messages
import tests.http2.cases_push
import tests.http2.cases_sending
import tests.http2.cases_starting
import tests.http2.cases_streams  # noqa: F401  # each adds its cases to the table
from keepserve.wire.engine import Ending
from tests.http2.case import CASES, Answer, Case
from tests.http2.client import SERVER_STREAM_WINDOW, SERVER_WINDOW, Response
from tests.http2.driver import ENGINE_NAMES, Driver, Outcome, pattern, ways
from tests.http2.frames import Code, Frame, Kind
from tests.http2.statements import STATEMENTS


def test_case_names_are_unique() -> None:
    names = [case.name for case in CASES]
    assert sorted(names) == sorted(set(names))


def test_statement_names_are_unique_and_in_order() -> None:
    names = [statement.name for statement in STATEMENTS]
    assert sorted(names) == sorted(set(names))
    sections = [[int(part) for part in statement.section.split(".")] for statement in STATEMENTS]
    assert sections == sorted(sections)


def test_every_statement_is_shown_or_says_why_it_cannot_be() -> None:
    shown = {name for case in CASES for name in case.shows}
    known = {statement.name for statement in STATEMENTS}
    assert shown <= known, f"cases show what is no statement: {sorted(shown - known)}"
    not_in_frames = {statement.name for statement in STATEMENTS if statement.not_in_frames}
    assert not shown & not_in_frames, "shown after all"
    assert known - shown - not_in_frames == set(), "no case shows these"


@pytest.mark.parametrize("engine", ENGINE_NAMES)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(case: Case, engine: str) -> None:
    """What must come does come, and the same in whatever pieces the client's octets arrive."""
    expected: Outcome | None = None
    for way, pieces in ways(case.steps):
        try:
            driver = Driver(engine, greeted=not case.raw).run(pieces)
            outcome = driver.outcome
            if expected is None:
                expected = outcome
                judge(case, driver)
            assert outcome == expected, way
            # What is read in larger pieces is also given back in larger ones.
            assert case.refunded or outcome.credit == expected.credit, f"{way}: windows"
            assert outcome.begun <= case.begun, f"{way}: began and should not have"
            _judge_credit(case, outcome)
        except AssertionError as fault:
            raise AssertionError(f"{fault}\n\n{way}, {case}") from None


def judge(case: Case, driver: Driver) -> None:
    """Hold the outcome to the table."""
    outcome = driver.outcome
    _judge_control(case, outcome)
    assert [got.stream for got in outcome.seen] == [got.stream for got in case.served], "requests served"
    for got, wanted in zip(outcome.seen, case.served, strict=True):
        assert (got.method, got.path, got.body) == (wanted.method, wanted.path, wanted.body)
        assert wanted.fields is None or got.fields == wanted.fields
    assert outcome.versions <= {"2"}
    assert outcome.responses.keys() == case.responses.keys(), "streams answered"
    for number, answer in case.responses.items():
        _judge_response(answer, outcome.responses[number])
    assert outcome.promises == {number: list(fields) for number, fields in case.promises.items()}
    if case.exact:
        assert b"".join(map(bytes, driver.client.frames)) == case.out


def _judge_control(case: Case, outcome: Outcome) -> None:
    """RST_STREAM, the acknowledgements, GOAWAY, and whether the connection ends."""
    wanted: dict[int, list[Frame]] = {}
    for frame in case.expected:
        if frame.kind != Kind.WINDOW_UPDATE:
            wanted.setdefault(frame.stream, []).append(frame)
    came = {number: list(frames) for number, frames in outcome.control.items()}
    goaway = case.goaway
    if goaway is not None:
        last = wanted[0].pop()
        if not (case.may_be_silent and not any(frame.kind == Kind.GOAWAY for frame in came.get(0, []))):
            assert came.get(0), "no GOAWAY"
            _judge_goaway(case, last, came[0].pop(), outcome.last_seen)
        elif not came.get(0):
            wanted.pop(0)
    assert {number: frames for number, frames in came.items() if frames} == {
        number: frames for number, frames in wanted.items() if frames
    }
    assert (outcome.ending != Ending.OPEN) == (case.fate != "open"), f"the connection is {outcome.ending.name}"


def _judge_goaway(case: Case, wanted: Frame, came: Frame, last_seen: int) -> None:
    assert came.kind == Kind.GOAWAY, f"{came} at the end, not {wanted}"
    assert came.number in {wanted.number, case.or_code}, f"{came} instead of {wanted}"
    named = int.from_bytes(came.payload[:4], "big")
    assert last_seen <= named <= int.from_bytes(wanted.payload[:4], "big"), f"{came} instead of {wanted}"


def _judge_response(wanted: Answer, came: Response) -> None:
    assert came.status == wanted.status
    assert came.whole == wanted.whole
    assert came.interim == wanted.interim
    assert came.trailers == (None if wanted.trailers is None else list(wanted.trailers))
    assert set(wanted.fields) <= set(came.fields)
    if isinstance(wanted.body, int):
        assert len(came.body) == wanted.body
        assert came.body == pattern(wanted.body)[: wanted.body]
    elif wanted.body is not None:
        assert came.body == wanted.body


def _judge_credit(case: Case, outcome: Outcome) -> None:
    """No more is given back than came; and of what was read, less than half a window is owed."""
    for number, owed in outcome.owed.items():
        window = SERVER_STREAM_WINDOW if number else SERVER_WINDOW
        assert owed >= 0, f"stream {number} was given {-owed} octets too many"
        assert not case.refunded or owed < window // 2, f"stream {number} is owed {owed} octets"
    flow_errors = [frame for frame in case.expected if frame.number == Code.FLOW_CONTROL_ERROR]
    assert flow_errors or not outcome.exceeded, "the case sends DATA for which there is no window"
