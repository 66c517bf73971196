"""SIGUSR1: go on in new log files, after logrotate or a person has moved the old ones away."""

from __future__ import annotations

import contextlib
import logging
import logging.handlers
from collections.abc import Iterator

from keepserve.config.settings import Settings
from keepserve.telemetry.files import is_same_file, opened

logger = logging.getLogger("keepserve")


def reopen_logs(settings: Settings) -> None:
    """Open the log files anew by their paths; to be called in the supervisor and in each worker.

    That is ``log_file``, ``access_log_file`` and, with a ``log_config``, the files of logging's handlers. Each
    is opened before the old one is given up: where that fails, the log goes on in the old file and says so.
    Never raises.
    """
    problems: list[str] = []
    # Both settings may name one file, which is then one descriptor.
    for path in dict.fromkeys((settings.log_file, settings.access_log_file)):
        file = opened(path)
        if file is not None:
            try:
                file.reopen()
            except OSError as error:
                problems.append(_sentence(file.path, error))
    if settings.log_config is not None:
        for handler in _file_handlers():
            try:
                _reopen_handler(handler)
            except (OSError, ValueError) as error:
                problems.append(_sentence(handler.baseFilename, error))
    # Not in between: the handler that failed may be the one that writes this.
    for problem in problems:
        logger.error("%s", problem)


def _sentence(path: str, error: OSError | ValueError) -> str:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else error
    return f"The log file {path!r} cannot be opened anew: {reason}; the log goes on in the old file."


def _reopen_handler(handler: logging.FileHandler) -> None:
    """Give a handler the file that is now at its path. Raises OSError or ValueError; then it keeps the old one."""
    handler.acquire()
    try:
        old = handler.stream
        # None: it opens its file with the first record (delay=True), and so by its path.
        if old is None or is_same_file(old.fileno(), handler.baseFilename):
            return
        # Several workers come here, and none may empty or refuse what another has begun.
        if handler.mode[:1] in ("w", "x"):
            handler.mode = "a" + handler.mode[1:]
        new = handler._open()
        try:
            handler.setStream(new)  # after a flush of the old one
        except BaseException:
            new.close()
            raise
        with contextlib.suppress(OSError):
            old.close()
    finally:
        handler.release()


def _file_handlers() -> Iterator[logging.FileHandler]:
    """All handlers of loggers that write to files, and those behind handlers that pass records on."""
    loggers = [logging.getLogger(), *logging.getLogger().manager.loggerDict.values()]
    waiting = [handler for one in loggers if isinstance(one, logging.Logger) for handler in one.handlers]
    seen: set[int] = set()
    while waiting:
        handler = waiting.pop(0)
        if id(handler) in seen:
            continue
        seen.add(id(handler))
        # WatchedFileHandler looks at its path before each record.
        watched = isinstance(handler, logging.handlers.WatchedFileHandler)
        if isinstance(handler, logging.FileHandler) and not watched:
            yield handler
        if isinstance(handler, logging.handlers.MemoryHandler) and handler.target is not None:
            waiting.append(handler.target)
        listener = getattr(handler, "listener", None)  # of a QueueHandler, since Python 3.12
        waiting += getattr(listener, "handlers", ())
