"""Log files: opened once, before the fork, shared by all workers, and opened anew when they have been moved."""

from __future__ import annotations

import logging
import os
from pathlib import PurePath

from keepserve.config.problems import ConfigError, Problem
from keepserve.config.settings import FIELDS_BY_NAME

logger = logging.getLogger("keepserve")

MODE = 0o640
"""Permissions of a log file that we create, less the umask: logs name clients and what they asked for."""

# Another terminal or named pipe may be at the path: neither becomes ours, nor do we wait for its other end.
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK


class LogFile:
    """A file that lines are appended to, open as ``fd`` for as long as the process lives.

    ``reopen`` puts another file behind the same number, so whoever writes to ``fd`` need not know of it.
    ``path`` is absolute from the start: a working directory that changes later does not move the log.
    """

    def __init__(self, path: str) -> None:
        self.path = os.path.abspath(path)
        self.fd = _open(self.path)

    def reopen(self) -> None:
        """Go on in the file that is now at ``path``. Raises OSError, and then goes on in the old one.

        A write that another thread is in the middle of goes to the old file as a whole, the next to the new.
        """
        fd = _open(self.path)
        try:
            os.dup2(fd, self.fd, inheritable=False)
        finally:
            os.close(fd)


_opened: dict[str, LogFile] = {}
"""The files of this process by their setting's value; a forked worker finds those of its supervisor here."""


def log_file(setting: str, path: str) -> LogFile:
    """The log file that ``setting`` names: opened now, unless this process or the one it was forked from has it.

    Raises `ConfigError` with one sentence.
    """
    file = _opened.get(path)
    if file is None:
        try:
            file = _opened[path] = LogFile(path)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            flag = FIELDS_BY_NAME[setting].flag
            cure = f"create its directory and let this user write there, or choose another {flag}"
            message = f"{setting}: the log file {path!r} cannot be opened for appending: {reason}; {cure}."
            raise ConfigError(Problem(message, (setting,))) from None
    return file


def opened(path: str | None) -> LogFile | None:
    """The log file that a setting's value stands for, if it is in use."""
    return _opened.get(path) if path is not None else None


def is_same_file(fd: int, path: str | PurePath) -> bool:
    """Whether ``fd`` is open on what is at ``path`` now. Raises OSError when ``fd`` is not open."""
    there = os.fstat(fd)
    try:
        return os.path.samestat(there, os.stat(path))
    except OSError:
        return False  # moved, and nothing has taken its place yet


def _open(path: str) -> int:
    fd = os.open(path, _FLAGS, MODE)
    os.set_blocking(fd, True)
    return fd
