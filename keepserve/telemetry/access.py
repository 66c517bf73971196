"""The access log: one line per request, written by a thread, never waited for.

Rules this file keeps:

1. ``AccessLog.log`` never blocks, whatever standard output is connected to. It renders the line and puts
   it into a queue bounded in bytes; when the queue is full the line is dropped and counted.
2. Lines are rendered where they arise, on the event loop, about a microsecond each. Rendering them on the
   thread costs the same in sum, but holds the GIL for milliseconds at a time, in which no request moves.
3. The thread wakes at most 20 times a second and writes all there is in one go. Each wake-up makes the
   event loop hand over the GIL and wait for its return, up to a switch interval (5 ms) each time; a
   thread woken per line would cost more than the lines themselves.
4. Failing output (EPIPE, ENOSPC) is never fatal: lines are lost, counted, and reported.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final, cast

from keepserve.config.settings import Settings
from keepserve.telemetry.files import LogFile, log_file
from keepserve.telemetry.lines import Renderer, json_renderer, text_renderer
from keepserve.telemetry.logs import LEVELS, access_logger_configured, standard_stream_open
from keepserve.telemetry.output import LineOutput, colors_wanted

STDOUT: Final = 1
QUEUE_LIMIT: Final = 8 * 1024 * 1024
"""Bytes of lines that may wait: about 90,000 typical lines, more than a second at full speed."""
INTERVAL: Final = 0.05
"""Seconds between two writes while requests keep coming."""
REPORT_INTERVAL: Final = 10.0
"""Seconds between two reports of dropped lines."""

_BATCH: Final = 2048  # lines per write: bounds what a blocked write holds beside the queue
_RECORD_WEIGHT: Final = 512  # bytes a request waiting for a logging handler is counted as, beside its target

_Request = tuple[float, str, str, bytes, str, int, int, float, int]

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
        return AccessLog(settings) if _access_logger.isEnabledFor(logging.INFO) else None
    if LEVELS[settings.log_level] > logging.INFO:
        return None
    if settings.access_log_file is not None:
        return AccessLog(settings, file=log_file("access_log_file", settings.access_log_file))
    return AccessLog(settings) if standard_stream_open(STDOUT) else None


class AccessLog:
    """Access lines on their way to standard output, to a file, or to the handlers of a ``--log-config``.

    Create it anywhere; call ``start()`` after the last fork, because a thread does not survive one. What is
    logged before ``start()`` waits in the queue. When the ``--log-config`` file configures the logger
    ``keepserve.access``, requests become log records of that logger instead (attributes ``client``,
    ``method``, ``target``, ``http_version``, ``status``, ``sent``, ``duration``, ``connection_requests``),
    handled on the same thread so that a slow handler does not delay requests either.

    ``fd``, ``queue_limit`` (bytes), ``interval`` (seconds) and ``clock`` (monotonic seconds, for the reports)
    are for tests.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        file: LogFile | None = None,
        fd: int = STDOUT,
        queue_limit: int = QUEUE_LIMIT,
        interval: float = INTERVAL,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._file = file
        self._output = LineOutput(fd if file is None else file.fd)
        self._through_logging = access_logger_configured(settings)
        self._render = self._new_renderer()
        self._plain = text_renderer(colors=False)
        self._time = time.time
        self._clock = clock
        self._interval = interval
        self._queue: list[bytes | _Request] = []
        self._queue_limit = queue_limit
        # Bytes ever queued and bytes ever taken out. Each has one writing thread, so neither needs a lock;
        # their difference is what waits.
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
            self._render = self._new_renderer()  # the pid in its lines is the worker's
            self._thread = threading.Thread(target=self._run, name="keepserve-access-log", daemon=True)
            self._thread.start()

    def log(
        self,
        client: str,
        method: str,
        target: bytes,
        http_version: str,
        status: int,
        sent: int,
        duration: float,
        connection_requests: int,
    ) -> None:
        """Queue the line of one request; about a microsecond, never blocks, never raises.

        ``target`` is the raw request target, ``sent`` counts body bytes, ``duration`` is in seconds from the
        head to the last body byte, ``connection_requests`` is the request's number on its connection from 1.
        """
        now = self._time()
        entry: bytes | _Request
        if self._through_logging:
            entry = (now, client, method, target, http_version, status, sent, duration, connection_requests)
            queued = self._queued + _RECORD_WEIGHT + len(target)
        else:
            entry = self._render(
                now, client, method, target, http_version, status, sent, duration, connection_requests
            )
            queued = self._queued + len(entry)
        if queued - self._taken > self._queue_limit:
            self._refuse()
            return
        self._queued = queued
        self._queue.append(entry)
        # Order matters: the thread sets _asleep and then looks at the queue, we append and then look at
        # _asleep, so one of the two always sees the other.
        if self._asleep:
            self._asleep = False
            self._wake.set()

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
                self._refused += len(self._queue)
                self._queue.clear()
        self._report(self._clock(), force=True)

    def _new_renderer(self) -> Renderer:
        if self._settings.log_format == "json":
            return json_renderer()
        colors = self._file is None and colors_wanted(self._settings.use_colors, self._output.fd)
        return text_renderer(colors=colors)

    def _refuse(self) -> None:
        self._refused += 1
        self._report(self._clock())

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
            if not self._queue and not self._closing.is_set():
                self._wake.wait()
            self._asleep = False
            self._wake.clear()
            # Let lines gather; close() ends the wait.
            self._closing.wait(self._interval)
            # Read before the queue: what was logged before close() is then seen below.
            closing = self._closing.is_set()
            self._write_queue()
            if closing and not self._queue:
                return

    def _write_queue(self) -> None:
        queue = self._queue
        # Two single steps, each atomic, while log() appends at the other end. A list rather than a deque,
        # because a slice takes two thousand lines in the time of a hundred popleft() calls.
        while batch := queue[:_BATCH]:
            del queue[: len(batch)]
            # The queue holds one kind of entry for the life of the log, see log().
            if self._through_logging:
                self._hand_to_logging(cast("list[_Request]", batch))
            else:
                self._write_batch(cast("list[bytes]", batch))
        if self.dropped > self._reported:
            self._report(self._clock())

    def _write_batch(self, lines: list[bytes]) -> None:
        data = b"".join(lines)
        try:
            self._output.write(data)
            self._last_error = None
        except OSError as error:
            self._last_error = error
            self._failed += len(lines)
        self._taken += len(data)

    def _hand_to_logging(self, requests: list[_Request]) -> None:
        for request in requests:
            try:
                _access_logger.handle(self._record(request))
            except Exception:
                # A handler of the user's that raises must not end the thread, nor with it the log.
                self._failed += 1
            self._taken += _RECORD_WEIGHT + len(request[3])

    def _record(self, request: _Request) -> logging.LogRecord:
        now, client, method, target, http_version, status, sent, duration, connection_requests = request
        line = self._plain(*request)
        record = _access_logger.makeRecord(
            _access_logger.name,
            logging.INFO,
            __file__,
            0,
            "%s",
            (line[:-1].decode("ascii").split(" ", 2)[2],),  # without the time, which is the formatter's to add
            None,
            extra={
                "client": client,
                "method": method,
                "target": target,
                "http_version": http_version,
                "status": status,
                "sent": sent,
                "duration": duration,
                "connection_requests": connection_requests,
            },
        )
        # The time of the request, not of the batch.
        record.created = now
        record.msecs = now % 1 * 1000
        return record
