"""What a service manager is told: ready, reloading, stopping, still alive (the protocol of sd_notify(3))."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable, MutableMapping

from keepserve.telemetry.output import wait_writable

logger = logging.getLogger("keepserve")

_PATIENCE = 0.1
"""Seconds a message may wait for room in the manager's queue; normally there is room."""


class Notifier:
    """Tells the service manager that started this process how it is; without one every method does nothing.

    Made from ``NOTIFY_SOCKET``, ``WATCHDOG_USEC`` and ``WATCHDOG_PID``, which it takes out of ``environ``:
    workers, and what the application starts, are not to speak for the service. Nothing raises; the first
    message that cannot be delivered is a warning, later ones are debug lines. Each message has a socket of its
    own, so there is no descriptor that a forked worker would share.

    ``environ`` and ``clock`` (microseconds of the monotonic clock) are arguments for tests.
    """

    def __init__(
        self,
        environ: MutableMapping[str, str] = os.environ,
        *,
        clock: Callable[[], int] = lambda: time.monotonic_ns() // 1000,
    ) -> None:
        self._clock = clock
        self._address = _address(environ.pop("NOTIFY_SOCKET", ""))
        self._interval = _interval(environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", ""))
        self._failed = False

    @property
    def enabled(self) -> bool:
        """Whether there is somebody to tell."""
        return self._address is not None

    @property
    def watchdog_interval(self) -> float | None:
        """Seconds between two calls of `ping`: half of ``WatchdogSec=``. None: nobody waits for any."""
        return self._interval if self.enabled else None

    def ready(self, status: str = "") -> None:
        """Start-up, or a reload that `reloading` announced, is complete; ``status`` is for people."""
        self._tell("READY=1", status)

    def status(self, text: str) -> None:
        """One line for people, shown by ``systemctl status``."""
        self._tell("", text)

    def reloading(self, status: str = "") -> None:
        """A reload has begun; `ready` has to follow. With the time that ``Type=notify-reload`` asks for."""
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={self._clock()}", status)

    def stopping(self, status: str = "") -> None:
        """A stop has begun."""
        self._tell("STOPPING=1", status)

    def ping(self) -> None:
        """This process is alive; to be called every `watchdog_interval` seconds."""
        self._tell("WATCHDOG=1")

    def _tell(self, message: str, status: str = "") -> None:
        if self._address is None:
            return
        # A line end in the text would begin another assignment.
        lines = [message, "STATUS=" + " ".join(status.split()) if status else ""]
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.setblocking(False)
                sock.connect(self._address)
                wait_writable(sock.fileno(), _PATIENCE)
                sock.send("\n".join(filter(None, lines)).encode("utf-8", "replace"))
        except OSError as error:
            logger.log(
                logging.DEBUG if self._failed else logging.WARNING,
                "The service manager was not told %s: NOTIFY_SOCKET fails with: %s",
                (message or "STATUS").partition("\n")[0],
                error.strerror or error,
            )
            self._failed = True


def _address(text: str) -> bytes | None:
    if not text:
        return None
    if text[0] not in "/@" or len(text) == 1:
        logger.warning("NOTIFY_SOCKET=%s is not used: expected an absolute path, or @ and an abstract name", text)
        return None
    return os.fsencode("\0" + text[1:] if text[0] == "@" else text)


def _interval(microseconds: str, pid: str) -> float | None:
    if not microseconds or (pid and pid != str(os.getpid())):
        return None
    if not (microseconds.isascii() and microseconds.isdigit() and int(microseconds)):
        logger.warning("WATCHDOG_USEC=%s is not used: expected a number of microseconds", microseconds)
        return None
    return int(microseconds) / 2_000_000
