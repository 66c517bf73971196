"""The server log: formats, colours, blocked readers, and the user's own configuration."""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import pty
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from keepserve.config import ConfigError, Settings
from keepserve.telemetry.access import open_access_log
from keepserve.telemetry.logs import (
    TRACE,
    JSONFormatter,
    ServerLogHandler,
    TextFormatter,
    configure_logging,
)
from keepserve.telemetry.output import LineOutput, colors_wanted, split_lines, wait_writable
from tests.support.accesslog import log_line
from tests.support.clock import FakeClock


def record(message: str, *args: object, exc_info: object = None) -> logging.LogRecord:
    made = logging.LogRecord("keepserve", logging.WARNING, "f.py", 1, message, args, exc_info)  # type: ignore[arg-type]  # a bare exception is what Logger passes on
    made.created, made.msecs = 1_795_000_000.25, 250.0
    return made


def failure(message: str) -> object:
    try:
        raise ValueError(message)
    except ValueError:
        return sys.exc_info()


def test_text_lines_tell_time_level_pid_and_message() -> None:
    stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(1_795_000_000))
    assert TextFormatter().format(record("bound %s", "x")) == f"{stamp}.250 WARNING  [{os.getpid()}] bound x"


def test_text_colors_wrap_the_line_without_changing_its_words() -> None:
    plain = TextFormatter().format(record("hello"))
    colored = TextFormatter(colors=True).format(record("hello"))
    assert "\x1b[33mWARNING" in colored
    assert re.sub(r"\x1b\[[0-9;]*m", "", colored) == plain


def test_a_message_cannot_forge_a_line_or_reach_the_terminal() -> None:
    text = TextFormatter().format(record("path %s", "\n2026-11-23 00:00:00.000 INFO forged\r\x1b[2J\u2028\x9b"))
    first, second = text.split("\n")
    assert first.endswith("path ")
    assert second == r"    2026-11-23 00:00:00.000 INFO forged\x0d\x1b[2J\u2028\x9b"


def test_tracebacks_follow_indented() -> None:
    text = TextFormatter().format(record("failed", exc_info=failure("one\ntwo")))
    lines = text.split("\n")
    assert lines[1] == "    Traceback (most recent call last):"
    assert all(line.startswith("    ") for line in lines[1:])


def test_json_lines_are_one_object_with_the_exception_text() -> None:
    text = JSONFormatter().format(record("Grüße\n%s", "\x7f\u2028", exc_info=failure("bad")))
    assert re.fullmatch(r"[\x20-\x7e]+", text)
    fields = json.loads(text)
    assert fields.pop("exception").endswith("ValueError: bad")
    assert fields == {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(1_795_000_000)) + ".250Z",
        "level": "warning",
        "logger": "keepserve",
        "pid": os.getpid(),
        "message": "Grüße\n\x7f\u2028",
    }


def test_exc_info_without_an_exception_adds_nothing() -> None:
    assert "exception" not in json.loads(JSONFormatter().format(record("x", exc_info=(None, None, None))))
    assert "\n" not in TextFormatter().format(record("x", exc_info=(None, None, None)))


@pytest.mark.parametrize(
    ("setting", "environ", "wanted"),
    [
        (None, {}, True),
        (None, {"NO_COLOR": "1"}, False),
        (None, {"NO_COLOR": ""}, True),
        (None, {"TERM": "dumb"}, False),
        (False, {}, False),
        (True, {"NO_COLOR": "1"}, True),
    ],
)
def test_a_terminal_gets_colors_unless_somebody_objects(
    setting: bool | None, environ: dict[str, str], wanted: bool
) -> None:
    parent, terminal = pty.openpty()
    try:
        assert colors_wanted(setting, terminal, environ) is wanted
    finally:
        os.close(parent)
        os.close(terminal)


def test_a_pipe_gets_colors_only_when_asked_for() -> None:
    read_end, write_end = os.pipe()
    try:
        assert colors_wanted(None, write_end, {}) is False
        assert colors_wanted(True, write_end, {}) is True
    finally:
        os.close(read_end)
        os.close(write_end)


