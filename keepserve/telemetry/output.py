"""Writing log lines to a file descriptor: when to colour, when to wait, and how lines stay whole.

Used by the server log (from whichever thread logs) and by the access log's writer thread. Neither sets
``O_NONBLOCK``: the open file description is shared with the parent, the shell and every other worker,
and the flag would change it for all of them.
"""

from __future__ import annotations

import enum
import fcntl
import os
import re
import select
import stat
from collections.abc import Mapping

ATOMIC_WRITE = select.PIPE_BUF
"""Bytes the kernel writes to a pipe in one piece (POSIX ``PIPE_BUF``): 4096 on Linux, 512 on macOS."""

# C0 and C1 controls (tab and newline are layout, and handled by the callers), DEL, and the characters
# that end a line or turn its direction for a Unicode-aware reader.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def escape_controls(text: str) -> str:
    r"""Replace control characters by ``\xNN`` or ``\uNNNN``; tab and newline stay.

    Keeps terminal escapes and forged line ends out of the log (log injection, CWE-117).
    """
    return _CONTROLS.sub(_escape_match, text)


def _escape_match(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def colors_wanted(setting: bool | None, fd: int, environ: Mapping[str, str] | None = None) -> bool:
    """Whether to colour what goes to ``fd``.

    ``setting`` (``--use-colors``) decides when it is given. Otherwise colours are for terminals only, and
    not when ``NO_COLOR`` is set to anything (https://no-color.org) or ``TERM`` is ``dumb``.
    """
    if setting is not None:
        return setting
    environ = os.environ if environ is None else environ
    if environ.get("NO_COLOR") or environ.get("TERM") == "dumb":
        return False
    return os.isatty(fd)


def wait_writable(fd: int, timeout: float) -> bool:
    """Wait up to ``timeout`` seconds until a write of up to ``ATOMIC_WRITE`` bytes should not block.

    An error on ``fd`` counts as writable: the write then says what is wrong.
    """
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    return bool(poll.poll(timeout * 1000))


def write_at_once(fd: int, data: bytes) -> int:
    """Write up to ``ATOMIC_WRITE`` bytes to a blocking ``fd`` that had room a moment ago; returns how many it took.

    Several processes may write to one pipe, and another one may have taken the room since. Then this raises
    BlockingIOError and does not wait: the pipe is opened once more, without waiting, for this one write. Where
    that is not possible (without /proc, or when the pipe is another user's) it is written to as it is.
    """
    if stat.S_ISFIFO(os.fstat(fd).st_mode):
        try:
            own = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            pass  # also when nobody reads any more: the write says so
        else:
            try:
                return os.write(own, data)
            finally:
                os.close(own)
    return os.write(fd, data)


class _Care(enum.Enum):
    """What a block longer than ``ATOMIC_WRITE`` needs to stay whole."""

    NONE = enum.auto()
    LOCK = enum.auto()
    SPLIT = enum.auto()


def _care_for(fd: int) -> _Care:
    """Pipes and sockets interleave long writes; files and terminals take each write in one piece."""
    mode = os.fstat(fd).st_mode
    return _Care.LOCK if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) else _Care.NONE


class LineOutput:
    """Writes blocks of whole lines to ``fd``; may block, so it belongs on a thread of its own.

    Several workers write to one pipe. The kernel keeps writes up to ``ATOMIC_WRITE`` bytes whole, but one
    write per 40 lines would hand the GIL back and forth hundreds of times a second. Larger blocks are
    written under a POSIX record lock on the pipe instead: it excludes the other workers, dies with its
    process, and a worker that waits for it would be waiting for the same full pipe anyway.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._care: _Care | None = None
        self._torn = False
        """The last write failed in the middle of a line."""

    def write(self, data: bytes) -> None:
        """Write all of ``data`` (whole lines). Raises OSError (EPIPE, ENOSPC, EBADF ...)."""
        if self._care is None:
            self._care = _care_for(self.fd)
        if len(data) <= ATOMIC_WRITE or self._care is _Care.NONE:
            self._write_all(data)
            return
        if self._care is _Care.LOCK:
            try:
                fcntl.lockf(self.fd, fcntl.LOCK_EX)
            except OSError:
                self._care = _Care.SPLIT  # this system does not lock pipes
            else:
                try:
                    self._write_all(data)
                finally:
                    fcntl.lockf(self.fd, fcntl.LOCK_UN)
                return
        for piece in split_lines(data, ATOMIC_WRITE):
            self._write_all(piece)

    def _write_all(self, data: bytes) -> None:
        view = memoryview(b"\n" + data if self._torn else data)
        while view:
            try:
                written = os.write(self.fd, view)
                self._torn = written < len(view)
            except BlockingIOError:
                # Somebody else made the description non-blocking; wait as a blocking write would.
                wait_writable(self.fd, 1.0)
                continue
            view = view[written:]


def split_lines(data: bytes, limit: int) -> list[bytes]:
    """Cut ``data`` into pieces of at most ``limit`` bytes, at line ends where there are any."""
    pieces: list[bytes] = []
    start = 0
    while start < len(data):
        end = start + limit
        if end < len(data):
            newline = data.rfind(b"\n", start, end)
            end = newline + 1 if newline >= 0 else end
        pieces.append(data[start:end])
        start = end
    return pieces
