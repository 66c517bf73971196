"""``keepserve status``: what it shows of a server, how it asks, and how it ends."""

from __future__ import annotations

import contextlib
import http.server
import json
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from keepserve.admin.document import status as document_of
from keepserve.cli import main
from keepserve.cli.status_client import Unreachable, fetch, read_address, watch
from keepserve.cli.status_view import line, screen
from keepserve.config import ConfigError, Settings
from keepserve.server.addresses import BindAddress
from keepserve.server.phases import Phase
from keepserve.telemetry import counters
from keepserve.telemetry.reasons import CloseReason
from keepserve.telemetry.scoreboard import CONNECTIONS, LEAVING, STAGE, STOP_BEGAN, Scoreboard
from tests.admin.readings import NOW_NS, add_worker, board, read, two_workers

Document = dict[str, Any]


def served(requests: int = 200, now: float = 2000.0, seconds: float = 0.003) -> tuple[Scoreboard, Document]:
    """A server with two workers, 12 and 3 connections, which has answered ``requests``."""
    made = board()
    for number, held in enumerate((12, 3)):
        _, pen = add_worker(made, 101 + number, connections=held)
        words = pen.words
        words[counters.OPEN_1], words[counters.ACCEPTED], words[counters.REQUESTS_1] = held, held, requests // 2
        words[counters.ACTIVE], words[counters.LAG_MAX] = held // 3, 1_500
        for _ in range(requests // 2):
            pen.answered(b"GET", 200, seconds)
    return made, show(made, now=now)


def show(made: Scoreboard, **changes: Any) -> Document:
    changes = {
        "settings": Settings(lb="alb", workers=2),
        "pid": 100,
        "listening": ("http://127.0.0.1:8000",),
        **changes,
    }
    return document_of(read(made, **changes))


def lines(document: Document, *before: Document, **more: Any) -> dict[str, str]:
    """The lines of a screen by the word they begin with, without colours."""
    text = click.unstyle(screen(document, *before, **more))
    return {one[:13].strip(): one[13:] for one in text.splitlines() if one[:13].strip()}


# -- The screen


def test_the_screen_begins_with_state_age_and_address() -> None:
    shown = lines(served(now=1000.0 + 90061)[1])
    assert shown["keepserve"] == "serving for 1 d 1 h on http://127.0.0.1:8000 (version 1.2.3, supervisor 100)"
    assert shown["balancer"] == "alb: idle after 60 s, we after 80 s"


def test_workers_have_bars_as_long_as_their_connections_are_many() -> None:
    _, document = served()
    rows = [row for row in screen(document).splitlines() if row.strip().startswith(("101", "102"))]
    assert [(row.count("█"), row.count("░")) for row in rows] == [(8, 16), (2, 4)]
    assert [row.split()[0] for row in rows] == ["101", "102"]
    assert rows[0].split()[2:] == ["12", "4", "0", "100", "1.5", "ms", "38", "MiB"]
    plain = screen(document, unicode=False)
    assert plain.isascii()
    assert "#" * 8 + "-" * 16 in plain
    assert screen(show(board())).splitlines()[4].strip() == "none"


def test_a_worker_that_leaves_says_how_far_it_is() -> None:
    made, _ = served()
    words = counters.Counters(made.counters(1)).words
    made.seat(1)[STAGE], made.seat(1)[CONNECTIONS] = LEAVING, 0
    words[counters.PHASE], words[counters.LEAVING_NOW] = Phase.CLOSING, 1
    rows = screen(show(made)).splitlines()[4:6]
    assert rows[1].endswith("48 MiB  replaced, closing")
    assert "closing" not in rows[0]


def test_figures_are_of_all_time_and_rates_of_the_time_between() -> None:
    _, before = served(200)
    _, document = served(700, now=2002.0)
    alone = lines(document)
    assert alone["requests"] == "700 in all (2xx 700); 0 running"
    assert alone["reuse"].startswith("97.9 % of requests needed no new connection; 46.7 requests per connection, 685")
    assert lines(document, before)["requests"] == "250 a second; 700 in all (2xx 700); 0 running"
    assert alone["connections"] == "15 open (15 HTTP/1.1); 5 active, 10 idle; 15 accepted"


def test_latencies_are_those_of_the_time_between() -> None:
    made, before = served(200)
    assert lines(before)["latency"] == "half within 3.8 ms, 90 % within 4.8 ms, 99 % within 5.0 ms"
    assert lines(show(made, now=2001.0), before)["latency"] == "no request in this time"
    counters.Counters(made.counters(0)).answered(b"GET", 200, 40.0)
    assert lines(show(made, now=2001.0), before)["latency"].startswith("half within 35 s")
    assert lines(show(board()))["latency"] == "no request yet"


def test_a_server_that_was_started_anew_has_no_rates_from_before() -> None:
    _, before = served(200)
    _, document = served(700, now=2002.0)
    assert lines(document, {**before, "pid": 99})["requests"].startswith("700 in all")
    assert lines(document, {**before, "began": 5})["requests"].startswith("700 in all")
    assert lines(document, {**before, "now": 2002.0})["requests"].startswith("700 in all")


def test_close_reasons_come_with_the_most_frequent_first() -> None:
    made, _ = served()
    pen = counters.Counters(made.counters(0))
    for reason, times in ((CloseReason.EVICTED, 1), (CloseReason.PEER_CLOSED, 1200), (CloseReason.CUT, 1)):
        for _ in range(times):
            pen.closed(reason)
    assert lines(show(made, earlier=counters.Tally()))["closed"] == "peer_closed 1,200, cut 1, evicted 1"
    assert lines(served()[1])["closed"] == "none yet"


def test_idle_closes_are_columns_with_marks_at_both_timeouts() -> None:
    made, _ = served()
    pen = counters.Counters(made.counters(0))
    for seconds, times in ((60.1, 80), (2.5, 10), (80.1, 1)):
        for _ in range(times):
            pen.idled(seconds, by_us=seconds > 80)
    text = screen(show(made)).splitlines()
    place = next(number for number, one in enumerate(text) if one.startswith("idle closes"))
    columns, marks = text[place : place + 2]
    assert columns.endswith("|  91, 1 of them by us")
    assert marks.endswith("B the balancer 60 s, K ours 80 s")
    assert columns[marks.index("B")] == "█"
    assert columns[marks.index("K")] == "▁"
    assert columns.count(" ", columns.index("|"), columns.rindex("|")) == 30 - 3


def test_a_drain_shows_how_far_it_is() -> None:
    made, _ = served()
    made.common[STOP_BEGAN] = NOW_NS - 4_900_000_000
    document = show(made, settings=Settings(drain_timeout=7.0, drain_cancel=0.0, shutdown_timeout=0.0))
    shown = lines(document)
    assert shown["keepserve"].startswith("draining for ")
    assert (
        shown["drain"] == "█" * 17 + "░" * 7 + "  4.90 s of at most 7 s; 2 workers, 0 requests, 15 connections left"
    )
    assert "drain" not in lines(served()[1])


def test_warnings_stand_below_and_lines_keep_to_the_width() -> None:
    made, _ = served()
    pen = counters.Counters(made.counters(0))
    pen.words[counters.LB_IDLE_1] = 350_000
    for width in (80, 100, 160):
        text = click.unstyle(screen(show(made), width=width))
        assert "\n  ! The balancer closes idle connections as late as we do" in text
        assert max(len(one) for one in text.splitlines()[2:]) <= width
    assert lines(show(made))["balancer"].endswith("; it looks like 350 s over HTTP/1.1")


@pytest.mark.parametrize("unicode", [True, False])
def test_any_document_can_be_shown(unicode: bool) -> None:
    for made in (board(), two_workers()[0]):
        for settings in (Settings(), Settings(lb="none", lb_idle_timeout=0.0), Settings(keep_alive_timeout=4000.0)):
            document = show(made, settings=settings, memory={})
            shown, _, _ = screen(document, document, unicode=unicode).partition("  ! ")
            assert 10 < len(shown.splitlines()) < 24
            assert "\n" not in line(document, document)


def test_the_line_has_what_matters_most() -> None:
    _, before = served(200)
    _, document = served(700, now=2002.0)
    assert line(document) == ("serving  700 requests  15 connections (5 active)  p99 5.0 ms  reuse 97.9 %  2 workers")
    assert line(document, before).startswith("serving  250 requests/s  700 requests")


# -- Watching


class Times:
    """A clock that sleeping moves, and the end of patience."""

    def __init__(self, turns: int) -> None:
        self.now, self._turns, self.slept = 100.0, turns, list[float]()

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        self._turns -= 1
        if not self._turns:
            raise KeyboardInterrupt


def watched(answers: list[Document | Unreachable], *, terminal: bool = False) -> tuple[str, Times]:
    said: list[str] = []
    times = Times(len(answers))
    queue = iter(answers)

    def ask() -> Document:
        answer = next(queue)
        times.now += 0.25
        if isinstance(answer, Unreachable):
            raise answer
        return answer

    def draw(document: Document, before: Document | None) -> str:
        return f"{document['n']} after {before['n'] if before else '-'}"

    with contextlib.suppress(KeyboardInterrupt):
        watch(ask, said.append, interval=1.0, terminal=terminal, draw=draw, clock=times.clock, sleep=times.sleep)
    return "".join(said), times


def test_watching_says_a_line_for_each_look_at_even_times() -> None:
    text, times = watched([{"n": 1}, {"n": 2}, {"n": 3}])
    assert text == "1 after -\n2 after 1\n3 after 2\n"
    assert times.slept == [1.0, 0.75, 0.75]


def test_on_a_terminal_it_draws_in_the_same_place() -> None:
    text, _ = watched([{"n": 1}, {"n": 2}], terminal=True)
    assert text == "\x1b[2J\x1b[H1 after -\x1b[K\n\x1b[J\x1b[H2 after 1\x1b[K\n\x1b[J"


def test_a_server_that_goes_away_is_waited_for() -> None:
    text, _ = watched([{"n": 1}, Unreachable("Nobody answers."), {"n": 3}])
    assert text == "1 after -\nNobody answers.\n3 after 1\n"


def test_one_that_was_never_there_is_not() -> None:
    with pytest.raises(Unreachable):
        watched([Unreachable("Nobody answers.")])


# -- Asking


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("127.0.0.1:9090", "127.0.0.1:9090"),
        (":9090", "127.0.0.1:9090"),
        ("http://127.0.0.1:9090/", "127.0.0.1:9090"),
        ("http://[::1]:9090", "[::1]:9090"),
        ("unix:/run/admin.sock", "unix:/run/admin.sock"),
        ("server-7.internal:9090", "server-7.internal:9090"),
    ],
)
def test_the_address_is_written_as_for_the_server_or_as_it_shows_it(text: str, shown: str) -> None:
    assert str(read_address(text)) == shown


