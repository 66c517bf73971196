"""Shared by the tests: clocks, transports and engine drivers that need no network and no waiting."""
