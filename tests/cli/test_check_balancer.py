"""``keepserve check --balancer``: what it prints, its exit codes, its JSON, and the mistakes it must find."""

import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from keepserve.balancer import comparison
from keepserve.balancer.facts import Fact, Place, Pool, Reading
from keepserve.balancer.readers import nginx_tree
from keepserve.cli import main
from tests.balancer.planted import HAPROXY, MISTAKES, NGINX, OPTIONS, Mistake

Run = Callable[..., Result]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    for name in list(os.environ):
        if name.startswith("KEEPSERVE_") or name in ("PORT", "WEB_CONCURRENCY", "FORWARDED_ALLOW_IPS"):
            monkeypatch.delenv(name)

    def invoke(*arguments: str | Path) -> Result:
        return CliRunner().invoke(main, ["check", *map(str, arguments)], prog_name="keepserve")

    return invoke


def written(tmp_path: Path, file: Path, old: str, new: str) -> Path:
    text = file.read_text()
    if old:
        assert old in text, "the planted mistake has nothing to grow on"
        text = text.replace(old, new)
    copy = tmp_path / file.name
    copy.write_text(text)
    return copy


def line_of(path: Path, piece: str) -> int:
    (number, *_) = [number for number, line in enumerate(path.read_text().splitlines(), 1) if piece in line]
    return number


@pytest.mark.parametrize("file", OPTIONS, ids=lambda file: file.name)
def test_the_good_files_have_nothing_to_complain_about(run: Run, file: Path) -> None:
    result = run("--balancer", file, *OPTIONS[file], "--strict")
    assert result.exit_code == 0, result.output
    assert "The balancer and these settings agree." in result.output


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda one: f"{one.file.stem}: {one.name}")
def test_a_planted_mistake_is_named_with_its_line(run: Run, tmp_path: Path, mistake: Mistake) -> None:
    copy = written(tmp_path, mistake.file, mistake.old, mistake.new)
    result = run("--balancer", copy, *OPTIONS[mistake.file], *mistake.options, "--json", "--strict")
    report = json.loads(result.stdout)
    place = f"{copy}:{line_of(copy, mistake.line)}"
    if not mistake.rule:
        assert result.exit_code == 2
        assert any(error.startswith(f"{place}: ") for error in report["errors"])
        return
    assert result.exit_code == (2 if mistake.level == "problem" else 1)
    findings = [one for file in report["files"] for pool in file["pools"] for one in pool["findings"]]
    found = [one for one in findings if (one["rule"], one["level"]) == (mistake.rule, mistake.level)]
    places = [f"{one['path']}:{one['line']}" for one in found]
    assert place in places or any(place in one["sentence"] for one in found), found
    assert all(one["ours"] or one["theirs"] for one in found)


def test_there_are_many_planted_mistakes_for_each_file() -> None:
    assert len(MISTAKES) > 30
    assert {mistake.file for mistake in MISTAKES} == set(OPTIONS)


def test_what_was_read_is_printed_with_file_and_line_and_the_clocks_of_both_sides(run: Run) -> None:
    result = run("--balancer", NGINX, "--lb", "nginx")
    line = line_of(NGINX, "        keepalive_timeout 60s;")
    assert f"keepalive_timeout 60s ({NGINX}:{line})" in result.output
    assert [one.split()[0] for one in result.output.splitlines() if "├" in one] == [
        "balancer",
        "keepserve",
        "envelope",
    ]
    assert "✓   keep-alive-order" in result.output


def test_the_lines_to_change_are_printed_for_either_side(run: Run, tmp_path: Path) -> None:
    copy = written(tmp_path, NGINX, "60s;", "5m;")
    result = run("--balancer", copy)
    assert result.exit_code == 2
    assert "✗   keep-alive-order" in result.output
    assert "keepserve: --lb nginx --lb-idle-timeout 300" in result.output
    assert f"nginx: keepalive_timeout 60s;  ({copy}:{line_of(copy, 'keepalive_timeout 5m;')})" in result.output
    assert "The two sides do not agree: 1 problem." in result.output


def test_the_advice_cures_it(run: Run, tmp_path: Path) -> None:
    copy = written(tmp_path, NGINX, "60s;", "5m;")
    assert run("--balancer", copy, "--lb", "nginx", "--lb-idle-timeout", "300").exit_code == 0
    assert run("--balancer", written(tmp_path, NGINX, "60s;", "60s;")).exit_code == 0


def test_a_stop_is_drawn_where_something_is_said_about_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "A stop, in seconds" not in run("--balancer", NGINX, "--lb", "nginx").output
    place = Place("pod.yaml", 3)
    pool = Pool(
        kind="ecs",
        name="web",
        place=place,
        kill_after=Fact(40.0, "stopTimeout", place),
        pre_stop=Fact(5.0, "sleep 5", place),
        idle_timeout=Fact(math.inf, "no limit", place),
    )
    monkeypatch.setattr(comparison, "read_balancer", lambda *given: Reading("pod.yaml", "ecs", (pool,)))
    output = run("--balancer", "pod.yaml", "--drain-delay", "6").output
    drawing = output[output.index("A stop, in seconds") :].splitlines()[1:7]
    assert [line.split()[0] for line in drawing] == [
        *("before", "announced", "requests", "cancelled", "shutdown", "killed")
    ]
    # The last phase ends before the kill does: 5 + 6 + 20 + 3 + 5 = 39 of 40 s.
    assert drawing[4].rindex("┤") < drawing[5].rindex("┤")
    assert "balancer   no limit: no limit (pod.yaml:3)" in output


