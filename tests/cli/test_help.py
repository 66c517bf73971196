"""The help: grouped by subject, complete, and the same however it is asked for."""

import pytest
from click.testing import CliRunner

from keepserve.cli import main
from keepserve.config import FIELDS_BY_NAME, GROUPS


def help_of(*arguments: str) -> str:
    result = CliRunner().invoke(main, [*arguments, "--help"], prog_name="keepserve", terminal_width=400)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_first_help_shows_commands_examples_and_common_options() -> None:
    text = help_of()
    for word in ("serve", "check", "presets", "--version", "keepserve main:app", "--lb NAME", "--bind ADDRESS"):
        assert word in text
    assert "KEEPSERVE_LB" in text


@pytest.mark.parametrize("arguments", [["serve"], ["main:app"], ["--port", "1"], ["check"]])
def test_the_long_help_groups_every_option_by_subject(arguments: list[str]) -> None:
    text = help_of(*arguments)
    sections = [
        line.removesuffix(":") for line in text.splitlines() if line.endswith(":") and not line.startswith(" ")
    ]
    own = ["Checking a balancer's own configuration"] if arguments == ["check"] else []
    assert sections == [*own, *GROUPS, "Help"]
    for info in FIELDS_BY_NAME.values():
        assert f"  {info.flag}" in text


@pytest.mark.parametrize("name", FIELDS_BY_NAME)
def test_every_option_says_unit_default_and_environment_name(name: str) -> None:
    info = FIELDS_BY_NAME[name]
    entry = help_of("serve").partition(info.doc)[2].partition("]")[0]
    assert f"default: {info.default_text}" in entry
    assert all(variable in entry for variable in info.envs)
    if info.counts:
        assert f"unit: {info.counts}" in entry


def test_the_help_fits_a_narrow_terminal() -> None:
    result = CliRunner().invoke(main, ["serve", "--help"], terminal_width=80)
    assert max(len(line) for line in result.stdout.splitlines()) <= 80


def test_the_short_form_of_help_works() -> None:
    assert "Common options" in CliRunner().invoke(main, ["-h"]).stdout
    assert "--keep-alive-timeout" in CliRunner().invoke(main, ["main:app", "-h"]).stdout
