"""The dashboard and the alerts: they ask for nothing that keepserve does not export, and Prometheus takes them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from keepserve.admin.metrics import render
from tests.admin.readings import read, two_workers
from tests.deploy import promql
from tests.deploy.pieces import DEPLOY
from tests.support.tools import find_tool

DASHBOARD = DEPLOY / "grafana" / "keepserve.json"
ALERTS = DEPLOY / "grafana" / "alerts.yaml"
ALERTS_TEST = Path(__file__).with_name("alerts_test.yaml")

ROWS = ["Reuse", "Who closes first", "Traffic", "Workers", "Safety", "Stopping and reloading"]


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return found


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


@pytest.fixture(scope="module")
def exported() -> dict[str, dict[str, set[str]]]:
    """What keepserve really exports: series, labels, values."""
    found: dict[str, dict[str, set[str]]] = {}
    made, _ = two_workers()
    for family in text_string_to_metric_families(render(read(made), "")[0].decode()):
        for sample in family.samples:
            labels = found.setdefault(sample.name, {})
            for label, value in sample.labels.items():
                labels.setdefault(label, set()).add(value)
    return found


def expressions() -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Where an expression stands, the expression, and the labels that its text wants of the result."""
    board = dashboard()
    for panel in board["panels"]:
        for target in panel.get("targets", ()):
            wanted = tuple(re.findall(r"\{\{\s*(\w+)\s*\}\}", target["legendFormat"]))
            yield f"{panel['title']} {target['refId']}", target["expr"], wanted
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            yield f"variable {variable['name']}", variable["query"]["query"], ()
    for annotation in board["annotations"]["list"]:
        if "expr" in annotation:
            wanted = tuple(re.findall(r"\{\{\s*(\w+)\s*\}\}", annotation["textFormat"]))
            yield f"annotation {annotation['name']}", annotation["expr"], wanted
    for rule in rules():
        texts = " ".join(rule["annotations"].values())
        yield rule["alert"], rule["expr"], tuple(re.findall(r"\$labels\.(\w+)", texts))


@pytest.mark.parametrize(
    ("where", "expression", "used"), list(expressions()), ids=[place for place, _, _ in expressions()]
)
def test_every_name_in_an_expression_is_exported(
    where: str, expression: str, used: tuple[str, ...], exported: dict[str, dict[str, set[str]]]
) -> None:
    assert not list(promql.complaints(expression, exported, used))


GOOD = 'sum by (status) (rate(keepserve_requests_total{job=~"$job", method="GET"}[5m])) > 0'


@pytest.mark.parametrize(
    ("wrong", "used", "expected"),
    [
        (GOOD, ("status",), []),
        (GOOD.replace("keepserve_requests_total", "keepserve_request_total"), (), ["no such metric"]),
        (GOOD.replace("_total", "_total_bucket"), (), ["no such metric"]),
        (GOOD.replace("method=", "verb="), (), ["no label verb"]),
        (GOOD.replace('"GET"', '"BREW"'), (), ["method is never BREW"]),
        (GOOD.replace('="GET"', '=~"GET|PUSH"'), (), ["method is never GET|PUSH"]),
        (GOOD.replace('="GET"', '=~"P.+|GET"'), (), []),
        (GOOD.replace("by (status)", "by (code)"), (), ["code: no label of these metrics"]),
        (GOOD, ("method",), ["method: no label of the result"]),
        ("keepserve_worker_connections", ("worker", "instance"), []),
        ("keepserve_worker_connections", ("pid",), ["pid: no label of the result"]),
        ("sum(keepserve_requests_running) / on (job) keepserve_nothing", (), ["keepserve_nothing: no such metric"]),
        ("label_values(keepserve_build_info, job)", (), []),
        ("label_values(keepserve_build_info, city)", (), ["city: no label"]),
        ("1 + 1", (), ["no metric"]),
    ],
)
def test_a_wrong_name_is_found(
    wrong: str, used: tuple[str, ...], expected: list[str], exported: dict[str, dict[str, set[str]]]
) -> None:
    found = list(promql.complaints(wrong, exported, used))
    assert len(found) == len(expected)
    assert all(part in one for part, one in zip(expected, found, strict=True))


@pytest.mark.parametrize("wrong", ["summ(keepserve_requests_running)", 'keepserve_requests_total{"GET"}', "a ? b"])
def test_what_is_no_promql_is_found(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"no function|not name, sign and text|Nothing that PromQL knows"):
        promql.names(wrong)


# The dashboard.


def test_the_dashboard_has_its_rows_in_order() -> None:
    assert [panel["title"] for panel in dashboard()["panels"] if panel["type"] == "row"] == ROWS


def test_panels_have_numbers_and_titles_of_their_own() -> None:
    panels = dashboard()["panels"]
    for name in ("id", "title"):
        values = [panel[name] for panel in panels]
        assert len(set(values)) == len(values), name


