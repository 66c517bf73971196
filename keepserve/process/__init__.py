"""Supervisor and workers (floor 4)."""
