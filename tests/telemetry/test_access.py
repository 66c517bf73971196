"""The access log's queue and thread: nothing lost that can be written, nobody waits for what cannot."""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from keepserve.config import Settings
from keepserve.telemetry.access import AccessLog, open_access_log
from keepserve.telemetry.records import RecordLog
from tests.support.accesslog import log_line

PLAIN = Settings(use_colors=False)


class Pipe:
    def __init__(self) -> None:
        self.read_end, self.write_end = os.pipe()

    def fill(self) -> None:
        """Leave not one byte of room."""
        flags = fcntl.fcntl(self.write_end, fcntl.F_GETFL)
        fcntl.fcntl(self.write_end, fcntl.F_SETFL, flags | os.O_NONBLOCK)
        for size in (65536, 4096, 1):
            with contextlib.suppress(BlockingIOError):
                while True:
                    os.write(self.write_end, b"." * size)
        fcntl.fcntl(self.write_end, fcntl.F_SETFL, flags)

    def finish(self) -> bytes:
        """Close the writing end and read all there is."""
        os.close(self.write_end)
        self.write_end = -1
        with open(self.read_end, "rb", closefd=False) as reader:
            return reader.read()

    def close(self) -> None:
        for fd in (self.read_end, self.write_end):
            with contextlib.suppress(OSError):
                os.close(fd)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    pipe.close()


@pytest.fixture
def access_logger() -> Iterator[logging.Logger]:
    logger = logging.getLogger("keepserve.access")
    yield logger
    logger.handlers.clear()
    logger.setLevel(logging.NOTSET)
    logger.propagate = True


def log(access: AccessLog, target: bytes = b"/", number: int = 1) -> None:
    log_line(access, target, client="127.0.0.1:5", connection_requests=number)


def eventually(condition: Callable[[], object], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.002)


class ManualClock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_close_flushes_every_line_in_order(pipe: Pipe) -> None:
    access = AccessLog(PLAIN, fd=pipe.write_end, interval=60)
    access.start()
    for number in range(1, 601):
        log(access, number=number)
    access.close()
    lines = pipe.finish().decode().splitlines()
    assert [line.rsplit("#", 1)[1] for line in lines] == [str(number) for number in range(1, 601)]
    assert access.dropped == 0


def test_lines_appear_without_close(pipe: Pipe) -> None:
    access = AccessLog(PLAIN, fd=pipe.write_end, interval=0.001)
    access.start()
    for number in (1, 2, 3):
        # One at a time, so that the thread has gone to sleep in between and must be woken.
        log(access, number=number)
        assert os.read(pipe.read_end, 4096).endswith(b"#%d\n" % number)
    access.close()


def test_lines_logged_before_start_are_kept(pipe: Pipe) -> None:
    access = AccessLog(PLAIN, fd=pipe.write_end)
    log(access, b"/early")
    access.start()
    access.start()
    access.close()
    assert pipe.finish().count(b"/early") == 1


def test_no_line_is_lost_between_a_busy_producer_and_a_thread_going_to_sleep(pipe: Pipe) -> None:
    access = AccessLog(PLAIN, fd=pipe.write_end, interval=0.0)
    access.start()
    received = bytearray()
    reader = threading.Thread(target=lambda: received.extend(_read_all(pipe.read_end)))
    reader.start()
    for number in range(20_000):
        log(access, number=number)
    access.close(10)
    os.close(pipe.write_end)
    reader.join(10)
    assert received.count(b"\n") == 20_000
    assert access.dropped == 0


def _read_all(fd: int) -> bytes:
    with open(fd, "rb", closefd=False) as reader:
        return reader.read()


def test_a_blocked_pipe_never_blocks_the_caller_and_drops_are_counted(
    pipe: Pipe, caplog: pytest.LogCaptureFixture
) -> None:
    pipe.fill()
    access = AccessLog(PLAIN, fd=pipe.write_end, queue_limit=10_000, interval=0.0)
    access.start()
    began = time.monotonic()
    for _ in range(5_000):
        log(access)
    assert time.monotonic() - began < 5
    assert access.dropped > 4_000
    assert "lost" in caplog.text
    began = time.monotonic()
    access.close(0.05)
    assert time.monotonic() - began < 5
    # Let the stuck thread go, so that it does not outlive its test.
    os.close(pipe.read_end)
    eventually(lambda: access._thread is not None and not access._thread.is_alive())
    assert access.dropped == 5_000


