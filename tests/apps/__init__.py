"""Smoke tests: real frameworks and real clients."""
