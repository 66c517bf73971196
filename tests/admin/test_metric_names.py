"""The names, sentences and labels of all metrics, by Prometheus' conventions; promtool says the same where it is."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import pytest
from prometheus_client.core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as text_format

from keepserve.admin.catalogue import CATALOGUE, FAMILIES
from keepserve.admin.families import UNITS, Family
from keepserve.admin.metrics import render
from keepserve.telemetry.scoreboard import CERTIFICATE_EXPIRES
from tests.admin.readings import read, two_workers

RESERVED = ("_bucket", "_count", "_sum", "_created", "_gsum", "_gcount")
"""Ends that the formats themselves put to names."""

NOT_BASE = (
    "milliseconds", "microseconds", "nanoseconds", "ms", "minutes", "hours", "days", "kilobytes", "megabytes",
    "mebibytes", "kb", "mb", "percent", "bits",
)  # fmt: skip

LABELS = {
    "method", "status", "protocol", "state", "reason", "closed_by", "session", "cause", "result", "stage", "worker",
    "phase", "pid", "version", "python", "http1", "http2", "loop",
}  # fmt: skip
"""Every label there may be. All have few values, but for ``pid``, which is on the info of the worker only."""

MOST_SERIES = 100
"""Of one metric but for its buckets, with two workers."""


def complaints(family: Family) -> Iterator[str]:
    """What a linter would say of one metric."""
    name, base = family.name, family.name.removesuffix("_total")
    if not re.fullmatch(r"keepserve(_[a-z0-9]+)+", name):
        yield "The name is not keepserve_ and lower case."
    if (family.kind == "counter") != name.endswith("_total"):
        yield "_total is for counters, all of them and nothing else."
    if (family.kind == "info") != name.endswith("_info"):
        yield "_info is for info."
    if base.endswith(RESERVED):
        yield "The name ends with what the format adds itself."
    words = base.split("_")
    if set(words) & set(NOT_BASE):
        yield "Units are base units."
    if set(words[:-1]) & set(UNITS):
        yield "The unit belongs at the end of the name."
    if "timestamp" in words and not base.endswith("_timestamp_seconds"):
        yield "A timestamp is in seconds."
    if family.kind in (words[:-1] if family.kind == "info" else words):
        yield "The kind does not belong into the name."
    if set(words) & set(family.all_labels) - {"worker"} and name != "keepserve_worker_phase":
        # A set of states is named by its label, as in OpenMetrics.
        yield "A label's name does not belong into the name."
    if not re.fullmatch(r"(1|[A-Z])[^\n]*[^\s.]\.", family.text) or len(family.text) > 120:
        yield "The help is one sentence, with a full stop."
    if len(set(family.all_labels)) != len(family.all_labels) or not set(family.all_labels) <= LABELS:
        yield "A label is not among those agreed on."
    if "pid" in family.all_labels and family.kind != "info":
        yield "A pid is no label: each new process would be a new series."
    if "le" in family.all_labels or "quantile" in family.all_labels:
        yield "le and quantile belong to the formats."
    if name.startswith("keepserve_worker_") != ("worker" in family.all_labels):
        yield "keepserve_worker_ is what has a label for the worker, and nothing else."


def exported() -> tuple[str, str]:
    """Both formats, with something in everything."""
    made, _ = two_workers()
    made.common[CERTIFICATE_EXPIRES] = 1_800_000_000
    reading = read(made)
    return render(reading, "")[0].decode(), render(reading, "application/openmetrics-text;version=1.0.0")[0].decode()


def parsed() -> list[Metric]:
    return list(text_format(exported()[0]))


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_metric_follows_the_conventions(family: Family) -> None:
    assert not list(complaints(family))


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({"name": "keepserve_Requests_total"}, "lower case"),
        ({"name": "requests_total"}, "lower case"),
        ({"name": "keepserve_requests"}, "for counters"),
        ({"kind": "gauge"}, "for counters"),
        ({"name": "keepserve_requests_count_total"}, "adds itself"),
        ({"name": "keepserve_wait_ms_total"}, "base units"),
        ({"name": "keepserve_bytes_sent_total"}, "at the end"),
        ({"name": "keepserve_start_timestamp_total"}, "timestamp"),
        ({"name": "keepserve_counter_total"}, "kind"),
        ({"name": "keepserve_requests_method_total"}, "A label's name"),
        ({"text": "Requests that were answered"}, "full stop"),
        ({"text": "requests that were answered."}, "full stop"),
        ({"text": "Requests.\nThat were answered."}, "full stop"),
        ({"labels": ("method", "path")}, "agreed on"),
        ({"labels": ("method", "method")}, "agreed on"),
        ({"labels": ("pid",)}, "new series"),
        ({"labels": ("le",)}, "belong to the formats"),
        ({"labels": ("worker",)}, "keepserve_worker_ is"),
    ],
)
def test_the_lint_finds_mistakes(wrong: dict[str, object], expected: str) -> None:
    requests = FAMILIES[0]
    assert requests.name == "keepserve_requests_total"
    assert any(expected in one for one in complaints(replace(requests, **wrong)))  # type: ignore[arg-type]  # any field


def test_no_two_metrics_share_a_name_or_a_series() -> None:
    names = [sample for family in FAMILIES for sample in family.samples]
    assert len(set(names)) == len(names)
    bases = [family.name.removesuffix("_total").removesuffix("_info") for family in FAMILIES]
    assert len(set(bases)) == len(bases), "OpenMetrics names families without _total and _info"
    assert len(FAMILIES) == sum(map(len, CATALOGUE.values()))


def test_what_is_exported_is_the_catalogue() -> None:
    by_name: dict[str, Metric] = {}
    for metric in parsed():
        for sample in metric.samples:
            by_name.setdefault(sample.name, metric)
    for family in FAMILIES:
        for name in family.samples:
            metric = by_name.pop(name)
            assert metric.documentation == family.text
            assert metric.type == ("gauge" if family.kind == "info" else family.kind)
            labels = {frozenset(sample.labels) - {"le"} for sample in metric.samples}
            assert labels == {frozenset(family.all_labels)}, name
    assert not by_name


def test_each_metric_is_introduced_once_by_its_sentence_and_its_kind() -> None:
    for text in exported():
        lines = text.splitlines()
        helps = [line.split()[2] for line in lines if line.startswith("# HELP")]
        kinds = [line.split()[2] for line in lines if line.startswith("# TYPE")]
        assert helps == kinds
        assert len(helps) == len(set(helps)) == len(FAMILIES)


def test_openmetrics_names_the_units() -> None:
    units = {family.name: family.unit for family in openmetrics(exported()[1])}
    for family in FAMILIES:
        assert units[family.name.removesuffix("_total").removesuffix("_info")] == family.unit
    assert set(units.values()) == {"", *UNITS}


def test_histograms_are_cumulative_and_end_with_all_there_are() -> None:
    seen = 0
    for metric in parsed():
        if metric.type != "histogram":
            continue
        series: dict[frozenset[tuple[str, str]], list[tuple[float, float]]] = {}
        counts: dict[frozenset[tuple[str, str]], float] = {}
        for sample in metric.samples:
            labels = frozenset((key, value) for key, value in sample.labels.items() if key != "le")
            if sample.name.endswith("_bucket"):
                series.setdefault(labels, []).append((float(sample.labels["le"]), sample.value))
            elif sample.name.endswith("_count"):
                counts[labels] = sample.value
        for labels, buckets in series.items():
            seen += 1
            assert all(one[0] < two[0] and one[1] <= two[1] for one, two in pairwise(buckets)), metric.name
            assert buckets[-1] == (float("inf"), counts[labels])
            assert counts[labels] > 0
    assert seen == 5


def test_no_metric_has_many_series() -> None:
    for metric in parsed():
        series = [sample for sample in metric.samples if "le" not in sample.labels]
        assert len(series) <= MOST_SERIES, metric.name


def test_promtool_has_nothing_to_say() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed; the tests above check the same names.")
    found = subprocess.run(
        [promtool, "check", "metrics"], input=exported()[0], capture_output=True, text=True, timeout=30
    )
    assert (found.returncode, found.stdout + found.stderr) == (0, "")