@pytest.mark.parametrize("text", ["9090", "https://127.0.0.1:9090", "fd://3", "127.0.0.1:9090/status", "http://"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is not an address"):
        read_address(text)


Respond = Callable[[http.server.BaseHTTPRequestHandler], None]


def answer(status: int, body: str) -> Respond:
    def respond(handler: http.server.BaseHTTPRequestHandler) -> None:
        assert handler.path == "/status"
        handler.send_response(status)
        handler.end_headers()
        handler.wfile.write(body.encode())

    return respond


@contextlib.contextmanager
def standing_in(respond: Respond, path: Path | None = None) -> Iterator[BindAddress]:
    """Somebody who answers one request, at a port or at a Unix socket."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            respond(self)

        def address_string(self) -> str:
            return "-"

        def log_message(self, *arguments: object) -> None:
            pass

    if path is None:
        server: socketserver.BaseServer = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        address = BindAddress("tcp", host="127.0.0.1", port=server.server_address[1])  # type: ignore[arg-type,index]
    else:
        server = socketserver.UnixStreamServer(str(path), Handler)
        address = BindAddress("unix", path=str(path))
    thread = threading.Thread(target=server.handle_request)
    thread.start()
    try:
        yield address
    finally:
        thread.join(10)
        server.server_close()


def test_the_document_is_fetched_by_tcp_and_by_unix_socket(tmp_path: Path) -> None:
    for path in (None, tmp_path / "admin.sock"):
        with standing_in(answer(200, '{"workers": []}'), path) as address:
            assert fetch(address) == {"workers": []}


@pytest.mark.parametrize(
    ("respond", "words"),
    [
        (answer(421, "Only this machine.\n"), "answered 421 instead of a status: Only this machine."),
        (answer(200, "<html>"), "is no admin listener of keepserve"),
        (answer(200, "[]"), "is no admin listener of keepserve"),
        (answer(200, "7"), "is no admin listener of keepserve"),
        (lambda handler: handler.wfile.write(b"SSH-2.0\r\n"), "Nobody answers at"),
        (lambda handler: None, "Nobody answers at"),
    ],
)
def test_what_is_no_status_is_told_as_it_is(respond: Respond, words: str) -> None:
    with standing_in(respond) as address, pytest.raises(Unreachable, match=words):
        fetch(address)


def free() -> str:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{sock.getsockname()[1]}"


# -- The command


def run(*arguments: str, env: dict[str, str | None] | None = None) -> Result:
    return CliRunner(env={"KEEPSERVE_ADMIN": None, **(env or {})}).invoke(main, ["status", *arguments])


def test_the_address_may_come_from_the_environment(tmp_path: Path) -> None:
    document = served()[1]
    with standing_in(answer(200, json.dumps(document)), tmp_path / "a") as address:
        result = run(env={"KEEPSERVE_ADMIN": str(address)})
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("keepserve    serving for ")
    assert "\x1b" not in result.stdout


def test_json_is_the_document_itself(tmp_path: Path) -> None:
    document = served()[1]
    with standing_in(answer(200, json.dumps(document)), tmp_path / "a") as address:
        result = run("--admin", str(address), "--json")
    assert json.loads(result.stdout) == document


def with_state(state: str, *warnings: str) -> Document:
    return {**served()[1], "state": state, "warnings": list(warnings)}


@pytest.mark.parametrize(
    ("document", "options", "code"),
    [
        (with_state("serving"), ["--strict"], 0),
        (with_state("serving", "Look here."), [], 0),
        (with_state("serving", "Look here."), ["--strict"], 1),
        (with_state("draining"), [], 1),
        (with_state("starting"), [], 1),
    ],
)
def test_the_exit_code_tells_the_state(document: Document, options: list[str], code: int, tmp_path: Path) -> None:
    with standing_in(answer(200, json.dumps(document)), tmp_path / "a") as address:
        assert run("--admin", str(address), *options).exit_code == code


def test_nobody_there_is_exit_code_4_with_a_sentence(tmp_path: Path) -> None:
    for where, why in ((free(), "Connection refused"), (f"unix:{tmp_path}/none", "No such file or directory")):
        result = run("--admin", where)
        assert (result.exit_code, result.stdout) == (4, "")
        assert result.stderr == (
            f"keepserve: Nobody answers at {where} ({why}): is the server running, and was it started with this "
            "--admin?\n"
        )
        assert run("--admin", where, "--watch").exit_code == 4


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "Whom to ask? Give --admin ADDRESS, or set KEEPSERVE_ADMIN"),
        (["--admin", "9090"], '"9090" is not an address'),
        (["--admin", ":1", "--interval", "soon"], '"soon" is not a duration'),
        (["--admin", ":1", "--interval", "1ms"], "at least 100ms was expected"),
    ],
)
def test_wrong_options_are_exit_code_2(arguments: list[str], words: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert words in " ".join(result.stderr.split())


def test_the_help_says_what_the_exit_codes_mean() -> None:
    text = " ".join(run("--help").stdout.split())
    assert "Exit code 0: it serves; 1: it is starting or draining" in text
    assert "KEEPSERVE_ADMIN" in text