def test_panels_do_not_overlap_and_stay_within_the_page() -> None:
    places = [(panel["title"], panel["gridPos"]) for panel in dashboard()["panels"]]
    for title, place in places:
        assert place["w"] > 0 <= place["x"], title
        assert place["h"] > 0 <= place["y"], title
        assert place["x"] + place["w"] <= 24, title
    for (title, one), (other, two) in combinations(places, 2):
        apart = (
            one["x"] + one["w"] <= two["x"]
            or two["x"] + two["w"] <= one["x"]
            or one["y"] + one["h"] <= two["y"]
            or two["y"] + two["h"] <= one["y"]
        )
        assert apart, f"{title} lies on {other}"


def test_every_panel_asks_the_source_and_the_servers_that_were_chosen() -> None:
    board = dashboard()
    assert [variable["name"] for variable in board["templating"]["list"]] == ["datasource", "job", "instance"]
    for panel in board["panels"]:
        if panel["type"] == "row":
            continue
        assert panel["targets"], panel["title"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        letters = [target["refId"] for target in panel["targets"]]
        assert len(set(letters)) == len(letters)
        for target in panel["targets"]:
            assert target["datasource"] == panel["datasource"]
            found = promql.names(target["expr"])
            chosen = [(metric, label) for metric, label, _, value in found.matchers if value == f"${label}"]
            assert chosen == [(metric, label) for metric in found.metrics for label in promql.TARGET], target["expr"]


def test_the_dashboard_is_for_grafana_10_and_panels_it_comes_with() -> None:
    board = dashboard()
    assert board["schemaVersion"] >= 38
    assert {panel["type"] for panel in board["panels"]} == {"row", "timeseries", "stat", "bargauge"}
    assert board.get("id") is None, "a number of the Grafana it was made on would overwrite another dashboard"


def test_the_dashboard_shows_what_it_is_there_for() -> None:
    shown = {metric for where, text, _ in expressions() for metric in promql.names(text).metrics}
    for name in (
        "keepserve_handshakes_avoided",
        "keepserve_handshakes_avoided_seconds",
        "keepserve_connection_requests_bucket",
        "keepserve_connection_idle_seconds_bucket",
        "keepserve_lb_idle_timeout_inferred_seconds",
        "keepserve_keep_alive_timeout_seconds",
        "keepserve_connections_closed_total",
        "keepserve_requests_total",
        "keepserve_request_duration_seconds_bucket",
        "keepserve_worker_connections",
        "keepserve_connections_spread",
        "keepserve_loop_lag_seconds_bucket",
        "keepserve_worker_resident_memory_bytes",
        "keepserve_workers_replaced_total",
        "keepserve_requests_rejected_total",
        "keepserve_http2_glitches_total",
        "keepserve_requests_limited_total",
        "keepserve_requests_overdue_total",
        "keepserve_access_log_lines_lost_total",
        "keepserve_certificate_expiry_timestamp_seconds",
        "keepserve_worker_phase",
        "keepserve_draining",
    ):
        assert name in shown, name


# The alerts.


def test_every_alert_waits_and_says_how_bad_it_is_and_what_to_do() -> None:
    names = [rule["alert"] for rule in rules()]
    assert len(set(names)) == len(names)
    for rule in rules():
        assert re.fullmatch(r"Keepserve[A-Za-z]+", rule["alert"])
        assert re.fullmatch(r"\d+[mh]", rule["for"])
        assert rule["labels"]["severity"] in ("info", "warning", "critical")
        assert "{{ $labels.instance }}" in rule["annotations"]["summary"]
        assert rule["annotations"]["description"].endswith(".")


def test_every_alert_has_its_case_among_those_that_promtool_plays_through() -> None:
    played = ALERTS_TEST.read_text()
    assert [rule["alert"] for rule in rules() if rule["alert"] not in played] == []


def promtool(*arguments: str | Path) -> None:
    done = subprocess.run(
        [find_tool("promtool", "prometheus"), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_takes_the_rules() -> None:
    promtool("check", "rules", ALERTS)


def test_the_alerts_fire_for_what_they_are_for_and_for_nothing_else(tmp_path: Path) -> None:
    shutil.copy(ALERTS, tmp_path / "alerts.yaml")
    shutil.copy(ALERTS_TEST, tmp_path / "test.yaml")
    promtool("test", "rules", tmp_path / "test.yaml")


def test_prometheus_takes_every_expression_of_the_dashboard(tmp_path: Path) -> None:
    found = [
        re.sub(r"\$__(rate_interval|range)", "5m", expression)
        for _, expression, _ in expressions()
        if not expression.startswith("label_values")
    ]
    recorded = [{"record": f"dashboard:{number}", "expr": text} for number, text in enumerate(found)]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": recorded}]}))
    promtool("check", "rules", file)
