"""The clocks of a connection, with time as a number: each is checked just before and at its deadline."""

from __future__ import annotations

import pytest

from keepserve.http1.response import DefaultFields
from keepserve.telemetry.reasons import CloseReason
from keepserve.wire.engine import NEVER, Ending
from tests.http1.cases import HOST, NEXT, chunked, get, post
from tests.support.driver import PARSER_NAMES, Driver

EARLY = 0.001
"""Seconds before a deadline at which nothing may have happened yet."""


def check_deadline(driver: Driver, deadline: float, reason: CloseReason, status: int = 0) -> None:
    """The connection must still be there just before ``deadline``, and end at it."""
    answers = len(driver.answers)
    assert driver.deadline == pytest.approx(deadline)
    driver.at(deadline - EARLY)
    assert (driver.ending, driver.reason, len(driver.answers)) == (Ending.OPEN, None, answers)
    driver.at(deadline)
    assert driver.reason is reason
    assert driver.ending != Ending.OPEN
    assert driver.statuses[answers:] == ([status] if status else [])


# The idle clock.


def test_a_new_connection_runs_on_the_idle_clock_from_its_start() -> None:
    check_deadline(Driver(now=100.0, keep_alive_timeout=80.0), 180.0, CloseReason.IDLE_TIMEOUT)


def test_an_idle_close_is_a_plain_close_without_an_answer() -> None:
    driver = Driver().at(80.0)
    assert driver.ending == Ending.CLOSE
    assert driver.sent == b""


def test_the_idle_clock_starts_when_the_answer_was_flushed_not_when_it_was_given() -> None:
    driver = Driver(now=0.0, keep_alive_timeout=80.0)
    driver.now = 10.0
    driver.feed(get())
    assert driver.deadline == NEVER
    driver.at(500.0)
    assert driver.ending == Ending.OPEN
    driver.now = 25.0
    driver.flush()
    check_deadline(driver, 105.0, CloseReason.IDLE_TIMEOUT)


def test_a_second_look_at_an_empty_buffer_does_not_move_the_idle_clock() -> None:
    driver = Driver().feed(get()).flush()
    driver.now = 30.0
    driver.flush()
    assert driver.deadline == 80.0


def test_each_answer_starts_the_idle_clock_anew() -> None:
    driver = Driver().feed(get()).flush()
    driver.now = 79.0
    driver.feed(get()).flush()
    check_deadline(driver, 159.0, CloseReason.IDLE_TIMEOUT)


@pytest.mark.parametrize("stray", [(b"\r\n",), (b"\r", b"\n"), (b"\r\n\r", b"\n"), (b"\r\n" * 50,)])
def test_empty_lines_are_not_activity(stray: tuple[bytes, ...]) -> None:
    driver = Driver().feed(get()).flush()
    for second in range(0, 80, 10):
        for piece in stray:
            driver.now = float(second)
            driver.feed(piece).flush()
            assert driver.deadline == 80.0
    assert driver.engine.idle
    check_deadline(driver, 80.0, CloseReason.IDLE_TIMEOUT)


def test_no_clock_runs_while_the_application_works() -> None:
    driver = Driver(app=None).feed(get())
    assert driver.deadline == NEVER
    driver.at(1e9)
    driver.respond()
    assert driver.statuses == [200]


def test_unread_bytes_save_an_idle_connection_and_its_answer_says_close() -> None:
    driver = Driver().feed(get()).flush()
    driver.at(80.0, unread=True)
    assert driver.ending == Ending.OPEN
    driver.feed(get(target=b"/late"))
    assert driver.statuses == [200, 200]
    assert [answer.closes for answer in driver.answers] == [False, True]
    assert (driver.reason, driver.ending) == (CloseReason.IDLE_TIMEOUT, Ending.LINGER)


def test_unread_bytes_that_were_only_an_empty_line_buy_one_more_idle_time() -> None:
    driver = Driver().feed(get()).flush().at(80.0, unread=True).feed(b"\r\n").flush()
    check_deadline(driver, 160.0, CloseReason.IDLE_TIMEOUT)


# The head clock and the envelope.


