"""Envoy's configuration is protobuf in YAML or JSON: two spellings of each field, durations in two forms."""

from __future__ import annotations

from math import inf

from keepserve.balancer.facts import Fact
from keepserve.balancer.readers import units
from keepserve.balancer.readers.tree import Mapping, Scalar, wrong_shape


def spelled(mapping: Mapping, *path: str) -> tuple[str, ...]:
    """The path as the file spells it: ``idle_timeout`` or, as protobuf's JSON form allows, ``idleTimeout``."""
    keys: list[str] = []
    for key in path:
        node = mapping.get(*keys) if keys else mapping
        here = isinstance(node, Mapping) and key not in node.entries and camel(key) in node.entries
        keys.append(camel(key) if here else key)
    return tuple(keys)


def camel(name: str) -> str:
    """``idle_timeout`` as ``idleTimeout``."""
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def duration(mapping: Mapping | None, name: str, *, zero_is_off: bool = True) -> Fact[float] | None:
    """The duration of that name: ``3600s``, or a mapping of seconds and nanos. 0 is "no limit" where it is off."""
    if mapping is None:
        return None
    node = mapping.get(*spelled(mapping, name))
    if node is None:
        return None
    if isinstance(node, Scalar):
        seconds = node.seconds(units.proto_seconds, units.PROTO_EXPECTED)
        words = node.words
    elif isinstance(node, Mapping):
        whole, nanos = node.scalar("seconds"), node.scalar("nanos")
        seconds = (whole.integer() if whole else 0) + (nanos.integer() / 1e9 if nanos else 0.0)
        words = f"{node.name}: {{seconds: {seconds:g}}}"
    else:
        raise wrong_shape(node, name, units.PROTO_EXPECTED)
    return Fact(inf if seconds == 0 and zero_is_off else float(seconds), words, node.place)


def integer(mapping: Mapping | None, name: str) -> Fact[int] | None:
    """The whole number of that name."""
    node = mapping.scalar(*spelled(mapping, name)) if mapping is not None else None
    return node.fact(node.integer()) if node is not None else None


def submessage(mapping: Mapping | None, *path: str) -> Mapping | None:
    """The message under these fields."""
    return mapping.mapping(*spelled(mapping, *path)) if mapping is not None else None


def text(mapping: Mapping | None, *path: str) -> str:
    """The string under these fields, or an empty one."""
    return mapping.string(*spelled(mapping, *path)) if mapping is not None else ""
