"""Files that belong to a listening Unix socket: the lock beside it, and removing only what is ours."""

from __future__ import annotations

import contextlib
import fcntl
import os


def acquire_lock(path: str) -> int:
    """Create and lock the file ``path``; the descriptor, or -1 when another process holds the lock.

    The kernel drops the lock when every process that inherited the descriptor has closed it, however they
    ended. Raises OSError when the file cannot be opened.
    """
    while True:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            held = os.fstat(lock)
            with contextlib.suppress(FileNotFoundError):
                found = os.lstat(path)
                if (found.st_dev, found.st_ino) == (held.st_dev, held.st_ino):
                    return lock
        except BlockingIOError:
            os.close(lock)
            return -1
        except BaseException:
            os.close(lock)
            raise
        # The holder removed the file between our open and our lock: ours guards nothing, try the next one.
        os.close(lock)


def remove_if_same(path: str, identity: tuple[int, int]) -> None:
    """Remove ``path`` if it is still the file with this (device, inode), and not a successor's."""
    with contextlib.suppress(OSError):
        status = os.lstat(path)
        if (status.st_dev, status.st_ino) == identity:
            os.unlink(path)