def test_aws_is_asked_about_a_load_balancer_by_its_arn(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def live(arn: str) -> Reading:
        asked.append(arn)
        idle = Fact(120.0, "idle_timeout.timeout_seconds", Place(arn))
        return Reading(arn, "aws", (Pool(kind="alb", name="web", place=Place(arn), idle_timeout=idle),))

    monkeypatch.setattr(comparison, "read_aws", live)
    result = run("--aws-load-balancer", "arn:aws:x", "--lb", "alb")
    assert asked == ["arn:aws:x"]
    assert result.exit_code == 2
    assert "--lb-idle-timeout 120" in result.output


def test_what_is_no_arn_is_told(run: Run) -> None:
    result = run("--aws-load-balancer", "my-balancer")
    assert result.exit_code == 2
    assert '"my-balancer" is not the ARN' in result.stderr


def test_warnings_count_with_strict_only(run: Run, tmp_path: Path) -> None:
    copy = written(tmp_path, NGINX, "keepalive 64;", "")
    assert run("--balancer", copy, "--lb", "nginx").exit_code == 0
    result = run("--balancer", copy, "--lb", "nginx", "--strict")
    assert result.exit_code == 1
    assert "1 warning." in result.output


def test_strict_counts_warnings_about_our_settings_too(run: Run) -> None:
    assert run("--keep-alive-timeout", "62").exit_code == 0
    assert run("--keep-alive-timeout", "62", "--strict").exit_code == 1
    assert run("--balancer", NGINX, "--lb", "nginx", "--keep-alive-timeout", "62", "--strict").exit_code == 1
    assert run("--strict").exit_code == 0


def test_several_files_are_read_and_one_bad_one_spoils_it(run: Run, tmp_path: Path) -> None:
    both = run("--balancer", NGINX, "--balancer", HAPROXY, *OPTIONS[HAPROXY])
    assert both.exit_code == 0
    assert "(nginx)" in both.output
    assert "(haproxy)" in both.output
    missing = run("--balancer", NGINX, "--balancer", tmp_path / "none.conf", "--lb", "nginx")
    assert missing.exit_code == 2
    assert "✓   keep-alive-order" in missing.stdout
    assert "none.conf: cannot be read (No such file or directory)" in missing.stderr
    assert "agree." not in missing.stdout.replace("do not agree", "")


def test_a_file_that_sends_nothing_to_servers_is_no_pass(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "nginx.conf"
    path.write_text("events {}\nhttp { server { location / { return 204; } } }\n")
    result = run("--balancer", path)
    assert result.exit_code == 2
    assert "nothing in it sends requests to servers, so nothing was compared" in result.stderr


def test_the_kind_can_be_forced(run: Run) -> None:
    assert run("--balancer", NGINX, "--balancer-kind", "nginx", "--lb", "nginx").exit_code == 0
    unknown = run("--balancer", NGINX, "--balancer-kind", "pound")
    assert unknown.exit_code == 2
    assert 'There is no reader for "pound". Kinds: nginx, haproxy' in unknown.stderr


def test_the_version_decides_about_defaults(run: Run, tmp_path: Path) -> None:
    copy = written(tmp_path, NGINX, "keepalive 64;", "")
    modern = run("--balancer", copy, "--lb", "nginx", "--balancer-version", "1.29.7", "--strict")
    assert modern.exit_code == 0
    bad = run("--balancer", copy, "--balancer-version", "new")
    assert bad.exit_code == 2
    assert 'Bad value for --balancer-version: "new" is not a version' in bad.stderr


def test_without_the_parser_the_way_to_install_it_is_told(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nginx_tree, "crossplane", None)
    result = run("--balancer", NGINX)
    assert result.exit_code == 2
    assert "pip install 'keepserve[check]'" in result.stderr


@pytest.mark.parametrize("option", [["--json"], ["--balancer-kind", "nginx"], ["--balancer-version", "1.28"]])
def test_options_about_the_file_need_the_file(run: Run, option: list[str]) -> None:
    result = run(*option)
    assert result.exit_code == 2
    assert f"{option[0]} needs --balancer FILE" in result.stderr


def test_settings_that_cannot_be_used_are_told_beside_the_comparison(run: Run) -> None:
    result = run("--balancer", NGINX, "--lb", "nginx", "--keep-alive-timeout", "30")
    assert result.exit_code == 2
    assert "must be longer than lb_idle_timeout" in result.stderr
    assert "✗   keep-alive-order" in result.stdout


def test_the_json_has_every_fact_with_its_place_and_null_for_no_limit(run: Run, tmp_path: Path) -> None:
    copy = written(tmp_path, HAPROXY, "    timeout server 60s\n", "")
    result = run("--balancer", copy, *OPTIONS[HAPROXY], "--json")
    report: dict[str, Any] = json.loads(result.stdout)
    assert (report["format"], report["verdict"], report["exit_code"], report["errors"]) == (1, "ok", 0, [])
    assert report["settings"]["keep_alive_timeout"]["value"] == 80.0
    (pool,) = report["files"][0]["pools"]
    assert (pool["name"], pool["kind"], pool["line"]) == (
        "keepserve",
        "haproxy",
        line_of(copy, "backend keepserve f"),
    )
    assert pool["facts"]["response_timeout"]["value"] is None
    assert pool["facts"]["response_timeout"]["written"] is False
    assert pool["facts"]["idle_timeout"]["line"] == line_of(copy, "pool-purge-delay")
    assert {"rule", "level", "sentence", "ours", "theirs", "path", "line"} == set(pool["findings"][0])


def test_the_drawing_is_ascii_where_the_terminal_cannot_do_more(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keepserve.cli.commands._can_draw", lambda: False)
    result = run("--balancer", NGINX, "--lb", "nginx")
    assert "├" not in result.output
    assert "ok: keep-alive-order" in result.output
