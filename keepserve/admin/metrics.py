"""``/metrics``: a reading in Prometheus' text format or in OpenMetrics.

Rendered by `prometheus_client`, for each scrape from a registry of its own: nothing of the process that answers is
among it, and nothing is kept between two scrapes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from keepserve.admin.catalogue import FAMILIES
from keepserve.admin.reading import Reading

_KNOWN_VERSION = re.compile(r"(0\.0\.\d|1\.0\.\d)\Z")
_NO_QUALITY = re.compile(r"0(\.0*)?\Z")


class _Scrape(Collector):
    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    def collect(self) -> Iterable[Metric]:
        return [family.collect(self._reading) for family in FAMILIES]


def render(reading: Reading, accept: str) -> tuple[bytes, str]:
    """Return the body and its content type, for a request with this ``Accept`` field; "" if there was none.

    OpenMetrics for whoever names it, else the text format that everything reads.
    """
    registry = CollectorRegistry()
    registry.register(_Scrape(reading))
    encode, content_type = choose_encoder(_understood(accept))
    return encode(registry), content_type


def _understood(accept: str) -> str:
    """The parts of an ``Accept`` field that the library can take.

    It fails over versions that are no numbers, answers with any version it is asked for, and does not know that
    ``q=0`` means no.
    """
    return ",".join(part for part in accept.split(",") if _is_understood(part))


def _is_understood(part: str) -> bool:
    for parameter in part.split(";")[1:]:
        name, _, value = (piece.strip() for piece in parameter.partition("="))
        if name == "version" and not _KNOWN_VERSION.match(value):
            return False
        if name == "q" and _NO_QUALITY.match(value):
            return False
    return True
