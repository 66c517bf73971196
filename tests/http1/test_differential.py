"""Requests broken at random: both parsers and every split must agree, and nothing may raise."""

from __future__ import annotations

import random

import pytest

import tests.http1.cases_semantics  # noqa: F401  # adds its cases to the table
from keepserve.wire.engine import Ending
from tests.http1.cases import CASES
from tests.support.driver import PARSER_NAMES, Driver, Outcome

ROUNDS = 1500
SEEDS = [
    case.raw
    for case in CASES
    if len(case.raw) < 400 and not case.limits and not case.name.startswith(("row 4", "row 19"))
]
PIECES = [
    *(
        b"\r\n",
        b"\r",
        b"\n",
        b" ",
        b"\t",
        b":",
        b",",
        b";",
        b'"',
        b"\\",
        b"\x00",
        b"\x7f",
        b"\x80",
        b"#",
        b"?",
        b"%",
        b"@",
        b"/",
    ),
    *(
        b"0",
        b"1",
        b"f",
        b"-",
        b"+",
        b"\x0b",
        b"\r\n\r\n",
        b"\r\n ",
        b"[",
        b"]",
        b"*",
        b"HTTP/1.0",
        b"HTTP/1.1",
        b"http://a",
    ),
    *(
        b"Content-Length: 3\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Connection: close\r\n",
        b"Connection: upgrade\r\n",
    ),
    *(
        b"Host: a\r\n",
        b"Upgrade: x\r\n",
        b"Expect: 100-continue\r\n",
        b"0\r\n\r\n",
        b"3\r\nabc\r\n",
        b"A: b\r\n",
        b"keep-alive",
    ),
    *(b"Proxy-Connection: close\r\n", b"Proxy-Connection: keep-alive\r\n", b"TE: trailers\r\n", b"Trailer: a\r\n"),
]


def mutate(raw: bytes, dice: random.Random) -> bytes:
    """Break a request in one to four places."""
    data = bytearray(raw)
    for _ in range(dice.randint(1, 4)):
        place = dice.randrange(len(data) + 1)
        kind = dice.randrange(6)
        if kind == 0:
            data[place:place] = dice.choice(PIECES)
        elif kind == 1:
            data[place : place + dice.randint(1, 4)] = b""
        elif kind == 2 and place < len(data):
            data[place] = dice.randrange(256)
        elif kind == 3 and place < len(data):
            data[place] ^= 0x20
        elif kind == 4:
            end = min(len(data), place + dice.randint(1, 30))
            data[place:place] = data[place:end]
        else:
            data[place:place] = dice.choice(SEEDS)[: dice.randint(1, 60)]
    return bytes(data)


def run(parser: str, pieces: list[bytes]) -> Outcome:
    return Driver(parser).feed(*pieces).outcome()


@pytest.mark.parametrize("seed", range(4))
def test_both_parsers_and_every_split_agree_on_broken_requests(seed: int) -> None:
    dice = random.Random(seed)
    for _ in range(ROUNDS // 4):
        raw = mutate(dice.choice(SEEDS), dice)
        if dice.random() < 0.3:
            raw += dice.choice(SEEDS)
        if not raw:
            continue
        expected = run("httptools", [raw])
        cuts = sorted(dice.sample(range(len(raw) + 1), min(len(raw), dice.randint(1, 5))))
        pieces = [raw[start:end] for start, end in zip([0, *cuts], [*cuts, len(raw)], strict=True) if start < end]
        for parser in PARSER_NAMES:
            assert run(parser, [raw]) == expected, (parser, "whole", raw)
            assert run(parser, pieces) == expected, (parser, pieces)
        assert run("httptools", [raw[index : index + 1] for index in range(len(raw))]) == expected, raw
        check_sane(expected, raw)


def check_sane(outcome: Outcome, raw: bytes) -> None:
    """Whatever came: well-formed answers, one for each request, and the close announced on the last."""
    answers = outcome.answers
    refused = outcome.fate == "bad_request"
    assert len(answers) == len(outcome.seen) + refused, raw
    for index, answer in enumerate(answers):
        last = index == len(answers) - 1
        assert answer.closes is (last and outcome.fate not in ("kept", "waiting")), raw
        assert answer.status == 200 or (last and 400 <= answer.status < 506), raw
    for seen in outcome.seen:
        names = [name for name, _ in seen.fields]
        assert names.count(b"host") <= 1
        assert not (b"content-length" in names and b"transfer-encoding" in names)
        assert all(name == name.lower() for name in names)
        assert all(value == value.strip(b" \t") for _, value in seen.fields), raw
        assert seen.target.startswith(b"/") or seen.target == b"*"


def test_noise_is_refused_and_never_raises() -> None:
    dice = random.Random(0)
    for _ in range(300):
        driver = Driver(dice.choice(PARSER_NAMES))
        for _ in range(5):
            driver.feed(dice.randbytes(dice.randint(1, 200)))
        driver.flush().at(1000.0).flush().at(2000.0)
        assert driver.ending != Ending.OPEN


def test_one_connections_input_never_shows_in_anothers_outcome() -> None:
    """All connections of a worker share a parser: whatever one leaves in it, the next must not meet."""
    good = b"GET /good HTTP/1.1\r\nHost: x\r\n\r\n"
    for parser in PARSER_NAMES:
        for raw in SEEDS:
            Driver(parser).feed(raw)
            outcome = Driver(parser).feed(good).outcome()
            assert (outcome.statuses, outcome.fate) == ([200], "kept"), raw
