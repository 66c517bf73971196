"""Responses on the wire: framing, the server's own fields, and what an application may not send."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from keepserve.http1.response import DefaultFields
from keepserve.telemetry.reasons import CloseReason
from keepserve.wire.engine import Ending, ResponseError
from tests.http1.cases import HOST, get
from tests.support.answers import Answer, read_answers
from tests.support.driver import STREAM, Driver

Fields = list[tuple[Any, Any]]


def asked(raw: bytes = get(), **more: Any) -> Driver:
    """A connection with one request waiting for its answer."""
    return Driver(app=None, **more).feed(raw)


def head_request() -> bytes:
    return b"HEAD" + get()[3:]


def only(driver: Driver) -> Answer:
    (answer,) = driver.answers
    return answer


# Framing.


def test_a_body_known_at_once_has_its_length() -> None:
    answer = only(asked().respond(200, b"hello", [(b"content-type", b"text/plain")]))
    assert (answer.get(b"content-length"), answer.body, answer.framing) == (b"5", b"hello", "length")


def test_an_empty_body_has_length_zero() -> None:
    assert only(asked().respond(200)).get(b"content-length") == b"0"


def test_the_applications_length_is_sent_once() -> None:
    answer = only(asked().respond(200, b"hello", [(b"Content-Length", b"5"), (b"content-length", b"5")]))
    assert answer.all(b"content-length") == [b"5"]


def test_a_body_that_comes_in_parts_is_chunked() -> None:
    driver = asked().respond(200, b"", complete=False).send(b"hel").send(b"").send(b"lo").send(b"", True)
    assert driver.sent == b""
    answer = only(driver)
    assert (answer.framing, answer.body, answer.whole) == ("chunked", b"hello", True)
    assert driver.sent.endswith(b"\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n")
    assert driver.engine.idle


def test_a_body_that_comes_in_parts_with_a_length_is_not_chunked() -> None:
    driver = asked().respond(200, b"he", [(b"content-length", b"5")], complete=False).send(b"l").send(b"lo", True)
    assert (only(driver).framing, only(driver).body) == ("length", b"hello")
    assert driver.engine.idle


@pytest.mark.parametrize("length", [15 * 1024, 16 * 1024, 16 * 1024 + 1, 1 << 20])
def test_large_bodies_arrive_whole(length: int) -> None:
    body = bytes(range(256)) * (length // 256 + 1)
    assert only(asked().respond(200, body)).body == body
    driver = asked().respond(200, body, complete=False).send(body, True)
    assert only(driver).body == body + body


def test_an_http_1_0_client_gets_no_chunks_but_the_close() -> None:
    driver = asked(get(b"Connection: keep-alive", version=b"HTTP/1.0"))
    driver.respond(200, b"hel", complete=False).send(b"lo").send(b"", True)
    answer = only(driver)
    assert (answer.framing, answer.body, answer.closes) == ("close", b"hello", True)
    assert (driver.reason, driver.ending) == (CloseReason.LENGTH_UNKNOWN, Ending.LINGER)


def test_an_http_1_0_client_that_keeps_alive_is_told_so() -> None:
    driver = asked(get(b"Connection: keep-alive", version=b"HTTP/1.0")).respond(200, b"hello")
    assert only(driver).get(b"connection") == b"keep-alive"
    assert driver.engine.idle


@pytest.mark.parametrize("parts", [1, 2])
def test_head_has_the_fields_of_get_and_no_body(parts: int) -> None:
    driver = asked(head_request())
    if parts == 1:
        driver.respond(200, b"hello")
        assert only(driver).get(b"content-length") == b"5"
    else:
        driver.respond(200, b"hello", [(b"content-length", b"10")], complete=False).send(b"world", True)
        assert only(driver).get(b"content-length") == b"10"
    assert only(driver).body == b""
    assert driver.engine.idle


def test_head_with_a_length_and_no_body_is_no_lie() -> None:
    driver = asked(head_request()).respond(200, b"", [(b"content-length", b"12345")])
    assert only(driver).get(b"content-length") == b"12345"
    assert driver.engine.idle


@pytest.mark.parametrize("status", [204, 304])
@pytest.mark.parametrize("body", [b"", b"nobody gets this"])
@pytest.mark.parametrize("complete", [True, False])
@pytest.mark.parametrize("fields", [[], [(b"content-length", b"5")], [(b"transfer-encoding", b"chunked")]])
def test_204_and_304_have_no_body(status: int, body: bytes, complete: bool, fields: Fields) -> None:
    driver = asked().respond(status, body, fields, complete)
    if not complete:
        driver.send(b"more", True)
    answer = only(driver)
    assert answer.framing == "none"
    assert driver.engine.idle
    driver.feed(get()).respond(200, b"next")
    assert driver.statuses == [status, 200]


def test_304_may_say_how_long_the_body_would_be() -> None:
    assert only(asked().respond(304, b"", [(b"content-length", b"5")])).get(b"content-length") == b"5"


# Lies about the length.


@pytest.mark.parametrize(("body", "complete"), [(b"hello!", True), (b"hello!", False), (b"hell", True), (b"", True)])
def test_a_length_that_is_wrong_at_once_is_refused_and_nothing_is_sent(body: bytes, complete: bool) -> None:
    driver = asked()
    with pytest.raises(ResponseError, match="Content-Length is 5, but its body has"):
        driver.respond(200, body, [(b"content-length", b"5")], complete)
    assert driver.answers == []
    assert only(driver.respond(500, b"sorry")).status == 500


def test_too_much_body_is_cut_to_the_promise_and_ends_the_connection() -> None:
    driver = asked(get() + get()).respond(200, b"hel", [(b"content-length", b"5")], complete=False)
    with pytest.raises(ResponseError, match="longer than its Content-Length, by 1 bytes"):
        driver.send(b"lo!", True)
    answer = only(driver)
    assert (answer.body, answer.whole) == (b"hello", True)
    assert (driver.reason, driver.ending) == (CloseReason.APP_FRAMING, Ending.LINGER)
    assert len(driver.proceed().seen) == 1


def test_too_little_body_ends_the_connection_so_that_the_client_notices() -> None:
    driver = asked(get() + get()).respond(200, b"hel", [(b"content-length", b"5")], complete=False)
    with pytest.raises(ResponseError, match="ended 1 bytes short"):
        driver.send(b"l", True)
    assert not only(driver).whole
    assert (driver.reason, driver.ending) == (CloseReason.APP_FRAMING, Ending.LINGER)
    assert len(driver.proceed().seen) == 1


def test_too_little_body_before_trailers_is_noticed_too() -> None:
    driver = asked().respond(200, b"hel", [(b"content-length", b"5")], complete=False)
    with pytest.raises(ResponseError, match="ended 2 bytes short"):
        driver.engine.send_trailers(STREAM, [(b"x-sum", b"1")])
    assert (driver.reason, driver.ending) == (CloseReason.APP_FRAMING, Ending.LINGER)


@pytest.mark.parametrize("value", [b"-1", b"", b"5, 5", b"+5", b" 5", b"5 ", b"0x5", b"five", "5", 5, None])
def test_a_length_that_is_no_number_is_refused(value: object) -> None:
    driver = asked()
    with pytest.raises(
        ResponseError, match=r"Content-Length must be a plain decimal number|content-length.* must be bytes"
    ):
        driver.respond(200, b"hello", [(b"content-length", value)])  # type: ignore[list-item]
    assert driver.answers == []


def test_two_lengths_that_differ_are_refused() -> None:
    with pytest.raises(ResponseError, match="two Content-Length fields, 5 and 6"):
        asked().respond(200, b"hello", [(b"content-length", b"5"), (b"Content-Length", b"6")])


# Fields.


def test_hop_by_hop_fields_of_the_application_are_not_passed_on() -> None:
    fields = [
        (b"Transfer-Encoding", b"gzip, chunked"),
        (b"keep-alive", b"timeout=1000"),
        (b"Proxy-Connection", b"close"),
        (b"connection", b"keep-alive, X-Private"),
        (b"x-kept", b"1"),
    ]
    driver = asked(defaults=DefaultFields(date=False, advertise=60)).respond(200, b"x", fields)
    answer = only(driver)
    assert answer.all(b"transfer-encoding") == answer.all(b"proxy-connection") == []
    assert answer.get(b"keep-alive") == b"timeout=60"
    assert answer.get(b"connection") == b"keep-alive"
    assert answer.get(b"x-kept") == b"1"
    assert driver.engine.idle


@pytest.mark.parametrize("value", [b"close", b"Close", b"x, CLOSE ,y"])
def test_an_application_may_ask_for_the_close(value: bytes) -> None:
    driver = asked().respond(200, b"x", [(b"Connection", value)])
    assert only(driver).all(b"connection") == [b"close"]
    assert (driver.reason, driver.ending) == (CloseReason.APP_ASKED, Ending.LINGER)


def test_keep_alive_is_advertised_only_while_the_connection_is_kept() -> None:
    defaults = DefaultFields(date=False, advertise=60)
    driver = asked(defaults=defaults, max_requests=2).respond(200).feed(get()).respond(200)
    first, last = driver.answers
    assert (first.get(b"connection"), first.get(b"keep-alive")) == (b"keep-alive", b"timeout=60")
    assert (last.get(b"connection"), last.get(b"keep-alive")) == (b"close", None)


def test_the_servers_own_fields_can_be_switched_off() -> None:
    on = only(asked(defaults=DefaultFields()).respond(200))
    assert on.get(b"server") == b"keepserve"
    assert on.get(b"date") == b"Thu, 01 Jan 1970 00:00:00 GMT"
    off = only(asked(defaults=DefaultFields(server=False, date=False)).respond(200))
    assert off.get(b"server") is None
    assert off.get(b"date") is None


@pytest.mark.parametrize(
    "fields", [[(b"Date", b"yesterday")], [(b"SERVER", b"mine")], [(b"date", b"yesterday"), (b"server", b"mine")]]
)
@pytest.mark.parametrize("closing", [True, False])
def test_an_application_may_send_date_and_server_itself(fields: Fields, closing: bool) -> None:
    defaults = DefaultFields(advertise=60, extra=[(b"x-extra", b"1")])
    answer = only(asked(defaults=defaults, max_requests=1 if closing else 0).respond(200, b"", fields))
    own = {name.lower(): value for name, value in fields}
    assert answer.get(b"date") == own.get(b"date", b"Thu, 01 Jan 1970 00:00:00 GMT")
    assert answer.get(b"server") == own.get(b"server", b"keepserve")
    assert answer.get(b"x-extra") == b"1"
    assert answer.closes is closing


def test_the_operators_fields_are_on_every_answer_even_on_refusals() -> None:
    defaults = DefaultFields(date=False, extra=[(b"X-A", b"1"), (b"X-B", b"2")])
    driver = asked(get() + get(host=b""), defaults=defaults).respond(200).proceed()
    for answer in driver.answers:
        assert (answer.get(b"x-a"), answer.get(b"x-b")) == (b"1", b"2")
    assert driver.statuses == [200, 400]


def test_names_and_values_go_out_as_they_came() -> None:
    fields = [(b"X-MiXed", b"a"), (b"set-cookie", b"a=1"), (b"set-cookie", b"b=2"), (b"x", b""), (b"y", b"\xe9\t;")]
    driver = asked().respond(200, b"", fields)
    assert only(driver).all(b"set-cookie") == [b"a=1", b"b=2"]
    assert b"\r\nX-MiXed: a\r\nset-cookie: a=1\r\nset-cookie: b=2\r\nx: \r\ny: \xe9\t;\r\n" in driver.sent


SPLITTING = [
    b"a\r\nb: c",
    b"a\nb",
    b"a\rb",
    b"\r\n",
    b"\n",
    b"\r",
    b"a\r\n\r\n<html>",
    b"a\x00",
    b"\x01",
    b"\x7f",
    b"a\r\n",
]


@pytest.mark.parametrize("value", SPLITTING)
@pytest.mark.parametrize("name", [b"location", b"date", b"server", b"content-type"])
def test_a_value_that_would_split_the_response_is_refused(name: bytes, value: bytes) -> None:
    driver = asked()
    with pytest.raises(ResponseError, match="control character, which could split the response"):
        driver.respond(302, b"", [(b"x-before", b"1"), (name, value)])
    assert driver.answers == []
    assert only(driver.respond(500)).status == 500


@pytest.mark.parametrize("name", [b"a\r\nb", b"a b", b"a:", b":", b"", b"a\x00", b"\xe9", b"a\n", b" a", b"a "])
def test_a_name_that_is_no_name_is_refused(name: bytes) -> None:
    driver = asked()
    with pytest.raises(ResponseError, match="holds a byte that no field name may hold"):
        driver.respond(200, b"", [(name, b"1")])
    assert driver.answers == []


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ([("x", b"1")], "name must be bytes, not str: 'x'"),
        ([(1, b"1")], "name must be bytes, not int: 1"),
        ([(None, b"1")], "name must be bytes, not NoneType"),
        ([(b"x", "1")], "value of the response field b'x' must be bytes, not str: '1'"),
        ([(b"x", 1)], "value of the response field b'x' must be bytes, not int: 1"),
        ([(b"x", None)], "value of the response field b'x' must be bytes, not NoneType"),
        ([(b"connection", "close")], "value of the response field b'connection' must be bytes, not str"),
        ([(b"x", b"1", b"2")], "pairs"),
        ([b"x"], "pairs"),
        ([None], "pairs"),
        ([(bytearray(b"x"), b"1")], "must be bytes, not bytearray"),
        ([([b"x"], b"1")], "must be bytes, not list"),
    ],
)
def test_fields_of_a_wrong_type_get_a_sentence(fields: Any, says: str) -> None:
    driver = asked()
    with pytest.raises(ResponseError, match=says):
        driver.respond(200, b"", fields)
    assert driver.answers == []
    assert only(driver.respond(500)).status == 500


@pytest.mark.parametrize("status", [0, 99, 1000, -1, "200", None, 200.5, b"200"])
def test_a_status_that_is_none_gets_a_sentence(status: Any) -> None:
    driver = asked()
    with pytest.raises(ResponseError, match="status must be"):
        driver.respond(status)
    assert driver.answers == []


@pytest.mark.parametrize("status", [100, 101, 103, 199])
def test_an_interim_status_is_no_response(status: int) -> None:
    with pytest.raises(ResponseError, match="must be final, 200 or above"):
        asked().respond(status)


@pytest.mark.parametrize(
    ("status", "phrase"),
    [
        (200, "OK"),
        (413, "Content Too Large"),
        (414, "URI Too Long"),
        (422, "Unprocessable Content"),
        (418, "I'm a Teapot"),
    ],
)
def test_standard_phrases(status: int, phrase: str) -> None:
    assert only(asked().respond(status)).reason == phrase


@pytest.mark.parametrize("status", [299, 499, 599, 999])
def test_a_status_nobody_knows_is_sent_without_a_phrase(status: int) -> None:
    answer = only(asked().respond(status))
    assert (answer.status, answer.reason) == (status, "")


# Interim responses and trailers.


def test_early_hints_go_before_the_response() -> None:
    driver = asked()
    driver.engine.inform(STREAM, 103, [(b"link", b"</a.css>; rel=preload")])
    driver.respond(200, b"x")
    hint, answer = driver.answers
    assert (hint.status, hint.reason, hint.fields) == (103, "Early Hints", [(b"link", b"</a.css>; rel=preload")])
    assert answer.status == 200


@pytest.mark.parametrize("when", ["1.0", "begun", "done"])
def test_no_interim_response_where_none_may_be(when: str) -> None:
    driver = asked(get(version=b"HTTP/1.0") if when == "1.0" else get())
    if when != "1.0":
        driver.respond(200, b"", complete=when == "done")
    driver.engine.inform(STREAM, 103, [])
    if when == "1.0":
        driver.respond(200)
    assert driver.statuses == [200]


@pytest.mark.parametrize("value", SPLITTING)
def test_interim_fields_and_trailers_cannot_split_either(value: bytes) -> None:
    driver = asked()
    with pytest.raises(ResponseError, match="control character"):
        driver.engine.inform(STREAM, 103, [(b"link", value)])
    driver.respond(200, b"x", complete=False)
    with pytest.raises(ResponseError, match="control character"):
        driver.engine.send_trailers(STREAM, [(b"x", value)])


def test_trailers_end_a_chunked_body() -> None:
    driver = asked().respond(200, b"x", complete=False)
    driver.engine.send_trailers(STREAM, [(b"x-sum", b"1"), (b"x-b", b"2")])
    answer = only(driver)
    assert (answer.body, answer.whole, answer.trailers) == (b"x", True, [(b"x-sum", b"1"), (b"x-b", b"2")])
    assert driver.engine.idle


# A response that cannot be finished.


@pytest.mark.parametrize(
    ("begin", "ending"),
    [
        (lambda driver: driver.respond(200, b"x", complete=False), Ending.LINGER),
        (lambda driver: driver.respond(200, b"x", [(b"content-length", b"5")], complete=False), Ending.LINGER),
    ],
    ids=["chunked", "length"],
)
def test_a_response_cut_short_shows(begin: Callable[[Driver], Driver], ending: Ending) -> None:
    driver = begin(asked())
    driver.engine.abandon(STREAM, CloseReason.APP_FAILED)
    assert not only(driver).whole
    assert (driver.reason, driver.ending) == (CloseReason.APP_FAILED, ending)


def test_a_response_that_the_close_would_seem_to_finish_is_cut_with_a_reset() -> None:
    driver = asked(get(version=b"HTTP/1.0")).respond(200, b"x", complete=False)
    driver.engine.abandon(STREAM, CloseReason.APP_FAILED)
    assert driver.ending == Ending.RESET


def test_the_servers_own_answers_are_short_plain_text_that_says_what_was_wrong() -> None:
    answer = only(Driver().feed(b"GET / HTTP/1.1\r\n" + HOST + HOST + b"\r\n"))
    assert answer.get(b"content-type") == b"text/plain; charset=utf-8"
    assert answer.text == "The field host stands more than once.\n"
    assert answer.closes


def test_a_refused_body_of_a_head_request_is_answered_without_a_body() -> None:
    driver = asked(b"HEAD" + get(b"Transfer-Encoding: chunked")[3:]).feed(b"x")
    (answer,) = read_answers(driver.outcome().out, [b"HEAD"])
    assert answer.status == 400
