"""The server log: loggers, formats, colours, and the user's own logging configuration.

``keepserve`` is the logger of everything the server says; it goes to standard error or to ``--log-file``.
Requests go through `keepserve.telemetry.access` to standard output or to ``--access-log-file``, unless a
``--log-config`` file configures the logger ``keepserve.access``.
"""

from __future__ import annotations

import configparser
import importlib
import json
import logging
import logging.config
import math
import os
import stat
import sys
import time
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from keepserve.config.problems import ConfigError
from keepserve.config.settings import Settings
from keepserve.telemetry.files import log_file
from keepserve.telemetry.output import (
    ATOMIC_WRITE,
    colors_wanted,
    escape_controls,
    split_lines,
    wait_writable,
    write_at_once,
)

TRACE: Final = 5
"""Level below DEBUG: what happens on each connection."""

LEVELS: Final[Mapping[str, int]] = {
    "critical": logging.CRITICAL,
    "error": logging.ERROR,
    "warning": logging.WARNING,
    "info": logging.INFO,
    "debug": logging.DEBUG,
    "trace": TRACE,
}
"""The names of ``--log-level``."""

_STDERR: Final = 2
_PATIENCE: Final = 0.1  # seconds one message may wait for a blocked standard error
_REST: Final = 10.0  # seconds in which no other message does

_RESET = "\x1b[0m"
_DIM = "\x1b[2m"
_LEVEL_COLORS: Final = {
    TRACE: "\x1b[2m",
    logging.DEBUG: "\x1b[36m",
    logging.INFO: "\x1b[32m",
    logging.WARNING: "\x1b[33m",
    logging.ERROR: "\x1b[31m",
    logging.CRITICAL: "\x1b[1;31m",
}

logging.addLevelName(TRACE, "TRACE")


def configure_logging(settings: Settings) -> None:
    """Set up the loggers ``keepserve`` and ``keepserve.access`` as the settings say.

    Calling it again replaces what it did before; handlers of others stay. The root logger and the
    application's loggers are left alone, unless ``settings.log_config`` names a file that configures them.
    When that file says nothing of the logger ``keepserve``, its messages still go where they would without it.
    ``log_file`` and ``access_log_file`` are opened here, so that a path that cannot be used is told before
    anything is forked.

    Raises `ConfigError` when the configuration cannot be read, or is no logging configuration, or a log file
    cannot be opened. The server's log then goes on as before.
    """
    logger = logging.getLogger("keepserve")
    replaced = [handler for handler in logger.handlers if isinstance(handler, ServerLogHandler)]
    level, propagate = logger.level, logger.propagate
    for handler in replaced:
        logger.removeHandler(handler)
    logger.propagate = True
    try:
        _configure(logger, settings)
    except ConfigError:
        for handler in [one for one in logger.handlers if isinstance(one, ServerLogHandler)]:
            logger.removeHandler(handler)
        for handler in replaced:
            logger.addHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate
        raise
    for handler in replaced:
        handler.close()


def _configure(logger: logging.Logger, settings: Settings) -> None:
    if settings.log_config is None:
        logger.setLevel(LEVELS[settings.log_level])
    else:
        apply_log_config(settings.log_config)
        if logger.level == logging.NOTSET:
            logger.setLevel(LEVELS[settings.log_level])
    if settings.log_config is None or not logger.hasHandlers():
        server_handler = _server_handler(settings)
        if server_handler is not None:
            logger.addHandler(server_handler)
            # An application that configures the root logger would print each message a second time.
            logger.propagate = False
    elif settings.log_file is not None:
        _unused("log_file", settings.log_file, "keepserve")
    if settings.access_log and settings.access_log_file is not None:
        if access_logger_configured(settings):
            _unused("access_log_file", settings.access_log_file, "keepserve.access")
        else:
            log_file("access_log_file", settings.access_log_file)


def _server_handler(settings: Settings) -> ServerLogHandler | None:
    if settings.log_file is not None:
        handler = ServerLogHandler(log_file("log_file", settings.log_file).fd, where=settings.log_file)
        colors = False
    elif standard_stream_open(_STDERR):
        handler = ServerLogHandler(_STDERR)
        colors = colors_wanted(settings.use_colors, _STDERR)
    else:
        return None
    handler.setFormatter(JSONFormatter() if settings.log_format == "json" else TextFormatter(colors=colors))
    return handler