# The handler.


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for fd in ends:
        with contextlib.suppress(OSError):
            os.close(fd)


def fill(fd: int) -> None:
    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    fcntl.fcntl(fd, fcntl.F_SETFL, flags | os.O_NONBLOCK)
    for size in (65536, 1):
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(fd, b"." * size)
    fcntl.fcntl(fd, fcntl.F_SETFL, flags)


def test_a_blocked_standard_error_costs_its_patience_once_and_lost_messages_are_reported(
    pipe: tuple[int, int],
) -> None:
    read_end, write_end = pipe
    fill(write_end)
    handler = ServerLogHandler(write_end, patience=0.01)
    handler.setFormatter(TextFormatter())
    for _ in range(100):
        handler.emit(record("lost"))
    assert handler.lost == 100
    os.read(read_end, 1 << 20)
    handler.emit(record("kept"))
    first, second = os.read(read_end, 65536).decode().splitlines()
    assert "100 log message(s) were lost" in first
    assert second.endswith("kept")
    assert handler.lost == 0


def test_a_reader_that_is_always_late_costs_patience_once_in_ten_seconds(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    read_end, write_end = pipe
    waits: list[float] = []

    def wait(fd: int, timeout: float) -> bool:
        if timeout > 0:
            waits.append(timeout)
            os.read(read_end, 1 << 20)
        return wait_writable(fd, 0.0)

    monkeypatch.setattr("keepserve.telemetry.logs.wait_writable", wait)
    clock = FakeClock()
    handler = ServerLogHandler(write_end, patience=0.1, clock=clock)
    for _ in range(20):
        fill(write_end)
        handler.emit(record("late"))
        clock.advance(1.0)
    assert waits == [0.1, 0.1]
    assert handler.lost == 9


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_room_that_another_process_was_faster_to_take_is_not_waited_for(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keepserve.telemetry.logs.wait_writable", lambda fd, timeout: True)
    fill(pipe[1])
    handler = ServerLogHandler(pipe[1])
    handler.emit(record("lost"))
    assert handler.lost == 1
    assert os.get_blocking(pipe[1]), "for the others nothing has changed"
    os.read(pipe[0], 1 << 20)
    handler.emit(record("kept"))
    assert handler.lost == 0


def test_a_broken_standard_error_raises_nothing(pipe: tuple[int, int]) -> None:
    read_end, write_end = pipe
    os.close(read_end)
    handler = ServerLogHandler(write_end)
    handler.emit(record("nobody reads"))
    assert handler.lost == 1


def test_a_bad_format_string_is_explained_and_does_not_raise(
    pipe: tuple[int, int], capsys: pytest.CaptureFixture[str]
) -> None:
    ServerLogHandler(pipe[1]).emit(record("%d", "not a number"))
    assert "Logging error" in capsys.readouterr().err


def test_long_messages_arrive_whole_and_in_pieces_a_pipe_keeps_together(pipe: tuple[int, int]) -> None:
    handler = ServerLogHandler(pipe[1])
    handler.setFormatter(TextFormatter())
    handler.emit(record("%s", "\n".join(["x" * 100] * 300)))
    assert os.read(pipe[0], 65536).count(b"x" * 100 + b"\n") == 300


@pytest.mark.parametrize(
    ("data", "pieces"),
    [
        (b"", []),
        (b"aa\nbb\n", [b"aa\n", b"bb\n"]),
        (b"a\nb\nc\n", [b"a\nb\n", b"c\n"]),
        (b"abcdefgh\n", [b"abcd", b"efgh", b"\n"]),
    ],
)
def test_blocks_are_cut_at_line_ends_where_there_are_any(data: bytes, pieces: list[bytes]) -> None:
    assert split_lines(data, 4) == pieces


def test_a_system_that_cannot_lock_pipes_gets_small_writes(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(fd: int, operation: int) -> None:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(fcntl, "lockf", refuse)
    sizes: list[int] = []
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: (sizes.append(len(data)), write(fd, data))[1])
    output = LineOutput(pipe[1])
    output.write(b"x" * 99 + b"\n")
    for _ in range(2):
        output.write((b"x" * 99 + b"\n") * 100)
    assert max(sizes) <= 4096
    assert all(size % 100 == 0 for size in sizes)


def test_output_somebody_made_non_blocking_is_waited_for(pipe: tuple[int, int]) -> None:
    read_end, write_end = pipe
    os.set_blocking(write_end, False)
    writer = threading.Thread(target=LineOutput(write_end).write, args=(b"x" * 200_000,))
    writer.start()
    received = 0
    while received < 200_000:
        received += len(os.read(read_end, 65536))
    writer.join(10)
    assert not writer.is_alive()


# configure_logging.


def test_the_server_log_goes_to_standard_error_at_the_level_asked_for(
    capfd: pytest.CaptureFixture[str],
) -> None:
    configure_logging(Settings(log_level="warning"))
    logging.getLogger("keepserve").info("quiet")
    logging.getLogger("keepserve.server").warning("loud")
    out, err = capfd.readouterr()
    assert out == ""
    assert "quiet" not in err
    assert "loud" in err


def test_configuring_twice_leaves_one_handler(capfd: pytest.CaptureFixture[str]) -> None:
    configure_logging(Settings())
    configure_logging(Settings(log_format="json"))
    logging.getLogger("keepserve").warning("once")
    assert json.loads(capfd.readouterr().err)["message"] == "once"


def test_an_application_with_a_root_handler_does_not_print_messages_twice(
    capfd: pytest.CaptureFixture[str],
) -> None:
    configure_logging(Settings())
    logging.getLogger().addHandler(logging.StreamHandler())
    logging.getLogger("keepserve").warning("once")
    assert capfd.readouterr().err.count("once") == 1


def test_trace_is_a_level_below_debug_with_a_name(capfd: pytest.CaptureFixture[str]) -> None:
    configure_logging(Settings(log_level="trace"))
    logging.getLogger("keepserve").log(TRACE, "byte by byte")
    assert "TRACE    [" in capfd.readouterr().err


def test_a_standard_error_closed_at_start_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "__stderr__", None)
    configure_logging(Settings())
    assert not [one for one in logging.getLogger("keepserve").handlers if isinstance(one, ServerLogHandler)]


# --log-config.

DICT = {
    "version": 1,
    "formatters": {"mine": {"format": "mine %(name)s %(message)s"}},
    "handlers": {"err": {"class": "logging.StreamHandler", "formatter": "mine"}},
    "loggers": {"keepserve.access": {"handlers": ["err"], "level": "INFO", "propagate": False}},
    "root": {"handlers": ["err"], "level": "INFO"},
}
TOML = """
version = 1
[formatters.mine]
format = "mine %(name)s %(message)s"
[handlers.err]
class = "logging.StreamHandler"
formatter = "mine"
[loggers."keepserve.access"]
handlers = ["err"]
level = "INFO"
propagate = false
[root]
handlers = ["err"]
level = "INFO"
"""
INI = """
[loggers]
keys=root,access
[handlers]
keys=err
[formatters]
keys=mine
[logger_root]
level=INFO
handlers=err
[logger_access]
level=INFO
handlers=err
qualname=keepserve.access
propagate=0
[handler_err]
class=StreamHandler
formatter=mine
args=(sys.stderr,)
[formatter_mine]
format=mine %(name)s %(message)s
"""


@pytest.mark.parametrize(
    ("name", "text"), [("log.json", json.dumps(DICT)), ("log.toml", TOML), ("log.ini", INI), ("LOG.INI", INI)]
)
def test_log_config_files_configure_both_logs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, text: str
) -> None:
    path = tmp_path / name
    path.write_text(text)
    settings = Settings(log_config=str(path))
    configure_logging(settings)
    logging.getLogger("keepserve").info("hello")
    access = open_access_log(settings)
    assert access is not None
    access.start()
    log_line(access, client="c")
    access.close()
    captured = capsys.readouterr()
    assert captured.err == ('mine keepserve hello\nmine keepserve.access c - "GET / HTTP/1.1" 200 1.0ms 2B #1\n')
    assert captured.out == ""


