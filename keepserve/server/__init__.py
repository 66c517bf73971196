"""Connections, listeners, the deadline wheel and the in-process server (floor 3)."""
