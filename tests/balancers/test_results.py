"""The table in ``deploy/README.md``, and the files that are tested being the deployed ones."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from tests.balancers import deployed, results
from tests.balancers.fronts import H1, Front
from tests.balancers.results import BEGIN, END, Result, table, write


def no_start(directory: Path, backends: tuple[int, ...]) -> None:
    """Nobody starts it here."""


FRONT = Front("NGINX", H1, no_start, lambda: "1.22.1", "nginx/nginx.conf")  # type: ignore[arg-type]  # as it says
REPORT = {"kinds": {"GET": 30, "POST": 70}, "failures": {"POST: status 502": 1}, "backends": {"7.1": 60, "7.2": 40}}


def test_a_line_says_what_came_of_a_balancer() -> None:
    last = table([Result.of(FRONT, REPORT)], 42.4, datetime.date(2026, 11, 24)).splitlines()[-1]
    assert last == "| NGINX | 1.22.1 | HTTP/1.1 | [nginx/nginx.conf](nginx/nginx.conf) | 100 | 1 | 50.0 |"


def test_the_table_replaces_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "ROOT", tmp_path)
    readme = tmp_path / "deploy" / "README.md"
    readme.parent.mkdir()
    readme.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    write([Result.of(FRONT, REPORT)], 42.4)
    text = readme.read_text()
    assert text.startswith(f"before\n{BEGIN}\nWritten by the tests on 20")
    assert text.endswith(f"50.0 |\n{END}\nafter\n")
    assert "old" not in text
    readme.write_text("no marks\n")
    with pytest.raises(AssertionError, match="needs <!-- results -->"):
        write([], 1.0)


def test_a_deployed_file_without_the_text_to_be_replaced_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deployed, "ROOT", tmp_path)
    (tmp_path / "deploy").mkdir()
    (tmp_path / "deploy" / "it.conf").write_text("listen 80;\nlisten 80;\n")
    assert deployed.deployed("it.conf", {"80": "8080"}) == "listen 8080;\nlisten 8080;\n"
    with pytest.raises(AssertionError, match=r"deploy/it\.conf has no 'listen 443' any more"):
        deployed.deployed("it.conf", {"listen 443": "listen 8443"})
