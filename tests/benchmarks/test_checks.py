"""The client that checks: what it lets pass, and what it does not."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest

from tests.bench import checks
from tests.bench.checks import Answer, Ask, WrongAnswer, check, judge, wait_until_right, watched
from tests.bench.setups import Setup, Target

RIGHT = {"content-type": "text/plain; charset=utf-8", "content-length": "13"}
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\n"


@contextlib.contextmanager
def saying(answer: bytes) -> Iterator[Target]:
    """A server that gives one answer, whatever is asked, and closes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield Target("fake", Setup(), listener.getsockname()[1], 0)
        finally:
            thread.join()


def test_the_right_answer_passes() -> None:
    judge(Ask(), Answer(200, RIGHT, b"Hello, world!"))


def test_an_answer_may_come_without_a_length() -> None:
    judge(Ask(), Answer(200, {"content-type": "text/plain"}, b"Hello, world!"))


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (Answer(500, RIGHT, b"Hello, world!"), "status 500 instead of 200 for GET /"),
        (Answer(200, RIGHT, b"Hello, World!"), "a body of 13 bytes beginning with b'Hello, World!'"),
        (Answer(200, RIGHT, b"Hello"), "a body of 5 bytes"),
        (Answer(200, {**RIGHT, "content-length": "12"}, b"Hello, world!"), "Content-Length 12 instead of 13"),
        (Answer(200, {}, b"Hello, world!"), "Content-Type '' instead of 'text/plain'"),
    ],
)
def test_a_wrong_answer_is_told_apart_by_status_fields_and_body(answer: Answer, sentence: str) -> None:
    with pytest.raises(WrongAnswer, match=sentence):
        judge(Ask(), answer)


def test_a_whole_answer_passes_over_a_socket() -> None:
    with saying(HEAD + b"Hello, world!") as target:
        check(target, Ask())


@pytest.mark.parametrize("answer", [HEAD + b"Hello", b"nonsense\r\n\r\n", b""], ids=["cut off", "no HTTP", "nothing"])
def test_what_is_no_whole_response_is_no_right_answer(answer: bytes) -> None:
    with saying(answer) as target, pytest.raises((WrongAnswer, OSError)):
        check(target, Ask())


def test_one_wrong_answer_while_measuring_is_found_however_many_are_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "_PERIOD", 0.0001)
    enough = threading.Event()
    count = 0

    def look() -> None:
        nonlocal count
        count += 1
        if count == 3:
            raise WrongAnswer("status 503 instead of 200")
        if count > 5:
            enough.set()

    with pytest.raises(WrongAnswer, match=r"1 wrong answers while measuring, the first: status 503"), watched(look):
        assert enough.wait(10)


def test_an_error_of_the_measurement_itself_is_not_hidden_by_the_checks() -> None:
    with pytest.raises(WrongAnswer, match="of the load"), watched(lambda: None):
        raise WrongAnswer("an error of the load")


def test_a_server_that_does_not_listen_yet_is_waited_for() -> None:
    answers = iter([ConnectionRefusedError(), ConnectionRefusedError(), None])

    def look() -> None:
        error = next(answers)
        if error is not None:
            raise error

    wait_until_right(look, lambda: True, 10, 0)
    assert list(answers) == []


def test_a_server_that_answers_wrongly_or_ended_is_not_waited_for() -> None:
    def wrong() -> None:
        raise WrongAnswer("status 500 instead of 200")

    def refused() -> None:
        raise ConnectionRefusedError

    with pytest.raises(WrongAnswer, match="status 500"):
        wait_until_right(wrong, lambda: True, 10)
    with pytest.raises(WrongAnswer, match="it ended"):
        wait_until_right(refused, lambda: False, 10)
    with pytest.raises(WrongAnswer, match="no answer within"):
        wait_until_right(refused, lambda: True, -1)
