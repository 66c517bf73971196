"""Logs, the access log and the reasons connections close for (floor 0)."""
