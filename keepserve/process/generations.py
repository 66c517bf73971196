"""From one generation of workers to the next: what a reload may change, and what it may not."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from keepserve.balancer import load
from keepserve.config.settings import FIELDS_BY_NAME, Settings
from keepserve.process.context import Launch

BOUND = (
    *("bind", "host", "port", "uds", "fd", "backlog", "uds_permissions"),
    *("reload", "reload_dir"),
    *("admin", "admin_allow_public"),
)
"""Settings that decide what the supervisor itself holds: a restart changes them, a reload does not."""


def read_again(options: Mapping[str, object], environ: Mapping[str, str], *, from_python: bool = False) -> Launch:
    """What the command line said, on top of the environment it was said in and of the env-file as it is now.

    Raises ConfigError.
    """
    resolution = load(options, environ, from_python=from_python)
    return Launch(
        settings=resolution.require(),
        environment={**environ, **resolution.app_environment},
        warnings=tuple(str(warning) for warning in resolution.warnings),
    )


def keep_what_is_bound(launch: Launch, present: Settings) -> Launch:
    """The new generation with the present listening addresses; says in a warning what is not changed."""
    changed = [name for name in BOUND if getattr(launch.settings, name) != getattr(present, name)]
    if not changed:
        return launch
    kept = {name: getattr(present, name) for name in changed}
    flags = ", ".join(FIELDS_BY_NAME[name].flag for name in changed)
    warning = f"{flags}: changed, and not used before a restart, since a reload keeps the listening sockets."
    return dataclasses.replace(
        launch,
        settings=dataclasses.replace(launch.settings, **kept),
        warnings=(*launch.warnings, warning),
    )
