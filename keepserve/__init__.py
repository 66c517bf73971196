"""keepserve: an ASGI server that never closes a connection before its load balancer does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keepserve._version import __version__

if TYPE_CHECKING:
    from keepserve.api import Config, Server, run
    from keepserve.asgi.farewell import draining, until_draining
    from keepserve.config import ConfigError

__all__ = ["Config", "ConfigError", "Server", "__version__", "draining", "run", "until_draining"]


def __getattr__(name: str) -> object:
    """Load the API on first use, so that ``keepserve --help`` and ``check`` need not import a server."""
    if name in ("Config", "Server", "run"):
        from keepserve import api

        return getattr(api, name)
    if name in ("draining", "until_draining"):
        from keepserve.asgi import farewell

        return getattr(farewell, name)
    if name == "ConfigError":
        from keepserve.config import ConfigError

        return ConfigError
    raise AttributeError(f"module 'keepserve' has no attribute {name!r}")
