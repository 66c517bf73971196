"""The close is announced exactly when it follows: every combination of what decides about it."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import pytest

from keepserve.telemetry.reasons import CloseReason
from keepserve.wire.engine import Ending
from tests.http1.cases import HOST, NEXT
from tests.support.driver import Driver

DISCARDABLE = 64 * 1024


@dataclass(frozen=True)
class Upload:
    """A request body: its framing fields, what comes before the answer and what comes behind it."""

    lines: bytes
    before: bytes
    after: bytes
    large: bool = False

    @property
    def unread(self) -> bool:
        return bool(self.after)


UPLOADS = {
    "none": Upload(b"", b"", b""),
    "whole": Upload(b"Content-Length: 5\r\n", b"hello", b""),
    "chunks": Upload(b"Transfer-Encoding: chunked\r\n", b"5\r\nhello\r\n0\r\n\r\n", b""),
    "small unread": Upload(b"Content-Length: 5\r\n", b"h", b"ello"),
    "largest discarded": Upload(b"Content-Length: 65537\r\n", b"x", b"x" * DISCARDABLE),
    "large unread": Upload(b"Content-Length: 65538\r\n", b"x", b"x" * (DISCARDABLE + 1), large=True),
    "few chunks unread": Upload(b"Transfer-Encoding: chunked\r\n", b"1\r\nx\r\n", b"1\r\nx\r\n0\r\n\r\n"),
    "held back": Upload(b"Content-Length: 5\r\nExpect: 100-continue\r\n", b"", b"hello"),
    "held back, sent anyway": Upload(b"Content-Length: 5\r\nExpect: 100-continue\r\n", b"h", b"ello"),
}
CONNECTIONS = [b"", b"Connection: close\r\n", b"Connection: keep-alive\r\n"]
ANSWERS = ["whole", "length", "parts", "app closes", "204"]


def answer(driver: Driver, how: str) -> None:
    """Send a response in one of several ways."""
    if how == "204":
        driver.respond(204)
    elif how == "parts":
        driver.respond(200, b"a", complete=False).send(b"b", True)
    elif how == "length":
        driver.respond(200, b"ab", [(b"content-length", b"2")])
    else:
        driver.respond(200, b"ab", [(b"connection", b"close")] if how == "app closes" else [])


@pytest.mark.parametrize("how", ANSWERS)
@pytest.mark.parametrize("upload", UPLOADS.values(), ids=UPLOADS.keys())
def test_the_close_is_announced_exactly_when_it_follows(upload: Upload, how: str) -> None:
    checked = 0
    for method, version, connection, limited, draining in itertools.product(
        (b"GET", b"HEAD", b"POST"), (b"1.1", b"1.0"), CONNECTIONS, (False, True), (False, True)
    ):
        if version == b"1.0" and b"chunked" in upload.lines:
            continue
        situation = (method, version, connection, f"limited {limited}", f"draining {draining}")
        driver = Driver(app=None, max_requests=1 if limited else 0)
        raw = method + b" / HTTP/" + version + b"\r\n" + HOST + connection + upload.lines + b"\r\n" + upload.before
        driver.feed(raw)
        if draining:
            driver.engine.drain(0.0, 5.0)
        answer(driver, how)
        (said,) = driver.answers
        if upload.after:
            driver.feed(upload.after)
        driver.proceed().flush()
        closed = driver.ending != Ending.OPEN
        assert said.closes is closed, situation
        assert closed is (driver.reason is not None), situation
        if not closed:
            driver.feed(NEXT).respond(200)
            assert driver.seen[-1].target == b"/next", situation
            assert driver.statuses == [said.status, 200], situation
        checked += 1
    assert checked >= 36


def test_an_application_that_reads_while_it_answers_keeps_the_connection_if_it_reads_all() -> None:
    driver = Driver(app=None).feed(b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 100000\r\n\r\n" + b"x" * 10)
    driver.engine.go_on(1, 0.0)
    driver.respond(200, b"a", complete=False)
    assert not driver.answers[0].closes
    driver.feed(b"x" * 99990).send(b"b", True)
    assert driver.engine.idle


@pytest.mark.parametrize("length", [1, DISCARDABLE])
def test_a_small_unread_body_is_dropped_and_the_connection_reused(length: int) -> None:
    head = b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % length
    driver = Driver(app=None).feed(head).respond(413)
    assert not driver.answers[0].closes
    assert not driver.engine.idle
    driver.feed(b"x" * length + NEXT)
    assert driver.seen[-1].target == b"/next"
    assert driver.ending == Ending.OPEN


def test_a_large_unread_body_closes_with_lingering_and_nothing_in_it_is_a_request() -> None:
    head = b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1000000\r\n\r\n"
    driver = Driver(app=None).feed(head).respond(413, b"too much").flush()
    assert driver.answers[0].closes
    assert (driver.reason, driver.ending) == (CloseReason.UNREAD_BODY, Ending.LINGER)
    driver.feed(NEXT * 100)
    assert len(driver.seen) == 1
    assert driver.ending == Ending.LINGER
    driver.eof()
    assert driver.ending == Ending.CLOSE


def test_chunks_nobody_reads_are_dropped_up_to_a_bound() -> None:
    head = b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
    driver = Driver(app=None).feed(head).respond(200)
    for _ in range(4):
        driver.feed(b"3ff0\r\n" + b"x" * 0x3FF0 + b"\r\n")
    assert driver.ending == Ending.OPEN
    driver.feed(b"3ff0\r\n" + b"x" * 0x3FF0 + b"\r\n")
    assert (driver.reason, driver.ending) == (CloseReason.UNREAD_BODY, Ending.LINGER)


def test_a_fault_in_a_body_nobody_reads_closes_without_a_second_answer() -> None:
    head = b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
    driver = Driver(app=None).feed(head).respond(200).feed(b"xyz\r\n")
    assert driver.statuses == [200]
    assert (driver.reason, driver.ending) == (CloseReason.BAD_REQUEST, Ending.LINGER)


# 100 Continue (RFC 9110 §10.1.1).

EXPECTING = b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\nExpect: 100-continue\r\n\r\n"


def test_100_continue_is_sent_when_the_application_wants_the_body_and_once() -> None:
    driver = Driver(app=None).feed(EXPECTING)
    assert driver.statuses == []
    driver.go_on().go_on()
    assert driver.sent == b"HTTP/1.1 100 Continue\r\n\r\n"
    driver.feed(b"hello").respond(200)
    assert driver.statuses == [100, 200]
    assert driver.engine.idle


@pytest.mark.parametrize("body", [b"h", b"hello"])
@pytest.mark.parametrize("apart", [True, False])
def test_100_continue_is_left_out_once_the_body_has_begun(body: bytes, apart: bool) -> None:
    driver = Driver(app=None)
    driver.feed(EXPECTING, body) if apart else driver.feed(EXPECTING + body)
    driver.go_on()
    assert driver.statuses == []


def test_100_continue_is_not_for_http_1_0() -> None:
    driver = Driver(app=None).feed(EXPECTING.replace(b"HTTP/1.1", b"HTTP/1.0")).go_on()
    assert driver.statuses == []


def test_a_final_answer_without_100_continue_closes_since_nobody_knows_what_follows() -> None:
    driver = Driver(app=None).feed(EXPECTING).respond(401)
    assert driver.statuses == [401]
    assert driver.answers[0].closes
    assert (driver.reason, driver.ending) == (CloseReason.UNREAD_BODY, Ending.LINGER)
    driver.feed(NEXT)
    assert len(driver.seen) == 1


def test_a_response_in_parts_without_100_continue_announces_the_close_too() -> None:
    driver = Driver(app=None).feed(EXPECTING).respond(401, b"x", complete=False).send(b"y", True)
    assert driver.answers[0].closes
    assert driver.ending == Ending.LINGER


def test_the_connection_is_kept_when_the_body_came_without_being_asked_for() -> None:
    driver = Driver(app=None).feed(EXPECTING, b"hello").respond(401)
    assert not driver.answers[0].closes
    assert driver.engine.idle


def test_a_refused_expectation_is_417() -> None:
    driver = Driver().feed(EXPECTING.replace(b"100-continue", b"a-miracle"))
    assert driver.statuses == [417]
    assert driver.answers[0].reason == "Expectation Failed"


# The peer's FIN.


@pytest.mark.parametrize(
    ("raw", "reason", "rejected"),
    [
        (b"", CloseReason.PEER_CLOSED, 0),
        (b"\r\n", CloseReason.PEER_CLOSED, 0),
        (b"GET / HT", CloseReason.PEER_LEFT, 0),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n\r\nhell", CloseReason.PEER_LEFT, 1),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", CloseReason.PEER_LEFT, 1),
    ],
)
def test_a_peer_that_leaves_early_gets_no_answer(raw: bytes, reason: CloseReason, rejected: int) -> None:
    driver = Driver(app=None)
    if raw:
        driver.feed(raw)
    driver.eof()
    assert (driver.reason, driver.ending, driver.sent) == (reason, Ending.CLOSE, b"")
    assert len(driver.rejected) == rejected


def test_a_peer_that_half_closes_gets_every_answer_it_asked_for() -> None:
    driver = Driver(app=None).feed(NEXT * 3).eof()
    assert driver.ending == Ending.OPEN
    driver.respond(200).proceed().respond(200).proceed()
    assert driver.ending == Ending.OPEN
    driver.respond(200).proceed()
    assert driver.statuses == [200, 200, 200]
    assert (driver.reason, driver.ending) == (CloseReason.PEER_CLOSED, Ending.CLOSE)


def test_a_peer_that_half_closes_inside_its_next_request_gets_the_answer_before() -> None:
    driver = Driver(app=None).feed(NEXT + b"GET / HT").eof().respond(200).proceed()
    assert driver.statuses == [200]
    assert (driver.reason, driver.ending) == (CloseReason.PEER_LEFT, Ending.CLOSE)
