"""``keepserve check --balancer`` on the files of deploy/: as they are they pass, and no planted mistake does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.balancer.planted import MISTAKES as NGINX_MISTAKES
from tests.balancer.planted import Mistake
from tests.deploy.pieces import CADDY, CHECKED, DEPLOY, NGINX, Setup, check, setup
from tests.deploy.planted import MISTAKES
from tests.support.tools import find_tool


def prepare(file: Path) -> None:
    """The checker runs Caddy on a Caddyfile."""
    if file == CADDY:
        find_tool("caddy", "caddy")


@pytest.mark.parametrize("file", CHECKED, ids=lambda file: str(file.relative_to(DEPLOY)))
def test_a_file_agrees_with_the_settings_it_tells_people_to_use(file: Path) -> None:
    prepare(file)
    result = check(file, setup(file))
    assert result.exit_code == 0, result.output
    assert "The balancer and these settings agree." in result.output
    assert "✗" not in result.output


@pytest.mark.parametrize("version", ["1.22.1", "1.29.7"])
def test_nginx_agrees_before_and_after_its_defaults_changed(version: str) -> None:
    assert check(NGINX, setup(NGINX), "--balancer-version", version).exit_code == 0


def test_nginx_agrees_with_http2_as_its_comment_says(tmp_path: Path) -> None:
    copy = changed(tmp_path, NGINX, "proxy_http_version 1.1;", "proxy_http_version 2;")
    report = json.loads(check(copy, setup(NGINX), "--json").stdout)
    assert report["verdict"] == "ok"
    assert report["files"][0]["pools"][0]["facts"]["protocol"]["value"] == "h2"


def changed(tmp_path: Path, file: Path, old: str, new: str) -> Path:
    """A copy with a mistake in it, which must have been possible to make."""
    text = file.read_text()
    assert old in text, "the planted mistake has nothing to grow on"
    copy = tmp_path / file.name
    copy.write_text(text.replace(old, new) if old else text)
    return copy


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda one: f"{one.file.relative_to(DEPLOY)}: {one.name}")
def test_a_planted_mistake_is_named_with_its_line(tmp_path: Path, mistake: Mistake) -> None:
    prepare(mistake.file)
    copy = changed(tmp_path, mistake.file, mistake.old, mistake.new)
    how = setup(mistake.file, copy.read_text())
    result = check(copy, how, *mistake.options, "--json")
    report = json.loads(result.stdout)
    if not mistake.rule:
        assert result.exit_code == 2
        assert any(
            error.startswith(f"{copy}:{line}: ") for error in report["errors"] for line in at(copy, mistake.line)
        )
        return
    assert result.exit_code == (2 if mistake.level == "problem" else 1), result.output
    found = [one for one in findings(report) if (one["rule"], one["level"]) == (mistake.rule, mistake.level)]
    assert any(names(one, copy, mistake.line) for one in found), found
    assert all(one["ours"] or one["theirs"] for one in found)


def findings(report: dict[str, Any]) -> list[dict[str, Any]]:
    return [one for file in report["files"] for pool in file["pools"] for one in pool["findings"]]


def names(finding: dict[str, Any], copy: Path, piece: str) -> bool:
    """Whether the finding names a line with that piece; without a piece, the file."""
    if not piece:
        return bool(finding["path"] == str(copy))
    return any(finding["line"] == line or f"{copy}:{line})" in finding["sentence"] for line in at(copy, piece))


def at(copy: Path, piece: str) -> list[int]:
    """The lines that have a piece of text."""
    lines = [number for number, line in enumerate(copy.read_text().splitlines(), 1) if piece in line]
    assert lines, "the mistake's line is not in the copy"
    return lines


def test_every_file_has_mistakes_planted() -> None:
    for file in CHECKED:
        planted = [one for one in (*MISTAKES, *NGINX_MISTAKES) if one.file == file]
        assert len(planted) >= 3, file


def test_a_setup_that_cannot_be_used_does_not_pass() -> None:
    how = Setup(options=("--lb", "nginx", "--keep-alive-timeout", "30"))
    assert check(NGINX, how).exit_code == 2