def test_the_head_clock_runs_from_the_first_byte() -> None:
    driver = Driver().feed(get()).flush()
    driver.now = 50.0
    driver.feed(b"G")
    check_deadline(driver, 60.0, CloseReason.HEAD_TIMEOUT, 408)
    assert "head did not arrive in time (10 s" in driver.answers[-1].text
    assert driver.answers[-1].closes
    assert driver.ending == Ending.LINGER


def test_more_bytes_do_not_move_the_head_clock() -> None:
    driver = Driver()
    raw = get(b"A: b")
    for second in range(10):
        driver.now = float(second)
        driver.feed(raw[second : second + 1])
    check_deadline(driver, 10.0, CloseReason.HEAD_TIMEOUT, 408)


def test_a_single_byte_moves_a_connection_from_the_idle_to_the_head_clock_only() -> None:
    driver = Driver(keep_alive_timeout=80.0, request_head_timeout=10.0, headers_timeout=90.0)
    driver.now = 79.9
    driver.feed(b"G")
    check_deadline(driver, 89.9, CloseReason.HEAD_TIMEOUT, 408)


def test_the_envelope_bounds_idle_and_head_together() -> None:
    driver = Driver(keep_alive_timeout=80.0, request_head_timeout=10.0, headers_timeout=84.0).feed(get()).flush()
    driver.now = 79.0
    driver.feed(b"GET ")
    check_deadline(driver, 84.0, CloseReason.HEAD_TIMEOUT, 408)


def test_half_an_empty_line_before_a_request_does_not_start_the_head_clock() -> None:
    driver = Driver().feed(b"\r")
    assert driver.deadline == 80.0
    driver.now = 70.0
    driver.feed(b"\nG")
    assert driver.deadline == 80.0
    check_deadline(driver, 80.0, CloseReason.HEAD_TIMEOUT, 408)


def test_a_pipelined_half_of_a_head_has_its_full_time_once_its_turn_comes() -> None:
    driver = Driver(app=None).feed(get() + b"GET /two")
    driver.now = 1000.0
    driver.respond().proceed()
    check_deadline(driver, 1010.0, CloseReason.HEAD_TIMEOUT, 408)


def test_a_head_that_comes_in_time_stops_the_clock() -> None:
    driver = Driver(app=None).feed(get()[:-1])
    driver.now = 9.9
    driver.feed(b"\n")
    assert driver.deadline == NEVER


# The body clock.

LONG = post(b"Content-Length: 1000000")


def test_a_body_may_not_pause_longer_than_its_timeout() -> None:
    driver = Driver(body_min_rate=0.0).feed(LONG)
    driver.now = 20.0
    driver.feed(b"x")
    check_deadline(driver, 50.0, CloseReason.BODY_TIMEOUT, 408)
    assert "body did not arrive in time" in driver.answers[-1].text


def test_a_body_below_the_minimum_rate_ends_after_the_grace() -> None:
    driver = Driver(body_timeout=30.0, body_min_rate=500.0, body_rate_grace=20.0).feed(LONG)
    for second in range(1, 20):
        driver.now = float(second)
        driver.feed(b"x" * 400)
    check_deadline(driver, 20.0, CloseReason.BODY_TIMEOUT, 408)


def test_a_body_above_the_minimum_rate_goes_on() -> None:
    driver = Driver(app=None, body_min_rate=500.0).feed(LONG)
    for second in range(1, 200):
        driver.at(float(second)).feed(b"x" * 530)
    assert driver.ending == Ending.OPEN


def test_what_came_with_the_head_counts_for_the_rate() -> None:
    driver = Driver(app=None, body_timeout=30.0, body_min_rate=500.0, body_rate_grace=20.0).feed(LONG + b"x" * 50_000)
    driver.now = 19.0
    driver.feed(b"x")
    driver.at(40.0).feed(b"x")
    assert driver.ending == Ending.OPEN


def test_chunk_framing_counts_as_progress_but_not_without_end() -> None:
    driver = Driver(app=None, body_min_rate=0.0).feed(chunked(b""))
    driver.now = 29.0
    driver.feed(b"5;a")
    check_deadline(driver, 59.0, CloseReason.BODY_TIMEOUT, 408)


def test_a_client_that_waits_for_100_continue_is_not_slow() -> None:
    driver = Driver(app=None).feed(post(b"Content-Length: 5", b"Expect: 100-continue"))
    assert driver.deadline == NEVER
    driver.now = 1000.0
    driver.go_on()
    check_deadline(driver, 1020.0, CloseReason.BODY_TIMEOUT, 408)


