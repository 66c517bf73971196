"""Which event loop ``--loop`` means."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from keepserve.config import ConfigError

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop


def loop_factory(name: str) -> Callable[[], AbstractEventLoop]:
    """The maker of event loops for ``settings.loop``: ``auto`` is uvloop where it is installed.

    Only imports it: no loop may exist before the fork. Raises `ConfigError` when uvloop is asked for and
    missing.
    """
    if name != "asyncio":
        try:
            import uvloop
        except ImportError:
            if name == "uvloop":
                raise ConfigError(
                    "--loop uvloop needs uvloop, which is not installed: install it (pip install uvloop), "
                    "or use --loop asyncio."
                ) from None
        else:
            return uvloop.new_event_loop
    import asyncio

    return asyncio.new_event_loop


def loop_name(name: str) -> str:
    """Which one that is, ``uvloop`` or ``asyncio``. Raises as `loop_factory` does."""
    return loop_factory(name).__module__.partition(".")[0]
