"""The process that serves the admin listener: as the supervisor sees it, and what runs in it.

It is no worker. It has no seat on the scoreboard, takes no part in balancing, and knows nothing but what stands
there; the supervisor forks it, replaces it when it ends, and kills it when the last worker is gone. So a slow
scrape can disturb neither supervision nor the application.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import pickle
import signal
import socket
import struct
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from keepserve.config import Settings, exitcodes
from keepserve.config.durations import format_duration
from keepserve.process.exits import describe_exit
from keepserve.process.fork import fork_child
from keepserve.process.loops import loop_factory
from keepserve.process.memory import prefer_as_victim, resident
from keepserve.process.respawn import Backoff
from keepserve.process.signals import no_op
from keepserve.telemetry.scoreboard import Scoreboard

if TYPE_CHECKING:
    from keepserve.admin.observer import Observer

logger = logging.getLogger("keepserve")

_LENGTH = struct.Struct("!I")


class AdminProcess:
    """The supervisor's end. ``sockets`` are bound by the caller; without any, nothing ever happens.

    ``listening`` is where the workers serve. ``isolate`` closes, in the forked process, what belongs to the
    supervisor and the workers. ``due`` is when `tick` wants to be called, in seconds of the monotonic clock.
    """

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        board: Scoreboard,
        isolate: Callable[[], None],
        *,
        listening: Sequence[str] = (),
        backoff: Backoff | None = None,
    ) -> None:
        self.pid = 0
        self.due = 0.0 if sockets else math.inf
        self._sockets = list(sockets)
        self._board = board
        self._isolate = isolate
        self._listening = tuple(listening)
        self._backoff = backoff if backoff is not None else Backoff()
        self._channel: socket.socket | None = None
        self._started = 0.0
        self._told: Settings | None = None

    def tick(self, now: float, settings: Settings) -> None:
        """Start the process if it is time to, and tell it of new ``settings`` of the workers'."""
        if self.due <= now:
            self.due = math.inf
            self._start(now, settings)
        elif self._channel is not None and settings is not self._told:
            self._told = settings
            data = pickle.dumps(_plain(settings))
            try:
                self._channel.sendall(_LENGTH.pack(len(data)) + data)
            except BlockingIOError:
                os.kill(self.pid, signal.SIGKILL)  # it does not listen any more; the next one will
            except OSError:
                pass  # it has ended, which SIGCHLD tells

    def ended(self, status: int, now: float) -> None:
        """The process, which has been waited for, is gone."""
        self.pid = 0
        self._close_channel()
        delay = self._backoff.after(now - self._started)
        when = f"in {format_duration(round(delay, 2))}" if delay else "now"
        logger.warning("The admin listener's process %s; another one is started %s", describe_exit(status), when)
        self.due = now + delay

    def stop(self) -> None:
        """End it. It has nothing to lose: what it shows is nowhere but on the scoreboard."""
        self.due = math.inf
        self._close_channel()
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self.pid = 0

    def close(self) -> None:
        """In another forked child: close what belongs to this process and to the supervisor."""
        self._close_channel()
        for sock in self._sockets:
            sock.close()

    def _start(self, now: float, settings: Settings) -> None:
        mine, theirs = socket.socketpair()
        supervisor = os.getpid()

        def run() -> int:
            mine.close()
            self._isolate()
            return _main(self._sockets, theirs, self._board, settings, self._listening, supervisor)

        try:
            # It goes on during a stop, also where every process is sent SIGTERM; so only SIGKILL means the end.
            self.pid = fork_child(run, parent_death=signal.SIGKILL)
        except OSError as error:
            mine.close()
            delay = max(self._backoff.after(0.0), 0.1)
            logger.error(
                "The admin listener's process could not be started (%s); next try in %s",
                error,
                format_duration(delay),
            )
            self.due = now + delay
            return
        finally:
            theirs.close()
        mine.setblocking(False)  # nothing that happens there may keep the supervisor waiting
        self._channel, self._started, self._told = mine, now, settings

    def _close_channel(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None


def own_settings(settings: Settings) -> Settings:
    """What the admin listener's own server runs with: a few small requests of people and scrapers."""
    return Settings(
        loop=settings.loop,
        lifespan="on",
        lb="none",
        lb_idle_timeout=0.0,
        balance_workers=False,
        limit_connections=64,
        limit_request_line=2048,
        limit_request_head=16 * 1024,
        limit_request_body=1024,
        http2_max_streams=16,
        websocket=False,
        body_timeout=5.0,
        write_timeout=10.0,
        linger_timeout=2.0,
        proxy_headers=False,
        access_log=False,
        drain_idle=0.0,
        drain_timeout=1.0,
        drain_cancel=0.1,
        shutdown_timeout=1.0,
    )


class _Ear:
    """Listens to the supervisor: to new settings, and to its end."""

    def __init__(self, observer: Observer, stop: Callable[[], None], channel: socket.socket) -> None:
        self._observer = observer
        self._stop = stop
        self._channel = channel
        self._loop = asyncio.get_running_loop()
        self._heard = b""

    def listen(self) -> None:
        """From now on."""
        self._channel.setblocking(False)
        self._loop.add_reader(self._channel, self._read)

    def _read(self) -> None:
        try:
            data = self._channel.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._loop.remove_reader(self._channel)
            self._stop()
            return
        self._heard += data
        while len(self._heard) >= _LENGTH.size:
            end = _LENGTH.size + _LENGTH.unpack_from(self._heard)[0]
            if len(self._heard) < end:
                break
            self._observer.settings = pickle.loads(self._heard[_LENGTH.size : end])
            self._heard = self._heard[end:]


def _plain(settings: Settings) -> Settings:
    """The settings without what cannot be sent to another process: an application is an object."""
    return replace(settings, app=settings.app if isinstance(settings.app, str) else None)


def _main(
    sockets: list[socket.socket],
    channel: socket.socket,
    board: Scoreboard,
    settings: Settings,
    listening: tuple[str, ...],
    supervisor: int,
) -> int:
    """Serve until the supervisor is gone, or kills us."""
    signal.signal(signal.SIGTERM, no_op)
    prefer_as_victim()
    # Imported here: nobody else needs it, and the supervisor is to stay small.
    from keepserve.admin.app import Admin
    from keepserve.admin.observer import Observer
    from keepserve.server.addresses import is_loopback
    from keepserve.server.server import Server

    observer = Observer(board, settings, listening=listening, pid=supervisor, memory_of=resident)
    local = all(sock.family != socket.AF_UNIX and is_loopback(sock.getsockname()[0]) for sock in sockets)
    server = Server(replace(own_settings(settings), app=Admin(observer, local=local)))

    async def serve() -> None:
        _Ear(observer, server.stop, channel).listen()
        await server.serve(sockets)

    try:
        with asyncio.Runner(loop_factory=loop_factory(settings.loop)) as runner:
            runner.run(serve())
    except Exception:
        logger.critical("The admin listener's process failed unexpectedly", exc_info=True)
        return exitcodes.CRASH
    return exitcodes.OK
