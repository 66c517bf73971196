"""Supervisor and workers (floor 4)."""

from keepserve.process.launch import run_supervised

__all__ = ["run_supervised"]
