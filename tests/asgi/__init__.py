"""Tests of the ASGI floor."""
