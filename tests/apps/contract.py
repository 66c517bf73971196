"""What every framework's application does: the same five things, written as its users write them.

``/hello``, ``/lifespan`` (what the startup stored), ``/stream`` (chunks without a length), ``/upload`` (the
SHA-256 of a body, read in parts) and ``/form`` (name and SHA-256 of a file in a multipart form).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

HELLO = "Hello\n"
CHUNKS = [b"chunk %d\n" % number * 100 for number in range(50)]


async def chunks() -> AsyncIterator[bytes]:
    """The streamed response."""
    for chunk in CHUNKS:
        yield chunk
        await asyncio.sleep(0)