def _unused(setting: str, path: str, name: str) -> None:
    logging.getLogger("keepserve").warning(
        "%s (%s) is not used: the log_config file configures the logger %s.", setting, path, name
    )


def access_logger_configured(settings: Settings) -> bool:
    """Whether the ``--log-config`` file gave the logger ``keepserve.access`` handlers or a level."""
    logger = logging.getLogger("keepserve.access")
    return settings.log_config is not None and bool(logger.handlers or logger.level != logging.NOTSET)


def standard_stream_open(fd: int) -> bool:
    """False when the interpreter was started with standard output (1) or error (2) closed.

    The number is then given to the next file opened, such as a client's connection.
    """
    return (sys.__stdout__ if fd == 1 else sys.__stderr__) is not None


class TextFormatter(logging.Formatter):
    """``2026-11-23 10:15:02.123 INFO     [4242] message``, local time, with colours if asked.

    Control characters are escaped and every further line of a message or traceback is indented, so a line
    that begins with a time was written by the server and by nobody who merely got text into a message.
    """

    def __init__(self, *, colors: bool = False) -> None:
        super().__init__()
        self._colors = colors

    def format(self, record: logging.LogRecord) -> str:
        """Render ``record``, with its traceback and stack if it has them."""
        text = escape_controls(_whole_text(self, record)).rstrip("\n").replace("\n", "\n    ")
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.created))
        stamp += f".{int(record.msecs):03d}"
        level = f"{record.levelname:<8}"
        if self._colors:
            stamp = f"{_DIM}{stamp}{_RESET}"
            level = f"{_LEVEL_COLORS.get(record.levelno, '')}{level}{_RESET}"
            return f"{stamp} {level} {_DIM}[{record.process}]{_RESET} {text}"
        return f"{stamp} {level} [{record.process}] {text}"


