"""The ids under which a request is found again elsewhere: in a balancer's log, in a trace."""

from __future__ import annotations

from collections.abc import Iterable

TRACES: dict[bytes, tuple[str, str]] = {
    b"x-amzn-trace-id": ("amzn_trace_id", "X-Amzn-Trace-Id"),
    b"traceparent": ("traceparent", "traceparent"),
    b"x-request-id": ("request_id", "X-Request-ID"),
}
"""Header fields that carry one: what each is called in our logs, and how it is written. The order counts."""

LONGEST = 256
"""Characters of an id that are kept."""


def traces_of(fields: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """The ids a request came with, by their names in our logs, in the order of ``TRACES``."""
    found = {name: value for name, value in fields if name in TRACES}
    return {TRACES[name][0]: found[name][:LONGEST].decode("latin-1") for name in TRACES if name in found}
