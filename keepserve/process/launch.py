"""From settings to a running server and its exit code."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import resource
import sys
import threading
from collections.abc import Sequence
from functools import partial

from keepserve.config import ConfigError, Settings, exitcodes
from keepserve.process.banner import banner
from keepserve.process.context import Launch, Reread, WorkerEntry
from keepserve.process.loops import loop_name
from keepserve.process.reload import Watcher, watched_directories
from keepserve.process.supervisor import Supervisor
from keepserve.process.systemd import Notifier
from keepserve.server.listening import BindError, bind_admin, bind_sockets, display, reserve
from keepserve.server.tls import build_context
from keepserve.telemetry.logs import configure_logging

logger = logging.getLogger("keepserve")

_MOST_DESCRIPTORS = 65536 if sys.platform != "darwin" else 10240
"""What the limit on open files is raised to, if the system allows that many. macOS refuses more than OPEN_MAX."""


_OURS_ALONE = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")
"""What a service manager says to the supervisor in its environment, and workers must not take for theirs."""


def run_supervised(
    settings: Settings,
    warnings: Sequence[str] = (),
    *,
    worker_entry: WorkerEntry | None = None,
    reread: Reread | None = None,
) -> int:
    """Serve with worker processes until a signal ends it; the exit code (see `keepserve.config.exitcodes`).

    Everything that can be refused is refused before anything is bound, everything is bound before anything
    is forked, and each refusal is one message on standard error. ``warnings`` go to the log after the
    start-up message; ``worker_entry`` replaces `worker_main`. ``reread`` reads settings and environment again for a
    reload (certificates are read here); without it a reload keeps them. Raises RuntimeError outside the main thread,
    where signals cannot be handled.
    """
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError(
            "keepserve forks its workers and handles signals, which needs the main thread, and this is "
            f"{threading.current_thread().name}; in a thread, use keepserve.Server and await its serve()."
        )
    _open_standard_streams()
    _raise_descriptor_limit()
    notifier = Notifier()
    with contextlib.ExitStack() as bound:
        try:
            configure_logging(settings)
            loop = loop_name(settings.loop)
            watched = watched_directories(settings)
            context = build_context(settings)
            sockets = bind_sockets(settings)
            for sock in sockets:
                bound.callback(sock.close)
            reserve(sockets, reserved=True)
            admin_sockets = bind_admin(settings)
            for sock in admin_sockets:
                bound.callback(sock.close)
        except ConfigError as error:
            return _refuse(error, exitcodes.SETTINGS)
        except BindError as error:
            return _refuse(error, exitcodes.BIND)
        addresses = [display(sock, tls=context is not None) for sock in sockets]
        admin = [display(sock) for sock in admin_sockets]
        watches = [str(path) for path in watched]
        logger.info("%s", banner(settings, addresses, loop=loop, admin=admin, watched=watches))
        for warning in warnings:
            logger.warning("%s", warning)
        if others := [thread.name for thread in threading.enumerate() if thread is not threading.current_thread()]:
            logger.warning(
                "This process runs threads (%s) and keepserve is about to fork: a lock that one of them "
                "holds stays locked in the workers. Start threads in the application's lifespan instead.",
                ", ".join(others),
            )
        if worker_entry is None:
            # Loaded here, once, and shared by all workers: a replacement starts within milliseconds.
            from keepserve.process.worker import worker_main

            worker_entry = worker_main
        supervisor = Supervisor(
            Launch(settings, context),
            sockets=sockets,
            worker_entry=worker_entry,
            admin_sockets=admin_sockets,
            watcher=Watcher(watched) if watched else None,
            reread=partial(_read_again, reread, settings),
            notifier=notifier,
        )
        return supervisor.run()


def _read_again(reread: Reread | None, settings: Settings) -> Launch:
    """The next generation: settings, environment and certificates as they are now. Raises ConfigError."""
    launch = reread() if reread is not None else Launch(settings)
    environment = launch.environment
    if environment is not None:
        environment = {name: value for name, value in environment.items() if name not in _OURS_ALONE}
    context = build_context(launch.settings)
    return dataclasses.replace(launch, ssl_context=context, environment=environment, reread=True)


def _refuse(error: Exception, code: int) -> int:
    # Not by the log: it may not be configured yet, and no log level may hide this.
    if sys.stderr is not None:
        print(f"keepserve: {error}", file=sys.stderr)
    return code


def _open_standard_streams() -> None:
    """Open descriptors 0, 1 and 2 on the null device where they are closed.

    Otherwise the next socket gets such a number, and what native code writes to standard error goes to a
    client.
    """
    for wanted in (0, 1, 2):
        try:
            os.fstat(wanted)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is this one


def _raise_descriptor_limit() -> None:
    """Raise the soft limit on open files towards the hard one: each connection is one.

    The usual soft limit, 1024, is that low for programs that use select(2), which we do not; a balancer's
    idle connections alone may be more.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _MOST_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError):
            logger.debug("The limit of %d open files could not be raised", soft)
