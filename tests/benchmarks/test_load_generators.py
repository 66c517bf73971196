"""What wrk and h2load are told, and what is read from what they print."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from tests.bench import h2load, wrk
from tests.bench.checks import Ask, WrongAnswer
from tests.bench.processes import Unavailable

WRK = """\
Running 2s test @ http://127.0.0.1:9311/
  1 threads and 64 connections
Requests/sec:  29099.89
Transfer/sec:      2.16MB
keepserve-bench {"requests": 59718, "bytes": 4658004, "microseconds": 2000000, "connect": 0, "read": 0, \
"write": 0, "status": 0, "timeout": 0, "wrong": 0}
"""

H2LOAD = """\
finished in 3.00s, 40608.00 req/s, 3.64MB/s
requests: 81216 total, 81216 started, 81216 done, {succeeded} succeeded, {failed} failed, 0 errored, 0 timeout
status codes: {good} 2xx, 0 3xx, 0 4xx, {bad} 5xx
traffic: 7.28MB (7634304) total, 7.48MB (7842240) headers (space savings 34.38%), 1.54MB ({data}) data
"""


def h2load_run(succeeded: int = 81216, failed: int = 0, bad: int = 0, data: int = 1618240) -> h2load.Run:
    """What is read from a run like that."""
    return h2load.read_run(
        H2LOAD.format(succeeded=succeeded, failed=failed, good=succeeded - bad, bad=bad, data=data)
    )


def test_the_figures_of_wrk_come_from_its_script_not_from_what_it_rounds() -> None:
    run = wrk.read_run(WRK)
    assert (run.requests, run.rate, run.size) == (59718, 29859.0, 78.0)


def test_wrk_without_its_script_has_no_figures() -> None:
    with pytest.raises(Unavailable, match="did not run its script"):
        wrk.read_run(WRK.replace("keepserve-bench", ""))


def test_a_clean_run_of_wrk_is_accepted() -> None:
    wrk.judge_run(wrk.read_run(WRK), 78.0, 64)


@pytest.mark.parametrize("trouble", ["connect", "read", "write", "status", "timeout", "wrong"])
def test_any_error_wrk_counts_ends_a_server_s_rank(trouble: str) -> None:
    run = dataclasses.replace(wrk.read_run(WRK), **{trouble: 1})
    with pytest.raises(WrongAnswer, match=r"^1 .* among 59,718 requests"):
        wrk.judge_run(run, 78.0, 64)


def test_answers_shorter_or_longer_than_those_compared_are_wrong() -> None:
    run = wrk.read_run(WRK)
    for size in (70.0, 90.0):
        with pytest.raises(WrongAnswer, match=r"answers of 78.0 bytes instead of"):
            wrk.judge_run(run, size, 64)


def test_a_run_without_any_answer_is_an_error() -> None:
    with pytest.raises(WrongAnswer, match="no answer at all"):
        wrk.judge_run(dataclasses.replace(wrk.read_run(WRK), requests=0), None, 64)


def test_only_the_verifying_script_compares_every_response() -> None:
    assert "response = function" not in wrk.script(Ask(), None)
    verifying = wrk.script(Ask(), Path("expected body"))
    assert 'io.open("expected body", "rb")' in verifying
    assert "body ~= expected" in verifying


def test_the_script_sends_method_fields_and_a_body_of_the_right_length() -> None:
    text = wrk.script(Ask("/echo", "POST", bytes(range(256)) * 2 + b"\x00", (("X-A", 'say "a"'),)), None)
    assert 'wrk.method = "POST"' in text
    assert 'wrk.headers["X-A"] = "say \\"a\\""' in text
    assert ", 3), 1, 513)" in text


def test_the_balancer_s_fields_are_twelve_with_host_and_the_two_unique_ones() -> None:
    assert len(wrk.BALANCER_FIELDS) + 3 == 12
    lines = "".join(f"{name}: {value}\r\n" for name, value in wrk.BALANCER_FIELDS)
    unique = len("X-Amzn-Trace-Id: Root=1-67891233-\r\nX-Request-Id: \r\n") + 24 + 32
    assert 600 < len(lines) + unique + len("GET / HTTP/1.1\r\nHost: 127.0.0.1:65535\r\n\r\n") < 800


def test_the_figures_of_h2load_are_read() -> None:
    run = h2load_run()
    assert (run.rate, run.done, run.bad, run.other, run.data) == (40608.0, 81216, 0, 0, 1618240)


def test_bodies_of_the_warm_up_may_be_counted_with_those_of_a_run() -> None:
    h2load.judge_run(h2load_run(), 13)


@pytest.mark.parametrize(
    ("run", "sentence"),
    [
        (h2load_run(succeeded=81206, failed=10), "10 failed requests"),
        (h2load_run(bad=7), "7 answers that are no 2xx"),
        (h2load_run(data=1618241), "not 13 for each"),
        (h2load_run(data=13 * 81215), "not 13 for each"),
    ],
)
def test_failed_requests_and_bodies_of_another_length_are_wrong(run: h2load.Run, sentence: str) -> None:
    with pytest.raises(WrongAnswer, match=sentence):
        h2load.judge_run(run, 13)


def test_h2load_without_figures_says_what_it_printed_instead() -> None:
    with pytest.raises(Unavailable, match="connection refused"):
        h2load.read_run("connection refused")


def test_responses_h2load_cannot_read_are_no_fault_of_the_server(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    output = H2LOAD.format(succeeded=0, failed=81216, good=0, bad=0, data=1618240)
    monkeypatch.setattr(h2load, "run_load", lambda command, cpu, seconds: output)
    monkeypatch.setattr(h2load, "need", lambda program, package: program)
    with pytest.raises(Unavailable, match="without a reason phrase"):
        h2load.at_rate("http://127.0.0.1:1/", 64, 6400.0, 1, "", tmp_path / "log")


def test_the_rate_is_shared_out_among_the_connections_and_every_latency_is_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    log, commands = tmp_path / "log", []

    def run_load(command: list[str], cpu: str, seconds: float) -> str:
        commands.append(command)
        log.write_text("1795568111287822\t200\t459\n1795568111287813\t200\t460\n")
        return H2LOAD.format(succeeded=81216, failed=0, good=81216, bad=0, data=1618240)

    monkeypatch.setattr(h2load, "run_load", run_load)
    monkeypatch.setattr(h2load, "need", lambda program, package: program)
    run, latencies = h2load.at_rate("http://127.0.0.1:1/", 64, 6400.0, 1, "", log)
    assert (run.done, latencies) == (81216, [459, 460])
    assert "--rps=100.00" in commands[0]


def test_a_percentile_of_prompt_answers_is_theirs() -> None:
    assert h2load.percentile_at_rate(range(1, 101), 1000.0, 0.99) == 100


def test_requests_that_a_late_answer_kept_from_being_sent_count_with_the_rest_of_the_wait() -> None:
    # A stall of 10 ms at a request per ms: nine more would have waited, 9 ms, 8 ms, ...
    assert h2load.percentile_at_rate([*[10] * 90, 10_000], 1000.0, 0.92) == 3000
    # As h2load saw it, one request in 91 was late.
    assert h2load.percentile_at_rate([*[10] * 90, 10_000], 1e9, 0.92) == 10