def test_what_waits_is_bounded_in_bytes_even_for_long_targets(pipe: Pipe) -> None:
    access = AccessLog(PLAIN, fd=pipe.write_end, queue_limit=100_000, batch=10)
    for _ in range(1_000):
        log(access, b"/" + b"a" * 8000)
    assert 0 < sum(map(len, access._queue)) <= 100_000
    assert access.dropped == 1_000 - sum(data.count(b"\n") for data in access._queue) - len(access._notes)


def test_drops_are_reported_at_once_and_then_at_most_every_ten_seconds(
    pipe: Pipe, caplog: pytest.LogCaptureFixture
) -> None:
    clock = ManualClock()
    access = AccessLog(PLAIN, fd=pipe.write_end, queue_limit=0, batch=1, clock=clock)
    for _ in range(3):
        log(access)
    assert [record.getMessage()[:30] for record in caplog.records] == ["access log: 1 line was lost at"]
    clock.now += 10
    log(access)
    assert caplog.records[-1].getMessage().startswith("access log: 3 lines were lost")
    log(access)
    assert len(caplog.records) == 2
    access.close()
    assert caplog.records[-1].getMessage().startswith("access log: 1 line was lost")


def test_room_returns_once_lines_were_written(pipe: Pipe) -> None:
    access = AccessLog(PLAIN, fd=pipe.write_end, queue_limit=200, batch=1, interval=0.0)
    for _ in range(10):
        log(access)
    refused = access.dropped
    assert refused > 0
    access.start()
    eventually(lambda: access._taken == access._queued > 0)
    log(access)
    access.close()
    assert access.dropped == refused


def test_a_broken_pipe_is_not_fatal_and_is_named_in_the_report(pipe: Pipe, caplog: pytest.LogCaptureFixture) -> None:
    os.close(pipe.read_end)
    access = AccessLog(PLAIN, fd=pipe.write_end, interval=0.0)
    access.start()
    log(access)
    eventually(lambda: access.dropped == 1)
    log(access)
    access.close()
    assert access.dropped == 2
    assert "Broken pipe" in caplog.text


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is a Linux device")
def test_a_full_disk_is_not_fatal(caplog: pytest.LogCaptureFixture) -> None:
    fd = os.open("/dev/full", os.O_WRONLY)
    try:
        access = AccessLog(PLAIN, fd=fd)
        access.start()
        log(access)
        access.close()
    finally:
        os.close(fd)
    assert access.dropped == 1
    assert "No space left" in caplog.text


def test_workers_sharing_one_pipe_do_not_mix_their_lines(pipe: Pipe) -> None:
    script = (
        "import os, sys\n"
        "from keepserve.config import Settings\n"
        "from keepserve.telemetry.access import AccessLog\n"
        "from tests.support.accesslog import log_line\n"
        "access = AccessLog(Settings(use_colors=False), interval=0.0)\n"
        "access.start()\n"
        "for number in range(3000):\n"
        "    log_line(access, b'/' + sys.argv[1].encode() * 50, client=sys.argv[1], connection_requests=number)\n"
        "os.write(2, b'!')\n"
        "access.close(20)\n"
        "sys.exit(access.dropped)\n"
    )
    ready, tell_ready = os.pipe()
    workers = [
        subprocess.Popen([sys.executable, "-c", script, name], stdout=pipe.write_end, stderr=tell_ready)
        for name in ("a", "b")
    ]
    os.close(pipe.write_end)
    os.close(tell_ready)
    # Nothing is read before both have logged all they have. The pipe is full then, and the kernel ends and
    # resumes long writes wherever there is room: that is when unprotected lines get mixed.
    assert os.read(ready, 1) + os.read(ready, 1) == b"!!"
    received = bytearray()
    while chunk := os.read(pipe.read_end, 5000):
        received += chunk
    os.close(ready)
    assert [worker.wait(30) for worker in workers] == [0, 0]
    lines = received.decode().splitlines()
    assert len(lines) == 6000
    for line in lines:
        name = line.split(" ")[2]
        assert f'"GET /{name * 50} HTTP/1.1" 200 1.0ms 2B #' in line


