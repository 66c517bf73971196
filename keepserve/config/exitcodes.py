"""Exit codes of the ``keepserve`` command: one number for each kind of failure.

Kept apart from the code that exits, so that a script, a unit file (``RestartPreventExitStatus=2 3``)
and a test can rely on the same five numbers.
"""

from __future__ import annotations

OK = 0
"""A graceful stop, or a command that had nothing to complain about."""

CRASH = 1
"""Something went wrong that keepserve did not foresee."""

WARNINGS = 1
"""``keepserve check --strict`` found warnings and nothing worse. Only that command ends with it."""

SETTINGS = 2
"""The settings are wrong: a bad value, a broken ordering law, an unusable certificate, or (``check --balancer``) a
balancer that contradicts them or whose file cannot be read. Nothing was bound."""

APP = 3
"""The application could not be imported, or its lifespan startup failed."""

BIND = 4
"""An address could not be bound: it is taken, forbidden or not on this machine."""

UNREACHABLE = 4
"""Nobody answers at the admin listener's address. Only ``keepserve status`` ends with it."""

NOT_SERVING = 1
"""The server is starting or draining, or (``--strict``) has something to warn of. Only ``keepserve status`` ends with
it."""
