"""Tests of keepserve.process."""
