"""Values of NGINX directives: times, numbers, and the addresses of its documentation."""

from __future__ import annotations

import re

from keepserve.balancer.facts import Place, UnreadableError
from keepserve.balancer.readers.nginx_tree import Directive

UPSTREAM_DOCS = "https://nginx.org/en/docs/http/ngx_http_upstream_module.html"
PROXY_DOCS = "https://nginx.org/en/docs/http/ngx_http_proxy_module.html"
GRPC_DOCS = "https://nginx.org/en/docs/http/ngx_http_grpc_module.html"

# nginx.org/en/docs/syntax.html: units from large to small, each at most once, blanks allowed between them.
_UNITS = (("y", 31_536_000.0), ("M", 2_592_000.0), ("w", 604_800.0), ("d", 86_400.0))
_SMALL = (("h", 3600.0), ("m", 60.0), ("s", 1.0), ("ms", 0.001))
_FACTORS = dict((*_UNITS, *_SMALL))
_TIME = re.compile(r" ?".join(rf"(?:(\d+){unit})?" for unit in _FACTORS), re.ASCII)


def seconds(directive: Directive) -> float:
    """The time a directive is given: ``60``, ``60s``, ``1m30s``. Raises UnreadableError."""
    return seconds_of(" ".join(directive.args), directive.place)


def seconds_of(text: str, place: Place) -> float:
    """A time as NGINX writes it; a number alone is seconds. Raises UnreadableError."""
    if text.isascii() and text.isdigit():
        return float(text)
    match = _TIME.fullmatch(text)
    if match is None or not any(match.groups()):
        raise UnreadableError(f'{place}: "{text}" is not a time. NGINX takes 60, 60s, 1m30s or 500ms.')
    return sum(int(part) * factor for part, factor in zip(match.groups(), _FACTORS.values(), strict=True) if part)


def count(directive: Directive) -> int:
    """The number a directive is given first. Raises UnreadableError."""
    return count_of(directive.args[0], directive.place)


def count_of(text: str, place: Place) -> int:
    """A whole number. Raises UnreadableError."""
    if not (text.isascii() and text.isdigit()):
        raise UnreadableError(f'{place}: "{text}" is not a number.')
    return int(text)
