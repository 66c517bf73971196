"""Tests of logs and the access log."""
