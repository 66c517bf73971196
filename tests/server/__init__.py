"""Tests of keepserve.server."""
