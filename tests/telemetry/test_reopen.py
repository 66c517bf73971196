"""Log files: appended to, shared, and opened anew without a line lost or torn."""

from __future__ import annotations

import errno
import json
import logging
import logging.handlers
import os
import re
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from keepserve.config import ConfigError, Settings
from keepserve.telemetry import configure_logging, files, open_access_log, reopen_logs
from keepserve.telemetry.access import AccessLog
from keepserve.telemetry.logs import ServerLogHandler
from tests.support.accesslog import log_line

logger = logging.getLogger("keepserve")


@pytest.fixture(autouse=True)
def _own_files(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    mine: dict[str, files.LogFile] = {}
    monkeypatch.setattr(files, "_opened", mine)
    yield
    for file in mine.values():
        os.close(file.fd)


def log_request(access: AccessLog, target: bytes) -> None:
    log_line(access, target)


def config_file(tmp_path: Path, handler: dict[str, object], name: str = "keepserve") -> str:
    path = tmp_path / "logging.json"
    document = {
        "version": 1,
        "formatters": {"plain": {"format": "%(message)s"}},
        "handlers": {"mine": {"formatter": "plain", **handler}},
        "loggers": {name: {"handlers": ["mine"], "level": "INFO", "propagate": False}},
    }
    path.write_text(json.dumps(document))
    return str(path)


# Writing.


def test_the_server_log_is_appended_to_its_file_without_colours(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "server.log"
    path.write_text("before\n")
    configure_logging(Settings(log_file=str(path), use_colors=True))
    logger.warning("after")
    first, second = path.read_text().splitlines()
    assert first == "before"
    assert re.fullmatch(r"\S+ \S+ WARNING  \[\d+\] after", second)
    assert capfd.readouterr() == ("", "")


def test_the_access_log_is_opened_with_the_server_log_and_by_nobody_twice(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    settings = Settings(access_log_file=str(path), use_colors=True)
    old_mask = os.umask(0o022)
    try:
        configure_logging(settings)
    finally:
        os.umask(old_mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    path.unlink()  # what is logged below goes to the descriptor that is open already, as in a forked worker
    access = open_access_log(settings)
    assert access is not None
    access.start()
    log_request(access, b"/seen")
    access.close()
    assert not path.exists()
    fd = files.log_file("access_log_file", str(path)).fd
    assert not os.get_inheritable(fd)
    if Path("/proc/self/fd").exists():
        text = Path(f"/proc/self/fd/{fd}").read_text()
        assert "GET /seen" in text
        assert "\x1b" not in text


@pytest.mark.parametrize(("setting", "flag"), [("log_file", "--log-file"), ("access_log_file", "--access-log-file")])
def test_a_path_that_cannot_be_opened_is_one_sentence(setting: str, flag: str, tmp_path: Path) -> None:
    path = str(tmp_path / "none" / "x.log")
    with pytest.raises(ConfigError) as caught:
        configure_logging(Settings(**{setting: path}))  # type: ignore[arg-type]  # one of two names
    assert str(caught.value) == (
        f"{setting}: the log file {path!r} cannot be opened for appending: No such file or directory; "
        f"create its directory and let this user write there, or choose another {flag}."
    )


def test_a_named_pipe_that_nobody_reads_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="cannot be opened for appending"):
        configure_logging(Settings(log_file=str(tmp_path / "pipe")))


def test_a_file_takes_a_long_message_in_one_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configure_logging(Settings(log_file=str(tmp_path / "log")))
    sizes: list[int] = []
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: sizes.append(len(data)) or write(fd, data))
    logger.warning("x" * 50_000)
    assert len(sizes) == 1
    assert sizes[0] > 50_000


def test_the_log_config_wins_and_says_so(tmp_path: Path) -> None:
    mine = tmp_path / "mine.log"
    config = config_file(tmp_path, {"class": "logging.FileHandler", "filename": str(mine)})
    configure_logging(Settings(log_config=config, log_file="unused.log", access_log_file=str(tmp_path / "access")))
    assert mine.read_text() == (
        "log_file (unused.log) is not used: the log_config file configures the logger keepserve.\n"
    )
    assert (tmp_path / "access").exists()  # of which the file says nothing


def test_the_log_config_wins_for_the_access_log_as_well(tmp_path: Path) -> None:
    mine = tmp_path / "mine.log"
    config = config_file(tmp_path, {"class": "logging.FileHandler", "filename": str(mine)}, "keepserve.access")
    unused = tmp_path / "unused"
    settings = Settings(log_config=config, log_file=str(tmp_path / "log"), access_log_file=str(unused))
    root = logging.getLogger()
    handlers, root.handlers[:] = root.handlers[:], []  # pytest's own would count as the file's
    try:
        configure_logging(settings)
    finally:
        root.handlers[:] = handlers
    assert "access_log_file" in (tmp_path / "log").read_text()
    assert not unused.exists()


# Opening anew.


def test_logs_go_on_in_new_files_under_the_same_descriptors(tmp_path: Path) -> None:
    server, requests = tmp_path / "server.log", tmp_path / "access.log"
    settings = Settings(log_file=str(server), access_log_file=str(requests))
    configure_logging(settings)
    access = open_access_log(settings)
    assert access is not None
    numbers = [files.log_file("log_file", str(path)).fd for path in (server, requests)]
    access.start()
    logger.warning("one")
    server.rename(tmp_path / "server.log.1")
    requests.rename(tmp_path / "access.log.1")
    logger.warning("two")
    reopen_logs(settings)
    logger.warning("three")
    log_request(access, b"/after")
    access.close()
    assert [line.split()[-1] for line in (tmp_path / "server.log.1").read_text().splitlines()] == ["one", "two"]
    assert [line.split()[-1] for line in server.read_text().splitlines()] == ["three"]
    assert "/after" in requests.read_text()
    assert [files.log_file("log_file", str(path)).fd for path in (server, requests)] == numbers
    assert not os.get_inheritable(numbers[0])


def test_one_file_for_both_logs_stays_one_file(tmp_path: Path) -> None:
    path = tmp_path / "all.log"
    settings = Settings(log_file=str(path), access_log_file=str(path))
    configure_logging(settings)
    path.rename(tmp_path / "old")
    reopen_logs(settings)
    access = open_access_log(settings)
    assert access is not None
    access.start()
    log_request(access, b"/request")
    access.close()
    logger.warning("message")
    text = path.read_text()
    assert "/request" in text
    assert "message" in text
    assert (tmp_path / "old").read_text() == ""


def test_without_log_files_nothing_happens(capfd: pytest.CaptureFixture[str]) -> None:
    configure_logging(Settings())
    reopen_logs(Settings())
    assert capfd.readouterr() == ("", "")


def test_a_relative_path_stays_where_it_was_when_the_directory_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(tmp_path)
    settings = Settings(log_file="server.log")
    configure_logging(settings)
    monkeypatch.chdir(elsewhere)
    (tmp_path / "server.log").rename(tmp_path / "old")
    reopen_logs(settings)
    logger.warning("here")
    assert "here" in (tmp_path / "server.log").read_text()
    assert list(elsewhere.iterdir()) == []


def test_a_directory_that_is_gone_leaves_the_log_in_the_old_file(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    path = logs / "server.log"
    settings = Settings(log_file=str(path))
    configure_logging(settings)
    logs.rename(tmp_path / "moved")
    reopen_logs(settings)
    logger.warning("still")
    first, second = (tmp_path / "moved" / "server.log").read_text().splitlines()
    assert first.endswith(
        f"The log file {str(path)!r} cannot be opened anew: No such file or directory; "
        "the log goes on in the old file."
    )
    assert second.endswith("still")


def test_no_line_is_lost_or_torn_while_files_are_moved_under_busy_writers(tmp_path: Path) -> None:
    server, requests = tmp_path / "server.log", tmp_path / "access.log"
    settings = Settings(log_file=str(server), access_log_file=str(requests))
    configure_logging(settings)
    access = AccessLog(settings, file=files.log_file("access_log_file", str(requests)), interval=0.0)
    access.start()
    lines = 3000

    def write(name: str) -> None:
        for number in range(lines):
            logger.warning("%s-%d %s", name, number, "." * (number % 97))
            log_request(access, b"/%s/%d" % (name.encode(), number))

    writers = [threading.Thread(target=write, args=(name,)) for name in ("a", "b")]
    for writer in writers:
        writer.start()
    rotations = 0
    while any(writer.is_alive() for writer in writers):
        rotations += 1
        server.rename(tmp_path / f"server.log.{rotations}")
        requests.rename(tmp_path / f"access.log.{rotations}")
        reopen_logs(settings)
    for writer in writers:
        writer.join()
    access.close(timeout=10)
    assert rotations > 3
    for name in ("a", "b"):
        expected = list(range(lines))
        messages = _everything(tmp_path, "server.log", rf"\S+ \S+ WARNING  \[\d+\] (?:{name}-(\d+) (\.*)|\S+ \.*)")
        assert sorted(int(number) for number, dots in messages if number) == expected
        assert all(len(dots) == int(number) % 97 for number, dots in messages if number)
        logged = _everything(tmp_path, "access.log", rf'.*"?GET (?:/{name}/(\d+)|/\S+)().* #1')
        assert sorted(int(number) for number, _ in logged if number) == expected


def _everything(directory: Path, name: str, form: str) -> list[tuple[str, str]]:
    """The groups of every line in a log and its predecessors; each line has to have the form."""
    found = []
    for path in directory.glob(f"{name}*"):
        text = path.read_text()
        assert text == "" or text.endswith("\n")
        for line in text.splitlines():
            match = re.fullmatch(form, line)
            assert match, line
            found.append((match.group(1), match.group(2)))
    return found


# A full disk.


class FullDisk:
    """``os.write`` with so many bytes of room."""

    def __init__(self, room: int, write: Callable[[int, bytes], int]) -> None:
        self.room = room
        self._write = write

    def __call__(self, fd: int, data: bytes) -> int:
        if self.room <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = self._write(fd, data[: self.room])
        self.room -= written
        return written


def test_a_full_disk_costs_lines_and_leaves_the_next_one_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, requests = tmp_path / "server.log", tmp_path / "access.log"
    settings = Settings(log_file=str(server), access_log_file=str(requests))
    configure_logging(settings)
    access = open_access_log(settings)
    assert access is not None
    disk = FullDisk(10, os.write)
    monkeypatch.setattr(os, "write", disk)
    logger.warning("lost")
    disk.room = 10**9
    logger.warning("whole")
    torn, note, whole = server.read_text().splitlines()
    assert len(torn) == 10
    assert note.endswith(f"1 log message(s) were lost: {server} did not take them.")
    assert whole.endswith("whole")
    disk.room = 10
    access.start()
    log_request(access, b"/lost")
    access.close()
    assert access.dropped == 1
    disk.room = 10**9
    again = AccessLog(settings, file=files.log_file("access_log_file", str(requests)), interval=0.0)
    again._output = access._output  # the same log, later
    again.start()
    log_request(again, b"/whole")
    again.close()
    torn, whole = requests.read_text().splitlines()
    assert len(torn) == 10
    assert "/whole" in whole


def test_a_full_disk_is_named_with_the_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full")
    link = tmp_path / "access.log"
    link.symlink_to("/dev/full")
    access = open_access_log(Settings(access_log_file=str(link)))
    assert access is not None
    access.start()
    log_request(access, b"/lost")
    access.close()
    assert caplog.messages == [
        f"access log: 1 line was lost at {link}: it fails with: No space left on device. Requests are not affected."
    ]


def test_messages_after_a_full_disk_are_written_to_the_new_file(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full")
    path = tmp_path / "server.log"
    path.symlink_to("/dev/full")
    settings = Settings(log_file=str(path))
    configure_logging(settings)
    logger.warning("lost")
    path.unlink()
    reopen_logs(settings)
    logger.warning("kept")
    note, kept = path.read_text().splitlines()
    assert "1 log message(s) were lost" in note
    assert kept.endswith("kept")


# Handlers of the user's.


@pytest.mark.parametrize("mode", ["a", "w"])
@pytest.mark.parametrize("kind", ["logging.FileHandler", "logging.handlers.RotatingFileHandler"])
def test_file_handlers_of_the_log_config_follow(kind: str, mode: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.log"
    config = config_file(tmp_path, {"class": kind, "filename": str(path), "mode": mode})
    settings = Settings(log_config=config)
    configure_logging(settings)
    logger.warning("one")
    reopen_logs(settings)  # nobody has moved it: nor may it be emptied
    logger.warning("two")
    path.rename(tmp_path / "old.log")
    path.write_text("of another worker\n")
    reopen_logs(settings)
    logger.warning("three")
    assert (tmp_path / "old.log").read_text() == "one\ntwo\n"
    assert path.read_text() == "of another worker\nthree\n"


def test_a_handler_behind_another_follows_as_well(tmp_path: Path) -> None:
    path = tmp_path / "mine.log"
    target = logging.FileHandler(path)
    outer = logging.handlers.MemoryHandler(1, target=target)
    logger.addHandler(outer)
    try:
        path.rename(tmp_path / "old.log")
        reopen_logs(Settings(log_config="some.ini"))
        logger.error("three")
    finally:
        logger.removeHandler(outer)
        outer.close()
        target.close()
    assert path.read_text() == "three\n"


def test_a_handler_that_cannot_follow_goes_on_and_says_so(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    path = logs / "mine.log"
    settings = Settings(log_config=config_file(tmp_path, {"class": "logging.FileHandler", "filename": str(path)}))
    configure_logging(settings)
    logs.rename(tmp_path / "moved")
    reopen_logs(settings)
    logger.warning("still")
    first, second = (tmp_path / "moved" / "mine.log").read_text().splitlines()
    assert "cannot be opened anew: No such file or directory; the log goes on in the old file." in first
    assert second == "still"


def test_handlers_are_left_alone_without_a_log_config(tmp_path: Path) -> None:
    path = tmp_path / "applications.log"
    handler = logging.FileHandler(path)
    logger.addHandler(handler)
    try:
        path.rename(tmp_path / "old.log")
        reopen_logs(Settings())
        logger.error("message")
    finally:
        logger.removeHandler(handler)
        handler.close()
    assert not path.exists()


def test_configuring_again_replaces_the_handler_and_keeps_the_file(tmp_path: Path) -> None:
    path = tmp_path / "server.log"
    settings = Settings(log_file=str(path))
    configure_logging(settings)
    configure_logging(settings)
    logger.warning("once")
    assert path.read_text().count("once") == 1
    assert len([one for one in logger.handlers if isinstance(one, ServerLogHandler)]) == 1


def test_settings_of_a_reload_that_cannot_be_used_leave_the_log_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "server.log"
    configure_logging(Settings(log_file=str(path), log_level="warning"))
    for bad in ({"log_file": str(tmp_path / "none" / "x")}, {"access_log_file": str(tmp_path / "none" / "x")}):
        with pytest.raises(ConfigError):
            configure_logging(Settings(**bad))  # type: ignore[arg-type]  # one of two names
        logger.info("quiet")
        logger.warning("still")
    assert [line.split()[-1] for line in path.read_text().splitlines()] == ["still", "still"]
    assert logger.propagate is False
