"""Balancers: presets with sources, the ordering law, and the resolution of settings that needs both."""

from keepserve.balancer.ordering import check_ordering
from keepserve.balancer.presets import PRESETS, Preset, find_preset
from keepserve.balancer.resolution import Resolution, load, resolve

__all__ = ["PRESETS", "Preset", "Resolution", "check_ordering", "find_preset", "load", "resolve"]
