"""--reload: a helper process that watches source files and tells the supervisor over a pipe.

A process of its own, because the watcher runs threads and the supervisor must stay free of them.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

from keepserve.config import ConfigError, Settings, exitcodes
from keepserve.config.problems import Problem
from keepserve.process.fork import fork_child

logger = logging.getLogger("keepserve")

_PARENT_CHECK_MS = 1000
_STEP_MS = 50
"""Milliseconds without a further change after which the changes so far are reported together."""


def watched_directories(settings: Settings) -> tuple[Path, ...]:
    """What --reload watches: ``reload_dir``, else the application's directory. Empty without --reload.

    Raises `ConfigError` when watchfiles is not installed or a directory does not exist.
    """
    if not settings.reload:
        return ()
    if importlib.util.find_spec("watchfiles") is None:
        raise ConfigError(
            "--reload needs watchfiles, which is not installed: install it (pip install keepserve[reload]), "
            "or leave --reload out."
        )
    names = settings.reload_dir or (settings.app_dir,)
    missing = [name for name in names if not os.path.isdir(name)]
    if missing:
        raise ConfigError(
            [
                Problem(f'"{name}", which --reload is to watch, is not a directory (--reload-dir).', ("reload_dir",))
                for name in missing
            ]
        )
    return tuple(dict.fromkeys(Path(name).resolve() for name in names))


class Watcher:
    """The helper process and the supervisor's end of its pipe."""

    def __init__(self, directories: tuple[Path, ...]) -> None:
        self.directories = directories
        self.pid = 0
        self._read = -1

    def start(self, isolate: Callable[[], None]) -> None:
        """Fork the helper; ``isolate`` closes, in the helper, what belongs to the supervisor."""
        self._read, write = os.pipe()
        os.set_blocking(self._read, False)

        def run() -> int:
            isolate()
            self.close()
            return _watch(self.directories, write)

        try:
            self.pid = fork_child(run, parent_death=signal.SIGKILL)
        finally:
            os.close(write)

    def fileno(self) -> int:
        """Readable when files have changed, or when the helper has ended."""
        return self._read

    def read(self) -> list[str] | None:
        """The files that changed since the last call, or None when the helper has ended."""
        try:
            data = os.read(self._read, 65536)
        except BlockingIOError:
            return []
        # A name cut in two by the end of the buffer only garbles a log line.
        return os.fsdecode(data).rstrip("\0").split("\0") if data else None

    def stop(self) -> None:
        """End the helper, if it still runs."""
        self.close()
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self.pid = 0

    def close(self) -> None:
        """Close our end of the pipe; in a forked child this leaves the supervisor's alone."""
        if self._read >= 0:
            os.close(self._read)
            self._read = -1


def _watch(directories: tuple[Path, ...], pipe: int) -> int:
    supervisor = os.getppid()
    for changed in _changes(directories):
        if os.getppid() != supervisor:
            return exitcodes.OK
        if changed:
            try:
                os.write(pipe, b"".join(os.fsencode(name) + b"\0" for name in changed[:64]))
            except BrokenPipeError:
                return exitcodes.OK
    return exitcodes.OK


def _changes(directories: tuple[Path, ...]) -> Iterator[list[str]]:
    # Imported here: it must not be loaded in the supervisor.
    from watchfiles import PythonFilter, watch

    for changes in watch(
        *directories,
        watch_filter=PythonFilter(),
        step=_STEP_MS,
        rust_timeout=_PARENT_CHECK_MS,
        yield_on_timeout=True,
        raise_interrupt=False,
    ):
        yield sorted({path for _, path in changes})
