"""Each kind of value: from text, and as a Python object."""

from pathlib import Path
from typing import Any

import pytest

from keepserve.config.settings import FIELDS_BY_NAME


def check(name: str, value: object) -> Any:
    return FIELDS_BY_NAME[name].check(value)


@pytest.mark.parametrize("text", ["1", "true", "YES", "on", " True "])
def test_words_for_yes(text: str) -> None:
    assert check("access_log", text) is True


@pytest.mark.parametrize("text", ["0", "false", "No", "OFF"])
def test_words_for_no(text: str) -> None:
    assert check("access_log", text) is False


@pytest.mark.parametrize("text", ["maybe", "2", "y"])
def test_other_words_are_neither(text: str) -> None:
    with pytest.raises(ValueError, match="neither yes nor no: write 1, true, yes or on, or 0"):
        check("access_log", text)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("port", "8080", 8080),
        ("port", 0, 0),
        ("keep_alive_timeout", 65, 65.0),
        ("keep_alive_timeout", "1m", 60.0),
        ("limit_request_head", "64KiB", 65536),
        ("body_min_rate", "1k", 1024),
        ("uds_permissions", "0660", 0o660),
        ("uds_permissions", "600", 0o600),
        ("uds_permissions", 0o600, 0o600),
        ("log_level", "WARNING", "warning"),
        ("log_level", 30, "warning"),
        ("log_level", "5", "trace"),
        ("ssl_cert_reqs", 2, "required"),
        ("ssl_cert_reqs", "1", "optional"),
        ("bind", "a:1, b:2", ("a:1", "b:2")),
        ("bind", ["a:1"], ("a:1",)),
        ("forwarded_allow_ips", "10.0.0.1, 10.1.0.0/16,unix", ("10.0.0.1", "10.1.0.0/16", "unix")),
        ("forwarded_allow_ips", "*", ("*",)),
        ("forwarded_allow_ips", "::1", ("::1",)),
        ("header", "X-A: 1\nX-B: a, b", ("X-A: 1", "X-B: a, b")),
        ("header", [("X-A", "1"), (b"X-B", b"\xe9")], ("X-A: 1", "X-B: \xe9")),
        ("ssl_keyfile", Path("key.pem"), "key.pem"),
        ("workers", "3", 3),
    ],
)
def test_values_people_write_are_understood(name: str, value: object, expected: object) -> None:
    assert check(name, value) == expected


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("port", "http", "is not a whole number"),
        ("port", "65536", "65536 is too large: at most 65535"),
        ("port", True, "a whole number was expected"),
        ("port", 8000.0, "a whole number was expected"),
        ("port", "-1", "too small: at least 0"),
        ("workers", "0", "0 is too small: at least 1"),
        ("workers", "many", "is not a whole number, nor is it auto"),
        ("keep_alive_timeout", "0", "0 s is too small: it must be more than 0"),
        ("keep_alive_timeout", -1, "seconds of 0 or more"),
        ("keep_alive_timeout", float("inf"), "seconds of 0 or more"),
        ("keep_alive_timeout", float("nan"), "seconds of 0 or more"),
        ("keep_alive_timeout", True, "seconds of 0 or more"),
        ("limit_request_line", "1", "1 B is too small: at least 64 B"),
        ("uds_permissions", "rw", "is not an octal file mode"),
        ("uds_permissions", "1777", "too large: at most 0777"),
        ("log_level", "inof", 'did you mean "info"'),
        ("log_level", 7, "one of critical, error"),
        ("lifespan", "maybe", "is not one of auto, on, off"),
        ("forwarded_allow_ips", "10.0.0.1/8", "has host bits set"),
        ("forwarded_allow_ips", "example.org", "is not a peer to trust"),
        ("header", "no colon", 'write "Name: value"'),
        ("header", "Bad Name: x", 'write "Name: value"'),
        ("header", ["X: a\r\nEvil: b"], "control or non-Latin-1"),
        ("header", ["X: \u20ac"], "control or non-Latin-1"),
        ("header", "Transfer-Encoding: chunked", "keepserve's own to send"),
        ("bind", 8000, "a list of texts was expected"),
        ("bind", [8000], "a list of texts was expected"),
        ("host", 1, "text was expected"),
        ("access_log", "", "neither yes nor no"),
        ("access_log", 1, "True or False was expected"),
    ],
)
def test_values_that_cannot_be_meant_are_refused_with_a_sentence(name: str, value: object, words: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        check(name, value)
    assert words in str(caught.value)


def test_workers_auto_is_the_cpus_that_can_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keepserve.config.kinds.usable_cpus", lambda: 7)
    assert check("workers", "auto") == 7
    assert check("workers", "AUTO") == 7


def test_secrets_are_never_shown() -> None:
    assert FIELDS_BY_NAME["ssl_keyfile_password"].show("hunter2") == "(hidden)"
