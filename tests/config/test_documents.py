"""Generated tables stand in documents between their markers."""

from __future__ import annotations

from pathlib import Path

import pytest

from keepserve.config.documents import insert_between, markers, update

BEGIN, END = markers("towns")
TABLE = "| town |\n"


def inserted(text: str) -> str:
    return insert_between(text, "towns", TABLE)


def test_the_table_goes_between_its_markers() -> None:
    updated = inserted(f"before\n{BEGIN}\nOUTDATED\n{END}\nafter\n")
    assert updated == f"before\n{BEGIN}\n\n{TABLE}\n{END}\nafter\n"
    assert inserted(updated) == updated


@pytest.mark.parametrize("document", ["", BEGIN, END, f"{END}{BEGIN}", "<!-- rivers --><!-- /rivers -->"])
def test_a_document_without_markers_is_refused(document: str) -> None:
    with pytest.raises(ValueError, match=r"<!-- towns --> followed by .* add them where the table belongs"):
        inserted(document)


def test_the_command_prints_the_table_or_updates_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    update([], lambda: TABLE, inserted)
    assert capsys.readouterr().out == TABLE
    path = tmp_path / "x.md"
    path.write_text(f"{BEGIN}{END}")
    update([str(path)], lambda: TABLE, inserted)
    assert TABLE in path.read_text()
