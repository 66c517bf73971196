"""Benchmarks: run by hand with ``python -m tests.bench``, never part of the suite, and never an assert on time."""
