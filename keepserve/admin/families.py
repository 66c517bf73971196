"""What a metric is: its name, its sentence, its labels, and how it is read; made into the library's own families.

The names follow Prometheus' conventions: base units at the end, ``_total`` for what only grows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.utils import floatToGoString

from keepserve.admin.reading import Reading

UNITS = ("seconds", "bytes", "ratio")
"""Units that names end with; ratios go from 0 to 1."""

Kind = Literal["counter", "gauge", "histogram", "summary", "info"]


@dataclass(frozen=True, slots=True)
class Buckets:
    """A histogram: ``counts`` has one more than ``bounds``, for what lies above; ``total`` is the sum of values."""

    bounds: Sequence[float]
    counts: Sequence[int]
    total: float


@dataclass(frozen=True, slots=True)
class Mean:
    """How many values there were, and their sum."""

    count: int
    total: float


Value = float | Buckets | Mean | Mapping[str, str]
"""By the kind of the metric: a counter and a gauge have a number (NaN: not known), an info has more labels."""

Series = Iterable[tuple[Sequence[str], Value]]
"""Values by those of the labels, in the order of the labels."""


@dataclass(frozen=True, slots=True)
class Family:
    """A metric. ``labels`` are those that ``read`` gives values for; ``facts`` those that an info has beside them."""

    kind: Kind
    name: str
    text: str
    labels: tuple[str, ...]
    read: Callable[[Reading], Series]
    facts: tuple[str, ...] = ()

    @property
    def unit(self) -> str:
        """The unit its name ends with; "" if it has none."""
        base = self.name.removesuffix("_total")
        return next((unit for unit in UNITS if base.endswith(f"_{unit}")), "")

    @property
    def all_labels(self) -> tuple[str, ...]:
        """Every label a series of it has, but for the bounds of buckets."""
        return self.labels + self.facts

    @property
    def samples(self) -> tuple[str, ...]:
        """The names its series have: several for a histogram and a summary."""
        if self.kind == "histogram":
            return tuple(f"{self.name}_{end}" for end in ("bucket", "count", "sum"))
        if self.kind == "summary":
            return tuple(f"{self.name}_{end}" for end in ("count", "sum"))
        return (self.name,)

    def collect(self, reading: Reading) -> Metric:
        """Read it, as the library wants it."""
        match self.kind:
            case "counter":
                return self._numbers(
                    CounterMetricFamily(self.name, self.text, labels=self.labels, unit=self.unit), reading
                )
            case "gauge":
                return self._numbers(
                    GaugeMetricFamily(self.name, self.text, labels=self.labels, unit=self.unit), reading
                )
            case "histogram":
                return self._histogram(reading)
            case "summary":
                return self._summary(reading)
            case "info":
                return self._info(reading)

    def _numbers(self, family: CounterMetricFamily | GaugeMetricFamily, reading: Reading) -> Metric:
        for values, value in self.read(reading):
            assert isinstance(value, int | float)
            family.add_metric(values, value)
        return family

    def _histogram(self, reading: Reading) -> Metric:
        family = HistogramMetricFamily(self.name, self.text, labels=self.labels, unit=self.unit)
        for values, value in self.read(reading):
            assert isinstance(value, Buckets)
            bounds = [*map(floatToGoString, value.bounds), "+Inf"]
            family.add_metric(values, list(zip(bounds, accumulate(value.counts), strict=True)), value.total)
        return family

    def _summary(self, reading: Reading) -> Metric:
        family = SummaryMetricFamily(self.name, self.text, labels=self.labels, unit=self.unit)
        for values, value in self.read(reading):
            assert isinstance(value, Mean)
            family.add_metric(values, value.count, value.total)
        return family

    def _info(self, reading: Reading) -> Metric:
        family = InfoMetricFamily(self.name.removesuffix("_info"), self.text, labels=self.labels)
        for values, value in self.read(reading):
            assert isinstance(value, Mapping)
            family.add_metric(values, dict(value))
        return family