def test_yaml_is_read_when_pyyaml_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "yaml", SimpleNamespace(safe_load=json.loads))  # JSON is YAML
    path = tmp_path / "log.yaml"
    path.write_text(json.dumps(DICT))
    configure_logging(Settings(log_config=str(path)))
    logging.getLogger("keepserve").info("hello")
    assert capsys.readouterr().err == "mine keepserve hello\n"


def test_yaml_without_pyyaml_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log.yml"
    path.write_text("version: 1")
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(ConfigError, match=r"needs PyYAML.* install PyYAML, or write the file as \.json"):
        configure_logging(Settings(log_config=str(path)))


def test_a_log_config_that_forgets_the_server_still_shows_its_messages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    path = tmp_path / "log.json"
    path.write_text('{"version": 1}')
    configure_logging(Settings(log_config=str(path)))
    logging.getLogger("keepserve").info("still here")
    assert "still here" in capfd.readouterr().err


def test_loggers_that_exist_already_are_not_silenced(tmp_path: Path) -> None:
    early = logging.getLogger("keepserve.early")
    path = tmp_path / "log.json"
    path.write_text(json.dumps(DICT))
    configure_logging(Settings(log_config=str(path)))
    assert not early.disabled


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("log.json", "{", "is not valid JSON"),
        ("log.json", "[]", "expected a mapping with the keys of logging.config.dictConfig, found list"),
        ("log.json", "{}", 'the key "version" is missing'),
        ("log.json", '{"version": 2}', "logging refused it: Unsupported version: 2"),
        (
            "log.json",
            '{"version": 1, "handlers": {"h": {"class": "no.such.Thing"}}}',
            "logging refused it: Unable to configure handler 'h' (Cannot resolve 'no.such.Thing'",
        ),
        ("log.toml", "version =", "is not valid TOML"),
        ("log.ini", "no section", "is not valid INI"),
        ("log.ini", "[loggers]\nkeys=root", "the section [handlers] is missing"),
        (
            "log.ini",
            "[loggers]\nkeys=root\n[handlers]\nkeys=\n[formatters]\nkeys=\n",
            "logging refused it: KeyError",
        ),
        ("log.xml", "<x/>", "its name ends in '.xml', expected .ini, .json, .toml or .yaml"),
        ("log", "", "its name ends in 'nothing'"),
        ("log.json", b"\xff", "it is not UTF-8 text"),
    ],
)
def test_an_unusable_log_config_is_one_sentence(tmp_path: Path, name: str, text: str | bytes, sentence: str) -> None:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError) as caught:
        configure_logging(Settings(log_config=str(path)))
    message = str(caught.value)
    assert message.startswith(f"log_config: the logging configuration {str(path)!r} cannot be used: ")
    assert sentence in message
    assert "\n" not in message


def test_a_missing_log_config_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"it cannot be read: No such file or directory"):
        configure_logging(Settings(log_config=str(tmp_path / "none.json")))


def test_a_process_whose_both_logs_nobody_reads_still_ends(pipe: tuple[int, int]) -> None:
    fill(pipe[1])
    script = (
        "import logging; from keepserve.config import Settings\n"
        "from keepserve.telemetry import configure_logging, open_access_log\n"
        "from tests.support.accesslog import log_line\n"
        "configure_logging(Settings()); access = open_access_log(Settings()); access.start()\n"
        "for _ in range(1000):\n"
        "    logging.getLogger('keepserve').warning('x'); log_line(access)\n"
        "access.close(0.1)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=pipe[1], stderr=pipe[1])
    try:
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
