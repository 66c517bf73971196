"""The README's settings table comes from the fields."""

from pathlib import Path

import pytest

from keepserve.config import FIELDS_BY_NAME, GROUPS
from keepserve.config.table import BEGIN, END, insert_table, main, settings_table

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


def test_the_table_goes_between_its_markers() -> None:
    document = f"before\n{BEGIN}\nOUTDATED\n{END}\nafter\n"
    updated = insert_table(document)
    assert updated.startswith(f"before\n{BEGIN}\n\n**Application**")
    assert updated.endswith(f"\n{END}\nafter\n")
    assert "OUTDATED" not in updated
    assert insert_table(updated) == updated


@pytest.mark.parametrize("document", ["", BEGIN, END, f"{END}{BEGIN}"])
def test_a_document_without_markers_is_refused(document: str) -> None:
    with pytest.raises(ValueError, match="add them where the table belongs"):
        insert_table(document)


def test_the_command_prints_the_table_or_updates_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([])
    assert capsys.readouterr().out == settings_table()
    path = tmp_path / "x.md"
    path.write_text(f"{BEGIN}{END}")
    main([str(path)])
    assert settings_table() in path.read_text()


def test_the_readme_shows_the_settings_as_they_are() -> None:
    text = README.read_text(encoding="utf-8")
    assert insert_table(text) == text, "run: python -m keepserve.config.table README.md"
