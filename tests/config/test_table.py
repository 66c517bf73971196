"""The README's settings table comes from the fields."""

from pathlib import Path

from keepserve.config import FIELDS_BY_NAME, GROUPS
from keepserve.config.table import insert_table, settings_table

README = Path(__file__).parents[2] / "README.md"


def test_every_setting_is_in_the_table_with_its_environment_name() -> None:
    table = settings_table()
    for info in FIELDS_BY_NAME.values():
        assert f"| `{info.flag}" in table
        assert all(f"`{name}`" in table for name in info.envs)
    assert all(f"**{group}**" in table for group in GROUPS)


def test_every_row_has_four_cells() -> None:
    rows = [line for line in settings_table().splitlines() if line.startswith("| `")]
    assert len(rows) == len(FIELDS_BY_NAME)
    assert {line.replace("\\|", "").count("|") for line in rows} == {5}


def test_the_readme_shows_the_settings_as_they_are() -> None:
    text = README.read_text(encoding="utf-8")
    assert insert_table(text) == text, "run: python -m keepserve.config.table README.md"
