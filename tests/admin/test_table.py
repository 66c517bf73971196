"""The table of metrics in deploy/README.md comes from the catalogue."""

from pathlib import Path

from keepserve.admin.catalogue import CATALOGUE, FAMILIES
from keepserve.admin.table import insert_table, metrics_table

README = Path(__file__).parents[2] / "deploy" / "README.md"


def test_every_metric_is_in_the_table_with_its_labels() -> None:
    lines = metrics_table().splitlines()
    for family in FAMILIES:
        (line,) = [one for one in lines if one.startswith(f"| `{family.name}` |")]
        assert all(f"`{label}`" in line for label in family.all_labels)
        assert line.endswith(f"| {family.kind} | {family.text} |")
    assert [line for line in lines if line.startswith("**")] == [f"**{subject}**" for subject in CATALOGUE]


def test_every_row_has_four_cells() -> None:
    rows = [line for line in metrics_table().splitlines() if line.startswith("| ")]
    assert len(rows) == len(FAMILIES) + len(CATALOGUE)
    assert {line.count("|") for line in rows} == {5}


def test_the_readme_shows_the_metrics_as_they_are() -> None:
    text = README.read_text(encoding="utf-8")
    assert insert_table(text) == text, "run: python -m keepserve.admin.table deploy/README.md"
