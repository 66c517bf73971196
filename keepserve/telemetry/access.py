"""The access log: one line per request, written by a thread, never waited for.

Rules this file keeps:

1. ``AccessLog.log`` never blocks, whatever standard output is connected to. It notes what the line needs; lines
   that are rendered wait in a queue bounded in bytes. When the queue is full they are dropped and counted.
2. Sixty-four lines are rendered at once, on the event loop, in half the time or less that they would take one by
   one between the requests (`keepserve.telemetry.lines`); 256 at once are no faster. The thread renders only the
   few that are left when it wakes: rendering them all there would hold the GIL for milliseconds at a time, in
   which no request moves.
3. The thread wakes at most 20 times a second and writes all there is in one go. Each wake-up makes the
   event loop hand over the GIL and wait for its return, up to a switch interval (5 ms) each time; a
   thread woken per line would cost more than the lines themselves.
4. Failing output (EPIPE, ENOSPC) is never fatal: lines are lost, counted, and reported.

The event loop and the thread share two lists. Who takes lines out of ``_notes`` holds a lock, which the loop only
tries to get: while the thread has it, for two steps, lines are noted and rendered with the next.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from keepserve.config.settings import Settings
from keepserve.telemetry.files import LogFile, log_file
from keepserve.telemetry.formats import CombinedLines, FormattedLines
from keepserve.telemetry.jsonlines import JSONLines
from keepserve.telemetry.lines import Form, TextLines
from keepserve.telemetry.logs import LEVELS, access_logger_configured, standard_stream_open
from keepserve.telemetry.output import LineOutput, colors_wanted

if TYPE_CHECKING:
    from keepserve.asgi.exchange import Exchange
    from keepserve.server.hosting import Hosting

STDOUT: Final = 1
QUEUE_LIMIT: Final = 8 * 1024 * 1024
"""Bytes of lines that may wait: about 90,000 typical lines, more than a second at full speed."""
INTERVAL: Final = 0.05
"""Seconds between two writes while requests keep coming."""
REPORT_INTERVAL: Final = 10.0
"""Seconds between two reports of dropped lines."""

BATCH: Final = 64
"""Lines that are rendered together."""

_LONGEST_WRITE: Final = 256 * 1024  # bytes: bounds what a blocked write holds beside the queue

_access_logger = logging.getLogger("keepserve.access")
_logger = logging.getLogger("keepserve")


def open_access_log(settings: Settings) -> AccessLog | None:
    """The access log these settings ask for, not started yet, or None when they ask for none.

    None for ``--no-access-log``, for a ``--log-level`` above info (access lines are of level info), and when
    it is to go to standard output and that was closed before the interpreter started: its number may be a
    client's socket by now. Raises `ConfigError` when ``access_log_file`` is not open yet and cannot be opened.
    """
    if not settings.access_log:
        return None
    if access_logger_configured(settings):
        from keepserve.telemetry.records import RecordLog  # it is made of an AccessLog

        return RecordLog(settings) if _access_logger.isEnabledFor(logging.INFO) else None
    if LEVELS[settings.log_level] > logging.INFO:
        return None
    if settings.access_log_file is not None:
        return AccessLog(settings, file=log_file("access_log_file", settings.access_log_file))
    return AccessLog(settings) if standard_stream_open(STDOUT) else None


def new_form(name: str) -> Form:
    """Return the format of a name or, if it is none, of a text with fields; without colours."""
    if name == "json":
        return JSONLines()
    if name == "text":
        return TextLines(colors=False)
    return CombinedLines() if name == "combined" else FormattedLines(name)


class AccessLog:
    """Access lines on their way to standard output or to a file.

    Create it anywhere; call ``start()`` after the last fork, because a thread does not survive one. What is
    logged before ``start()`` waits in the queue. When the ``--log-config`` file configures the logger
    ``keepserve.access``, there is a `keepserve.telemetry.records.RecordLog` instead: it hands records to that
    logger on the same thread, so that a slow handler does not delay requests either.

    ``fd``, ``queue_limit`` (bytes), ``interval`` (seconds), ``batch`` (lines rendered at once) and ``clock``
    (monotonic seconds, those of the connections) are for tests.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        file: LogFile | None = None,
        fd: int = STDOUT,
        queue_limit: int = QUEUE_LIMIT,
        interval: float = INTERVAL,
        batch: int = BATCH,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._file = file
        self._output = LineOutput(fd if file is None else file.fd)
        self._form = self._new_form()
        self._note = self._form.note
        self._clock = clock
        self._interval = interval
        self._batch = batch
        self._notes: list[Any] = []
        self._lock = threading.Lock()
        self._queue: list[bytes] = []
        self._queue_limit = queue_limit
        # Bytes ever queued and bytes ever taken out. Each has one writing thread at a time, so neither needs a
        # lock of its own; their difference is what waits.
        self._queued = 0
        self._taken = 0
        # Lost lines, likewise: those the queue had no room for, and those the output failed on.
        self._refused = 0
        self._failed = 0
        self._reported = 0
        self._next_report = -1.0
        self._last_error: OSError | None = None
        self._asleep = False
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def dropped(self) -> int:
        """Lines lost so far: the queue was full, the output failed, or did not take them before the end."""
        return self._refused + self._failed

    def start(self) -> None:
        """Start the writer thread, in the process that serves. Calling it twice starts one thread."""
        if self._thread is None:
            self._render_notes()  # by the form that took them
            self._form = self._new_form()  # the pid in its lines is the worker's
            self._note = self._form.note
            self._thread = threading.Thread(target=self._run, name="keepserve-access-log", daemon=True)
            self._thread.start()

    def log(self, connection: Hosting, exchange: Exchange, status: int, ended: float) -> None:
        """Note the line of one request; about half a microsecond, never blocks, never raises.

        ``status`` is the one to show, ``ended`` is when the request ended, in monotonic seconds.
        """
        notes = self._notes
        notes.append(self._note(connection, exchange, status, ended))
        # More than a batch: the thread had the lock the last time.
        if len(notes) >= self._batch and self._lock.acquire(blocking=False):
            try:
                self._render_notes()
            finally:
                self._lock.release()
        if self._asleep:
            self._wake_up()

    def close(self, timeout: float = 2.0) -> None:
        """Write what is queued and end the thread, waiting up to ``timeout`` seconds.

        What the output does not take by then is lost and counted. Safe to call twice, or before ``start()``.
        """
        thread = self._thread
        self._closing.set()
        self._wake.set()
        if thread is not None:
            thread.join(timeout)
            if thread.is_alive():
                # The thread is stuck in a write and a daemon: it ends with the process.
                self._refused += sum(data.count(b"\n") for data in self._queue) + len(self._notes)
                self._queue.clear()
                self._notes.clear()
        self._report(self._clock(), force=True)

    def _new_form(self) -> Form:
        settings = self._settings
        name = settings.access_log_format or settings.log_format
        if name == "text" and self._file is None and colors_wanted(settings.use_colors, self._output.fd):
            return TextLines(colors=True)
        return new_form(name)

    def _wake_up(self) -> None:
        # Order matters: the thread sets _asleep and then looks at the lists, log() appends and then looks at
        # _asleep, so one of the two always sees the other.
        if self._asleep:
            self._asleep = False
            self._wake.set()

    def _render_notes(self) -> None:
        """Render what was noted by now; whoever calls it has the lock, or is alone."""
        notes = self._notes
        # Two single steps, each atomic, while log() appends at the other end.
        batch = notes[:]
        del notes[: len(batch)]
        if not batch:
            return
        now = self._clock()
        data = self._form.lines(batch, time.time() - now).encode("ascii", "backslashreplace")
        if self._queued + len(data) - self._taken > self._queue_limit:
            self._refused += len(batch)
            self._report(now)
            return
        self._queued += len(data)
        self._queue.append(data)

    def _report(self, now: float, *, force: bool = False) -> None:
        """Tell the server log about lost lines: the first at once, then at most every ten seconds."""
        dropped = self.dropped
        lost = dropped - self._reported
        if lost <= 0 or (now < self._next_report and not force):
            return
        self._next_report = now + REPORT_INTERVAL
        self._reported = dropped
        error = self._last_error
        reason = f"it fails with: {error.strerror}" if error else "it does not take them fast enough"
        lines = "1 line was" if lost == 1 else f"{lost} lines were"
        _logger.warning(
            "access log: %s lost at %s: %s. Requests are not affected.",
            lines,
            "what standard output is connected to" if self._file is None else self._file.path,
            reason,
        )

    # The writer thread.

    def _run(self) -> None:
        while True:
            self._asleep = True
            if not self._queue and not self._notes and not self._closing.is_set():
                self._wake.wait()
            self._asleep = False
            self._wake.clear()
            # Let lines gather; close() ends the wait.
            self._closing.wait(self._interval)
            # Read before the lists: what was logged before close() is then seen below.
            closing = self._closing.is_set()
            self._work()
            if self.dropped > self._reported:
                self._report(self._clock())
            if closing and not self._queue and not self._notes:
                return

    def _work(self) -> None:
        with self._lock:
            self._render_notes()
        queue = self._queue
        while queue:
            size = number = 0
            for number, data in enumerate(queue, 1):  # noqa: B007
                size += len(data)
                if size >= _LONGEST_WRITE:
                    break
            batch = queue[:number]
            del queue[:number]
            self._write(b"".join(batch))

    def _write(self, data: bytes) -> None:
        try:
            self._output.write(data)
            self._last_error = None
        except OSError as error:
            self._last_error = error
            self._failed += data.count(b"\n")
        self._taken += len(data)