def test_a_client_that_did_not_wait_for_100_continue_is_timed() -> None:
    driver = Driver(app=None).feed(post(b"Content-Length: 5", b"Expect: 100-continue"))
    driver.now = 100.0
    driver.feed(b"x")
    check_deadline(driver, 120.0, CloseReason.BODY_TIMEOUT, 408)


def test_a_client_that_may_not_send_is_not_slow() -> None:
    driver = Driver(app=None).feed(LONG)
    driver.now = 10.0
    driver.engine.hold(True, driver.now)
    assert driver.deadline == NEVER
    driver.at(1000.0)
    driver.engine.hold(False, 1000.0)
    check_deadline(driver, 1010.0, CloseReason.BODY_TIMEOUT, 408)


def test_a_body_that_begins_while_reading_is_paused_is_not_timed() -> None:
    driver = Driver(app=None).feed(get() + LONG)
    driver.engine.hold(True, 0.0)
    driver.now = 5.0
    driver.respond().proceed()
    assert driver.seen[-1].method == b"POST"
    assert driver.deadline == NEVER
    driver.engine.hold(False, 500.0)
    driver.now = 500.0
    check_deadline(driver, 520.0, CloseReason.BODY_TIMEOUT, 408)


def test_being_told_to_go_on_while_reading_is_paused_keeps_the_clock_still() -> None:
    driver = Driver(app=None).feed(post(b"Content-Length: 5", b"Expect: 100-continue"))
    driver.engine.hold(True, 0.0)
    driver.go_on()
    assert driver.deadline == NEVER


def test_a_stalled_body_behind_a_begun_response_ends_the_connection_without_a_second_head() -> None:
    driver = Driver(app=None).feed(LONG)
    driver.respond(body=b"part", complete=False)
    driver.at(30.0)
    assert driver.reason is CloseReason.BODY_TIMEOUT
    assert driver.rejected[-1].status == 0
    assert driver.statuses == [200]
    assert not driver.answers[0].whole


def test_a_stalled_body_nobody_reads_ends_the_connection_without_a_second_answer() -> None:
    driver = Driver(app=None).feed(post(b"Content-Length: 100")).respond()
    driver.at(30.0)
    assert (driver.reason, driver.ending) == (CloseReason.BODY_TIMEOUT, Ending.LINGER)
    assert driver.statuses == [200]
    assert driver.rejected == []


# The lingering close.


def lingering() -> Driver:
    """A connection whose answer said close, flushed at 100 s, with the peer still there."""
    driver = Driver(now=100.0, max_requests=1, linger_timeout=30.0, linger_idle_timeout=5.0, linger_bytes=1000)
    driver.feed(get())
    assert (driver.ending, driver.reason) == (Ending.LINGER, CloseReason.MAX_REQUESTS)
    assert driver.deadline == NEVER
    return driver.flush()


def test_lingering_ends_when_the_peer_is_quiet() -> None:
    driver = lingering()
    assert driver.deadline == 105.0
    driver.at(105.0 - EARLY)
    assert driver.ending == Ending.LINGER
    driver.at(105.0)
    assert driver.ending == Ending.CLOSE  # and no reset: what the kernel still holds for a slow reader gets through


def test_lingering_goes_on_while_the_peer_sends_but_not_for_ever() -> None:
    driver = lingering()
    for second in range(104, 130, 4):
        driver.at(float(second)).feed(b"x")
        assert driver.ending == Ending.LINGER
    assert driver.deadline == 130.0
    driver.at(130.0)
    assert driver.ending == Ending.CLOSE


def test_lingering_takes_so_many_bytes_and_no_more() -> None:
    driver = lingering().feed(b"x" * 600, b"x" * 400)
    assert driver.ending == Ending.LINGER
    driver.feed(b"x")
    assert driver.ending == Ending.RESET


def test_lingering_ends_with_the_peers_close() -> None:
    assert lingering().eof().ending == Ending.CLOSE


def test_a_peer_that_has_closed_already_is_not_waited_for() -> None:
    driver = Driver(app=None, max_requests=1).feed(get()).eof()
    driver.respond()
    assert (driver.reason, driver.ending) == (CloseReason.MAX_REQUESTS, Ending.CLOSE)


