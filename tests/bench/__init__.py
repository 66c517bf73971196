"""Benchmarks: run by hand, never part of the suite, and never an assert on time."""
