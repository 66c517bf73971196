"""The lifespan protocol (https://asgi.readthedocs.io/en/latest/specs/lifespan.html)."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from types import TracebackType
from typing import Any

from keepserve.asgi.types import ASGI_VERSION, LIFESPAN_SPEC_VERSION, App, Message

logger = logging.getLogger("keepserve")


class LifespanError(Exception):
    """The application could not start; the message is fit to be shown as it is.

    ``show_traceback`` tells that the cause is an exception of the application's own.
    """

    def __init__(self, message: str, show_traceback: bool = False) -> None:
        super().__init__(message)
        self.show_traceback = show_traceback


class Lifespan:
    """Runs the application's lifespan in a task of its own.

    ``mode`` is ``auto`` (an application that raises is taken to know no lifespan), ``on`` (that is
    an error) or ``off``. After ``startup``, ``state`` holds what the application stored for its
    requests, and ``context`` the context variables it set: requests run in copies of it.
    """

    def __init__(self, app: App, mode: str) -> None:
        self._app = app
        self._mode = mode
        self._task: asyncio.Task[None] | None = None
        self._inbox: asyncio.Queue[Message] = asyncio.Queue()
        self._started: asyncio.Future[str | None] | None = None
        self._stopped: asyncio.Future[str | None] | None = None
        self._received = False
        self._serving = False
        self._own_traceback: TracebackType | None = None
        self.state: dict[str, Any] = {}
        self.context = contextvars.copy_context()

    async def startup(self, timeout: float) -> None:
        """Send ``lifespan.startup`` and wait for its answer, at most ``timeout`` seconds (0: for ever).

        Raises:
            LifespanError: the application reported failure, raised with ``mode="on"``, or took too long.
        """
        if self._mode == "off":
            return
        loop = asyncio.get_running_loop()
        self._started, self._stopped = loop.create_future(), loop.create_future()
        self._task = loop.create_task(self._run(), context=self.context)
        self._inbox.put_nowait({"type": "lifespan.startup"})
        try:
            message = await asyncio.wait_for(asyncio.shield(self._started), timeout or None)
        except TimeoutError:
            await self._cancel()
            raise LifespanError(
                f"The application's lifespan startup took longer than startup_timeout, {timeout:g} s."
            ) from None
        except asyncio.CancelledError:
            await self._cancel()
            raise
        except BaseException as error:
            self._task = None
            self._settle(error)
            return
        if message is not None:
            await self._cancel()
            raise LifespanError("The application's lifespan startup failed" + (f":\n{message}" if message else "."))

    def _settle(self, error: BaseException) -> None:
        """The application raised before it answered: the specification says to go on without lifespan."""
        if self._mode == "on" and isinstance(error, LifespanError):
            raise LifespanError(f"The application's lifespan startup failed: {error}.")
        if self._mode == "on":
            raise LifespanError(
                "The application raised an exception in its lifespan startup.", show_traceback=True
            ) from error.with_traceback(self._own_traceback)
        if self._received:
            logger.warning(
                "The application raised %s in its lifespan startup; going on without lifespan "
                "(--lifespan on makes this fatal, --lifespan off silences it)",
                repr(error),
            )
        else:
            logger.debug("The application does not speak lifespan (%r)", error)

    async def shutdown(self, timeout: float) -> None:
        """Send ``lifespan.shutdown`` and wait for the application to end, at most ``timeout`` seconds."""
        task = self._task
        if task is None or self._stopped is None:
            return
        self._serving = False
        if task.done():
            logger.warning("The application's lifespan ended before the server did")
            return
        self._inbox.put_nowait({"type": "lifespan.shutdown"})
        try:
            message = await asyncio.wait_for(asyncio.shield(self._stopped), timeout or None)
            if message is not None:
                logger.error("The application's lifespan shutdown failed: %s", message or "no reason given")
            await asyncio.wait_for(asyncio.shield(task), timeout or None)
        except TimeoutError:
            logger.error(
                "The application's lifespan shutdown took longer than %g s; it hangs at%s",
                timeout,
                _whereabouts(task),
            )
        except Exception:
            logger.exception("The application raised an exception in its lifespan shutdown")
        finally:
            await self._cancel()

    async def _cancel(self) -> None:
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task], timeout=1.0)

    async def _run(self) -> None:
        assert self._started is not None
        assert self._stopped is not None
        scope = {
            "type": "lifespan",
            "asgi": {"version": ASGI_VERSION, "spec_version": LIFESPAN_SPEC_VERSION},
            "state": self.state,
        }
        try:
            await self._app(scope, self._receive, self._send)
        except BaseException as error:
            # From the application's first frame on: ours, and asyncio's, say nothing to its author.
            self._own_traceback = error.__traceback__ and error.__traceback__.tb_next
            waiting = self._started if not self._started.done() else self._stopped
            if waiting.done():
                raise
            waiting.set_exception(error if isinstance(error, Exception) else LifespanError(repr(error)))
            # Whoever waits is told; if nobody does (a crash while serving), the log is.
            if waiting is self._stopped:
                waiting.exception()
            if self._serving:
                logger.error("The application's lifespan ended with an exception", exc_info=error)
        else:
            if not self._started.done():
                self._started.set_exception(LifespanError("it returned without answering lifespan.startup"))
            elif not self._stopped.done():
                self._stopped.set_result(None)

    async def _receive(self) -> Message:
        self._received = True
        return await self._inbox.get()

    async def _send(self, message: Message) -> None:
        assert self._started is not None
        assert self._stopped is not None
        kind = message["type"]
        phase, _, outcome = kind.removeprefix("lifespan.").partition(".")
        future = {"startup": self._started, "shutdown": self._stopped}.get(phase)
        if future is None or not kind.startswith("lifespan.") or outcome not in ("complete", "failed"):
            raise RuntimeError(f"The application sent {kind!r} on its lifespan; that is not a lifespan message.")
        if future.done():
            raise RuntimeError(f"The application sent {kind!r} twice.")
        self._serving = phase == "startup" and outcome == "complete"
        future.set_result(None if outcome == "complete" else str(message.get("message", "")))


def _whereabouts(task: asyncio.Task[None]) -> str:
    """Return the places a suspended task stands at, from the outermost in, one to a line."""
    places = ""
    awaited: Any = task.get_coro()
    while awaited is not None:
        frame = getattr(awaited, "cr_frame", None) or getattr(awaited, "gi_frame", None)
        if frame is not None:
            places += f"\n  {frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}"
        awaited = getattr(awaited, "cr_await", None) or getattr(awaited, "gi_yieldfrom", None)
    return places
