"""Reading a file for ``http.response.pathsend`` without blocking the event loop."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncGenerator
from io import FileIO

CHUNK = 256 * 1024
"""Bytes read at a time: large enough that the hop to a thread does not show, small enough for a slow client."""


async def read_chunks(path: str) -> AsyncGenerator[tuple[bytes, bool]]:
    """Yield ``(bytes, is_last)`` of a regular file; an empty file gives one empty chunk.

    The size is what the file had when it was opened, so that a file being appended to ends.

    Raises:
        OSError: the file cannot be opened or read, or is not a regular file.
    """
    loop = asyncio.get_running_loop()
    file, left = await loop.run_in_executor(None, _open, path)
    try:
        while True:
            chunk = await loop.run_in_executor(None, file.read, min(CHUNK, left)) if left else b""
            if left and not chunk:
                raise OSError(f"The file {path!r} became shorter while it was sent; {left} bytes are missing.")
            left -= len(chunk)
            yield chunk, left == 0
            if left == 0:
                return
    finally:
        file.close()


def _open(path: str) -> tuple[FileIO, int]:
    # Unbuffered, since the chunks are large. read_chunks closes it.
    file = FileIO(path, "rb", opener=_open_at_once)
    facts = os.fstat(file.fileno())
    if not stat.S_ISREG(facts.st_mode):
        file.close()
        raise OSError(f"'http.response.pathsend' needs a regular file, and {path!r} is none.")
    return file, facts.st_size


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # a named pipe would keep the thread until somebody writes