def test_json_lines_carry_the_pid_of_the_process_that_started_the_thread() -> None:
    script = (
        "import os\n"
        "from keepserve.config import Settings\n"
        "from keepserve.telemetry import open_access_log\n"
        "from tests.support.accesslog import log_line\n"
        "access = open_access_log(Settings(log_format='json'))\n"
        "if child := os.fork():\n"
        "    os.waitpid(child, 0)\n"
        "    print(child)\n"
        "else:\n"
        "    access.start()\n"
        "    log_line(access)\n"
        "    access.close()\n"
    )
    written = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, check=True, timeout=20)
    line, child = written.stdout.decode().splitlines()
    assert json.loads(line)["pid"] == int(child)


def test_a_logger_configured_by_the_user_gets_records_instead_of_lines(
    pipe: Pipe, access_logger: logging.Logger
) -> None:
    records: list[Any] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append((record, threading.current_thread()))

    access_logger.addHandler(Collect())
    access_logger.setLevel(logging.INFO)
    access_logger.propagate = False
    access = RecordLog(Settings(log_config="logging.ini"), fd=pipe.write_end)
    began = time.time()
    log_line(
        access,
        b'/"',
        client="10.0.0.7:9",
        method=b"PUT",
        status=201,
        sent=7,
        duration=0.5,
        connection_requests=3,
        fields=((b"user-agent", b'x"'), (b"traceparent", b"00-1-2-01")),
        begun=0.25,
    )
    access.start()
    access.close()
    [(record, thread)] = records
    assert record.getMessage() == r'10.0.0.7:9 - "PUT /\x22 HTTP/1.1" 201 500.0ms 7B #3'
    assert (record.client, record.status, record.target) == ("10.0.0.7:9", 201, b'/"')
    assert (record.duration, record.first_byte) == (pytest.approx(0.5), pytest.approx(0.25))
    assert (record.connection_id, record.connection_requests, record.stream) == (7, 3, "-")
    assert (record.protocol, record.scheme, record.peer) == ("HTTP/1.1", "http", "10.0.0.7:9")
    # What a client sends is escaped: the user's own format puts it into a line as it is.
    assert (record.user_agent, record.traceparent, record.referer) == (r"x\x22", "00-1-2-01", "-")
    assert abs(record.created - began) < 5
    assert thread is not threading.current_thread()
    assert pipe.finish() == b""


def test_a_handler_that_raises_does_not_end_the_log(access_logger: logging.Logger, pipe: Pipe) -> None:
    seen: list[str] = []

    class Fragile(logging.Handler):
        def handle(self, record: logging.LogRecord) -> bool:
            seen.append(record.getMessage())
            raise RuntimeError("no")

    access_logger.addHandler(Fragile())
    access_logger.setLevel(logging.INFO)
    access = RecordLog(Settings(log_config="logging.ini"), fd=pipe.write_end)
    access.start()
    log(access)
    log(access)
    access.close()
    assert len(seen) == 2
    assert access.dropped == 2


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        (Settings(), True),
        (Settings(access_log=False), False),
        (Settings(log_level="debug"), True),
        (Settings(log_level="warning"), False),
    ],
)
def test_settings_decide_whether_there_is_an_access_log(settings: Settings, wanted: bool) -> None:
    assert (open_access_log(settings) is not None) is wanted


def test_a_configured_level_above_info_turns_the_access_log_off(access_logger: logging.Logger) -> None:
    access_logger.setLevel(logging.WARNING)
    assert open_access_log(Settings(log_config="logging.ini")) is None


def test_a_standard_output_closed_at_start_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "__stdout__", None)
    assert open_access_log(Settings()) is None
