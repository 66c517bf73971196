"""The command line."""

from keepserve.cli.commands import main

__all__ = ["main"]
