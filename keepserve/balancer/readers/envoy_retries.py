"""Which of Envoy's retry conditions may send a request again that the application has already worked on.

Envoy retries whatever the method is: a condition decides alone. Istio and Envoy Gateway pass the same words on.
"""

from __future__ import annotations

from collections.abc import Iterable

RETRY_SOURCE = (
    "https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/router_filter#x-envoy-retry-on"
)

WHOLE_RESPONSE = (
    "The timeout of a route is for the whole response, not only for silence: a longer stream or download is cut off."
)
"""A note for every pool with such a timeout."""

RESENDING = frozenset(
    (
        # No answer came, or only a part: the request may have been worked on.
        "5xx",
        "gateway-error",
        "reset",
        # The application answered, so it has worked on it.
        "retriable-4xx",
        "retriable-headers",
        "retriable-status-codes",
        "deadline-exceeded",
        "internal",
    )
)
"""Conditions under which a POST may run twice.

Not among them: ``connect-failure``, ``refused-stream``, ``reset-before-request`` and ``envoy-ratelimited`` mean that
the application has not seen the request; the gRPC statuses ``unavailable``, ``cancelled`` and ``resource-exhausted``
are, by gRPC's own rules, the application's way to ask for another try.
"""


def resending(conditions: Iterable[str], *, status_codes: bool) -> list[str]:
    """The conditions of a ``retry_on`` that may run a POST twice, in their order.

    ``status_codes``: whether codes are listed, without which ``retriable-status-codes`` retries nothing.
    """
    found = [condition for condition in conditions if condition in RESENDING]
    return [condition for condition in found if condition != "retriable-status-codes" or status_codes]


def split_conditions(text: str) -> list[str]:
    """``retry_on`` as a list."""
    return [word for word in (part.strip() for part in text.split(",")) if word]
