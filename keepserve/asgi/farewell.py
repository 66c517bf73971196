"""How an application learns that its server is closing, so that it can say goodbye to who listens for hours.

``draining`` and ``until_draining`` are ``keepserve.draining`` and ``keepserve.until_draining``. They find their
server by a context variable that lifespan and requests carry, and so does every task and thread
(``asyncio.to_thread``) they start; several servers in one process do not mix.
"""

from __future__ import annotations

import asyncio
import contextvars


class Farewell:
    """One worker's word to its applications, given once: time to say goodbye."""

    __slots__ = ("_event",)

    def __init__(self) -> None:
        self._event = asyncio.Event()

    @property
    def given(self) -> bool:
        """Whether it has been given."""
        return self._event.is_set()

    def give(self) -> None:
        """Give it. Loop thread only."""
        self._event.set()

    async def wait(self) -> None:
        """Wait until it is given."""
        await self._event.wait()

    def enter(self, context: contextvars.Context) -> None:
        """Have everything that runs in copies of ``context`` find this word."""
        context.run(_current.set, self)


_current: contextvars.ContextVar[Farewell] = contextvars.ContextVar("keepserve_farewell")


def draining() -> bool:
    """Whether the worker that serves this request has stopped accepting and waits for its requests to end.

    True from the moment the listeners close, not during a lame duck (``drain_delay``): clients sent away
    while we still accept would only come back to us. False where no keepserve serves: outside of
    lifespan and requests, and under other servers.
    """
    farewell = _current.get(None)
    return farewell is not None and farewell.given


async def until_draining() -> None:
    """Wait until ``draining`` is true; for ever where no keepserve serves.

    Meant to be waited for beside something else, by an application that would send for hours::

        goodbye = asyncio.ensure_future(keepserve.until_draining())
        await asyncio.wait([goodbye, next_event], return_when=asyncio.FIRST_COMPLETED)

    After it, a request has ``drain_timeout`` seconds to end.
    """
    farewell = _current.get(None)
    await (farewell if farewell is not None else Farewell()).wait()
