"""Balancer presets and the ordering law (floor 1)."""