# Draining, age, number of requests.


def test_a_drain_leaves_an_idle_connection_its_grace_and_serves_what_comes_in_it() -> None:
    driver = Driver().feed(get()).flush()
    driver.now = 10.0
    driver.engine.drain(10.0, 5.0)
    assert driver.deadline == 15.0
    driver.at(15.0 - EARLY)
    assert driver.ending == Ending.OPEN
    driver.feed(NEXT)
    assert [answer.closes for answer in driver.answers] == [False, True]
    assert driver.reason is CloseReason.DRAINING


def test_a_drain_closes_idle_connections_after_their_grace() -> None:
    driver = Driver().feed(get()).flush()
    driver.engine.drain(10.0, 5.0)
    check_deadline(driver, 15.0, CloseReason.DRAINING)


def test_a_drain_does_not_cut_a_head_that_has_begun() -> None:
    driver = Driver()
    driver.now = 10.0
    driver.feed(NEXT[:5])
    driver.engine.drain(10.0, 0.0)
    driver.at(15.0)
    assert driver.ending == Ending.OPEN
    driver.feed(NEXT[5:])
    assert driver.answers[-1].closes


def test_a_drain_lets_a_running_request_finish_and_announces_the_close_on_it() -> None:
    driver = Driver(app=None).feed(get())
    driver.engine.drain(0.0, 0.0)
    driver.at(1000.0).respond(body=b"done")
    assert driver.answers[0].closes
    assert driver.reason is CloseReason.DRAINING


def test_a_drain_does_not_drop_pipelined_requests_whose_client_reads_slowly() -> None:
    driver = Driver(app=None).feed(get() + NEXT)
    driver.respond()  # and the connection does not proceed: the answer has not left yet
    driver.engine.drain(0.0, 5.0)
    assert not driver.engine.idle
    assert driver.deadline == NEVER
    driver.at(6.0).proceed()
    driver.respond()
    assert driver.statuses == [200, 200]
    assert driver.reason is CloseReason.DRAINING


@pytest.mark.parametrize("parser", PARSER_NAMES)
def test_an_announced_close_comes_with_the_next_answer_and_leaves_an_idle_connection_alone(parser: str) -> None:
    driver = Driver(parser, keep_alive_timeout=80.0).feed(get()).flush()
    driver.engine.announce(CloseReason.DRAINING)
    assert (driver.deadline, driver.ending, driver.engine.idle) == (80.0, Ending.OPEN, True)
    driver.at(80.0 - EARLY)
    assert driver.ending == Ending.OPEN
    driver.feed(NEXT)
    assert [answer.closes for answer in driver.answers] == [False, True]
    assert (driver.reason, driver.ending) == (CloseReason.DRAINING, Ending.LINGER)


@pytest.mark.parametrize("parser", PARSER_NAMES)
def test_an_announced_close_without_another_request_is_the_idle_close_it_would_have_been(parser: str) -> None:
    driver = Driver(parser)
    driver.engine.announce(CloseReason.DRAINING)
    check_deadline(driver, 80.0, CloseReason.IDLE_TIMEOUT)


def test_the_first_reason_to_close_is_the_one_that_is_announced() -> None:
    driver = Driver()
    driver.engine.announce(CloseReason.MAX_AGE)
    driver.engine.drain(0.0, 5.0)
    driver.engine.announce(CloseReason.DRAINING)
    driver.feed(get())
    assert driver.reason is CloseReason.MAX_AGE


@pytest.mark.parametrize("parser", PARSER_NAMES)
def test_a_close_announced_too_late_for_a_response_leaves_its_connection_for_the_next(parser: str) -> None:
    driver = Driver(parser, app=None).feed(get())
    driver.respond(body=b"some", complete=False)
    driver.engine.announce(CloseReason.DRAINING)
    driver.send(b"more", complete=True).flush()
    assert (driver.ending, driver.deadline) == (Ending.OPEN, 80.0)
    driver.feed(NEXT)
    driver.respond()
    assert [answer.closes for answer in driver.answers] == [False, True]