class JSONFormatter(logging.Formatter):
    """One JSON object per record: time (RFC 3339, UTC, milliseconds), level, logger, pid, message, exception.

    ASCII only, so nothing in it can end the line or reach a terminal as a control character.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Render ``record``; ``exception`` is there only when the record carries one."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        fields: dict[str, object] = {
            "time": f"{stamp}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "pid": record.process,
            "message": record.getMessage(),
        }
        # Which request it was for: the names are those of the access log's lines.
        fields |= getattr(record, "traces", {})
        if details := _details(self, record):
            fields["exception"] = details
        return json.dumps(fields, ensure_ascii=True, separators=(",", ":"))


def _details(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    parts: list[str] = []
    # A bare (None, None, None) is what logger.error(..., exc_info=True) leaves outside an except block.
    if record.exc_info and record.exc_info[0] is not None:
        parts.append(formatter.formatException(record.exc_info))
    elif record.exc_text:
        parts.append(record.exc_text)
    if record.stack_info:
        parts.append(formatter.formatStack(record.stack_info))
    return "\n".join(parts)


def _whole_text(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    details = _details(formatter, record)
    message = record.getMessage()
    return f"{message}\n{details}" if details else message


class ServerLogHandler(logging.Handler):
    """Writes to ``fd`` without being stopped by a reader that does not read.

    Messages come from the event loop and from the supervisor, which has no threads. So before each write the
    descriptor is asked for room. A message that finds none waits up to ``patience`` seconds, if none has for
    ten seconds, so that a reader who is always late costs a hundredth of the loop's time and not all of it.
    What found no room is counted, and reported by the next message that does. Pieces of at most PIPE_BUF bytes
    are written, so that those of several workers do not mix. A file takes each message in one piece.

    Never raises: a server does not fail because its log does. ``where`` names the output in messages.
    """

    def __init__(
        self,
        fd: int,
        *,
        patience: float = _PATIENCE,
        where: str = "standard error",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self.lost = 0
        """Messages lost since the last one that was written."""
        self._fd = fd
        self._patience = patience
        self._clock = clock
        self._waits_again_at = -math.inf
        self._where = where
        self._torn = False
        """The last write failed in the middle of a line."""

    def emit(self, record: logging.LogRecord) -> None:
        """Format and write one record, or count it as lost."""
        try:
            data = (self.format(record) + "\n").encode("utf-8", "backslashreplace")
            if self.lost:
                data = self._note(record) + data
        except Exception:
            # logging's own handleError explains a bad format string, on the real standard error.
            self.handleError(record)
            return
        if self._torn:
            data = b"\n" + data
        try:
            whole = stat.S_ISREG(os.fstat(self._fd).st_mode)
            for piece in (data,) if whole else split_lines(data, ATOMIC_WRITE):
                if not self._write(piece):
                    self.lost += 1
                    return
        except OSError:
            self.lost += 1
            return
        self.lost = 0

    def _note(self, record: logging.LogRecord) -> bytes:
        note = logging.makeLogRecord(
            {
                "name": record.name,
                "levelno": logging.WARNING,
                "levelname": "WARNING",
                "msg": "%d log message(s) were lost: %s did not take them.",
                "args": (self.lost, self._where),
            }
        )
        return (self.format(note) + "\n").encode("utf-8", "backslashreplace")

    def _write(self, piece: bytes) -> bool:
        while piece:
            if not wait_writable(self._fd, 0.0):
                now = self._clock()
                if now < self._waits_again_at:
                    return False
                self._waits_again_at = now + _REST
                if not wait_writable(self._fd, self._patience):
                    return False
            try:
                written = write_at_once(self._fd, piece)
                self._torn = written < len(piece)
                piece = piece[written:]
            except BlockingIOError:
                return False  # another process was faster
        return True


# The user's own configuration.


def apply_log_config(path: str) -> None:
    """Apply a logging configuration file: .ini in the schema of ``logging.config.fileConfig``, and
    .json, .toml and .yaml in that of ``dictConfig``.

    Loggers that exist already stay enabled unless the file says otherwise; Python's default would silence
    the server's. Raises `ConfigError` with one sentence.
    """
    suffix = Path(path).suffix.lower()
    readers: dict[str, Callable[[str], Any]] = {
        ".json": json.loads,
        ".toml": tomllib.loads,
        ".yaml": _read_yaml,
        ".yml": _read_yaml,
    }
    if suffix not in readers and suffix not in (".ini", ".cfg", ".conf"):
        raise _refusal(
            path, f"its name ends in {suffix or 'nothing'!r}, expected .ini, .json, .toml or .yaml; rename it"
        )
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise _refusal(path, f"it cannot be read: {error.strerror}; check the path given") from error
    except UnicodeDecodeError as error:
        raise _refusal(path, "it is not UTF-8 text; save it as UTF-8") from error
    if suffix in readers:
        try:
            document = readers[suffix](text)
        except ConfigError:
            raise
        except Exception as error:
            raise _refusal(path, f"it is not valid {suffix[1:].upper()}: {_one_line(error)}") from error
        _apply_dict(path, document)
    else:
        _apply_ini(path, text)


def _apply_dict(path: str, document: object) -> None:
    if not isinstance(document, dict):
        found = type(document).__name__
        raise _refusal(path, f"expected a mapping with the keys of logging.config.dictConfig, found {found}")
    if "version" not in document:
        raise _refusal(path, 'the key "version" is missing; add version = 1, which logging requires')
    try:
        logging.config.dictConfig({"disable_existing_loggers": False, **document})
    except Exception as error:
        # dictConfig says which part it could not configure; the cause says why.
        raise _refusal(path, f"logging refused it: {_one_line(error)}{_because(error)}") from error


def _apply_ini(path: str, text: str) -> None:
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(text, source=path)
    except configparser.Error as error:
        raise _refusal(path, f"it is not valid INI: {_one_line(error)}") from error
    for section in ("loggers", "handlers", "formatters"):
        if not parser.has_section(section):
            raise _refusal(path, f"the section [{section}] is missing, which logging.config.fileConfig requires")
    try:
        logging.config.fileConfig(parser, disable_existing_loggers=False)
    except Exception as error:
        raise _refusal(path, f"logging refused it: {_one_line(error)}{_because(error)}") from error


def _read_yaml(text: str) -> Any:
    try:
        yaml = importlib.import_module("yaml")
    except ImportError as error:
        raise ConfigError(
            "log_config: reading a .yaml file needs PyYAML, which is not installed; "
            "install PyYAML, or write the file as .json or .toml."
        ) from error
    return yaml.safe_load(text)


def _refusal(path: str, why: str) -> ConfigError:
    return ConfigError(f"log_config: the logging configuration {path!r} cannot be used: {why}.")


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split()).rstrip(".")
    # A KeyError is nothing but the key; its type says what happened to it.
    return f"{type(error).__name__}: {text}" if isinstance(error, KeyError) or not text else text


def _because(error: BaseException) -> str:
    return f" ({_one_line(error.__cause__)})" if error.__cause__ is not None else ""
