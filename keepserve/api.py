"""Running keepserve from Python: ``Config``, ``Server`` and ``run``.

    keepserve.run("main:app", lb="alb", workers=4)

or inside a program of your own, on its event loop:

    server = keepserve.Server(keepserve.Config(app, port=0))
    await server.serve()
"""

from __future__ import annotations

import dataclasses
import logging
import os
import ssl
import sys
import threading
from typing import TYPE_CHECKING, Any

from keepserve.balancer import load
from keepserve.config import Settings
from keepserve.server import server as inner

if TYPE_CHECKING:
    from keepserve.process.context import Launch

logger = logging.getLogger("keepserve")


class Config:
    """The settings of a server, checked.

    Args:
        app: the application, or ``"module:attribute"``.
        environment: also obey ``KEEPSERVE_*`` and an env-file, as the command does. Off by default:
            a program says what it wants, and a test must not depend on its surroundings.
        **options: any setting by its name in ``keepserve --help``, such as ``port``, ``lb`` or
            ``keep_alive_timeout`` (seconds, or text such as ``"1m"``).

    Raises:
        ConfigError: with all problems at once, a broken ordering law among them.
    """

    def __init__(self, app: Any, *, environment: bool = False, **options: Any) -> None:
        resolution = load({**options, "app": app}, os.environ if environment else {}, from_python=True)
        self.settings: Settings = resolution.require()
        self.warnings = [str(warning) for warning in resolution.warnings]
        self.origins = resolution.origins

    def __repr__(self) -> str:
        settings = self.settings
        return (
            f"<keepserve.Config {settings.app!r} lb_idle={settings.lb_idle_timeout:g} "
            f"keep_alive={settings.keep_alive_timeout:g} headers={settings.headers_timeout:g}>"
        )


class Server(inner.Server):
    """A server in this process, on the running event loop; see ``keepserve.server.server.Server``.

    In a thread of a test: run ``asyncio.run(server.serve())`` there, wait for ``server.started``,
    find the port in ``server.addresses``, and end it with ``server.should_exit = True``.
    """

    def __init__(self, config: Config | Settings, *, ssl_context: ssl.SSLContext | None = None) -> None:
        settings = config.settings if isinstance(config, Config) else config
        super().__init__(settings, ssl_context=ssl_context)
        for warning in config.warnings if isinstance(config, Config) else ():
            logger.warning("%s", warning)
        if settings.admin:
            logger.warning(
                "admin (%s) is not served: a supervisor does that, beside its workers; use keepserve.run() or the "
                "keepserve command.",
                settings.admin,
            )


def run(app: Any, *, environment: bool = False, **options: Any) -> None:
    """Serve until stopped, with worker processes, as the ``keepserve`` command does.

    Raises:
        ConfigError: the settings cannot be used.
        SystemExit: the server ended with an exit code other than 0 (see the README).
        RuntimeError: called outside the main thread, where no process may be forked and no signal
            handled; use ``Server`` there.
    """
    if sys.platform == "win32":
        raise RuntimeError("keepserve needs a POSIX system (Linux or macOS); on Windows use WSL.")
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError(
            "keepserve.run() forks workers and handles signals, which needs the main thread; "
            "in another thread use keepserve.Server(config).serve()."
        )
    surroundings = dict(os.environ) if environment else {}
    config = Config(app, environment=environment, **options)
    from keepserve.process import run_supervised
    from keepserve.process.generations import read_again

    def reread() -> Launch:
        launch = read_again({**options, "app": app}, surroundings, from_python=True)
        return dataclasses.replace(launch, environment=None)  # the program's own, as it has become

    code = run_supervised(config.settings, config.warnings, reread=reread)
    if code:
        raise SystemExit(code)
