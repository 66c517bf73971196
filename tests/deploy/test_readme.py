"""deploy/README.md: every file is in it, the options are those of the files, the numbers are those of the files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.deploy import numbers, pieces
from tests.deploy.pieces import CADDY, DEPLOY, ENVOY, HAPROXY, NGINX, README, TRAEFIK
from tests.deploy.test_check import prepare


def readme() -> str:
    return README.read_text()


def test_every_link_leads_to_a_file() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", readme())
    assert links
    for link in links:
        assert (DEPLOY / link).is_file(), link


def test_every_directory_has_its_section_and_a_line_in_a_table() -> None:
    for directory in (path for path in DEPLOY.iterdir() if path.is_dir()):
        assert re.search(rf"\[{directory.name}\]\({directory.name}/", readme()), directory.name
        assert re.search(rf"(?im)^## .*{directory.name}", readme()), directory.name


@pytest.mark.parametrize("file", [NGINX, HAPROXY, ENVOY, TRAEFIK, CADDY], ids=lambda file: file.parent.name)
def test_the_options_of_the_table_are_those_at_the_head_of_the_file(file: Path) -> None:
    (told,) = re.findall(r"^# +keepserve main:app (.+)$", file.read_text(), re.M)
    options = " ".join(pieces.table()[str(file.relative_to(DEPLOY))])
    assert told.replace(" --workers auto", "") == options


def test_every_option_it_names_is_keepserves() -> None:
    own = {"--balancer", "--balancer-version", "--aws-load-balancer", "--strict"}
    for command in re.findall(r"`(keepserve [^`]+|--[^`]+)`", readme()):
        for flag in re.findall(r"(?:^| )(--[a-z-]+)", command):
            assert flag in pieces.FLAGS or flag in own, flag


def test_the_numbers_are_those_of_the_files() -> None:
    prepare(CADDY)
    assert numbers.with_table(readme()) == readme(), "run python -m tests.deploy.numbers"


def test_there_is_a_place_for_the_results_of_a_test_run() -> None:
    assert readme().count("<!-- results -->\n") == readme().count("<!-- /results -->\n") == 1