@pytest.mark.parametrize("parser", PARSER_NAMES)
def test_a_peer_whose_response_had_begun_before_the_drain_has_the_full_grace_after_it(parser: str) -> None:
    """It was not told, and may send its next request the moment the response ends."""
    driver = Driver(parser, app=None).feed(get())
    driver.respond(body=b"some", complete=False)
    driver.engine.drain(10.0, 5.0)
    driver.now = 18.0
    driver.send(b"more", complete=True).flush()
    check_deadline(driver, 23.0, CloseReason.DRAINING)


@pytest.mark.parametrize("parser", PARSER_NAMES)
def test_a_second_drain_may_shorten_the_grace_but_not_prolong_it(parser: str) -> None:
    driver = Driver(parser)
    driver.engine.drain(0.0, 75.0)
    assert driver.deadline == 75.0
    driver.engine.drain(10.0, 70.0)
    assert driver.deadline == 75.0
    driver.engine.drain(12.0, 5.0)
    check_deadline(driver, 17.0, CloseReason.DRAINING)


def test_a_drain_after_an_announcement_begins_the_grace() -> None:
    driver = Driver()
    driver.engine.announce(CloseReason.DRAINING)
    driver.engine.drain(10.0, 5.0)
    check_deadline(driver, 15.0, CloseReason.DRAINING)


def test_unread_bytes_that_were_only_an_empty_line_buy_one_more_grace() -> None:
    driver = Driver()
    driver.engine.drain(0.0, 5.0)
    driver.at(5.0, unread=True).feed(b"\r\n").flush()
    check_deadline(driver, 10.0, CloseReason.DRAINING)


def test_a_drain_never_makes_an_idle_connection_live_longer() -> None:
    driver = Driver(keep_alive_timeout=80.0)
    driver.engine.drain(79.0, 20.0)
    assert driver.deadline == 80.0


def test_unread_bytes_save_an_idle_connection_in_a_drain_too() -> None:
    driver = Driver()
    driver.engine.drain(0.0, 5.0)
    driver.at(5.0, unread=True).feed(NEXT)
    assert driver.answers[0].closes
    assert driver.reason is CloseReason.DRAINING


def test_the_maximum_age_is_announced_on_an_answer() -> None:
    driver = Driver(max_age=100.0)
    driver.now = 100.0 - EARLY
    driver.feed(get())
    driver.now = 100.0
    driver.feed(get())
    assert [answer.closes for answer in driver.answers] == [False, True]
    assert driver.reason is CloseReason.MAX_AGE


def test_the_maximum_age_never_cuts_an_idle_connection() -> None:
    driver = Driver(max_age=10.0, keep_alive_timeout=80.0).feed(get()).flush()
    check_deadline(driver, 80.0, CloseReason.IDLE_TIMEOUT)


def test_the_maximum_of_requests_is_announced_on_the_last_answer() -> None:
    driver = Driver(max_requests=3).feed(get() * 4)
    assert [answer.closes for answer in driver.answers] == [False, False, True]
    assert driver.reason is CloseReason.MAX_REQUESTS


def test_no_limits_means_none() -> None:
    driver = Driver()
    for hour in range(200):
        driver.now = hour * 3600.0
        driver.feed(get())
    assert not any(answer.closes for answer in driver.answers)


@pytest.mark.parametrize(
    ("raw", "reason", "says"),
    [
        (b"GET / HTTP/1.1\r\n" + HOST, CloseReason.HEAD_TIMEOUT, "head"),
        (post(b"Content-Length: 5"), CloseReason.BODY_TIMEOUT, "body"),
    ],
)
def test_a_408_says_what_was_late_and_is_counted_apart_from_bad_requests(
    raw: bytes, reason: CloseReason, says: str
) -> None:
    driver = Driver(app=None).feed(raw).at(30.0)
    assert (driver.statuses, driver.reason) == ([408], reason)
    assert f"request {says} did not" in driver.answers[0].text
    assert driver.answers[0].reason == "Request Timeout"
    assert driver.rejected[-1].status == 408


def test_the_wall_clock_is_rendered_once_a_second_for_everybody() -> None:
    defaults = DefaultFields()
    defaults.refresh(784111777.9)
    first = Driver(defaults=defaults).feed(get()).answers[0]
    assert first.get(b"date") == b"Sun, 06 Nov 1994 08:49:37 GMT"
    defaults.refresh(784111778.0)
    assert Driver(defaults=defaults).feed(get()).answers[0].get(b"date") == b"Sun, 06 Nov 1994 08:49:38 GMT"
